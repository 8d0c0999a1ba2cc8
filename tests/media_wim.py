"""WIM files for synthetic Windows discs: by wimlib-imagex, else of a header and an XML only.

Image names: public listings of the four-image Server discs (DISM, wiminfo); Microsoft KB 2913316.
"""

import random
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

PRODUCTS = {9600: "2012 R2", 14393: "2016", 17763: "2019", 20348: "2022", 26100: "2025"}
SPBUILDS = {9600: 17031, 14393: 0, 17763: 737, 20348: 587, 26100: 1742}


@dataclass(frozen=True)
class Image:
    """One image: name, and the properties under their XML paths."""

    name: str
    properties: dict[str, str]


def _image(name: str, build: int, language: str, **properties: str) -> Image:
    major, minor = ("6", "3") if build == 9600 else ("10", "0")
    return Image(
        name,
        {
            "DISPLAYNAME": properties.pop("display", name),
            "FLAGS": properties.pop("flags"),
            "WINDOWS/ARCH": "9",
            **{f"WINDOWS/{key.upper()}": value for key, value in properties.items()},
            "WINDOWS/LANGUAGES/LANGUAGE": language,
            "WINDOWS/LANGUAGES/DEFAULT": language,
            "WINDOWS/VERSION/MAJOR": major,
            "WINDOWS/VERSION/MINOR": minor,
            "WINDOWS/VERSION/BUILD": str(build),
            "WINDOWS/VERSION/SPBUILD": str(SPBUILDS.get(build, 1)),
        },
    )


def server_images(build: int, *, evaluation: bool, language: str) -> list[Image]:
    """Standard Core, Standard, Datacenter Core, Datacenter."""
    product = f"Windows Server {PRODUCTS[build]}"
    core_words, gui_words = ("", " (Desktop Experience)")
    if build == 9600:
        core_words, gui_words = (" (Server Core Installation)", " (Server with a GUI)")
    images = []
    for edition in ("Standard", "Datacenter"):
        for core in (True, False):
            suffix = "Eval" if evaluation else ""
            shown = f"{product} {edition}{' Evaluation' if evaluation else ''}"
            images.append(
                _image(
                    f"{product} SERVER{edition.upper()}{'CORE' if core else ''}",
                    build,
                    language,
                    display=shown + (core_words if core else gui_words),
                    flags=f"Server{edition}{suffix}{'Core' if core else ''}",
                    editionid=f"Server{edition}{suffix}",
                    installationtype="Server Core" if core else "Server",
                )
            )
    return images


def boot_images(build: int, language: str) -> list[Image]:
    return [
        _image(f"Microsoft Windows {kind} (amd64)", build, language, flags="9",
               editionid="WindowsPE", installationtype="WindowsPE")
        for kind in ("PE", "Setup")
    ]  # fmt: skip


def write_wim(
    target: Path, images: list[Image], *, boot: int = 0, size: int = 300_000, solid: bool = False
) -> None:
    """By wimlib-imagex; each image holds a random file of `size` bytes of its own."""
    tool = shutil.which("wimlib-imagex")
    if tool is None:
        target.write_bytes(wim_bytes(images, boot_index=boot))
        return
    for index, image in enumerate(images, 1):
        source = target.parent / f".{target.name}.{index}"
        source.mkdir()
        content = random.Random(f"{target.name}{index}").randbytes(size)
        (source / f"image{index}.bin").write_bytes(content)
        verb = ["capture", source, target, image.name, image.name, "--compress=none"]
        if index > 1:
            verb = ["append", source, target, image.name, image.name]
        settings = [f"--image-property={key}={value}" for key, value in image.properties.items()]
        flags = ["--no-acls", *(["--boot"] if index == boot else [])]
        subprocess.run([tool, *verb, *flags, *settings], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(source)
    if solid:
        whole = target.with_suffix(".whole")
        target.rename(whole)
        command = [tool, "export", whole, "all", target, "--solid"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole.unlink()


def split_wim(source: Path, target: Path) -> None:
    """By wimlib-imagex into parts of 1 MiB: install.swm, install2.swm, ..."""
    command = ["wimlib-imagex", "split", source, target, "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def wim_bytes(
    images: list[Image],
    *,
    xml: bytes | None = None,
    boot_index: int = 0,
    part: tuple[int, int] = (1, 1),
    flags: int = 0x20002,
    count: int | None = None,
    xml_flags: int = 0,
    gap: int = 0,
) -> bytes:
    """A WIM file of a header, a gap and an XML; enough for whoever only reads those."""
    xml = wim_xml(images) if xml is None else xml
    return wim_header(
        xml_offset=208 + gap,
        xml_size=len(xml),
        count=len(images) if count is None else count,
        boot_index=boot_index,
        part=part,
        flags=flags,
        xml_flags=xml_flags,
    ) + bytes(gap) + xml  # fmt: skip


def wim_header(
    *,
    xml_offset: int,
    xml_size: int,
    count: int,
    boot_index: int = 0,
    part: tuple[int, int] = (1, 1),
    flags: int = 0x20002,
    xml_flags: int = 0,
) -> bytes:
    """The 208 bytes of "Windows Imaging File Format", WIMHEADER_V1_PACKED."""
    xml_resource = xml_size.to_bytes(7, "little") + bytes([xml_flags])
    xml_resource += struct.pack("<QQ", xml_offset, xml_size)
    return b"".join(
        (
            b"MSWIM\0\0\0",
            struct.pack("<LLLL", 208, 0x10D00, flags, 0x8000),
            b"G" * 16,
            struct.pack("<HHL", *part, count),
            bytes(24),
            xml_resource,
            bytes(24),
            struct.pack("<L", boot_index),
            bytes(24 + 60),
        )
    )


def wim_xml(images: list[Image]) -> bytes:
    """UTF-16LE with a byte order mark, in one line, as Windows writes it."""
    text = "<WIM><TOTALBYTES>1000</TOTALBYTES>"
    for index, image in enumerate(images, 1):
        plain = {k: v for k, v in image.properties.items() if not k.startswith("WINDOWS/")}
        windows = {k[8:]: v for k, v in image.properties.items() if k.startswith("WINDOWS/")}
        text += f'<IMAGE INDEX="{index}"><TOTALBYTES>77</TOTALBYTES><WINDOWS>'
        text += "".join(_element(k, v) for k, v in windows.items() if "/" not in k)
        for group in ("LANGUAGES", "VERSION"):
            inner = {k.partition("/")[2]: v for k, v in windows.items() if k.startswith(group)}
            text += f"<{group}>{''.join(_element(k, v) for k, v in inner.items())}</{group}>"
        named = {"NAME": image.name, "DESCRIPTION": image.name, **plain}
        text += "</WINDOWS>" + "".join(_element(k, v) for k, v in named.items()) + "</IMAGE>"
    return b"\xff\xfe" + (text + "</WIM>").encode("utf-16-le")


def _element(name: str, value: str) -> str:
    return f"<{name}>{escape(value)}</{name}>"
