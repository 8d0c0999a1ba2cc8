"""A rehearsal as text and as JSON values."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from builder.plan.beliefs import beliefs
from builder.rehearsal.model import Rehearsal, Step, Verdict

MARKS = {
    Verdict.OK: "ok",
    Verdict.NOT_CHECKED: "?",
    Verdict.RISK: "risk",
    Verdict.STOP: "STOP",
}
INDENT = " " * 10


def summary_line(rehearsal: Rehearsal) -> str:
    """`rehearsed: 20 ok, 3 risks, 0 stops`, for the end of `winseed iso`."""
    parts = [
        f"{rehearsal.count(Verdict.OK)} ok",
        _counted(rehearsal.count(Verdict.RISK), "risk"),
        _counted(rehearsal.count(Verdict.STOP), "stop"),
    ]
    unknown = rehearsal.count(Verdict.NOT_CHECKED)
    return f"rehearsed: {', '.join(parts)}" + (f", {unknown} not checked" if unknown else "")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def rehearsal_lines(rehearsal: Rehearsal) -> list[str]:
    """The timeline as text."""
    release = f", {rehearsal.release}" if rehearsal.release else ""
    answer = f", answer file of {rehearsal.answer}" if rehearsal.answer else ""
    lines = [f"{rehearsal.machine}{release}{answer}"]
    for number, stage in enumerate(rehearsal.stages, start=1):
        lines += ["", f"{number:>2}  {stage.title}: {stage.verdict.value}"]
        for step in stage.steps:
            lines += _step_lines(step)
    stops = [step for step in rehearsal.steps if step.verdict is Verdict.STOP]
    if stops:
        lines += ["", "What stops it:"]
        lines += [f"  - {step.what}" + (f" -> {step.fix}" if step.fix else "") for step in stops]
    return [*lines, "", summary_line(rehearsal)]


def _step_lines(step: Step) -> list[str]:
    lines = [f"    {MARKS[step.verdict]:<6}{step.what}"]
    if step.verdict is Verdict.OK:
        return lines
    rests = f"rests on {', '.join(step.beliefs)}" if step.beliefs else ""
    for text, mark in ((step.why, ""), (step.fix, "-> "), (rests, ""), (step.source, "source: ")):
        if text:
            lines.append(f"{INDENT}{mark}{text}")
    return lines


def rehearsal_document(rehearsal: Rehearsal) -> dict[str, Any]:
    """The rehearsal as JSON values."""
    return {
        "verdict": rehearsal.verdict.value,
        "exit_code": int(rehearsal.exit_code),
        "counts": {verdict.value: rehearsal.count(verdict) for verdict in Verdict},
        "machine": rehearsal.machine,
        "answer": rehearsal.answer,
        "release": rehearsal.release,
        "stages": [
            {
                "key": stage.key,
                "title": stage.title,
                "verdict": stage.verdict.value,
                "steps": [_values(step) for step in stage.steps],
            }
            for stage in rehearsal.stages
        ],
        "letters": _values(rehearsal.letters),
        "disk": _values(rehearsal.disk),
        "devices": [_values(row) for row in rehearsal.devices],
        "beliefs": belief_rows(rehearsal),
    }


def belief_rows(rehearsal: Rehearsal) -> dict[str, Mapping[str, str]]:
    """Every belief that a step rests on, with what it says and the way out."""
    named = sorted({belief for step in rehearsal.steps for belief in step.beliefs})
    known = beliefs()
    return {name: known[name] for name in named if name in known}


def _values(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _values(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [_values(item) for item in value]
    if isinstance(value, enum.IntEnum):
        return int(value)
    return value.value if isinstance(value, enum.Enum) else value
