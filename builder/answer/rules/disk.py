"""DiskConfiguration and where Windows is installed to.

Sources: unattended setup reference, Microsoft-Windows-Setup DiskConfiguration and ImageInstall
pages; manufacture/desktop/configure-uefigpt-based-hard-drive-partitions and
configure-biosmbr-based-hard-drive-partitions. PartitionID counts the created partitions in their
order, the MSR partition included and an extended one not (96 public GPT files agree).
"""

import dataclasses
from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import (
    Answer,
    is_false,
    is_placeholder,
    is_true,
    number,
    shown,
)
from builder.answer.rules.table import Finding
from builder.record import record

SETUP = "Microsoft-Windows-Setup"
NEW_SETUP = 26040  # the first build whose Setup writes no MBR boot code (bin456789/reinstall)
BASIC_TYPES = frozenset(("0x7", "0x07", "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}"))
LABEL_LENGTHS = {"fat32": 11, "ntfs": 32, "refs": 32}
# MB; manufacture/desktop/configure-uefigpt-based-hard-drive-partitions
SMALLEST = {"EFI": 100, "MSR": 16, "Windows": 20_000}


@record
class Partition:
    """One partition that Setup creates. `id` is its PartitionID, 0 for an extended one."""

    element: Element
    order: int
    type: str
    size: int | None
    extends: bool
    id: int


@record
class Disk:
    """One Disk element; `partitions` in the order of creation, empty when it cannot be told."""

    element: Element
    id: str
    wiped: bool
    partitions: tuple[Partition, ...]
    changes: tuple[Element, ...]

    @property
    def is_gpt(self) -> bool:
        """Whether the layout is one for UEFI."""
        return any(partition.type in {"EFI", "MSR"} for partition in self.partitions)

    def partition(self, number_: int) -> Partition | None:
        """The partition with that PartitionID."""
        for partition in self.partitions:
            if partition.id == number_:
                return partition
        return None

    def changes_of(self, number_: int) -> Iterator[Element]:
        """The ModifyPartition elements of that PartitionID."""
        for change in self.changes:
            if number(change.value("PartitionID")) == number_:
                yield change


def inspect_disks(answer: Answer) -> list[Disk]:
    """Every disk the file configures."""
    return [_disk(element) for element in answer.found(SETUP, "DiskConfiguration/Disk")]


def _disk(element: Element) -> Disk:
    created: list[Partition] = []
    complete = True
    holder = element.child("CreatePartitions")
    items = holder.every("CreatePartition") if holder else []
    for item in items:
        order = number(item.value("Order"))
        if order is None:
            complete = False
            break
        partition = Partition(
            element=item,
            order=order,
            type=item.value("Type"),
            size=number(item.value("Size")),
            extends=is_true(item.value("Extend")),
            id=0,
        )
        created.append(partition)
    created.sort(key=lambda partition: partition.order)
    count = 0
    numbered = []
    for partition in created:
        extended = partition.type == "Extended"
        count += not extended
        numbered.append(dataclasses.replace(partition, id=0 if extended else count))
    changes = element.child("ModifyPartitions")
    return Disk(
        element=element,
        id=element.value("DiskID"),
        wiped=is_true(element.value("WillWipeDisk")),
        partitions=tuple(numbered) if complete else (),
        changes=tuple(changes.every("ModifyPartition")) if changes else (),
    )


def judge_disks(answer: Answer) -> Iterator[Finding]:
    """Every disk by itself."""
    targets = _targets(answer)
    for disk in inspect_disks(answer):
        yield from _judge_orders(answer, disk)
        yield from _judge_created(answer, disk)
        yield from _judge_kinds(answer, disk)
        yield from _judge_sizes(answer, disk, targets.get(disk.id, 0))
        yield from _judge_changes(answer, disk)
        yield from _judge_unique(answer, disk)


