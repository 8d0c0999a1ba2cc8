"""A bundle held against the beliefs: confirmed, refuted, or not seen."""

import json
import re
from typing import Any, assert_never

from builder.field.bundle import Bundle
from builder.field.evidence import CleanFile
from builder.field.tables import FieldTables, Finding, LogFact, Rule, ValueFact, values_at
from builder.record import record

LINE_LIMIT = 240
BUILD = re.compile(r"winseed: phase=[a-z-]+ id=([0-9a-z]+)")  # answer_templates/scripts


@record
class Reason:
    """A rule that holds: why, the places that show it; `guess` when a person must read them."""

    finding: Finding
    why: str
    seen: tuple[str, ...]
    guess: bool


@record
class Judged:
    """A belief and what the run says of it; `settled_by`: what could tell when no log can."""

    belief: str
    finding: Finding
    reasons: tuple[Reason, ...] = ()
    settled_by: str = ""


def judge_bundle(bundle: Bundle, beliefs: tuple[str, ...], tables: FieldTables) -> list[Judged]:
    """What a run says of each belief; a refutation outweighs what else was seen."""
    seen = {name: _look(fact, bundle) for name, fact in tables.facts.items()}
    judged = []
    for belief in beliefs:
        reasons = tuple(
            _reason(rule, seen)
            for rule in tables.rules
            if rule.belief == belief and _holds(rule, seen)
        )
        findings = {reason.finding for reason in reasons}
        order = (Finding.REFUTED, Finding.CONFIRMED, Finding.NOT_SEEN)
        finding = next((one for one in order if one in findings), Finding.NOT_SEEN)
        settled_by = tables.out_of_sight.get(belief, "")
        judged.append(
            Judged(belief=belief, finding=finding, reasons=reasons, settled_by=settled_by)
        )
    return judged


def foreign_builds(bundle: Bundle) -> tuple[str, ...]:
    """Ids of other builds than the manifest's that its logs speak of: then they do not belong."""
    own = {
        str(value)
        for file in bundle.files
        if file.kind == "manifest"
        for value in values_at(_values(file), "fingerprint")
    }
    told = {found for file in bundle.files for found in BUILD.findall(file.text)}
    return tuple(sorted(told - own)) if own else ()


def _holds(rule: Rule, seen: dict[str, str | None]) -> bool:
    return all(seen[name] is not None for name in rule.every) and not any(
        seen[name] is not None for name in rule.none
    )


def _reason(rule: Rule, seen: dict[str, str | None]) -> Reason:
    places = tuple(place for name in rule.every if (place := seen[name]) is not None)
    return Reason(finding=rule.means, why=rule.why, seen=places, guess=rule.guess)


def _look(fact: LogFact | ValueFact, bundle: Bundle) -> str | None:
    """The first place that shows a fact, as text; None when nothing does."""
    match fact:
        case LogFact():
            files = (file for kind in fact.kinds for file in bundle.files if file.kind == kind)
            return next((place for file in files if (place := _line(fact, file))), None)
        case ValueFact():
            files = (file for file in bundle.files if file.kind == fact.kind)
            return next((place for file in files if (place := _value(fact, file))), None)
        case _:
            assert_never(fact)


def _line(fact: LogFact, file: CleanFile) -> str | None:
    for number, line in enumerate(file.text.split("\n"), start=1):
        if fact.pattern.search(line):
            return f"{file.path}:{number}: {line.strip()[:LINE_LIMIT]}"
    return None


def _value(fact: ValueFact, file: CleanFile) -> str | None:
    values = values_at(_values(file), fact.path)
    hit = any(value in fact.wanted for value in values)
    if not hit or (fact.alone and any(value not in fact.wanted for value in values)):
        return None
    shown = json.dumps(values if len(values) > 1 else values[0])
    return f"{file.path}: {fact.path} = {shown[:LINE_LIMIT]}"


def _values(file: CleanFile) -> Any:
    try:
        return json.loads(file.text)
    except (ValueError, RecursionError):
        return None
