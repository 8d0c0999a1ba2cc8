"""What comes next in a change to a domain: a pure function of the state, and nothing else.

It never lets a disk be replaced unless a preflight held, a person typed the name, the old DC was
proven off and the directory proven clean; it never boots an old disk once the domain may have
changed; and whatever happens it says how things stand and what to do.
"""

import enum
from typing import assert_never

from builder.domain.cases import Case
from builder.domain.plan import Mode
from builder.domain.results import promotion_result
from builder.domain.state import DcState, Failure, Standing
from builder.domain.steps import ON_PARTNER, READING, Step
from builder.errors import ExitCode
from builder.record import record

FRESH = 3600  # seconds that a preflight and a confirmation hold before the first change
PROVEN = 600  # seconds that a proof holds before a disk is replaced
PROOFS = frozenset({Step.PROVE_OFF, Step.VERIFY_CLEAN})


class OldDisk(enum.Enum):
    """What may be done with the disk of the old DC."""

    NONE = "none"  # there is none
    IN_PLACE = "in place"  # it was not touched
    BOOT = "boot"  # switched off; may be started again, because nothing else has changed
    KEEP_DETACHED = "keep detached"  # never again: the domain may have changed without it


@record
class Policy:
    """What the caller allows: changes on the partner, and whether to go back instead of on."""

    allow_partner: bool = False
    undo: bool = False


@record
class Perform:
    """Do `step`: write INTENDED, do it, write how it ended."""

    step: Step


@record
class Look:
    """Find out whether `step` happened: write DONE, FAILED or UNDONE.

    `asked`: a person was to do it, so looking is all that is allowed; else it was begun and its
    end was not seen, and the same call may be made again.
    """

    step: Step
    asked: bool


@record
class Ask:
    """Have a person type `expected`; write what was typed."""

    expected: str


@record
class Restart:
    """Restart the new server, because `before` asked for it; write Restarted."""

    before: Step


@record
class Wait:
    """Show a person what to do on the partner, write WAITING, and end this call."""

    step: Step
    reason: str
    next: str
    old: OldDisk


@record
class BootOld:
    """Start the old DC again, for nothing but its being off has changed; write OldStarted."""


@record
class Halt:
    """End this call: `reason` says how things stand, `next` what to do."""

    step: Step
    reason: str
    next: str
    code: ExitCode
    old: OldDisk


@record
class Finish:
    """Everything is done."""

    old: OldDisk


Action = Perform | Look | Ask | Restart | Wait | BootOld | Halt | Finish


def next_step(state: DcState, policy: Policy, now: int) -> Action:
    """What to do now; `now` in seconds since 1970."""
    if policy.undo:
        return _undo(state)
    if state.failure is not None:
        return _halt(state, state.failure)
    if state.restart is not None:
        return Restart(before=state.restart)
    for step in state.order:
        if not state.done(step) or _stale(state, step, now):
            return _take(state, step, policy)
    return Finish(old=old_disk(state))


def old_disk(state: DcState) -> OldDisk:
    """What may be done with the old disk: design decision, booted only before the first change."""
    if not state.replaces:
        return OldDisk.NONE if state.case is Case.NEW or state.outside else OldDisk.IN_PLACE
    if state.outside:
        return OldDisk.KEEP_DETACHED
    return OldDisk.BOOT if state.changed else OldDisk.IN_PLACE


def _stale(state: DcState, step: Step, now: int) -> bool:
    """Whether what was seen is too long ago to act upon."""
    age = now - state.at(step)
    if step in {Step.PREFLIGHT, Step.CONFIRM}:
        return not 0 <= age <= FRESH and not state.changed
    if step not in PROOFS or state.standing(Step.INSTALL) is not None:
        return False
    if step is Step.VERIFY_CLEAN and state.standing(Step.STAGE) is not None:
        return False  # a staged account is of the name that was proven free before
    return not 0 <= age <= PROVEN or (step is Step.PROVE_OFF and _overtaken(state))


def _overtaken(state: DcState) -> bool:
    """Whether all that lies between the proof and the disk is done, and later than the proof.

    Somebody may have started the old DC meanwhile: that it is off is the last thing to look at.
    """
    order = state.order
    between = order[order.index(Step.PROVE_OFF) + 1 : order.index(Step.INSTALL)]
    done = all(state.done(step) for step in between)
    return done and any(state.at(step) > state.at(Step.PROVE_OFF) for step in between)


