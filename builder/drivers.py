"""Release, devices and virtio-win -> the driver packages to carry or to refer to. Pure.

The knowledge is data: `drivers/catalog.toml` (device -> driver -> folder), `known-bad.toml`
(combinations that fail, with sources) and `layouts/` (folders of known virtio-win releases).
"""

import fnmatch
import functools
import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from builder import resources
from builder.errors import ExitCode, WinseedError
from builder.record import record
from builder.tables import nearest

ARCH = "amd64"


@record
class OsFolder:
    """A virtio-win folder that serves a Windows release, from virtio-win `since` on.

    From `signed_before` on its catalogs are test-signed. `unless` names a folder beside which this
    one is not needed.
    """

    release: str
    os: str
    since: str
    signed_before: str | None
    unless: str
    note: str


@record
class Driver:
    """A driver of virtio-win; `boot` ones are loaded by Windows PE, `extras` travel along."""

    name: str
    device: str
    boot: bool
    extras: tuple[str, ...]
    pci: tuple[str, ...]


@record
class KnownBad:
    """A combination that fails: empty values match everything.

    `virtio` are release numbers, or patterns as `1.9.*`. A `note` is worth knowing and changes
    nothing.
    """

    id: str
    level: Literal["refuse", "warn", "note"]
    virtio: tuple[str, ...]
    releases: tuple[str, ...]
    drivers: tuple[str, ...]
    folders: tuple[str, ...]
    installers: tuple[str, ...]
    disk: str
    cores: int
    reason: str
    way_out: str
    source: str


@record
class Layout:
    """A known virtio-win release: `<driver>/<os>/<arch>` -> file names, as on the disc."""

    release: str
    volume_id: str
    folders: Mapping[str, tuple[str, ...]]
    guest_agents: tuple[str, ...]


@record
class Combination:
    """What a known-bad row is compared with; `installers` run in the guest (`qemu-ga`)."""

    virtio_release: str
    release: str
    os: str
    drivers: tuple[str, ...]
    devices: tuple[str, ...]
    installers: tuple[str, ...]
    cores: int


@functools.cache
def os_folders() -> tuple[OsFolder, ...]:
    """Every folder of the catalog, per release in order of preference."""
    return tuple(
        OsFolder(
            release=row["release"],
            os=row["os"],
            since=row["since"],
            signed_before=row.get("signed_before"),
            unless=row.get("unless", ""),
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
            installers=tuple(row.get("installers", ())),
            disk=row.get("disk", ""),
            cores=row.get("cores", 0),
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


def choose_driver_names(devices: Iterable[str]) -> tuple[Driver, ...]:
    """The drivers to take: those of the devices, and every storage driver.

    A medium that is mounted on a VM with the other VirtIO disk must still find its disk
    (cschneegans/unattend-generator#400).
    """
    present = set(devices)
    return tuple(driver for driver in known_drivers() if driver.boot or driver.device in present)


def candidate_folders(
    release: str, virtio_release: str | None, present: Iterable[str], *, source: str, signed: bool
) -> tuple[OsFolder, ...]:
    """The folders among `present` (the `<os>` folders of vioscsi) that may serve, best first.

    `signed`: leave out those that are known to be test-signed, for who cannot read the catalogs
    themselves. An unknown virtio-win release (None) rules none out. RHEL's 1.9.x compares as newer
    than any Fedora release, which is right for `since`; its own signatures are not test signatures.
    Raises WinseedError (MEDIA) naming what `source` has and which virtio-win would do.
    """
    names = tuple(sorted(present))
    available = {os.casefold() for os in names}
    folders = tuple(
        folder
        for folder in os_folders()
        if folder.release == release
        and folder.os.casefold() in available
        and folder.unless.casefold() not in available
        and (virtio_release is None or _serves(folder, virtio_release, signed=signed))
    )
    if folders:
        return folders
    raise WinseedError(
        f"{source} has no drivers that Windows Server {release} loads",
        code=ExitCode.MEDIA,
        hint=f"needed is the folder {_wanted(release)}; it has {', '.join(names) or 'none'}",
    )


def choose_folder(
    release: str, virtio_release: str | None, present: Iterable[str], *, source: str
) -> OsFolder:
    """The best of `candidate_folders` where nobody can look at the signatures."""
    return candidate_folders(release, virtio_release, present, source=source, signed=True)[0]


def way_to_drivers(release: str) -> str:
    """What to do when no folder of a disc serves `release`."""
    return f"take a virtio-win with the folder {_wanted(release)}"


def find_known_bad(combination: Combination) -> tuple[KnownBad, ...]:
    """The rows that describe `combination`."""
    return tuple(row for row in known_bad() if _matches(row, combination))


def _matches(row: KnownBad, combination: Combination) -> bool:
    return (
        (not row.virtio or _numbered(combination.virtio_release, row.virtio))
        and (not row.releases or combination.release in row.releases)
        and (not row.drivers or bool(set(row.drivers) & set(combination.drivers)))
        and (not row.folders or combination.os in row.folders)
        and (not row.installers or bool(set(row.installers) & set(combination.installers)))
        and (not row.disk or row.disk in combination.devices)
        and combination.cores >= row.cores
    )


def _numbered(release: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(release, pattern) for pattern in patterns)


def _serves(folder: OsFolder, virtio_release: str, *, signed: bool) -> bool:
    version = version_key(virtio_release)
    if version < version_key(folder.since):
        return False
    limit = folder.signed_before if signed else None
    return not (limit and version_key(limit) <= version < (1,))


def _wanted(release: str) -> str:
    return ", or ".join(
        f"{folder.os} (virtio-win {_range(folder)})"
        for folder in os_folders()
        if folder.release == release
    )


def _range(folder: OsFolder) -> str:
    if folder.signed_before:
        return f"{folder.since} up to but not {folder.signed_before}"
    return f"{folder.since} or later"


@functools.cache
def _catalog() -> dict[str, list[dict[str, Any]]]:
    with (resources.driver_tables() / "catalog.toml").open("rb") as file:
        return tomllib.load(file)
