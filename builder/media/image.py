"""A disc image as a table of files: which paths it holds and where their bytes lie.

pycdlib walks the disc once; only paths and extents are kept, and contents are read with `pread`.
Formats: ISO 9660 (ECMA-119), ISO 9660:1999, Joliet, Rock Ridge (IEEE P1282), UDF (ECMA-167).
"""

import enum
import errno
import itertools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pycdlib
from pycdlib.dr import DirectoryRecord
from pycdlib.udf import UDFFileEntry, UDFInlineAD

from builder.errors import ExitCode, WinseedError
from builder.media.signatures import describe_start
from builder.media.tables import BrokenTablesError, TableReader, pread

SECTOR = 2048
SNIFF = 1 << 16
DOWNLOAD_AGAIN = "download it again and compare its checksum"

# A Windows disc has some thousand names; this only ends what a damaged table may start.
ENTRY_LIMIT = 100_000


class Namespace(enum.Enum):
    """The name tree that was read. One disc often carries several over the same bytes."""

    UDF = "udf"
    ROCK_RIDGE = "rock-ridge"
    JOLIET = "joliet"
    ISO9660 = "iso9660"


class Extent(NamedTuple):
    """A run of bytes inside the image file."""

    offset: int
    length: int


class DiscFile(NamedTuple):
    """One file: its POSIX path as on the disc (no leading slash, no `;1`), its size in bytes.

    By the thousand: a tuple costs a third of a dataclass to make, and to hand to a process.
    """

    path: str
    size: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True, slots=True)
class BootImage:
    """A bootable El Torito entry. `sectors` counts 512 bytes, `lba` counts 2,048 bytes."""

    platform: str
    sectors: int
    lba: int


