"""A change begun, or taken up from its journal."""

import dataclasses
from pathlib import Path

from builder.domain.change.journal import (
    DcJournal,
    DcRecord,
    begin_dc_journal,
    load_dc_journal,
)
from builder.domain.machine import Finish, Policy, next_step
from builder.domain.plan import DcPlan, Mode
from builder.domain.steps import Step
from builder.errors import ExitCode, Problem, WinseedError
from builder.install.opening import Entropy

VERBS = {
    "new-forest": frozenset({Mode.NEW_FOREST}),
    "add": frozenset({Mode.ADDITIONAL, Mode.RODC}),
    "reinstall": frozenset({Mode.REPLACEMENT, Mode.RODC}),
}
# what steps that are done were done with, and what decides their order
FIXED = ("host", "release", "mode", "domain", "netbios", "addresses", "vmid", "fsmo", "fsmo_back")


def refuse_other_mode(plan: DcPlan, verb: str) -> None:
    """Raise WinseedError (SPEC) when the spec asks for something else than the verb does."""
    if plan.mode in VERBS[verb]:
        return
    others = [name for name, modes in VERBS.items() if plan.mode in modes]
    raise WinseedError(
        f"{plan.host} has dc.mode {plan.mode.value!r}, which is not for `winseed dc {verb}`",
        code=ExitCode.SPEC,
        hint=f"winseed dc {others[0]} {plan.host}, or correct dc.mode",
    )


def begin_change(folder: Path, plan: DcPlan, verb: str, entropy: Entropy) -> DcJournal:
    """A new journal. Raises WinseedError (UNSAFE) while another change is under way.

    One that failed to demote may be given up: the DC is one still, and is looked at anew.
    """
    old = load_dc_journal(folder)
    under_way = old is not None and old.state.changed and not is_finished(old, entropy)
    given_up = old is not None and may_be_given_up(old)
    if old is not None and under_way and not given_up:
        raise WinseedError(
            f"{old.record.plan.fqdn} is in the middle of `winseed dc {old.record.verb}`",
            code=ExitCode.UNSAFE,
            hint="go on with --resume; --undo while nothing but its being off has changed",
        )
    spoiled = old is not None and under_way and (old.record.spoiled or old.state.outside)
    kept = DcRecord(run=entropy.token(4), verb=verb, plan=plan, spoiled=spoiled)
    return begin_dc_journal(folder, kept)


def may_be_given_up(journal: DcJournal) -> bool:
    """Whether the old DC is still in its place, and what failed was to demote it."""
    failure = journal.state.failure
    leaving = {Step.MOVE_ROLES, Step.DEMOTE}
    return failure is not None and failure.step in leaving and not journal.state.arrived


def take_up_change(folder: Path, plan: DcPlan, verb: str, _entropy: Entropy) -> DcJournal:
    """The journal of a change that was begun; one that is finished is only told once more.

    Raises WinseedError (SPEC) when there is none, or when what must not change any more has.
    """
    journal = load_dc_journal(folder)
    if journal is None:
        raise WinseedError(
            f"{plan.host} has no change in {folder}: there is nothing to go on with",
            code=ExitCode.SPEC,
            hint="-o names the folder of the hosts' folders",
        )
    kept = journal.record
    if kept.verb != verb:
        what = f"{plan.host} is in the middle of `winseed dc {kept.verb}`"
        raise WinseedError(what, code=ExitCode.SPEC, hint=f"winseed dc {kept.verb} {plan.host}")
    problems = tuple(
        Problem(where=key, what=f"{getattr(plan, key)}, was {getattr(kept.plan, key)}")
        for key in FIXED
        if getattr(plan, key) != getattr(kept.plan, key)
    )
    if problems and journal.state.changed:
        raise WinseedError(
            f"what {plan.host} is to be has changed since it was begun",
            code=ExitCode.SPEC,
            problems=problems,
            hint="put these back as they were and --resume",
        )
    journal.keep(dataclasses.replace(kept, plan=plan))
    return journal


def is_finished(journal: DcJournal, entropy: Entropy) -> bool:
    """Whether nothing is left to do."""
    return isinstance(next_step(journal.state, Policy(), entropy.now()), Finish)
