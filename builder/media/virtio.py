"""What a virtio-win disc holds: driver folders, guest agents, installers, certificates.

Layout: virtio-win/virtio-win-pkg-scripts, `make-driver-dir.py` and `util/filemap.py` (drivers),
`make-virtio-win-rpm-archive.py` (alias trees), `virtio-win.spec` (the rest, and the volume id).
"""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from builder.errors import ExitCode, WinseedError
from builder.media.image import DiscFile, DiscImage
from builder.media.kinds import looks_like_virtio, wrong_disc
from builder.record import record

__all__ = [
    "AliasFolder",
    "DriverFolder",
    "Family",
    "VirtioMedia",
    "inspect_virtio",
    "looks_like_virtio",
]

ARCHITECTURES = {"amd64", "x86", "arm64"}
ALIAS_TREES = {"amd64": "amd64", "i386": "x86"}
GUEST_AGENTS = {
    "amd64": "guest-agent/qemu-ga-x86_64.msi",
    "x86": "guest-agent/qemu-ga-i386.msi",
}


class Family(enum.Enum):
    """Who built the disc, by its volume id."""

    FEDORA = "fedora"
    RHEL = "rhel"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFolder:
    """One `<driver>/<os>/<arch>`, names as on the disc, such as `vioscsi/2k22/amd64`."""

    driver: str
    os: str
    arch: str
    path: str
    files: tuple[DiscFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasFolder:
    """One `amd64/<os>` or `i386/<os>`: the storage drivers once more, for Setup's own search."""

    os: str
    arch: str
    path: str
    files: tuple[DiscFile, ...]


@record
class VirtioMedia:
    """The facts of one virtio-win disc; `size` in bytes, `release` None for other volume ids."""

    path: Path
    size: int
    volume_id: str
    release: str | None
    family: Family
    folders: tuple[DriverFolder, ...]
    alias_folders: tuple[AliasFolder, ...]
    guest_agents: Mapping[str, DiscFile]
    installers: tuple[DiscFile, ...]
    certificates: tuple[DiscFile, ...]

    def folder(self, driver: str, os: str, arch: str) -> DriverFolder | None:
        """The folder of one driver, in any case; None when the disc has none."""
        wanted = f"{driver}/{os}/{arch}".casefold()
        return next((found for found in self.folders if found.path.casefold() == wanted), None)


def inspect_virtio(image: DiscImage) -> VirtioMedia:
    """Read the facts of a virtio-win disc.

    Raises `WinseedError` (MEDIA) for another disc and for one without `<driver>/<os>/<arch>`.
    """
    if not looks_like_virtio(image):
        raise wrong_disc(image, "a virtio-win disc", "--virtio-iso")
    folders = _driver_folders(image)
    if not folders:
        raise WinseedError(
            f"{image.path}: no folder <driver>/<os>/<arch>, such as vioscsi/2k22/amd64,"
            f" on this disc (volume id {image.volume_id!r})",
            code=ExitCode.MEDIA,
            hint="take the unchanged virtio-win.iso",
        )
    release, family = _release(image.volume_id)
    agents = {arch: image.find(path) for arch, path in GUEST_AGENTS.items()}
    return VirtioMedia(
        path=image.path,
        size=image.size,
        volume_id=image.volume_id,
        release=release,
        family=family,
        folders=folders,
        alias_folders=_alias_folders(image),
        guest_agents=MappingProxyType({arch: file for arch, file in agents.items() if file}),
        installers=_direct(image, "", (".msi", ".exe")),
        certificates=_direct(image, "cert", (".cer", ".crt")),
    )


def _release(volume_id: str) -> tuple[str | None, Family]:
    """`virtio-win-0.1.285` is Fedora's, `virtio-win-1.9.40` is Red Hat's (virtio-win.spec)."""
    match = re.fullmatch(r"virtio-win-(\d+(?:\.\d+)+)", volume_id, re.ASCII | re.IGNORECASE)
    if match is None:
        return None, Family.UNKNOWN
    release = match[1]
    if release.startswith("0.1."):
        return release, Family.FEDORA
    return release, Family.RHEL if release.startswith("1.9.") else Family.UNKNOWN


def _driver_folders(image: DiscImage) -> tuple[DriverFolder, ...]:
    """Grouped by case-folded path: repackagers do not always keep the case."""
    found: dict[str, list[DiscFile]] = {}
    for key, file in image.files.items():
        folder, _, name = key.rpartition("/")
        parts = folder.split("/")
        if name and len(parts) == 3 and parts[2] in ARCHITECTURES and parts[0] not in ALIAS_TREES:
            found.setdefault(folder, []).append(file)
    folders = []
    for _, files in sorted(found.items()):
        path = files[0].path.rpartition("/")[0]
        driver, os, arch = path.split("/")
        ordered = _ordered(files)
        folders.append(DriverFolder(driver=driver, os=os, arch=arch, path=path, files=ordered))
    return tuple(folders)


def _alias_folders(image: DiscImage) -> tuple[AliasFolder, ...]:
    found: dict[str, list[DiscFile]] = {}
    for key, file in image.files.items():
        folder = key.rpartition("/")[0]
        tree, _, os = folder.partition("/")
        if tree in ALIAS_TREES and os and "/" not in os:
            found.setdefault(folder, []).append(file)
    folders = []
    for key, files in sorted(found.items()):
        path = files[0].path.rpartition("/")[0]
        arch = ALIAS_TREES[key.partition("/")[0]]
        os = path.partition("/")[2]
        folders.append(AliasFolder(os=os, arch=arch, path=path, files=_ordered(files)))
    return tuple(folders)


def _direct(image: DiscImage, folder: str, suffixes: tuple[str, ...]) -> tuple[DiscFile, ...]:
    """The files of a folder itself, by suffix."""
    depth = 1 if folder else 0
    files = (file for file in image.under(folder) if file.path.count("/") == depth)
    return _ordered([file for file in files if file.path.casefold().endswith(suffixes)])


def _ordered(files: list[DiscFile]) -> tuple[DiscFile, ...]:
    return tuple(sorted(files, key=lambda file: file.path.casefold()))
