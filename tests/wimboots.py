"""A stand-in for wimboot: the headers of ipxe/wimboot src/prefix.S, and a PE image of no code."""

import struct
from pathlib import Path


def wimboot_bytes(
    *,
    version: str = "v2.9.0",
    machine: int = 0x8664,
    subsystem: int = 10,
    signed: bool = True,
    kernel: bool = True,
    size: int = 4096,
) -> bytes:
    data = bytearray(size)
    data[:2] = b"MZ"
    struct.pack_into("<L", data, 0x3C, 0x40)
    data[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<HHLLLHH", data, 0x44, machine, 1, 0, 0, 0, 240, 0x22)
    optional = 0x40 + 24
    struct.pack_into("<H", data, optional, 0x20B)
    struct.pack_into("<H", data, optional + 68, subsystem)
    struct.pack_into("<L", data, optional + 108, 16)
    if signed:
        struct.pack_into("<LL", data, optional + 112 + 32, 0x800, 0x100)
    if kernel:
        data[0x1FE:0x200] = b"\x55\xaa"
        data[0x202:0x206] = b"HdrS"
        struct.pack_into("<H", data, 0x206, 0x203)
        struct.pack_into("<H", data, 0x20E, 0x100)
        text = version.encode() + b"\0"
        data[0x300 : 0x300 + len(text)] = text
    return bytes(data)


def write_wimboot(path: Path, **options) -> Path:
    path.write_bytes(wimboot_bytes(**options))
    return path
