"""Which of its two EFI boot images a Windows disc starts, and the six bytes that choose.

`efisys.bin` waits for a key, `efisys_noprompt.bin` does not; both lie on the disc. The entry for
EFI in the boot catalog points at one of them: a sector count (u16) and a sector (u32).
"""

import dataclasses
import enum
import itertools
import math
import os
import struct
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.media.eltorito import EFI, BootEntry, inspect_catalog
from builder.media.image import PLATFORMS, DiscFile, DiscImage, inspect_image
from builder.media.kinds import looks_like_windows, wrong_disc
from builder.media.tables import BrokenTablesError, TableReader, pread
from builder.record import record

SECTOR = 2048
LOADED = 512  # the unit of an entry's sector count
LARGEST = 64 << 20  # a boot image has 1.4 MB; some vendors' have more
# Mastering tools write boot images at the head of a disc, before its files.
HEAD = 16 << 20
FOLDER = "efi/microsoft/boot"
UNTOUCHED = "the file was not touched; take the disc as Microsoft gives it out"


class BootChoice(enum.Enum):
    """What the firmware starts: the image that asks for a key, or the one that does not."""

    PROMPT = "prompt"
    NO_PROMPT = "no-prompt"


@record
class BootPointer:
    """The six bytes at `offset` in the file: as they are, and for either choice.

    `foreign`: they point at an image without a prompt that is not the file
    `efisys_noprompt.bin` itself; nobody knows then where they pointed before.
    """

    path: Path
    size: int
    volume_id: str
    offset: int
    choice: BootChoice
    prompt: bytes
    no_prompt: bytes
    foreign: bool = False

    def bytes_for(self, choice: BootChoice) -> bytes:
        """The six bytes that make a choice."""
        return self.prompt if choice is BootChoice.PROMPT else self.no_prompt

    @property
    def current(self) -> bytes:
        """The six bytes as they are."""
        return self.bytes_for(self.choice)


def inspect_pointer(path: Path) -> BootPointer:
    """Where a Windows disc says which EFI image it starts, and what else could stand there.

    Raises WinseedError (MEDIA) for whatever is not understood to the last byte: another disc, a
    broken or unusual boot catalog, images that are missing, not of the expected kind, or not where
    the entry could point; and when the way back could not be found again.
    """
    image = inspect_image(path)
    if not looks_like_windows(image):
        raise wrong_disc(image, "a Windows disc", "WINDOWS.iso")
    with TableReader(path) as stream:
        entry = _efi_entry(image, stream)
        asking = _boot_image(image, "efisys.bin")
        silent = _boot_image(image, "efisys_noprompt.bin")
        if asking == silent:
            raise _unclear(image, "efisys.bin and efisys_noprompt.bin are the same")
        content = {
            choice: pread(stream.fileno(), len(data), entry.lba * SECTOR) == data
            for choice, data in ((BootChoice.PROMPT, asking), (BootChoice.NO_PROMPT, silent))
        }
        if not any(content.values()) or all(content.values()):
            what = f"sector {entry.lba}, where its EFI entry points, holds neither efisys.bin"
            raise _unclear(image, f"{what} nor efisys_noprompt.bin")
        choice = next(choice for choice, same in content.items() if same)
        sources = _find(image, "efisys.bin"), asking
        home = _home(image, stream, *sources)
    away = _find(image, "efisys_noprompt.bin").extents[0].offset // SECTOR
    _check_way_back(image, entry, choice, home)
    count = len(asking if choice is BootChoice.PROMPT else silent)
    pointer = BootPointer(
        path=path,
        size=image.size,
        volume_id=image.volume_id,
        offset=entry.pointer,
        choice=choice,
        prompt=_six(image, entry, home, loaded=count, size=len(asking)),
        no_prompt=_six(image, entry, away, loaded=count, size=len(silent)),
        foreign=choice is BootChoice.NO_PROMPT and entry.lba != away,
    )
    if pointer.foreign:
        own = struct.pack("<HL", entry.sectors, entry.lba)
        return dataclasses.replace(pointer, no_prompt=own)
    return pointer


def write_choice(descriptor: int, pointer: BootPointer, choice: BootChoice) -> None:
    """Write the six bytes, sync them and read them back; OSError when the disk fails.

    Raises WinseedError (MEDIA) when the file no longer holds the bytes that were looked at.
    """
    if pread(descriptor, len(pointer.current), pointer.offset) != pointer.current:
        what = f"{pointer.path}: changed while it was looked at"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="let nobody else write to it")
    wanted = pointer.bytes_for(choice)
    written = os.pwrite(descriptor, wanted, pointer.offset)
    os.fsync(descriptor)
    if written != len(wanted) or pread(descriptor, len(wanted), pointer.offset) != wanted:
        restore(descriptor, pointer)
        what = f"{pointer.path}: the six bytes read back are not those written; restored"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="the disk or share it lies on fails")


