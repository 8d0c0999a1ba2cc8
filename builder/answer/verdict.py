"""Our own answer file before our own judge: nothing it warns of leaves the house unexplained."""

from builder.answer.lint import Level, lint_answer
from builder.errors import ExitCode, Problem, WinseedError
from builder.plan.model import Plan


def refuse_findings(plan: Plan, answer: bytes) -> None:
    """Raise WinseedError (ANSWER) for every error and warning that `plan` does not accept."""
    accepted = {finding.id for finding in plan.accepted}
    findings = lint_answer(answer, name="autounattend.xml", release=plan.release)
    problems = tuple(
        Problem(where=f"{row.id} line {row.line}", what=f"{row.what}: {row.effect}", hint=row.fix)
        for row in findings
        if row.level is not Level.ADVICE and row.id not in accepted
    )
    if problems:
        raise WinseedError(
            f"the answer file of {plan.host} would not install as planned",
            code=ExitCode.ANSWER,
            problems=problems,
            hint="a value of the spec leads to it; please report it if it looks right to you",
        )
