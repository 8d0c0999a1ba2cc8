"""Release, devices and virtio-win -> the driver packages to carry or to refer to. Pure.

The knowledge is data: `drivers/catalog.toml` (device -> driver -> folder), `known-bad.toml`
(combinations that fail, with sources) and `layouts/` (folders of known virtio-win releases).
"""

import dataclasses
import functools
import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from builder import resources
from builder.errors import ExitCode, WinseedError
from builder.spec.model import HostSpec
from builder.tables import nearest
from builder.values import Bus

ARCH = "amd64"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OsFolder:
    """A virtio-win folder that serves a Windows release, from virtio-win `since` on.

    From `signed_before` on its catalogs are test-signed.
    """

    release: str
    os: str
    since: str
    signed_before: str | None
    note: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Driver:
    """A driver of virtio-win; `boot` ones are loaded by Windows PE, `extras` travel along."""

    name: str
    device: str
    boot: bool
    extras: tuple[str, ...]
    pci: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownBad:
    """A combination that fails: empty tuples match everything."""

    id: str
    level: Literal["refuse", "warn"]
    virtio: tuple[str, ...]
    releases: tuple[str, ...]
    drivers: tuple[str, ...]
    folders: tuple[str, ...]
    disk: str
    reason: str
    way_out: str
    source: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """A known virtio-win release: `<driver>/<os>/<arch>` -> file names, as on the disc."""

    release: str
    volume_id: str
    folders: Mapping[str, tuple[str, ...]]
    guest_agents: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Combination:
    """What a known-bad row is compared with."""

    virtio_release: str
    release: str
    os: str
    drivers: tuple[str, ...]
    devices: tuple[str, ...]


@functools.cache
def os_folders() -> tuple[OsFolder, ...]:
    """Every folder of the catalog, per release in order of preference."""
    return tuple(
        OsFolder(
            release=row["release"],
            os=row["os"],
            since=row["since"],
            signed_before=row.get("signed_before"),
            note=row.get("note", ""),
        )
        for row in _catalog()["folder"]
    )


@functools.cache
def known_drivers() -> tuple[Driver, ...]:
    """Every driver of the catalog."""
    return tuple(
        Driver(
            name=row["name"],
            device=row["device"],
            boot=row.get("boot", False),
            extras=tuple(row.get("extras", ())),
            pci=tuple(row["pci"]),
        )
        for row in _catalog()["driver"]
    )


@functools.cache
def known_bad() -> tuple[KnownBad, ...]:
    """Every row of the known-bad table."""
    with (resources.driver_tables() / "known-bad.toml").open("rb") as file:
        rows = tomllib.load(file)["bad"]
    return tuple(
        KnownBad(
            id=row["id"],
            level=row["level"],
            virtio=tuple(row.get("virtio", ())),
            releases=tuple(row.get("releases", ())),
            drivers=tuple(row.get("drivers", ())),
            folders=tuple(row.get("folders", ())),
            disk=row.get("disk", ""),
            reason=row["reason"],
            way_out=row["way_out"],
            source=row["source"],
        )
        for row in rows
    )


def layout_releases() -> tuple[str, ...]:
    """The virtio-win releases whose layout is built in, oldest first."""
    names = (path.stem for path in (resources.driver_tables() / "layouts").glob("*.json"))
    return tuple(sorted(names, key=version_key))


@functools.cache
def load_layout(release: str) -> Layout:
    """The layout of a virtio-win release; WinseedError (SPEC) when it is not built in."""
    if release not in layout_releases():
        guess = nearest(release, layout_releases())
        raise WinseedError(
            f"the folders of virtio-win {release} are not known"
            + (f"; did you mean {guess}?" if guess else ""),
            code=ExitCode.SPEC,
            hint=f"give --virtio-iso, or one of {', '.join(layout_releases())}",
        )
    path = resources.driver_tables() / "layouts" / f"{release}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    return Layout(
        release=release,
        volume_id=document["volume_id"],
        folders={folder: tuple(files) for folder, files in document["folders"].items()},
        guest_agents=tuple(document["guest_agent"]),
    )


