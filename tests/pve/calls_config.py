"""Calls about a VM's configuration: read it, create it, change it."""

import re
from typing import Any

from tests.pve import drives, vmconfig
from tests.pve.access import ROOT
from tests.pve.calls import Asked, answers
from tests.pve.calls_power import start_vm
from tests.pve.calls_qemu import QEMU
from tests.pve.formats import render_size, split_list
from tests.pve.options import check_bridges, check_drives, check_options
from tests.pve.state import DRIVE, Died, PveError, Vm, make_uuid
from tests.pve.tasks import Task

NET = re.compile(r"net\d+")
NOT_OPTIONS = {"node", "vmid", "archive", "bwlimit", "force", "pool", "start", "storage", "unique"}
NOT_OPTIONS |= {"ha-managed", "live-restore", "import-working-storage", "digest", "delete"}
NOT_OPTIONS |= {"revert", "background_delay", "skiplock"}


def render_config(asked: Asked, vm: Vm, *, with_pending: bool) -> dict[str, Any]:
    """GET config: text, but numbers and booleans as numbers."""
    values = dict(vm.config)
    if with_pending:
        values = {key: text for key, text in values.items() if key not in vm.pending_delete}
        values |= vm.pending
    properties = asked.pve.schema.calls["POST /nodes/{node}/qemu"]["parameters"]["properties"]
    typed: dict[str, Any] = {}
    for key, text in values.items():
        kind = (asked.pve.schema.property_of(properties, key) or {}).get("type")
        typed[key] = int(text) if kind in {"integer", "boolean"} else text
    return {**typed, "digest": vm.digest}


@answers("GET /nodes/{node}/qemu/{vmid}/config")
def config(asked: Asked) -> Any:
    return render_config(asked, asked.vm, with_pending=not asked.flag("current"))


@answers("GET /nodes/{node}/qemu/{vmid}/pending")
def pending(asked: Asked) -> Any:
    vm = asked.vm
    rows: list[dict[str, Any]] = []
    for key in sorted({*vm.config, *vm.pending}):
        row: dict[str, Any] = {"key": key}
        if key in vm.config:
            row["value"] = vm.config[key]
        if key in vm.pending:
            row["pending"] = vm.pending[key]
        if key in vm.pending_delete:
            row["delete"] = 2 if vm.pending_delete[key] else 1
        rows.append(row)
    return rows


@answers("POST /nodes/{node}/qemu")
def create(asked: Asked) -> Any:
    pve, vmid = asked.pve, asked.number("vmid")
    pool = asked.text("pool") or None
    pve.check_quorum()
    if pool and pool not in pve.access.pools:
        raise PveError(400, "Parameter verification failed.", {"pool": f"pool '{pool}' not exist"})
    if asked.flag("ha-managed"):
        asked.check("/", "Sys.Console")
    if asked.flag("start"):
        pve.access.check_vm(asked.user, vmid, pool, "VM.PowerMgmt")
    if not asked.allows(f"/vms/{vmid}", "VM.Allocate"):
        where = f"/pool/{pool}" if pool else ""
        if not pool or not asked.allows(where, "VM.Allocate"):
            raise PveError(403, "Permission check failed")
    wanted = _options(asked)
    check_drives(asked, vmid, wanted)
    check_options(asked, vmid, pool, wanted)
    check_bridges(asked, wanted)
    for key in [key for key in wanted if NET.fullmatch(key)]:
        wanted[key] = drives.render_net(pve, key, wanted[key])
    if vmid in pve.vms:
        other = pve.vms[vmid].node
        raise Died(f"unable to create VM {vmid} - VM {vmid} already exists on node '{other}'")
    vm = Vm(vmid=vmid, node=asked.node, config={"lock": "create"})
    pve.vms[vmid] = vm
    used = _allocating(asked, wanted)

    def work(task: Task) -> None:
        _create(asked, vm, wanted, task)

    return pve.fork(asked, "qmcreate", str(vmid), work, storages=used)


