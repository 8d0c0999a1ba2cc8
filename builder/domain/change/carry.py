"""One call: what the machine says is done, until it asks, waits, halts or finishes."""

from builder.domain.change.effects import perform, restart_for
from builder.domain.change.looks import look
from builder.domain.change.power import boot_old
from builder.domain.change.run import DcRun
from builder.domain.change.told import Ending
from builder.domain.machine import (
    Ask,
    BootOld,
    Finish,
    Halt,
    Look,
    Perform,
    Restart,
    Wait,
    next_step,
)
from builder.domain.state import Entry, OldStarted, Restarted, Resumed, Standing
from builder.domain.steps import Step


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
            case BootOld():
                run.say("start the old DC again")
                boot_old(run)
                run.add(OldStarted(at=run.entropy.now()))
                return action
            case Wait(step=step):
                run.write(step, Standing.WAITING)
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
