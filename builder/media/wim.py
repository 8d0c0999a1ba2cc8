"""The images inside a WIM, SWM or ESD file, from its header and its XML, read in place.

Layout: Microsoft, "Windows Imaging File Format (WIM)" (2007), and the header of wimlib,
`include/wimlib/header.h`. The XML is never compressed, in solid (ESD) files neither.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn
from xml.etree import ElementTree as ET

from builder.errors import ExitCode, WinseedError

HEADER_SIZE = 208
XML_LIMIT = 8 << 20  # that of a disc with ten images has some 40 KiB

ReadAt = Callable[[int, int], bytes]

_COMPRESSED = 0x00000002
_COMPRESSIONS = {0x00020000: "xpress", 0x00040000: "lzx", 0x00080000: "lzms", 0x00200000: "xpress"}
_RESOURCE_COMPRESSED = 0x04 | 0x10
# PROCESSOR_ARCHITECTURE_* of winnt.h
_ARCHITECTURES = {"0": "x86", "5": "arm", "6": "ia64", "9": "amd64", "12": "arm64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class WimImage:
    """One image as the XML describes it. Absent texts are empty, absent numbers 0.

    `name` is not localized and the same on volume and evaluation media; `edition_id`, `flags` and
    `display_name` tell those apart.
    """

    index: int
    name: str
    description: str
    display_name: str
    edition_id: str
    installation_type: str
    architecture: str
    major: int
    minor: int
    build: int
    spbuild: int
    languages: tuple[str, ...]
    default_language: str
    total_bytes: int
    flags: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WimFile:
    """A WIM file, or one part of a split one. `boot_index` is 0 when no image boots."""

    images: tuple[WimImage, ...]
    part: int
    parts: int
    compression: str
    boot_index: int


def inspect_wim(read_at: ReadAt, size: int, *, name: str = "the WIM file") -> WimFile:
    """Read the header and the XML of a WIM file of `size` bytes.

    `read_at(offset, length)` delivers its bytes; `name` appears in errors. Raises `WinseedError`
    (MEDIA) when it is no WIM file, is cut short or damaged.
    """
    header = read_at(0, HEADER_SIZE)
    if not header.startswith(b"MSWIM\0\0\0"):
        _refuse(name, "no WIM file: it does not begin with MSWIM")
    if len(header) < HEADER_SIZE:
        _refuse(name, f"cut short: {len(header)} bytes where the header has {HEADER_SIZE}")
    (flags,) = struct.unpack_from("<L", header, 16)
    part, parts, count = struct.unpack_from("<HHL", header, 40)
    (boot_index,) = struct.unpack_from("<L", header, 120)
    _check_resource(name, size, header[48:72], "its lookup table")
    images = _load_images(name, _read_xml(read_at, size, header[72:96], name))
    if len(images) != count:
        _refuse(name, f"damaged: the header counts {count} images, its XML {len(images)}")
    if not 1 <= part <= parts:
        _refuse(name, f"damaged: the header calls it part {part} of {parts}")
    return WimFile(
        images=images,
        part=part,
        parts=parts,
        compression=_compression(flags),
        boot_index=boot_index,
    )


def _compression(flags: int) -> str:
    if not flags & _COMPRESSED:
        return "none"
    return next((kind for bit, kind in _COMPRESSIONS.items() if flags & bit), "unknown")


def _check_resource(name: str, size: int, header: bytes, what: str) -> tuple[int, int, int]:
    """Offset, length and flags of a resource that lies within the file."""
    length = int.from_bytes(header[:7], "little")
    offset = int.from_bytes(header[8:16], "little")
    if offset + length > size:
        _refuse(name, f"cut short: {what} reaches to byte {offset + length}, the file has {size}")
    return offset, length, header[7]


def _read_xml(read_at: ReadAt, size: int, header: bytes, name: str) -> str:
    offset, length, flags = _check_resource(name, size, header, "its XML")
    if flags & _RESOURCE_COMPRESSED:
        _refuse(name, "its XML is marked as compressed; that of Windows discs is plain UTF-16")
    if not 2 <= length <= XML_LIMIT:
        _refuse(name, f"damaged: XML of {length} bytes")
    raw = read_at(offset, length)
    if len(raw) != length:
        _refuse(name, f"cut short: {len(raw)} of {length} bytes of its XML are there")
    try:
        text = raw.decode("utf-16-le").removeprefix("\ufeff")
    except UnicodeDecodeError:
        _refuse(name, "damaged: its XML is no UTF-16 text")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        _refuse(name, "its XML declares entities, which no Windows disc does")
    return text


def _load_images(name: str, text: str) -> tuple[WimImage, ...]:
    try:
        root = ET.fromstring(text)  # noqa: S314 - bounded, and entity declarations are refused
    except (ET.ParseError, ValueError) as error:
        _refuse(name, f"damaged: its XML cannot be parsed: {error}")
    images = tuple(_load_image(element) for element in root.iterfind("IMAGE"))
    indexes = [image.index for image in images]
    if 0 in indexes or len(set(indexes)) != len(indexes):
        _refuse(name, f"damaged: images numbered {', '.join(map(str, indexes))}")
    return images


def _load_image(element: ET.Element) -> WimImage:
    def text(path: str) -> str:
        return (element.findtext(path) or "").strip()

    def number(path: str) -> int:
        return _number(text(path))

    languages = (language.text for language in element.iterfind("WINDOWS/LANGUAGES/LANGUAGE"))
    architecture = text("WINDOWS/ARCH")
    return WimImage(
        index=_number(element.get("INDEX", "")),
        name=text("NAME"),
        description=text("DESCRIPTION"),
        display_name=text("DISPLAYNAME"),
        edition_id=text("WINDOWS/EDITIONID"),
        installation_type=text("WINDOWS/INSTALLATIONTYPE"),
        architecture=_ARCHITECTURES.get(architecture, architecture),
        major=number("WINDOWS/VERSION/MAJOR"),
        minor=number("WINDOWS/VERSION/MINOR"),
        build=number("WINDOWS/VERSION/BUILD"),
        spbuild=number("WINDOWS/VERSION/SPBUILD"),
        languages=tuple(language.strip() for language in languages if language),
        default_language=text("WINDOWS/LANGUAGES/DEFAULT"),
        total_bytes=number("TOTALBYTES"),
        flags=text("FLAGS"),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else 0


def _refuse(name: str, what: str) -> NoReturn:
    raise WinseedError(
        f"{name}: {what}",
        code=ExitCode.MEDIA,
        hint="compare the checksum of the disc it comes from",
    )
