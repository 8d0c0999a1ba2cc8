"""Drives of a VM: their property strings, the volumes behind them, what a create allocates.

Rules of qemu-server src/PVE/API2/Qemu.pm create_disks and src/PVE/QemuServer.pm
vmconfig_register_unused_drive, vmconfig_delete_or_detach_drive.
"""

import re
from typing import TYPE_CHECKING

from tests.pve.calls_storage import FILE_KINDS, split_volid
from tests.pve.formats import parse_size, render_size
from tests.pve.state import GIB, Died, PveError, Storage, Vm, Volume, make_mac
from tests.pve.tasks import Task

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

CREATE = "POST /nodes/{node}/qemu"
NEW_DISK = re.compile(r"(?:([^/:\s]+):)?(\d+(?:\.\d+)?)")
EFI_BYTES = 540_672
TPM_BYTES = 4 * 1024**2
LVM_EXTENT = 4 * 1024**2
NO_MEDIUM = {"none", "cdrom"}
Drive = dict[str, str]


def parse(pve: "FakeCluster", key: str, text: str) -> Drive:
    """Key to value of a drive, `file` first; the text has passed the schema."""
    return pve.schema.parse(CREATE, key, text)


def render(drive: Drive) -> str:
    """A drive as PVE writes it: the volume, then the other keys in order."""
    rest = (f"{key}={value}" for key, value in sorted(drive.items()) if key != "file")
    return ",".join([drive["file"], *rest])


def is_cdrom(drive: Drive) -> bool:
    return drive.get("media") == "cdrom"


def is_cloudinit(drive: Drive) -> bool:
    return re.search(r":cloudinit$|vm-\d+-cloudinit", drive["file"]) is not None


def render_net(pve: "FakeCluster", key: str, text: str) -> str:
    """A network device as PVE writes it, with an address of its own when none was sent."""
    net = pve.schema.parse(CREATE, key, text)
    model, address = net.pop("model"), net.pop("macaddr", "") or make_mac()
    rest = (f"{name}={value}" for name, value in sorted(net.items()))
    return ",".join([f"{model}={address.upper()}", *rest])


def owned_by(volid: str, vmid: int) -> bool:
    return re.search(rf"(^|[/:])vm-{vmid}-", volid) is not None


def find_volume(pve: "FakeCluster", node: str, volid: str) -> Volume | None:
    storage = pve.storages.get(split_volid(volid)[0])
    return storage.on(node).get(volid) if storage else None


def create_disks(
    pve: "FakeCluster", vm: Vm, wanted: dict[str, str], task: Task | None = None
) -> dict[str, str]:
    """Allocates what `STORAGE:GIB` asks for, checks the rest; all is freed when one fails."""
    made: list[str] = []
    result: dict[str, str] = {}
    try:
        for key in sorted(wanted):
            drive = parse(pve, key, wanted[key])
            result[key] = render(_create(pve, vm, key, drive, made))
            if task:
                task.checkpoint(f"disk:{key}")
    except (Died, PveError):
        for volid in made:
            free(pve, vm.node, volid)
        raise
    return result


def _create(pve: "FakeCluster", vm: Vm, key: str, drive: Drive, made: list[str]) -> Drive:
    volid = drive["file"]
    new = NEW_DISK.fullmatch(volid)
    if volid in NO_MEDIUM:
        drive.pop("size", None)
    elif volid.endswith(":cloudinit"):
        drive.update(file=_make_cloudinit(pve, vm, volid.partition(":")[0]), media="cdrom")
        made.append(drive["file"])
    elif new:
        drive["file"], size = allocate(pve, vm, key, new[1], float(new[2]), drive)
        made.append(drive["file"])
        drive["size"] = render_size(size)
        drive.pop("format", None)
        if key == "efidisk0" and drive.get("pre-enrolled-keys") == "1" and pve.release != "8.4":
            drive.setdefault("ms-cert", "2023k")
    else:
        volume = find_volume(pve, vm.node, volid)
        if volume is None:
            raise Died(f"volume {volid} does not exist")
        drive["size"] = render_size(volume.size)
    return drive


