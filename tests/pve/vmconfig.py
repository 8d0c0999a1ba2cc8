"""Changes of a VM's configuration: written as pending, then applied as far as QEMU allows.

Order of qemu-server src/PVE/API2/Qemu.pm update_vm_api and QemuServer.pm
vmconfig_hotplug_pending, vmconfig_apply_pending. The pending section is the truth of a running
VM's next cold start; GET config shows it as if it were applied already.
"""

import re
from typing import TYPE_CHECKING

from tests.pve import drives
from tests.pve.calls import Asked
from tests.pve.formats import split_list
from tests.pve.state import DRIVE, Died, PveError, Vm

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

# QemuServer.pm fast_plug_option: these reach a running VM, all others but drives and nets wait
FAST = {"description", "hookscript", "lock", "migrate_downtime", "migrate_speed", "name", "onboot"}
FAST |= {"protection", "shares", "startup", "tags", "vmstatestorage"}
BUS_WITHOUT_HOTPLUG = re.compile(r"(efidisk|ide|sata|tpmstate)\d+")


def boot_devices(pve: "FakeCluster", text: str | None) -> list[str]:
    """Devices of `order=...`; none when the legacy form or nothing is set."""
    if not text:
        return []
    found = pve.schema.parse_properties("pve-qm-boot", text, "boot")
    return split_list(found.get("order", ""))


def render_boot(devices: list[str]) -> str:
    return f"order={';'.join(devices)}" if devices else ""


def default_boot(pve: "FakeCluster", config: dict[str, str]) -> str:
    """The order of a VM made without one: first disk, first CD by name, first network."""
    disks: list[str] = []
    discs: list[str] = []
    for key in _boot_candidates(config):
        drive = drives.parse(pve, key, config[key])
        (discs if drives.is_cdrom(drive) else disks).append(key)
    nets = sorted(key for key in config if re.fullmatch(r"net\d+", key))
    return render_boot(disks[:1] + discs[:1] + nets[:1])


def _boot_candidates(config: dict[str, str]) -> list[str]:
    buses = ("ide", "scsi", "virtio", "sata")  # Drive.pm valid_drive_names: in this order
    found = [re.fullmatch(r"(ide|scsi|virtio|sata)(\d+)", key) for key in config]
    keys = sorted((buses.index(f[1]), int(f[2]), f[0]) for f in found if f)
    return [key for _, _, key in keys]


def change(asked: Asked, vm: Vm, *, values: dict[str, str], deleted: list[str]) -> list[str]:
    """Does an update; lines for the task's log. Died and 400 as the worker would."""
    pve = asked.pve
    touched: set[str] = set()
    order = boot_devices(pve, vm.config.get("boot"))
    lines: list[str] = []
    for key in deleted:
        if key not in vm.config and key not in vm.pending:
            lines.append(f"cannot delete '{key}' - not set in current configuration!")
            continue
        touched.add(key)
        if key in order:
            order.remove(key)
            vm.pending["boot"] = render_boot(order)
            touched.add("boot")
        _delete(asked, vm, key)
    # Perl gives the options in random order; sorted is one of the orders that occur
    for key in sorted(values):
        touched.add(key)
        if vm.pending.get(key) == values[key]:
            continue
        if DRIVE.fullmatch(key):
            _set_drive(asked, vm, key, values[key], order, touched)
        else:
            vm.pending[key] = values[key]
            if key == "boot":
                _set_boot(pve, vm, values, deleted)
        vm.pending_delete.pop(key, None)
    _forget_unchanged(vm)
    if vm.running:
        hotplug(pve, vm, touched)
    else:
        apply(pve, vm)
    return lines


def _delete(asked: Asked, vm: Vm, key: str) -> None:
    pve = asked.pve
    value = vm.config.get(key, vm.pending.get(key, ""))
    was_pending = vm.pending.pop(key, None)
    force = asked.flag("force")
    if key.startswith("unused"):
        _check_protection(vm, f"can't remove unused disk '{value}'")
        asked.pve.access.check_vm(asked.user, vm.vmid, None, "VM.Config.Disk")
        asked.check(f"/storage/{value.partition(':')[0]}", "Datastore.AllocateSpace")
        drives.destroy(pve, vm, value)
        vm.config.pop(key, None)
        return
    if DRIVE.fullmatch(key):
        _check_protection(vm, f"can't remove drive '{key}'")
        check_drive_right(asked, vm, key, value)
        if was_pending:
            drives.register_unused(pve, vm, key, was_pending)
    vm.pending_delete[key] = force


def _check_protection(vm: Vm, text: str) -> None:
    if vm.config.get("protection") == "1":
        raise Died(f"{text} - protection mode enabled")


def check_drive_right(asked: Asked, vm: Vm, key: str, value: str) -> None:
    """VM.Config.CDROM for a CD, VM.Config.Disk for everything else that is a drive."""
    drive = drives.parse(asked.pve, key, value)
    wanted = ["VM.Config.CDROM" if drives.is_cdrom(drive) else "VM.Config.Disk"]
    if drives.is_cloudinit(drive):
        wanted = ["VM.Config.Cloudinit", "VM.Config.CDROM"]
    asked.pve.access.check_vm(asked.user, vm.vmid, None, *wanted)


