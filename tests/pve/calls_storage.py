"""Calls about storages: lists, contents, upload, deletion."""

import re
from typing import Any

from tests.pve.calls import Asked, Uploaded, answers
from tests.pve.state import Died, PveError, Storage, Volume
from tests.pve.tasks import Task

FILE_KINDS = {"dir", "nfs", "cifs", "cephfs", "btrfs"}
SEEING = ("Datastore.Audit", "Datastore.AllocateSpace")


def split_volid(volid: str) -> tuple[str, str]:
    """Storage and name of `local:iso/x.iso`."""
    storage, _, name = volid.partition(":")
    return storage, name


@answers("GET /nodes/{node}/storage")
def storages(asked: Asked) -> Any:
    wanted = set(asked.text("content").replace(";", ",").split(",")) - {""}
    rows = []
    for storage in asked.pve.storages.values():
        if asked.text("storage", storage.name) != storage.name:
            continue
        if not storage.seen_by(asked.node) or (asked.flag("enabled") and not storage.enabled):
            continue
        if wanted and not wanted & storage.content:
            continue
        if asked.allows(f"/storage/{storage.name}", *SEEING, any_of=True):
            rows.append(_row(storage, asked.node))
    return rows


def _row(storage: Storage, node: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "storage": storage.name,
        "type": storage.kind,
        "content": ",".join(sorted(storage.content)),
        "shared": int(storage.shared),
        "enabled": int(storage.enabled),
        "active": int(storage.active and storage.enabled),
    }
    if row["active"]:
        avail = storage.avail(node)
        row |= {"total": storage.total, "avail": avail, "used": storage.total - avail}
        row["used_fraction"] = (storage.total - avail) / storage.total
    return row


@answers("GET /nodes/{node}/storage/{storage}/status")
def storage_status(asked: Asked) -> Any:
    row = _row(asked.storage, asked.node)
    return {key: value for key, value in row.items() if key not in {"storage", "used_fraction"}}


@answers("GET /storage")
def storage_definitions(asked: Asked) -> Any:
    return [
        {
            "storage": storage.name,
            "type": storage.kind,
            "content": ",".join(sorted(storage.content)),
            "shared": int(storage.shared),
            "digest": "0" * 40,
        }
        for storage in asked.pve.storages.values()
        if asked.allows(f"/storage/{storage.name}", *SEEING, "Datastore.Allocate", any_of=True)
    ]


@answers("GET /nodes/{node}/storage/{storage}/content")
def content(asked: Asked) -> Any:
    kind = asked.text("content")
    storage = asked.storage
    if not storage.active:
        raise Died(f"storage '{storage.name}' is not online")
    rows = []
    for volume in storage.on(asked.node).values():
        owner = volume.vmid if volume.vmid is not None else 0
        if kind and volume.kind != kind:
            continue
        if "vmid" in asked.params and owner != asked.number("vmid"):
            continue
        row: dict[str, Any] = {
            "volid": volume.volid,
            "content": volume.kind,
            "format": volume.form,
            "size": volume.size,
            "ctime": volume.ctime,
        }
        if volume.vmid is not None:
            row["vmid"] = volume.vmid
        rows.append(row)
    return rows


def _volume(asked: Asked) -> tuple[Storage, Volume]:
    volid = asked.text("volume")
    storage = asked.storage
    if ":" not in volid:
        volid = f"{storage.name}:{volid}"
    named, name = split_volid(volid)
    if named != storage.name:
        text = f"storage ID mismatch ({storage.name} != {named})"
        raise PveError(400, "Parameter verification failed.", {"volume": text})
    volume = storage.on(asked.node).get(volid)
    if volume is None:
        kind = "iso" if name.startswith("iso/") else "images"
        volume = Volume(volid=volid, kind=kind, size=-1, form="raw")
    return storage, volume


@answers("GET /nodes/{node}/storage/{storage}/content/{volume}")
def volume_attributes(asked: Asked) -> Any:
    storage, volume = _volume(asked)
    asked.check(f"/storage/{storage.name}", *SEEING, "Datastore.AllocateTemplate", any_of=True)
    if volume.size < 0:
        raise Died(f"volume_size_info on '{volume.volid}' failed")
    path = f"/mnt/pve/{storage.name}/template/{split_volid(volume.volid)[1]}"
    return {"path": path, "size": volume.size, "used": volume.size, "format": volume.form}


@answers("DELETE /nodes/{node}/storage/{storage}/content/{volume}")
def delete_volume(asked: Asked) -> Any:
    storage, volume = _volume(asked)
    if volume.kind == "backup" and volume.vmid is not None:
        asked.check(f"/storage/{storage.name}", "Datastore.AllocateSpace")
        asked.check(f"/vms/{volume.vmid}", "VM.Backup")
    else:  # a disk image too: Content.pm asks for no lesser right
        asked.check(f"/storage/{storage.name}", "Datastore.Allocate")

    def work(task: Task) -> None:
        if volume.size < 0:
            raise Died(f"unable to delete '{volume.volid}' - volume does not exist")
        # nothing looks for a VM that still names it
        storage.on(asked.node).pop(volume.volid, None)
        task.say(f"Removed volume '{volume.volid}'")

    about = storage.name if volume.vmid is None else f"{volume.vmid}@{storage.name}"
    upid = asked.pve.fork(asked, "imgdel", about, work)
    return asked.pve.wait_for(upid, asked.number("delay")) if "delay" in asked.params else upid


def clean_name(name: str) -> str:
    """The name under which an upload is stored (Storage.pm normalize_content_filename)."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "_", re.split(r"[/\\]", name)[-1])


@answers("POST /nodes/{node}/storage/{storage}/upload")
def upload(asked: Asked) -> Any:
    storage, sent = asked.storage, asked.upload
    if storage.kind not in FILE_KINDS:
        raise Died(f"can't upload to storage type '{storage.kind}'")
    if sent is None:
        raise Died("missing temporary file name")
    kind, name = asked.text("content"), clean_name(asked.text("filename"))
    if kind == "iso" and not re.search(r"[^/]+\.(?:[iI][sS][oO]|[iI][mM][gG])$", name):
        error = {"filename": "wrong file extension"}
        raise PveError(400, "Parameter verification failed.", error)
    if kind not in storage.content:
        raise Died(f"storage '{storage.name}' does not support '{kind}' content")

    def work(task: Task) -> None:
        _import(asked, task, storage, sent, f"{storage.name}:iso/{name}")

    return asked.pve.fork(asked, "imgcopy", "", work, node=asked.contacted)


def _import(asked: Asked, task: Task, storage: Storage, sent: Uploaded, volid: str) -> None:
    wanted = asked.text("checksum").lower()
    if sent.lost:
        raise Died('scp: stat local "/var/tmp/pveupload-0": No such file or directory')
    if "checksum-algorithm" in asked.params and sent.digest.lower() != wanted:
        raise Died(f"checksum mismatch: got '{sent.digest}' != expect '{wanted}'")
    task.say(f"target node: {asked.node}")
    task.say(f"file size is: {sent.size}")
    if storage.avail(asked.node) < sent.size:
        raise Died("import failed: No space left on device")
    volume = Volume(
        volid=volid,
        kind=asked.text("content"),
        size=sent.size,
        form="iso",
        ctime=int(asked.pve.clock()),
        content=sent.content,
        sha256=sent.sha256,
    )
    task.checkpoint("half")
    storage.on(asked.node)[volid] = volume  # an existing file is overwritten silently
    task.say("finished file import successfully")
