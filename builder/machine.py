"""A VM of Proxmox VE and what is plugged into it, as its configuration says.

Two ways lead here: `vm_config.load_machine` reads `qm config` text, `make_machine` says what a spec
asks for. Facts only: which driver a device needs is decided in `devices.py` and `match.py`.

Words and defaults: proxmox/qemu-server at e6352be, src/PVE/QemuServer.pm (`$confdesc`),
src/PVE/QemuServer/{Drive,DriveDevice,Agent,Network,OVMF,Virtiofs}.pm.
"""

import enum
from collections.abc import Iterator

from builder.record import record
from builder.releases import Release
from builder.spec.model import HostSpec
from builder.values import Bus, Firmware

GIB = 1 << 30


class DriveBus(enum.Enum):
    """The bus of a drive, in the order in which Proxmox VE looks for a disk to boot from."""

    # Drive.pm, valid_drive_names: "order is important - used to autoselect boot disk"
    IDE = "ide"
    SCSI = "scsi"
    VIRTIO = "virtio"
    SATA = "sata"


# drives per bus: Drive.pm, $MAX_*_DISKS
DRIVES = {DriveBus.IDE: 4, DriveBus.SCSI: 31, DriveBus.VIRTIO: 16, DriveBus.SATA: 6}


class Chipset(enum.Enum):
    """The chipset of the VM; decides what sits behind `ide`."""

    I440FX = "i440fx"
    Q35 = "q35"


class ScsiModel(enum.Enum):
    """The SCSI controller (`scsihw`)."""

    LSI = "lsi"
    LSI53C810 = "lsi53c810"
    VIRTIO = "virtio-scsi-pci"
    VIRTIO_SINGLE = "virtio-scsi-single"  # one controller per disk
    MEGASAS = "megasas"
    PVSCSI = "pvscsi"


class AgentKind(enum.Enum):
    """How the host talks to the QEMU guest agent."""

    NONE = "none"
    VIRTIO = "virtio"
    ISA = "isa"


@record
class Slot:
    """Where a drive is plugged in: prints as `scsi0`."""

    bus: DriveBus
    number: int

    def __str__(self) -> str:
        return f"{self.bus.value}{self.number}"


@record
class Disk:
    """A disk; `volume` is "" when it has yet to be made, `size` in bytes, None when not told."""

    slot: Slot
    volume: str
    size: int | None


@record
class CdDrive:
    """A CD drive; `volume` is None while it is empty."""

    slot: Slot
    volume: str | None


Drive = Disk | CdDrive


@record
class EfiDisk:
    """Where OVMF keeps its variables; `enrolled` are Microsoft's keys, without them no Secure Boot.

    `kind` is `2m` or `4m`.
    """

    volume: str
    kind: str
    enrolled: bool


@record
class SeaBios:
    """BIOS firmware."""


@record
class Ovmf:
    """UEFI firmware; without `efi_disk` it forgets its variables."""

    efi_disk: EfiDisk | None


MachineFirmware = SeaBios | Ovmf


@record
class Tpm:
    """An emulated TPM; `version` as `v2.0`."""

    volume: str
    version: str


@record
class Nic:
    """A network card. `mac` and `bridge` are None when the configuration leaves them out."""

    number: int
    model: str
    mac: str | None
    bridge: str | None
    vlan: int | None

    def __str__(self) -> str:
        return f"net{self.number}"


@record
class VirtioVga:
    """`vga: virtio` or `virtio-gl`."""

    gl: bool


@record
class Qxl:
    """`vga: qxl` to `qxl4`: a card for each of the `heads`."""

    heads: int


@record
class EmulatedVga:
    """A card of the `std`, `cirrus` or `vmware` kind."""

    model: str


@record
class NoVga:
    """No card: nothing, or a serial port in its place."""


Vga = VirtioVga | Qxl | EmulatedVga | NoVga


@record
class Extra:
    """A device beside the usual ones: `name` of the key, `model` of what is behind it."""

    name: str
    model: str


