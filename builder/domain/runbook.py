"""The runbook of a domain controller: each step with its place, cmdlets, checks and way back.

The words and cmdlets are data (`tables/runbook.toml.j2`); what comes when, what cannot be undone
and what changes the domain is `steps.py`.
"""

import enum
import tomllib
from typing import Any, assert_never

from builder.answer.render import render_text
from builder.domain.cases import Case
from builder.domain.plan import DcPlan, Mode
from builder.domain.steps import IRREVERSIBLE, ON_PARTNER, OUTSIDE, READING, Step, order_steps
from builder.record import record

VERSION = 1


class Place(enum.Enum):
    """Where a step is done."""

    HERE = "here"  # on the machine that runs winseed
    NODE = "node"
    PARTNER = "partner"
    OLD = "old"
    NEW = "new"


class Weight(enum.Enum):
    """What a step leaves behind."""

    READS = "reads"
    CHANGES = "changes"
    IRREVERSIBLE = "irreversible"


@record
class RunbookStep:
    """One step. `machine` is the name of where it is done; `cases` those it belongs to.

    `by_hand`: the partner is outside this cluster, so a person runs the commands.
    """

    step: Step
    title: str
    place: Place
    machine: str
    commands: tuple[str, ...]
    checks: tuple[str, ...]
    recovery: str
    weight: Weight
    outside: bool
    by_hand: bool
    cases: tuple[Case, ...]


@record
class Runbook:
    """All steps in order. `cases` are those that the first preflight will choose between."""

    plan: DcPlan
    cases: tuple[Case, ...]
    steps: tuple[RunbookStep, ...]


def make_runbook(plan: DcPlan, case: Case | None = None) -> Runbook:
    """The runbook of `plan`; without a case, of every case that may come."""
    cases = _cases(plan) if case is None else (case,)
    orders = {each: order_steps(plan, each) for each in cases}
    words = _load_words(plan)
    merged = [step for step in Step if any(step in order for order in orders.values())]
    steps = tuple(_make_step(step, plan, words[step.value], orders) for step in merged)
    return Runbook(plan=plan, cases=cases, steps=steps)


def _cases(plan: DcPlan) -> tuple[Case, ...]:
    match plan.mode:
        case Mode.REPLACEMENT:
            return (Case.GRACEFUL, Case.DEAD)
        case Mode.NEW_FOREST | Mode.ADDITIONAL:
            return (Case.NEW,)
        case Mode.RODC:
            return (Case.NEW, Case.GRACEFUL, Case.DEAD)
        case _:
            assert_never(plan.mode)


def _load_words(plan: DcPlan) -> dict[str, Any]:
    return tomllib.loads(render_text("tables/runbook.toml.j2", {"plan": plan}).decode())


def _make_step(
    step: Step, plan: DcPlan, words: dict[str, Any], orders: dict[Case, tuple[Step, ...]]
) -> RunbookStep:
    place = Place(words["where"])
    weight = Weight.READS if step in READING else Weight.CHANGES
    inside = plan.partner is not None and plan.partner.inside
    return RunbookStep(
        step=step,
        title=words["title"],
        place=place,
        machine=_machine(place, plan),
        commands=tuple(words["commands"]),
        checks=tuple(words["checks"]),
        recovery=words["recovery"],
        weight=Weight.IRREVERSIBLE if step in IRREVERSIBLE else weight,
        outside=step in OUTSIDE,
        by_hand=place is Place.PARTNER and not inside,
        cases=tuple(case for case, order in orders.items() if step in order),
    )


def _machine(place: Place, plan: DcPlan) -> str:
    match place:
        case Place.HERE:
            return "winseed"
        case Place.NODE:
            return plan.node or "the node"
        case Place.PARTNER:
            return plan.partner.name if plan.partner else ""
        case Place.OLD:
            return f"{plan.fqdn} (old)"
        case Place.NEW:
            return f"{plan.fqdn} (new)"
        case _:
            assert_never(place)


def runbook_lines(runbook: Runbook) -> list[str]:
    """The runbook as text."""
    plan = runbook.plan
    lines = [
        f"{plan.fqdn}: {plan.mode.value}, {plan.release_name}",
        *_facts(plan),
        "",
        *_explain(runbook),
    ]
    for number, step in enumerate(runbook.steps, start=1):
        lines += ["", *_step_lines(number, step, runbook)]
    lines += ["", *_closing(runbook)]
    return lines


