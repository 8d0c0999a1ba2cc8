"""The vocabulary of answer files: components, their settings, passes, types and limits.

The data lie in `answer_templates/schema/unattend-schema.json` with their sources (the Unattended
Windows Setup Reference up to Windows 10 1809 / Server 2019). A component is built when it is
first asked for: most files use ten of 82.
"""

import dataclasses
import enum
import functools
import json
import re
from typing import Any

from builder import resources

PASSES = (
    "windowsPE",
    "offlineServicing",
    "generalize",
    "specialize",
    "auditSystem",
    "auditUser",
    "oobeSystem",
)


class Kind(enum.Enum):
    """What an element of the answer file is: see `fields` in the data."""

    CONTAINER = "container"
    LIST = "list"
    LIST_ITEM = "list_item"
    LIST_LEAF = "list_leaf"
    LEAF = "leaf"


class ValueType(enum.Enum):
    """The type of a leaf's text."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setting:
    """One element below a component. Lengths count characters, or bytes where the data say so.

    `key` is the child that identifies a list item, or `@keyValue`. `empty` False: must not be
    empty. `doc` is the address of the reference page.
    """

    path: str
    kind: Kind
    passes: frozenset[str]
    doc: str
    type: ValueType = ValueType.STRING
    enum: tuple[str, ...] = ()
    undocumented_values: tuple[str, ...] = ()
    special_values: tuple[str, ...] = ()
    range: tuple[int, int] | None = None
    min_length: int = 0
    max_length: int = 0
    length_unit: str = "characters"
    pattern: re.Pattern[str] | None = None
    format: str = ""
    list_separator: str = ""
    forbidden_chars: frozenset[str] = frozenset()
    forbidden_values: tuple[str, ...] = ()
    empty: bool = True
    required: bool = False
    key: str = ""
    child_order: tuple[str, ...] = ()
    since: str = ""
    since_build: int = 0
    deprecated: bool = False
    deprecated_in: str = ""
    removed_in: str = ""
    do_not_use: bool = False
    tolerated_passes: frozenset[str] = frozenset()
    children: "dict[str, Setting]" = dataclasses.field(default_factory=dict)
    required_children: tuple[str, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether it holds text and no elements."""
        return self.kind is Kind.LEAF or self.kind is Kind.LIST_LEAF

    @property
    def has_history(self) -> bool:
        """Whether it is newer, older or less wanted than the rest."""
        return bool(self.since or self.deprecated or self.removed_in or self.do_not_use)

    @property
    def is_repeatable(self) -> bool:
        """Whether several of it may stand side by side."""
        return self.kind is Kind.LIST_ITEM or self.kind is Kind.LIST_LEAF


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Component:
    """A component of the reference. `client_only` says why, or is empty."""

    name: str
    passes: frozenset[str]
    tolerated_passes: frozenset[str]
    since: str
    since_build: int
    server_only: bool
    client_only: str
    children: dict[str, Setting]
    settings: dict[str, Setting]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Legacy:
    """A setting that older references know and this one does not; Setup still accepts it."""

    path: str
    known_from: str
    removed_in: str


class Schema:
    """All components, built on demand."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._components: dict[str, Any] = table["components"]
        self._doc_base: str = table["doc_base"]
        self._built: dict[str, Component] = {}
        self.names = frozenset(self._components)
        self.other_names = frozenset(
            name for names in table["other_components"].values() for name in names
        )
        self._legacy = {(row["component"], row["path"]): row for row in table["legacy"]}

    def component(self, name: str) -> Component | None:
        """The component of that name, or None when the reference has none."""
        built = self._built.get(name)
        if built is None and name in self._components:
            built = self._built[name] = _component(name, self._components[name], self._doc_base)
        return built

    def legacy(self, component: str, path: str) -> Legacy | None:
        """The older setting at that path, or None."""
        row = self._legacy.get((component, path))
        if row is None:
            return None
        return Legacy(
            path=path, known_from=row.get("known_from", ""), removed_in=row.get("removed_in", "")
        )


@functools.cache
def load_schema() -> Schema:
    """The schema of this winseed."""
    path = resources.templates() / "schema" / "unattend-schema.json"
    return Schema(json.loads(path.read_bytes()))


def _component(name: str, row: dict[str, Any], doc_base: str) -> Component:
    children: dict[str, Setting] = {}
    settings: dict[str, Setting] = {}
    required: dict[str, list[str]] = {}
    for path, facts in row["settings"].items():
        above, _, leaf = path.rpartition("/")
        if facts.get("required"):
            required.setdefault(above, []).append(leaf)
    for path, facts in row["settings"].items():
        setting = _setting(name, path, facts, row["passes"], doc_base, required.get(path, ()))
        settings[path] = setting
    for path, setting in settings.items():
        above, _, leaf = path.rpartition("/")
        siblings = settings[above].children if above else children
        siblings[leaf] = setting
        spelled = row["settings"][path].get("also_spelled")
        if spelled:
            siblings.setdefault(spelled, setting)
    return Component(
        name=name,
        passes=frozenset(row["passes"]),
        tolerated_passes=frozenset(row.get("tolerated_passes", ())),
        since=row.get("since", ""),
        since_build=row.get("since_build", 0),
        server_only=row.get("server_only", False),
        client_only=row.get("client_only", ""),
        children=children,
        settings=settings,
    )


def _setting(
    component: str,
    path: str,
    facts: dict[str, Any],
    passes: list[str],
    doc_base: str,
    required: "tuple[str, ...] | list[str]",
) -> Setting:
    page = facts.get("doc", f"{component}-{path.replace('/', '-')}".lower())
    pattern = facts.get("pattern")
    low_high = facts.get("range")
    return Setting(
        path=path,
        kind=Kind(facts.get("kind", "leaf")),
        passes=frozenset(facts.get("passes", passes)),
        doc=doc_base + page if page else "",
        type=ValueType(facts.get("type", "string")),
        enum=tuple(facts.get("enum", ())),
        undocumented_values=tuple(facts.get("undocumented_values", ())),
        special_values=tuple(facts.get("special_values", ())),
        range=(low_high[0], low_high[1]) if low_high else None,
        min_length=facts.get("min_length", 0),
        max_length=facts.get("max_length", 0),
        length_unit=facts.get("length_unit", "characters"),
        pattern=re.compile(pattern) if pattern else None,
        format=facts.get("format", ""),
        list_separator=facts.get("list_separator", ""),
        forbidden_chars=frozenset(facts.get("forbidden_chars", "")),
        forbidden_values=tuple(facts.get("forbidden_values", ())),
        empty=facts.get("empty", True),
        required=facts.get("required", False),
        key=facts.get("key", ""),
        child_order=tuple(facts.get("child_order", ())),
        since=facts.get("since", ""),
        since_build=facts.get("since_build", 0),
        deprecated=facts.get("deprecated", False) or "deprecated_in" in facts,
        deprecated_in=facts.get("deprecated_in", ""),
        removed_in=facts.get("removed_in", ""),
        do_not_use=facts.get("do_not_use", False),
        tolerated_passes=frozenset(facts.get("tolerated_passes", ())),
        required_children=tuple(required),
    )
