"""What data-disks.ps1 does: an empty disk gets a volume, one that holds something is only mounted.

A disk is known by its LUN and its size; Proxmox VE makes the LUN the number of the slot
(qemu-server, src/PVE/QemuServer/DriveDevice.pm).
"""

import json
import re
from pathlib import Path

import world

WANTED = re.compile(
    r"@\{ Letter = '(\w)'; Label = '([^']*)'; FileSystem = '(\w+)'; Unit = \d+;"
    r" Bytes = (\d+)GB; Slot = (\d+) \}"
)
LETTERS = "Windows/System32/config/standin-letters.json"


def prepare(script: str, root: Path) -> list[str]:
    """Every disk that the script names; its lines, as it prints them."""
    lines, letters = [], {}
    for letter, label, kind, gib, slot in WANTED.findall(script):
        size = int(gib) << 30
        disk = _find(int(slot), size)
        if disk is None:
            lines.append(f"{letter}: no disk of {size} bytes in slot {slot} yet")
            continue
        if _is_raw(disk):
            _format(disk, label)
            world.say(f"data disk {letter}: formatted {disk}")
        else:
            world.say(f"data disk {letter}: kept {disk}")
        letters[letter] = {"slot": int(slot), "label": label, "bytes": size}
        lines.append(f"{letter}: disk 1, {kind}, label {label}")
    (root / LETTERS).write_text(json.dumps(letters))
    return lines


def volumes(root: Path) -> list[dict]:
    """The letters that disks have now, as Win32_Volume tells them."""
    path = root / LETTERS
    rows = []
    for letter, one in json.loads(path.read_text()).items() if path.exists() else ():
        disk = _find(one["slot"], one["bytes"])
        if disk is None:
            continue
        row = {"letter": letter, "kind": 3, "label": one["label"], "bytes": one["bytes"]}
        rows.append(row | {"filesystem": _file_system(disk)})
    return rows


def _file_system(disk: str) -> str:
    for part in world.partitions(disk)[:1]:
        with Path("/dev", part).open("rb") as stream:
            return "NTFS" if stream.read(8)[3:7] == b"NTFS" else ""
    return ""


def _find(slot: int, size: int) -> str | None:
    for folder in sorted(Path("/sys/block").glob("sd*")):
        lun = (folder / "device").resolve().name.rpartition(":")[2]
        if int(lun) == slot and int((folder / "size").read_text()) * 512 == size:
            return folder.name
    return None


def _is_raw(disk: str) -> bool:
    """No partition table of either kind, and nothing else at the beginning."""
    with Path("/dev", disk).open("rb") as stream:
        return not stream.read(1 << 20).strip(b"\0")


def _format(disk: str, label: str) -> None:
    world.run("sgdisk", "--new=1:0:0", "--typecode=1:0700", f"/dev/{disk}")
    world.wait_for(lambda: bool(world.partitions(disk)), 5)
    part = world.partitions(disk)[0]
    world.wait_for(lambda: Path("/dev", part).exists(), 5)
    world.run("mkntfs", "--quick", "--force", "--label", label, f"/dev/{part}")
    world.run("busybox", "sync", check=False)
