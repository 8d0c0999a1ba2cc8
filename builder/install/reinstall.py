"""A new Windows on a VM that is there: its disks wait detached, and the old one can come back.

A disk swap works on every storage, a snapshot does not (raw tpmstate0 on files, plain LVM), and
setting a drive by its volid leaves vmgenid alone, so an old Windows that comes back takes itself
for one that was switched off (proxmox/qemu-server at e6352be, src/PVE/QemuServer.pm:6752, Qemu.pm
`vmconfig_register_unused_drive`).
"""

from builder.errors import ExitCode, WinseedError
from builder.install.deploy import (
    finish_local,
    forget_passwords,
    keep_evidence,
    may_go_on,
    undo_after,
)
from builder.install.engine import Step, perform, undo
from builder.install.identity import find_config, locate, refuse_other_vm, volid_of
from builder.install.journal import Outcome, RunState
from builder.install.media_steps import (
    attach_step,
    boot_step,
    build_step,
    upload_step,
)
from builder.install.power_steps import (
    is_running,
    power_on_step,
    shut_down,
    start_vm_again,
    stop_now,
)
from builder.install.run import Run, Trail
from builder.install.settle import settle
from builder.install.swap import swap_step
from builder.install.witness import Witness, watch_windows
from builder.proxmox.facts import VmConfig
from builder.proxmox.vm import unlink_disks

SHUTDOWN_TIME = 900  # seconds that the old Windows has to switch itself off
_DRIVES = frozenset({"ide", "sat", "scs", "vir", "efi", "tpm"})


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
            if run.state.outcome is Outcome.ROLLED_BACK:
                raise _rolled_back(run.state, error) from error
        elif run.state.outside:
            # nothing is put back: the old disk must not be where somebody could boot it
            run.keep(failure=error.what, next=f"{run.state.call} --resume")
        else:
            undo_after(run, error, undo_reinstall)
        raise
    finish_local(run)


def _rolled_back(state: RunState, error: WinseedError) -> WinseedError:
    """The same failure; but there is no new Windows any more in which something could be mended."""
    return WinseedError(
        error.what,
        code=error.code,
        problems=error.problems,
        hint="the old disk is back in its place, the new one is kept; mend the cause, then: "
        f"{state.call}",
    )


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
    locate(trail)
    config = find_config(trail)
    if config is None:
        trail.say(f"VM {trail.state.vmid} is not there any more: nothing is put back")
    else:
        refuse_other_vm(trail, config)
        if not _is_back(trail.state, config) and is_running(trail):
            stop_now(trail)
    powered = trail.state.powered and config is not None
    undo(trail, steps_before_power())
    if not powered:
        destroy_new(trail)
    forget_passwords(trail)
    outcome = Outcome.ROLLED_BACK if powered else Outcome.UNDONE
    # the old disks are in use again: nothing waits to be accepted, and the next run may begin
    trail.keep(outcome=outcome, next="", unused=())


def _is_back(state: RunState, config: VmConfig) -> bool:
    """Whether every old disk is where it was: then it is the old Windows that runs."""
    old = dict(state.old.settings) if state.old else {}
    disks = {key: text for key, text in old.items() if ":" in volid_of(text)}
    disks = {key: text for key, text in disks.items() if key[:3] in _DRIVES and "cdrom" not in text}
    return all(volid_of(config.setting(key) or "") == volid_of(disks[key]) for key in disks)


def refuse_outside(state: RunState) -> None:
    """Raise WinseedError (UNSAFE) when something beyond the VM has changed."""
    if state.outside:
        raise WinseedError(
            f"the old disk of {state.host} may not be booted any more: the new one has joined a "
            "domain, or a partner was changed",
            code=ExitCode.UNSAFE,
            hint="two computers of one identity would meet; it stays detached as unusedN, "
            f"go on with: {state.call} --resume",
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
            hint=f"finish it first: {state.call} --resume",
        )
    locate(trail)
    config = find_config(trail)
    if config is not None:
        refuse_other_vm(trail, config)
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
    if run.state.outside or may_go_on(error):
        run.keep(next=f"{run.state.call} --resume" + _or_undo(run.state))
        return
    try:
        undo_reinstall(run)
        run.keep(failure=error.what)
        run.say("the old disk is back in its place")
    except WinseedError as second:
        run.keep(outcome=Outcome.KEPT, next=f"{run.state.call} --undo")
        run.say(f"the old disk could not be brought back: {second.what}")


def _or_undo(state: RunState) -> str:
    return "" if state.outside else ", or --undo to boot the old disk"


def _power_off(run: Run) -> None:
    shut_down(run, timeout=SHUTDOWN_TIME)


def _power_on_old(trail: Trail) -> None:
    old = trail.state.old
    if old is None or not old.running or find_config(trail) is None:
        return
    if not is_running(trail):
        start_vm_again(trail)
