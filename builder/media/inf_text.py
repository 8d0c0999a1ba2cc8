r"""The text form of INF files: encodings, sections, fields, comments, string tokens.

Sources: learn.microsoft.com/windows-hardware/drivers/install/general-syntax-rules-for-inf-files and
inf-strings-section; where these leave a form open, Wine's reading (dlls/setupapi/parser.c): the
first `=` makes a key unless a comma stands before it, Ctrl-Z ends the file, an open quotation mark
closes at the end of the line, an unknown `%token%` stays as it is.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from builder.errors import ExitCode, WinseedError
from builder.record import record

_LARGEST = 4 << 20  # bytes; the INFs of virtio-win have at most 16 KB
_LONGEST_NAME = 255  # characters of a section name
_LONGEST_STRING = 4096  # characters of a string after substitution
_DEEPEST = 16  # strings within strings
_MOST_TEXT = 16 << 20  # characters of all fields after substitution
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_TOKEN = re.compile(
    r'(?P<quoted>"[^"]*(?:""[^"]*)*"?)|(?P<string>%[^%",=\s]*%)|(?P<comment>;.*)'
    r"|(?P<mark>[,=])|(?P<more>\\++[ \t]*+(?:;.*)?$)|(?P<blank>[ \t\f\v]+)"
    r'|(?P<plain>[^",=;%\\\s]+|\\++|.)'
)


@record
class InfLine:
    """An entry: `key = field, field` or, with an empty key, `field, field`."""

    number: int
    key: str
    fields: tuple[str, ...]


@record
class InfText:
    """The sections of an INF file, string tokens replaced; names in any case."""

    name: str
    sections: Mapping[str, tuple[InfLine, ...]]

    def lines(self, section: str) -> tuple[InfLine, ...]:
        """The entries of a section, all its parts together; empty when there is none."""
        return self.sections.get(section.casefold(), ())

    def values(self, section: str, key: str) -> tuple[str, ...]:
        """The fields of the first entry with this key; empty when there is none."""
        wanted = key.casefold()
        return next((one.fields for one in self.lines(section) if one.key.casefold() == wanted), ())

    def value(self, section: str, key: str) -> str:
        """The first field of the first entry with this key, or an empty text."""
        return next(iter(self.values(section, key)), "")

    def bad(self, number: int, what: str) -> WinseedError:
        """The error for something wrong in a line."""
        return _bad(self.name, number, what)


def load_inf_text(data: bytes, *, name: str) -> InfText:
    """Split an INF file into sections. Raises WinseedError (MEDIA), with the line."""
    sections: dict[str, list[InfLine]] = {}
    current: list[InfLine] | None = None
    for number, line in _logical_lines(_decode(data, name)):
        if line.lstrip().startswith("["):
            current = sections.setdefault(_section_name(name, number, line).casefold(), [])
            continue
        entry = _load_line(number, line)
        if entry is None:
            continue
        if current is None:
            raise _bad(name, number, "an entry stands before the first [section]")
        current.append(entry)
    if "version" not in sections:
        raise _bad(name, 1, "there is no section [Version], so this is not an INF file")
    strings = _Strings(name, sections)
    return InfText(
        name=name,
        sections=MappingProxyType(
            {
                key: tuple(strings.replace_in(line) for line in lines)
                for key, lines in sections.items()
            }
        ),
    )


def _bad(name: str, number: int, what: str) -> WinseedError:
    return WinseedError(
        f"{name}, line {number}: {what}",
        code=ExitCode.MEDIA,
        hint="take the driver from the virtio-win ISO again",
    )


def _decode(data: bytes, name: str) -> str:
    if len(data) > _LARGEST:
        raise _bad(name, 1, f"the file has {len(data)} bytes, an INF file at most {_LARGEST}")
    mark, encoding = next((one for one in _BOMS if data.startswith(one[0])), (b"", "utf-8"))
    body = data[len(mark) :]
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        if mark:
            number = body[: error.start].decode(encoding, "ignore").count("\n") + 1
            raise _bad(name, number, f"this is not {encoding.upper()}") from error
        text = body.decode("cp1252", errors="replace")
    text = text.split("\x1a", 1)[0]
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise _bad(name, number, "binary zeros: no text, or UTF-16 without a byte order mark")
    return text


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, each joined with those a trailing backslash continues it by.

    A comment is cut off a line that is continued, and nowhere else.
    """
    first, parts = 0, list[str]()
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        first = first if parts else number
        more = None
        if "\\" in line:
            more = next((m for m in _TOKEN.finditer(line) if m.lastgroup == "more"), None)
        parts.append(line[: more.start()] if more else line)
        if more is None:
            yield first, "".join(parts)
            parts = []
    if parts:
        yield first, "".join(parts)


