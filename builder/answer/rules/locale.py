"""Languages, keyboards, time zones and what OOBE asks.

Sources: unattended setup reference, International-Core(-WinPE) and Shell-Setup TimeZone and OOBE;
manufacture/desktop/automate-windows-setup; lists in `answer_templates/tables/`.
"""

import functools
import json
import re
from collections.abc import Iterator

from builder import resources
from builder.answer.document import Element
from builder.answer.rules.answer import Answer, AnswerKind, is_placeholder, is_true, shown
from builder.answer.rules.table import Finding

PE = "Microsoft-Windows-International-Core-WinPE"
CORE = "Microsoft-Windows-International-Core"
SHELL = "Microsoft-Windows-Shell-Setup"
TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-[A-Za-z0-9]{4,8})?")
PAIR = re.compile(r"(0x)?[0-9A-Fa-f]{4}:(0x)?[0-9A-Fa-f]{8}")
METHOD = re.compile(r"[0-9A-Fa-f]{4}:(\{[0-9A-Fa-f-]{36}\}){2}")
LANGUAGES = ("UILanguage", "SystemLocale", "UserLocale", "UILanguageFallback")
DST_OFF = "_dstoff"
DISPLAY_NAMES = frozenset(("coordinated universal time",))  # 13 public files; effect unknown
CLIENT_SCREENS = (
    "HideOnlineAccountScreens",
    "HideOEMRegistrationScreen",
    "HideWirelessSetupInOOBE",
    "UnattendEnableRetailDemo",
)
NEW_SETUP = 26100


@functools.cache
def _zones() -> tuple[frozenset[str], frozenset[str]]:
    """The names of Windows' time zones in lower case, and those added in 2026."""
    path = resources.templates() / "tables" / "timezones.json"
    table = json.loads(path.read_bytes())
    names = {name.casefold() for name in table["zones"]}
    return frozenset(names), frozenset(name.casefold() for name in table["new_in_2026"])


@functools.cache
def _tags() -> frozenset[str]:
    """Locales, and the languages of images: zh-CN and zh-TW stand among these only."""
    path = resources.templates() / "tables" / "locales.json"
    table = json.loads(path.read_bytes())
    return frozenset(tag.casefold() for tag in (*table["locales"], *table["image_languages"]))


@functools.cache
def _layouts() -> frozenset[str]:
    path = resources.templates() / "tables" / "keyboards.json"
    return frozenset(json.loads(path.read_bytes())["layouts"])


def judge_languages(answer: Answer) -> Iterator[Finding]:
    """Language tags and input locales."""
    for name in (PE, CORE):
        for component in answer.components(name):
            for place in (component, component.child("SetupUILanguage")):
                for child in place.children if place is not None else ():
                    text = child.text.strip()
                    if not text or is_placeholder(text):
                        continue
                    if child.name in LANGUAGES:
                        yield from _judge_tag(answer, child, text)
                    elif child.name == "InputLocale":
                        yield from _judge_input(answer, child, text)


def _judge_tag(answer: Answer, child: Element, text: str) -> Iterator[Finding]:
    if text.casefold() not in _tags():
        form = "" if TAG.fullmatch(text) else ", which is no language tag"
        yield answer.finding("WS802", child, f"{child.name} is {shown(text)}{form}")


def _judge_input(answer: Answer, child: Element, text: str) -> Iterator[Finding]:
    for part in text.split(";"):
        entry = part.strip()
        if PAIR.fullmatch(entry):
            if entry[-8:].lower() in _layouts():
                continue
        elif METHOD.fullmatch(entry) or entry.casefold() in _tags() or not entry:
            continue
        yield answer.finding("WS803", child, f"InputLocale is {shown(entry)}")
        return


def judge_setup_language(answer: Answer) -> Iterator[Finding]:
    """Whether Windows PE asks for a language."""
    if answer.kind is not AnswerKind.SETUP:
        return
    setups = answer.components("Microsoft-Windows-Setup", "windowsPE")
    found = answer.components(PE, "windowsPE")
    if not found:
        for setup in setups[:1]:
            yield answer.finding("WS801", setup, f"there is no {PE}")
    elif not any(element.value("SetupUILanguage/UILanguage") for element in found):
        yield answer.finding("WS801", found[0], "SetupUILanguage has no UILanguage")
    elif not any(element.value("UILanguage") for element in found):
        yield answer.finding("WS801", found[0], "there is no UILanguage")
    elif answer.release and answer.release.build >= NEW_SETUP:
        yield from _judge_fallback(answer, found)


def _judge_fallback(answer: Answer, found: list[Element]) -> Iterator[Finding]:
    if not any(element.value("UILanguageFallback") for element in found):
        yield answer.finding("WS809", found[0], "there is no UILanguageFallback")


def judge_time_zone(answer: Answer) -> Iterator[Finding]:
    """The name of the time zone."""
    for zone in answer.found(SHELL, "TimeZone"):
        text = zone.text.strip()
        if not text or is_placeholder(text):
            continue
        names, recent = _zones()
        name = text.removesuffix(DST_OFF).casefold()
        if name in recent:
            yield answer.finding("WS806", zone, f"the time zone is {shown(text)}")
        elif name in DISPLAY_NAMES:
            yield answer.finding("WS805", zone, f"the time zone is {shown(text)}")
        elif name not in names:
            hint = "" if len(text) > 64 else answer.near(text, names)
            what = f"there is no time zone {shown(text)}"
            yield answer.finding("WS804", zone, what + (f"; did you mean {hint}?" if hint else ""))


def judge_oobe(answer: Answer) -> Iterator[Finding]:
    """The OOBE switches, and whether OOBE is answered at all."""
    if answer.kind is AnswerKind.WDS_CLIENT:
        return
    for oobe in answer.found(SHELL, "OOBE"):
        names = {child.name: child for child in oobe.children}
        useless = ["NetworkLocation", *(CLIENT_SCREENS if answer.release else ())]
        found = [name for name in names if name in useless]
        if found:
            verb = "has" if len(found) == 1 else "have"
            what = f"{', '.join(found)} {verb} no effect there"
            yield answer.finding("WS807", names[found[0]], what)
        found = [n for n in ("SkipMachineOOBE", "SkipUserOOBE") if n in names]
        found = [name for name in found if is_true(names[name].text)]
        if found:
            yield answer.finding("WS810", names[found[0]], f"{' and '.join(found)} true")
    setups = answer.components("Microsoft-Windows-Setup", "windowsPE")
    if setups and not answer.components(SHELL, "oobeSystem"):
        yield answer.finding("WS808", answer.root, f"no {SHELL} in oobeSystem")
