"""Whether a file is wimboot: the boot loader that iPXE hands boot.wim to.

ipxe/wimboot src/prefix.S: the release file is a Linux kernel for BIOS (boot protocol 2.03, `HdrS`
at 0x202, the version's text at 0x200 plus the word at 0x20e) and a PE image for UEFI at once.
PE layout: Microsoft, "PE Format".
"""

import re
import struct
from pathlib import Path

from builder.disc import SourceFile
from builder.errors import ExitCode, WinseedError
from builder.media.image import Extent
from builder.names import printable
from builder.record import record

LARGEST = 1 << 20  # release 2.9.0 has some 60 KiB
AMD64, PE32_PLUS, EFI_APPLICATION = 0x8664, 0x20B, 10
VERSION = re.compile(rb"v\d+\.\d+\.\d+[\w.+-]{0,40}")
WHERE = "take the file `wimboot` of a release of github.com/ipxe/wimboot"
OLDEST = (2, 6, 0)  # puts further files into X:\Windows\System32 (its CHANGELOG)


@record
class Wimboot:
    """What was checked: `signed` tells that a certificate table is there, not that it is valid."""

    path: Path
    size: int
    version: str
    signed: bool

    @property
    def content(self) -> SourceFile:
        """Its bytes."""
        return SourceFile(path=self.path, extents=(Extent(offset=0, length=self.size),))


def inspect_wimboot(path: Path) -> Wimboot:
    """Read the headers of `path`. Raises WinseedError (MEDIA) when it is not wimboot for amd64."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise WinseedError(
            f"cannot read {printable(path)}: {error.strerror}", code=ExitCode.MEDIA, hint=WHERE
        ) from None
    if len(data) > LARGEST:
        raise _refusal(path, f"it is larger than {LARGEST} bytes")
    version = _kernel_version(path, data)
    signed = _check_pe(path, data)
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if numbers < OLDEST:
        raise _refusal(path, f"release {version} is too old: 2.6.0 or later is needed")
    return Wimboot(path=path, size=len(data), version=version, signed=signed)


def _kernel_version(path: Path, data: bytes) -> str:
    if len(data) < 0x240 or data[0x1FE:0x200] != b"\x55\xaa" or data[0x202:0x206] != b"HdrS":
        raise _refusal(path, "it has no kernel header, so it cannot boot with BIOS")
    (offset,) = struct.unpack_from("<H", data, 0x20E)
    found = VERSION.match(data, 0x200 + offset)
    if found is None:
        raise _refusal(path, "its kernel header names no wimboot version")
    return found[0].decode()


def _check_pe(path: Path, data: bytes) -> bool:
    try:
        (start,) = struct.unpack_from("<L", data, 0x3C)
        machine, optional_size = struct.unpack_from("<H14xH", data, start + 4)
        magic, subsystem = struct.unpack_from("<H66xH", data, start + 24)
        directories, certificates = struct.unpack_from("<L36xL", data, start + 24 + 108)
    except struct.error:
        raise _refusal(path, "its PE header is cut short") from None
    if data[:2] != b"MZ" or data[start : start + 4] != b"PE\0\0":
        raise _refusal(path, "it is no PE image, so UEFI cannot start it")
    if (machine, magic, subsystem) != (AMD64, PE32_PLUS, EFI_APPLICATION):
        raise _refusal(path, f"it is no UEFI application for amd64 (machine {machine:#06x})")
    return bool(optional_size > 112 + 5 * 8 and directories > 4 and certificates)


def _refusal(path: Path, why: str) -> WinseedError:
    return WinseedError(f"{printable(path)} is not wimboot: {why}", code=ExitCode.MEDIA, hint=WHERE)
