"""Programs of Windows PE and of the installed system, as far as scripts of an answer ISO call them.

Each takes what stands behind its name and gives exit code and output.
"""

import re
from pathlib import Path

import world
from windows_cmd import PoweredOffError

import drivers

GIB = 1 << 30


class WindowsPe:
    """The programs of Windows PE; `version` is that of boot.wim."""

    def __init__(self, letters: world.Letters, version: tuple[int, int, int]) -> None:
        self.letters, self.version = letters, version
        self.selected: int | None = None
        self.loaded: list[Path] = []

    def table(self) -> dict:
        return {
            "drvload": self.drvload,
            "diskpart": self.diskpart,
            "reg": self.reg,
            "wpeutil": self.wpeutil,
            "pnputil": lambda _rest: (1, ""),  # of Windows PE: no such device
            "ping": lambda _rest: (0, ""),
        }

    def drvload(self, rest: str) -> tuple[int, str]:
        """learn.microsoft.com, "Drvload command-line options".

        That the disk page of Setup sees what was loaded so is belief (FT02).
        """
        path = self.letters.find(rest.strip().strip('"'))
        if path is None:
            return 2, "DrvLoad: Unable to load\r\n"
        package = drivers.read_package(path, self.version)
        self.loaded.append(path)
        if not world.believed("FT02"):
            return 0, "DrvLoad: loaded, and nobody sees it\r\n"
        started = world.load_driver_of(set(package.hardware_ids))
        world.say(f"drvload {path.name}: {', '.join(started) or 'no device'}")
        if not package.hardware_ids:
            return 1, "DrvLoad: Unable to load\r\n"
        return 0, "DrvLoad: Successfully loaded\r\n"

    def reg(self, rest: str) -> tuple[int, str]:
        """Services\\disk\\Enum lists every disk (FT04); a serial port without a name is left so."""
        if r"Services\disk\Enum" in rest:
            count = len(world.disks())
            if not count:
                return 1, ""
            return 0, f"\r\nHKEY_LOCAL_MACHINE\r\n    Count    REG_DWORD    {count:#x}\r\n"
        return 1, ""

    def wpeutil(self, rest: str) -> tuple[int, str]:
        raise PoweredOffError(rest)

    def diskpart(self, rest: str) -> tuple[int, str]:
        """`diskpart /s FILE`, in English; stops at the first error (bin456789/reinstall)."""
        match = re.search(r'/s\s+("[^"]*"|\S+)', rest)
        path = self.letters.find(match[1]) if match else None
        if path is None:
            return 1, ""
        out = "\nMicrosoft DiskPart version 10.0.20348.1\n\nCopyright (C) Microsoft Corporation.\n"
        for line in path.read_text().splitlines():
            words = line.split()
            if words:
                printed = self._diskpart_line(words)
                out += printed
                if "error" in printed.casefold() and "noerr" not in words:
                    return 1, out
        return 0, out

    def _diskpart_line(self, words: list[str]) -> str:
        found = world.disks()
        match words:
            case ["rescan"]:
                return "\nDiskPart has finished scanning your configuration.\n"
            case ["select", "disk", number]:
                if int(number) >= len(found):
                    self.selected = None
                    return "\nThe disk you specified is not valid.\n\nVirtual Disk Service error\n"
                self.selected = int(number)
                return f"\nDisk {number} is now the selected disk.\n"
            case ["online", "disk", *_]:
                return "\nVirtual Disk Service error:\nThis disk is already online.\n"
            case ["list", "disk"]:
                return self._disk_table(found)
            case ["list", "partition"] if self.selected is not None:
                return self._partition_table(found[self.selected])
        return "\nVirtual Disk Service error\n"

    def _disk_table(self, found: list[str]) -> str:
        out = "\n  Disk ###  Status         Size     Free     Dyn  Gpt\n"
        out += "  --------  -------------  -------  -------  ---  ---\n"
        for number, name in enumerate(found):
            mark = "*" if number == self.selected else " "
            size = int(Path("/sys/block", name, "size").read_text()) * 512 // GIB
            out += f"{mark} Disk {number}    Online         {size:4} GB  1024 KB\n"
        return out

    def _partition_table(self, name: str) -> str:
        parts = world.partitions(name)
        if not parts:
            return "\nThere are no partitions on this disk to show.\n"
        out = "\n  Partition ###  Type              Size     Offset\n"
        out += "  -------------  ----------------  -------  -------\n"
        return out + "".join(
            f"  Partition {number}    Primary          1024 MB  1024 KB\n"
            for number, _ in enumerate(parts, start=1)
        )


class Registry:
    """What `reg add` has written in the installed system, by key and name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def program(self, rest: str) -> tuple[int, str]:
        match = re.fullmatch(
            r'\s*add\s+("[^"]+"|\S+)\s+/v\s+(\S+)\s+/t\s+(\S+)\s+/d\s+(.*?)\s*/f\s*',
            rest,
            re.DOTALL,
        )
        if match is None:
            return 1, ""
        key, name, kind, value = (part.strip().strip('"') for part in match.groups())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:
            stream.write(f"{key}\t{name}\t{kind}\t{value}\n")
        return 0, "The operation completed successfully.\r\n"

    def values(self) -> dict[tuple[str, str], str]:
        if not self.path.exists():
            return {}
        rows = (line.split("\t") for line in self.path.read_text().splitlines())
        return {(key, name): value for key, name, _, value in rows}