def _allocating(asked: Asked, values: dict[str, str]) -> frozenset[str]:
    """Storages that get new images: the name of a shared one, `NODE:NAME` of a local one."""
    places = set()
    for key, value in values.items():
        new = drives.NEW_DISK.fullmatch(value.partition(",")[0])
        storage = asked.pve.storages.get(new[1] or "") if new and DRIVE.fullmatch(key) else None
        if storage:
            places.add(storage.name if storage.shared else f"{asked.node}:{storage.name}")
    return frozenset(places)


def _options(asked: Asked) -> dict[str, str]:
    """The parameters that are options of the VM."""
    found = {key: asked.text(key) for key in asked.params if key not in NOT_OPTIONS}
    if "cdrom" in found:
        found["ide2"] = found.pop("cdrom")
    return found


def _create(asked: Asked, vm: Vm, wanted: dict[str, str], task: Task) -> None:
    pve = asked.pve
    disks = {key: value for key, value in wanted.items() if DRIVE.fullmatch(key)}
    try:
        made = drives.create_disks(pve, vm, disks, task)
    except (Died, PveError) as error:
        del pve.vms[vm.vmid]
        raise Died(f"unable to create VM {vm.vmid} - {error.reason}") from None
    task.checkpoint("disks")
    config = {**wanted, **made}
    config.setdefault("boot", vmconfig.default_boot(pve, config))
    config.setdefault("smbios1", f"uuid={make_uuid()}")
    config["vmgenid"] = make_uuid()
    config["meta"] = f"creation-qemu={QEMU[pve.release][0]},ctime={int(pve.clock())}"
    if config.get("ostype", "").startswith("w"):
        config["machine"] = pin_machine(pve.release, config.get("machine", ""))
    if "tags" in config:
        config["tags"] = ";".join(dict.fromkeys(split_list(config["tags"])))
    vm.config = config
    task.checkpoint("config")
    pool = asked.text("pool")
    if pool:
        pve.access.pools[pool].add(vm.vmid)
    if asked.flag("start"):
        start_vm(pve, vm, task)
    if asked.flag("ha-managed"):
        vm.ha_state = "started" if asked.flag("start") else "stopped"


def pin_machine(release: str, text: str) -> str:
    """A machine type with a version for Windows, which is easily confused by a new one."""
    newest = QEMU[release][1]
    kind, *rest = (text or "pc").split(",")
    kind = kind.removeprefix("type=")
    pinned = {"q35": newest, "pc": newest.replace("pc-q35", "pc-i440fx")}.get(kind, kind)
    return ",".join([pinned, *rest])


