"""The driver part of the plan: packages carried from a disc, or named on the virtio-win CD."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from builder.drivers import (
    ARCH,
    Combination,
    Driver,
    KnownBad,
    Layout,
    OsFolder,
    choose_devices,
    choose_driver_names,
    choose_folder,
    find_known_bad,
)
from builder.errors import ExitCode, Problem, WinseedError
from builder.media.catalog import Level, judge_signature
from builder.media.package import Package, PackageMember
from builder.media.virtio import VirtioMedia
from builder.plan.model import (
    DriverPackage,
    DriverPlan,
    DriverSource,
    GuestFile,
    PackageFile,
    Risk,
)
from builder.releases import Release
from builder.spec.model import HostSpec
from builder.values import Bus, Firmware

AGENT = "qemu-ga-x86_64.msi"
BALLOON_SERVICE = "blnsvr.exe"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VirtioDisc:
    """What was read from a virtio-win ISO for one release: the folder and its packages."""

    media: VirtioMedia
    folder: OsFolder
    packages: tuple[Package, ...]
    agent: PackageMember | None


DriverFacts = VirtioDisc | Layout


def make_drivers(
    host: HostSpec, release: Release, facts: DriverFacts
) -> tuple[DriverPlan, tuple[Risk, ...]]:
    """The drivers of `host`, with the warnings that go with them.

    Raises WinseedError (MEDIA) when the install disk would stay without a driver, a package is
    incomplete or not trusted, or the combination is known not to work.
    """
    devices = choose_devices(host)
    match facts:
        case VirtioDisc():
            packages, risks = _carried(host, release, facts)
            folder, virtio_release = facts.folder, facts.media.release or "unknown"
            agent = facts.agent
            agent_file = (
                GuestFile(path=f"guest-agent/{AGENT}", file=_package_file(agent, facts.media.path))
                if agent
                else None
            )
            source = DriverSource.ANSWER_ISO
        case Layout():
            folder = choose_folder(
                release.id, facts.release, _layout_oses(facts), source=facts.volume_id
            )
            packages, risks = _referenced(facts, folder, devices), ()
            virtio_release, source = facts.release, DriverSource.VIRTIO_CD
            has_agent = AGENT in facts.guest_agents
            agent_file = GuestFile(path=f"guest-agent/{AGENT}") if has_agent else None
        case _:
            assert_never(facts)
    if folder.note:
        risks = (
            *risks,
            Risk(id="KB00", what=folder.note, way_out="", source="drivers/catalog.toml"),
        )
    combination = Combination(
        virtio_release=virtio_release,
        release=release.id,
        os=folder.os,
        drivers=tuple(package.driver for package in packages),
        devices=devices,
    )
    bad = find_known_bad(combination)
    missing = _without_driver(devices, packages)
    _refuse(host, bad, missing, virtio_release=virtio_release, os=folder.os)
    warnings = tuple(
        Risk(id=row.id, what=row.reason, way_out=row.way_out, source=row.source) for row in bad
    )
    plan = DriverPlan(
        source=source,
        virtio_release=virtio_release,
        os=folder.os,
        packages=packages,
        agent=agent_file if host.machine.agent else None,
        balloon_service=_balloon_service(packages, source) if host.machine.balloon else None,
        deliveries=release.deliveries if host.driver_delivery is None else host.driver_delivery,
        use_configuration_set=release.use_configuration_set,
        without_driver=missing,
    )
    return plan, (*risks, *warnings)


def wanted_drivers(host: HostSpec) -> tuple[Driver, ...]:
    """The drivers whose packages a reader has to look at."""
    return choose_driver_names(choose_devices(host))


def _carried(
    host: HostSpec, release: Release, disc: VirtioDisc
) -> tuple[tuple[DriverPackage, ...], tuple[Risk, ...]]:
    drivers = {driver.name.casefold(): driver for driver in wanted_drivers(host)}
    packages: list[DriverPackage] = []
    risks: list[Risk] = []
    problems: list[Problem] = []
    secure_boot = host.disk.layout is Firmware.UEFI and host.machine.secure_boot
    for package in disc.packages:
        driver = drivers[package.folder.driver.casefold()]
        where = f"{package.folder.path}/{package.inf.name}"
        if package.missing:
            what = f"the INF names {', '.join(package.missing)}, which the disc has not"
            problems.append(Problem(where=where, what=what))
            continue
        verdict = judge_signature(
            package.check.signer,
            release_build=release.build,
            secure_boot=secure_boot,
            boot_critical=driver.boot,
        )
        text = f"{where}: {verdict.text}" + (f" ({package.signed_by})" if package.signed_by else "")
        match verdict.level:
            case Level.REFUSE:
                problems.append(Problem(where=where, what=verdict.text, hint=verdict.source))
                continue
            case Level.LEAVE_OUT:
                risks.append(
                    Risk(id="DS01", what=f"left out: {text}", way_out="", source=verdict.source)
                )
                continue
            case Level.WARN:
                risks.append(Risk(id="DS02", what=text, way_out="", source=verdict.source))
            case Level.NOTE | Level.OK:
                pass
            case _:
                assert_never(verdict.level)
        packages.append(_package(package, driver, disc.media.path))
    if problems:
        raise WinseedError(
            f"{disc.media.path.name} holds drivers that cannot be used",
            code=ExitCode.MEDIA,
            problems=tuple(problems),
            hint="fetch the disc again and compare its checksum, or take another release",
        )
    return tuple(packages), tuple(dict.fromkeys(risks))


def _package(package: Package, driver: Driver, disc: Path) -> DriverPackage:
    return DriverPackage(
        driver=driver.name,
        folder=f"drivers/{driver.name}",
        inf=package.inf.name,
        boot=driver.boot,
        version=package.inf.driver_version,
        signer=package.check.signer.value,
        files=tuple(_package_file(member, disc) for member in package.files),
    )


def _package_file(member: PackageMember, disc: Path) -> PackageFile:
    return PackageFile(
        name=member.name,
        size=member.file.size,
        sha256=member.sha256,
        disc=disc,
        extents=member.file.extents,
    )


def _referenced(
    layout: Layout, folder: OsFolder, devices: Iterable[str]
) -> tuple[DriverPackage, ...]:
    packages = []
    for driver in choose_driver_names(devices):
        path = f"{driver.name}/{folder.os}/{ARCH}"
        infs = [name for name in layout.folders.get(path, ()) if name.lower().endswith(".inf")]
        packages += [
            DriverPackage(driver=driver.name, folder=path, inf=inf, boot=driver.boot)
            for inf in infs
        ]
    return tuple(packages)


def _layout_oses(layout: Layout) -> set[str]:
    return {path.split("/")[1] for path in layout.folders if path.startswith("vioscsi/")}


def _balloon_service(packages: tuple[DriverPackage, ...], source: DriverSource) -> GuestFile | None:
    for package in packages:
        if package.driver != "Balloon":
            continue
        if source is DriverSource.VIRTIO_CD:
            return GuestFile(path=f"{package.folder}/{BALLOON_SERVICE}")
        for file in package.files:
            if file.name.casefold() == BALLOON_SERVICE:
                return GuestFile(path=f"{package.folder}/{file.name}", file=file)
    return None


def _without_driver(devices: Iterable[str], packages: tuple[DriverPackage, ...]) -> tuple[str, ...]:
    served = {package.driver for package in packages}
    return tuple(
        driver.device
        for driver in choose_driver_names(devices)
        if driver.device in devices and driver.name not in served
    )


def _refuse(
    host: HostSpec,
    bad: tuple[KnownBad, ...],
    missing: tuple[str, ...],
    *,
    virtio_release: str,
    os: str,
) -> None:
    problems = [
        Problem(where=row.id, what=f"{row.reason} [{row.source}]", hint=row.way_out)
        for row in bad
        if row.level == "refuse"
    ]
    disk = {Bus.SCSI: "virtio-scsi", Bus.VIRTIO: "virtio-blk", Bus.SATA: ""}[host.disk.bus]
    if disk and disk in missing:
        problems.append(
            Problem(where="disk.bus", what=f"no driver for {disk}: Setup would see no disk")
        )
    if problems:
        raise WinseedError(
            f"virtio-win {virtio_release} ({os}) cannot serve this host",
            code=ExitCode.MEDIA,
            problems=tuple(problems),
        )