def _section_name(name: str, number: int, line: str) -> str:
    section, bracket, _ = line.lstrip()[1:].partition("]")
    if not bracket:
        raise _bad(name, number, "a section name has no closing ]")
    if len(section) > _LONGEST_NAME:
        raise _bad(name, number, f"a section name has more than {_LONGEST_NAME} characters")
    return section.strip()


def _load_line(number: int, line: str) -> InfLine | None:
    """Split a line into key and fields. None for an empty one."""
    key, fields, field = "", list[str](), list[tuple[str, bool]]()
    keyed, empty = False, True
    for match in _TOKEN.finditer(line):
        text, kind = match[0], match.lastgroup
        if kind == "comment":
            break
        empty = empty and kind == "blank"
        if kind == "quoted":
            field.append((text[1:].removesuffix('"').replace('""', '"'), True))
        elif kind == "mark" and text == "=" and not keyed and not fields:
            key, field, keyed = _joined(field), [], True
        elif kind == "mark" and text == ",":
            fields.append(_joined(field))
            field = []
        else:
            field.append((text, False))
    if empty:
        return None
    return InfLine(number=number, key=key, fields=(*fields, _joined(field)))


def _joined(pieces: list[tuple[str, bool]]) -> str:
    """A field without the blanks around it; those inside quotation marks stay."""
    while pieces and not pieces[0][1] and pieces[0][0].isspace():
        pieces = pieces[1:]
    while pieces and not pieces[-1][1] and pieces[-1][0].isspace():
        pieces = pieces[:-1]
    return "".join(text for text, _ in pieces)


class _Strings:
    """The Strings sections. A language of its own (`Strings.0407`) fills what [Strings] leaves."""

    def __init__(self, name: str, sections: Mapping[str, list[InfLine]]) -> None:
        self._name = name
        self._raw: dict[str, InfLine] = {}
        self._ready: dict[str, str] = {}
        self._open: list[str] = []
        self._left = _MOST_TEXT
        for section in sorted(s for s in sections if re.fullmatch(r"strings(\.[0-9a-f]{4})?", s)):
            for line in sections[section]:
                self._raw.setdefault(line.key.casefold(), line)

    def replace_in(self, line: InfLine) -> InfLine:
        """The line with every known %token% replaced, %% by %."""
        if "%" not in line.key and not any("%" in field for field in line.fields):
            return line
        return InfLine(
            number=line.number,
            key=self._replace(line.key, line.number),
            fields=tuple(self._replace(field, line.number) for field in line.fields),
        )

    def _replace(self, text: str, number: int) -> str:
        parts, length = [], 0
        for index, part in enumerate(re.split(r"%([^%]*)%", text)):
            new = self._string(part, number) if index % 2 else part
            length += len(new)
            self._left -= len(new)
            if index and length > _LONGEST_STRING:
                raise _bad(
                    self._name, number, f"a string grows beyond {_LONGEST_STRING} characters"
                )
            if self._left < 0:
                raise _bad(self._name, number, "the strings of this file grow without end")
            parts.append(new)
        return "".join(parts)

    def _string(self, token: str, number: int) -> str:
        if not token:
            return "%"
        key = token.casefold()
        line = self._raw.get(key)
        if line is None or key in self._open:
            return f"%{token}%"
        if key not in self._ready:
            if len(self._open) == _DEEPEST:
                raise _bad(self._name, number, f"%{token[:40]}% leads through too many strings")
            self._open.append(key)
            self._ready[key] = self._replace(line.fields[0], line.number)
            self._open.pop()
        return self._ready[key]
