"""Which case a reinstallation is: the old DC goes in good order, it is dead, or it is the last.

An unreachable partner looks exactly like no partner, so only what was proven counts. The rule:
SupportArticles-docs, active-directory/transfer-or-seize-operation-master-roles-in-ad-ds.md;
without another writable DC it is forest recovery, which no installation replaces.
"""

import enum
from collections.abc import Iterable

from builder.record import record


class Case(enum.Enum):
    """What is done to the old DC."""

    NEW = "new"  # there is none of that name
    GRACEFUL = "A"  # it runs and reaches its partners: demoted
    DEAD = "B"  # it is dead or cut off: cleaned up from another DC
    LAST = "C"  # it is the last writable one, or nobody could prove otherwise: refused


@record
class OtherDc:
    """A DC of the domain as the partner sees it; `ldap` and `rpc`: it answered there just now.

    `sysvol`: it shares SYSVOL. None where it was not told.
    """

    name: str
    writable: bool
    ldap: bool | None
    rpc: bool | None
    sysvol: bool | None

    @property
    def proven(self) -> bool:
        """Whether it is a writable DC that was seen alive with a SYSVOL of its own."""
        return self.writable and self.ldap is True and self.rpc is True and self.sysvol is True


class OldDc(enum.Enum):
    """The DC that is to be replaced, as far as it was seen."""

    ABSENT = "absent"  # neither a VM nor an object of that name
    REPLICATING = "replicating"  # its agent answers and it reaches partners both ways
    CUT_OFF = "cut off"  # its agent answers, its partners are not reached
    SILENT = "silent"  # nothing answers, or nobody knows


@record
class CaseChoice:
    """The case and the sentence that gives its reason."""

    case: Case
    reason: str


def choose_case(old: OldDc, others: Iterable[OtherDc], *, target: str) -> CaseChoice:
    """The case, from what was proven. `target` is the old DC's host name, any case."""
    short = target.partition(".")[0].casefold()
    rest = [dc for dc in others if dc.name.partition(".")[0].casefold() != short]
    proven = [dc.name for dc in rest if dc.proven]
    if old is OldDc.ABSENT:
        return CaseChoice(case=Case.NEW, reason=f"there is no {target} in the domain")
    if not proven:
        seen = ", ".join(dc.name for dc in rest if dc.writable) or "none is known"
        return CaseChoice(
            case=Case.LAST,
            reason=f"no other writable domain controller is proven alive ({seen})",
        )
    alive = ", ".join(proven)
    if old is OldDc.REPLICATING:
        return CaseChoice(case=Case.GRACEFUL, reason=f"{target} runs and replicates; {alive} stays")
    return CaseChoice(case=Case.DEAD, reason=f"{target} is {old.value}; {alive} is alive")
