"""One call: what the machine says is done, until it asks, waits, halts or finishes."""

from builder.domain.calls import script_of
from builder.domain.change.by_hand import write_question
from builder.domain.change.effects import perform, restart_for
from builder.domain.change.looks import look
from builder.domain.change.power import boot_old
from builder.domain.change.run import DcRun, call_id
from builder.domain.change.told import Ending
from builder.domain.machine import (
    Ask,
    BootOld,
    Finish,
    Halt,
    Look,
    OldDisk,
    Perform,
    Restart,
    Wait,
    next_step,
)
from builder.domain.state import Entry, OldStarted, Restarted, Resumed, Standing
from builder.domain.steps import Step
from builder.errors import ExitCode


def carry_on(run: DcRun) -> Ending:
    """Go on until somebody is needed, or all is done.

    Raises WinseedError, and then the journal says what was begun: `resume` looks for it.
    """
    while True:
        action = next_step(run.state, run.policy, run.entropy.now())
        match action:
            case Perform(step=step):
                perform(run, step)
            case Look(step=step):
                look(run, step)
            case Restart(before=step):
                restart_for(run, step)
                run.add(Restarted(step=step, at=run.entropy.now()))
            case BootOld() if run.journal.record.spoiled:
                return _kept_off(run)
            case BootOld():
                run.say("start the old DC again")
                boot_old(run)
                run.add(OldStarted(at=run.entropy.now()))
                return action
            case Wait(step=step):
                run.write(step, Standing.WAITING)
                _offer(run, step)
                return action
            case Ask() | Halt() | Finish():
                return action


def confirm(run: DcRun, typed: str) -> None:
    """Write what a person has typed."""
    now = run.entropy.now()
    run.add(Entry(step=Step.CONFIRM, standing=Standing.DONE, at=now, typed=typed))


def resume(run: DcRun) -> None:
    """Somebody calls again: what had failed is tried again, what was only begun is looked for."""
    run.add(Resumed(at=run.entropy.now()))


def _offer(run: DcRun, step: Step) -> None:
    """The change as a script, for the person who makes it."""
    script = script_of(step, run.plan)
    back = run.journal.record.roles if step is Step.ROLES_BACK else ()
    question = call_id(run, script, step)
    path = write_question(run.case.folder, run.plan, script, question, back=back)
    run.note(f"the same as a script, to be read and run there: {path}")


def _kept_off(run: DcRun) -> Halt:
    """A change that was given up may have reached the domain: its DC is not started by us."""
    return Halt(
        step=Step.POWER_OFF,
        reason="a change before this one was given up and may have changed the domain",
        next=f"look at the domain on the partner first; then {run.call} --resume",
        code=ExitCode.UNSAFE,
        old=OldDisk.KEEP_DETACHED,
    )
