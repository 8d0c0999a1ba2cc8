"""How a change to a domain stands: journal entries, and the state they add up to. Pure.

An entry is written before a step (`INTENDED`) and after it. Whatever is lost in between, the
entries alone say what may have happened.
"""

import dataclasses
import enum
from collections.abc import Iterable
from typing import assert_never

from builder.domain.cases import Case
from builder.domain.plan import DcPlan
from builder.domain.results import Remedy, promotion_result
from builder.domain.steps import OUTSIDE, READING, Step, order_steps
from builder.record import record

RESTARTS = 2  # how often a result that asks for a restart is obeyed


class Standing(enum.Enum):
    """How a step stands."""

    INTENDED = "intended"  # it may or may not have happened
    DONE = "done"
    FAILED = "failed"  # it ended, and not well
    WAITING = "waiting"  # a person was asked to do it
    ASKED = "asked"  # a person was asked in an earlier call, and may have done it
    UNDONE = "undone"  # it was looked for, and did not happen


@record
class Entry:
    """A step and how it stands now; `at` in seconds since 1970.

    `case` and `held` belong to a preflight, `typed` to the confirmation, `result` to a promotion, a
    demotion or their tests. `reason` says why it failed; it holds no secret.
    """

    step: Step
    standing: Standing
    at: int
    case: Case | None = None
    held: bool = False
    typed: str = ""
    result: int | None = None
    reason: str = ""


@record
class Restarted:
    """The new server was restarted because `step` asked for it."""

    step: Step
    at: int


@record
class Resumed:
    """Somebody called again."""

    at: int


@record
class OldStarted:
    """The old DC was started again, and everything is as before."""

    at: int


JournalEntry = Entry | Restarted | Resumed | OldStarted


@record
class Failure:
    """Why a run stands still; `result` when Windows gave a number."""

    step: Step
    reason: str
    result: int | None = None


@record
class DcState:
    """What all entries say together.

    `case` None: no preflight has held yet. `changed`: something was switched off or changed, so the
    preflight cannot be repeated as if nothing had been. `outside`: the domain may have changed, so
    the old disk stays detached for good. `replaces`: there was a DC before. `rounds` counts
    half-made DCs that were given up.
    """

    plan: DcPlan
    case: Case | None = None
    standings: tuple[tuple[Step, Standing], ...] = ()
    times: tuple[tuple[Step, int], ...] = ()
    confirmed: bool = False
    changed: bool = False
    outside: bool = False
    replaces: bool = False
    arrived: bool = False
    restart: Step | None = None
    restarts: int = 0
    rounds: int = 0
    failure: Failure | None = None

    def standing(self, step: Step) -> Standing | None:
        """How `step` stands, None when it was never begun."""
        return dict(self.standings).get(step)

    def done(self, step: Step) -> bool:
        """Whether it was done."""
        return self.standing(step) is Standing.DONE

    def at(self, step: Step) -> int:
        """When it came to stand so."""
        return dict(self.times).get(step, 0)

    @property
    def order(self) -> tuple[Step, ...]:
        """The steps of the case, or the preflight that finds it."""
        if self.case is None:
            return (Step.PREFLIGHT,)
        order = order_steps(self.plan, self.case)
        if self.rounds and order and Step.POWER_OFF not in order:
            # a half-made DC runs in the place of the new one
            return (Step.PREFLIGHT, Step.CONFIRM, Step.POWER_OFF, *order[2:])
        return order


def replay(plan: DcPlan, entries: Iterable[JournalEntry]) -> DcState:
    """The state after all entries of a journal."""
    state = DcState(plan=plan)
    for entry in entries:
        state = advance(state, entry)
    return state


def advance(state: DcState, entry: JournalEntry) -> DcState:
    """The state after one more entry."""
    match entry:
        case Resumed():
            return _resume(state)
        case OldStarted():
            return DcState(plan=state.plan)
        case Restarted():
            return dataclasses.replace(
                _without(state, entry.step), restart=None, restarts=state.restarts + 1
            )
        case Entry(step=Step.PREFLIGHT):
            return _preflight(_with(state, entry), entry)
        case Entry(step=Step.CONFIRM, standing=Standing.DONE):
            return _confirm(_with(state, entry), entry)
        case Entry(standing=Standing.UNDONE):
            return _without(state, entry.step)
        case Entry():
            return _step(_with(state, entry), entry)
        case _:
            assert_never(entry)


