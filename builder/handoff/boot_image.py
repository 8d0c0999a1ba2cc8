"""What Windows PE boots from: boot.wim and its companions, and files put into a copy of it.

wimlib-imagex is the only writer of WIM files here; it is a tool of the system and named when it is
missing. wimlib-imagex-update(1): the files that are in the image already stay as they are.
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from builder.disc import SourceFile
from builder.errors import ExitCode, WinseedError
from builder.media.image import DiscFile, DiscImage
from builder.media.windows import WindowsMedia
from builder.record import record

WIMLIB = "wimlib-imagex"
WIMLIB_PACKAGE = "wimtools"
TOOL_TIMEOUT = 1800  # seconds; a slow disk and a large image
CURL = "/Windows/System32/curl.exe"
EPOCH_1601 = 11_644_473_600  # seconds between FILETIME and Unix time


@record
class BootFiles:
    """What wimboot is given, by the names it knows; `index` is the image that boots."""

    wim: SourceFile
    companions: Mapping[str, SourceFile]
    index: int


def find_boot_files(image: DiscImage, media: WindowsMedia) -> BootFiles:
    """boot.wim, BCD, boot.sdi and bootmgr of a Windows disc; WinseedError (MEDIA) without them.

    ipxe.org, "wimboot": files named BCD, boot.sdi and bootmgr are used when given.
    """
    places = {"BCD": "boot/bcd", "boot.sdi": "boot/boot.sdi", "bootmgr": "bootmgr"}
    found = {name: image.find(path) for name, path in places.items()}
    wim = image.find("sources/boot.wim")
    missing = [places[name] for name in ("BCD", "boot.sdi") if found[name] is None]
    if wim is None or not media.boot_images:
        missing.append("sources/boot.wim")
    if missing or wim is None:
        raise WinseedError(
            f"{image.path.name} has no {', '.join(missing)}: it cannot be booted over the network",
            code=ExitCode.MEDIA,
            hint="take an installation disc of Windows Server",
        )
    return BootFiles(
        wim=disc_source(image, wim),
        companions={name: disc_source(image, file) for name, file in found.items() if file},
        index=media.boot_images[-1].index,
    )


def disc_source(image: DiscImage, file: DiscFile) -> SourceFile:
    """The bytes of a file on a disc."""
    return SourceFile(path=image.path, extents=file.extents)


def inject_files(wim: Path, index: int, files: Mapping[str, Path], *, epoch: int) -> None:
    """Put `files` (path inside the image, `/Windows/...` -> file) into image `index` of `wim`.

    The files lie on the file system of `wim` and belong to the caller: they get the time `epoch`.
    One call of the tool, whatever the number of files. Raises WinseedError (SPEC) when the tool is
    missing, MEDIA when it refuses the image.
    """
    tool = find_wimlib()
    with tempfile.TemporaryDirectory(prefix=".winseed-", dir=wim.parent) as folder:
        # times of files and of new folders go into the image as well
        root = Path(folder, "root")
        folders = {root}
        for inside, source in files.items():
            place = root / inside.lstrip("/")
            if place.parent not in folders:
                place.parent.mkdir(parents=True, exist_ok=True)
                folders |= {place.parent, *place.parent.relative_to(root).parents}
            os.link(source, place)
            os.utime(place, (epoch, epoch))
        for one in folders:
            os.utime(root / one, (epoch, epoch))
        _run([tool, "update", str(wim), str(index)], wim, stdin=f'add "{root}" "/"\n')
    _pin_time(wim, index, epoch)


def extract_curl(install: Path, index: int, target: Path) -> None:
    """curl.exe of an install image, to `target`; WinseedError (MEDIA) when it has none."""
    tool = find_wimlib()
    with tempfile.TemporaryDirectory(prefix=".winseed-", dir=target.parent) as folder:
        command = [tool, "extract", str(install), str(index), CURL, f"--dest-dir={folder}"]
        done = _call([*command, "--no-acls", "--no-attributes"])
        found = Path(folder, "curl.exe")
        if done.returncode or not found.is_file():
            raise WinseedError(
                f"image {index} of the media holds no curl.exe",
                code=ExitCode.MEDIA,
                hint="Windows has it from Server 2019 on; give one with --curl FILE",
            )
        found.replace(target)


def find_wimlib() -> str:
    """The path of the tool; WinseedError (SPEC) that names its package."""
    found = shutil.which(WIMLIB)
    if found is None:
        raise WinseedError(
            f"{WIMLIB} is missing: it puts files into boot images",
            code=ExitCode.SPEC,
            hint=f"apt install {WIMLIB_PACKAGE}",
        )
    return found


def _pin_time(wim: Path, index: int, epoch: int) -> None:
    """Write `epoch` over the hour of the change: the same input has to give the same bytes.

    The XML of a WIM file is plain UTF-16 at its end, covered by no hash, and the hour has eight hex
    digits twice, so bytes are replaced and nothing moves. (The tool could do it as well, for the
    price of a second run.) Layout: Microsoft, "Windows Imaging File Format (WIM)" (2007).
    """
    filetime = (epoch + EPOCH_1601) * 10_000_000
    parts = {"HIGHPART": filetime >> 32, "LOWPART": filetime & 0xFFFFFFFF}
    with wim.open("r+b") as file:
        size, offset = struct.unpack_from("<QQ", file.read(96), 72)
        size &= (1 << 56) - 1  # the upper byte holds flags
        file.seek(offset)
        text = file.read(size).decode("utf-16-le")
        start = text.index(f'<IMAGE INDEX="{index}">')
        start = text.index("<LASTMODIFICATIONTIME>", start)
        for name, value in parts.items():
            place = text.index(f"<{name}>0x", start) + len(f"<{name}>")
            file.seek(offset + 2 * place)
            file.write(f"0x{value:08X}".encode("utf-16-le"))


def _run(command: list[str], wim: Path, *, stdin: str = "") -> None:
    done = _call(command, stdin=stdin)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told = next((line for line in lines if "ERROR" in line), lines[-1] if lines else "")
        told = re.sub(r"[^\x20-\x7e]", "?", told)[:300]
        raise WinseedError(
            f"{WIMLIB} could not change {wim.name}: {told or f'exit {done.returncode}'}",
            code=ExitCode.MEDIA,
            hint="compare the checksum of the Windows ISO",
        )


def _call(command: list[str], *, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=TOOL_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WinseedError(f"{WIMLIB} did not end: {error}", code=ExitCode.SPEC) from None
