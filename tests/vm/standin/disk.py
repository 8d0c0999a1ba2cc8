# ruff: noqa: PTH123
"""DiskConfiguration and the way onto the disk.

Unattended Windows Setup Reference, Microsoft-Windows-Setup DiskConfiguration; learn.microsoft.com,
"UEFI/GPT-based hard drive partitions" and "BIOS/MBR-based hard drive partitions". Sizes are in MiB,
partitions begin at whole MiB (FT24), and the MSR counts as a partition (public answer files).
"""

import re
import xml.etree.ElementTree as ET

import world
from answer import NS, text

GPT = {"efi": "ef00", "msr": "0c01", "primary": "0700"}
RECOVERY = "de94bba4-06d1-4d40-a16a-bfd50179d6ac"


def number_of(element: ET.Element) -> int:
    value = text(element, "DiskID") or ""
    if not value.isdigit():
        raise world.Stopped("partitions", f"DiskID {value!r} is outside the acceptable range")
    return int(value)


def configure(disk: str, element: ET.Element, *, uefi: bool) -> None:
    """One Disk element on one disk."""
    device = f"/dev/{disk}"
    if (text(element, "WillWipeDisk") or "").casefold() == "true":
        world.run("sgdisk", "--zap-all", device, check=False)
        with open(device, "r+b") as stream:
            stream.write(bytes(1 << 20))
    created = [
        (int(text(item, "Order") or 0), item)
        for item in element.findall(f"{NS}CreatePartitions/{NS}CreatePartition")
    ]
    parts = [item for _, item in sorted(created, key=lambda row: row[0])]
    modified = element.findall(f"{NS}ModifyPartitions/{NS}ModifyPartition")
    if uefi:
        _gpt(device, parts, modified)
    else:
        _mbr(device, parts, modified)
    names = {partition_number(name): name for name in world.partitions(disk)}
    world.say(f"partitions of {disk}: {' '.join(names.values())}")
    for item in modified:
        wanted = int(text(item, "PartitionID") or 0)
        if wanted not in names:
            raise world.Stopped("partitions", f"partition {wanted} is not there")
        _format(names[wanted], text(item, "Format") or "", text(item, "Label") or "")


def partition_number(name: str) -> int:
    return int(re.findall(r"\d+$", name)[0])


def _gpt(device: str, parts: list[ET.Element], modified: list[ET.Element]) -> None:
    """Windows Setup started by UEFI makes GPT disks only."""
    command = ["sgdisk", "--clear"]
    types = {int(text(item, "PartitionID") or 0): text(item, "TypeID") for item in modified}
    for number, part in enumerate(parts, start=1):
        kind = (text(part, "Type") or "").casefold()
        if kind not in GPT:
            raise world.Stopped("partitions", f"type {kind!r} on a GPT disk")
        extend = (text(part, "Extend") or "").casefold() == "true"
        size = "0" if extend else f"+{int(text(part, 'Size') or 0)}M"
        command += [f"--new={number}:0:{size}"]
        command += [f"--typecode={number}:{types.get(number) or GPT[kind]}"]
    try:
        world.run(*command, device)
    except world.Stopped as error:
        raise world.Stopped("partitions", str(error)) from error


def _mbr(device: str, parts: list[ET.Element], modified: list[ET.Element]) -> None:
    active = {
        int(text(item, "PartitionID") or 0)
        for item in modified
        if (text(item, "Active") or "").casefold() == "true"
    }
    types = {int(text(item, "PartitionID") or 0): text(item, "TypeID") for item in modified}
    lines = ["label: dos"]
    for number, part in enumerate(parts, start=1):
        if (text(part, "Type") or "").casefold() != "primary":
            raise world.Stopped("partitions", f"type {text(part, 'Type')} on an MBR disk")
        extend = (text(part, "Extend") or "").casefold() == "true"
        size = "" if extend else f"size={int(text(part, 'Size') or 0)}MiB, "
        kind = (types.get(number) or "0x07").removeprefix("0x")
        lines.append(f"{size}type={kind}{', bootable' if number in active else ''}")
    script = "\n".join(lines) + "\n"
    with open("/tmp/layout", "w") as stream:
        stream.write(script)
    world.run("sh", "-c", f"sfdisk --wipe always {device} < /tmp/layout")


def _format(name: str, kind: str, label: str) -> None:
    device = f"/dev/{name}"
    world.wait_for(lambda: world.Path(device).exists(), 5)
    match kind.casefold():
        case "":
            return
        case "ntfs":
            world.run("mkntfs", "--quick", "--force", "--label", label, device)
        case "fat32":
            world.run("mkfs.vfat", "-F", "32", "-n", label[:11].upper() or "NO NAME", device)
        case _:
            raise world.Stopped("partitions", f"cannot format {kind}")
