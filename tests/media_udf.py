"""A disc with an install.wim of more than 4 GiB, as a sparse file.

The disc that genisoimage made is patched by the letter of ECMA-167: the File Entry of install.wim
gets more allocation descriptors, the partition and the volume grow, a new anchor ends the disc.
"""

import struct
from pathlib import Path

SECTOR = 2048
PIECE = 0x3FFFF800  # the most that one descriptor holds, in whole blocks


def grow_install(disc: Path, old_size: int, new_size: int, tail: bytes, head: bytes) -> None:
    """Make the last file, of `old_size` bytes, `new_size` long: `head`, zeros, `tail`."""
    with disc.open("r+b") as stream:
        stream.seek(0)
        entry_at = find_entry(stream.read(), old_size) // SECTOR
        entry = _sector(stream, entry_at)
        (block,) = struct.unpack_from("<L", entry, 176 + _length(entry, 168) + 4)
        start, descriptors = _partitions(stream)
        first = (start + block) * SECTOR
        total = -(-(first + new_size) // SECTOR) + 150 + 1
        anchor = _sector(stream, 256)
        stream.truncate(first)
        stream.truncate(total * SECTOR)
        _write(stream, entry_at, _grown_entry(entry, block, new_size))
        for place in descriptors:
            partition = bytearray(_sector(stream, place))
            struct.pack_into("<L", partition, 192, total - 1 - start)
            _write(stream, place, tagged(partition))
        struct.pack_into("<L", anchor, 12, total - 1)
        _write(stream, total - 1, tagged(anchor))
        stream.seek(16 * SECTOR + 80)
        stream.write(struct.pack("<L", total) + struct.pack(">L", total))
        stream.seek(first)
        stream.write(head)
        stream.seek(first + new_size - len(tail))
        stream.write(tail)


def _grown_entry(entry: bytearray, block: int, size: int) -> bytearray:
    if entry[34] & 7:
        raise ValueError("the file's descriptors are not of the short kind")
    pieces = b""
    left = size
    while left:
        length = min(left, PIECE)
        pieces += struct.pack("<LL", length, block)
        block += PIECE // SECTOR
        left -= length
    at = 176 + _length(entry, 168)
    grown = bytearray(entry)
    struct.pack_into("<QQ", grown, 56, size, -(-size // SECTOR))
    struct.pack_into("<L", grown, 172, len(pieces))
    grown[at : at + len(pieces)] = pieces
    struct.pack_into("<H", grown, 10, at + len(pieces) - 16)
    return tagged(grown)


def _partitions(stream) -> tuple[int, list[int]]:
    """The start of the partition, and where its descriptors lie (tag 5)."""
    anchor = _sector(stream, 256)
    places = [
        number
        for at in (16, 24)
        for number in _run(*struct.unpack_from("<LL", anchor, at))
        if struct.unpack_from("<H", _sector(stream, number))[0] == 5
    ]
    return _length(_sector(stream, places[0]), 188), places


def _run(length: int, start: int) -> range:
    return range(start, start + length // SECTOR)


def tagged(sector: bytearray) -> bytearray:
    """With the checksums of its descriptor tag (ECMA-167 3/7.2)."""
    (length,) = struct.unpack_from("<H", sector, 10)
    struct.pack_into("<H", sector, 8, _crc(sector[16 : 16 + length]))
    sector[4] = (sum(sector[:4]) + sum(sector[5:16])) & 0xFF
    return sector


def _crc(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ 0x1021 if value & 0x8000 else value << 1
        value &= 0xFFFF
    return value


def _length(sector: bytes, at: int) -> int:
    return struct.unpack_from("<L", sector, at)[0]


def _sector(stream, number: int) -> bytearray:
    stream.seek(number * SECTOR)
    return bytearray(stream.read(SECTOR))


def _write(stream, number: int, sector: bytes) -> None:
    stream.seek(number * SECTOR)
    stream.write(sector)


def find_entry(raw: bytes, size: int) -> int:
    """Where the File Entry of a file of this size begins, in bytes."""
    for at in range(0, len(raw), SECTOR):
        if raw[at : at + 2] == b"\x05\x01" and raw[at + 56 : at + 64] == struct.pack("<Q", size):
            return at
    raise ValueError("no File Entry")
