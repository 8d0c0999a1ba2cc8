"""The driver part of the plan: packages carried from a disc, or named on the virtio-win CD."""

from collections.abc import Iterable
from pathlib import Path
from typing import assert_never

from builder.devices import make_devices, virtio_names
from builder.drivers import (
    Combination,
    Driver,
    KnownBad,
    Layout,
    OsFolder,
    choose_driver_names,
    choose_folder,
    find_known_bad,
    known_drivers,
    way_to_drivers,
)
from builder.errors import ExitCode, Problem, WinseedError
from builder.machine import AgentKind, Machine, make_machine
from builder.match import Offer, Unserved, layout_offers, make_offers, match_devices
from builder.media.catalog import Level
from builder.media.package import Package, PackageMember
from builder.media.virtio import VirtioMedia
from builder.plan.model import Risk
from builder.plan.packages import DriverPackage, DriverPlan, DriverSource, GuestFile, PackageFile
from builder.record import record
from builder.releases import Release
from builder.spec.model import HostSpec

AGENT = "qemu-ga-x86_64.msi"
AGENT_PATH = f"guest-agent/{AGENT}"
BALLOON_SERVICE = "blnsvr.exe"
NETWORK_DEVICE = "virtio-net"
NO_DRIVERS = DriverPlan(
    source=DriverSource.ANSWER_ISO,
    virtio_release="",
    os="",
    packages=(),
    agent=None,
    balloon_service=None,
    deliveries=(),
    use_configuration_set=False,
)


@record
class FolderPackages:
    """The packages that a disc has in one of the folders that may serve a release."""

    folder: OsFolder
    packages: tuple[tuple[Driver, Package], ...]


@record
class VirtioDisc:
    """What was read from a virtio-win ISO for one release: every candidate folder, best first."""

    media: VirtioMedia
    candidates: tuple[FolderPackages, ...]
    agent: PackageMember | None


@record
class InboxDrivers:
    """Windows itself has a driver for every device: no virtio-win is looked at."""


VirtioFacts = VirtioDisc | Layout
DriverFacts = VirtioFacts | InboxDrivers


@record
class DriverChoice:
    """The folder that serves a machine, what it offers, and the rows that warn of it.

    `rejected` says why no folder of the disc serves; `folder` is then the last one looked at.
    """

    folder: OsFolder
    virtio_release: str
    offers: tuple[Offer, ...]
    rejected: tuple[Problem, ...]
    known_bad: tuple[KnownBad, ...]


def make_drivers(
    host: HostSpec, release: Release, facts: DriverFacts
) -> tuple[DriverPlan, tuple[Risk, ...]]:
    """The drivers of `host`, with the warnings that go with them.

    Raises WinseedError (MEDIA) when the install disk would stay without a driver, a package is
    incomplete or not trusted, or the combination is known not to work.
    """
    machine = make_machine(host, release)
    if isinstance(facts, InboxDrivers):
        return NO_DRIVERS, ()
    choice = choose_drivers(machine, release, facts)
    match facts:
        case VirtioDisc():
            packages, risks = _carried(choice, release, facts)
            agent = _carried_agent(facts)
            source = DriverSource.ANSWER_ISO
        case Layout():
            packages, risks = _referenced(choice), ()
            agent = GuestFile(path=AGENT_PATH) if AGENT in facts.guest_agents else None
            source = DriverSource.VIRTIO_CD
        case _:
            assert_never(facts)
    missing = _refuse(machine, choice)
    plan = DriverPlan(
        source=source,
        virtio_release=choice.virtio_release,
        os=choice.folder.os,
        packages=packages,
        agent=agent if host.machine.agent else None,
        balloon_service=_balloon_service(packages, source) if host.machine.balloon else None,
        deliveries=release.deliveries if host.driver_delivery is None else host.driver_delivery,
        use_configuration_set=release.use_configuration_set,
        without_driver=missing,
    )
    return plan, (*risks, *_folder_risks(choice))


def wanted_drivers(machine: Machine) -> tuple[Driver, ...]:
    """The drivers whose packages a reader has to look at."""
    return choose_driver_names(virtio_names(make_devices(machine)))


def start_packages(drivers: DriverPlan) -> tuple[DriverPackage, ...]:
    """What Windows PE needs before it has a network: cards and storage, nothing else."""
    cards = {driver.name for driver in known_drivers() if driver.device == NETWORK_DEVICE}
    return tuple(package for package in drivers.packages if package.boot or package.driver in cards)


def choose_drivers(machine: Machine, release: Release, facts: VirtioFacts) -> DriverChoice:
    """The first folder whose storage drivers Windows would load, with all it offers.

    Raises WinseedError (MEDIA) for a layout that has none; a disc that has none is `rejected`.
    """
    rejected: tuple[Problem, ...] = ()
    match facts:
        case VirtioDisc():
            virtio_release = facts.media.release or "unknown"
            folder, offers, rejected = _first_trusted(machine, release, facts)
            has_agent = facts.agent is not None
        case Layout():
            virtio_release = facts.release
            folder = choose_folder(
                release.id, facts.release, _layout_oses(facts), source=facts.volume_id
            )
            offers = layout_offers(facts, folder, wanted_drivers(machine))
            has_agent = AGENT in facts.guest_agents
        case _:
            assert_never(facts)
    combination = Combination(
        virtio_release=virtio_release,
        release=release.id,
        os=folder.os,
        drivers=tuple(offer.driver.name for offer in offers if offer.usable),
        devices=virtio_names(make_devices(machine)),
        installers=("qemu-ga",) if has_agent and machine.agent is not AgentKind.NONE else (),
        cores=machine.cores,
    )
    return DriverChoice(
        folder=folder,
        virtio_release=virtio_release,
        offers=offers,
        rejected=rejected,
        known_bad=find_known_bad(combination),
    )


