"""Whether the new DC works: asked again until it does, or until patience ends."""

from builder.domain.calls import call_dc
from builder.domain.change.outside import judge_locators
from builder.domain.change.run import DcRun, ask_partner, ask_target, target_agent
from builder.domain.findings import Finding, Level, warn
from builder.domain.health import SeenFacts, judge_health, load_health, load_seen
from builder.domain.plan import Mode
from builder.domain.steps import Step
from builder.domain.told import Told
from builder.errors import WinseedError
from builder.files import write_file

DIAGNOSIS = "dcdiag.txt"


def verify(run: DcRun) -> tuple[Finding, ...]:
    """Ask the new DC and its partner until both are well, or patience ends. Raises WinseedError.

    The first replication takes minutes: what is not well yet is asked again.
    """
    clock = run.api.clock
    deadline = clock.now() + run.patience
    while True:
        findings = _look(run)
        if all(one.level is not Level.HARD for one in findings) or clock.now() >= deadline:
            _diagnose(run)
            return findings
        clock.pause(run.retry)


def _look(run: DcRun) -> tuple[Finding, ...]:
    plan = run.plan
    health = load_health(ask_target(run, "verify", Step.VERIFY))
    seen = _seen(run)
    partners = 0 if plan.mode is Mode.NEW_FOREST else 1
    findings = judge_health(plan, health, seen, partners=partners)
    if seen is None and plan.partner is not None:
        what = f"{plan.partner.name} was not asked: it is outside this cluster"
        seen_here = judge_locators(run, there=True)
        return (*findings, warn("seen", what, "look there: repadmin /showrepl"), *seen_here)
    return findings


def _seen(run: DcRun) -> SeenFacts | None:
    partner = run.plan.partner
    if partner is None or not partner.inside:
        return None
    return load_seen(ask_partner(run, "verify-partner", Step.VERIFY))


def _diagnose(run: DcRun) -> None:
    """dcdiag and repadmin for people; their words depend on the language, so nothing judges them.

    What cannot be had is no reason to fail.
    """
    try:
        told = call_dc(
            target_agent(run), "dcdiag", id=f"{run.journal.record.run}-dcdiag", payload={}
        )
        texts = [
            f"> {row.text('tool')}   (exit code {row.number('exit')})\n{row.text('text')}\n"
            for row in Told("dc/dcdiag", told).rows("outputs")
        ]
        path = run.case.folder / DIAGNOSIS
        write_file(path, "\n".join(texts).encode())
    except WinseedError as error:
        run.warn(f"dcdiag: {error.what}")
    else:
        run.note(f"dcdiag and repadmin, to be read: {path}")
