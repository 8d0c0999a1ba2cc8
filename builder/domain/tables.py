"""What is data about domain controllers: functional levels, and what each release asks for."""

import functools
import tomllib
from typing import Any

from builder import resources
from builder.record import record


@record
class DcRelease:
    """What a release asks for as a DC; levels in the words of Install-ADDSForest.

    `frs`: it can replicate SYSVOL by FRS. `firewall_revision`: the first revision whose network
    profile is right after a restart (0: every one), `firewall_update` the update that brought it.
    """

    lowest_level: str
    highest_level: str
    frs: bool
    firewall_revision: int
    firewall_update: str


def dc_release(release: str) -> DcRelease:
    """The row of a release id, which must be one of `builder.releases.release_ids()`."""
    row = _table()["release"][release]
    return DcRelease(
        lowest_level=row["lowest_level"],
        highest_level=row["highest_level"],
        frs=row["frs"],
        firewall_revision=row.get("firewall_revision", 0),
        firewall_update=row.get("firewall_update", ""),
    )


def level_number(level: str) -> int:
    """The number of a functional level (msDS-Behavior-Version): WinThreshold is 7."""
    number: int = _table()["levels"][level]
    return number


def level_name(number: int) -> str:
    """A functional level by its number; a level that has no documented name by the number."""
    names = {value: name for name, value in _table()["levels"].items()}
    return str(names.get(number, f"level {number}"))


@functools.cache
def _table() -> dict[str, Any]:
    with (resources.templates() / "tables" / "domain.toml").open("rb") as file:
        return tomllib.load(file)
