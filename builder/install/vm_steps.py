"""The VM of a run: made, or taken over when it is there without a disk; and how that is undone."""

import dataclasses

from builder.errors import ExitCode, WinseedError
from builder.install.engine import Step
from builder.install.hardware import set_aside
from builder.install.identity import (
    disk_keys,
    find_config,
    is_same_vm,
    own_volumes,
    refuse_foreign_disks,
    uuid_of,
    volid_of,
)
from builder.install.journal import OldVm, Standing
from builder.install.power_steps import is_running, stop_now
from builder.install.run import Run, Trail
from builder.proxmox.api import Value
from builder.proxmox.facts import VmConfig
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_next_vmid, inspect_vmid_free
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import (
    change_config,
    create_vm,
    destroy_vm,
    set_config,
    unlink_disks,
)

CREATE_TIME = 900.0  # seconds: a thick volume of a slow storage may be written out
DRAWS = 8  # VMIDs that somebody else took in the same moment
PROTECTED = frozenset({"digest", "vmgenid", "smbios1", "meta"})  # not ours to write back


def create_step(*, drawn: bool) -> Step:
    """The VM, made by this run. `drawn`: its VMID was the next free one and may be drawn again."""
    return Step(
        name="create",
        prepare=_keep_slots,
        look=_look,
        act=lambda run: _create(run, drawn=drawn),
        undo=destroy_made,
    )


def adopt_step() -> Step:
    """A VM without a disk that is there already; its settings before are kept."""
    return Step(name="adopt", prepare=_remember, look=_look, act=_adopt, undo=_give_back)


def _look(run: Run) -> bool:
    """Whether the VM is there, after a call whose outcome is not known."""
    config = find_config(run)
    if config is not None:
        _refuse_half_made(run, config)
    return _is_marked(run)


def _is_marked(run: Run) -> bool:
    """Whether the VM bears the mark of this run; its disks are kept then."""
    config = find_config(run)
    if config is None or run.mark not in (config.setting("description") or ""):
        return False
    if lock := config.setting("lock"):
        raise PveError(
            f"VM {run.state.vmid} is locked ({lock}) and no task works on it",
            trouble=Trouble.LOCKED,
            hint=f"its task was killed; as root on {run.state.node}: qm unlock {run.state.vmid}, "
            "then --resume, or --undo",
        )
    _keep_volumes(run, config)
    return True


def _keep_slots(run: Run) -> None:
    """Where this run makes disks, so that they are known before their names are."""
    run.keep(slots=run.order.system_drives)


def _create(run: Run, *, drawn: bool) -> None:
    order = run.order
    settings: dict[str, Value] = {
        **order.settings,
        "description": run.mark,
        "pool": order.pool or None,
    }
    for _ in range(DRAWS):
        try:
            with run.limits.at_a_time("create", order.disk_storage):
                upid = create_vm(run.api, run.state.node, run.state.vmid, settings)
                wait_for_task(run.api, upid, timeout=CREATE_TIME)
        except PveError as error:
            if not (drawn and "already exists" in error.what) or _is_marked(run):
                raise
            run.keep(vmid=_another(run))
        else:
            break
    if not _look(run):
        raise PveError(
            f"VM {run.state.vmid} was made and is not there",
            trouble=Trouble.MISSING,
            hint="does somebody else delete VMs here?",
        )


def _another(run: Run) -> int:
    vmid = max(inspect_next_vmid(run.api), run.state.vmid + 1)
    while not inspect_vmid_free(run.api, vmid):
        vmid += 1
    return vmid


def _remember(run: Run) -> None:
    config = run.config()
    if config.machine.disks:
        slots = ", ".join(str(disk.slot) for disk in config.machine.disks)
        raise WinseedError(
            f"VM {run.state.vmid} has disks ({slots}), which an installation never touches",
            code=ExitCode.UNSAFE,
            hint=f"`winseed reinstall {run.state.host}` installs anew on a VM that is there",
        )
    run.keep(adopted=OldVm(settings=config.settings, running=False))
    _keep_slots(run)


def _adopt(run: Run) -> None:
    config = run.config()
    if config.machine.disks:
        _remember(run)
    added, gone = set_aside(dict(config.settings), run.state.cds)
    settings = {**run.order.settings, **added, "description": run.mark}
    upid = change_config(
        run.api, run.state.node, run.state.vmid, settings, digest=config.digest, delete=gone
    )
    if upid is not None:
        wait_for_task(run.api, upid, timeout=CREATE_TIME)
    if not _look(run):
        raise PveError(
            f"VM {run.state.vmid} was changed and does not show it", trouble=Trouble.UNKNOWN
        )


def _give_back(run: Trail) -> None:
    """Destroy the disks of this run and write back what stood there before."""
    config = find_config(run)
    old = run.state.adopted
    if config is None or old is None or run.mark not in (config.setting("description") or ""):
        return
    if is_running(run):
        stop_now(run)
    ours = own_volumes(run, config)
    made = tuple(key for key, text in config.settings if text.partition(",")[0] in ours)
    if made:
        unlink_disks(run.api, run.state.node, run.state.vmid, made)
        config = run.config()
    before = {key: text for key, text in old.settings if key not in PROTECTED}
    left = {
        key
        for key in disk_keys(config.machine, dict(config.settings))
        if volid_of(config.setting(key) or "") not in ours  # somebody else's, attached meanwhile
    }
    kept = {*before, *left, *PROTECTED}
    gone = tuple(key for key, _ in config.settings if key not in kept)
    set_config(run.api, run.state.node, run.state.vmid, before, digest=config.digest, delete=gone)


def destroy_made(run: Trail) -> None:
    """Destroy the VM if it is the one that this run has made; another one is left alone."""
    config = find_config(run)
    if config is None:
        return
    if not is_same_vm(config, run.state):
        _refuse_half_made(run, config)
        run.say(f"VM {run.state.vmid} is not of this run: it is left alone")
        return
    refuse_foreign_disks(run, config)
    if is_running(run):
        stop_now(run)
    upid = destroy_vm(run.api, run.state.node, run.state.vmid)
    wait_for_task(run.api, upid, timeout=CREATE_TIME)


def _refuse_half_made(run: Trail, config: VmConfig) -> None:
    """A task that was killed while it made the VM has left no mark, only its lock."""
    begun = run.journal.standing("create") is Standing.INTENDED
    if begun and config.setting("lock") == "create" and not is_same_vm(config, run.state):
        vmid, node = run.state.vmid, run.state.node
        raise PveError(
            f"VM {vmid} is half made and locked (create): the task that made it has ended",
            trouble=Trouble.LOCKED,
            hint=f"if it is nobody else's, as root on {node}: qm unlock {vmid} && "
            f"qm destroy {vmid} --destroy-unreferenced-disks 1; then --undo",
        )


def _keep_volumes(run: Run, config: VmConfig) -> None:
    """Remember the images that the order asked for, by their volids."""
    volumes = [
        text.partition(",")[0]
        for key, text in config.settings
        if key in run.order.system_drives and ":" in text.partition(",")[0]
    ]
    state = run.state
    run.journal.keep(
        dataclasses.replace(
            state,
            created=state.adopted is None,
            uuid=uuid_of(config.setting("smbios1")),
            volumes=tuple(dict.fromkeys((*state.volumes, *volumes))),
        )
    )
