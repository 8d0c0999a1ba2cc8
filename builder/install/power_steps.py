"""Switching the VM on and off, each once."""

from builder.errors import WinseedError
from builder.install.engine import OPEN, Step
from builder.install.media_steps import check_machine
from builder.install.run import Run, Trail
from builder.proxmox.failures import PveError
from builder.proxmox.inventory import inspect_status
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import set_config, shutdown_vm, start_vm, stop_vm

START_TIME = 300.0  # seconds
STOP_TIME = 120.0
SHUTDOWN_TIME = 1800  # seconds: updates may be installed on the way


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
    warnings = wait_for_task(run.api, upid, timeout=START_TIME).warnings
    if warnings:
        run.say(f"the start ended with {warnings} warnings: pvenode task log {upid}")


def stop_now(run: Trail) -> None:
    """Switch off as pulling the plug: for a Windows that nobody will use. Raises PveError."""
    upid = stop_vm(run.api, run.state.node, run.state.vmid)
    wait_for_task(run.api, upid, timeout=STOP_TIME)


def _shutdown(run: Run) -> None:
    upid = shutdown_vm(run.api, run.state.node, run.state.vmid, timeout=SHUTDOWN_TIME)
    try:
        wait_for_task(run.api, upid, timeout=SHUTDOWN_TIME + 60)
    except WinseedError:
        # the task of a VM under HA ends early, and another may have switched it off
        if is_running(run):
            raise


def _onboot(run: Run) -> bool:
    return (run.config().setting("onboot") == "1") is run.order.settlement.onboot


def _set_onboot(run: Run) -> None:
    config = run.config()
    settings = {"onboot": run.order.settlement.onboot}
    set_config(run.api, run.state.node, run.state.vmid, settings, digest=config.digest)