def version_key(release: str) -> tuple[int, ...]:
    """`0.1.271` as numbers to compare; what is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in release.split("."))


def choose_devices(host: HostSpec) -> tuple[str, ...]:
    """The devices of the VM that need a virtio driver, in the words of the catalog."""
    machine = host.machine
    disk = {Bus.SCSI: "virtio-scsi", Bus.VIRTIO: "virtio-blk", Bus.SATA: ""}[host.disk.bus]
    wanted = {
        disk: bool(disk),
        "virtio-net": any(nic.model == "virtio" for nic in host.nic),
        "balloon": machine.balloon,
        "virtio-serial": machine.agent,
        "rng": machine.rng,
        "virtiofs": machine.virtiofs,
        "virtio-vga": machine.vga == "virtio",
        "qxl": machine.vga == "qxl",
    }
    return tuple(device for device, present in wanted.items() if present)


def choose_driver_names(devices: Iterable[str]) -> tuple[Driver, ...]:
    """The drivers to take: those of the devices, and every storage driver.

    A medium that is mounted on a VM with the other VirtIO disk must still find its disk
    (cschneegans/unattend-generator#400).
    """
    present = set(devices)
    return tuple(driver for driver in known_drivers() if driver.boot or driver.device in present)


def candidate_folders(release: str, virtio_release: str | None) -> tuple[OsFolder, ...]:
    """The folders of virtio-win that may serve `release`, best first.

    An unknown virtio-win release (None) rules none out. RHEL's 1.9.x compares as newer than any
    Fedora release, which is right for `since`; its own signatures are not test signatures.
    """
    candidates = []
    for folder in os_folders():
        if folder.release != release:
            continue
        if virtio_release is not None:
            version = version_key(virtio_release)
            if version < version_key(folder.since):
                continue
            if folder.signed_before and version_key(folder.signed_before) <= version < (1,):
                continue
        candidates.append(folder)
    return tuple(candidates)


def choose_folder(
    release: str, virtio_release: str | None, present: Iterable[str], *, source: str
) -> OsFolder:
    """The first candidate whose folder is among `present` (the `<os>` folders of vioscsi).

    Raises WinseedError (MEDIA) naming what `source` has and which virtio-win would do.
    """
    available = {os.casefold() for os in present}
    for folder in candidate_folders(release, virtio_release):
        if folder.os.casefold() in available:
            return folder
    first = [folder for folder in os_folders() if folder.release == release]
    since = ", or ".join(f"{folder.os} (virtio-win {_range(folder)})" for folder in first)
    raise WinseedError(
        f"{source} has no drivers that Windows Server {release} loads",
        code=ExitCode.MEDIA,
        hint=f"needed is the folder {since}; it has {', '.join(sorted(present)) or 'none'}",
    )


def find_known_bad(combination: Combination) -> tuple[KnownBad, ...]:
    """The rows that describe `combination`."""
    return tuple(row for row in known_bad() if _matches(row, combination))


def _matches(row: KnownBad, combination: Combination) -> bool:
    return (
        (not row.virtio or combination.virtio_release in row.virtio)
        and (not row.releases or combination.release in row.releases)
        and (not row.drivers or bool(set(row.drivers) & set(combination.drivers)))
        and (not row.folders or combination.os in row.folders)
        and (not row.disk or row.disk in combination.devices)
    )


def _range(folder: OsFolder) -> str:
    if folder.signed_before:
        return f"{folder.since} up to but not {folder.signed_before}"
    return f"{folder.since} or later"


@functools.cache
def _catalog() -> dict[str, list[dict[str, Any]]]:
    with (resources.driver_tables() / "catalog.toml").open("rb") as file:
        return tomllib.load(file)
