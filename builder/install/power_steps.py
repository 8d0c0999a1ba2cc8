"""Switching the VM on and off, each once."""

from builder.errors import WinseedError
from builder.install.engine import OPEN, Step
from builder.install.media_steps import check_machine
from builder.install.run import Run, Trail
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_status
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import set_config, shutdown_vm, start_vm, stop_vm

START_TIME = 300.0  # seconds
STOP_TIME = 120.0
SHUTDOWN_TIME = 1800  # seconds: updates may be installed on the way
HA_START = "hastart"


def power_on_step() -> Step:
    """The first power-on: from its intent on, nothing is undone without being asked."""
    return Step(name="power-on", prepare=_ready, look=is_running, act=_start_first)


def shutdown_step() -> Step:
    """Windows switches itself off, so that what is pending on it and on the VM is applied."""
    return Step(name="shutdown", look=lambda run: not is_running(run), act=_shutdown)


def start_again_step() -> Step:
    """On again, with everything applied."""
    return Step(name="start-again", look=is_running, act=start_vm_again)


def onboot_step() -> Step:
    """Whether the VM starts with its node, now that it is settled."""
    return Step(name="onboot", look=_onboot, act=_set_onboot)


def is_running(run: Trail) -> bool:
    """Whether the VM runs now. Raises PveError."""
    return inspect_status(run.api, run.state.node, run.state.vmid).running


def _ready(run: Run) -> None:
    check_machine(run)
    run.keep(powered=True)


def _start_first(run: Run) -> None:
    try:
        start_vm_again(run)
    except PveError as error:
        # refused for good, and off: nothing in the VM has run, so everything can be unmade
        if error.trouble not in OPEN and not is_running(run):
            run.keep(powered=False)
        raise


def start_vm_again(run: Trail) -> None:
    """Switch on and wait until that is done. Raises PveError."""
    upid = start_vm(run.api, run.state.node, run.state.vmid)
    try:
        warnings = wait_for_task(run.api, upid, timeout=START_TIME).warnings
    except PveError as error:
        if error.trouble is not Trouble.TASK or not is_running(run):
            raise
        run.say(f"the VM runs, although {error.what}")
        return
    if warnings:
        run.say(f"the start ended with {warnings} warnings: pvenode task log {upid}")
    if upid.kind == HA_START:
        wait_for_power(run, on=True, timeout=START_TIME)


def stop_now(run: Trail) -> None:
    """Switch off as pulling the plug: for a Windows that nobody will use. Raises PveError."""
    upid = stop_vm(run.api, run.state.node, run.state.vmid)
    wait_for_task(run.api, upid, timeout=STOP_TIME)
    wait_for_power(run, on=False, timeout=STOP_TIME)


def shut_down(run: Trail, *, timeout: int) -> None:
    """Have the guest switch itself off within `timeout` seconds. Raises PveError."""
    upid = shutdown_vm(run.api, run.state.node, run.state.vmid, timeout=timeout)
    try:
        wait_for_task(run.api, upid, timeout=timeout + 60)
    except WinseedError:
        # somebody else, or the guest itself, may have been quicker
        if is_running(run):
            raise
    wait_for_power(run, on=False, timeout=timeout)


def wait_for_power(run: Trail, *, on: bool, timeout: float) -> None:
    """Wait until the VM runs or is off: tasks of a VM under HA only ask for it.

    Raises PveError.
    """
    end = run.clock.now() + timeout
    while is_running(run) is not on:
        if run.clock.now() >= end:
            raise PveError(
                f"VM {run.state.vmid} is {'off' if on else 'running'} {timeout:.0f} s later",
                trouble=Trouble.TASK,
                hint="HA may want it otherwise: ha-manager status",
            )
        run.clock.pause(2 + run.clock.jitter())


def _shutdown(run: Run) -> None:
    shut_down(run, timeout=SHUTDOWN_TIME)


def _onboot(run: Run) -> bool:
    return (run.config().setting("onboot") == "1") is run.order.settlement.onboot


def _set_onboot(run: Run) -> None:
    config = run.config()
    settings = {"onboot": run.order.settlement.onboot}
    set_config(run.api, run.state.node, run.state.vmid, settings, digest=config.digest)
