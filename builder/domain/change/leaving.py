"""What is done to the old DC and, on the partner, to what the domain knows of it."""

import dataclasses

from builder.domain.calls import DcSecrets, call_dc, make_payload
from builder.domain.change.ended import DONE, Ended, judged, numbered
from builder.domain.change.outside import judge_locators, judge_partner, look_for_old, outside
from builder.domain.change.power import switch_off
from builder.domain.change.run import DcRun, ask_partner, call_id, target_agent
from builder.domain.facts import load_clean, load_off
from builder.domain.health import ResultFacts, judge_clean, judge_off, load_result
from builder.domain.results import promotion_result
from builder.domain.steps import Step
from builder.files import create_private_file
from builder.media.attachment import load_secret_text
from builder.values import Secret


def move_roles(run: DcRun) -> Ended:
    """Whatever the old DC holds, to the partner; both live."""
    ask_partner(run, "transfer-roles", Step.MOVE_ROLES)
    return DONE


def demote(run: DcRun) -> Ended:
    """Microsoft's prerequisite tests, and the demotion if they pass."""
    tested = _demotion(run, "test-demotion")
    return demote_again(run) if promotion_result(tested.result).success else numbered(tested)


def demote_again(run: DcRun) -> Ended:
    """Make the call that demotes, or get its result: once made it is not made twice."""
    return numbered(_demotion(run, "demote"))


def power_off(run: DcRun) -> Ended:
    """Off, and not started again with its node."""
    switch_off(run)
    return DONE


def prove_off(run: DcRun) -> Ended:
    """Nothing answers in its place, as seen from the partner; of one outside, from here as well."""
    facts = load_off(ask_partner(run, "prove-off", Step.PROVE_OFF))
    if outside(run.plan):
        facts = dataclasses.replace(facts, answers=(*facts.answers, *look_for_old(run)))
    return judged(run, judge_off(run.plan, facts))


def seize_roles(run: DcRun) -> Ended:
    """From now on the old DC must never run again."""
    ask_partner(run, "seize-roles", Step.SEIZE_ROLES)
    return DONE


def clean_metadata(run: DcRun) -> Ended:
    """NTDS Settings, server object, computer account; of a demoted DC its member account."""
    ask_partner(run, "cleanup-metadata", Step.CLEAN_METADATA)
    return DONE


def clean_dns(run: DcRun) -> Ended:
    """Records that lead to the old DC."""
    ask_partner(run, "cleanup-dns", Step.CLEAN_DNS)
    return DONE


def verify_clean(run: DcRun) -> Ended:
    """The name is free, and the partner is what it has to be."""
    told = ask_partner(run, "verify-clean", Step.VERIFY_CLEAN)
    findings = judge_clean(run.plan, load_clean(told))
    if outside(run.plan):
        findings = (*findings, *judge_partner(run), *judge_locators(run, there=False))
    return judged(run, findings)


def stage(run: DcRun) -> Ended:
    """The account of a read-only DC."""
    ask_partner(run, "stage-rodc", Step.STAGE)
    return DONE


def local_password(run: DcRun) -> Secret:
    """The Administrator of the old server once it is demoted; in a file (0600) before it is used.

    Its disk is only kept, so nobody needs it who does not look at that disk by hand.
    """
    path = run.case.folder / f"demoted-{run.journal.record.run}.password"
    if not path.exists():
        create_private_file(path, run.entropy.password().reveal().encode() + b"\n")
        run.note(f"the old server's local Administrator gets the password in {path}")
    return Secret(load_secret_text(path).partition("\n")[0])


def _demotion(run: DcRun, script: str) -> ResultFacts:
    secrets: DcSecrets = dataclasses.replace(run.secrets, local=local_password(run))
    payload = make_payload(script, run.plan, secrets, accepted=run.accepted)
    named = call_id(run, script, Step.DEMOTE)
    return load_result(
        f"dc/{script}", call_dc(target_agent(run), script, id=named, payload=payload)
    )
