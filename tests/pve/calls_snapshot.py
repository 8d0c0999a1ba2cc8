"""Calls about snapshots and backups: feature, create, list, delete, roll back, vzdump."""

from typing import TYPE_CHECKING, Any

from tests.pve import drives
from tests.pve.calls import Asked, answers
from tests.pve.calls_power import cleanup_after_stop, start_vm
from tests.pve.calls_storage import FILE_KINDS, split_volid
from tests.pve.state import DRIVE, Died, Snapshot, Vm, Volume, make_uuid
from tests.pve.tasks import Task

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

BASE = "/nodes/{node}/qemu/{vmid}/snapshot"


def can_snapshot(pve: "FakeCluster", vm: Vm) -> bool:
    """Whether every drive but the CDs lies on something that has snapshots."""
    for key, value in vm.config.items():
        if not DRIVE.fullmatch(key):
            continue
        drive = drives.parse(pve, key, value)
        if drives.is_cdrom(drive):
            continue
        storage = pve.storages.get(split_volid(drive["file"])[0])
        volume = drives.find_volume(pve, vm.node, drive["file"])
        form = volume.form if volume else "raw"
        fits = storage and (
            storage.snapshots_raw or (storage.kind in FILE_KINDS and form == "qcow2")
        )
        if not fits:
            return False
    return True


@answers("GET /nodes/{node}/qemu/{vmid}/feature")
def feature(asked: Asked) -> Any:
    has = asked.text("feature") != "snapshot" or can_snapshot(asked.pve, asked.vm)
    return {"hasFeature": int(has), "nodes": list(asked.pve.nodes)}


@answers(f"GET {BASE}")
def snapshots(asked: Asked) -> Any:
    vm = asked.vm
    rows: list[dict[str, Any]] = []
    for snapshot in vm.snapshots.values():
        row = {"name": snapshot.name, "snaptime": snapshot.taken, "vmstate": 0}
        rows.append({**row, "description": snapshot.description, "parent": snapshot.parent})
    current = {"name": "current", "description": "You are here!", "digest": vm.digest}
    return [*rows, {**current, "running": int(vm.running), "parent": vm.config.get("parent", "")}]


@answers(f"POST {BASE}")
def take(asked: Asked) -> Any:
    pve, vm, name = asked.pve, asked.vm, asked.text("snapname")
    if name in {"current", "pending"}:
        raise Died(f"unable to use snapshot name '{name}' (reserved name)")

    def work(_: Task) -> None:
        vm.check_lock()
        if name in vm.snapshots:
            raise Died(f"snapshot name '{name}' already used")
        if not can_snapshot(pve, vm):
            raise Died("snapshot feature is not available")
        kept = {key: value for key, value in vm.config.items() if key != "lock"}
        vm.snapshots[name] = Snapshot(
            name=name,
            config=kept,
            taken=int(pve.clock()),
            parent=vm.config.get("parent", ""),
            description=asked.text("description"),
            written=_written(pve, vm),
        )
        vm.config["parent"] = name

    return pve.fork(asked, "qmsnapshot", str(vm.vmid), work)


def _images(pve: "FakeCluster", vm: Vm) -> list[Volume]:
    found = [
        drives.find_volume(pve, vm.node, drives.parse(pve, key, value)["file"])
        for key, value in vm.drives().items()
    ]
    return [volume for volume in found if volume and volume.kind == "images"]


def _written(pve: "FakeCluster", vm: Vm) -> dict[str, bool]:
    return {volume.volid: volume.written for volume in _images(pve, vm)}


def _snapshot(asked: Asked) -> Snapshot:
    name = asked.text("snapname")
    found = asked.vm.snapshots.get(name)
    if found is None:
        raise Died(f"snapshot '{name}' does not exist")
    return found


@answers(f"GET {BASE}/{{snapname}}/config")
def snapshot_config(asked: Asked) -> Any:
    return dict(_snapshot(asked).config)


@answers(f"DELETE {BASE}/{{snapname}}")
def delete(asked: Asked) -> Any:
    vm, name = asked.vm, asked.text("snapname")

    def work(_: Task) -> None:
        vm.check_lock()
        _snapshot(asked)
        gone = vm.snapshots.pop(name)
        if vm.config.get("parent") == name:
            vm.config.pop("parent")
            if gone.parent:
                vm.config["parent"] = gone.parent

    return asked.pve.fork(asked, "qmdelsnapshot", str(vm.vmid), work)


@answers(f"POST {BASE}/{{snapname}}/rollback")
def rollback(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    if asked.flag("start") and pve.release != "8.4":
        asked.check(f"/vms/{vm.vmid}", "VM.PowerMgmt")

    def work(task: Task) -> None:
        vm.check_lock()
        snapshot = _snapshot(asked)
        if vm.running:
            cleanup_after_stop(pve, vm)
        parent = {"parent": snapshot.name}
        vm.config = {**snapshot.config, **parent, "vmgenid": make_uuid()}
        vm.pending.clear()
        vm.pending_delete.clear()
        for volume in _images(pve, vm):
            volume.written = snapshot.written.get(volume.volid, volume.written)
        if asked.flag("start"):
            start_vm(pve, vm, task)

    return pve.fork(asked, "qmrollback", str(vm.vmid), work)


@answers("POST /nodes/{node}/vzdump")
def vzdump(asked: Asked) -> Any:
    pve, vmid, name = asked.pve, asked.number("vmid"), asked.text("storage", "local")
    asked.check(f"/vms/{vmid}", "VM.Backup")
    asked.check(f"/storage/{name}", "Datastore.AllocateSpace")
    storage = pve.storages.get(name)
    if storage is None or "backup" not in storage.content:
        raise Died(f"storage '{name}' does not support backups")

    def work(_: Task) -> None:
        vm = pve.vms.get(vmid)
        if vm is None or vm.node != asked.node:
            raise Died(f"unable to find VM '{vmid}'")
        vm.check_lock()
        volid = f"{name}:backup/vzdump-qemu-{vmid}-{len(storage.on(asked.node))}.vma.zst"
        storage.on(asked.node)[volid] = Volume(
            volid=volid, kind="backup", size=1024**3, form="vma.zst", vmid=vmid
        )

    return pve.fork(asked, "vzdump", str(vmid), work)