def _with(state: DcState, entry: Entry) -> DcState:
    standings = dict(state.standings) | {entry.step: entry.standing}
    times = dict(state.times) | {entry.step: entry.at}
    begun = entry.standing is not Standing.UNDONE
    return dataclasses.replace(
        state,
        standings=tuple(standings.items()),
        times=tuple(times.items()),
        changed=state.changed or (begun and entry.step not in READING),
        outside=state.outside or (begun and entry.step in OUTSIDE),
        arrived=state.arrived or (begun and entry.step is Step.INSTALL),
    )


def _without(state: DcState, *steps: Step) -> DcState:
    """The state as if `steps` had not been begun; what may have changed stays so."""
    standings = {step: how for step, how in state.standings if step not in steps}
    return dataclasses.replace(state, standings=tuple(standings.items()))


def _preflight(state: DcState, entry: Entry) -> DcState:
    if entry.standing is not Standing.DONE:
        return _failed(state, entry) if entry.standing is Standing.FAILED else state
    if not entry.held or entry.case is None or entry.case is Case.LAST:
        return _failed(state, dataclasses.replace(entry, standing=Standing.FAILED))
    changes = state.case is not None and state.case is not entry.case
    if changes and state.changed:
        reason = f"case {entry.case.value} now, case {state.case and state.case.value} before"
        return _failed(state, dataclasses.replace(entry, reason=reason))
    # who confirmed one case did not confirm another
    state = _without(state, Step.CONFIRM) if changes else state
    confirmed = state.confirmed and not changes
    return dataclasses.replace(
        state,
        case=entry.case,
        confirmed=confirmed,
        replaces=state.replaces or entry.case is not Case.NEW,
    )


def _confirm(state: DcState, entry: Entry) -> DcState:
    if entry.typed.strip().casefold() != state.plan.fqdn:
        reason = f"{entry.typed.strip()[:64]!r} was typed, not {state.plan.fqdn}"
        return _failed(state, dataclasses.replace(entry, reason=reason))
    return dataclasses.replace(state, confirmed=True)


def _step(state: DcState, entry: Entry) -> DcState:
    if entry.result is not None and not promotion_result(entry.result).success:
        remedy = promotion_result(entry.result).remedy
        if remedy is Remedy.REBOOT and state.restarts < RESTARTS:
            return dataclasses.replace(state, restart=entry.step)
        return _failed(state, entry)
    return _failed(state, entry) if entry.standing is Standing.FAILED else state


def _failed(state: DcState, entry: Entry) -> DcState:
    failed = _with(state, dataclasses.replace(entry, standing=Standing.FAILED))
    failure = Failure(step=entry.step, reason=entry.reason, result=entry.result)
    return dataclasses.replace(failed, failure=failure)


def _resume(state: DcState) -> DcState:
    failure = state.failure
    half_made = (
        failure is not None
        and failure.step is Step.PROMOTE
        and failure.result is not None
        and promotion_result(failure.result).remedy is Remedy.REBUILD
    )
    if half_made:
        return _begin_again(state)
    failed = [step for step, how in state.standings if how is Standing.FAILED]
    waited = {step for step, how in state.standings if how is Standing.WAITING}
    # who was asked to do something may have done it
    standings = tuple(
        (step, Standing.ASKED if step in waited else how) for step, how in state.standings
    )
    return dataclasses.replace(
        _without(dataclasses.replace(state, standings=standings), *failed),
        failure=None,
        restarts=0,
    )


def _begin_again(state: DcState) -> DcState:
    """A half-made DC is treated like an old one: looked at, switched off, cleaned up, installed.

    What may have changed outside stays so: the disk of the DC before it is never booted again.
    """
    return DcState(
        plan=state.plan,
        outside=True,
        replaces=state.replaces,
        arrived=state.arrived,
        rounds=state.rounds + 1,
    )
