"""A machine's devices, and the PCI ids under which the guest finds them. Pure.

What QEMU shows is data: `[[device]]` in `drivers/catalog.toml`, with its sources.
"""

import functools
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from builder import resources
from builder.machine import (
    AgentKind,
    CdDrive,
    Chipset,
    Disk,
    Drive,
    DriveBus,
    EmulatedVga,
    Machine,
    NoVga,
    Qxl,
    ScsiModel,
    Slot,
    VirtioVga,
)
from builder.record import record


@record
class PciId:
    """A PCI function as the guest sees it: `vendor:device` in hex; parts may be "" for unknown."""

    device: str
    subsystem: str
    revision: str

    def __str__(self) -> str:
        return self.device

    @property
    def hardware_ids(self) -> tuple[str, ...]:
        """The ids by which Windows looks for an INF, closest first, without those by class.

        learn.microsoft.com/windows-hardware/drivers/install/identifiers-for-pci-devices.
        """
        vendor, device = self.device.upper().split(":")
        base = f"PCI\\VEN_{vendor}&DEV_{device}"
        ids = []
        if self.subsystem:
            vendor, device = self.subsystem.upper().split(":")
            subsystem = f"{base}&SUBSYS_{device}{vendor}"
            ids += [f"{subsystem}&REV_{self.revision}"] if self.revision else []
            ids.append(subsystem)
        ids += [f"{base}&REV_{self.revision}"] if self.revision else []
        return (*ids, base)


@record
class VirtioDevice:
    """A device that virtio-win has a driver for.

    `name` is the catalog's, `places` where the configuration has it (`scsi0`, `net1`). `shown` is
    the form the guest sees, `other` the one it does not, None where there is only one.
    """

    name: str
    qemu: str
    places: tuple[str, ...]
    shown: PciId
    other: PciId | None
    boot_critical: bool
    note: str


@record
class InboxDevice:
    """A device that Windows is expected to drive by itself; `shown` is None for what is not PCI."""

    name: str
    qemu: str
    places: tuple[str, ...]
    shown: PciId | None
    note: str


@record
class ForeignDevice:
    """A device that virtio-win does not serve, and nobody told who does."""

    name: str
    qemu: str
    places: tuple[str, ...]
    shown: PciId | None
    boot_critical: bool
    note: str


MachineDevice = VirtioDevice | InboxDevice | ForeignDevice


@record
class DeviceRow:
    """A row of the catalog; a transitional form only for virtio devices that have one."""

    name: str
    qemu: tuple[str, ...]
    driven_by: str
    transitional: PciId | None
    modern: PciId | None
    note: str


@functools.cache
def known_devices() -> tuple[DeviceRow, ...]:
    """Every device of the catalog."""
    with (resources.driver_tables() / "catalog.toml").open("rb") as file:
        rows: list[dict[str, Any]] = tomllib.load(file)["device"]
    return tuple(
        DeviceRow(
            name=row["name"],
            qemu=tuple(row["qemu"]),
            driven_by=row["driven_by"],
            transitional=_pci_id(row.get("transitional")),
            modern=_pci_id(row.get("modern")),
            note=row.get("note", ""),
        )
        for row in rows
    )


def make_devices(machine: Machine) -> tuple[MachineDevice, ...]:
    """The devices of a machine in the order of its configuration; equal ones together.

    Those that every VM has and that need no thought (bridges, USB, clocks) are left out.
    """
    critical = str(machine.boot_disk.slot) if machine.boot_disk else ""
    places: dict[str, list[str]] = {}
    for qemu, place in _plugged(machine):
        places.setdefault(qemu, []).append(place)
    return tuple(_device(qemu, tuple(where), critical) for qemu, where in places.items())


def virtio_names(devices: Iterable[MachineDevice]) -> tuple[str, ...]:
    """The devices that need a driver of virtio-win, in the words of the catalog, each once."""
    return tuple(dict.fromkeys(d.name for d in devices if isinstance(d, VirtioDevice)))


