"""Our own answer file before our own judge: nothing it warns of leaves the house unexplained."""

from builder.answer.lint import AnswerKind, Finding, Level, lint_answer
from builder.errors import ExitCode, Problem, WinseedError
from builder.plan.model import Plan


def refuse_findings(plan: Plan, answer: bytes, *, kind: AnswerKind = AnswerKind.SETUP) -> None:
    """Raise WinseedError (ANSWER) for every error and warning that `plan` does not accept."""
    accepted = {finding.id for finding in plan.accepted}
    findings = lint_answer(answer, name="autounattend.xml", release=plan.release, kind=kind)
    by_rule: dict[str, list[Finding]] = {}
    for row in findings:
        if row.level is not Level.ADVICE and row.id not in accepted:
            by_rule.setdefault(row.id, []).append(row)
    problems = tuple(_problem(rows) for rows in by_rule.values())
    if problems:
        raise WinseedError(
            f"the answer file of {plan.host} would not install as planned",
            code=ExitCode.ANSWER,
            problems=problems,
            hint="a value of the spec leads to it; please report it if it looks right to you",
        )


def _problem(rows: list[Finding]) -> Problem:
    """The first finding of a rule; a value that stands at fifty places is one problem."""
    first = rows[0]
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    what = f"{first.what}{more}: {first.effect}"
    return Problem(where=f"{first.id} line {first.line}", what=what, hint=first.fix)
