"""Which privilege an option of a VM needs (qemu-server src/PVE/API2/Qemu.pm).

Options that no list names are for root@pam itself, and no token is that: 500 with a sentence.
"""

import re

from tests.pve import drives
from tests.pve.access import ROOT
from tests.pve.calls import Asked
from tests.pve.state import DRIVE, Died, PveError

CPU = {"cores", "cpu", "cpulimit", "cpuunits", "numa", "smp", "sockets", "vcpus"}
MEMORY = {"memory", "balloon", "shares", "allow-ksm"}
HARDWARE = {"acpi", "hotplug", "kvm", "machine", "scsihw", "smbios1", "tablet", "vga", "watchdog"}
HARDWARE |= {"audio0", "rng0"}
GENERAL = {"agent", "autostart", "bios", "description", "keyboard", "localtime", "name", "onboot"}
GENERAL |= {"migrate_downtime", "migrate_speed", "ostype", "protection", "reboot", "startdate"}
GENERAL |= {"startup", "tdf", "template", "tags"}
DISK = {"boot", "bootdisk", "vmstatestorage"}
CLOUDINIT = {"cicustom", "cipassword", "citype", "ciuser", "ciupgrade", "nameserver"}
CLOUDINIT |= {"searchdomain", "sshkeys"}
ELSEWHERE = re.compile(r"(?:unused|usb|hostpci|virtiofs)\d+|cdrom")


RULES: tuple[tuple[set[str], str | None, tuple[str, ...]], ...] = (
    (CPU, r"numa\d+", ("VM.Config.CPU",)),
    (MEMORY, None, ("VM.Config.Memory",)),
    (HARDWARE, r"serial\d+", ("VM.Config.HWType",)),
    (GENERAL, None, ("VM.Config.Options",)),
    ({"freeze"}, None, ("VM.PowerMgmt",)),
    (DISK, None, ("VM.Config.Disk",)),
    (set(), r"net\d+", ("VM.Config.Network",)),
    (CLOUDINIT, r"ipconfig\d+", ("VM.Config.Cloudinit", "VM.Config.Network")),
)


def privilege_of(option: str) -> tuple[str, ...] | None:
    """Privileges of which one is needed; None when the option is judged by its value."""
    if DRIVE.fullmatch(option) or ELSEWHERE.fullmatch(option):
        return None
    for names, pattern, privileges in RULES:
        if option in names or (pattern and re.fullmatch(pattern, option)):
            return privileges
    raise Died(f"only root can set '{option}' config")


def check_options(asked: Asked, vmid: int, pool: str | None, options: dict[str, str]) -> None:
    """403 or 500 for the first option that the account may not set."""
    if asked.user == ROOT:
        return
    for option, value in options.items():
        wanted = privilege_of(option)
        if wanted is None:
            continue
        asked.pve.access.check_vm(asked.user, vmid, pool, *wanted, any_of=len(wanted) > 1)
        if option == "startup":
            asked.check("/", "Sys.Modify")
        if option.startswith("serial") and value not in {"", "socket"}:
            raise Died(f"only root can set '{option}' config for real devices")
        if option == "rng0" and "/dev/hwrng" in value:
            asked.check("/mapping/hwrng", "Mapping.Use")


def check_bridges(asked: Asked, options: dict[str, str]) -> None:
    """SDN.Use on the bridge of every network device, with its VLAN when it has one."""
    if asked.user == ROOT:
        return
    for option, value in sorted(options.items()):
        if not re.fullmatch(r"net\d+", option):
            continue
        net = asked.pve.schema.parse(drives.CREATE, option, value)
        if "bridge" not in net:
            continue
        path = f"/sdn/zones/localnetwork/{net['bridge']}"
        tag = net.get("tag")
        asked.check(f"{path}/{tag}" if tag else path, "SDN.Use")


def check_drives(asked: Asked, vmid: int, options: dict[str, str]) -> None:
    """Form of the drives, then the rights on the storages they name."""
    found = {
        option: drives.parse(asked.pve, option, value)
        for option, value in sorted(options.items())
        if DRIVE.fullmatch(option)
    }
    for option, drive in found.items():
        name = drive["file"].partition(":")[2]
        if name.startswith("iso/") and not drives.is_cdrom(drive):
            text = "explicit 'media=cdrom' is required for iso images"
            raise PveError(400, "Parameter verification failed.", {option: text})
    for drive in found.values():
        _check_storage(asked, vmid, drive)


def _check_storage(asked: Asked, vmid: int, drive: drives.Drive) -> None:
    volid = drive["file"]
    new = drives.NEW_DISK.fullmatch(volid)
    if volid == "none" or drives.is_cloudinit(drive):
        return
    if drives.is_cdrom(drive) and volid == "cdrom":
        asked.check("/", "Sys.Console")
    elif not drives.is_cdrom(drive) and new:
        if not new[1]:
            raise Died("no storage ID specified (and no default storage)")
        asked.check(f"/storage/{new[1]}", "Datastore.AllocateSpace")
        storage = asked.pve.storages.get(new[1])
        if storage is None:
            raise Died(f"storage '{new[1]}' does not exist")
        if "images" not in storage.content:
            text = f"storage '{new[1]}' does not support vm images"
            raise PveError(400, "Parameter verification failed.", {"storage": text})
    else:
        _check_volume(asked, vmid, volid)
    source = drive.get("import-from", "")
    if source.startswith("/"):
        raise Died("Only root can pass arbitrary filesystem paths.")


def _check_volume(asked: Asked, vmid: int, volid: str) -> None:
    """Storage.pm check_volume_access: ISOs need a look at their storage, images an owner."""
    storage, _, name = volid.partition(":")
    if not name or volid.startswith("/"):
        if asked.user != ROOT:
            raise Died("Only root can pass arbitrary filesystem paths.")
        return
    path = f"/storage/{storage}"
    if asked.allows(path, "Datastore.Allocate"):
        return
    if name.startswith(("iso/", "vztmpl/", "import/")):
        asked.check(path, "Datastore.AllocateSpace", "Datastore.Audit", any_of=True)
        return
    owner = re.search(r"(?:^|/)(?:vm|base)-(\d+)-", name)
    if owner is None:
        raise Died(f"missing privileges to access {volid}")
    if int(owner[1]) != vmid:
        asked.check(path, "Datastore.Audit")
        asked.check(f"/vms/{owner[1]}", "VM.Config.Disk")
    if drives.NEW_DISK.fullmatch(volid):
        raise Died(f"unable to parse volume name '{name}'")
