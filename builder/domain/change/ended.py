"""How a step ended, from what the scripts and judges told."""

from collections.abc import Iterable

from builder.domain.change.run import DcRun
from builder.domain.findings import Finding, Level
from builder.domain.health import ResultFacts
from builder.domain.results import promotion_result
from builder.domain.state import Standing
from builder.errors import WinseedError
from builder.record import record


@record
class Ended:
    """How a step ended; `result` when Windows gave a number."""

    standing: Standing = Standing.DONE
    result: int | None = None
    reason: str = ""


DONE = Ended()


def failed(reason: str) -> Ended:
    """Not well."""
    return Ended(standing=Standing.FAILED, reason=reason)


def judged(run: DcRun, findings: Iterable[Finding]) -> Ended:
    """Well unless a finding is hard; the others are told."""
    bad = []
    for finding in findings:
        if finding.level is Level.HARD:
            bad.append(f"{finding.what} ({finding.hint})" if finding.hint else finding.what)
        elif finding.level is not Level.OK:
            run.warn(f"{finding.id}: {finding.what}")
    return failed("; ".join(bad)) if bad else DONE


def numbered(told: ResultFacts) -> Ended:
    """The end of a promotion, a demotion or their tests: 1 to 4 are successes."""
    good = promotion_result(told.result).success
    standing = Standing.DONE if good else Standing.FAILED
    return Ended(standing=standing, result=told.result, reason="" if good else told.message)


def told_in_full(error: WinseedError) -> str:
    """An error in one line, every problem with it, and its way out."""
    told = "; ".join([error.what, *(str(problem) for problem in error.problems)])
    return f"{told} ({error.hint})" if error.hint else told
