"""An answer file as Setup's stages ask for it: typed settings instead of elements.

Only what a stage needs is taken; passwords are never read, a product key travels as a `Secret`.
Source of names and passes: the unattended setup reference (Windows 10 1809, Server 2019).
"""

import functools
from collections.abc import Iterator

from builder.answer.document import Broken, Document, Element, load_document
from builder.record import record
from builder.values import Secret

SETUP = "Microsoft-Windows-Setup"
SHELL = "Microsoft-Windows-Shell-Setup"
PE, OFFLINE, SPECIALIZE, OOBE = "windowsPE", "offlineServicing", "specialize", "oobeSystem"
DEFAULT_ORDER = 1 << 30  # a command without a usable Order comes last here


@record
class CommandLine:
    """A command of a pass. `order` is None when it is missing or no number."""

    passes: str
    way: str
    order: int | None
    text: str


@record
class CreatedPartition:
    """An entry of CreatePartitions; `size_mib` None without a usable Size."""

    order: int
    kind: str
    size_mib: int | None
    extend: bool


@record
class ModifiedPartition:
    """An entry of ModifyPartitions."""

    partition: int | None
    filesystem: str
    label: str
    letter: str
    active: bool
    type_id: str
    extend: bool


@record
class AnswerDisk:
    """A Disk of DiskConfiguration, partitions in their Order."""

    number: int | None
    wipe: bool
    created: tuple[CreatedPartition, ...]
    modified: tuple[ModifiedPartition, ...]


@record
class InstallTo:
    """Where the image goes; `available` is InstallToAvailablePartition."""

    disk: int | None
    partition: int | None
    available: bool


@record
class Selection:
    """A MetaData pair of InstallFrom: `/IMAGE/INDEX` and its value."""

    key: str
    value: str


@record
class ProductKey:
    """The ProductKey of windowsPE; `key` is None when the element is there and empty."""

    key: Secret | None


@record
class Interface:
    """A card of TCPIP or DNS-Client: `identifier` is a MAC with hyphens, an alias or an index."""

    identifier: str
    addresses: tuple[str, ...]
    next_hops: tuple[str, ...]


@record
class AnswerFile:
    """Everything the stages ask of an answer file. Texts are "" when the setting is missing."""

    winpe_paths: tuple[str, ...]
    offline_paths: tuple[str, ...]
    commands: tuple[CommandLine, ...]
    disks: tuple[AnswerDisk, ...]
    install_to: InstallTo | None
    selections: tuple[Selection, ...]
    product_key: ProductKey | None
    setup_language: str
    ui_language: str
    has_winpe_languages: bool
    computer_name: str
    time_zone: str
    interfaces: tuple[Interface, ...]
    dns_interfaces: tuple[Interface, ...]
    auto_logon: bool
    configuration_set: bool


@functools.lru_cache(maxsize=4)  # the reader of discs asks for it before the stages do
def load_answer_file(data: bytes) -> AnswerFile | Broken:
    """The settings in `data`; `Broken` when it is no well-formed XML. Never raises."""
    document = load_document(data)
    if isinstance(document, Broken):
        return document
    view = _View(document)
    return AnswerFile(
        winpe_paths=tuple(view.driver_paths("Microsoft-Windows-PnpCustomizationsWinPE", PE)),
        offline_paths=tuple(
            view.driver_paths("Microsoft-Windows-PnpCustomizationsNonWinPE", OFFLINE)
        ),
        commands=tuple(_commands(view)),
        disks=tuple(
            _disk(disk)
            for setup in view.components(SETUP, PE)
            for part in setup.every("DiskConfiguration")
            for disk in part.every("Disk")
        ),
        install_to=_install_to(view),
        selections=tuple(_selections(view)),
        product_key=_product_key(view),
        setup_language=view.value(
            "Microsoft-Windows-International-Core-WinPE", PE, "SetupUILanguage/UILanguage"
        ),
        ui_language=view.value("Microsoft-Windows-International-Core-WinPE", PE, "UILanguage"),
        has_winpe_languages=bool(view.components("Microsoft-Windows-International-Core-WinPE", PE)),
        computer_name=view.value(SHELL, SPECIALIZE, "ComputerName"),
        time_zone=view.value(SHELL, SPECIALIZE, "TimeZone") or view.value(SHELL, OOBE, "TimeZone"),
        interfaces=tuple(view.interfaces("Microsoft-Windows-TCPIP")),
        dns_interfaces=tuple(view.interfaces("Microsoft-Windows-DNS-Client")),
        auto_logon=_true(view.value(SHELL, OOBE, "AutoLogon/Enabled")),
        configuration_set=_true(view.value(SETUP, PE, "UseConfigurationSet")),
    )


