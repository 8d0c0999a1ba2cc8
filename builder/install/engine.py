"""Steps that happen once: intent before, result after, and a look for whatever was in between.

A step's effect must be visible from outside, so that a run which was killed, or whose call got no
answer, finds out whether it happened (pve-http-server answers 595 to 599 for calls that may have
been executed, AnyEvent.pm:835).
"""

from collections.abc import Callable

from builder.install.identity import locate
from builder.install.journal import Standing
from builder.install.run import Run, Trail
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.tasks import wait_for_quiet
from builder.record import record

ATTEMPTS = 3
# what may have had its effect all the same, or may have it when asked again
OPEN = frozenset({Trouble.UNKNOWN, Trouble.MALFORMED, Trouble.BUSY, Trouble.CHANGED})


def _nothing(_run: Run) -> None:
    return None


@record
class Step:
    """One change. `prepare` decides and keeps what the intent must hold; `look` finds the effect.

    `act` makes it; `undo` takes it back, before the first power-on. Each gets the run; what `look`
    and `act` learn they keep in its state.
    """

    name: str
    look: Callable[[Run], bool]
    act: Callable[[Run], None]
    prepare: Callable[[Run], None] = _nothing
    undo: Callable[[Trail], None] | None = None


def perform(run: Run, step: Step) -> None:
    """Make the effect of `step` be there, once. Raises WinseedError when it cannot be made."""
    standing = run.journal.standing(step.name)
    if standing is Standing.DONE:
        return
    begun = standing is Standing.INTENDED
    if not begun:
        step.prepare(run)
        run.journal.mark(step.name, Standing.INTENDED)
    run.say(step.name)
    if not (begun and _there(run, step)):
        _act(run, step, begun=begun)
    run.journal.mark(step.name, Standing.DONE)


def _act(run: Run, step: Step, *, begun: bool) -> None:
    for attempt in range(ATTEMPTS):
        try:
            step.act(run)
        except PveError as error:
            # a VM that is not there may have moved to another node meanwhile
            moved = error.trouble is Trouble.MISSING and locate(run)
            lost = moved or error.trouble in OPEN
            # after a lost answer the next refusal may only say that it is there already
            if (lost or begun or attempt) and _there(run, step):
                return
            if not lost or attempt == ATTEMPTS - 1:
                raise
        else:
            return
        run.clock.pause(2**attempt * (1 + run.clock.jitter()))


def _there(run: Run, step: Step) -> bool:
    """Whether the effect is there once nothing works on the VM any more."""
    wait_for_quiet(run.api, run.state.node, run.state.vmid)
    return step.look(run)


def undo(run: Trail, steps: tuple[Step, ...]) -> None:
    """Take back, in reverse, every step that was begun. Raises WinseedError at the first failure.

    What was taken back stays so: undoing goes on where it was interrupted.
    """
    for step in reversed(steps):
        standing = run.journal.standing(step.name)
        if standing is None or standing is Standing.UNDONE:
            continue
        if step.undo is not None:
            _take_back(run, step.undo)
        run.journal.mark(step.name, Standing.UNDONE)


def _take_back(run: Trail, take_back: Callable[[Trail], None]) -> None:
    """Undo one step, which looks itself for what is left of it; so it is simply done again."""
    for attempt in range(ATTEMPTS):
        try:
            wait_for_quiet(run.api, run.state.node, run.state.vmid)
            take_back(run)
        except PveError as error:
            if error.trouble not in OPEN or attempt == ATTEMPTS - 1:
                raise
        else:
            return
        run.clock.pause(2**attempt * (1 + run.clock.jitter()))
