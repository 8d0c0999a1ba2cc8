"""The VM that a host asks for, as settings of Proxmox VE, and whether a VM is what was asked for.

Everything that has a default with a trap is sent: efitype is 2m and the TPM v1.2 unless told
otherwise, a card without MAC gets a new one, a VM without `boot` boots from the first CD by name.
Settings are read back parsed, never compared as text: Proxmox VE rewrites machine type, sizes,
order. Rules: proxmox/qemu-server at e6352be, src/PVE/QemuServer.pm and API2/Qemu.pm.
"""

from collections.abc import Iterator, Mapping

from builder.errors import Problem
from builder.machine import (
    GIB,
    CdDrive,
    Disk,
    DriveBus,
    Machine,
    Nic,
    Ovmf,
    Slot,
    install_slot,
    make_machine,
)
from builder.proxmox.api import Value
from builder.releases import Release
from builder.spec.model import DataDiskSpec, HostSpec, ProxmoxSpec
from builder.values import Bus, Firmware, derive_mac
from builder.vm_config import load_machine

# Windows, virtio-win, answer: what starts on q35 and i440fx alike (qemu-server before 8.0.7 does
# not start ide1 and ide3 on q35), and others where a disk that comes back has one of these
CDS = ("ide2", "ide0", "sata0")
OTHER_CDS = ("sata5", "sata4", "sata3", "sata2", "sata1")
NO_MEDIUM = "none,media=cdrom"
ASIDE = "sata5"  # where a cloud-init drive goes that holds a slot of ours


def make_settings(
    host: HostSpec, proxmox: ProxmoxSpec, release: Release, *, site: str, memory_mib: int
) -> dict[str, Value]:
    """What creates the VM: without CDs, with the install disk as the only disk."""
    machine, spec = make_machine(host, release), host.machine
    settings: dict[str, Value] = {
        "name": host.name,
        "ostype": machine.ostype,
        "machine": machine.machine_type,
        "bios": "ovmf" if isinstance(machine.firmware, Ovmf) else "seabios",
        "cpu": spec.cpu,
        "sockets": 1,
        "cores": spec.cores,
        "memory": memory_mib,
        "balloon": memory_mib if spec.balloon else 0,
        "agent": f"enabled={int(spec.agent)},fstrim_cloned_disks=1",
        "scsihw": machine.scsi.value,
        "vga": spec.vga,
        "serial0": "socket",
        "onboot": False,
        "tags": ";".join(spec.tags) or None,
    }
    if spec.rng:
        settings["rng0"] = "source=/dev/urandom"
    settings |= make_system_drives(host, proxmox)
    for number, nic in enumerate(host.nic):
        mac = nic.mac or derive_mac(site, host.name, number)
        tag = f",tag={nic.vlan}" if nic.vlan else ""
        firewall = f",firewall={int(nic.firewall)}"
        settings[f"net{number}"] = f"{nic.model}={mac},bridge={nic.bridge}{firewall}{tag}"
    settings["boot"] = f"order={install_slot(host.disk.bus)}"
    return settings


def make_system_drives(host: HostSpec, proxmox: ProxmoxSpec) -> dict[str, Value]:
    """Fresh install disk, EFI variables and TPM state."""
    storage = proxmox.disk_storage
    drives: dict[str, Value] = {
        str(install_slot(host.disk.bus)): render_disk(host, storage, host.disk.size_gib)
    }
    if host.disk.layout is Firmware.UEFI:
        keys = int(host.machine.secure_boot)
        drives["efidisk0"] = f"{storage}:1,efitype=4m,pre-enrolled-keys={keys}"
        if host.machine.tpm:
            drives["tpmstate0"] = f"{storage}:1,version=v2.0"
    return drives


def make_data_drive(host: HostSpec, proxmox: ProxmoxSpec, disk: DataDiskSpec) -> tuple[str, str]:
    """Slot and setting of a fresh data disk."""
    bus = install_slot(host.disk.bus).bus
    slot = str(Slot(bus=bus, number=disk.slot))
    return slot, render_disk(host, proxmox.disk_storage, disk.size_gib)


def render_disk(host: HostSpec, storage: str, gib: int) -> str:
    """A new disk of `gib` on `storage`: a plain number, `60G` would fail in the worker."""
    options = [f"{storage}:{gib}"]
    if host.disk.cache != "none":
        options.append(f"cache={host.disk.cache}")
    if host.disk.discard:
        options.append("discard=on")
    if host.disk.iothread and host.disk.bus is not Bus.SATA:
        options.append("iothread=1")
    return ",".join(options)


