"""What every rule asks of an answer file: passes, components, target, place-holders."""

import dataclasses
import enum
import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from builder import resources
from builder.answer.document import Document, Element
from builder.answer.rules.table import Finding, make_finding
from builder.answer.schema import Schema
from builder.record import record

SAME_RULE_LIMIT = 50  # findings of one rule that are told; a broken file may have thousands
NEAR_LIMIT = 100  # look-ups of similar names per file, so that no file can cost minutes
SEARCHED = 8192  # characters of one text that are searched; commands end at 1,024
SHOWN = 60  # characters of a file's own text that a message repeats

# Text that something will replace before Setup reads it: Jinja, Go, Terraform, Ruby, make.
PLACEHOLDER = re.compile(
    r"\{\{.{1,200}?\}\}|\{%.{1,200}?%\}|<%.{1,200}?%>|\$\{[^}]{1,200}\}|\$\([^)]{1,200}\)"
    r"|%\{[^}]{1,200}\}|#\{[^}]{1,200}\}|\[\[.{1,200}?\]\]|\bKVM_TEST_\w+",
    re.DOTALL,
)
# Marks that mean something else inside a longer text, as {searchTerms} in an address.
WHOLE_PLACEHOLDER = re.compile(
    r"@@?\w+@@?|__\w+__|\{[A-Za-z_]\w*\}|<[A-Z_]{3,}>|%[A-Za-z_]\w*%|\$[A-Za-z_]\w*|\[[A-Z_]{4,}\]"
)
# Blocks that choose between variants: such a file holds both branches at once.
CONTROL = re.compile(
    rb"\{%-?\s*(if|for|else|endif)\b|\{\{-?\s*[#/]?(if|range|else|end|each|with)\b"
    rb"|%\{~?\s*(endif|endfor)\b|<%[-=]?\s*(if|unless|else|end|@)?"  # %{ if is PowerShell as well
)
SIGNS = re.compile(r"[{%$@<\[#_]")  # without one of them nothing above can match


class AnswerKind(enum.Enum):
    """What the file is for: the whole installation, or only the passes of an installed image.

    A client unattend of WDS is read in Windows PE only, and chooses the image on the server.
    """

    SETUP = "setup"
    IMAGE = "image"
    WDS_CLIENT = "wds-client"


@record
class ServerRelease:
    """A Windows Server release: `driver_folders` are those of virtio-win that fit it."""

    id: str
    name: str
    build: int
    driver_folders: tuple[str, ...]


@record
class KmsKey:
    """What a KMS client setup key is for; `release` is "" outside the table of releases."""

    release: str
    edition_id: str


@record
class Tables:
    """`answer_templates/schema/lint-tables.json`. Driver folders are in lower case."""

    releases: Mapping[str, ServerRelease]
    driver_folders: frozenset[str]
    kms_keys: Mapping[str, KmsKey]
    image_names: tuple[str, ...]
    display_names: tuple[str, ...]


@functools.cache
def load_tables() -> Tables:
    """The names and numbers of this winseed."""
    raw = json.loads((resources.templates() / "schema" / "lint-tables.json").read_bytes())
    releases = {
        key: ServerRelease(
            id=key,
            name=row["name"],
            build=row["build"],
            driver_folders=tuple(folder.lower() for folder in row["driver_folders"]),
        )
        for key, row in raw["releases"].items()
    }
    folders = {folder for release in releases.values() for folder in release.driver_folders}
    return Tables(
        releases=releases,
        driver_folders=frozenset(folders | set(raw["other_driver_folders"])),
        kms_keys={key: KmsKey(**row) for key, row in raw["kms_keys"].items()},
        image_names=tuple(raw["image_names"]),
        display_names=tuple(raw["display_names"]),
    )


@record
class Block:
    """A component element with its pass and what stands about it in the schema's terms."""

    element: Element
    name: str
    passes: str
    architecture: str


