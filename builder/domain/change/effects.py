"""Steps done: intent before, result after; what nobody knows the end of stays intended."""

import dataclasses
from collections.abc import Callable

from builder.domain.cases import Case
from builder.domain.change import arriving, leaving
from builder.domain.change.ended import Ended, failed, told_in_full
from builder.domain.change.install import open_install
from builder.domain.change.power import restart
from builder.domain.change.run import DcRun, ask_partner, may_have_happened
from builder.domain.facts import Roles, SecretFacts, load_partner, short_name
from builder.domain.preflight import Held, Preflight, judge_preflight
from builder.domain.state import Entry, Standing
from builder.domain.steps import Step
from builder.domain.survey import inspect_dc
from builder.errors import WinseedError
from builder.proxmox.failures import PveError

ROLE_NAMES = {
    "schema": "SchemaMaster",
    "naming": "DomainNamingMaster",
    "pdc": "PDCEmulator",
    "rid": "RIDMaster",
    "infrastructure": "InfrastructureMaster",
}
EFFECTS: dict[Step, Callable[[DcRun], Ended]] = {
    Step.MOVE_ROLES: leaving.move_roles,
    Step.DEMOTE: leaving.demote,
    Step.POWER_OFF: leaving.power_off,
    Step.PROVE_OFF: leaving.prove_off,
    Step.SEIZE_ROLES: leaving.seize_roles,
    Step.CLEAN_METADATA: leaving.clean_metadata,
    Step.CLEAN_DNS: leaving.clean_dns,
    Step.VERIFY_CLEAN: leaving.verify_clean,
    Step.STAGE: leaving.stage,
    Step.INSTALL: arriving.install_windows,
    Step.ROTATE: arriving.rotate,
    Step.CHECK_HOST: arriving.check_host,
    Step.ADD_ROLE: arriving.add_role,
    Step.TEST: arriving.test_promotion,
    Step.PROMOTE: arriving.promote,
    Step.REBOOT: arriving.reboot,
    Step.SET_DNS: arriving.set_dns,
    Step.VERIFY: arriving.verify_health,
    Step.ROLES_BACK: arriving.return_roles,
    Step.SCRUB: arriving.scrub,
    Step.REPORT: arriving.report,
}


def perform(run: DcRun, step: Step) -> None:
    """Write the intent, do the step, write how it ended.

    Raises WinseedError when nobody knows how it ended: the next call looks for it.
    """
    run.write(step, Standing.INTENDED)
    run.say(step.value)
    if step is Step.PREFLIGHT:
        preflight(run)
    else:
        end_step(run, step, EFFECTS[step])


def end_step(run: DcRun, step: Step, act: Callable[[DcRun], Ended]) -> None:
    """Do `act` and write how the step ended. Raises WinseedError as `perform`."""
    try:
        ended = act(run)
    except WinseedError as error:
        # an installation has a journal of its own, which says how it goes on
        if step is Step.INSTALL or may_have_happened(error):
            raise
        ended = failed(told_in_full(error))
    run.write(step, ended.standing, result=ended.result, reason=ended.reason)


def preflight(run: DcRun) -> None:
    """Look at everything, and at what the installation itself asks of the cluster.

    Raises PveError when Proxmox VE cannot be asked, AwaitedError when a person has to.
    """
    plan, state = run.plan, run.state
    survey = inspect_dc(
        run.api,
        plan,
        media=run.media,
        secrets=SecretFacts(
            restore_mode=bool(run.secrets.restore_mode.reveal()),
            credential=bool(run.secrets.credential.reveal()),
        ),
        node_zone=run.case.host.dc.host_time_zone,
    )
    facts = survey.facts
    if plan.partner is not None and not plan.partner.inside:
        told = ask_partner(run, "preflight-partner", Step.PREFLIGHT)
        facts = dataclasses.replace(facts, partner=load_partner(told))
    for note in survey.notes:
        run.warn(note)
    judged = judge_preflight(plan, facts, run.accepted, again=bool(state.rounds))
    run.show(judged)
    reason = "; ".join(finding.what for finding in judged.blocking) or _refusal(run, judged)
    held = judged.held is Held.YES and not reason
    partner = facts.partner
    if held and partner is not None and not state.changed:
        roles = held_roles(partner.roles, plan.host)
        run.journal.keep(dataclasses.replace(run.journal.record, roles=roles))
    run.add(
        Entry(
            step=Step.PREFLIGHT,
            standing=Standing.DONE if held else Standing.FAILED,
            at=run.entropy.now(),
            case=judged.choice.case,
            held=held,
            reason=reason,
        )
    )


def _refusal(run: DcRun, judged: Preflight) -> str:
    """Why what can be done to the domain is not done to this VM, "" when nothing speaks against."""
    comes = judged.choice.case is not Case.NEW and run.journal.record.verb != "reinstall"
    if comes and not run.state.rounds:
        return f"{run.plan.host} is there already: `winseed dc reinstall` replaces it"
    try:
        open_install(run)
    except PveError:
        raise
    except WinseedError as error:
        return told_in_full(error)
    return ""


def held_roles(roles: Roles, host: str) -> tuple[str, ...]:
    """What a DC holds, in the words of Move-ADDirectoryServerOperationMasterRole."""
    name = short_name(host)
    return tuple(
        cmdlet for key, cmdlet in ROLE_NAMES.items() if short_name(getattr(roles, key)) == name
    )


def restart_for(run: DcRun, step: Step) -> None:
    """The new server again, because a result asks for it. Raises WinseedError."""
    run.say(f"restart, which {step.value} asks for")
    restart(run)
