"""Spec + media + secrets -> Plan, for one host. Nothing here prints or looks at the clock.

Media are read once however many hosts use them.
"""

import dataclasses
from pathlib import Path

from builder.drivers import ARCH, OsFolder, candidate_folders, known_drivers, load_layout
from builder.errors import ExitCode, WinseedError
from builder.machine import Machine, make_machine
from builder.media.attachment import Attachment
from builder.media.shelf import Shelf
from builder.media.virtio import VirtioMedia
from builder.media.windows import WindowsMedia
from builder.plan.carrier import AnswerIso, Carrier, HyperVDisc
from builder.plan.drivers import (
    FolderPackages,
    InboxDrivers,
    VirtioDisc,
    VirtioFacts,
    wanted_drivers,
)
from builder.plan.first_boot import Attachments
from builder.plan.make import Secrets, make_plan
from builder.plan.model import Plan
from builder.releases import Release, load_release, release_of_build
from builder.spec.checks import DEFAULT_RELEASE
from builder.spec.load import resolve_release
from builder.spec.model import HostSpec

ON_DISC = AnswerIso()


def plan_host(
    host: HostSpec,
    *,
    site: str,
    shelf: Shelf,
    secrets: Secrets,
    version: str,
    carrier: Carrier = ON_DISC,
) -> Plan:
    """Inspect what `host` names and decide. Raises WinseedError (SPEC, MEDIA, UNSAFE)."""
    windows = _windows(host, shelf)
    host = with_release(host, windows)
    release = load_release(host.release or DEFAULT_RELEASE)
    inbox = isinstance(carrier, HyperVDisc)
    return make_plan(
        host,
        site=site,
        windows=windows,
        drivers=InboxDrivers()
        if inbox
        else inspect_drivers(host, make_machine(host, release), release, shelf),
        attachments=_inspect_attachments(host, shelf),
        secrets=secrets,
        version=version,
        carrier=carrier,
    )


def order_drivers(host: HostSpec, shelf: Shelf) -> None:
    """Have the packages that `plan_host` will look at read ahead.

    Raises WinseedError as `plan_host` will.
    """
    host = with_release(host, _windows(host, shelf))
    if host.virtio_iso is not None:
        release = load_release(host.release or DEFAULT_RELEASE)
        drivers = wanted_drivers(make_machine(host, release))
        for folder in _candidates(shelf.virtio(host.virtio_iso), release):
            for driver in drivers:
                shelf.order("packages", host.virtio_iso, driver.name, folder.os, driver.extras)


def _windows(host: HostSpec, shelf: Shelf) -> WindowsMedia | None:
    return shelf.windows(host.windows_iso) if host.windows_iso else None


def with_release(host: HostSpec, windows: WindowsMedia | None) -> HostSpec:
    """`host` with a release: its own, that of the media, or the default."""
    if host.release is not None:
        return host
    if windows is None:
        return resolve_release(host, DEFAULT_RELEASE)
    builds = {image.build for image in windows.images}
    releases = {release.id for release in map(release_of_build, builds) if release}
    if len(releases) != 1:
        names = ", ".join(sorted({image.name for image in windows.images}))
        raise WinseedError(
            f"{windows.path.name} is no Windows Server release that winseed knows: {names}",
            code=ExitCode.MEDIA,
            hint="give the release, or media of Server 2012 R2, 2016, 2019, 2022 or 2025",
        )
    return resolve_release(host, releases.pop())


def inspect_drivers(
    host: HostSpec, machine: Machine, release: Release, shelf: Shelf
) -> VirtioFacts:
    """The drivers that the virtio-win of `host` has for `machine`, in every folder that may serve.

    Raises WinseedError (MEDIA, or SPEC for a virtio-win release that is not known).
    """
    if host.virtio_iso is None:
        return load_layout(host.virtio_release)
    path, media = host.virtio_iso, shelf.virtio(host.virtio_iso)
    candidates = tuple(
        FolderPackages(
            folder=folder,
            packages=tuple(
                (driver, package)
                for driver in wanted_drivers(machine)
                for package in shelf.packages(path, driver.name, folder.os, driver.extras)
            ),
        )
        for folder in _candidates(media, release)
    )
    return VirtioDisc(media=media, candidates=candidates, agent=shelf.agent(path))


def _candidates(media: VirtioMedia, release: Release) -> tuple[OsFolder, ...]:
    """The folders of the disc that may serve a release, best first."""
    storage = {driver.name.casefold() for driver in known_drivers() if driver.boot}
    present = {
        folder.os
        for folder in media.folders
        if folder.arch == ARCH and folder.driver.casefold() in storage
    }
    return candidate_folders(
        release.id, media.release, present, source=media.path.name, signed=False
    )


def _inspect_attachments(host: HostSpec, shelf: Shelf) -> Attachments:
    def named(purpose: str, paths: tuple[Path, ...]) -> tuple[Attachment, ...]:
        return tuple(
            dataclasses.replace(attachment, name=f"{purpose}-{number:02}-{attachment.name}")
            for number, attachment in enumerate(map(shelf.attachment, paths), start=1)
        )

    openssh = host.remote.openssh_package
    return Attachments(
        packages=named("update", host.updates.packages),
        scripts=named("script", host.first_boot),
        openssh=named("openssh", (openssh,))[0] if openssh else None,
    )
