"""Text of a run without what a stranger must not know, or need not.

Secrets that are known are removed in every form that winseed or Windows gives them; what looks like
a secret, a product key, an address or an identity is removed by its looks. Names become numbered
stand-ins, the same one each time, so that a line can still be compared with another.
"""

import base64
import binascii
import collections
import ipaddress
import itertools
import json
import re
import urllib.parse
import xml.sax.saxutils
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from builder.record import record

MASK = "***"
SHORTEST_SECRET = 4  # masking shorter strings would garble ordinary words
SHORTEST_NAME = 2
# What an answer file appends to a password before it encodes it (unattend reference, PlainText)
SUFFIXES = ("", "Password", "AdministratorPassword")

_WORD = r"(?:pass(?:word|wd|phrase|code)?|pwd|psw|secret|credentials?|api[-_ ]?key|token|blob|auth)"
# Looks, what they are, what of them stays. In this order: what holds others comes first.
_LOOKS: tuple[tuple[str, str, str], ...] = (
    ("private key", r"-----BEGIN [^-\n]+-----.*?(?:-----END [^-\n]+-----|\Z)", MASK),
    ("product key", r"(?<![A-Za-z0-9])(?:[A-Za-z0-9]{5}-){4}[A-Za-z0-9]{5}(?![A-Za-z0-9])", MASK),
    ("product id", r"(?<![A-Za-z0-9])\d{5}-(?:\d{3}|\d{5})-\d{5,7}-[A-Za-z0-9]{5}(?!\w)", MASK),
    ("api token", r"(?<![\w.+-])[\w.+-]+@[\w.-]+![\w.-]+(?:=\S+)?", MASK),
    ("secret", rf"(?i)(<\w*(?:{_WORD}|productkey|value)\b[^>\n]*>)[^\n]+", rf"\1{MASK}"),
    ("secret", rf"(?i)(\b\w*{_WORD}s?[\"']?[ \t]*[=:][ \t]*)\S[^\n]*", rf"\1{MASK}"),
    ("secret", rf"(?i)((?<!\S)[-/]+(?:p|\w*{_WORD})[ :=]+)\S[^\n]*", rf"\1{MASK}"),
    ("secret", r"(?i)(\b\w*(?:password|passwd|pwd)s?[ \t]+)\S[^\n]*", rf"\1{MASK}"),
    ("secret", r"(?i)(\bnet1?(?:\.exe)?\s+user\s+)\S[^\n]*", rf"\1{MASK}"),
    ("secret", r"(?i)(\b(?:basic|bearer)\s+)[A-Za-z0-9+/=._~-]{8,}", rf"\1{MASK}"),
    ("encoded text", r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{32,}={0,2}(?![A-Za-z0-9+/=])", MASK),
)
_STAND_INS: tuple[tuple[str, str], ...] = (
    ("mail address", r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("address on the network", r"(?<=://)[^\s\"'<>/\\]+(?:/[^\s\"'<>]*)?"),
    ("server", r"(?<=\\\\)(?![?.]\\)[A-Za-z0-9._-]+(?=\\)"),
    (
        "account",
        r"(?i)(?<=\\users\\)(?!(?:public|default|administrator|all users)\b)[^\\\s\"'<>|]+",
    ),
    ("computer", r"(?i)(?<![a-z0-9])(?:WIN-[A-Z0-9]{11}|(?:MININT|DESKTOP)-[A-Z0-9]{7})(?!\w)"),
    (
        "computer",
        r"(?i)(?<![\w.-])(?:[a-z0-9_-]+\.)+(?:local|lan|internal|intranet|corp|home|arpa|test|example"
        r"|invalid|org|eu|de|fr|ch|at|uk)(?![\w-])",
    ),
    ("computer", r"(?i)(?<![\w.-])(?:[a-z0-9-]+\.){2,}(?:com|net)(?![\w-])"),
    ("security identifier", r"S-1-5-21(?:-\d+){3}(?=-\d|(?!\d))"),
    ("guid", r"(?i)(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])"),
    (
        "hardware address",
        r"(?i)(?<![0-9a-f:-])[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}(?![0-9a-f:-])",
    ),
    ("ip address", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"),
    ("ip address", r"(?i)(?<![\w:])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:%\w+)?(?![\w:])"),
)  # fmt: skip
_COMPILED_LOOKS = tuple(
    (what, re.compile(look, re.DOTALL if what == "private key" else 0), stays)
    for what, look, stays in _LOOKS
)
_COMPILED_STAND_INS = tuple((what, re.compile(look)) for what, look in _STAND_INS)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@record
class Name:
    """A name that is known, and what sort of thing it names."""

    sort: str
    text: str


class Scrubber:
    """Removes; remembers which stand-in a name got, and counts what was removed."""

    def __init__(
        self, *, names: Iterable[Name], secrets: Iterable[str], common: frozenset[str]
    ) -> None:
        self.removed: collections.Counter[str] = collections.Counter()
        self._numbers: dict[tuple[str, str], str] = {}
        self._counts: dict[str, Any] = collections.defaultdict(lambda: itertools.count(1))
        self._secrets = _alternatives(known_forms(secrets))
        self._sorts = {
            part.casefold(): name.sort
            for name in names
            for part in _parts(name)
            if part.casefold() not in common
        }
        self._names = _alternatives(self._sorts, words=True)

    def scrub(self, text: str) -> str:
        """`text` without secrets, keys, addresses and names; one line stays one line."""
        text = _CONTROLS.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
        if self._secrets:
            text = self._masked(text, "secret", self._secrets, MASK)
        for what, look, stays in _COMPILED_LOOKS:
            text = self._masked(text, what, look, stays)
        if self._names:
            text = self._names.sub(self._known, text)
        for what, look in _COMPILED_STAND_INS:
            text = look.sub(self._stand_in(what), text)
        return text

    def scrub_values(self, value: Any) -> Any:
        """JSON values, with every text in them scrubbed; keys stay."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, list):
            return [self.scrub_values(item) for item in value]
        if isinstance(value, dict):
            return {self.scrub(key): self.scrub_values(item) for key, item in value.items()}
        return value

    def _masked(self, text: str, what: str, look: re.Pattern[str], stays: str) -> str:
        text, count = look.subn(stays, text)
        self.removed[what] += count
        return text

    def _known(self, found: re.Match[str]) -> str:
        return self._number(self._sorts[found[0].casefold()], found[0])

    def _stand_in(self, what: str) -> Callable[[re.Match[str]], str]:
        def replace(found: re.Match[str]) -> str:
            if what == "ip address" and not _is_address(found[0]):
                return found[0]
            return self._number(what, found[0])

        return replace

    def _number(self, what: str, text: str) -> str:
        self.removed[what] += 1
        key = (what, text.casefold())
        if key not in self._numbers:
            self._numbers[key] = f"{{{what.replace(' ', '-')}-{next(self._counts[what])}}}"
        return self._numbers[key]


def counted(removed: Mapping[str, int]) -> dict[str, int]:
    """What was removed, without what was not there."""
    return {what: count for what, count in sorted(removed.items()) if count}


def known_forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """Every form in which a secret may stand in a log, longest first."""
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) < SHORTEST_SECRET:
            continue
        forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        forms |= {xml.sax.saxutils.escape(secret), xml.sax.saxutils.quoteattr(secret)[1:-1]}
        forms |= {urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret)}
        for suffix in SUFFIXES:
            plain = secret + suffix
            for raw in (plain.encode(), plain.encode("utf-16-le")):
                forms |= {base64.b64encode(raw).decode(), binascii.hexlify(raw).decode()}
    forms |= {_CONTROLS.sub(" ", form) for form in forms}
    return tuple(sorted((form for form in forms if form), key=len, reverse=True))


def _parts(name: Name) -> tuple[str, ...]:
    """A name, and of a computer or domain its first label too; 15 characters are NetBIOS's own."""
    text = name.text.strip()
    found = {text}
    if name.sort in {"computer", "domain"}:
        label = text.partition(".")[0]
        found |= {label, label[:15]}
    return tuple(part for part in found if len(part) >= SHORTEST_NAME)


def _alternatives(texts: Iterable[str], *, words: bool = False) -> re.Pattern[str] | None:
    escaped = [re.escape(text) for text in sorted(texts, key=len, reverse=True)]
    if not escaped:
        return None
    pattern = "|".join(escaped)
    if words:
        pattern = rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])"
    return re.compile(pattern, re.IGNORECASE)


def _is_address(text: str) -> bool:
    """Whether it is an address that tells something: a time of day is none, nor is 127.0.0.1."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or text.startswith("255."))
