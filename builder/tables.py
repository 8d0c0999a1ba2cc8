"""Names that Windows knows: time zones, keyboards, locales, languages of images.

The lists lie in `answer_templates/tables/` with their sources. Look-ups take what people write
(an IANA zone, a keyboard's name) and give what Setup expects, or raise ValueError with the
nearest names.
"""

import difflib
import functools
import json
import re
from collections.abc import Iterable

from builder import resources

INPUT_PAIR = re.compile(r"([0-9a-f]{4}):([0-9a-f]{8})", re.IGNORECASE)
INPUT_METHOD = re.compile(
    r"[0-9a-f]{4}:\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}"
    r"\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}",
    re.IGNORECASE,
)
DST_OFF = "_dstoff"


def windows_zone(text: str) -> str:
    """The Windows name of a time zone given by its Windows or IANA name, any case.

    The suffix `_dstoff` (no daylight saving) is kept: unattend reference, Shell-Setup TimeZone.
    """
    zone, suffix = (text[: -len(DST_OFF)], DST_OFF) if text.endswith(DST_OFF) else (text, "")
    found = _zones().get(zone.casefold())
    if found is None:
        raise ValueError(_unknown("time zone", zone, _zone_names()))
    return found + suffix


def locale_tag(text: str) -> str:
    """A language tag as Windows spells it, as `de-DE`."""
    found = _locales().get(text.casefold())
    if found is not None:
        return found
    # the list of user locales has zh-Hans-CN where images and people write zh-CN
    for language in _table("locales")["image_languages"]:
        if language.casefold() == text.casefold():
            return str(language)
    raise ValueError(_unknown("locale", text, _locales().values()))


def image_language(text: str) -> str:
    """A language that Windows media come in, as Windows spells it."""
    for language in _table("locales")["image_languages"]:
        if language.casefold() == text.casefold():
            return str(language)
    raise ValueError(_unknown("Windows language", text, _table("locales")["image_languages"]))


def input_locale(text: str) -> str:
    """An input locale from a keyboard name (`German`), a tag (`de-DE`) or an id (`0407:00000407`).

    A keyboard's language is the low word of its id, so `German` is 0407:00000407.
    """
    if INPUT_PAIR.fullmatch(text):
        layout = text[5:].lower()
        if layout not in _table("keyboards")["layouts"]:
            raise ValueError(f"there is no keyboard layout {layout}")
        return text.lower()
    if INPUT_METHOD.fullmatch(text):
        return text
    by_name = _keyboards().get(text.casefold())
    if by_name:
        return by_name if ":" in by_name else f"{by_name[-4:]}:{by_name}"
    if text.casefold() in _locales():
        return locale_tag(text)
    raise ValueError(_unknown("keyboard or locale", text, _keyboard_names()))


def nearest(text: str, names: Iterable[str]) -> str:
    """The known name most like `text`, or "" when none is."""
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(text.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else ""


def _unknown(kind: str, text: str, names: Iterable[str]) -> str:
    guess = nearest(text, names)
    return f"unknown {kind} {text!r}" + (f"; did you mean {guess!r}?" if guess else "")


@functools.cache
def _table(name: str) -> dict[str, dict[str, str]]:
    path = resources.templates() / "tables" / f"{name}.json"
    table: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return table


@functools.cache
def _zones() -> dict[str, str]:
    zones = _table("timezones")["zones"]
    names = {name.casefold(): name for name in zones}
    for name, aliases in zones.items():
        for alias in aliases:
            names.setdefault(alias.casefold(), name)
    # Etc/UTC is known to CLDR by its old name only
    names.setdefault("utc", "UTC")
    return names


def _zone_names() -> list[str]:
    zones = _table("timezones")["zones"]
    return [*zones, *(alias for aliases in zones.values() for alias in aliases)]


@functools.cache
def _locales() -> dict[str, str]:
    return {tag.casefold(): tag for tag in _table("locales")["locales"]}


@functools.cache
def _keyboards() -> dict[str, str]:
    table = _table("keyboards")
    names: dict[str, str] = {}
    for ids in (table["layouts"], table["input_methods"]):
        for number, name in ids.items():
            names.setdefault(name.casefold(), number)
    return names


def _keyboard_names() -> list[str]:
    table = _table("keyboards")
    return [*table["layouts"].values(), *table["input_methods"].values(), *_locales().values()]