class _View:
    """Look-ups by component and pass."""

    def __init__(self, document: Document) -> None:
        self._components = [
            (settings.attributes.get("pass", ""), component)
            for settings in document.root.every("settings")
            for component in settings.every("component")
        ]

    def components(self, name: str, passes: str) -> list[Element]:
        return [
            element
            for found, element in self._components
            if found == passes and element.attributes.get("name") == name
        ]

    def value(self, name: str, passes: str, path: str) -> str:
        texts = (element.value(path) for element in self.components(name, passes))
        return next(filter(None, texts), "")

    def found(self, name: str, passes: str, path: str) -> Iterator[Element]:
        for component in self.components(name, passes):
            yield from _below(component, path.split("/"))

    def driver_paths(self, name: str, passes: str) -> Iterator[str]:
        for path in self.found(name, passes, "DriverPaths/PathAndCredentials/Path"):
            if path.text.strip():
                yield path.text.strip()

    def interfaces(self, name: str) -> Iterator[Interface]:
        for card in self.found(name, SPECIALIZE, "Interfaces/Interface"):
            yield Interface(
                identifier=card.value("Identifier"),
                addresses=_texts(card, "UnicastIpAddresses/IpAddress"),
                next_hops=_texts(card, "Routes/Route/NextHopAddress"),
            )


def _below(element: Element, steps: list[str]) -> Iterator[Element]:
    if not steps:
        yield element
        return
    for child in element.every(steps[0]):
        yield from _below(child, steps[1:])


def _texts(element: Element, path: str) -> tuple[str, ...]:
    return tuple(one.text.strip() for one in _below(element, path.split("/")) if one.text.strip())


def _commands(view: _View) -> Iterator[CommandLine]:
    places = (
        (SETUP, PE, "RunSynchronous/RunSynchronousCommand", "Path"),
        (SETUP, PE, "RunAsynchronous/RunAsynchronousCommand", "Path"),
        (
            "Microsoft-Windows-Deployment",
            SPECIALIZE,
            "RunSynchronous/RunSynchronousCommand",
            "Path",
        ),
        (
            "Microsoft-Windows-Deployment",
            SPECIALIZE,
            "RunAsynchronous/RunAsynchronousCommand",
            "Path",
        ),
        (SHELL, OOBE, "FirstLogonCommands/SynchronousCommand", "CommandLine"),
        (SHELL, OOBE, "LogonCommands/AsynchronousCommand", "CommandLine"),
    )
    for component, passes, path, text in places:
        found = [
            CommandLine(
                passes=passes,
                way=path.partition("/")[0],
                order=_number(command.value("Order")),
                text=next((one.text for one in command.every(text)), ""),
            )
            for command in view.found(component, passes, path)
        ]
        yield from sorted(found, key=lambda one: DEFAULT_ORDER if one.order is None else one.order)


def _disk(disk: Element) -> AnswerDisk:
    created = [
        CreatedPartition(
            order=_number(one.value("Order")) or 0,
            kind=one.value("Type"),
            size_mib=_number(one.value("Size")),
            extend=_true(one.value("Extend")),
        )
        for one in _below(disk, ["CreatePartitions", "CreatePartition"])
    ]
    modified = [
        ModifiedPartition(
            partition=_number(one.value("PartitionID")),
            filesystem=one.value("Format").upper(),
            label=one.value("Label"),
            letter=one.value("Letter").upper(),
            active=_true(one.value("Active")),
            type_id=one.value("TypeID"),
            extend=_true(one.value("Extend")),
        )
        for one in _below(disk, ["ModifyPartitions", "ModifyPartition"])
    ]
    return AnswerDisk(
        number=_number(disk.value("DiskID")),
        wipe=_true(disk.value("WillWipeDisk")),
        created=tuple(sorted(created, key=lambda one: one.order)),
        modified=tuple(modified),
    )


def _install_to(view: _View) -> InstallTo | None:
    for image in view.found(SETUP, PE, "ImageInstall/OSImage"):
        target = image.child("InstallTo")
        return InstallTo(
            disk=_number(target.value("DiskID")) if target else None,
            partition=_number(target.value("PartitionID")) if target else None,
            available=_true(image.value("InstallToAvailablePartition")),
        )
    return None


def _selections(view: _View) -> Iterator[Selection]:
    for pair in view.found(SETUP, PE, "ImageInstall/OSImage/InstallFrom/MetaData"):
        yield Selection(key=pair.value("Key").upper(), value=pair.value("Value"))


def _product_key(view: _View) -> ProductKey | None:
    for user in view.found(SETUP, PE, "UserData"):
        element = user.find("ProductKey/Key")
        if element is not None:
            text = element.text.strip()
            return ProductKey(key=Secret(text) if text else None)
    return None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _true(text: str) -> bool:
    return text.lower() in {"true", "1"}
