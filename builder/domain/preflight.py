"""Whether a reinstallation may begin: every row of the preflight table, judged on facts. Pure.

What nobody told counts as bad. A finding is either mended, or accepted by its id; those that no
flag accepts protect the domain itself. Sources stand beside each rule in `preflight_rows.py`.
"""

import enum
from collections.abc import Collection, Iterable
from typing import Any

from builder.domain.cases import Case, CaseChoice, OldDc, choose_case
from builder.domain.facts import DcFacts, PartnerFacts, TargetFacts, short_name
from builder.domain.findings import Finding, Level, hard
from builder.domain.plan import DcPlan, Mode
from builder.domain.preflight_rows import PARTNER_ROWS, ROWS
from builder.record import record


class Held(enum.Enum):
    """What a preflight says."""

    YES = "held"
    NO = "refused"


@record
class Preflight:
    """The case and every finding; `accepted` are the ids that the caller took on."""

    choice: CaseChoice
    findings: tuple[Finding, ...]
    accepted: frozenset[str]

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """What has to be mended or accepted."""
        return tuple(
            finding
            for finding in self.findings
            if finding.level is Level.HARD
            or (finding.level is Level.STOP and finding.id not in self.accepted)
        )

    @property
    def held(self) -> Held:
        """Whether it may begin."""
        return Held.NO if self.blocking or self.choice.case is Case.LAST else Held.YES


def judge_preflight(
    plan: DcPlan, facts: DcFacts, accepted: Collection[str] = (), *, again: bool = False
) -> Preflight:
    """Every row of the table, in its order, and the case.

    `again`: a promotion of this run was left half-made, so objects of the name are its own.
    """
    choice = find_case(plan, facts)
    findings = [finding for row in ROWS for finding in row(plan, facts, choice.case)]
    if plan.mode is not Mode.NEW_FOREST:
        findings = [*_partner(plan, facts, choice), *findings]
    if again:
        findings = [finding for finding in findings if finding.id != "name"]
    return Preflight(choice=choice, findings=tuple(findings), accepted=frozenset(accepted))


def find_case(plan: DcPlan, facts: DcFacts) -> CaseChoice:
    """The case that the facts make."""
    if plan.mode is Mode.NEW_FOREST:
        return CaseChoice(case=Case.NEW, reason="a new forest has no domain controller yet")
    partner = facts.partner
    others = [dc.as_other() for dc in partner.controllers] if partner else []
    return choose_case(find_old(plan, facts), others, target=plan.host)


def find_old(plan: DcPlan, facts: DcFacts) -> OldDc:
    """The old DC as far as it was seen; what was not told is silence."""
    partner, target = facts.partner, facts.target
    if partner is None:
        return OldDc.SILENT
    if target is None:
        known = partner.objects or any(
            short_name(dc.name) == short_name(plan.host) for dc in partner.controllers
        )
        return OldDc.SILENT if known or facts.vm is not None else OldDc.ABSENT
    if not target.controller or target.not_writable or not target.links_told:
        return OldDc.CUT_OFF
    return OldDc.REPLICATING if _replicates(plan, partner, target) else OldDc.CUT_OFF


def _replicates(plan: DcPlan, partner: PartnerFacts, target: TargetFacts) -> bool:
    """In and out: its own links work, and another DC has taken its changes."""
    incoming = any(link.healthy for link in target.links)
    outgoing = any(link.healthy and link.comes_from(plan.host) for link in partner.links)
    return incoming and outgoing


def _partner(plan: DcPlan, facts: DcFacts, choice: CaseChoice) -> Iterable[Finding]:
    if facts.partner is None:
        what = f"{plan.partner.name if plan.partner else 'the partner'} did not answer"
        hint = "without it nobody can prove that the domain survives; look at its guest agent"
        return (hard("other-dc", what, hint),)
    rows = [row(plan, facts.partner, facts, choice.case) for row in PARTNER_ROWS]
    return tuple(finding for row in rows for finding in row)


def preflight_lines(preflight: Preflight) -> list[str]:
    """The findings as text, one a line, and the verdict."""
    lines = [f"case {preflight.choice.case.value}: {preflight.choice.reason}"]
    for finding in preflight.findings:
        taken = finding.level is Level.STOP and finding.id in preflight.accepted
        mark = "accepted" if taken else finding.level.value
        lines.append(f"{mark:<9}{finding.id:<14}{finding.what}")
        if finding.hint and finding.level is not Level.OK:
            lines.append(f"{'':<23}{finding.hint}")
    count = len(preflight.blocking)
    if preflight.held is Held.YES:
        lines.append("the preflight holds")
    else:
        lines.append(f"refused: {count} {'reason' if count == 1 else 'reasons'} above")
    return lines


def preflight_document(preflight: Preflight) -> dict[str, Any]:
    """The findings as JSON values."""
    return {
        "case": preflight.choice.case.value,
        "reason": preflight.choice.reason,
        "held": preflight.held is Held.YES,
        "accepted": sorted(preflight.accepted),
        "findings": [
            {
                "id": finding.id,
                "level": finding.level.value,
                "what": finding.what,
                "hint": finding.hint,
            }
            for finding in preflight.findings
        ],
    }
