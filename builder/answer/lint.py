"""Judge any answer file: what Setup would refuse, ignore or ask, and how to mend it.

    bytes -> Document -> Answer -> every rule -> findings in the order of the text

Nothing is read but the bytes given. The rules stand in `builder/answer/rules/`, their texts and
sources in `answer_templates/schema/rules.json`.
"""

import re
from collections.abc import Callable, Iterable

from builder.answer.document import UNATTEND, Broken, Document, Element, load_document
from builder.answer.rules import (
    accounts,
    commands,
    disk,
    drivers,
    frame,
    image,
    locale,
    network,
    secrets,
    updates,
    vocabulary,
)
from builder.answer.rules.answer import (
    CONTROL,
    Answer,
    AnswerKind,
    Block,
    ServerRelease,
    is_placeholder,
    load_tables,
)
from builder.answer.rules.table import Finding, Level, Rule, load_rules, make_finding
from builder.answer.schema import load_schema
from builder.errors import ExitCode, WinseedError

__all__ = [
    "AnswerKind",
    "Finding",
    "Level",
    "Rule",
    "find_release",
    "holds_answer",
    "lint_answer",
    "load_rules",
]

CONTROL_SEARCHED = 1024 * 1024
SERVER_NAME = re.compile(
    r"Windows Server (2008 R2|2012 R2|2012|2016|2019|2022|2025)\b", re.IGNORECASE
)
CLIENT_NAME = re.compile(r"Windows (Vista|7|8|8\.1|10|11)\b", re.IGNORECASE)
SETUP = "Microsoft-Windows-Setup"
# may hold signs of templates that mean something else
FREE_TEXT = frozenset(("Path", "CommandLine", "Description", "Value"))
IMAGE_CHOICE = "ImageInstall/OSImage/InstallFrom/MetaData"
WINDOWS_PE = ("Microsoft-Windows-Setup", "Microsoft-Windows-International-Core-WinPE")

RULES: tuple[Callable[[Answer], Iterable[Finding]], ...] = (
    frame.judge_frame,
    frame.judge_components,
    frame.judge_architectures,
    frame.judge_file_name,
    vocabulary.judge_vocabulary,
    disk.judge_disks,
    disk.judge_install_to,
    image.judge_user_data,
    image.judge_image,
    image.judge_shell_key,
    accounts.judge_computer_name,
    accounts.judge_accounts,
    accounts.judge_auto_logon,
    accounts.judge_administrator,
    commands.judge_specialize,
    commands.judge_windows_pe,
    commands.judge_lines,
    commands.judge_first_logon,
    commands.judge_deployment,
    updates.judge_updates,
    network.judge_addresses,
    network.judge_remote_desktop,
    network.judge_join,
    drivers.judge_letters,
    drivers.judge_folders,
    locale.judge_languages,
    locale.judge_setup_language,
    locale.judge_time_zone,
    locale.judge_oobe,
    secrets.judge_secrets,
)


def lint_answer(
    data: bytes, *, name: str, release: str | None = None, kind: AnswerKind | None = None
) -> tuple[Finding, ...]:
    """Every finding of an answer file, in the order of the text; never raises for any bytes.

    `name` is the file's name for the findings. `release` is the Windows Server it is for, as
    `2022`; without it the image name or the key in the file tells. `kind` is told by the
    passes; a given one says which passes are read at all.
    Raises `WinseedError` (SPEC) for a release that is not known.
    """
    target = find_release(release) if release else None
    document = load_document(data)
    template = CONTROL.search(data, 0, CONTROL_SEARCHED) is not None
    if isinstance(document, Broken):
        return (_broken(document, name, template=template),)
    root = document.root
    if root.name != "unattend" or root.space != UNATTEND:
        return (_no_answer(root, name),)
    answer = _answer(document, name, target, kind)
    if template:
        # both branches of every choice stand in the text, so counting and comparing is idle
        what = "the file is a template with conditions; only its form was judged"
        return (answer.finding("WS006", root, what),)
    found = [finding for judge in RULES for finding in judge(answer)]
    found.extend(_template(answer))
    found.sort(key=lambda finding: (finding.line, finding.column, finding.id))
    return tuple(finding for finding in found if finding.path)


def find_release(text: str) -> ServerRelease:
    """The Windows Server release of that id. Raises `WinseedError` (SPEC)."""
    releases = load_tables().releases
    key = re.sub(r"[\s_-]|windows|server", "", text.lower())
    if key not in releases:
        raise WinseedError(
            f"unknown release {text!r}", code=ExitCode.SPEC, hint=f"one of {', '.join(releases)}"
        )
    return releases[key]


def holds_answer(data: bytes) -> bool:
    """Whether a file is meant as an answer file: its namespace stands in it."""
    head = data[:65536]
    return UNATTEND.encode() in head or UNATTEND.encode("utf-16-le") in head


def _broken(document: Broken, name: str, *, template: bool) -> Finding:
    cause, what = document.cause, document.what
    if template and cause == "WS001":
        cause, what = "WS006", f"the file is a template and no XML yet: {what}"
    return make_finding(
        cause, name=name, line=document.line, column=document.column, path="/", what=what
    )


def _no_answer(root: Element, name: str) -> Finding:
    what = "the first element is not unattend"
    if root.name == "unattend":
        what = "unattend is not in the namespace urn:schemas-microsoft-com:unattend"
    return make_finding(
        "WS005", name=name, line=root.line, column=root.column, path=root.path, what=what
    )


def _answer(
    document: Document,
    name: str,
    release: ServerRelease | None,
    kind: AnswerKind | None,
) -> Answer:
    blocks = tuple(_blocks(document.root))
    setup = any(block.name in WINDOWS_PE and block.passes == "windowsPE" for block in blocks)
    answer = Answer(
        name=name,
        document=document,
        schema=load_schema(),
        tables=load_tables(),
        kind=kind or (AnswerKind.SETUP if setup else AnswerKind.IMAGE),
        kind_given=kind is not None,
        release=release,
        client=False,
        blocks=blocks,
    )
    chosen = [data.value("Value") for data in answer.found(SETUP, IMAGE_CHOICE)]
    answer.client = any(CLIENT_NAME.search(value) for value in chosen)
    if release is None and not answer.client:
        answer.release = _named_release(chosen) or _key_release(answer)
    return answer


def _blocks(root: Element) -> Iterable[Block]:
    for settings in root.children:
        if settings.name != "settings" or settings.space != UNATTEND:
            continue
        for element in settings.children:
            if element.name == "component" and element.space == UNATTEND:
                yield Block(
                    element=element,
                    name=element.attributes.get("name", ""),
                    passes=settings.attributes.get("pass", ""),
                    architecture=element.attributes.get("processorArchitecture", ""),
                )


def _named_release(chosen: list[str]) -> ServerRelease | None:
    for value in chosen:
        found = SERVER_NAME.search(value)
        if found:
            return find_release(found[1])
    return None


def _key_release(answer: Answer) -> ServerRelease | None:
    for key in answer.found(SETUP, "UserData/ProductKey/Key"):
        known = answer.tables.kms_keys.get(key.text.strip().upper())
        if known and known.release:
            return answer.tables.releases[known.release]
    return None


def _template(answer: Answer) -> Iterable[Finding]:
    """One advice for a file with place-holders in its values."""
    places = [
        element
        for element in answer.document.elements
        if element.text
        and element.space == UNATTEND
        and not element.children
        and element.name not in FREE_TEXT
        and is_placeholder(element.text)
    ]
    if places:
        what = f"a template: {len(places)} values are filled in later and were not judged"
        yield answer.finding("WS006", places[0], what)
