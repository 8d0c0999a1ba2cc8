"""Passwords, keys and join blobs that lie in the file. No message ever repeats one.

Sources: manufacture/desktop and wsim/hide-sensitive-data-in-an-answer-file; the reference's own
examples decode to "pwPassword" and "pwAdministratorPassword"; jc-tech.info 2016-10-31 (0x8007000d).
"""

import base64
import binascii
import re
from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import (
    PLACEHOLDER,
    Answer,
    is_false,
    is_secret_placeholder,
    is_true,
)
from builder.answer.rules.commands import all_commands
from builder.answer.rules.image import looks_like_key
from builder.answer.rules.table import Finding

SUFFIXES = ("Password", "AdministratorPassword", "OfflineAdministratorPassword")
VALUE_HOLDERS = frozenset(SUFFIXES)
PLAIN_LEAVES = frozenset(("Password", "MachinePassword"))
TELLING = VALUE_HOLDERS | PLAIN_LEAVES | {"AccountData", "Key", "ProductKey"}
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
IN_COMMAND = re.compile(
    r"\bnet1?(\.exe)?\s+user\s+(\"[^\"]{1,64}\"|[^\s/\"]{1,64})\s+(?![*/&|>])\S"
    r"|ConvertTo-SecureString\s+(-String\s+)?['\"]"
    r"|/v\s+\"?DefaultPassword\"?\s(?=.{0,80}/d\s)"
    r"|\s[-/]{1,2}p(ass(word)?)?[:=\s]\s?['\"][^'\"]{1,100}['\"]",
    re.IGNORECASE,
)


def judge_secrets(answer: Answer) -> Iterator[Finding]:
    """Every secret of the file."""
    first: Element | None = None
    for element in answer.document.elements:
        if element.name not in TELLING:
            continue
        found = list(_judge_element(answer, element))
        yield from found
        if first is None and any(finding.id in {"WS901", "WS902"} for finding in found):
            first = element
    for line in all_commands(answer):
        found_at = IN_COMMAND.search(line.text, 0, 2048)
        if found_at and not PLACEHOLDER.search(line.text, found_at.end() - 1, found_at.end() + 60):
            yield answer.finding("WS907", line, "the command seems to hold a password")
    if first is not None:
        yield answer.finding("WS906", first, "the file holds passwords")


def _judge_element(answer: Answer, element: Element) -> Iterator[Finding]:
    name = element.name
    if name in VALUE_HOLDERS and element.child("Value") is not None:
        yield from _judge_value(answer, element)
    elif name in PLAIN_LEAVES and not element.children and element.text.strip():
        if not is_secret_placeholder(element.text):
            yield answer.finding("WS901", element, f"{name} in clear text")
    elif name == "AccountData" and element.text.strip() and not is_secret_placeholder(element.text):
        yield answer.finding("WS909", element, "the blob of an offline domain join")
    elif name in {"Key", "ProductKey"} and not element.children:
        text = element.text.strip().upper()
        if looks_like_key(text) and text not in answer.tables.kms_keys:
            yield answer.finding("WS908", element, "a product key that is no KMS client key")


def _judge_value(answer: Answer, holder: Element) -> Iterator[Finding]:
    value = holder.child("Value")
    plain = holder.child("PlainText")
    text = value.text.strip() if value is not None else ""
    if plain is None:
        yield answer.finding("WS905", holder, f"{holder.name} without PlainText")
    if value is None or not text or is_secret_placeholder(text):
        return
    if plain is not None and is_false(plain.text):
        if _decoded(text, holder.name):
            yield answer.finding("WS902", holder, f"{holder.name} is encoded, not encrypted")
        else:
            yield answer.finding("WS903", value, "Value is not what PlainText=false demands")
        return
    if plain is None or is_true(plain.text):
        if any(_decoded(text, suffix) for suffix in SUFFIXES):
            yield answer.finding("WS904", value, "Value is encoded, and PlainText is not false")
        yield answer.finding("WS901", holder, f"{holder.name} in clear text")


def _decoded(text: str, suffix: str) -> bool:
    """Whether a text is Base64 of UTF-16LE of something that ends in the suffix."""
    plain = "".join(text.split())
    if not BASE64.fullmatch(plain):
        return False
    try:
        return base64.b64decode(plain, validate=True).decode("utf-16-le").endswith(suffix)
    except (binascii.Error, UnicodeDecodeError):
        return False
