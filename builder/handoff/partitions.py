"""The install disk as a script of diskpart, for installations that Setup does not make.

learn.microsoft.com, "UEFI/GPT-based hard drive partitions" and "BIOS/MBR-based hard drive
partitions": the same steps by diskpart.
"""

from builder.answer.render import render_text
from builder.plan.hardware import DiskPlan, Partition
from builder.record import record
from builder.values import Firmware

WINDOWS_LETTER = "W"
SYSTEM_LETTER = "S"


@record
class PartitionCommands:
    """The commands for one partition; empty ones are left out."""

    create: str
    format: str
    letter: str
    active: bool
    type_id: str


def render_partitions(disk: DiskPlan) -> bytes:
    """The script for an empty disk 0; Windows gets W:, what the firmware reads gets S:."""
    style = "gpt" if disk.layout is Firmware.UEFI else "mbr"
    values = {"style": style, "partitions": [_commands(one, disk) for one in disk.partitions]}
    return render_text("handoff/partitions.txt.j2", values)


def _commands(partition: Partition, disk: DiskPlan) -> PartitionCommands:
    kind = {"EFI": "efi", "MSR": "msr", "Primary": "primary"}[partition.kind]
    size = f" size={partition.size_mib}" if partition.size_mib is not None else ""
    label = f' label="{partition.label}"' if partition.label else ""
    form = f"format quick fs={partition.filesystem.lower()}{label}" if partition.filesystem else ""
    letter = ""
    if partition.number == disk.windows_partition:
        letter = WINDOWS_LETTER
    elif partition.kind == "EFI" or partition.active:
        letter = SYSTEM_LETTER
    return PartitionCommands(
        create=f"create partition {kind}{size}",
        format=form,
        letter=letter,
        active=partition.active,
        # diskpart's `set id` takes 27 for an MBR disk and the GUID for GPT
        type_id=(partition.type_id or "").removeprefix("0x"),
    )