def _take(state: DcState, step: Step, policy: Policy) -> Action:
    standing = state.standing(step)
    if standing is Standing.ASKED:
        return Look(step=step, asked=True)
    if standing is Standing.INTENDED and step not in READING:
        return Look(step=step, asked=False)
    if step is Step.CONFIRM:
        return Ask(expected=state.plan.fqdn)
    partner = state.plan.partner
    if step in ON_PARTNER and not (policy.allow_partner and partner and partner.inside):
        return _wait(state, step)
    if step is Step.INSTALL and not may_install(state):
        return Halt(
            step=step,
            reason="the disk is not replaced: not everything that must be proven before was",
            next="look at the journal; start again with `winseed dc plan`",
            code=ExitCode.UNSAFE,
            old=old_disk(state),
        )
    return Perform(step=step)


def may_install(state: DcState) -> bool:
    """Whether everything was proven that must be before a disk is replaced."""
    if not (state.done(Step.PREFLIGHT) and state.confirmed and state.done(Step.CONFIRM)):
        return False
    match state.case:
        case Case.NEW:
            off = not state.rounds or state.done(Step.POWER_OFF)
            return off and (state.plan.mode is Mode.NEW_FOREST or state.done(Step.VERIFY_CLEAN))
        case Case.GRACEFUL | Case.DEAD:
            cleaned = state.done(Step.VERIFY_CLEAN) or state.plan.reuse_account
            return cleaned and state.done(Step.POWER_OFF) and state.done(Step.PROVE_OFF)
        case Case.LAST | None:
            return False
        case _:
            assert_never(state.case)


def _wait(state: DcState, step: Step) -> Wait:
    partner = state.plan.partner
    name = partner.name if partner else "the partner"
    inside = partner is not None and partner.inside
    reason = (
        f"{step.value} changes the domain on {name}, which was not allowed"
        if inside
        else f"{step.value} is done on {name}, which is outside this cluster"
    )
    way = ", or --resume --allow partner-changes lets winseed do it" if inside else ""
    return Wait(
        step=step,
        reason=reason,
        next=f"run the commands shown on {name} and go on with --resume{way}",
        old=OldDisk.KEEP_DETACHED,  # from here on somebody may have done it
    )


def _undo(state: DcState) -> Action:
    old = old_disk(state)
    match old:
        case OldDisk.BOOT if not state.arrived:
            return BootOld()
        case OldDisk.IN_PLACE:
            what, then = "nothing was changed", "nothing has to be undone"
            code = ExitCode.DONE
        case OldDisk.NONE:
            what, then = "there was no DC before", "remove the new VM with `winseed deploy --undo`"
            code = ExitCode.UNSAFE
        case OldDisk.BOOT | OldDisk.KEEP_DETACHED:
            what = "the domain may have changed: the old disk is only kept, never booted"
            then = "go on with --resume"
            code = ExitCode.UNSAFE
        case _:
            assert_never(old)
    step = state.order[-1] if state.order else Step.PREFLIGHT
    return Halt(step=step, reason=what, next=then, code=code, old=old)


_NEXT = {
    Step.PREFLIGHT: "mend what is named and call again; nothing was changed",
    Step.CONFIRM: "call again and type the full name; nothing was changed",
    Step.POWER_OFF: "look at the VM in Proxmox VE, then go on with --resume",
    Step.PROVE_OFF: "find what answers there, switch it off, then go on with --resume",
    Step.VERIFY_CLEAN: "remove what is named on the partner, then go on with --resume",
    Step.VERIFY: "the DC stands: wait for its first replication, then look again with --resume",
}


def _halt(state: DcState, failure: Failure) -> Halt:
    reason = failure.reason or f"{failure.step.value} failed"
    following = _NEXT.get(failure.step, "mend the cause, then go on with --resume")
    if failure.result is not None:
        told = promotion_result(failure.result)
        reason = f"{failure.step.value} ended with {failure.result}: {told.meaning}"
        reason += f" ({failure.reason})" if failure.reason else ""
        following = f"{told.next or 'mend the cause'}; then go on with --resume"
    if failure.step is Step.DEMOTE:
        following += (
            "; a DC that cannot be demoted is switched off and replaced as case B, in a new run"
        )
    unsafe = failure.step in {Step.PREFLIGHT, Step.CONFIRM, *PROOFS}
    return Halt(
        step=failure.step,
        reason=reason,
        next=following,
        code=ExitCode.UNSAFE if unsafe else ExitCode.UNSETTLED,
        old=old_disk(state),
    )