def _plugged(machine: Machine) -> Iterator[tuple[str, str]]:
    """QEMU's name and the place of every device, as `config_to_command` of QemuServer.pm has it."""
    drives: tuple[Drive, ...] = (*machine.disks, *machine.cds)
    yield from ((_controller(machine, drive), str(drive.slot)) for drive in drives)
    models = {"virtio": "virtio-net-pci"}
    yield from ((models.get(nic.model, nic.model), str(nic)) for nic in machine.nics)
    yield from _cards(machine)
    yield from _agent(machine.agent)
    # SPICE and the VNC clipboard bring a virtio-serial of their own, agent or not.
    if machine.clipboard or isinstance(machine.vga, VirtioVga | Qxl):
        yield "virtio-serial", "spice"
    if machine.balloon:
        yield "virtio-balloon-pci", "balloon"
    if machine.rng:
        yield "virtio-rng-pci", "rng0"
    yield from (("vhost-user-fs-pci", share) for share in machine.virtiofs)
    yield from (("isa-serial", port) for port in machine.serial)
    if machine.tpm:
        yield "tpm-tis", "tpmstate0"
    yield from ((extra.model, extra.name) for extra in machine.extras)


def _agent(kind: AgentKind) -> Iterator[tuple[str, str]]:
    match kind:
        case AgentKind.VIRTIO:
            yield "virtio-serial", "agent"
        case AgentKind.ISA:
            yield "isa-serial", "agent"
        case AgentKind.NONE:
            pass
        case _:
            assert_never(kind)


def _cards(machine: Machine) -> Iterator[tuple[str, str]]:
    match machine.vga:
        case VirtioVga(gl=gl):
            yield "virtio-vga-gl" if gl else "virtio-vga", "vga"
        case Qxl(heads=heads):
            yield "qxl-vga", "vga"
            for number in range(1, heads):
                yield "qxl", f"vga{number}"
        case EmulatedVga(model=model):
            names = {"std": "VGA", "cirrus": "cirrus-vga", "vmware": "vmware-svga"}
            yield names.get(model, model), "vga"
        case NoVga():
            pass
        case _:
            assert_never(machine.vga)


def _controller(machine: Machine, drive: Disk | CdDrive) -> str:
    """The device that carries a drive."""
    slot: Slot = drive.slot
    match slot.bus:
        case DriveBus.SCSI:
            single = machine.scsi is ScsiModel.VIRTIO_SINGLE
            return ScsiModel.VIRTIO.value if single else machine.scsi.value
        case DriveBus.VIRTIO:
            return "virtio-blk-pci"
        case DriveBus.SATA:
            return "ahci"
        case DriveBus.IDE:
            # `ide` of q35 is the AHCI controller of its ICH9 (DriveDevice.pm)
            return "ahci" if machine.chipset is Chipset.Q35 else "piix3-ide"
        case _:
            assert_never(slot.bus)


def _device(qemu: str, places: tuple[str, ...], critical: str) -> MachineDevice:
    row = next((row for row in known_devices() if qemu in row.qemu), None)
    needed = critical in places
    if row is None:
        what = "a device of the node" if qemu == "hostpci" else "winseed does not know it"
        return ForeignDevice(
            name=qemu, qemu=qemu, places=places, shown=None, boot_critical=needed, note=what
        )
    shown, other = shown_form(row)
    if row.driven_by == "windows":
        return InboxDevice(name=row.name, qemu=qemu, places=places, shown=shown, note=row.note)
    if row.driven_by == "virtio-win" and shown is not None:
        return VirtioDevice(
            name=row.name,
            qemu=qemu,
            places=places,
            shown=shown,
            other=other,
            boot_critical=needed,
            note=row.note,
        )
    return ForeignDevice(
        name=row.name, qemu=qemu, places=places, shown=shown, boot_critical=needed, note=row.note
    )


def shown_form(row: DeviceRow) -> tuple[PciId | None, PciId | None]:
    """The form of a device that a guest on Proxmox VE sees, and the one it does not.

    QEMU leaves the transitional form out only below a PCI Express port (hw/virtio/virtio-pci.c,
    virtio_pci_realize: `disable-legacy=auto`), and Proxmox VE puts its virtio devices on the
    conventional buses pci.0 to pci.4 on both chipsets (qemu-server src/PVE/QemuServer/PCI.pm,
    src/usr/pve-q35-4.0.cfg). Concluded from these two texts: nobody looked into a guest.
    """
    if row.transitional is not None:
        return row.transitional, row.modern
    return row.modern, None


def _pci_id(row: list[str] | None) -> PciId | None:
    return PciId(device=row[0], subsystem=row[1], revision=row[2]) if row else None
