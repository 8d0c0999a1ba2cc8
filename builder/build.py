"""The straight line: spec + media + secrets -> Plan -> files -> answer ISO, for one host.

Media are read once however many hosts use them. Nothing here prints or looks at the clock.
"""

import dataclasses
import functools
from pathlib import Path

from builder.answer.render import RenderedFile, render_files
from builder.answer.verdict import refuse_findings
from builder.console import NoProgress, Progress
from builder.disc import Artifact, Content, InlineFile, SourceFile, write_disc
from builder.drivers import candidate_folders, known_drivers, load_layout
from builder.errors import ExitCode, WinseedError
from builder.files import create_private_file, write_file
from builder.machine import Machine, make_machine
from builder.manifest import PATH as MANIFEST
from builder.media.attachment import Attachment, inspect_attachment
from builder.media.image import Extent, inspect_image
from builder.media.package import Package, PackageMember, inspect_member, inspect_packages
from builder.media.virtio import VirtioMedia, inspect_virtio
from builder.media.windows import WindowsMedia, inspect_windows
from builder.plan.drivers import DriverFacts, FolderPackages, VirtioDisc, wanted_drivers
from builder.plan.first_boot import Attachments
from builder.plan.make import Secrets, make_plan
from builder.plan.model import Plan
from builder.plan.packages import DriverPackage, PackageFile
from builder.rehearsal.model import Rehearsal
from builder.releases import Release, load_release, release_of_build
from builder.report import render_manifest
from builder.spec.checks import DEFAULT_RELEASE
from builder.spec.load import resolve_release
from builder.spec.model import HostSpec
from builder.values import Bus, Delivery

WINPE_DRIVER = "$WinPEDriver$"
ARCH = "amd64"


class Shelf:
    """The media and files of one call: each is inspected at its first use and kept."""

    def __init__(self) -> None:
        self.image = functools.cache(inspect_image)
        self.attachment = functools.cache(inspect_attachment)
        self.windows = functools.cache(self._windows)
        self.virtio = functools.cache(self._virtio)
        self.packages = functools.cache(self._packages)
        self.agent = functools.cache(self._agent)

    def _windows(self, path: Path) -> WindowsMedia:
        return inspect_windows(self.image(path))

    def _virtio(self, path: Path) -> VirtioMedia:
        return inspect_virtio(self.image(path))

    def _packages(
        self, path: Path, name: str, os: str, extras: tuple[str, ...]
    ) -> tuple[Package, ...]:
        folder = self.virtio(path).folder(name, os, ARCH)
        return () if folder is None else inspect_packages(self.image(path), folder, extras=extras)

    def _agent(self, path: Path) -> PackageMember | None:
        file = self.virtio(path).guest_agents.get(ARCH)
        return None if file is None else inspect_member(self.image(path), file)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A plan and the disc that was written from it; `manifest` as it lies on the disc."""

    plan: Plan
    artifact: Artifact
    manifest: bytes


def plan_host(host: HostSpec, *, site: str, shelf: Shelf, secrets: Secrets, version: str) -> Plan:
    """Inspect what `host` names and decide. Raises WinseedError (SPEC, MEDIA, UNSAFE)."""
    windows = shelf.windows(host.windows_iso) if host.windows_iso else None
    host = with_release(host, windows)
    release = load_release(host.release or DEFAULT_RELEASE)
    return make_plan(
        host,
        site=site,
        windows=windows,
        drivers=inspect_drivers(host, make_machine(host, release), release, shelf),
        attachments=_inspect_attachments(host, shelf),
        secrets=secrets,
        version=version,
    )


def render_host(plan: Plan) -> tuple[RenderedFile, ...]:
    """Every rendered file of `plan`, its answer file judged; WinseedError (ANSWER) if refused."""
    rendered = render_files(plan)
    refuse_findings(plan, rendered[0].data)
    return rendered


def write_host(plan: Plan, target: Path, *, epoch: int, progress: Progress | None = None) -> Built:
    """Render `plan` and write its answer ISO to `target`; every file is read back and compared."""
    rendered = render_host(plan)
    files = _medium_files(plan, rendered)
    secret = {file.path for file in rendered if file.secret}
    manifest = render_manifest(plan, files, secret=secret, epoch=epoch)
    files[MANIFEST] = InlineFile(data=manifest)
    # a label that differs per build: Windows shows it, and two media are told apart by it
    label = f"WS{plan.fingerprint.upper()}"
    artifact = write_disc(
        target, files, label=label, epoch=epoch, progress=progress or NoProgress()
    )
    return Built(plan=plan, artifact=artifact, manifest=manifest)


def iso_name(plan: Plan) -> str:
    """`dc01-2022-core`: the file name of a host's ISO without its suffix."""
    sku = "" if plan.sku.value == "standard" else f"-{plan.sku.value}"
    return f"{plan.host.lower()}-{plan.release}{sku}-{plan.edition.value}"


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
) -> DriverFacts:
    """The drivers that the virtio-win of `host` has for `machine`, in every folder that may serve.

    Raises WinseedError (MEDIA, or SPEC for a virtio-win release that is not known).
    """
    if host.virtio_iso is None:
        return load_layout(host.virtio_release)
    path, media = host.virtio_iso, shelf.virtio(host.virtio_iso)
    storage = {driver.name.casefold() for driver in known_drivers() if driver.boot}
    present = {
        folder.os
        for folder in media.folders
        if folder.arch == ARCH and folder.driver.casefold() in storage
    }
    folders = candidate_folders(
        release.id, media.release, present, source=media.path.name, signed=False
    )
    candidates = tuple(
        FolderPackages(
            folder=folder,
            packages=tuple(
                (driver, package)
                for driver in wanted_drivers(machine)
                for package in shelf.packages(path, driver.name, folder.os, driver.extras)
            ),
        )
        for folder in folders
    )
    return VirtioDisc(media=media, candidates=candidates, agent=shelf.agent(path))


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


