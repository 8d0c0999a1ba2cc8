"""A row of the preflight as it turned out."""

import enum

from builder.record import record


class Level(enum.Enum):
    """How much a finding weighs."""

    OK = "ok"
    WARN = "warn"
    STOP = "stop"  # unless it is accepted by its id
    HARD = "never"  # no flag overrides it


@record
class Finding:
    """Something that was looked at; `id` is what `--accept` takes."""

    id: str
    level: Level
    what: str
    hint: str = ""


def fine(name: str, what: str) -> Finding:
    """As it should be."""
    return Finding(id=name, level=Level.OK, what=what)


def warn(name: str, what: str, hint: str) -> Finding:
    """Worth knowing."""
    return Finding(id=name, level=Level.WARN, what=what, hint=hint)


def stop(name: str, what: str, hint: str) -> Finding:
    """To be mended, or accepted by who knows better."""
    return Finding(id=name, level=Level.STOP, what=what, hint=f"{hint}; or --accept {name}")


def hard(name: str, what: str, hint: str) -> Finding:
    """To be mended."""
    return Finding(id=name, level=Level.HARD, what=what, hint=hint)
