"""What a Windows disc holds: its install images, its channel, its ways to boot."""

import functools
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.media.image import DiscFile, DiscImage
from builder.media.kinds import looks_like_windows, wrong_disc
from builder.media.wim import WimFile, WimImage, inspect_wim
from builder.record import record

__all__ = ["EiCfg", "WindowsMedia", "inspect_windows", "looks_like_windows"]

TEXT_LIMIT = 1 << 16
INSTALL_FORMATS = ("wim", "esd", "swm")


@dataclass(frozen=True, slots=True, kw_only=True)
class EiCfg:
    """`sources/ei.cfg`: edition and channel (Retail, OEM, Volume, Eval) as written there.

    Microsoft Learn, "Windows Setup Edition Configuration and Product ID Files (EI.cfg and
    PID.txt)". `volume_license` is None when the file has no `[VL]`.
    """

    edition_id: str
    channel: str
    volume_license: bool | None


@record
class WindowsMedia:
    """The facts of one Windows disc; `size` in bytes.

    `boot_build` is the build of Setup itself, the last image of `sources/boot.wim`. `has_pid_txt`
    says that a product key lies on the disc; the key is not read.
    """

    path: Path
    size: int
    volume_id: str
    install_path: str
    install_format: str
    parts: int
    images: tuple[WimImage, ...]
    ei_cfg: EiCfg | None
    has_pid_txt: bool
    boot_images: tuple[WimImage, ...]
    boot_build: int | None
    has_efi_boot: bool
    has_noprompt: bool
    languages: tuple[str, ...]


def inspect_windows(image: DiscImage) -> WindowsMedia:
    """Read the facts of a Windows disc.

    Raises `WinseedError` (MEDIA) for another disc, one without an install image, and one whose
    install image is damaged or lacks parts.
    """
    if not looks_like_windows(image):
        raise wrong_disc(image, "a Windows disc", "--windows-iso")
    install_format, install = _find_install(image)
    wim = _inspect_wim(image, install)
    if install_format == "swm":
        _check_parts(image, install, wim)
    elif wim.parts != 1:
        what = f"{image.path}: {install.path} is part {wim.part} of {wim.parts} of a split file"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="take a disc with the whole file")
    boot = image.find("sources/boot.wim")
    boot_images = _inspect_wim(image, boot).images if boot else ()
    return WindowsMedia(
        path=image.path,
        size=image.size,
        volume_id=image.volume_id,
        install_path=install.path,
        install_format=install_format,
        parts=wim.parts,
        images=wim.images,
        ei_cfg=_load_ei_cfg(_text(image, "sources/ei.cfg")),
        has_pid_txt=image.find("sources/pid.txt") is not None,
        boot_images=boot_images,
        boot_build=boot_images[-1].build if boot_images else None,
        has_efi_boot=any(boot.platform == "efi" for boot in image.boot_images),
        has_noprompt=image.find("efi/microsoft/boot/efisys_noprompt.bin") is not None,
        languages=_load_languages(_text(image, "sources/lang.ini")),
    )


def _find_install(image: DiscImage) -> tuple[str, DiscFile]:
    for install_format in INSTALL_FORMATS:
        file = image.find(f"sources/install.{install_format}")
        if file is not None:
            return install_format, file
    raise WinseedError(
        f"{image.path}: this Windows disc (volume id {image.volume_id!r}) has no install image:"
        " no install.wim, install.esd or install.swm in sources",
        code=ExitCode.MEDIA,
        hint="take an installation disc, not a recovery or WinPE disc",
    )


def _inspect_wim(image: DiscImage, file: DiscFile) -> WimFile:
    read_at = functools.partial(image.read, file)
    return inspect_wim(read_at, file.size, name=f"{file.path} of {image.path}")


def _check_parts(image: DiscImage, first: DiscFile, wim: WimFile) -> None:
    """Part 2 of install.swm is install2.swm, and so on (DISM /Split-Image)."""
    missing = []
    if wim.part != 1:
        missing.append(f"{first.path} is part {wim.part}, not 1")
    for number in range(2, wim.parts + 1):
        path = f"sources/install{number}.swm"
        file = image.find(path)
        if file is None:
            missing.append(f"{path} is missing")
            continue
        part = _inspect_wim(image, file)
        if (part.part, part.parts) != (number, wim.parts):
            missing.append(f"{path} is part {part.part} of {part.parts}")
    if missing:
        listed = "; ".join(missing[:8])
        what = f"{image.path}: the install image is split into {wim.parts} parts: {listed}"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="put all parts on the disc")


def _text(image: DiscImage, path: str) -> str | None:
    """A small text file; Windows writes them in ANSI, UTF-8 or UTF-16."""
    file = image.find(path)
    if file is None:
        return None
    raw = image.read(file, 0, TEXT_LIMIT)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    return raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")


def _sections(text: str) -> dict[str, list[str]]:
    """The lines of each `[section]`, its name in lower case; without comments and empty lines."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            lines = sections.setdefault(line[1:-1].strip().lower(), [])
        elif line and not line.startswith(";"):
            lines.append(line)
    return sections


def _load_ei_cfg(text: str | None) -> EiCfg | None:
    if text is None:
        return None
    sections = _sections(text)

    def first(name: str) -> str:
        return next(iter(sections.get(name, [])), "")

    license_text = first("vl")
    return EiCfg(
        edition_id=first("editionid"),
        channel=first("channel"),
        volume_license=license_text != "0" if license_text else None,
    )


def _load_languages(text: str | None) -> tuple[str, ...]:
    """The languages of `[Available UI Languages]` in `sources/lang.ini` (`en-US = 3`)."""
    lines = _sections(text or "").get("available ui languages", [])
    return tuple(line.partition("=")[0].strip() for line in lines)
