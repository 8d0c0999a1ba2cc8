"""Names that Windows knows, found by what people write."""

import json
import zoneinfo

import pytest

from builder.tables import image_language, input_locale, locale_tag, nearest, windows_zone
from tests.command import ROOT

TABLES = ROOT / "answer_templates" / "tables"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Etc/UTC", "UTC"),
        ("Europe/Berlin", "W. Europe Standard Time"),
        ("EUROPE/berlin", "W. Europe Standard Time"),
        ("w. europe standard time", "W. Europe Standard Time"),
        ("America/New_York", "Eastern Standard Time"),
        ("Asia/Kolkata", "India Standard Time"),
        ("Asia/Calcutta", "India Standard Time"),
        ("Europe/Berlin_dstoff", "W. Europe Standard Time_dstoff"),
    ],
)
def test_time_zones(text, zone):
    assert windows_zone(text) == zone


def test_an_unknown_time_zone_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'Europe/Berlin'"):
        windows_zone("Europe/Berln")
    with pytest.raises(ValueError, match=r"unknown time zone 'zzzz'$"):
        windows_zone("zzzz")


def test_zones_of_this_machine_have_windows_names():
    """The machine's own list is the witness; CLDR lacks a few old names."""
    areas = ("Africa/", "America/", "Asia/", "Australia/", "Europe/")
    names = [name for name in zoneinfo.available_timezones() if name.startswith(areas)]
    unknown = []
    for name in names:
        try:
            windows_zone(name)
        except ValueError:
            unknown.append(name)
    assert len(unknown) <= len(names) * 0.02, unknown


@pytest.mark.parametrize(
    ("text", "locale"),
    [
        ("German", "0407:00000407"),
        ("german", "0407:00000407"),
        ("US", "0409:00000409"),
        ("de-de", "de-DE"),
        ("0407:00000407", "0407:00000407"),
        ("0407:0001040A", "0407:0001040a"),
    ],
)
def test_input_locales(text, locale):
    assert input_locale(text) == locale


def test_every_keyboard_is_found_by_its_name():
    layouts = json.loads((TABLES / "keyboards.json").read_text())["layouts"]
    for number, name in layouts.items():
        assert input_locale(name).endswith(number) or list(layouts.values()).count(name) > 1


@pytest.mark.parametrize("text", ["0407:99999999", "Germn", "", "0407"])
def test_no_input_locales(text):
    with pytest.raises(ValueError, match=r"no keyboard layout|unknown keyboard or locale"):
        input_locale(text)


def test_locales_and_image_languages():
    assert (locale_tag("DE-de"), image_language("ZH-cn")) == ("de-DE", "zh-CN")
    with pytest.raises(ValueError, match="unknown locale 'xx-YY'"):
        locale_tag("xx-YY")
    with pytest.raises(ValueError, match="unknown Windows language"):
        image_language("gsw-CH")


def test_every_table_names_its_sources():
    for path in TABLES.glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document.get("source") or document.get("sources"), path.name


def test_nearest():
    assert nearest("Desktp", ["core", "desktop"]) == "desktop"
    assert nearest("zzz", ["core", "desktop"]) == ""
    assert nearest("", []) == ""


@pytest.mark.parametrize("tag", ["zh-CN", "zh-TW", "ZH-hk"])
def test_chinese_formats_are_written_as_images_are(tag):
    """The user locales are listed by script (zh-Hans-CN); people and media write zh-CN."""
    assert locale_tag(tag).casefold() == tag.casefold()
