"""The boot catalog of a disc: which boot images it names, and where in the file it says so.

Phoenix/IBM, "El Torito" Bootable CD-ROM Format Specification 1.0, figures 2 to 5 and 7; platform
0xEF for UEFI is UEFI Specification 13.3.2. pycdlib tells the entries too, but not their places.
"""

import itertools
import struct
from collections.abc import Iterator

from builder.media.tables import BrokenTablesError, TableReader
from builder.record import record

SECTOR = 2048
RECORD = 32
BOOT_RECORD = 17 * SECTOR  # the one place where a boot record is looked for (figure 7)
SYSTEM_ID = b"EL TORITO SPECIFICATION".ljust(32, b"\0")
EFI = 0xEF

BOOTABLE, NOT_BOOTABLE = 0x88, 0x00
MORE_HEADERS, LAST_HEADER, EXTENSION = 0x90, 0x91, 0x44
CONTINUED = 0x20  # bit 5 of the media type: an extension record follows (figures 4 and 5)


@record
class BootEntry:
    """One entry. `pointer` is the byte in the file where its six bytes lie.

    Those are `sectors` (u16, in 512 bytes) and `lba` (u32, in 2,048 bytes), little-endian.
    """

    platform: int
    bootable: bool
    media_type: int
    criteria: int
    pointer: int
    sectors: int
    lba: int


def inspect_catalog(stream: TableReader) -> tuple[BootEntry, ...]:
    """Every entry of the boot catalog, in its order; BrokenTablesError when it breaks a rule.

    A catalog may be longer than a sector; one of an install disc has a few entries.
    """
    record = stream.at(BOOT_RECORD, SECTOR)
    if record[:7] != b"\0CD001\1" or record[7:39] != SYSTEM_ID:
        raise BrokenTablesError("sector 17 holds no El Torito boot record")
    (lba,) = struct.unpack_from("<L", record, 0x47)
    catalog = stream.at(lba * SECTOR, SECTOR)
    if lba <= BOOT_RECORD // SECTOR or len(catalog) < SECTOR:
        raise BrokenTablesError(f"the boot record names sector {lba} as the boot catalog's")
    _check_validation(catalog[:RECORD])
    return tuple(_entries(catalog, lba * SECTOR))


def _check_validation(record: bytes) -> None:
    """Key bytes and a sum of 0 over all words (figure 2)."""
    words = struct.unpack("<16H", record)
    if record[0] != 1 or record[30:32] != b"\x55\xaa" or sum(words) & 0xFFFF:
        raise BrokenTablesError("the boot catalog's validation entry is wrong")


def _entries(catalog: bytes, start: int) -> Iterator[BootEntry]:
    yield _entry(catalog, RECORD, start, platform=catalog[1])
    at = 2 * RECORD
    while at < SECTOR and catalog[at] in {MORE_HEADERS, LAST_HEADER}:
        kind, platform, count = struct.unpack_from("<BBH", catalog, at)
        at += RECORD
        for _ in itertools.repeat(None, count):
            entry = _entry(catalog, at, start, platform=platform)
            yield entry
            at += RECORD
            while entry.media_type & CONTINUED and at < SECTOR and catalog[at] == EXTENSION:
                at += RECORD
        if kind == LAST_HEADER:
            return
    # what follows is empty on discs that lack a last header; anything else is not understood
    if any(catalog[at:]):
        raise BrokenTablesError(f"record {at // RECORD} of the boot catalog is of no known kind")


def _entry(catalog: bytes, at: int, start: int, *, platform: int) -> BootEntry:
    if at + RECORD > SECTOR:
        raise BrokenTablesError("the boot catalog goes on beyond its first sector")
    indicator, media_type, sectors, lba, criteria = struct.unpack_from("<BB4xHLB", catalog, at)
    if indicator not in {BOOTABLE, NOT_BOOTABLE}:
        raise BrokenTablesError(f"record {at // RECORD} of the boot catalog is no boot entry")
    return BootEntry(
        platform=platform,
        bootable=indicator == BOOTABLE,
        media_type=media_type,
        criteria=criteria,
        pointer=start + at + 6,
        sectors=sectors,
        lba=lba,
    )