def _judge_orders(answer: Answer, disk: Disk) -> Iterator[Finding]:
    lists = (("CreatePartitions", "WS201"), ("ModifyPartitions", "WS202"))
    for name, rule in lists:
        holder = disk.element.child(name)
        if holder is None:
            continue
        orders = [number(item.value("Order")) for item in holder.children]
        known = sorted(order for order in orders if order is not None)
        if len(known) == len(orders) and known != list(range(1, len(known) + 1)):
            what = f"Order is {', '.join(map(str, known[:12]))}; it must be 1 to {len(known)}"
            yield answer.finding(rule, holder, what)


def _judge_created(answer: Answer, disk: Disk) -> Iterator[Finding]:
    for partition in disk.partitions:
        element = partition.element
        size, extend = element.value("Size"), element.value("Extend")
        if is_placeholder(size) or is_placeholder(extend):
            continue
        if size and partition.extends:
            yield answer.finding("WS203", element, "the partition has both Size and Extend")
        if not size and not partition.extends:
            yield answer.finding("WS204", element, "the partition has neither Size nor Extend")
    for partition, later in zip(disk.partitions, disk.partitions[1:], strict=False):
        if partition.extends and not (partition.type == "Extended" and later.type == "Logical"):
            what = "Extend fills the disk, but another partition follows"
            yield answer.finding("WS205", partition.element, what)
    if disk.partitions and is_false(disk.element.value("WillWipeDisk")):
        yield answer.finding("WS212", disk.element, "partitions are created on a disk not wiped")


def _judge_kinds(answer: Answer, disk: Disk) -> Iterator[Finding]:
    types = [partition.type for partition in disk.partitions]
    if not types or any(is_placeholder(kind) for kind in types):
        return
    element = disk.element
    if disk.is_gpt and {"Extended", "Logical"} & set(types):
        yield answer.finding("WS206", element, "EFI or MSR stands with Extended or Logical")
    primary = types.count("Primary") + types.count("Extended")
    if types.count("EFI") > 1 or types.count("Extended") > 1:
        yield answer.finding("WS207", element, "more than one EFI or Extended partition")
    elif len(types) > 128 or (not disk.is_gpt and primary > 4):
        yield answer.finding(
            "WS207", element, f"{len(types)} partitions, {primary} of them primary"
        )
    if disk.is_gpt:
        missing = [name for name in ("EFI", "MSR") if name not in types]
        if missing:
            yield answer.finding("WS208", element, f"the GPT layout has no {missing[0]} partition")
    elif not any(is_true(change.value("Active")) for change in disk.changes):
        yield answer.finding("WS209", element, "no partition is made active")
    if not disk.is_gpt and answer.release and answer.release.build >= NEW_SETUP:
        yield answer.finding("WS226", element, "a layout for BIOS")


def _judge_sizes(answer: Answer, disk: Disk, target: int) -> Iterator[Finding]:
    for partition in disk.partitions:
        name = "Windows" if target and target == partition.id else partition.type
        least = SMALLEST.get(name, 0)
        if partition.size is not None and partition.size < least:
            what = f"the {name} partition has {partition.size} MB; {least} MB are the least"
            yield answer.finding("WS213", partition.element, what)


def _judge_changes(answer: Answer, disk: Disk) -> Iterator[Finding]:
    for change in disk.changes:
        wanted = number(change.value("PartitionID"))
        partition = disk.partition(wanted) if wanted is not None else None
        if disk.is_gpt and change.value("Active"):
            yield answer.finding("WS210", change, "Active on a GPT disk")
        if disk.is_gpt and is_true(change.value("Extend")):
            yield answer.finding("WS211", change, "Extend of ModifyPartition on a GPT disk")
        elif partition and partition.extends and is_true(change.value("Extend")):
            yield answer.finding("WS211", change, "Extend when creating and again when modifying")
        if wanted is not None and disk.partitions and disk.wiped and partition is None:
            what = f"there is no partition {wanted} on this disk"
            yield answer.finding("WS214", change, what)
        yield from _judge_format(answer, change, partition)


