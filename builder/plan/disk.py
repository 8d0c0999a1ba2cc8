"""The partitions of the install disk, from its layout."""

import dataclasses
from typing import assert_never

from builder.plan.hardware import DataDisk, DiskPlan, Partition
from builder.spec.checks import required_mib
from builder.spec.model import DiskSpec, HostSpec
from builder.values import Firmware

# learn.microsoft.com, "UEFI/GPT-based hard drive partitions" and "BIOS/MBR-based ..."
RECOVERY_GPT = "de94bba4-06d1-4d40-a16a-bfd50179d6ac"
RECOVERY_MBR = "0x27"


def make_disk(host: HostSpec) -> DiskPlan:
    """The disk of `host`; partition numbers are what InstallTo counts, MSR included."""
    disk = host.disk
    partitions = _numbered(_sequence(host))
    windows = next(partition.number for partition in partitions if partition.letter == "C")
    return DiskPlan(
        layout=disk.layout,
        bus=disk.bus,
        size_gib=disk.size_gib,
        partitions=partitions,
        windows_partition=windows,
        guard=disk.wipe == "refuse",
        data_disks=tuple(
            DataDisk(
                letter=data.letter,
                label=data.label,
                filesystem=data.filesystem,
                allocation_unit=data.allocation_unit,
                size_gib=data.size_gib,
                slot=data.slot,
                on_reinstall=data.on_reinstall,
            )
            for data in host.data_disk
        ),
    )


def _sequence(host: HostSpec) -> list[Partition]:
    disk = host.disk
    last = disk.recovery == "last"
    # Extend works on the last partition only, so Windows before a recovery partition needs a size
    windows_size = disk.size_gib * 1024 - required_mib(host) if last else None
    windows = Partition(
        number=0,
        kind="Primary",
        size_mib=windows_size,
        filesystem="NTFS",
        label=disk.label or None,
        letter="C",
    )
    first = [_recovery(disk, size=disk.recovery_mib)] if disk.recovery == "first" else []
    end = [_recovery(disk, size=None)] if last else []
    return [*first, *_system(disk), windows, *end]


def _system(disk: DiskSpec) -> list[Partition]:
    match disk.layout:
        case Firmware.UEFI:
            efi = Partition(
                number=0, kind="EFI", size_mib=disk.efi_mib, filesystem="FAT32", label="System"
            )
            return [efi, Partition(number=0, kind="MSR", size_mib=disk.msr_mib)]
        case Firmware.BIOS:
            return [
                Partition(
                    number=0,
                    kind="Primary",
                    size_mib=disk.system_mib,
                    filesystem="NTFS",
                    label="System",
                    active=True,
                )
            ]
        case _:
            assert_never(disk.layout)


def _recovery(disk: DiskSpec, *, size: int | None) -> Partition:
    type_id = RECOVERY_GPT if disk.layout is Firmware.UEFI else RECOVERY_MBR
    return Partition(
        number=0,
        kind="Primary",
        size_mib=size,
        filesystem="NTFS",
        label="Recovery",
        type_id=type_id,
    )


def _numbered(partitions: list[Partition]) -> tuple[Partition, ...]:
    return tuple(
        dataclasses.replace(partition, number=number)
        for number, partition in enumerate(partitions, start=1)
    )
