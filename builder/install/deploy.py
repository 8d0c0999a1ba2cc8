"""The run from an empty place to a settled VM, and what becomes of one that fails.

Before the first power-on a failure unmakes everything; after it the VM stays to be looked at, and
only `--undo` destroys it (issue: undo and evidence).
"""

import contextlib
from collections.abc import Callable, Iterator

from builder.errors import ExitCode, WinseedError
from builder.files import target_errors
from builder.guest.call import GuestError, GuestTrouble
from builder.install import leftovers
from builder.install.engine import Step, perform, undo
from builder.install.evidence import gather_evidence
from builder.install.identity import locate
from builder.install.journal import Outcome, RunState, Standing
from builder.install.media_steps import (
    attach_step,
    boot_step,
    build_step,
    remove_local,
    upload_step,
    withdraw_answer,
)
from builder.install.opening import administrator_file, one_time_file
from builder.install.power_steps import power_on_step
from builder.install.run import Run, Trail
from builder.install.settle import settle
from builder.install.stalls import NotSettled
from builder.install.vm_steps import adopt_step, create_step
from builder.install.witness import INSTALLED, Witness, watch_windows
from builder.proxmox.failures import PveError


def deploy(run: Run, witness: Witness) -> None:
    """Install, prove, clean up. Raises WinseedError; the journal says how it stands then."""
    with failing_well(run, witness):
        for step in steps_before_power(run):
            perform(run, step)
        with run.limits.at_a_time("install", run.state.node):
            perform(run, power_on_step())
            watch_windows(run, witness)
        settle(run)
    finish_local(run)


def steps_before_power(trail: Trail) -> tuple[Step, ...]:
    """Everything that is unmade when it fails, in order."""
    adopted = trail.state.adopted is not None
    vm = adopt_step() if adopted else create_step(drawn=trail.state.drawn)
    return (build_step(), vm, upload_step(), attach_step(), boot_step())


@contextlib.contextmanager
def failing_well(run: Run, witness: Witness) -> Iterator[None]:
    """What a failure leaves: nothing before the first power-on, evidence after it."""
    try:
        yield
    except WinseedError as error:
        if run.state.powered:
            keep_evidence(run, witness, error)
        else:
            undo_after(run, error, undo_run)
        raise


def undo_after(run: Run, error: WinseedError, unmake: Callable[[Trail], None]) -> None:
    """Unmake a run that failed before its Windows was ever switched on."""
    run.keep(failure=error.what)
    try:
        unmake(run)
    except WinseedError as second:
        told = f"{verb_of(run.state)} --undo"
        run.keep(next=told)
        run.say(f"not everything could be undone ({second.what}); when that is mended: {told}")


def undo_run(trail: Trail) -> None:
    """Unmake everything that this run has made, its VM included if the run created it.

    Raises WinseedError; called again it goes on where it ended.
    """
    locate(trail)
    undo(trail, steps_before_power(trail))
    forget_passwords(trail)
    trail.keep(outcome=Outcome.UNDONE, next="")


def forget_passwords(trail: Trail) -> None:
    """Delete the passwords of a run that is unmade: they open nothing."""
    for path in (one_time_file, administrator_file):
        with target_errors(path(trail.folder, trail.state)):
            path(trail.folder, trail.state).unlink(missing_ok=True)


def keep_evidence(run: Run, witness: Witness, error: WinseedError) -> None:
    """Save what there is to see, and leave nothing readable behind when the run is given up.

    A run that was only waited for too long may go on: its answer ISO stays, and that is said.
    """
    run.keep(
        outcome=Outcome.KEPT, failure=error.what, next=f"{verb_of(run.state)} --resume, or --undo"
    )
    for path in gather_evidence(run, witness):
        run.say(f"kept {path}")
    if may_go_on(error) and run.journal.standing(INSTALLED) is not Standing.DONE:
        for line in secrets_left(run):
            run.say(line)
        return
    try:
        withdraw_answer(run)
    except WinseedError as second:
        run.say(f"the answer ISO could not be removed: {second.what}")
        for line in secrets_left(run):
            run.say(line)


def verb_of(state: RunState) -> str:
    """The call that a run belongs to, as `winseed deploy dc01`."""
    return state.call


def may_go_on(error: WinseedError) -> bool:
    """Whether nothing failed for good: Windows, agent or Proxmox VE was only not waited for.

    What Setup's error handler or the disk guard says is for good.
    """
    if isinstance(error, NotSettled):
        failed = error.progress is not None and error.progress.told.failure
        return error.code is ExitCode.UNSETTLED and error.stall is not None and not failed
    if isinstance(error, GuestError):
        return error.trouble in {GuestTrouble.SILENT, GuestTrouble.INTERRUPTED}
    return isinstance(error, PveError)


def secrets_left(trail: Trail) -> list[str]:
    """Where secrets lie now, one line each."""
    return leftovers.secrets_left(trail.journal, trail.folder)


def finish_local(trail: Trail) -> None:
    """Remove what is of no more use here once the VM is settled."""
    remove_local(trail)
    one_time_file(trail.folder, trail.state).unlink(missing_ok=True)