def _set_drive(
    asked: Asked, vm: Vm, key: str, value: str, order: list[str], touched: set[str]
) -> None:
    if key in vm.config:
        check_drive_right(asked, vm, key, vm.config[key])
    check_drive_right(asked, vm, key, value)
    old = vm.pending.get(key)
    if old:
        drives.register_unused(asked.pve, vm, key, old)
    made = drives.create_disks(asked.pve, vm, {key: value})
    vm.pending.update(made)
    drive = drives.parse(asked.pve, key, value)
    plain_cd = drives.is_cdrom(drive) and not drives.is_cloudinit(drive)
    if order and plain_cd and key not in order:
        # whatever the slot held before: a CD outside the boot order is put at its end
        order.append(key)
        vm.pending["boot"] = render_boot(order)
        touched.add("boot")


def _set_boot(pve: "FakeCluster", vm: Vm, values: dict[str, str], deleted: list[str]) -> None:
    devices = boot_devices(pve, values["boot"])
    for device in devices:
        known = device in vm.config or device in vm.pending or device in values
        if not known or device in deleted:
            raise Died(f"invalid bootorder: device '{device}' does not exist'")
    if devices:
        vm.pending["boot"] = render_boot(devices)


def _forget_unchanged(vm: Vm) -> None:
    for key in [key for key, value in vm.pending.items() if vm.config.get(key) == value]:
        del vm.pending[key]
    for key in [key for key in vm.pending_delete if key not in vm.config]:
        del vm.pending_delete[key]


def apply(pve: "FakeCluster", vm: Vm) -> None:
    """Everything pending becomes the configuration: the VM is off, or about to start."""
    for key, force in sorted(vm.pending_delete.items()):
        if DRIVE.fullmatch(key) and key in vm.config:
            drives.detach(pve, vm, key, force=force)
        vm.config.pop(key, None)
    vm.pending_delete.clear()
    for key, value in sorted(vm.pending.items()):
        _replace(pve, vm, key, value)
    vm.pending.clear()


def _replace(pve: "FakeCluster", vm: Vm, key: str, value: str) -> None:
    old = vm.config.get(key)
    if old and DRIVE.fullmatch(key) and old.partition(",")[0] != value.partition(",")[0]:
        drives.register_unused(pve, vm, key, old)
    vm.config[key] = value
    volid = value.partition(",")[0]
    if DRIVE.fullmatch(key):  # an image that is attached again is no longer unused
        for name in [n for n, v in vm.config.items() if n.startswith("unused") and v == volid]:
            del vm.config[name]
    if not value and key == "boot":
        del vm.config[key]


def hotplug(pve: "FakeCluster", vm: Vm, touched: set[str]) -> None:
    """What a running QEMU takes at once leaves the pending section; 400 when it cannot."""
    for key in [key for key in vm.pending if key in FAST]:
        vm.config[key] = vm.pending.pop(key)
    features = set(split_list(vm.config.get("hotplug", "network,disk,usb")))
    if "1" in features:
        features = {"network", "disk", "usb"}
    for key in [key for key in sorted(vm.pending_delete) if key in touched]:
        if key in FAST or (_pluggable(key, features) and not BUS_WITHOUT_HOTPLUG.fullmatch(key)):
            force = vm.pending_delete.pop(key)
            if DRIVE.fullmatch(key):
                drives.detach(pve, vm, key, force=force)
            vm.config.pop(key, None)
    for key in [key for key in sorted(vm.pending) if key in touched]:
        if _takes_now(pve, vm, key, features):
            _replace(pve, vm, key, vm.pending.pop(key))


def _pluggable(key: str, features: set[str]) -> bool:
    if DRIVE.fullmatch(key):
        return "disk" in features
    return bool(re.fullmatch(r"net\d+", key)) and "network" in features


def _takes_now(pve: "FakeCluster", vm: Vm, key: str, features: set[str]) -> bool:
    if key == "balloon":
        return vm.config.get("balloon", "1") != "0" and vm.pending["balloon"] != "0"
    if key in {"cpuunits", "cpulimit"}:
        return True
    if not DRIVE.fullmatch(key):
        return _pluggable(key, features)
    new = drives.parse(pve, key, vm.pending[key])
    if key in vm.config:
        old = drives.parse(pve, key, vm.config[key])
        if drives.is_cdrom(old) != drives.is_cdrom(new):
            text = "hotplug problem - unable to change media type"
            raise PveError(400, "Parameter verification failed.", {key: text})
        if drives.is_cdrom(old):
            return True  # the tray is forced open, the medium changes at once
        if old["file"] == new["file"]:
            return True
    return "disk" in features and not BUS_WITHOUT_HOTPLUG.fullmatch(key)
