"""Types of spec keys: what people write on the left, what the plan reads on the right.

Every validator raises ValueError with a sentence; `spec/load.py` adds the path.
"""

import ipaddress
import urllib.parse
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from builder import tables
from builder.releases import release_ids
from builder.values import (
    Bus,
    Channel,
    ComputerName,
    Delivery,
    Edition,
    Firmware,
    Sku,
    check_account,
    check_dns_name,
    check_interface,
    check_key,
    check_text,
    load_mac,
)

PATH_LENGTH = 240


def _release(text: str) -> str:
    release = text.casefold().replace(" ", "")
    if release not in release_ids():
        guess = tables.nearest(release, release_ids())
        raise ValueError(
            f"unknown release {text!r}, expected one of {', '.join(release_ids())}"
            + (f"; did you mean {guess!r}?" if guess else "")
        )
    return release


def _input_file(text: Any, info: ValidationInfo) -> Path:
    """A path of the spec counts from the spec's own folder."""
    if not isinstance(text, str):
        raise ValueError("must be text in quotes")  # noqa: TRY004 - pydantic's own way
    check_text(text)
    if not text:
        raise ValueError("the path is empty")
    folder = (info.context or {}).get("folder", Path())
    try:
        return Path(folder) / Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"there is no home folder {text!r}") from None


def _product_key(text: str) -> str:
    return text.casefold() if text.casefold() in {"auto", "none"} else check_key(text)


def _address(text: str) -> str:
    return ipaddress.ip_address(text).compressed


def _network(text: str) -> str:
    if text.casefold() in {"any", "localsubnet"}:
        return {"any": "Any", "localsubnet": "LocalSubnet"}[text.casefold()]
    return ipaddress.ip_network(text).compressed


def _wsus_url(text: str) -> str:
    url = urllib.parse.urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
        raise ValueError("a WSUS server is given as http://server:8530 or https://server:8531")
    if any(character in text for character in "\"' %") or not text.isascii():
        raise ValueError("a WSUS address holds no quotes, blanks, percent signs or accents")
    return check_text(text).rstrip("/")


def _target_group(text: str) -> str:
    if set(check_text(text)) & set('"%;'):
        raise ValueError('a target group holds no ", % or ;')
    return text


def _drive_letter(text: str) -> str:
    letter = text.removesuffix(":").upper()
    if len(letter) != 1 or not "D" <= letter <= "Z":
        raise ValueError("a drive letter is one of D to Z; C is Windows")
    if letter == "X":
        raise ValueError("X is the letter of Windows PE")
    return letter


def _volume_label(text: str) -> str:
    check_text(text)
    wrong = sorted(set(text) & set('*?/\\|.,;:+=[]<>"'))
    if wrong:
        raise ValueError(f"a volume label cannot hold {' '.join(wrong)}")
    return text


def _workgroup(text: str) -> str:
    check_text(text)
    if not 0 < len(text) <= 15 or set(text) & set('"/\\[]:|<>+=;,?* '):
        raise ValueError("a workgroup name has 1 to 15 characters, no blanks or punctuation")
    return text


def _allocation_unit(size: int) -> int:
    if size & (size - 1) or not 512 <= size <= 2 * 1024 * 1024:
        raise ValueError("an allocation unit is a power of two from 512 to 2097152 bytes")
    return size


def _not_blank(text: str) -> str:
    if check_text(text) and not text.strip():
        raise ValueError("this text is made of blanks only; leave it out or write something")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Line = Annotated[str, AfterValidator(_not_blank), Field(min_length=1, max_length=63)]
Name = Annotated[str, AfterValidator(ComputerName)]
Release = Annotated[str, AfterValidator(_release)]
EditionKey = Annotated[Edition, Field(strict=False)]
SkuKey = Annotated[Sku, Field(strict=False)]
ChannelKey = Annotated[Channel, Field(strict=False)]
FirmwareKey = Annotated[Firmware, Field(strict=False)]
BusKey = Annotated[Bus, Field(strict=False)]
DeliveryKey = Annotated[Delivery, Field(strict=False)]
ProductKey = Annotated[str, AfterValidator(_product_key)]
InputFile = Annotated[Path, BeforeValidator(_input_file, json_schema_input_type=str)]
ImageLanguage = Annotated[str, AfterValidator(tables.image_language)]
Locale = Annotated[str, AfterValidator(tables.locale_tag)]
InputLocale = Annotated[str, AfterValidator(tables.input_locale)]
TimeZone = Annotated[str, AfterValidator(tables.windows_zone)]
Mac = Annotated[str, AfterValidator(load_mac)]
Interface = Annotated[str, AfterValidator(check_interface)]
Address = Annotated[str, AfterValidator(_address)]
Network = Annotated[str, AfterValidator(_network)]
DnsName = Annotated[str, AfterValidator(check_dns_name)]
AccountName = Annotated[str, AfterValidator(check_account)]
Url = Annotated[str, AfterValidator(_wsus_url)]
TargetGroup = Annotated[str, AfterValidator(_target_group), Field(min_length=1, max_length=100)]
Letter = Annotated[str, AfterValidator(_drive_letter)]
Label = Annotated[str, AfterValidator(_volume_label), Field(max_length=32)]
Workgroup = Annotated[str, AfterValidator(_workgroup)]
AllocationUnit = Annotated[int, AfterValidator(_allocation_unit)]