def render_cd(volid: str) -> str:
    """A CD drive with a medium; `media=cdrom` is required since 8.4."""
    return f"{volid},media=cdrom"


def load_slot(text: str) -> Slot:
    """`scsi0` as a slot."""
    name = text.rstrip("0123456789")
    return Slot(bus=DriveBus(name), number=int(text.removeprefix(name)))


def choose_cds(taken: frozenset[str]) -> tuple[str, str, str]:
    """Slots for the three discs, beside those that are `taken`. Never on a SCSI bus."""
    free = [slot for slot in (*CDS, *OTHER_CDS) if slot not in taken]
    windows, virtio, answer = free[:3]  # six SATA and two IDE slots: no VM has disks in all of them
    return windows, virtio, answer


def set_aside(
    current: Mapping[str, str], cds: tuple[str, ...]
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """What frees our CD slots in a VM that is taken over: settings to add, keys to delete.

    A cloud-init drive moves aside, other CD drives go; disks are not there (`preflight.py`).
    """
    added: dict[str, Value] = {}
    gone = []
    for slot in cds:
        text = current.get(slot, "")
        if not text:
            continue
        gone.append(slot)
        volid = text.partition(",")[0]
        if "cloudinit" in volid and ASIDE not in current:
            added[ASIDE] = f"{volid.partition(':')[0]}:cloudinit"
    return added, tuple(gone)


def find_differences(
    wanted: Machine, found: Machine, media: Mapping[str, str]
) -> tuple[Problem, ...]:
    """Where `found` is not the VM that was asked for with `media` in its CD drives."""
    return tuple(_differences(wanted, found, media))


def _differences(wanted: Machine, found: Machine, media: Mapping[str, str]) -> Iterator[Problem]:
    pairs = {
        "machine": (wanted.chipset.value, found.chipset.value),
        "bios": (type(wanted.firmware).__name__, type(found.firmware).__name__),
        "secure boot": (str(wanted.secure_boot), str(found.secure_boot)),
        "scsihw": (wanted.scsi.value, found.scsi.value),
        "agent": (wanted.agent.value, found.agent.value),
        "tpm": (wanted.tpm.version if wanted.tpm else "", found.tpm.version if found.tpm else ""),
        "boot": ("; ".join(wanted.boot), "; ".join(found.boot)),
        "disks": (_sizes(wanted.disks), _sizes(found.disks)),
        "network": (_cards(wanted.nics), _cards(found.nics)),
    }
    for where, (expected, is_now) in pairs.items():
        if expected != is_now:
            yield Problem(where=where, what=f"{is_now or 'none'}, expected {expected or 'none'}")
    drives = {str(drive.slot): drive for drive in found.cds}
    for slot, volid in media.items():
        drive = drives.get(slot)
        if drive is None or drive.volume != volid:
            told = drive.volume if isinstance(drive, CdDrive) else "no CD drive"
            yield Problem(where=slot, what=f"{told or 'empty'}, expected {volid}")
    for cd in found.cds:
        if str(cd.slot) not in media and cd.volume and "cloudinit" not in cd.volume:
            yield Problem(where=str(cd.slot), what=f"{cd.volume} is not of this installation")


def _sizes(disks: tuple[Disk, ...]) -> str:
    """Slots and sizes; a storage may round a size up, so whole GiB count."""
    return ", ".join(f"{disk.slot}: {(disk.size or 0) // GIB} GiB" for disk in disks)


def _cards(nics: tuple[Nic, ...]) -> str:
    return ", ".join(
        f"{nic.model}={(nic.mac or '').upper()} on {nic.bridge} {nic.vlan or ''}".strip()
        for nic in nics
    )


def load_wanted(settings: Mapping[str, Value]) -> Machine:
    """The machine that settings make, before Proxmox VE has seen them."""
    lines = [f"{key}: {_told(key, value)}" for key, value in settings.items() if value is not None]
    return load_machine("\n".join(lines), source="the VM that the spec asks for")


def _told(key: str, value: Value) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    volume, comma, rest = text.partition(",")
    storage, colon, gib = volume.partition(":")
    # what has yet to be made says its size where the volume will stand
    if colon and gib.isdigit() and key not in {"efidisk0", "tpmstate0"}:
        return f"{storage}:new{comma}{rest},size={gib}G"
    return text