def _first_trusted(
    machine: Machine, release: Release, disc: VirtioDisc
) -> tuple[OsFolder, tuple[Offer, ...], tuple[Problem, ...]]:
    """The first candidate none of whose storage drivers is refused; else the last, with reasons."""
    problems: list[Problem] = []
    folder, offers = disc.candidates[0].folder, tuple[Offer, ...]()
    for candidate in disc.candidates:
        folder = candidate.folder
        offers = make_offers(candidate.packages, release, secure_boot=machine.secure_boot)
        refused = [_refusal(offer) for offer in offers if offer.driver.boot and offer.refused]
        if not refused:
            return folder, offers, ()
        problems += refused
    return folder, offers, tuple(problems)


def _refusal(offer: Offer) -> Problem:
    if offer.missing:
        what = f"the INF names {', '.join(offer.missing)}, which the disc has not"
        return Problem(where=offer.where, what=what)
    if offer.verdict is None:
        return Problem(where=offer.where, what="it was not read")
    return Problem(where=offer.where, what=offer.verdict.text, hint=offer.verdict.source)


def _carried(
    choice: DriverChoice, release: Release, disc: VirtioDisc
) -> tuple[tuple[DriverPackage, ...], tuple[Risk, ...]]:
    if choice.rejected:
        raise WinseedError(
            f"{disc.media.path.name} has no storage drivers that this Windows would load",
            code=ExitCode.MEDIA,
            problems=choice.rejected,
            hint=f"fetch the disc again and compare its checksum, or {way_to_drivers(release.id)}",
        )
    problems = tuple(_refusal(offer) for offer in choice.offers if offer.refused)
    if problems:
        raise WinseedError(
            f"{disc.media.path.name} holds drivers that cannot be used",
            code=ExitCode.MEDIA,
            problems=problems,
            hint="fetch the disc again and compare its checksum, or take another release",
        )
    packages = tuple(
        _package(offer.package, offer.driver, disc.media.path)
        for offer in choice.offers
        if offer.package is not None and offer.usable
    )
    return packages, signature_risks(choice.offers)


def signature_risks(offers: Iterable[Offer]) -> tuple[Risk, ...]:
    """What the signatures of a disc's packages leave open: left out, doubtful, worth knowing."""
    risks: list[Risk] = []
    notes: dict[str, tuple[str, list[str]]] = {}
    for offer in offers:
        if offer.verdict is None or offer.package is None:
            continue
        verdict, by = offer.verdict, offer.package.signed_by
        text = f"{offer.where}: {verdict.text}" + (f" ({by})" if by else "")
        match verdict.level:
            case Level.LEAVE_OUT:
                text = f"left out: {text}"
                risks.append(Risk(id="DS01", what=text, way_out="", source=verdict.source))
            case Level.WARN:
                risks.append(Risk(id="DS02", what=text, way_out="", source=verdict.source))
            case Level.NOTE:
                notes.setdefault(verdict.text, (verdict.source, []))[1].append(offer.driver.name)
            case Level.OK | Level.REFUSE:
                pass
            case _:
                assert_never(verdict.level)
    if notes:
        texts = [f"{', '.join(dict.fromkeys(names))}: {text}" for text, (_, names) in notes.items()]
        sources = dict.fromkeys(source for source, _ in notes.values())
        risks.append(Risk(id="DS03", what="; ".join(texts), way_out="", source="; ".join(sources)))
    return tuple(dict.fromkeys(risks))


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


def _carried_agent(disc: VirtioDisc) -> GuestFile | None:
    if disc.agent is None:
        return None
    return GuestFile(path=AGENT_PATH, file=_package_file(disc.agent, disc.media.path))


def _referenced(choice: DriverChoice) -> tuple[DriverPackage, ...]:
    return tuple(
        DriverPackage(
            driver=offer.driver.name, folder=offer.folder, inf=offer.inf, boot=offer.driver.boot
        )
        for offer in choice.offers
    )


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


def _folder_risks(choice: DriverChoice) -> tuple[Risk, ...]:
    note = choice.folder.note
    risks = [Risk(id="KB00", what=note, way_out="", source="drivers/catalog.toml")] if note else []
    risks += [
        Risk(id=row.id, what=row.reason, way_out=row.way_out, source=row.source)
        for row in choice.known_bad
        if row.level != "note"
    ]
    return tuple(risks)


def _refuse(machine: Machine, choice: DriverChoice) -> tuple[str, ...]:
    """The devices that stay without a driver; WinseedError when the install disk is among them."""
    problems = [
        Problem(where=row.id, what=f"{row.reason} [{row.source}]", hint=row.way_out)
        for row in choice.known_bad
        if row.level == "refuse"
    ]
    unserved = [
        match
        for match in match_devices(make_devices(machine), choice.offers)
        if isinstance(match, Unserved)
    ]
    problems += [
        Problem(
            where="disk.bus",
            what=f"no driver for {match.device.name}: Setup would see no disk ({match.why})",
        )
        for match in unserved
        if match.device.boot_critical
    ]
    if problems:
        raise WinseedError(
            f"virtio-win {choice.virtio_release} ({choice.folder.os}) cannot serve this host",
            code=ExitCode.MEDIA,
            problems=tuple(problems),
        )
    return tuple(match.device.name for match in unserved)