@dataclass(frozen=True)
class DiscImage:
    """What one image file holds. `files` is keyed by the case-folded path.

    Of two names that differ in case only, the first one met is kept: Windows shows one as well.
    """

    path: Path
    size: int
    volume_id: str
    namespace: Namespace
    files: Mapping[str, DiscFile]
    boot_images: tuple[BootImage, ...]

    def find(self, path: str) -> DiscFile | None:
        """The file at a path, in any case; None when the disc has none."""
        return self.files.get(path.strip("/").casefold())

    def under(self, folder: str) -> tuple[DiscFile, ...]:
        """Every file below a folder, in any case; the empty name is the whole disc."""
        prefix = folder.strip("/").casefold()
        prefix = f"{prefix}/" if prefix else ""
        return tuple(file for key, file in self.files.items() if key.startswith(prefix))

    def read(self, file: DiscFile, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes of a file; fewer than `size` only at its end. Raises `WinseedError` (MEDIA)."""
        end = file.size if size is None else min(file.size, offset + size)
        parts: list[bytes] = []
        start = 0
        try:
            with self.path.open("rb", buffering=0) as stream:
                for extent in file.extents:
                    begin, stop = max(offset, start), min(end, start + extent.length)
                    if begin < stop:
                        where = extent.offset + begin - start
                        parts.append(pread(stream.fileno(), stop - begin, where))
                    start += extent.length
        except OSError as error:
            raise _unreadable(self.path, error) from error
        content = b"".join(parts)
        if len(content) != max(0, end - offset):
            raise _cut_short(self.path, f"{file.path} ends after {offset + len(content)} bytes")
        return content


def inspect_image(path: Path) -> DiscImage:
    """Read the tables of an ISO image.

    Raises `WinseedError` (MEDIA) when the file cannot be read, is no ISO image, is cut short or
    has broken tables.
    """
    try:
        with TableReader(path) as stream:
            _check_volume(path, stream)
            return _inspect(path, stream)
    except WinseedError:
        raise
    except OSError as error:
        # Seeking to a place that a broken table names fails with EINVAL.
        if error.errno in {None, errno.EINVAL}:
            raise _broken(path, error) from error
        raise _unreadable(path, error) from error
    except Exception as error:
        # On damaged discs pycdlib raises struct.error, IndexError, KeyError, UnicodeError and its
        # own exceptions, so nothing narrower than Exception will do.
        raise _broken(path, error) from error


def _inspect(path: Path, stream: TableReader) -> DiscImage:
    disc = pycdlib.PyCdlib()
    disc.open_fp(stream)
    namespace, found = _choose_tree(disc, stream)
    files: dict[str, DiscFile] = {}
    for file in found:
        files.setdefault(file.path.casefold(), file)
    _check_extents(path, stream.size, found)
    return DiscImage(
        path=path,
        size=stream.size,
        volume_id=_printable(disc.pvd.volume_identifier).strip(),
        namespace=namespace,
        files=MappingProxyType(files),
        boot_images=tuple(_boot_images(disc)),
    )


def _choose_tree(disc: pycdlib.PyCdlib, stream: TableReader) -> tuple[Namespace, list[DiscFile]]:
    """The richest tree: UDF if it holds more than ISO 9660, then Rock Ridge, Joliet, ISO 9660.

    Microsoft's discs have a stub of ISO 9660 with README.TXT only, and everything in UDF; on
    bridge discs ISO 9660 may know large files by a part of their size only.
    """
    block = disc.logical_block_size
    rock_ridge = disc.has_rock_ridge()
    iso = list(_walk_iso(disc.pvd.root_directory_record(), stream, block, rock_ridge=rock_ridge))
    if disc.has_udf() and disc.udf_root is not None:
        start = disc.udf_main_descs.partitions[0].part_start_location
        udf = list(_walk_udf(disc.udf_root, start, block))
        if len(udf) > len(iso) or _total(udf) > _total(iso):
            return Namespace.UDF, udf
    if rock_ridge:
        return Namespace.ROCK_RIDGE, iso
    if disc.joliet_vd is not None:
        joliet = disc.joliet_vd.root_directory_record()
        found = list(_walk_iso(joliet, stream, block, rock_ridge=False, encoding="utf-16-be"))
        return Namespace.JOLIET, found
    return Namespace.ISO9660, iso


def _total(files: list[DiscFile]) -> int:
    return sum(file.size for file in files)


def _walk_udf(root: UDFFileEntry, start: int, block: int) -> Iterator[DiscFile]:
    folders = [("", root)]
    count = itertools.count()
    while folders:
        prefix, folder = folders.pop()
        for ident in folder.fi_descs.values():
            entry = ident.file_entry
            deleted = ident.file_characteristics & 0x04  # ECMA-167 4/14.4.3
            if ident.is_parent() or deleted or entry is None:
                continue
            _count(count)
            path = prefix + _checked_name(ident.fi.decode(ident.encoding))
            if ident.is_dir():
                folders.append((f"{path}/", entry))
            else:
                yield DiscFile(path, entry.info_len, tuple(_udf_extents(entry, start, block)))


def _udf_extents(entry: UDFFileEntry, start: int, block: int) -> Iterator[Extent]:
    left = entry.info_len
    for piece in entry.alloc_descs:
        # The upper two bits hold the extent's type (ECMA-167 4/14.14.1.1).
        length = min(piece.extent_length & 0x3FFFFFFF, left)
        if length:
            # pycdlib gives the place of embedded data in absolute blocks.
            first = 0 if isinstance(piece, UDFInlineAD) else start
            yield Extent((first + piece.log_block_num) * block + piece.offset, length)
            left -= length
    if left:
        raise BrokenTablesError("a file with fewer bytes in its extents than its size says")


def _walk_iso(
    root: DirectoryRecord,
    stream: TableReader,
    block: int,
    *,
    rock_ridge: bool,
    encoding: str = "latin-1",
) -> Iterator[DiscFile]:
    folders = [("", root)]
    count = itertools.count()
    while folders:
        prefix, folder = folders.pop()
        for record in folder.children:
            if record.is_dot() or record.is_dotdot():
                continue
            _count(count)
            ridge = record.rock_ridge if rock_ridge else None
            # A folder deeper than eight levels lies elsewhere, under its own name here (IEEE
            # P1282 4.1.5). Symbolic links are no files.
            if ridge is not None and (ridge.relocated_record() or ridge.is_symlink()):
                continue
            moved = ridge.cl_to_moved_dr if ridge is not None else None
            path = prefix + _checked_name(_iso_name(record, encoding, rock_ridge=rock_ridge))
            if moved is not None or record.is_dir():
                folders.append((f"{path}/", moved or record))
                continue
            # The later pieces of a file come again under the same name; the first one is kept.
            extents = [_iso_extent(piece, stream, block) for piece in _pieces(record)]
            size = sum(extent.length for extent in extents)
            yield DiscFile(path, size, tuple(extent for extent in extents if extent.length))


def _pieces(record: DirectoryRecord) -> Iterator[DirectoryRecord]:
    """A file's record and those that continue it (ECMA-119 9.1.6, bit 7)."""
    piece: DirectoryRecord | None = record
    while piece is not None:
        yield piece
        piece = piece.data_continuation


def _iso_extent(record: DirectoryRecord, stream: TableReader, block: int) -> Extent:
    offset = (record.extent_location() + record.xattr_len) * block
    length = record.data_length
    # pycdlib quietly shortens a file that reaches over the end; ask the disc itself.
    if length < 0 or (length and offset + length == stream.size):
        length = _recorded_length(record, stream, block)
    return Extent(offset, length)


def _recorded_length(record: DirectoryRecord, stream: TableReader, block: int) -> int:
    """The length as the directory on the disc has it (ECMA-119 9.1.3 and 9.1.4)."""
    location = record.extent_location()
    both = struct.pack("<L", location) + struct.pack(">L", location)
    folder = record.parent
    if folder is None:
        raise BrokenTablesError("a file in no folder")
    table = stream.at(folder.extent_location() * block, folder.data_length)
    found = table.find(both)
    lengths = []
    while found >= 0:
        lengths.append(int.from_bytes(table[found + 8 : found + 12], "little"))
        found = table.find(both, found + 1)
    return max(lengths, default=record.data_length)


def _iso_name(record: DirectoryRecord, encoding: str, *, rock_ridge: bool) -> str:
    if rock_ridge and record.rock_ridge is not None and record.rock_ridge.name():
        raw = record.rock_ridge.name()
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")
    name = record.file_identifier().decode(encoding)
    stem, _, version = name.rpartition(";")
    name = stem if stem and version.isdigit() else name
    return name if encoding != "latin-1" or record.is_dir() else name.rstrip(".") or name


def _count(count: "itertools.count[int]") -> None:
    if next(count) >= ENTRY_LIMIT:
        raise BrokenTablesError(f"more than {ENTRY_LIMIT} names")


def _checked_name(name: str) -> str:
    if not name or name in {".", ".."} or "/" in name or _printable(name) != name:
        raise BrokenTablesError(f"an impossible file name {name!r}")
    return name


def _printable(text: str | bytes) -> str:
    """Text that may go to a terminal: control characters become spaces."""
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    if text.isprintable():
        return text
    return "".join(" " if ord(char) < 32 or 127 <= ord(char) < 160 else char for char in text)


PLATFORMS = {0x00: "bios", 0x01: "powerpc", 0x02: "mac", 0xEF: "efi"}


def _boot_images(disc: pycdlib.PyCdlib) -> Iterator[BootImage]:
    """The bootable entries of the boot catalog (El Torito 1.0, 2.0; platform 0xEF: UEFI 13.3.2)."""
    catalog = disc.eltorito_boot_catalog
    if catalog is None:
        return
    entries = [(catalog.validation_entry.platform_id, catalog.initial_entry)]
    for section in catalog.sections:
        entries += [(section.platform_id, entry) for entry in section.section_entries]
    for platform, entry in entries:
        if entry.boot_indicator == 0x88:
            name = PLATFORMS.get(platform, f"0x{platform:02x}")
            yield BootImage(name, entry.sector_count, entry.load_rba)


def _check_volume(path: Path, stream: TableReader) -> None:
    """Refuse what is no ISO image, and an image shorter than its volume (ECMA-119 8.4.8)."""
    if not stream.size:
        raise _no_iso(path, "it is empty")
    volume = stream.at(16 * SECTOR, SECTOR)
    if volume[1:6] == b"BEA01":
        raise _no_iso(path, "it is UDF without the ISO 9660 part that install discs have")
    if volume[1:6] != b"CD001" or len(volume) < SECTOR:
        start = stream.at(0, min(stream.size, SNIFF))
        raise _no_iso(path, f"it looks like {describe_start(start)}")
    (blocks,) = struct.unpack_from("<L", volume, 80)
    (block,) = struct.unpack_from("<H", volume, 128)
    if volume[0] == 1 and blocks * block > stream.size:
        raise _cut_short(path, f"the disc has {blocks * block} bytes, the file {stream.size}")


def _check_extents(path: Path, size: int, files: list[DiscFile]) -> None:
    for file in files:
        for extent in file.extents:
            end = extent.offset + extent.length
            if end > size:
                raise _cut_short(path, f"{file.path} reaches to byte {end} of {size}")


def _unreadable(path: Path, error: OSError) -> WinseedError:
    hints = {
        errno.ENOENT: "check the path",
        errno.EACCES: "give the user who runs winseed read access to it and to its folders",
        errno.EISDIR: "name the ISO image itself, not its folder",
        errno.EIO: "the disk or share it lies on fails; copy it again from the source",
    }
    reason = (error.strerror or str(error)).lower()
    hint = hints.get(error.errno or 0, "name an ISO image")
    return WinseedError(f"{path}: cannot be read: {reason}", code=ExitCode.MEDIA, hint=hint)


def _no_iso(path: Path, what: str) -> WinseedError:
    return WinseedError(
        f"{path}: not an ISO image: {what}", code=ExitCode.MEDIA, hint="name an ISO image (.iso)"
    )


def _cut_short(path: Path, what: str) -> WinseedError:
    return WinseedError(f"{path}: cut short: {what}", code=ExitCode.MEDIA, hint=DOWNLOAD_AGAIN)


def _broken(path: Path, error: Exception) -> WinseedError:
    # The library's words are no sentence of ours, but they help whoever reports a good disc.
    reason = _printable(str(error)) or type(error).__name__
    what = f"{path}: the tables of this ISO image are broken ({reason})"
    return WinseedError(what, code=ExitCode.MEDIA, hint=DOWNLOAD_AGAIN)
