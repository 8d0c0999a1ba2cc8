"""`answer_templates/field_rules.toml` as values: kinds of files, private names, facts, rules."""

import enum
import fnmatch
import functools
import re
import tomllib
from typing import Any

from builder import resources
from builder.record import record


class Finding(enum.Enum):
    """What a run says of a belief."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_SEEN = "not seen"


@record
class FileKind:
    """Files of one kind: shell patterns of their names; logs, or documents with paths to keep."""

    key: str
    names: tuple[str, ...]
    text: bool = False
    keep: tuple[str, ...] = ()


@record
class LogFact:
    """A line like this in a log of these kinds."""

    kinds: tuple[str, ...]
    pattern: re.Pattern[str]


@record
class ValueFact:
    """Values at a path of a document: one of `wanted` among them, or with `alone` no others."""

    kind: str
    path: str
    wanted: tuple[Any, ...]
    alone: bool = False


@record
class Rule:
    """What a belief is when every fact of `every` and none of `none` is seen, and why."""

    belief: str
    means: Finding
    every: tuple[str, ...]
    none: tuple[str, ...]
    why: str
    guess: bool


@record
class PrivateName:
    """Where a document of a kind names something private, and what sort of thing that is."""

    kind: str
    sort: str
    path: str


@record
class FieldTables:
    """The whole file."""

    kinds: tuple[FileKind, ...]
    private: tuple[PrivateName, ...]
    common: frozenset[str]
    facts: dict[str, LogFact | ValueFact]
    rules: tuple[Rule, ...]
    out_of_sight: dict[str, str]

    def kind_of(self, name: str) -> FileKind | None:
        """The kind of a file by its name, in any case; None when it is of no use."""
        for kind in self.kinds:
            if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in kind.names):
                return kind
        return None


@functools.cache
def load_tables() -> FieldTables:
    """The tables, read once."""
    with (resources.templates() / "field_rules.toml").open("rb") as file:
        table = tomllib.load(file)
    private = dict(table["private"])
    common = frozenset(private.pop("common"))
    return FieldTables(
        kinds=tuple(
            FileKind(
                key=key,
                names=tuple(row["names"]),
                text=row.get("text", False),
                keep=tuple(row.get("keep", ())),
            )
            for key, row in table["kind"].items()
        ),
        private=tuple(
            PrivateName(kind=kind, sort=sort, path=path)
            for kind, sorts in private.items()
            for sort, paths in sorts.items()
            for path in paths
        ),
        common=common,
        facts={key: _fact(row) for key, row in table["fact"].items()},
        rules=tuple(_rule(row) for row in table["rule"]),
        out_of_sight=table["out_of_sight"],
    )


def _fact(row: dict[str, Any]) -> LogFact | ValueFact:
    if "log" in row:
        return LogFact(kinds=tuple(row["log"]), pattern=re.compile(row["pattern"]))
    wanted = row.get("only", row.get("has", row.get("is")))
    return ValueFact(
        kind=row["document"],
        path=row["path"],
        wanted=tuple(wanted) if isinstance(wanted, list) else (wanted,),
        alone="only" in row,
    )


def _rule(row: dict[str, Any]) -> Rule:
    return Rule(
        belief=row["belief"],
        means=Finding(row["means"]),
        every=tuple(row["all"]),
        none=tuple(row.get("none", ())),
        why=row["why"],
        guess=row.get("guess", False),
    )


def values_at(document: Any, path: str) -> list[Any]:
    """Every value at a dotted path of JSON values; `*` is every element of a list or an object."""
    found = [document]
    for part in path.split("."):
        step: list[Any] = []
        for value in found:
            if part == "*":
                step += value if isinstance(value, list) else []
                step += value.values() if isinstance(value, dict) else []
            elif isinstance(value, dict) and part in value:
                step.append(value[part])
        found = step
    return found


def kept_values(document: Any, paths: tuple[str, ...]) -> Any:
    """A copy of JSON values that holds only what lies at these paths."""
    parts = [path.split(".") for path in paths]
    return _kept(document, parts)


def _kept(value: Any, paths: list[list[str]]) -> Any:
    if any(not path for path in paths):
        return value
    if isinstance(value, list):
        inner = [path[1:] for path in paths if path[0] == "*"]
        return [_kept(item, inner) for item in value] if inner else []
    if not isinstance(value, dict):
        return None  # another shape than expected: nothing of it is known to be harmless
    kept = {}
    for key, item in value.items():
        inner = [path[1:] for path in paths if path[0] in {key, "*"}]
        if inner:
            kept[key] = _kept(item, inner)
    return kept
