"""A driver's INF file: which devices, which Windows, which files, which services.

Sources: learn.microsoft.com/windows-hardware/drivers/install, the pages "INF Version Section",
"INF Manufacturer Section", "INF Models Section", "INF DDInstall Section", "INF SourceDisksNames
Section", "INF SourceDisksFiles Section", "INF CopyFiles Directive", "INF AddService Directive".

`Include` and `Needs` are not followed: the files they name are part of Windows.
"""

import datetime as dt
import re
from collections.abc import Iterator

from builder.media.inf_target import Decoration, load_decoration, load_number
from builder.media.inf_text import InfLine, InfText, load_inf_text
from builder.record import record

_PCI = re.compile(r"PCI\\VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})", re.IGNORECASE)
_ASSOCIATED = 0x2  # SPSVCINST_ASSOCSERVICE


@record
class Device:
    """A line of a Models section. Ids as written; `compatible_ids` may be empty."""

    description: str
    install_section: str
    hardware_id: str
    compatible_ids: tuple[str, ...]


@record
class Models:
    """A Models section the Manufacturer section names. `devices` is empty for an empty or missing
    section: a closed door for the Windows it stands for. `decoration` is None for a plain name."""

    manufacturer: str
    section: str
    decoration: Decoration | None
    devices: tuple[Device, ...]

    def fits(self, arch: str) -> bool:
        """Whether it is for this architecture; a section without decoration means x86."""
        return arch.lower() == "x86" if self.decoration is None else self.decoration.fits(arch)


@record
class Service:
    """A service or driver the INF installs.

    `binary` as written (`%12%\\vioscsi.sys`), `start_type` 0 boot, 1 system, 2 automatic, 3 on
    demand, 4 disabled, None when not given. `associated`: the function driver of the device.
    """

    name: str
    binary: str
    start_type: int | None
    associated: bool
    section: str


@record
class SourceFile:
    """A file of the package: `path` from the folder of the INF, with `/`; `arch` None for all."""

    name: str
    path: str
    arch: str | None


@record
class CopiedFile:
    """A file an install section copies: name on the disc, name after it, list it stands in."""

    source: str
    destination: str
    section: str


@record
class CatalogName:
    """A CatalogFile entry, name as written; `platform` is `nt`, `ntamd64`, ... or empty."""

    name: str
    platform: str


@record
class DestinationDir:
    """Where a list of files goes: `dirid` 12 is System32\\drivers, 13 the driver store. `section`
    is `DefaultDestDir` for the rest."""

    section: str
    dirid: int
    subdir: str


