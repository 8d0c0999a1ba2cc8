"""A new Windows on a VM that is there: its disks wait detached, and the old one can come back.

A disk swap works on every storage, a snapshot does not (raw tpmstate0 on files, plain LVM), and
setting a drive by its volid leaves vmgenid alone, so an old Windows that comes back takes itself
for one that was switched off (proxmox/qemu-server at e6352be, src/PVE/QemuServer.pm:6752, Qemu.pm
`vmconfig_register_unused_drive`).
"""

from builder.errors import ExitCode, WinseedError
from builder.install.deploy import finish_local, keep_evidence, may_go_on, undo_after
from builder.install.engine import Step, perform, undo
from builder.install.journal import Outcome, RunState
from builder.install.media_steps import (
    attach_step,
    boot_step,
    build_step,
    upload_step,
)
from builder.install.opening import administrator_file, one_time_file
from builder.install.power_steps import is_running, power_on_step, start_vm_again, stop_now
from builder.install.run import Run, Trail
from builder.install.settle import settle
from builder.install.swap import swap_step
from builder.install.vm_steps import find_config
from builder.install.witness import Witness, watch_windows
from builder.proxmox.failures import PveError
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import shutdown_vm, unlink_disks

SHUTDOWN_TIME = 900  # seconds that the old Windows has to switch itself off


def reinstall(run: Run, witness: Witness) -> None:
    """Install anew, prove, clean up. Raises WinseedError; what it leaves the journal says."""
    try:
        for step in steps_before_power():
            perform(run, step)
        perform(run, power_on_step())
        with run.limits.at_a_time("install", run.state.node):
            watch_windows(run, witness)
        settle(run)
    except WinseedError as error:
        if run.state.powered:
            _after_power(run, witness, error)
        else:
            undo_after(run, error, undo_reinstall)
        raise
    finish_local(run)


def steps_before_power() -> tuple[Step, ...]:
    """Everything before the new Windows starts for the first time, in order."""
    return (
        build_step(),
        upload_step(),
        power_off_step(),
        swap_step(),
        attach_step(),
        boot_step(),
    )


def power_off_step() -> Step:
    """The old Windows switches itself off; nobody pulls its plug."""
    return Step(
        name="power-off", look=lambda run: not is_running(run), act=_power_off, undo=_power_on_old
    )


def undo_reinstall(trail: Trail) -> None:
    """Bring back the VM as it was. Raises WinseedError (UNSAFE) once that would do harm."""
    refuse_outside(trail.state)
    if is_running(trail) and trail.state.powered:
        stop_now(trail)
    powered = trail.state.powered
    undo(trail, steps_before_power())
    if not powered:
        destroy_new(trail)
    for path in (one_time_file, administrator_file):
        path(trail.folder, trail.state).unlink(missing_ok=True)
    trail.keep(outcome=Outcome.ROLLED_BACK if powered else Outcome.UNDONE, next="")


def refuse_outside(state: RunState) -> None:
    """Raise WinseedError (UNSAFE) when something beyond the VM has changed."""
    if state.outside:
        raise WinseedError(
            f"the old disk of {state.host} may not be booted any more: the new one has joined a "
            "domain, or a partner was changed",
            code=ExitCode.UNSAFE,
            hint="two computers of one identity would meet; it stays detached as unusedN, "
            f"go on with: winseed reinstall {state.host} --resume",
        )


def accept(trail: Trail) -> tuple[str, ...]:
    """Destroy the old disks of a settled reinstallation for good; the volids that are gone.

    Only what the journal names and no drive uses. Raises WinseedError.
    """
    state = trail.state
    if state.outcome is not Outcome.SETTLED:
        raise WinseedError(
            f"the reinstallation of {state.host} is {state.outcome.value}, not settled: its old "
            "disks are kept",
            code=ExitCode.UNSAFE,
            hint=f"finish it first: winseed reinstall {state.host} --resume",
        )
    return _unlink_unused(trail, frozenset(state.unused))


def destroy_new(trail: Trail) -> None:
    """Destroy the disks that this run has made, once they are detached."""
    _unlink_unused(trail, frozenset(trail.state.volumes))


def _unlink_unused(trail: Trail, volids: frozenset[str]) -> tuple[str, ...]:
    config = find_config(trail)
    if config is None:
        return ()
    found = {
        key: text for key, text in config.settings if key.startswith("unused") and text in volids
    }
    if found:
        unlink_disks(trail.api, trail.state.node, trail.state.vmid, tuple(found))
    return tuple(found.values())


def _after_power(run: Run, witness: Witness, error: WinseedError) -> None:
    """Evidence first; then the old disk boots again, if nothing outside the VM has changed."""
    keep_evidence(run, witness, error)
    host = run.state.host
    if run.state.outside or may_go_on(error) or isinstance(error, PveError):
        run.keep(next=f"winseed reinstall {host} --resume" + _or_undo(run.state))
        return
    try:
        undo_reinstall(run)
        run.keep(failure=error.what)
        run.say("the old disk is back in its place")
    except WinseedError as second:
        run.keep(outcome=Outcome.KEPT, next=f"winseed reinstall {host} --undo")
        run.say(f"the old disk could not be brought back: {second.what}")


def _or_undo(state: RunState) -> str:
    return "" if state.outside else ", or --undo to boot the old disk"


def _power_off(run: Run) -> None:
    upid = shutdown_vm(run.api, run.state.node, run.state.vmid, timeout=SHUTDOWN_TIME)
    try:
        wait_for_task(run.api, upid, timeout=SHUTDOWN_TIME + 60)
    except WinseedError:
        if is_running(run):
            raise


def _power_on_old(trail: Trail) -> None:
    old = trail.state.old
    if old is not None and old.running and not is_running(trail):
        start_vm_again(trail)
