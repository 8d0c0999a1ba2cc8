"""A stand-in for wimboot with its two heads: a Linux kernel for BIOS, a PE image for UEFI.

It says on COM2 which files iPXE handed over, each with size and CRC-32, and ends the machine. Built
by gcc and ld from tests/vm/netboot.
"""

import struct
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "netboot"
FLAGS = ["-O1", "-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]
FLAGS += ["-fcf-protection=none", "-mno-sse", "-mgeneral-regs-only", "-Wall", "-Werror"]
SETUP_SIZE = 0x800  # the first sector and three of setup
EFI_BASE = 0x1000
BSS = 0x20000  # more than the stand-in's own


def make_standin(target: Path) -> Path:
    """The file that iPXE boots; it is what `--wimboot` takes for wimboot."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setup = _flat(folder, "setup.S", base=0, options=["-m32"])
        kernel = _flat(folder, "standin.c", base=0x100000, options=["-m32", "-fno-pic", "-DBIOS"])
        program = _flat(folder, "standin.c", base=EFI_BASE, options=["-m64", "-fPIE"])
    assert len(setup) == SETUP_SIZE, hex(len(setup))
    kernel += bytes(-len(kernel) % 4096)
    raw = SETUP_SIZE + len(kernel)
    program += bytes(-len(program) % 512)
    image = bytearray(setup + kernel + program)
    image[:0x170] = _pe_head(raw, len(program))
    target.write_bytes(bytes(image))
    return target


def _flat(folder: Path, source: str, *, base: int, options: list[str]) -> bytes:
    objects, linked = folder / "one.o", folder / "one.bin"
    width = "elf_i386" if "-m32" in options else "elf_x86_64"
    run = ["gcc", *FLAGS, *options, "-c", SOURCES / source, "-o", objects]
    subprocess.run([str(word) for word in run], check=True)
    link = ["ld", "-m", width, "-T", SOURCES / "flat.ld", f"--defsym=BASE={base}"]
    link += ["--oformat", "binary", "-e", "0", "--no-warn-rwx-segments", "-o", linked, objects]
    subprocess.run([str(word) for word in link], check=True)
    return linked.read_bytes()


def _pe_head(raw: int, size: int) -> bytes:
    """Microsoft, PE Format: PE32+, one section that may be written and run, no relocations."""
    head = bytearray(0x170)
    head[:2] = b"MZ"
    struct.pack_into("<L", head, 0x3C, 0x40)
    head[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<HHLLLHH", head, 0x44, 0x8664, 1, 0, 0, 0, 240, 0x0022)
    total = EFI_BASE + size + BSS
    total += -total % 0x1000
    optional = struct.pack(
        "<HBBLLLLLQLLHHHHHHLLLLHHQQQQLL",
        *(0x20B, 0, 0, size, 0, 0, EFI_BASE, EFI_BASE, 0, 0x1000, 0x200),
        *(0, 0, 0, 0, 0, 0, 0, total, 0x200, 0, 10, 0, 0, 0, 0, 0, 0, 16),
    )
    head[0x58 : 0x58 + len(optional)] = optional
    section = struct.pack(
        "<8sLLLLLLHHL", b".text", size + BSS, EFI_BASE, size, raw, 0, 0, 0, 0, 0xE0000020
    )
    head[0x58 + 240 : 0x58 + 240 + 40] = section
    return bytes(head)