@record
class Inf:
    """The facts of an INF file; text after substitution, empty where the file says nothing.

    `driver_date` is None when the date is not mm/dd/yyyy.
    """

    name: str
    class_name: str
    class_guid: str
    provider: str
    catalogs: tuple[CatalogName, ...]
    driver_date: dt.date | None
    driver_version: str
    models: tuple[Models, ...]
    services: tuple[Service, ...]
    source_files: tuple[SourceFile, ...]
    copied_files: tuple[CopiedFile, ...]
    destination_dirs: tuple[DestinationDir, ...]

    def hardware_ids(self, arch: str = "amd64") -> tuple[str, ...]:
        """Hardware and compatible ids in upper case, in the order of the file, each once."""
        return tuple(
            dict.fromkeys(
                one.upper()
                for models in self.models
                if models.fits(arch)
                for device in models.devices
                for one in (device.hardware_id, *device.compatible_ids)
            )
        )

    def pci_ids(self, arch: str = "amd64") -> frozenset[tuple[int, int]]:
        """The (vendor, device) numbers among `hardware_ids`."""
        found = (_PCI.match(one) for one in self.hardware_ids(arch))
        return frozenset((int(one[1], 16), int(one[2], 16)) for one in found if one)

    def supports(
        self, *, build: int, major: int, minor: int, arch: str = "amd64", server: bool = True
    ) -> bool:
        """Whether the decorations admit this Windows for at least one device.

        Of every manufacturer the closest Models section counts alone: an empty one shuts out.
        Nothing is said about signatures. (6, 3) is Server 2012 R2, (10, 0) every later one.
        """
        groups: dict[str, list[Models]] = {}
        for models in self.models:
            groups.setdefault(models.manufacturer, []).append(models)
        for group in groups.values():
            admitted = [
                (one.decoration.rank, bool(one.devices))
                for one in group
                if one.decoration
                and one.decoration.admits(
                    build=build, major=major, minor=minor, arch=arch, server=server
                )
            ]
            plain = [bool(one.devices) for one in group if not one.decoration and one.fits(arch)]
            if max(admitted)[1] if admitted else any(plain):
                return True
        return False

    def catalog_file(self, arch: str = "amd64") -> str:
        """The name of the catalog for this architecture, as written; empty when there is none."""
        for platform in (f"nt{arch.lower()}", "nt", ""):
            for catalog in self.catalogs:
                if catalog.platform == platform:
                    return catalog.name
        return ""

    def package_files(self, arch: str = "amd64") -> tuple[str, ...]:
        """The INF, its catalog, and every source file for this architecture, names as written.

        Case may differ from the disc (`CatalogFile=Balloon.cat` beside `balloon.cat`).
        """
        named = (file.path for file in self.source_files if file.arch in {None, arch.lower()})
        catalog = self.catalog_file(arch)
        once = {name.casefold(): name for name in (self.name, catalog, *named) if name}
        return tuple(once.values())

    @property
    def boot_start(self) -> bool:
        """Whether a service of it starts with the boot loader (StartType 0)."""
        return any(service.start_type == 0 for service in self.services)


def load_inf(data: bytes, *, name: str) -> Inf:
    """Read an INF file. Raises WinseedError (MEDIA) with the line when it is not sound.

    `name` is its file name, as the package lists it.
    """
    text = load_inf_text(data, name=name)
    _check_signature(text)
    date, version = _driver_version(text)
    models = tuple(_load_models(text))
    installs = frozenset(d.install_section.casefold() for one in models for d in one.devices)
    return Inf(
        name=name,
        class_name=text.value("Version", "Class"),
        class_guid=text.value("Version", "ClassGuid"),
        provider=text.value("Version", "Provider"),
        catalogs=tuple(_load_catalogs(text)),
        driver_date=date,
        driver_version=version,
        models=models,
        services=tuple(dict.fromkeys(_load_services(text, installs))),
        source_files=tuple(_load_source_files(text)),
        copied_files=tuple(dict.fromkeys(_load_copied_files(text, installs))),
        destination_dirs=tuple(_load_destination_dirs(text)),
    )


def _check_signature(text: InfText) -> None:
    signature = text.value("Version", "Signature")
    if signature.upper() not in {"$WINDOWS NT$", "$CHICAGO$", "$WINDOWS 95$"}:
        line = next((line.number for line in text.lines("Version") if line.key), 1)
        raise text.bad(line, f'[Version] has Signature "{signature[:40]}", not "$Windows NT$"')


def _driver_version(text: InfText) -> tuple[dt.date | None, str]:
    fields = [*text.values("Version", "DriverVer"), "", ""]
    match = re.fullmatch(r"([0-9]{1,2})[/-]([0-9]{1,2})[/-]([0-9]{4})", fields[0])
    try:
        date = dt.date(int(match[3]), int(match[1]), int(match[2])) if match else None
    except ValueError:
        date = None
    return date, fields[1]


def _load_catalogs(text: InfText) -> Iterator[CatalogName]:
    for line in text.lines("Version"):
        key, _, platform = line.key.casefold().partition(".")
        if key == "catalogfile" and line.fields and line.fields[0]:
            yield CatalogName(name=_file_name(text, line.number, line.fields[0]), platform=platform)


def _load_models(text: InfText) -> Iterator[Models]:
    for line in text.lines("Manufacturer"):
        section, *targets = line.fields or ("",)
        manufacturer = line.key or section
        for target in ("", *filter(None, targets)):
            decorated = f"{section}.{target}" if target else section
            yield Models(
                manufacturer=manufacturer,
                section=decorated,
                decoration=load_decoration(target) if target else None,
                devices=tuple(_load_devices(text, decorated)),
            )