@record
class Machine:
    """A VM. `machine_type` as written, `boot` the slots and cards in the order of trying.

    `custom_args`: whether QEMU gets arguments of the owner's own, which nobody looks at.
    """

    name: str
    ostype: str
    chipset: Chipset
    machine_type: str
    firmware: MachineFirmware
    tpm: Tpm | None
    cores: int
    scsi: ScsiModel
    drives: tuple[Drive, ...]
    nics: tuple[Nic, ...]
    vga: Vga
    clipboard: bool
    agent: AgentKind
    balloon: bool
    rng: bool
    virtiofs: tuple[str, ...]
    serial: tuple[str, ...]
    extras: tuple[Extra, ...]
    boot: tuple[str, ...]
    custom_args: bool

    @property
    def disks(self) -> tuple[Disk, ...]:
        """The disks in the order in which Proxmox VE looks for one to boot from."""
        return tuple(drive for drive in self._ordered() if isinstance(drive, Disk))

    @property
    def cds(self) -> tuple[CdDrive, ...]:
        """The CD drives in the same order."""
        return tuple(drive for drive in self._ordered() if isinstance(drive, CdDrive))

    @property
    def boot_disk(self) -> Disk | None:
        """The disk that Windows goes to: the first of the boot order, else the first there is."""
        by_slot = {str(disk.slot): disk for disk in self.disks}
        named = (by_slot[slot] for slot in self.boot if slot in by_slot)
        return next(named, None) or next(iter(self.disks), None)

    @property
    def secure_boot(self) -> bool:
        """Whether Secure Boot holds: keys in the variables, and a firmware that enforces them.

        Proxmox VE gives i440fx the OVMF build without SMM (OVMF.pm), which does not enforce them.
        """
        match self.firmware:
            case Ovmf(efi_disk=EfiDisk(enrolled=enrolled)):
                return enrolled and self.chipset is Chipset.Q35
            case _:
                return False

    def _ordered(self) -> Iterator[Drive]:
        order = list(DriveBus)
        yield from sorted(self.drives, key=lambda d: (order.index(d.slot.bus), d.slot.number))


def install_slot(bus: Bus) -> Slot:
    """The slot of the install disk; `sata0` is the answer ISO's."""
    match bus:
        case Bus.SCSI:
            return Slot(bus=DriveBus.SCSI, number=0)
        case Bus.VIRTIO:
            return Slot(bus=DriveBus.VIRTIO, number=0)
        case Bus.SATA:
            return Slot(bus=DriveBus.SATA, number=1)


def make_machine(host: HostSpec, release: Release) -> Machine:
    """The VM that `host` asks for, as it is while Windows runs: with its data disks."""
    spec, slot = host.machine, install_slot(host.disk.bus)
    disks = [Disk(slot=slot, volume="", size=host.disk.size_gib * GIB)]
    disks += [
        Disk(slot=Slot(bus=slot.bus, number=disk.slot), volume="", size=disk.size_gib * GIB)
        for disk in host.data_disk
    ]
    windows = Slot(bus=DriveBus.IDE, number=2)
    cds = (windows, Slot(bus=DriveBus.IDE, number=0), Slot(bus=DriveBus.SATA, number=0))
    uefi = host.disk.layout is Firmware.UEFI
    efi_disk = EfiDisk(volume="", kind="4m", enrolled=spec.secure_boot)
    return Machine(
        name=host.name,
        ostype=release.ostype,
        chipset=Chipset(spec.chipset),
        machine_type="q35" if spec.chipset == "q35" else "pc",
        firmware=Ovmf(efi_disk=efi_disk) if uefi else SeaBios(),
        tpm=Tpm(volume="", version="v2.0") if uefi and spec.tpm else None,
        cores=spec.cores,
        scsi=ScsiModel.VIRTIO_SINGLE,
        drives=(*disks, *(CdDrive(slot=cd, volume=None) for cd in cds)),
        nics=tuple(
            Nic(number=number, model=nic.model, mac=nic.mac, bridge=nic.bridge, vlan=nic.vlan)
            for number, nic in enumerate(host.nic)
        ),
        vga=_vga(spec.vga),
        clipboard=False,
        agent=AgentKind.VIRTIO if spec.agent else AgentKind.NONE,
        balloon=spec.balloon,
        rng=spec.rng,
        virtiofs=("virtiofs0",) if spec.virtiofs else (),
        serial=("serial0",),
        extras=(),
        boot=(str(slot), str(windows)),
        custom_args=False,
    )


def _vga(model: str) -> Vga:
    if model == "virtio":
        return VirtioVga(gl=False)
    return Qxl(heads=1) if model == "qxl" else EmulatedVga(model=model)
