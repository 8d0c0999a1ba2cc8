"""What a promotion or demotion returned, and what is to be done then.

1 to 4 are successes and 0 does not exist: MicrosoftDocs/windowsserverdocs,
Troubleshooting-Domain-Controller-Deployment.md. The words are data (`tables/promotion.toml`).
Where a result carries its number is believed (FT48).
"""

import enum
import functools
import tomllib
from typing import Any

from builder import resources
from builder.record import record


class Remedy(enum.Enum):
    """What to do about a result."""

    DONE = "done"
    REBOOT = "reboot"  # restart, then the same again
    WAIT = "wait"
    MEND = "mend"  # nothing was made; mend the cause, resume
    CLEAN = "clean"  # something of that name is in the directory
    REBUILD = "rebuild"  # a half-made DC
    STOP = "stop"  # not to be tried again


@record
class PromotionResult:
    """A result in words. `code` -1: Windows told none."""

    code: int
    remedy: Remedy
    meaning: str
    next: str

    @property
    def success(self) -> bool:
        """Whether the server is what it was to become, after a restart."""
        return self.remedy is Remedy.DONE


def promotion_result(code: int) -> PromotionResult:
    """The result with that number; one that is not documented counts as a half-made DC."""
    row = _table().get(str(code))
    if row is None:
        told = f"the result {code} is not documented" if code >= 0 else "Windows told no result"
        return PromotionResult(
            code=code,
            remedy=Remedy.REBUILD,
            meaning=told,
            next=r"read dcpromo.log and dcpromoui.log below C:\Windows\debug before the next try",
        )
    return PromotionResult(
        code=code,
        remedy=Remedy(row["remedy"]),
        meaning=row["meaning"],
        next=row.get("next", ""),
    )


def known_results() -> tuple[PromotionResult, ...]:
    """Every documented result, by number."""
    return tuple(promotion_result(int(code)) for code in sorted(_table(), key=int))


@functools.cache
def _table() -> dict[str, Any]:
    with (resources.templates() / "tables" / "promotion.toml").open("rb") as file:
        return tomllib.load(file)
