"""From an installed Windows to a settled VM, in the order of the design: decisions 8 and 9.

The one-time password is rotated first; then accounts, join and data disks; scrub; no medium in any
CD drive; the answer ISO gone; one shutdown and start, which applies what is pending; and only then
the verdict.
"""

from collections.abc import Callable, Iterator, Mapping

from builder.errors import ExitCode, Problem, WinseedError
from builder.guest.call import GuestResult, call_guest
from builder.guest.envelope import Given, load_script
from builder.guest.facts import fixed_letters, inspect_guest
from builder.guest.judge import judge_guest
from builder.install.disk_steps import attach_disk_steps
from builder.install.engine import Step, perform
from builder.install.journal import Outcome
from builder.install.media_steps import delete_answer_step, eject_step, remove_local
from builder.install.opening import one_time_file
from builder.install.order import LocalAccount, Settlement
from builder.install.power_steps import onboot_step, shutdown_step, start_again_step
from builder.install.run import Run
from builder.proxmox.agent import GuestAgent
from builder.proxmox.findings import Level

PayloadOf = Callable[[Run], Mapping[str, Given]]
DATA_DISKS = "data-disks"
QUICK, LONG = 600.0, 3600.0  # seconds: until the agent is back from a restart, and for disks
PLUGGED, PLUGGED_PAUSE = 120.0, 5.0  # until Windows has found a disk that was plugged in


def settle(run: Run) -> None:
    """Do everything that is left once Windows is installed. Raises WinseedError at the first."""
    for step in settle_steps(run.order.settlement, run):
        perform(run, step)
    verify(run)
    perform(run, onboot_step())
    perform(run, _guest_step("remove", _nothing, QUICK))
    run.keep(outcome=Outcome.SETTLED, failure="", next="")


def settle_steps(settlement: Settlement, run: Run) -> Iterator[Step]:
    """The steps up to the second start, in order."""
    yield _guest_step("rotate", _rotation, QUICK)
    yield Step(name="forget-one-time", look=lambda _run: False, act=_forget)
    if settlement.accounts:
        yield _guest_step("accounts", _accounts, QUICK)
    if settlement.join_blob is not None:
        yield _guest_step("join", _join, QUICK, prepare=_mark_outside)
    live = tuple(drive for drive in run.order.data_drives if drive.hotplug)
    cold = tuple(drive for drive in run.order.data_drives if not drive.hotplug)
    yield from attach_disk_steps(live)
    if live and not cold and run.order.plan.disk.data_disks:
        yield Step(name=DATA_DISKS, look=lambda _run: False, act=_prepare_disks)
    yield _guest_step("scrub", _nothing, QUICK)
    yield eject_step()
    yield delete_answer_step()
    yield shutdown_step()
    # ide and sata drives wait for the VM to be off, whenever they are added
    yield from attach_disk_steps(cold)
    yield start_again_step()
    if cold and run.order.plan.disk.data_disks:
        yield Step(name=DATA_DISKS, look=lambda _run: False, act=_prepare_disks)


def verify(run: Run) -> None:
    """Ask Windows what it is now. Raises WinseedError (UNSETTLED) with all that is not right."""
    run.say("verify")
    facts = inspect_guest(guest_of(run), id=f"{run.state.run}-facts", timeout=QUICK)
    findings = judge_guest(run.order.plan, facts, joined=run.order.settlement.join_blob is not None)
    wrong = [finding for finding in findings if finding.level is Level.STOP]
    for finding in findings:
        if finding.level is Level.WARN:
            run.say(f"{finding.subject}: {finding.what}")
    if wrong:
        raise WinseedError(
            f"{run.state.host} is installed, but not as planned",
            code=ExitCode.UNSETTLED,
            problems=tuple(
                Problem(where=one.subject, what=one.what, hint=one.hint) for one in wrong
            ),
            hint=f"mend it in the guest, then: {_verb(run)} --resume",
        )


def guest_of(run: Run) -> GuestAgent:
    """The agent in the run's VM."""
    return run.agent()


def _guest_step(
    name: str,
    payload: PayloadOf,
    timeout: float,
    *,
    prepare: Callable[[Run], None] = lambda _run: None,
) -> Step:
    """A script in the guest; the same id never runs it twice, so it is simply sent again."""

    def act(run: Run) -> None:
        _call(run, name, payload, timeout)

    return Step(name=name, prepare=prepare, look=lambda _run: False, act=act)


def _prepare_disks(run: Run) -> None:
    """Have Windows prepare its disks, again until it has found those that were plugged in just now.

    The script ends well without them, and its start-up task goes on at the next start: `verify`
    would come too early for that.
    """
    end = run.clock.now() + PLUGGED
    wanted = {disk.letter.upper() for disk in run.order.plan.disk.data_disks}
    while True:
        result = _call(run, DATA_DISKS, _nothing, LONG)
        if wanted <= fixed_letters(result.values) or run.clock.now() >= end:
            return
        run.keep(tries={**run.state.tries, DATA_DISKS: run.state.tries.get(DATA_DISKS, 0) + 1})
        run.clock.pause(PLUGGED_PAUSE)


def _call(run: Run, name: str, payload: PayloadOf, timeout: float) -> GuestResult:
    tried = run.state.tries.get(name, 0)
    result = call_guest(
        guest_of(run),
        load_script(name),
        id=f"{run.state.run}-{name}-{tried}",
        payload=payload(run),
        timeout=timeout,
    )
    if result.code:
        # the guest keeps this answer under this id for ever: the next try needs another
        run.keep(tries={**run.state.tries, name: tried + 1})
    refuse_failure(run, name, result)
    return result


def refuse_failure(run: Run, name: str, result: GuestResult) -> None:
    """Raise WinseedError (UNSETTLED) when a script says that it failed."""
    if result.code:
        raise WinseedError(
            f"`{name}` failed in {run.state.host}: {result.message}",
            code=ExitCode.UNSETTLED,
            hint=f"mend it in the guest, then: {_verb(run)} --resume",
        )


def _verb(run: Run) -> str:
    return run.state.call


def _mark_outside(run: Run) -> None:
    """From a join on the old disk may not boot any more: two computers would share one account."""
    run.keep(outside=True)


def _nothing(_run: Run) -> Mapping[str, Given]:
    return {}


def _rotation(run: Run) -> Mapping[str, Given]:
    return {"password": run.order.settlement.administrator}


def _accounts(run: Run) -> Mapping[str, Given]:
    return {"accounts": tuple(_account(one) for one in run.order.settlement.accounts)}


def _account(account: LocalAccount) -> Mapping[str, Given]:
    return {
        "name": account.name,
        "FullName": account.full_name,
        "Description": account.description,
        "groups": account.group_sids,
        "password": account.password,
    }


def _join(run: Run) -> Mapping[str, Given]:
    return {"blob": run.order.settlement.join_blob}


def _forget(run: Run) -> None:
    """The one-time password opens nothing any more: rotation has been checked in the guest."""
    one_time_file(run.folder, run.state).unlink(missing_ok=True)
    remove_local(run)