@answers("PUT /nodes/{node}/qemu/{vmid}/config", "POST /nodes/{node}/qemu/{vmid}/config")
def update(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    if asked.flag("skiplock") and asked.user != ROOT:
        text = "Only root may use this option."
        raise PveError(400, "Parameter verification failed.", {"skiplock": text})
    values, deleted = _options(asked), split_list(asked.text("delete"))
    reverted = split_list(asked.text("revert"))
    if not values and not deleted and not reverted:
        raise Died("no options specified")
    _check_lists(asked, values, deleted, reverted)
    for key in [key for key in values if NET.fullmatch(key)]:
        values[key] = drives.render_net(pve, key, values[key])
    check_options(asked, vm.vmid, None, dict.fromkeys(deleted, ""))
    check_options(asked, vm.vmid, None, values)
    check_drives(asked, vm.vmid, values)
    check_bridges(asked, values)
    _check_state(asked, vm, values)
    pve.check_quorum()

    def work(task: Task) -> None:
        _check_state(asked, vm, values)
        for key in reverted:
            vm.pending.pop(key, None)
            vm.pending_delete.pop(key, None)
        # what the pending section held stays if a later option is refused
        for line in vmconfig.change(asked, vm, values=values, deleted=deleted):
            task.say(line)

    if asked.call.startswith("PUT"):
        pve.run_locked(vm, work)
        return None
    used = _allocating(asked, values)
    upid = pve.fork(asked, "qmconfig", str(vm.vmid), work, storages=used)
    if "background_delay" not in asked.params:
        return upid
    try:
        return pve.wait_for(upid, asked.number("background_delay"))
    except Died as error:
        raise Died(f"failed to update VM {vm.vmid}: {error.reason}") from None


def _check_lists(
    asked: Asked, values: dict[str, str], deleted: list[str], reverted: list[str]
) -> None:
    properties = asked.pve.schema.calls["POST /nodes/{node}/qemu"]["parameters"]["properties"]
    for name, listed in (("delete", deleted), ("revert", reverted)):
        for key in listed:
            error = None
            if key in values:
                error = f"you can't use '-{key}' and -{name} {key}' at the same time"
            elif not asked.pve.schema.property_of(properties, key) and key[:6] != "unused":
                error = f"unknown option '{key}'"
            if error:
                raise PveError(400, "Parameter verification failed.", {name: error})


def _check_state(asked: Asked, vm: Vm, values: dict[str, str]) -> None:
    digest = asked.text("digest")
    if digest and digest != vm.digest:
        raise Died("checksum mismatch (file change by other user?)")
    vm.check_lock()
    memory = values.get("memory", vm.pending.get("memory", vm.config.get("memory", "512")))
    balloon = values.get("balloon")
    if balloon and int(balloon) > int(memory.removeprefix("current=").partition(",")[0]):
        raise Died("balloon value too large (must be smaller than assigned memory)")


@answers("PUT /nodes/{node}/qemu/{vmid}/unlink")
def unlink(asked: Asked) -> Any:
    vm = asked.vm
    deleted = split_list(asked.text("idlist"))
    _check_state(asked, vm, {})

    def work(_: Task) -> None:
        vmconfig.change(asked, vm, values={}, deleted=deleted)

    asked.pve.run_locked(vm, work)


@answers("PUT /nodes/{node}/qemu/{vmid}/resize")
def resize(asked: Asked) -> Any:
    pve, vm, key = asked.pve, asked.vm, asked.text("disk")
    _check_state(asked, vm, {})
    if key not in vm.config:
        raise Died(f"disk '{key}' does not exist")
    drive = drives.parse(pve, key, vm.config[key])
    if drives.is_cdrom(drive):
        raise Died("you can't resize a cdrom")
    asked.check(f"/storage/{drive['file'].partition(':')[0]}", "Datastore.AllocateSpace")
    volume = drives.find_volume(pve, vm.node, drive["file"])
    if volume is None:
        raise Died(f"volume {drive['file']} does not exist")

    def work(_: Task) -> None:
        size = drives.grown(asked.text("size"), volume.size)
        if size < volume.size:
            raise Died("shrinking disks is not supported")
        volume.size = size
        vm.config[key] = drives.render({**drive, "size": render_size(size)})

    return pve.fork(asked, "resize", str(vm.vmid), work)


@answers("DELETE /nodes/{node}/qemu/{vmid}")
def destroy(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    pve.check_quorum()
    if vm.config.get("protection") == "1":
        raise Died(f"can't remove VM {vm.vmid} - protection mode enabled")
    if vm.ha_state and not asked.flag("purge"):
        text = f"unable to remove VM {vm.vmid} - used in HA resources and purge parameter not set."
        raise Died(text)
    if vm.replicated:
        raise Died(f"unable to remove VM {vm.vmid} - used in replication")
    if vm.running:
        raise Died(f"VM {vm.vmid} is running - destroy failed")
    vm.check_lock()

    def work(task: Task) -> None:
        if vm.running:
            raise Died(f"VM {vm.vmid} is running - destroy failed")
        vm.config["lock"] = "destroyed"
        for volid in pve.volumes_of(vm, every=asked.flag("destroy-unreferenced-disks")):
            drives.free(pve, vm.node, volid)
            task.say(f'Logical volume "{volid}" successfully removed.')
            task.checkpoint("disk")
        del pve.vms[vm.vmid]
        for members in pve.access.pools.values():
            members.discard(vm.vmid)

    return pve.fork(asked, "qmdestroy", str(vm.vmid), work)
