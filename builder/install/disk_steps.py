"""Data disks: attached after the first boot, never while Setup runs."""

import dataclasses
from collections.abc import Iterator

from builder.errors import ExitCode, WinseedError
from builder.install.engine import Step
from builder.install.identity import old_volumes, volid_of
from builder.install.order import DataDrive
from builder.install.run import Run
from builder.install.vm_steps import CREATE_TIME
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import change_config


def attach_disk_steps(drives: tuple[DataDrive, ...]) -> Iterator[Step]:
    """One step for each disk; a disk that is in its slot already is the one that was made."""
    for drive in drives:
        yield Step(
            name=f"attach-{drive.slot}",
            prepare=lambda run, drive=drive: _refuse_taken(run, drive),  # type: ignore[misc]
            look=lambda run, drive=drive: _attached(run, drive),  # type: ignore[misc]
            act=lambda run, drive=drive: _attach(run, drive),  # type: ignore[misc]
        )


def _refuse_taken(run: Run, drive: DataDrive) -> None:
    """From the intent on, whatever is in the slot is ours; so nothing may be there before."""
    text = run.config().setting(drive.slot)
    if text is not None and volid_of(text) != drive.kept:
        raise WinseedError(
            f"VM {run.state.vmid} has {volid_of(text)} in {drive.slot}, where a data disk is to go",
            code=ExitCode.UNSAFE,
            hint=f"somebody has put it there: move it to another slot, then {run.state.call} "
            "--resume",
        )


def _attached(run: Run, drive: DataDrive) -> bool:
    text = run.config().setting(drive.slot)
    if text is None:
        return False
    volid = volid_of(text)
    if drive.kept:
        return volid == drive.kept
    if ":" in volid and volid not in old_volumes(run.state):
        volumes = tuple(dict.fromkeys((*run.state.volumes, volid)))
        run.journal.keep(dataclasses.replace(run.state, volumes=volumes))
        return True
    return False


def _attach(run: Run, drive: DataDrive) -> None:
    if drive.kept and _attached(run, drive):
        return  # nobody took it out
    config = run.config()
    with run.limits.at_a_time("create", run.order.disk_storage):
        upid = change_config(
            run.api,
            run.state.node,
            run.state.vmid,
            {drive.slot: drive.setting},
            digest=config.digest,
        )
        if upid is not None:
            wait_for_task(run.api, upid, timeout=CREATE_TIME)
    if not _attached(run, drive):
        raise PveError(
            f"{drive.slot} was attached and is not there",
            trouble=Trouble.MISSING,
            hint="does somebody else change this VM?",
        )
