"""Drivers and guest files as a plan holds them: where they come from and what travels."""

import enum
from pathlib import Path

from builder.media.image import Extent
from builder.record import record
from builder.values import Delivery


class DriverSource(enum.Enum):
    """The medium that packages are read from in the VM."""

    ANSWER_ISO = "answer-iso"
    VIRTIO_CD = "virtio-cd"


@record
class PackageFile:
    """A file of a package: its bytes are `extents` of the virtio-win ISO at `disc`."""

    name: str
    size: int
    sha256: str
    disc: Path
    extents: tuple[Extent, ...]


@record
class DriverPackage:
    """One INF with its files. `folder` is the path on its medium; `files` are empty on the CD."""

    driver: str
    folder: str
    inf: str
    boot: bool
    version: str = ""
    signer: str = ""
    files: tuple[PackageFile, ...] = ()


@record
class GuestFile:
    """A single file for the guest: `path` on its medium; `file` is None on the virtio CD."""

    path: str
    file: PackageFile | None = None


@record
class DriverPlan:
    """Where drivers come from. `without_driver` names devices that stay without one."""

    source: DriverSource
    virtio_release: str
    os: str
    packages: tuple[DriverPackage, ...]
    agent: GuestFile | None
    balloon_service: GuestFile | None
    deliveries: tuple[Delivery, ...]
    use_configuration_set: bool
    without_driver: tuple[str, ...] = ()

    @property
    def boot_packages(self) -> tuple[DriverPackage, ...]:
        """The packages for Windows PE: storage and nothing else."""
        return tuple(package for package in self.packages if package.boot)

    def trusts_publisher(self, package: DriverPackage) -> bool:
        """Whether Windows would ask about the vendor who signed it (virtio-win-pkg-scripts#57).

        2k8R2 packages on the CD were not read; those of every release are vendor-signed.
        """
        return package.signer == "cross-signed" or (not package.signer and self.os == "2k8R2")

    @property
    def carried(self) -> bool:
        """Whether the answer ISO holds the packages itself."""
        return self.source is DriverSource.ANSWER_ISO
