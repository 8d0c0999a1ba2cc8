"""Stage 3, parsing: would Setup take the answer file at all. The rules are those of `winseed lint`.

An error of lint is a stop, a warning a risk; advice is left to `winseed lint`.
"""

from builder.answer.lint import AnswerKind, Finding, Level, lint_answer
from builder.errors import ExitCode
from builder.rehearsal.model import Stage, Step, passed, risk, stop

MOST_TOLD = 20


def rehearse_answer(
    data: bytes, *, name: str, release: str | None, kind: AnswerKind | None = None
) -> Stage:
    """Every error and warning of the answer file, in the order of its text."""
    judged = lint_answer(data, name=name, release=release, kind=kind)
    found = [one for one in judged if one.level != Level.ADVICE]
    steps = [_step(one) for one in found[:MOST_TOLD]]
    if len(found) > MOST_TOLD:
        steps.append(risk("answer.more", f"and {len(found) - MOST_TOLD} more: winseed lint {name}"))
    if not steps:
        steps.append(passed("answer.lint", f"{name}: no error and no warning of winseed lint"))
    return Stage(key="answer", title="Answer file is read", steps=tuple(steps))


def _step(one: Finding) -> Step:
    what = f"line {one.line}: {one.what}"
    if one.level is Level.ERROR:
        return stop(
            f"answer.{one.id}",
            what,
            why=one.effect,
            code=ExitCode.ANSWER,
            fix=one.fix,
            source=one.source,
        )
    return risk(f"answer.{one.id}", what, why=one.effect, fix=one.fix, source=one.source)
