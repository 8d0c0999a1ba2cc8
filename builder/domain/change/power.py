"""Switching the VM of a domain controller off and on, and restarting it with a watch on it."""

import dataclasses

from builder.domain.change.run import DcRun, target_agent, target_vm
from builder.errors import ExitCode, WinseedError
from builder.proxmox.agent import GuestAgent, ping_agent
from builder.proxmox.facts import Guest
from builder.proxmox.inventory import inspect_config, inspect_status
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import set_config, shutdown_vm, start_vm, stop_vm

SHUTDOWN_TIME = 1800  # seconds: updates may be installed on the way
LAST_SHUTDOWN = 600  # of a DC that goes: then its plug is pulled
STOP_TIME, START_TIME = 120.0, 300.0


def switch_off(run: DcRun) -> None:
    """Off, and not started again with its node: between here and there it must not come back."""
    guest = target_vm(run)
    if guest is None:
        run.warn(f"{run.plan.host} has no VM in this cluster: make sure that nobody starts it")
        return
    config = inspect_config(run.api, guest.node, guest.vmid)
    onboot = config.setting("onboot") == "1"
    kept = run.journal.record
    if kept.onboot is None:
        run.journal.keep(dataclasses.replace(kept, onboot=onboot))
    if onboot:
        _set_onboot(run, guest, onboot=False)
    if is_running(run, guest):
        _shut_down(run, guest, pull=True)


def is_off(run: DcRun) -> bool:
    """Whether the VM is off and stays so."""
    guest = target_vm(run)
    if guest is None:
        return True
    config = inspect_config(run.api, guest.node, guest.vmid)
    return config.setting("onboot") != "1" and not is_running(run, guest)


def boot_old(run: DcRun) -> None:
    """The old DC again, as it was: nothing but its being off has changed."""
    guest = target_vm(run)
    if guest is None:
        return
    if run.journal.record.onboot:
        _set_onboot(run, guest, onboot=True)
    if not is_running(run, guest):
        _start(run, guest)


def restart(run: DcRun) -> None:
    """Off and on again through Proxmox VE, and wait until the agent answers."""
    guest = target_vm(run)
    if guest is None:
        raise WinseedError(f"there is no VM of {run.plan.host}", code=ExitCode.UNSAFE)
    if is_running(run, guest):
        _shut_down(run, guest, pull=False)
    _start(run, guest)
    wait_for_agent(run)


def wait_for_agent(run: DcRun) -> GuestAgent:
    """The agent of the VM, once it answers: a first start as a DC takes its time.

    Raises WinseedError (UNSETTLED) when it does not within the run's patience.
    """
    clock = run.api.clock
    deadline = clock.now() + run.patience
    while True:
        agent = target_agent(run)
        status = inspect_status(run.api, agent.node, agent.vmid)
        if not status.running:
            raise WinseedError(
                f"VM {agent.vmid} was switched off",
                code=ExitCode.UNSETTLED,
                hint="somebody did that, or Windows: start it, then go on",
            )
        if ping_agent(run.api, agent.node, agent.vmid):
            return agent
        if clock.now() >= deadline:
            raise WinseedError(
                f"the agent of VM {agent.vmid} does not answer for {run.patience / 60:.0f} min",
                code=ExitCode.UNSETTLED,
                hint="look at its screen; a DC that does not come up: directory services restore "
                "mode, with the restore mode password",
            )
        clock.pause(run.retry / 2)


def is_running(run: DcRun, guest: Guest) -> bool:
    """Whether the VM runs now."""
    return inspect_status(run.api, guest.node, guest.vmid).running


def _shut_down(run: DcRun, guest: Guest, *, pull: bool) -> None:
    """Ask Windows to end; `pull`: one that does not is switched off all the same."""
    seconds = LAST_SHUTDOWN if pull else SHUTDOWN_TIME
    upid = shutdown_vm(run.api, guest.node, guest.vmid, timeout=seconds)
    try:
        wait_for_task(run.api, upid, timeout=seconds + 60)
    except WinseedError:
        if not is_running(run, guest):
            return
        if not pull:
            raise
        run.say(f"power-off: VM {guest.vmid} did not end by itself")
        upid = stop_vm(run.api, guest.node, guest.vmid)
        wait_for_task(run.api, upid, timeout=STOP_TIME)


def _start(run: DcRun, guest: Guest) -> None:
    upid = start_vm(run.api, guest.node, guest.vmid)
    try:
        wait_for_task(run.api, upid, timeout=START_TIME)
    except WinseedError:
        if not is_running(run, guest):
            raise


def _set_onboot(run: DcRun, guest: Guest, *, onboot: bool) -> None:
    config = inspect_config(run.api, guest.node, guest.vmid)
    set_config(run.api, guest.node, guest.vmid, {"onboot": onboot}, digest=config.digest)
