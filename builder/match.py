"""Devices held against driver packages: which package serves each, and may Windows load it. Pure.

An offer is a package somebody could install: read from a disc, or known from the layout of a
virtio-win release. Windows chooses by hardware id; so does this.
"""

from collections.abc import Iterable
from typing import assert_never

from builder.devices import ForeignDevice, InboxDevice, MachineDevice, VirtioDevice
from builder.drivers import ARCH, Driver, Layout, OsFolder
from builder.media.catalog import Level, SignatureVerdict, judge_signature
from builder.media.package import Package
from builder.record import record
from builder.releases import Release

WINDOWS_8_1, WINDOWS_10 = (6, 3), (10, 0)
_FIRST_10 = 10240


@record
class Offer:
    """A package and what was found out about it.

    `ids` are its hardware ids, in upper case. `fits`: its INF is for this Windows. `verdict` and
    `package` are None for a package that was not read.
    """

    driver: Driver
    folder: str
    inf: str
    version: str
    ids: frozenset[str]
    fits: bool
    verdict: SignatureVerdict | None
    package: Package | None

    @property
    def where(self) -> str:
        """The INF's path on the disc."""
        return f"{self.folder}/{self.inf}"

    @property
    def missing(self) -> tuple[str, ...]:
        """Files that the INF names and the disc has not."""
        return self.package.missing if self.package else ()

    @property
    def refused(self) -> bool:
        """Whether Windows should not, or could not, be given it: incomplete, or not trusted."""
        return bool(self.missing) or (
            self.verdict is not None and self.verdict.level is Level.REFUSE
        )

    @property
    def usable(self) -> bool:
        """Whether it would be carried."""
        left_out = self.verdict is not None and self.verdict.level is Level.LEAVE_OUT
        return not (self.refused or left_out)


@record
class Served:
    """A device and the package that drives it; `hardware_id` is the one they meet at."""

    device: VirtioDevice
    offer: Offer
    hardware_id: str


@record
class Inbox:
    """A device that needs nothing of virtio-win."""

    device: InboxDevice


@record
class Unserved:
    """A device without a driver, and why."""

    device: VirtioDevice | ForeignDevice
    why: str


Match = Served | Inbox | Unserved


def make_offers(
    packages: Iterable[tuple[Driver, Package]], release: Release, *, secure_boot: bool
) -> tuple[Offer, ...]:
    """The packages of a disc as offers for one Windows."""
    return tuple(
        Offer(
            driver=driver,
            folder=package.folder.path,
            inf=package.inf.name,
            version=package.inf.driver_version,
            ids=frozenset(package.inf.hardware_ids(ARCH)),
            fits=_fits(package, release),
            verdict=judge_signature(
                package.check.signer,
                release_build=release.build,
                secure_boot=secure_boot,
                boot_critical=driver.boot,
                authority=package.authority,
            ),
            package=package,
        )
        for driver, package in packages
    )


def layout_offers(layout: Layout, folder: OsFolder, drivers: Iterable[Driver]) -> tuple[Offer, ...]:
    """The packages that a virtio-win release has by its layout; hardware ids by the catalog."""
    return tuple(
        Offer(
            driver=driver,
            folder=path,
            inf=name,
            version="",
            ids=frozenset(_plain_id(pci) for pci in driver.pci),
            fits=True,
            verdict=None,
            package=None,
        )
        for driver in drivers
        for path in (f"{driver.name}/{folder.os}/{ARCH}",)
        for name in layout.folders.get(path, ())
        if name.lower().endswith(".inf")
    )


def match_devices(devices: Iterable[MachineDevice], offers: Iterable[Offer]) -> tuple[Match, ...]:
    """For every device the offer that Windows would take, or why there is none."""
    offered = tuple(offers)
    return tuple(_match(device, offered) for device in devices)


def _match(device: MachineDevice, offers: tuple[Offer, ...]) -> Match:
    match device:
        case InboxDevice():
            return Inbox(device=device)
        case ForeignDevice():
            return Unserved(
                device=device, why=f"not served by virtio-win; {device.note}".rstrip("; ")
            )
        case VirtioDevice():
            return _serve(device, offers)
        case _:
            assert_never(device)


def _serve(device: VirtioDevice, offers: tuple[Offer, ...]) -> Served | Unserved:
    # The closer id wins, as in Windows' own ranking; a package that cannot be used is passed over.
    refused = ""
    for hardware_id in device.shown.hardware_ids:
        for offer in offers:
            if hardware_id not in offer.ids:
                continue
            if offer.usable and offer.fits:
                return Served(device=device, offer=offer, hardware_id=hardware_id)
            refused = refused or f"{offer.where}: {_reason(offer)}"
    if refused:
        return Unserved(device=device, why=refused)
    named = next((offer for offer in offers if offer.driver.device == device.name), None)
    if named is not None:
        return Unserved(device=device, why=f"{named.where} does not name {device.shown.device}")
    return Unserved(device=device, why="no package of it in this folder")


def _reason(offer: Offer) -> str:
    if offer.missing:
        return f"the INF names {', '.join(offer.missing)}, which the disc has not"
    if not offer.usable and offer.verdict is not None:
        return offer.verdict.text
    return "the INF is for another Windows"


def _fits(package: Package, release: Release) -> bool:
    major, minor = WINDOWS_10 if release.build >= _FIRST_10 else WINDOWS_8_1
    return package.inf.supports(build=release.build, major=major, minor=minor, arch=ARCH)


def _plain_id(pci: str) -> str:
    vendor, device = pci.upper().split(":")
    return f"PCI\\VEN_{vendor}&DEV_{device}"
