"""The stand-in's memory disk: a cpio archive of Debian's own programs, made without root.

Programs with the libraries that `ldd` names, the kernel's modules with what they depend on, and of
Python exactly what the stand-in imports. Format: Linux, Documentation/driver-api/early-userspace/
buffer-format.rst ("newc").
"""

import dataclasses
import functools
import gzip
import lzma
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.vm.packages import Missing

STANDIN = Path(__file__).with_name("standin")
PYTHON = Path("/usr/bin/python3")
BUSYBOX = Path("/bin/busybox")
PROGRAMS = ("sgdisk", "sfdisk", "mkfs.vfat", "mkntfs", "ntfs-3g", "wimlib-imagex", "qemu-ga")
MODULES = (
    "ata_piix", "ahci", "sr_mod", "sd_mod", "cdrom", "isofs", "udf", "vfat", "nls_cp437",
    "nls_ascii", "nls_iso8859-1", "nls_utf8", "fuse", "qemu_fw_cfg", "virtio_pci", "virtio_scsi",
    "virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "button", "evdev",
)  # fmt: skip
IMPORTS = (
    "argparse", "base64", "collections", "dataclasses", "glob", "itertools", "json", "os",
    "pathlib", "re", "select", "shlex", "shutil", "socket", "struct", "subprocess", "time",
    "traceback", "typing", "xml.etree.ElementTree", "encodings.utf_16", "encodings.utf_16_le",
    "encodings.utf_8_sig", "encodings.latin_1", "encodings.ascii", "encodings.cp437",
)  # fmt: skip
PLACES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
TESTS = Path(__file__).parents[1]
SHARED = (
    TESTS / "windows_cmd.py",  # how cmd.exe reads a batch file
    *sorted((TESTS / "pve/data/guest").glob("*.ps1")),  # the calls that powershell.exe knows
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, a folder or a link of the archive."""

    path: str
    content: bytes
    mode: int
    changed: int = 0  # Python takes its bytecode only if the source has the time written in it


@functools.cache
def kernel_release() -> str:
    """The newest Debian kernel whose modules are there; the running one may be another's."""
    found = sorted(Path("/boot").glob("vmlinuz-*-amd64"), key=lambda path: _numbers(path.name))
    for path in reversed(found):
        release = path.name.removeprefix("vmlinuz-")
        if list(Path("/lib/modules", release, "kernel/drivers/ata").glob("ata_piix.ko*")):
            return release
    raise Missing("a Debian kernel", "linux-image-amd64")


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def kernel_path() -> Path:
    """The kernel as Debian signs it."""
    return Path("/boot", f"vmlinuz-{kernel_release()}")


@functools.cache
def plain_kernel() -> bytes:
    """The kernel without its compression: under emulation unpacking takes longer than booting."""
    packed = kernel_path().read_bytes()
    at = packed.find(b"\xfd7zXZ\x00")
    if at < 0:
        return packed
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(packed[at:])


def find_program(name: str) -> Path:
    for place in PLACES:
        path = Path(place, name)
        if path.exists():
            return path
    raise Missing(name)


def make_archive(extra: Iterable[Entry] = ()) -> bytes:
    """The archive, not compressed."""
    entries = {entry.path: entry for entry in (*_entries(), *extra)}
    for path in list(entries):
        for parent in Path(path).parents:
            name = str(parent)
            if name not in {".", "/"}:
                entries.setdefault(name, Entry(path=name, content=b"", mode=0o040755))
    ordered = sorted(entries.values(), key=lambda entry: entry.path)
    records = [_record(number, entry) for number, entry in enumerate(ordered, start=1)]
    trailer = Entry(path="TRAILER!!!", content=b"", mode=0)
    return b"".join((*records, _record(0, trailer)))


def pack(archive: bytes) -> bytes:
    """Compressed, for boot programs that read slowly."""
    return gzip.compress(archive, compresslevel=6, mtime=0)


def _record(number: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    sizes = (len(entry.content), 0, 0, 0, 0, len(name), 0)
    fields = (number, entry.mode, 0, 0, 1, entry.changed, *sizes)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    head += bytes(-len(head) % 4)
    return head + entry.content + bytes(-len(entry.content) % 4)


def _entries() -> Iterator[Entry]:
    for folder in ("proc", "sys", "dev", "tmp", "run", "mnt", "x", "var/run", "var/log", "root"):
        yield Entry(path=folder, content=b"", mode=0o040755)
    yield Entry(path="bin/busybox", content=_read(BUSYBOX, "busybox-static"), mode=0o100755)
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    for applet in set(applets.stdout.split()) - {"busybox"}:
        yield Entry(path=f"bin/{applet}", content=b"busybox", mode=0o120777)
    binaries = [find_program(name) for name in PROGRAMS] + [PYTHON.resolve()]
    for path in binaries:
        yield Entry(path=f"usr/bin/{path.name}", content=path.read_bytes(), mode=0o100755)
    yield Entry(path="usr/bin/python3", content=PYTHON.resolve().name.encode(), mode=0o120777)
    for path in _libraries(binaries):
        yield Entry(path=str(path)[1:], content=_library(path), mode=0o100755)
    yield from _python()
    yield from _modules()
    for path in (*sorted(STANDIN.iterdir()), *SHARED):
        if path.is_file():
            yield Entry(path=f"standin/{path.name}", content=path.read_bytes(), mode=0o100755)
    yield Entry(path="init", content=b"standin/init", mode=0o120777)


def _read(path: Path, package: str) -> bytes:
    if not path.exists():
        raise Missing(str(path), package)
    return path.read_bytes()


def _libraries(binaries: Iterable[Path]) -> list[Path]:
    found = set()
    for binary in binaries:
        listed = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True)
        found |= {Path(name) for name in re.findall(r"(/\S+) \(0x", listed.stdout)}
    return sorted(found)


def _library(path: Path) -> bytes:
    """ICU's tables of 30 MB are left empty: wimlib's XML is UTF-16, which libxml2 knows itself."""
    content = path.read_bytes()
    if path.name.startswith("libicudata"):
        headers, size, count = (int.from_bytes(content[at : at + n], "little")
                                for at, n in ((32, 8), (54, 2), (56, 2)))  # fmt: skip
        blank = bytearray(content)
        for number in range(count):
            entry = content[headers + number * size : headers + (number + 1) * size]
            kind, flags = (int.from_bytes(entry[at : at + 4], "little") for at in (0, 4))
            start, length = (int.from_bytes(entry[at : at + 8], "little") for at in (8, 32))
            if kind == 1 and flags == 4 and length > 1 << 20:  # PT_LOAD, read-only
                blank[start : start + length] = bytes(length)
        return bytes(blank)
    return content


def _python() -> Iterator[Entry]:
    """The modules that IMPORTS bring in, found by importing them."""
    text = (
        f"import sys\nsys.path.insert(0, {str(STANDIN)!r})\n"
        + "".join(f"import {name}\n" for name in IMPORTS)
        + "for m in list(sys.modules.values()):\n"
        "    for name in {getattr(m, '__file__', None), getattr(m, '__cached__', None)}:\n"
        "        name and print(name)\n"
    )
    command = [str(PYTHON), "-I", "-S", "-c", text]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in sorted(set(listed.stdout.split("\n"))):
        path = Path(name)
        if path.is_file():
            changed = int(path.stat().st_mtime)
            yield Entry(path=name[1:], content=path.read_bytes(), mode=0o100644, changed=changed)


def _modules() -> Iterator[Entry]:
    """Modules in the order in which they are loaded, each with its dependencies before it."""
    root = Path("/lib/modules", kernel_release())
    needs: dict[str, list[str]] = {}
    for line in (root / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    lines = []
    wanted: set[str] = set()
    for name in MODULES:
        path = by_name.get(name.replace("-", "_"))
        if path is None:
            continue  # built in
        chain = [*reversed(needs[path]), path]
        wanted |= set(chain)
        lines.append(f"{name} " + " ".join(Path(one).name.partition(".")[0] for one in chain))
    for path in sorted(wanted):
        content = (root / path).read_bytes()
        if path.endswith(".xz"):
            content = lzma.decompress(content)
        name = Path(path).name.partition(".")[0]
        yield Entry(path=f"modules/{name}.ko", content=content, mode=0o100644)
    yield Entry(path="modules/order", content="\n".join(lines).encode(), mode=0o100644)


def main() -> None:
    """Write an archive for a look at it: python -m tests.vm.initramfs FILE."""
    assert platform.machine() == "x86_64"
    Path(sys.argv[1]).write_bytes(make_archive())


if __name__ == "__main__":
    main()
