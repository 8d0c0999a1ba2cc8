"""The disks of a VM, exchanged for fresh ones and brought back by their volids."""

import dataclasses
from collections.abc import Mapping

from builder.errors import ExitCode, Problem, WinseedError
from builder.install.engine import Step
from builder.install.hardware import NO_MEDIUM, set_aside
from builder.install.identity import (
    disk_keys,
    find_config,
    old_volumes,
    own_volumes,
    refuse_other_vm,
    volid_of,
)
from builder.install.run import Run, Trail
from builder.install.vm_steps import CREATE_TIME, PROTECTED
from builder.proxmox.api import Value
from builder.proxmox.facts import VmConfig
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import change_config, set_config


def swap_step() -> Step:
    """Every disk out, a fresh install disk, EFI variables and TPM state in."""
    return Step(name="swap", prepare=_remember, look=_swapped, act=_swap, undo=restore_vm)


def _remember(run: Run) -> None:
    """The disks that stay detached until they are accepted: those that no step brings back."""
    old = dict(run.state.old.settings) if run.state.old else {}
    kept = {drive.setting for drive in run.order.data_drives}
    machine = run.config().machine
    gone = [old[key] for key in disk_keys(machine, old) if key in old and old[key] not in kept]
    run.keep(unused=tuple(volid_of(text) for text in gone), slots=run.order.system_drives)


def _swapped(run: Run) -> bool:
    config = run.config()
    settings = dict(config.settings)
    drives = {key: volid_of(settings.get(key, "")) for key in run.order.system_drives}
    old = old_volumes(run.state)
    done = all(volid and volid not in old for volid in drives.values())
    # what was made is ours, even if only a part of it is there
    new = tuple(volid for volid in drives.values() if volid and volid not in old)
    volumes = tuple(dict.fromkeys((*run.state.volumes, *new)))
    run.journal.keep(dataclasses.replace(run.state, volumes=volumes))
    left = [key for key in disk_keys(config.machine, settings) if volid_of(settings[key]) in old]
    return done and not left


def _swap(run: Run) -> None:
    config = run.config()
    _refuse_strange(run, config)
    settings = dict(config.settings)
    old = old_volumes(run.state)
    out = tuple(
        key for key in disk_keys(config.machine, settings) if volid_of(settings[key]) in old
    )
    if out:
        set_config(run.api, run.state.node, run.state.vmid, {}, digest=config.digest, delete=out)
    config = run.config()
    settings = dict(config.settings)
    fresh = {key: run.order.settings[key] for key in run.order.system_drives if key not in settings}
    added, gone = set_aside(settings, run.state.cds)
    change = {**fresh, **added, **_empty_cds(run, config)}
    if change or gone:
        upid = change_config(
            run.api, run.state.node, run.state.vmid, change, digest=config.digest, delete=gone
        )
        if upid is not None:
            wait_for_task(run.api, upid, timeout=CREATE_TIME)
    if not _swapped(run):
        raise PveError(
            f"the disks of VM {run.state.vmid} were exchanged and do not show it",
            trouble=Trouble.UNKNOWN,
            hint="does somebody else change this VM?",
        )


def _empty_cds(run: Run, config: VmConfig) -> dict[str, Value]:
    """No disc of somebody else's while Setup looks for an answer file."""
    return {
        str(cd.slot): NO_MEDIUM
        for cd in config.machine.cds
        if cd.volume and str(cd.slot) not in run.state.cds and "cloudinit" not in cd.volume
    }


def _refuse_strange(run: Run, config: VmConfig) -> None:
    """A disk that is neither of before nor of this run was attached meanwhile: hands off."""
    known = old_volumes(run.state) | frozenset(run.state.volumes)
    strange = [
        str(disk.slot)
        for disk in config.machine.disks
        if disk.volume not in known and str(disk.slot) not in run.order.system_drives
    ]
    if strange:
        raise WinseedError(
            f"VM {run.state.vmid} has got a disk since the run began: {', '.join(strange)}",
            code=ExitCode.UNSAFE,
            hint="an installation touches no disk that it does not know: look at it, then --undo",
        )


def restore_vm(trail: Trail) -> None:
    """Put every setting back as it was written, disks by their volids; what is ours is detached.

    The VM must be off. Raises WinseedError (UNSAFE) when it does not read back the same.
    """
    config, old = find_config(trail), trail.state.old
    if config is None or old is None:
        return
    refuse_other_vm(trail, config)
    trail.keep(volumes=own_volumes(trail, config))
    before = {key: text for key, text in old.settings if not _untouchable(key)}
    strange = _strange_disks(trail, config)
    _refuse_in_the_way(trail, strange & before.keys())
    now = {key: text for key, text in config.settings if not _untouchable(key)}
    ours = tuple(
        key
        for key, text in now.items()
        if volid_of(text) in trail.state.volumes or (key in trail.state.cds and key not in before)
    )
    api, node, vmid = trail.api, trail.state.node, trail.state.vmid
    if ours:
        set_config(api, node, vmid, {}, digest=config.digest, delete=ours)
        config = trail.config()
        now = {key: text for key, text in config.settings if not _untouchable(key)}
    gone = tuple(key for key in now if key not in before and key not in strange)
    change: dict[str, Value] = {
        key: text for key, text in before.items() if _parts(now.get(key, "")) != _parts(text)
    }
    # the boot order last and on its own: any change of a CD drive would append to it
    boot = change.pop("boot", before.get("boot"))
    if change or gone:
        set_config(api, node, vmid, change, digest=config.digest, delete=gone)
    if boot is not None and trail.config().setting("boot") != boot:
        set_config(api, node, vmid, {"boot": boot}, digest=trail.config().digest)
    _check_restored(trail, before)


def _strange_disks(trail: Trail, config: VmConfig) -> frozenset[str]:
    """Where disks are that somebody else has attached since the run began."""
    known = old_volumes(trail.state) | frozenset(trail.state.volumes)
    settings = dict(config.settings)
    keys = disk_keys(config.machine, settings)
    return frozenset(key for key in keys if volid_of(settings[key]) not in known)


def _refuse_in_the_way(trail: Trail, slots: frozenset[str]) -> None:
    if slots:
        told = ", ".join(sorted(slots))
        raise WinseedError(
            f"VM {trail.state.vmid} has got a disk where an old one was: {told}",
            code=ExitCode.UNSAFE,
            hint="somebody has put it there: move it to another slot, then --undo",
        )


def _check_restored(trail: Trail, before: Mapping[str, str]) -> None:
    now = dict(trail.config().settings)
    problems = tuple(
        Problem(where=key, what=f"{now.get(key, 'missing')}, was {text}")
        for key, text in before.items()
        if _parts(now.get(key, "")) != _parts(text)
    )
    if problems:
        raise WinseedError(
            f"VM {trail.state.vmid} could not be put back as it was",
            code=ExitCode.UNSAFE,
            problems=problems,
            hint="its old settings stand in the journal; put these back, then start it",
        )


def _parts(text: str) -> frozenset[str]:
    """A setting without order, and without the size that Proxmox VE reads from the volume."""
    return frozenset(part for part in text.split(",") if not part.startswith("size="))


def _untouchable(key: str) -> bool:
    """What Proxmox VE keeps for itself, and the list of detached disks."""
    return key in PROTECTED or key.startswith("unused") or key in {"lock", "parent"}