def allocate(
    pve: "FakeCluster", vm: Vm, key: str, storage_name: str, gib: float, drive: Drive
) -> tuple[str, int]:
    """A new image of a VM: its volid and its size in bytes."""
    storage = pve.storages.get(storage_name)
    if storage is None:
        raise Died(f"storage '{storage_name}' does not exist")
    if not storage.seen_by(vm.node):
        raise Died(f"storage '{storage_name}' is not available on node '{vm.node}'")
    fixed = {"efidisk0": EFI_BYTES, "tpmstate0": TPM_BYTES}.get(key)
    size = int(gib * GIB) if fixed is None else fixed
    form = drive.get("format", "raw")
    if storage.kind not in FILE_KINDS:
        size = -(-size // LVM_EXTENT) * LVM_EXTENT
        form = "raw"
    if storage.kind != "lvmthin" and storage.avail(vm.node) < size:
        raise Died(f"unable to create image: no space left on '{storage_name}'")
    volid = _free_name(storage, vm, form)
    storage.on(vm.node)[volid] = Volume(
        volid=volid,
        kind="images",
        size=size,
        form=form,
        ctime=int(pve.clock()),
        vmid=vm.vmid,
    )
    return volid, size


def _make_cloudinit(pve: "FakeCluster", vm: Vm, name: str) -> str:
    storage = pve.storages.get(name)
    if storage is None:
        raise Died(f"storage '{name}' does not exist")
    prefix = f"{vm.vmid}/" if storage.kind in FILE_KINDS else ""
    suffix = ".qcow2" if storage.kind in FILE_KINDS else ""
    volid = f"{name}:{prefix}vm-{vm.vmid}-cloudinit{suffix}"
    storage.on(vm.node)[volid] = Volume(
        volid=volid, kind="images", size=LVM_EXTENT, form="raw", vmid=vm.vmid
    )
    return volid


def _free_name(storage: Storage, vm: Vm, form: str) -> str:
    taken = storage.on(vm.node)
    for number in range(1000):
        name = f"vm-{vm.vmid}-disk-{number}"
        if storage.kind in FILE_KINDS:
            name = f"{vm.vmid}/{name}.{form}"
        if f"{storage.name}:{name}" not in taken:
            return f"{storage.name}:{name}"
    raise Died("unable to allocate an image name")


def free(pve: "FakeCluster", node: str, volid: str) -> None:
    storage = pve.storages.get(split_volid(volid)[0])
    if storage:
        storage.on(node).pop(volid, None)


def add_unused(vm: Vm, volid: str) -> None:
    """Keeps a detached image under the lowest free `unusedN`."""
    known = {key: value for key, value in vm.config.items() if key.startswith("unused")}
    if volid in known.values():
        return
    number = next(number for number in range(256) if f"unused{number}" not in known)
    vm.config[f"unused{number}"] = volid


def register_unused(pve: "FakeCluster", vm: Vm, key: str, text: str) -> None:
    """What becomes of an image whose drive goes away: kept, when it is this VM's own."""
    drive = parse(pve, key, text)
    volid = drive["file"]
    if is_cloudinit(drive):
        free(pve, vm.node, volid)
    elif not is_cdrom(drive) and ":" in volid and owned_by(volid, vm.vmid):
        add_unused(vm, volid)


def detach(pve: "FakeCluster", vm: Vm, key: str, *, force: bool) -> None:
    """Takes a drive out of the configuration; `force` destroys its image."""
    text = vm.config.pop(key)
    drive = parse(pve, key, text)
    if force and not is_cdrom(drive) and owned_by(drive["file"], vm.vmid):
        destroy(pve, vm, drive["file"])
    else:
        register_unused(pve, vm, key, text)


def destroy(pve: "FakeCluster", vm: Vm, volid: str) -> None:
    """Frees an image unless a drive or snapshot still needs it."""
    used = [*vm.config.values()]
    used += [value for snapshot in vm.snapshots.values() for value in snapshot.config.values()]
    users = sum(1 for value in used if value.partition(",")[0] == volid)
    if users > (1 if volid in vm.config.values() else 0):
        raise Died(f"unable to delete '{volid}' - volume is still in use (snapshot?)")
    free(pve, vm.node, volid)


def grown(text: str, old: int) -> int:
    """New size in bytes of `+10G` or `80G`."""
    plus = text.startswith("+")
    size = parse_size(text.removeprefix("+")) or 0
    return old + size if plus else size
