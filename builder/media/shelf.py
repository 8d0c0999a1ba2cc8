"""The media and files of one call: each is inspected at its first use and kept."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.media.attachment import inspect_attachment
from builder.media.image import DiscImage, inspect_image
from builder.media.package import Package, PackageMember, inspect_member, inspect_packages
from builder.media.virtio import VirtioMedia, inspect_virtio
from builder.media.windows import WindowsMedia, inspect_windows

if TYPE_CHECKING:
    from builder.media.ahead import Ahead

ARCH = "amd64"


class Shelf:
    """What was read so far. Every reader raises WinseedError (MEDIA, or SPEC for attachments).

    With `ahead` another process may have read it already; without an answer from there it is read
    here.
    """

    def __init__(self, ahead: "Ahead | None" = None) -> None:
        self._ahead = ahead
        self.image = functools.cache(self._image)
        self.attachment = functools.cache(inspect_attachment)
        self.windows = functools.cache(self._windows)
        self.virtio = functools.cache(self._virtio)
        self.packages = functools.cache(self._packages)
        self.agent = functools.cache(self._agent)

    def order(self, reader: str, *arguments: Any) -> None:
        """Have a disc read ahead, if there is somebody to do it: `order("virtio", path)`."""
        if self._ahead is not None:
            self._ahead.ask((reader, arguments))

    def close(self) -> None:
        """End the reading ahead. What was read stays, and what was not is read here."""
        if self._ahead is not None:
            self._ahead.close()

    def _told(self, reader: str, *arguments: Any) -> Any:
        return None if self._ahead is None else self._ahead.answer((reader, arguments))

    def _image(self, path: Path) -> DiscImage:
        told: DiscImage | None = self._told("image", path)
        return told or inspect_image(path)

    def _windows(self, path: Path) -> WindowsMedia:
        told: WindowsMedia | None = self._told("windows", path)
        return told or inspect_windows(self.image(path))

    def _virtio(self, path: Path) -> VirtioMedia:
        told: VirtioMedia | None = self._told("virtio", path)
        return told or inspect_virtio(self.image(path))

    def _packages(
        self, path: Path, name: str, os: str, extras: tuple[str, ...]
    ) -> tuple[Package, ...]:
        told: tuple[Package, ...] | None = self._told("packages", path, name, os, extras)
        if told is not None:
            return told
        folder = self.virtio(path).folder(name, os, ARCH)
        return () if folder is None else inspect_packages(self.image(path), folder, extras=extras)

    def _agent(self, path: Path) -> PackageMember | None:
        told: PackageMember | None = self._told("agent", path)
        if told is not None:
            return told
        file = self.virtio(path).guest_agents.get(ARCH)
        return None if file is None else inspect_member(self.image(path), file)
