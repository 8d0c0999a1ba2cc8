"""The rule table, and what a rule that fires says."""

import enum
import functools
import json

from builder import resources
from builder.record import record


class Level(enum.Enum):
    """How sure and how bad: an error stops Setup or loses what was asked for, by evidence."""

    ERROR = "error"
    WARNING = "warning"
    ADVICE = "advice"


@record
class Rule:
    """One row of the table.

    `mark` is the weight of `effect`: F read in a document, V seen in files or tests, R reported in
    public, I inferred, B belief.
    """

    id: str
    level: Level
    title: str
    effect: str
    fix: str
    source: str
    mark: str


@record
class Finding:
    """A rule that fired. `name` is the file; `line` and `column` count from 1; `path` is XML's."""

    id: str
    level: Level
    name: str
    line: int
    column: int
    path: str
    what: str
    effect: str
    fix: str
    source: str


@functools.cache
def load_rules() -> dict[str, Rule]:
    """Every rule by its id, in the order of the table."""
    path = resources.templates() / "schema" / "rules.json"
    rows = json.loads(path.read_bytes())["rules"]
    return {row["id"]: Rule(**{**row, "level": Level(row["level"])}) for row in rows}


def make_finding(
    rule: str, *, name: str, line: int, column: int, path: str, what: str, source: str = ""
) -> Finding:
    """The finding of a rule at a place; `source` where one is nearer than the rule's own."""
    row = load_rules()[rule]
    return Finding(
        id=row.id,
        level=row.level,
        name=name,
        line=line,
        column=column,
        path=path,
        what=what,
        effect=row.effect,
        fix=row.fix,
        source=source or row.source,
    )