def _facts(plan: DcPlan) -> list[str]:
    partner = plan.partner
    where = "" if partner is None else f"VM {partner.vmid}" if partner.inside else "not a VM here"
    rows = [
        ("domain", f"{plan.domain} ({plan.netbios})"),
        ("partner", f"{partner.name}, {where}" if partner else "none: a new forest"),
        ("database", f"{plan.paths.database}, logs {plan.paths.logs}, SYSVOL {plan.paths.sysvol}"),
        ("services", f"DNS {_yes(plan.dns)}, global catalog {_yes(plan.global_catalog)}"),
        ("site", plan.site or "found by subnet"),
        *([("roles", _fsmo(plan))] if plan.mode is Mode.REPLACEMENT else []),
        ("account", plan.user or "the local Administrator, who becomes the domain's (FT45)"),
    ]
    if plan.forest_level:
        rows.append(("levels", f"forest {plan.forest_level}, domain {plan.domain_level}"))
    return [f"  {name:<10}{text}" for name, text in rows]


def _yes(value: bool) -> str:  # noqa: FBT001 - a word for a value
    return "yes" if value else "no"


def _fsmo(plan: DcPlan) -> str:
    told = {
        "undecided": "undecided: it stops if the old DC holds any",
        "transfer": "transferred from the old DC",
        "seize": "seized from the old DC, which must never come back",
    }[plan.fsmo.value]
    return told + (", back at the end" if plan.fsmo_back else "")


def _explain(runbook: Runbook) -> list[str]:
    said = {
        Case.NEW: "there was no DC of this name",
        Case.GRACEFUL: "case A: the old DC runs and reaches its partners",
        Case.DEAD: "case B: the old DC is dead or cut off, another writable one is proven alive",
        Case.LAST: "case C: no other writable DC is proven alive",
    }
    lines = [said[case] for case in runbook.cases]
    if Case.NEW not in runbook.cases or len(runbook.cases) > 1:
        lines.append(
            "case C: no other writable DC is proven alive. Refused, and no flag changes it"
        )
    return lines


def _step_lines(number: int, step: RunbookStep, runbook: Runbook) -> list[str]:
    marks = [step.weight.value] if step.weight is not Weight.READS else []
    if step.by_hand:
        marks.append("by hand")
    elif step.step in ON_PARTNER:
        marks.append("needs --allow partner-changes")
    if len(step.cases) < len(runbook.cases):
        marks.append(f"only case {' and '.join(case.value for case in step.cases)}")
    told = f" [{'; '.join(marks)}]" if marks else ""
    return [
        f"{number}. {step.title}{told}",
        f"   on {step.machine}",
        *(f"     > {command}" for command in step.commands),
        *(f"     check: {check}" for check in step.checks),
        f"     if it fails: {step.recovery}",
    ]


def _closing(runbook: Runbook) -> list[str]:
    final = [
        f"{number}. {step.title}"
        for number, step in enumerate(runbook.steps, start=1)
        if step.weight is Weight.IRREVERSIBLE
    ]
    old = Case.GRACEFUL in runbook.cases or Case.DEAD in runbook.cases
    kept = [
        "",
        "The old disks stay with the VM as unusedN. From the first of these steps on they are",
    ]
    kept += ["kept detached: nothing boots them again, and no resume attaches them."]
    return ["cannot be undone:", *(f"  {line}" for line in final), *(kept if old else [])]


def runbook_document(runbook: Runbook) -> dict[str, Any]:
    """The runbook as JSON values; it holds no secret."""
    plan = runbook.plan
    return {
        "host": plan.host,
        "fqdn": plan.fqdn,
        "domain": plan.domain,
        "mode": plan.mode.value,
        "release": plan.release,
        "partner": plan.partner.name if plan.partner else None,
        "partner_inside": bool(plan.partner and plan.partner.inside),
        "fsmo": plan.fsmo.value,
        "cases": [case.value for case in runbook.cases],
        "steps": [
            {
                "step": step.step.value,
                "title": step.title,
                "place": step.place.value,
                "machine": step.machine,
                "commands": list(step.commands),
                "checks": list(step.checks),
                "recovery": step.recovery,
                "weight": step.weight.value,
                "changes_domain": step.outside,
                "by_hand": step.by_hand,
                "cases": [case.value for case in step.cases],
            }
            for step in runbook.steps
        ],
    }