def _medium_files(plan: Plan, rendered: tuple[RenderedFile, ...]) -> dict[str, Content]:
    files: dict[str, Content] = {file.path: InlineFile(data=file.data) for file in rendered}
    for package in plan.drivers.packages:
        files |= _package_files(package, package.folder)
    if Delivery.WINPE_DRIVER in plan.drivers.deliveries and plan.disk.bus is not Bus.SATA:
        for package in plan.drivers.boot_packages:
            files |= _package_files(package, f"{WINPE_DRIVER}/{package.driver}")
    agent = plan.drivers.agent
    if agent is not None and agent.file is not None:
        files[agent.path] = _source(agent.file)
    for attachment in plan.attachments:
        files[f"winseed/files/{attachment.name}"] = SourceFile(
            path=attachment.path,
            extents=(Extent(offset=0, length=attachment.size),),
            sha256=attachment.sha256,
        )
    return files


def _package_files(package: DriverPackage, folder: str) -> dict[str, Content]:
    return {f"{folder}/{file.name}": _source(file) for file in package.files}


def _source(file: PackageFile) -> SourceFile:
    return SourceFile(path=file.disc, extents=file.extents, sha256=file.sha256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delivered:
    """What lies in the output folder after a build; `password` is None for a given one."""

    plan: Plan
    iso: Path
    size: int
    files: int
    manifest: Path
    password: Path | None
    rehearsal: Rehearsal | None = None


def deliver_host(
    plan: Plan, target: Path, *, epoch: int, progress: Progress | None = None
) -> Delivered:
    """Write ISO, manifest and, for a drawn password, its file (mode 0600, never overwritten).

    The password is on disk before the ISO that needs it; if the ISO fails, it is taken away. It
    stays if only the manifest fails: the ISO is there then.
    """
    password = None
    if not plan.administrator.given:
        password = target.with_name(f"{target.stem}.{plan.fingerprint}.password")
        create_private_file(password, plan.administrator.password.reveal().encode() + b"\n")
    try:
        built = write_host(plan, target, epoch=epoch, progress=progress)
    except BaseException:
        if password is not None:
            password.unlink(missing_ok=True)
        raise
    manifest = target.with_name(f"{target.stem}.manifest.json")
    write_file(manifest, built.manifest)
    return Delivered(
        plan=plan,
        iso=target,
        size=built.artifact.size,
        files=len(built.artifact.files),
        manifest=manifest,
        password=password,
    )