def restore(descriptor: int, pointer: BootPointer) -> None:
    """Put the six bytes back as they were found."""
    os.pwrite(descriptor, pointer.current, pointer.offset)
    os.fsync(descriptor)


def check_choice(before: BootPointer, path: Path, choice: BootChoice) -> None:
    """Look at the written disc as if for the first time; WinseedError (MEDIA) unless it is right.

    It must be the same disc with the same two places to point at, and make this choice.
    """
    try:
        after = inspect_pointer(path)
    except WinseedError:
        after = None
    if after != dataclasses.replace(before, path=path, choice=choice):
        what = f"{before.path}: what was written does not read as expected; nothing was kept"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="the disk or share it lies on fails")


def _efi_entry(image: DiscImage, stream: TableReader) -> BootEntry:
    """The one EFI entry, of the plain kind; both readers must see the same catalog."""
    try:
        entries = inspect_catalog(stream)
    except (BrokenTablesError, OSError) as error:
        raise _unclear(image, str(error)) from error
    bootable = [entry for entry in entries if entry.bootable]
    seen = [
        (PLATFORMS.get(entry.platform, f"0x{entry.platform:02x}"), entry.sectors, entry.lba)
        for entry in bootable
    ]
    if seen != [(boot.platform, boot.sectors, boot.lba) for boot in image.boot_images]:
        raise _unclear(image, "two readers disagree about its boot catalog")
    found = [entry for entry in bootable if entry.platform == EFI]
    if len(found) != 1:
        raise _unclear(image, f"its boot catalog has {len(found)} EFI entries, expected 1")
    if found[0].media_type or found[0].criteria:
        raise _unclear(image, "its EFI entry emulates a drive or has selection criteria")
    return found[0]


def _find(image: DiscImage, name: str) -> DiscFile:
    file = image.find(f"{FOLDER}/{name}")
    if file is None:
        raise _unclear(image, f"it has no {FOLDER}/{name}")
    extents = file.extents
    joined = all(one.offset + one.length == two.offset for one, two in itertools.pairwise(extents))
    if not extents or not joined or extents[0].offset % SECTOR or file.size > LARGEST:
        raise _unclear(image, f"{file.path} does not lie in one piece of whole sectors")
    return file


def _boot_image(image: DiscImage, name: str) -> bytes:
    """A FAT volume, as UEFI 13.3.2.1 asks: 512-byte sectors, no longer than its file."""
    file = _find(image, name)
    content = image.read(file)
    if len(content) >= LOADED and content[510:512] == b"\x55\xaa":
        sector, small = struct.unpack_from("<H6xH", content, 11)
        (large,) = struct.unpack_from("<L", content, 32)
        if sector == LOADED and 0 < (small or large) * LOADED <= len(content):
            return content
    raise _unclear(image, f"{file.path} is no FAT image as firmware starts one")


def _home(image: DiscImage, stream: TableReader, file: DiscFile, content: bytes) -> int:
    """The sector that the entry points at on a disc that asks.

    A copy of efisys.bin that belongs to no file, if there is one at the head of the disc, for
    then the mastering tool made it to be started; else the file itself.
    """
    taken = {extent.offset for other in image.files.values() for extent in other.extents}
    for start in range(0, min(HEAD, image.size), 1 << 20):
        block = pread(stream.fileno(), 1 << 20, start)
        at = block.find(content[:LOADED])
        while at >= 0:
            place = start + at
            free = not place % SECTOR and place not in taken
            if free and pread(stream.fileno(), len(content), place) == content:
                return place // SECTOR
            at = block.find(content[:LOADED], at + 1)
    return file.extents[0].offset // SECTOR


def _check_way_back(image: DiscImage, entry: BootEntry, choice: BootChoice, home: int) -> None:
    if choice is BootChoice.PROMPT and entry.lba != home:
        what = f"its EFI entry points at sector {entry.lba}, but efisys.bin is at {home} as well"
        raise _unclear(image, f"{what}: the way back would not be known")


def _six(image: DiscImage, entry: BootEntry, lba: int, *, loaded: int, size: int) -> bytes:
    """Sector count and sector. A count of 0 or 1 stays, any other must be the image's own.

    OVMF starts images with a count of 0, of 1 (Microsoft's tool) and of the true number; a count
    that is too small starts nothing (tried with the OVMF of Debian 12).
    """
    if entry.sectors <= 1:
        return struct.pack("<HL", entry.sectors, lba)
    if entry.sectors != math.ceil(loaded / LOADED):
        what = f"its EFI entry loads {entry.sectors} sectors"
        raise _unclear(image, f"{what}, expected 0, 1 or {math.ceil(loaded / LOADED)}")
    count = math.ceil(size / LOADED)
    if count > 0xFFFF:
        raise _unclear(image, f"a boot image of {size} bytes is too large for its entry")
    return struct.pack("<HL", count, lba)


def _unclear(image: DiscImage, reason: str) -> WinseedError:
    return WinseedError(f"{image.path}: {reason}", code=ExitCode.MEDIA, hint=UNTOUCHED)
