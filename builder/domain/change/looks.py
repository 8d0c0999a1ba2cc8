"""Whether a step happened whose end nobody wrote down, or that a person was asked to do."""

from collections.abc import Callable

from builder.domain.change import arriving, leaving
from builder.domain.change.effects import end_step, held_roles
from builder.domain.change.ended import DONE, Ended
from builder.domain.change.install import go_on, is_rotated
from builder.domain.change.power import is_off
from builder.domain.change.run import DcRun, ask_partner
from builder.domain.facts import CleanFacts, PartnerFacts, load_clean, load_partner
from builder.domain.state import Standing
from builder.domain.steps import Step

UNDONE = Ended(standing=Standing.UNDONE)
# made again under the same id: the guest tells the result of the call that was made before
AGAIN: dict[Step, Callable[[DcRun], Ended]] = {
    Step.DEMOTE: leaving.demote_again,
    Step.ADD_ROLE: arriving.add_role,
    Step.PROMOTE: arriving.promote,
    Step.SET_DNS: arriving.set_dns,
}


def look(run: DcRun, step: Step) -> None:
    """Find out whether `step` happened, and write it. Raises WinseedError when nobody can tell."""
    run.say(f"{step.value} is looked for")
    if step in AGAIN:
        end_step(run, step, AGAIN[step])
    else:
        end_step(run, step, lambda run: DONE if LOOKS[step](run) else UNDONE)


def _clean(run: DcRun, step: Step) -> CleanFacts:
    return load_clean(ask_partner(run, "verify-clean", step))


def _known(run: DcRun, step: Step) -> PartnerFacts:
    return load_partner(ask_partner(run, "preflight-partner", step))


def _roles_moved(run: DcRun) -> bool:
    return not _clean(run, Step.MOVE_ROLES).roles


def _metadata_gone(run: DcRun) -> bool:
    found = _clean(run, Step.CLEAN_METADATA)
    return not (found.accounts or found.servers or found.settings)


def _records_gone(run: DcRun) -> bool:
    return not _clean(run, Step.CLEAN_DNS).records


def _staged(run: DcRun) -> bool:
    return {item.kind for item in _known(run, Step.STAGE).objects} == {"computer"}


def _roles_back(run: DcRun) -> bool:
    held = held_roles(_known(run, Step.ROLES_BACK).roles, run.plan.host)
    return set(run.journal.record.roles) <= set(held)


def _never(_run: DcRun) -> bool:
    """Once more does no harm."""
    return False


LOOKS: dict[Step, Callable[[DcRun], bool]] = {
    Step.MOVE_ROLES: _roles_moved,
    Step.SEIZE_ROLES: _roles_moved,
    Step.POWER_OFF: is_off,
    Step.CLEAN_METADATA: _metadata_gone,
    Step.CLEAN_DNS: _records_gone,
    Step.STAGE: _staged,
    Step.INSTALL: go_on,
    Step.ROTATE: is_rotated,
    Step.REBOOT: _never,
    Step.ROLES_BACK: _roles_back,
    Step.SCRUB: _never,
}
