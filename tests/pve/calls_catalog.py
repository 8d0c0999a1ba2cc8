"""Calls about what a cluster offers: roles, options, machines, pools, downloads, disk moves."""

import hashlib
from typing import Any

from tests.pve import drives
from tests.pve.calls import Asked, answers
from tests.pve.calls_qemu import QEMU
from tests.pve.calls_storage import clean_name
from tests.pve.formats import split_list
from tests.pve.state import GIB, Died, PveError, Volume
from tests.pve.tasks import Task


def _refused(name: str, text: str) -> PveError:
    return PveError(400, "Parameter verification failed.", {name: text})


@answers("GET /access/roles")
def roles(asked: Asked) -> Any:
    found = {"Administrator": asked.pve.schema.privileges, **asked.pve.roles}
    return [
        {"roleid": name, "privs": ",".join(sorted(held)), "special": int(name == "Administrator")}
        for name, held in found.items()
    ]


@answers("GET /access/roles/{roleid}")
def role(asked: Asked) -> Any:
    name = asked.text("roleid")
    found = {"Administrator": asked.pve.schema.privileges, **asked.pve.roles}
    if name not in found:
        raise Died(f"role '{name}' does not exist")
    return dict.fromkeys(sorted(found[name]), 1)


@answers("GET /cluster/options")
def options(asked: Asked) -> Any:
    lower, upper = asked.pve.next_id
    row: dict[str, Any] = {"mac_prefix": "BC:24:11", "keyboard": "en-us"}
    return {**row, "next-id": {"lower": lower, "upper": upper}}


@answers("GET /nodes/{node}/capabilities/qemu/machines")
def machines(asked: Asked) -> Any:
    newest = QEMU[asked.pve.release][1].removeprefix("pc-q35-")
    plain = newest.partition("+")[0]
    return [
        {"id": f"pc-{kind}-{version}", "type": kind, "version": version}
        for kind in ("i440fx", "q35")
        for version in (newest, plain, "8.1", "7.2")
    ]


@answers("GET /nodes/{node}/capabilities/qemu/cpu")
def cpu_models(asked: Asked) -> Any:
    names = ("host", "max", "qemu64", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4")
    return [{"name": name, "custom": 0, "vendor": "default"} for name in names]


@answers("GET /storage/{storage}")
def storage_definition(asked: Asked) -> Any:
    found = asked.pve.storages.get(asked.text("storage"))
    if found is None:
        raise Died(f"storage '{asked.text('storage')}' does not exist")
    content = ",".join(sorted(found.content))
    return {"storage": found.name, "type": found.kind, "content": content, "digest": "0" * 40}


@answers("POST /pools")
def create_pool(asked: Asked) -> Any:
    name = asked.text("poolid")
    if name in asked.pve.access.pools:
        raise Died(f"create pool failed: pool '{name}' already exists")
    asked.pve.access.pools[name] = set()


@answers("PUT /pools", "PUT /pools/{poolid}")
def change_pool(asked: Asked) -> Any:
    pve, name = asked.pve, asked.text("poolid")
    members = pve.access.pools.get(name)
    if members is None:
        raise Died(f"update pools failed: pool '{name}' does not exist")
    for text in split_list(asked.text("vms")):
        vmid = int(text)
        asked.check(f"/vms/{vmid}", "VM.Allocate")
        if asked.flag("delete"):
            members.discard(vmid)
            continue
        if vmid in members:
            raise Died(f"update pools failed: VM {vmid} is already a pool member")
        members.add(vmid)


@answers("POST /nodes/{node}/storage/{storage}/download-url")
def download(asked: Asked) -> Any:
    pve, storage = asked.pve, asked.storage
    name, kind = clean_name(asked.text("filename")), asked.text("content")
    if kind not in storage.content:
        raise Died(f"storage '{storage.name}' is not configured for content-type '{kind}'")
    if kind == "iso" and not name.lower().endswith((".iso", ".img")):
        raise _refused("filename", "wrong file extension")
    volid = f"{storage.name}:iso/{name}"
    url, algorithm = asked.text("url"), asked.text("checksum-algorithm")

    def work(_: Task) -> None:
        content = pve.downloads.get(url)
        if content is None:
            raise Died("download failed - 404 Not Found")
        if volid in storage.on(asked.node):
            raise Died(f"refusing to override existing file '{volid}'")
        if algorithm:
            got = hashlib.new(algorithm, content).hexdigest()
            if got != asked.text("checksum").lower():
                raise Died(f"checksum mismatch: got '{got}' != expect '{asked.text('checksum')}'")
        storage.on(asked.node)[volid] = Volume(
            volid=volid, kind=kind, size=len(content), form="iso", content=content
        )

    return pve.fork(asked, "download", name, work)


@answers("POST /nodes/{node}/qemu/{vmid}/move_disk")
def move_disk(asked: Asked) -> Any:
    pve, vm, key = asked.pve, asked.vm, asked.text("disk")
    target = asked.text("storage")
    if "target-vmid" in asked.params:
        raise PveError(501, "the fake moves disks between storages only")
    asked.check(f"/storage/{target}", "Datastore.AllocateSpace")
    if asked.text("digest", vm.digest) != vm.digest:
        raise Died("checksum mismatch (file change by other user?)")
    if key not in vm.config:
        raise Died(f"disk '{key}' does not exist")

    def work(_: Task) -> None:
        vm.check_lock()
        drive = drives.parse(pve, key, vm.config[key])
        if drives.is_cdrom(drive):
            raise Died("you can't move a cdrom")
        old = drives.find_volume(pve, vm.node, drive["file"])
        if old is None:
            raise Died(f"volume '{drive['file']}' does not exist")
        gib = old.size / GIB
        drive["file"], _size = drives.allocate(pve, vm, key, target, gib, drive)
        new = drives.find_volume(pve, vm.node, drive["file"])
        if new:
            new.written, new.stage = old.written, old.stage
        vm.config[key] = drives.render(drive)
        if asked.flag("delete"):
            drives.free(pve, vm.node, old.volid)
        else:
            drives.add_unused(vm, old.volid)

    return pve.fork(asked, "qmmove", str(vm.vmid), work)