def _judge_format(
    answer: Answer, change: Element, partition: Partition | None
) -> Iterator[Finding]:
    kind = partition.type if partition else ""
    form, label = change.value("Format"), change.value("Label")
    letter = change.value("Letter")
    if kind == "MSR" and (form or label or letter):
        yield answer.finding("WS215", change, "an MSR partition with Format, Label or Letter")
    if kind == "EFI" and form and form.upper() != "FAT32" and not is_placeholder(form):
        yield answer.finding("WS216", change, f"the EFI partition is formatted {shown(form)}")
    if label and not form and kind != "MSR":
        yield answer.finding("WS217", change, "Label without Format")
    most = LABEL_LENGTHS.get(form.lower(), 0)
    if most and len(label) > most and not is_placeholder(label):
        yield answer.finding("WS217", change, f"the label has {len(label)} characters, of {most}")
    if letter and not is_placeholder(letter) and not _is_letter(letter):
        yield answer.finding("WS219", change, f"the letter is {shown(letter)}")


def _is_letter(text: str) -> bool:
    return len(text) == 1 and "C" <= text.upper() <= "Z" and text.isascii()


def _judge_unique(answer: Answer, disk: Disk) -> Iterator[Finding]:
    for name in ("Letter", "PartitionID"):
        seen: set[str] = set()
        for change in disk.changes:
            text = change.value(name).upper()
            if text in seen and not is_placeholder(text):
                yield answer.finding("WS218", change, f"{name} {shown(text)} stands twice")
            if text:
                seen.add(text)


def _targets(answer: Answer) -> dict[str, int]:
    """The PartitionID that Windows is installed to, by DiskID."""
    places = answer.found(SETUP, "ImageInstall/OSImage/InstallTo")
    return {place.value("DiskID"): number(place.value("PartitionID")) or 0 for place in places}


def judge_install_to(answer: Answer) -> Iterator[Finding]:
    """InstallTo against the disks of the file."""
    disks = inspect_disks(answer)
    by_number = {number(disk.id): disk for disk in disks}
    filled_in = any(is_placeholder(disk.id) for disk in disks)
    for place in answer.found(SETUP, "ImageInstall/OSImage/InstallTo"):
        disk_id, partition_id = place.value("DiskID"), place.value("PartitionID")
        if is_placeholder(disk_id) or is_placeholder(partition_id):
            continue
        if number(disk_id) is None or not number(partition_id):
            what = "DiskID and PartitionID must be whole numbers, PartitionID from 1"
            yield answer.finding("WS225", place, what)
            continue
        if not disks:
            yield answer.finding("WS227", place, "InstallTo without DiskConfiguration")
            continue
        disk = by_number.get(number(disk_id))
        if disk is None:
            if not filled_in:
                yield answer.finding("WS220", place, f"disk {shown(disk_id)} is not configured")
            continue
        if disk.partitions and disk.wiped:
            yield from _judge_target(answer, place, disk, int(partition_id))


def _judge_target(
    answer: Answer, place: Element, disk: Disk, partition_id: int
) -> Iterator[Finding]:
    partition = disk.partition(partition_id)
    if partition is None:
        yield answer.finding(
            "WS220", place, f"disk {shown(disk.id)} has no partition {partition_id}"
        )
        return
    if partition.type in {"EFI", "MSR"}:
        what = (
            f"partition {partition_id} of disk {shown(disk.id)} is the {partition.type} partition"
        )
        yield answer.finding("WS221", place, what)
        return
    changes = list(disk.changes_of(partition_id))
    forms = [change.value("Format") for change in changes if change.value("Format")]
    if not forms:
        yield answer.finding("WS224", place, f"no ModifyPartition formats partition {partition_id}")
    elif not is_placeholder(forms[0]) and forms[0].upper() != "NTFS":
        rule = "WS228" if forms[0].upper() == "REFS" else "WS222"
        yield answer.finding(
            rule, place, f"partition {partition_id} is formatted {shown(forms[0])}"
        )
    for change in changes:
        type_id = change.value("TypeID").lower()
        if type_id and type_id not in BASIC_TYPES and not is_placeholder(type_id):
            yield answer.finding("WS223", change, "the Windows partition has a TypeID")
