"""What a run sees of the installation: the watch, with everything that may help it.

Serial port and screen are extras: a right that is missing, or a port that somebody else reads,
takes nothing away but detail.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.errors import ExitCode, Problem, WinseedError
from builder.guest.facts import inspect_marker
from builder.install.events import Event, EventKind, Sink
from builder.install.journal import Standing
from builder.install.patience import make_patience
from builder.install.phases import Marker, Phase
from builder.install.poll import AgentSlots, StatePoll
from builder.install.prompt import pass_prompt
from builder.install.run import Run
from builder.install.target import Target
from builder.install.watch import Witnesses, watch_install
from builder.proxmox.agent import GuestAgent
from builder.record import record

INSTALLED = "installed"
SERIAL = "serial.txt"
MARKER_TIME = 60.0  # seconds

Lines = Callable[[], tuple[str, ...]]


@record
class Witness:
    """What the watches of one call share. `serial` opens COM1 of a VM, `look` keeps a screenshot.

    `look` gives one line about the screen and saves the picture in the folder it gets.
    """

    emit: Sink
    poll: StatePoll
    slots: AgentSlots
    serial: Callable[[Target], contextlib.AbstractContextManager[Lines]]
    look: Callable[[Target, Path], str | None]


def watch_windows(run: Run, witness: Witness) -> None:
    """Get past the prompt of the CD and watch until Windows is there. Raises WinseedError."""
    if run.journal.standing(INSTALLED) is Standing.DONE:
        return
    target = target_of(run)
    reached = Phase(run.state.phase) if run.state.phase else Phase.FIRMWARE
    look = functools.partial(_look, witness, run.folder)
    emit = _noting(run, witness.emit)
    with witness.serial(target) as heard:
        lines = functools.partial(_kept, heard, run.folder / SERIAL)
        if reached.rank < Phase.WINPE.rank:
            target = pass_prompt(target, emit, look=look)
        watched = watch_install(
            target,
            emit,
            poll=witness.poll,
            witnesses=Witnesses(read_marker=_read_marker, serial=lines, look=look),
            slots=witness.slots,
            patience=make_patience(first_boot=sum(step.timeout for step in run.order.plan.steps)),
            phase=reached,
        )
    run.keep(node=watched.target.node, phase=Phase.MARKED.value)
    _refuse_failed(run, watched.progress.marker)
    run.journal.mark(INSTALLED, Standing.DONE)


def target_of(run: Run) -> Target:
    """The run's VM as the watch knows it."""
    return Target(
        api=run.api,
        node=run.state.node,
        vmid=run.state.vmid,
        host=run.state.host,
        install_cd=next(iter(run.state.cds), ""),
        install_disk=run.order.install,
        fingerprint=run.state.fingerprint,
    )


def _read_marker(target: Target) -> Marker | None:
    agent = GuestAgent(api=target.api, node=target.node, vmid=target.vmid)
    return inspect_marker(agent, timeout=MARKER_TIME)


def _look(witness: Witness, folder: Path, target: Target) -> str | None:
    return witness.look(target, folder)


def _kept(heard: Lines, path: Path) -> tuple[str, ...]:
    """What COM1 says, written down as it comes: a port keeps nothing."""
    lines = heard()
    if lines:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    return lines


def _noting(run: Run, emit: Sink) -> Sink:
    """Remember the farthest phase, so that a run that is taken up does not begin at the prompt."""

    def tell(event: Event) -> None:
        if event.kind is EventKind.STEP and event.phase != run.state.phase:
            with contextlib.suppress(ValueError):
                if Phase(event.phase).rank > _rank(run.state.phase):
                    run.keep(phase=event.phase)
        emit(event)

    return tell


def _rank(phase: str) -> int:
    return Phase(phase).rank if phase else -1


def _refuse_failed(run: Run, marker: Marker | None) -> None:
    """A first boot that ended, but not well, is a failure that names its steps."""
    if marker is None or marker.ok:
        return
    raise WinseedError(
        f"Windows is installed on {run.state.host}, but steps of its first boot failed",
        code=ExitCode.UNSETTLED,
        problems=tuple(
            Problem(where=name, what=f"C:\\ProgramData\\winseed\\logs\\{name}.log says why")
            for name in marker.failed
        ),
        hint="mend it, delete C:\\ProgramData\\winseed\\done.json, run first-boot.ps1 there again, "
        f"then: {run.state.call} --resume",
    )


@contextlib.contextmanager
def no_serial(_target: Target) -> Iterator[Lines]:
    """COM1 that nobody reads."""
    yield tuple