@dataclasses.dataclass(kw_only=True)
class Answer:
    """One parsed answer file.

    `release` is the target, given or read from the image name or key in the file, or None.
    `client` tells that the file names an image of a Windows client; `kind_given` that the caller,
    not the file, says what it is for.
    """

    name: str
    document: Document
    schema: Schema
    tables: Tables
    kind: AnswerKind
    release: ServerRelease | None
    client: bool
    blocks: tuple[Block, ...]
    kind_given: bool = False
    suggestions: int = NEAR_LIMIT
    told: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def root(self) -> Element:
        """The element `unattend`."""
        return self.document.root

    def components(self, name: str, passes: str | None = None) -> list[Element]:
        """The elements of a component, in one pass or in all."""
        return [
            block.element
            for block in self.blocks
            if block.name == name and passes in {None, block.passes}
        ]

    def found(self, name: str, path: str, passes: str | None = None) -> Iterator[Element]:
        """Every element at a path below a component, list items included."""
        steps = path.split("/")
        for component in self.components(name, passes):
            yield from _below(component, steps)

    def finding(self, rule: str, element: Element, what: str, source: str = "") -> Finding:
        """The finding of a rule at an element; without a path where it will not be told."""
        self.told[rule] += 1
        return make_finding(
            rule,
            name=self.name,
            line=element.line,
            column=element.column,
            path=element.path if self.told[rule] <= SAME_RULE_LIMIT else "",
            what=what,
            source=source,
        )

    def near(self, name: str, names: frozenset[str]) -> str:
        """The known name that `name` is a misspelling of, or ""."""
        self.suggestions -= 1
        if self.suggestions < 0 or len(name) > SHOWN:
            return ""
        return nearest_name(name, names)


def _below(element: Element, steps: list[str]) -> Iterator[Element]:
    if not steps:
        yield element
        return
    for child in element.children:
        if child.name == steps[0]:
            yield from _below(child, steps[1:])


@functools.lru_cache(maxsize=256)
def nearest_name(name: str, names: frozenset[str]) -> str:
    """The name within two typing mistakes of `name` (one below eight letters), or ""."""
    folded = name.casefold()
    for known in names:
        if known.casefold() == folded:
            return known
    limit = 1 if len(folded) < 8 else 2
    best, distance = "", limit + 1
    for known in sorted(names):
        if abs(len(known) - len(folded)) < distance:
            apart = _distance(folded, known.casefold(), distance)
            if apart < distance:
                best, distance = known, apart
    return best


def _distance(left: str, right: str, limit: int) -> int:
    """The edit distance with swaps, or `limit` when it is not smaller."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, before_above, row = row, before, [i]
        for j, b in enumerate(right, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if before_above and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before_above[j - 2] + 1)
            row.append(cost)
        before = above
        if min(row) >= limit:
            return limit
    return row[-1]


def is_placeholder(text: str) -> bool:
    """Whether something is to be filled in before Setup reads the text."""
    if text.isalnum() or SIGNS.search(text, 0, SEARCHED) is None:
        return False
    whole = text.strip() if len(text) <= SEARCHED else ""
    if WHOLE_PLACEHOLDER.fullmatch(whole):
        return True
    return PLACEHOLDER.search(text, 0, SEARCHED) is not None


def is_secret_placeholder(text: str) -> bool:
    """Whether a place-holder is all of a text that may be a password, as `$ecret` is."""
    text = text.strip()
    if len(text) > SEARCHED:
        return False
    if PLACEHOLDER.fullmatch(text):
        return True
    return text[:1] not in {"$", "@"} and WHOLE_PLACEHOLDER.fullmatch(text) is not None


def shown(text: str) -> str:
    """Text of the file as a message repeats it: short, on one line, nothing a terminal obeys.

    Never for text that may be a secret.
    """
    plain = "".join(c if c.isprintable() else " " for c in text[: SHOWN + 1]).strip()
    return f'"{plain[:SHOWN]}..."' if len(text) > SHOWN else f'"{plain}"'


def is_true(text: str) -> bool:
    """Whether a boolean setting is true, as Setup reads it in practice (true, True, 1)."""
    return text.strip().lower() in {"true", "1"}


def is_false(text: str) -> bool:
    """Whether a boolean setting is written as false."""
    return text.strip().lower() in {"false", "0"}


def number(text: str) -> int | None:
    """A decimal number without sign, of sensible length, or None."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