def _load_devices(text: InfText, section: str) -> Iterator[Device]:
    for line in text.lines(section):
        if line.key and len(line.fields) > 1 and line.fields[1]:
            install, hardware_id, *compatible = line.fields
            yield Device(
                description=line.key,
                install_section=install,
                hardware_id=hardware_id,
                compatible_ids=tuple(filter(None, compatible)),
            )


def _install_lines(text: InfText, installs: frozenset[str], suffix: str) -> Iterator[InfLine]:
    """The entries of the install sections, and of their forms for a platform (`scsi_inst.NTamd64`).

    The forms for all platforms together: which of them Windows takes makes no difference to the
    services and files of a package, and an INF that differs there is yet to be seen.
    """
    for name in text.sections:
        if name.endswith(suffix) and any(
            base in installs for base in _plain_names(name.removesuffix(suffix))
        ):
            yield from text.lines(name)


def _plain_names(name: str) -> Iterator[str]:
    yield name
    for match in re.finditer(r"\.nt", name):
        if load_decoration(name[match.start() + 1 :]).understood:
            yield name[: match.start()]


def _load_services(text: InfText, installs: frozenset[str]) -> Iterator[Service]:
    for line in _install_lines(text, installs, ".services"):
        name, flags, section = (*line.fields, "", "", "")[:3]
        if line.key.casefold() == "addservice" and name:
            yield Service(
                name=name,
                binary=text.value(section, "ServiceBinary"),
                start_type=load_number(text.value(section, "StartType")),
                associated=bool((load_number(flags) or 0) & _ASSOCIATED),
                section=section,
            )


def _load_copied_files(text: InfText, installs: frozenset[str]) -> Iterator[CopiedFile]:
    lists = dict.fromkeys(
        name
        for suffix in ("", ".coinstallers")
        for line in _install_lines(text, installs, suffix)
        if line.key.casefold() == "copyfiles"
        for name in line.fields
        if name
    )
    for name in lists:
        if name.startswith("@"):
            yield CopiedFile(source=name[1:], destination=name[1:], section="")
            continue
        for line in text.lines(name):
            destination, source = (*line.fields, "")[:2]
            if destination and not line.key:
                yield CopiedFile(
                    source=source or destination, destination=destination, section=name
                )


def _load_source_files(text: InfText) -> Iterator[SourceFile]:
    for section in text.sections:
        plain, _, arch = section.partition(".")
        if plain != "sourcedisksfiles":
            continue
        for line in text.lines(section):
            disk, subdir = (*line.fields, "", "")[:2]
            if not line.key:
                continue
            folder = _disk_path(text, disk, arch), subdir
            name = _file_name(text, line.number, line.key)
            parts = [
                p for text_ in folder for p in re.split(r"[\\/]+", text_) if p not in {"", "."}
            ]
            for part in parts:
                _file_name(text, line.number, part)
            yield SourceFile(name=name, path="/".join([*parts, name]), arch=arch or None)


def _disk_path(text: InfText, disk: str, arch: str) -> str:
    """The folder of a source disk: the fourth field of its SourceDisksNames entry."""
    for section in (f"SourceDisksNames.{arch}", "SourceDisksNames"):
        fields = text.values(section, disk)
        if fields:
            return (*fields, "", "", "", "")[3]
    return ""


def _file_name(text: InfText, number: int, name: str) -> str:
    """`name` if it can be a file's name; it becomes a path on this machine later."""
    if name in {".", ".."} or re.search(r'[\x00-\x1f<>:"/\\|?*]', name):
        raise text.bad(number, f'"{name[:60]}" is not the name of a file')
    return name


def _load_destination_dirs(text: InfText) -> Iterator[DestinationDir]:
    for line in text.lines("DestinationDirs"):
        dirid, subdir = (*line.fields, "", "")[:2]
        number = load_number(dirid)
        if line.key and number is not None:
            yield DestinationDir(section=line.key, dirid=number, subdir=subdir)
