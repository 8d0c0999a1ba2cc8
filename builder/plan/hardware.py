"""The VM as a plan holds it: disks with their partitions, cards, the machine."""

from typing import Literal

from builder.record import record
from builder.values import Bus, Firmware


@record
class Partition:
    """A partition in the order of creation; `number` counts MSR as well. Size None: the rest."""

    number: int
    kind: Literal["EFI", "MSR", "Primary"]
    size_mib: int | None
    filesystem: Literal["FAT32", "NTFS"] | None = None
    label: str | None = None
    letter: str | None = None
    type_id: str | None = None
    active: bool = False


@record
class DataDisk:
    """A disk that a first-boot script prepares; `slot` is n of scsiN."""

    letter: str
    label: str
    filesystem: str
    allocation_unit: int | None
    size_gib: int
    slot: int
    on_reinstall: str


@record
class DiskPlan:
    """The install disk. `guard` powers off before anything on a used disk is erased."""

    layout: Firmware
    bus: Bus
    size_gib: int
    partitions: tuple[Partition, ...]
    windows_partition: int
    guard: bool
    data_disks: tuple[DataDisk, ...]


@record
class Route:
    """A default route; `number` is its key within the interface."""

    number: int
    prefix: str
    next_hop: str


@record
class NicPlan:
    """A card: `identifier` is the MAC as Windows writes it, `mac` as Proxmox VE does."""

    mac: str
    identifier: str
    model: str
    bridge: str
    vlan: int | None
    addresses: tuple[str, ...]
    dhcp4: bool
    dhcp6: bool
    routes: tuple[Route, ...]
    dns: tuple[str, ...]
    dns_suffix: str | None

    @property
    def static(self) -> bool:
        """Whether the answer file sets addresses at all."""
        return bool(self.addresses)


@record
class MachinePlan:
    """The VM the medium is made for, in Proxmox VE's terms."""

    ostype: str
    chipset: str
    cores: int
    memory_mib: int
    cpu: str
    secure_boot: bool
    tpm: bool
    agent: bool
    balloon: bool
    rng: bool
    virtiofs: bool
    vga: str
