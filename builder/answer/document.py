"""XML text as a tree that knows where everything stands: line and column of each element.

The standard expat is used, not lxml: it gives exact columns, and it takes files that Windows takes
and libxml2 refuses (a blank at the end of a namespace name, two public answer files). Nothing
outside the text is ever read, and no entity that the text declares is expanded.
"""

import codecs
import dataclasses
import re
from collections.abc import Iterator
from typing import NoReturn
from xml.parsers import expat

from builder.record import record

BYTE_LIMIT = 64 * 1024 * 1024
ELEMENT_LIMIT = 10_000  # the largest of 247 public answer files has 324
DEPTH_LIMIT = 64
TEXT_LIMIT = 64 * 1024  # characters kept of one element's text; no setting is that long

UNATTEND = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
SEPARATOR = "\x1f"  # cannot stand in XML, so no namespace name holds it

DECLARED = re.compile(rb"""<\?xml[^>]{0,400}?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
UTF16_STARTS = {
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
# text encodings of Windows and of the older standards, by the names of Python's codecs
FOREIGN = re.compile(
    r"ascii|(cp|mac-|koi8-)\w+|iso8859-\d+|gbk|gb2312|gb18030|big5|shift_jis|euc_\w+"
)


@dataclasses.dataclass(slots=True, eq=False)
class Element:
    """An XML element. `line` and `column` count from 1 and point at its `<`.

    `name` is local; `space` is its namespace. Attributes of a namespace are keyed `space\\x1fname`.
    """

    space: str
    name: str
    attributes: dict[str, str]
    line: int
    column: int
    parent: "Element | None"
    children: "list[Element]" = dataclasses.field(default_factory=list)
    text: str = ""

    def child(self, name: str) -> "Element | None":
        """The first child of that name."""
        for child in self.children:
            if child.name == name:
                return child
        return None

    def every(self, name: str) -> "list[Element]":
        """Every child of that name."""
        return [child for child in self.children if child.name == name]

    def find(self, path: str) -> "Element | None":
        """The first descendant at a path as `UserData/ProductKey/Key`."""
        found: Element | None = self
        for name in path.split("/"):
            found = found.child(name) if found is not None else None
        return found

    def value(self, path: str) -> str:
        """The text at a path without the white space around it; "" when it is missing."""
        found = self.find(path)
        return found.text.strip() if found is not None else ""

    def walk(self) -> "Iterator[Element]":
        """This element and all below it, in the order of the text."""
        stack = [self]
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.children))

    def wcm(self, name: str) -> str | None:
        """The attribute `wcm:<name>`."""
        return self.attributes.get(f"{WCM}{SEPARATOR}{name}")

    @property
    def path(self) -> str:
        """Where it stands, as `/unattend/settings[@pass='auditUser']/component[@name='X']/Y`."""
        steps: list[str] = []
        element: Element | None = self
        while element is not None:
            steps.append(_step(element))
            element = element.parent
        return "/" + "/".join(reversed(steps))


def _step(element: Element) -> str:
    for key in ("pass", "name"):
        if element.name in {"settings", "component"} and key in element.attributes:
            return f"{element.name}[@{key}='{element.attributes[key][:100]}']"
    if element.parent is None:
        return element.name
    same = element.parent.every(element.name)
    if len(same) == 1:
        return element.name
    return f"{element.name}[{same.index(element) + 1}]"


@record
class Document:
    """A well-formed file; `doctype` is the place of a DOCTYPE without declarations.

    `elements` are all elements in the order of the text.
    """

    root: Element
    doctype: tuple[int, int] | None
    elements: tuple[Element, ...]


@record
class Broken:
    """A file without a tree, and why: `cause` is the id of a rule."""

    cause: str
    what: str
    line: int
    column: int


def load_document(text: bytes) -> Document | Broken:
    """The tree of an XML file; never raises, whatever the bytes are.

    Time and memory are bounded by `BYTE_LIMIT`, `ELEMENT_LIMIT` and `DEPTH_LIMIT`.
    """
    if len(text) > BYTE_LIMIT:
        what = f"the file has more than {BYTE_LIMIT // 1024 // 1024} MiB"
        return Broken(cause="WS004", what=what, line=1, column=1)
    try:
        prepared = _utf8(text)
    except (LookupError, UnicodeError) as error:
        return Broken(cause="WS003", what=_reason(error), line=1, column=1)
    reader = _Reader(prepared)
    try:
        reader.parser.Parse(prepared, True)  # noqa: FBT003  # expat's own signature
    except _StopError as stop:
        return stop.broken
    except expat.ExpatError as error:
        what = f"not well-formed XML: {expat.errors.messages[error.code]}"
        return Broken(cause="WS001", what=what, line=error.lineno, column=error.offset + 1)
    if reader.root is None:  # expat reports this itself; the type checker cannot know
        return Broken(cause="WS001", what="there is no element", line=1, column=1)
    return Document(root=reader.root, doctype=reader.doctype, elements=tuple(reader.elements))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not {error.encoding}"
    return str(error)


def _utf8(text: bytes) -> bytes:
    """The file in UTF-8, whatever encoding it has or declares."""
    start = UTF16_STARTS.get(text[:2])
    if start is not None:
        return text.decode(start).encode("utf-8")
    text = text.removeprefix(codecs.BOM_UTF8)  # no editor counts it as a column
    found = DECLARED.match(text)
    if found is None:
        return text
    name = found[1].decode("ascii")
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        raise LookupError(f"nobody knows the encoding {name[:40]!r}") from None
    if codec == "utf-8":
        return text
    if codec.startswith("utf-16"):
        raise UnicodeError("it declares UTF-16 and is something else")
    if not FOREIGN.fullmatch(codec):
        raise LookupError(f"{name[:40]!r} is no encoding of XML files")
    return text.decode(codec).encode("utf-8")


class _StopError(Exception):
    """The file is not read any further."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(broken.what)
        self.broken = broken


class _Reader:
    """Builds the tree from expat's events."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.root: Element | None = None
        self.doctype: tuple[int, int] | None = None
        self.elements: list[Element] = []
        self.depth = 0
        self.open: Element | None = None
        # the encoding is forced, so that no declaration reaches Python's codecs through expat
        self.parser = parser = expat.ParserCreate("utf-8", SEPARATOR)
        parser.buffer_text = True
        parser.buffer_size = TEXT_LIMIT
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.data
        parser.StartDoctypeDeclHandler = self.start_doctype

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(SEPARATOR)
        parser, above = self.parser, self.open
        line, column = parser.CurrentLineNumber, parser.CurrentColumnNumber + 1
        element = Element(space, local, attributes, line, column, above)
        if above is None:
            self.root = element
        else:
            above.children.append(element)
        self.open = element
        self.elements.append(element)
        self.depth += 1
        if len(self.elements) > ELEMENT_LIMIT:
            self.stop("WS004", f"more than {ELEMENT_LIMIT} elements")
        if self.depth > DEPTH_LIMIT:
            self.stop("WS004", f"elements nested deeper than {DEPTH_LIMIT}")

    def end(self, _name: str) -> None:
        assert self.open is not None  # noqa: S101  # expat ends only what it has started
        self.open = self.open.parent
        self.depth -= 1

    def data(self, text: str) -> None:
        element = self.open
        if element is not None and len(element.text) < TEXT_LIMIT:
            element.text = element.text + text if element.text else text

    def start_doctype(
        self,
        _name: str,
        _system: str | None,
        _public: str | None,
        has_subset: bool,  # noqa: FBT001  # expat calls it
    ) -> None:
        # expat tells of it when the declaration ends or its declarations begin
        start = self.text.rfind(b"<!DOCTYPE", 0, self.parser.CurrentByteIndex + 1)
        begin = self.text.rfind(b"\n", 0, start) + 1
        line = self.text.count(b"\n", 0, start) + 1
        self.doctype = (line, len(self.text[begin:start].decode("utf-8", "replace")) + 1)
        if has_subset:
            # entities could expand without end, attribute defaults could multiply the text
            what = "a DOCTYPE with declarations; they were not read"
            line, column = self.doctype
            raise _StopError(Broken(cause="WS002", what=what, line=line, column=column))

    def stop(self, cause: str, what: str) -> NoReturn:
        line, column = self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1
        raise _StopError(Broken(cause=cause, what=what, line=line, column=column))
