"""How a call ended, for people and for programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builder.domain.change.by_hand import AwaitedError
from builder.domain.change.run import DcRun
from builder.domain.machine import Ask, BootOld, Finish, Halt, OldDisk, Wait, old_disk
from builder.domain.plan import Mode
from builder.domain.runbook import make_runbook
from builder.domain.state import DcState, Standing
from builder.domain.steps import Step
from builder.errors import ExitCode, WinseedError
from builder.install.opening import administrator_file
from builder.record import record

VERSION = 1
Ending = Ask | Wait | Halt | Finish | BootOld
OLD_DISKS = {
    OldDisk.NONE: "",
    OldDisk.IN_PLACE: "the old DC was not touched",
    OldDisk.BOOT: "the old DC is off and nothing else has changed: --undo starts it again",
    OldDisk.KEEP_DETACHED: "the old disk may never be booted again: it is only kept, detached",
}


@record
class Outcome:
    """How a call ended. `ending` as finished, waiting, stopped, undone, failed, interrupted."""

    ending: str
    code: ExitCode
    step: Step | None
    reason: str
    next: str
    lines: tuple[str, ...]


def outcome_of(run: DcRun, ending: Ending) -> Outcome:
    """What the machine ended with."""
    match ending:
        case Finish():
            return Outcome(
                ending="finished",
                code=ExitCode.DONE,
                step=None,
                reason="",
                next="",
                lines=tuple(report_lines(run)),
            )
        case Wait(step=step):
            return Outcome(
                ending="waiting",
                code=ExitCode.UNSAFE,
                step=step,
                reason=ending.reason,
                next=ending.next,
                lines=tuple(command_lines(run, step)),
            )
        case Halt(step=step):
            return Outcome(
                ending="stopped" if ending.code else "nothing to undo",
                code=ending.code,
                step=step,
                reason=ending.reason,
                next=ending.next,
                lines=_disk_lines(run.state),
            )
        case BootOld():
            return Outcome(
                ending="undone",
                code=ExitCode.DONE,
                step=None,
                reason="",
                next="",
                lines=("the old DC is started again: look that it replicates",),
            )
        case Ask(expected=expected):
            return Outcome(
                ending="stopped",
                code=ExitCode.UNSAFE,
                step=Step.CONFIRM,
                reason="nobody has typed the name; nothing was changed",
                next=f"{run.call} --yes {expected}",
                lines=(),
            )


def broken_off(run: DcRun, error: WinseedError | None) -> Outcome:
    """A call that an error or Ctrl-C (None) has cut off: what is known, and what to do."""
    state = run.state
    if isinstance(error, AwaitedError):
        return Outcome(
            ending="waiting",
            code=error.code,
            step=_begun(state)[-1],
            reason=error.what,
            next=f"{run.call} --resume",
            lines=(*error.lines, *_disk_lines(state)),
        )
    begun = _begun(state)
    where = begun[-1] if begun else None
    lines = [f"{step.value} was begun, its end is not known: it is looked for" for step in begun]
    again = f"{run.call} --resume" if state.changed else f"{run.call}; nothing was changed"
    return Outcome(
        ending="failed" if error else "interrupted",
        code=error.code if error else ExitCode.INTERRUPTED,
        step=where,
        reason=error.what if error else "interrupted",
        next=again,
        lines=(*lines, *_disk_lines(state)),
    )


def report_lines(run: DcRun) -> list[str]:
    """What a person is told at the end."""
    plan, engine, folder = run.plan, run.engine(), run.case.folder
    lines = [f"{plan.fqdn} is a domain controller ({plan.mode.value}, {plan.release_name})"]
    if engine is not None:
        lines.append(f"VM {engine.state.vmid} on {engine.state.node}")
        lines += _password_lines(run, administrator_file(folder, engine.state))
        if engine.state.unused:
            lines.append(
                f"destroy the old disks once you trust it: winseed reinstall {plan.host} --accept"
            )
    lines += _disk_lines(run.state)
    lines.append("make a system state backup of it soon")
    if plan.user:
        lines.append(f"end the membership of {plan.user}, or change its password")
    return lines


def _password_lines(run: DcRun, path: Path) -> list[str]:
    if not path.exists():
        return []
    if run.plan.mode is Mode.NEW_FOREST:
        return [f"the domain's Administrator has the password in {path}"]
    return [f"delete {path}: the local Administrator went with the promotion"]


def command_lines(run: DcRun, step: Step) -> list[str]:
    """What a person does in the place of winseed."""
    runbook = make_runbook(run.plan, run.state.case)
    found = [one for one in runbook.steps if one.step is step]
    return [
        *(f"on {one.machine}: {one.title}" for one in found),
        *(f"  > {command}" for one in found for command in one.commands),
        *(f"  check: {check}" for one in found for check in one.checks),
        *_disk_lines(run.state),
    ]


def outcome_document(run: DcRun, outcome: Outcome, notes: Sequence[str]) -> dict[str, Any]:
    """The end of a call as JSON values."""
    state = run.state
    return {
        "version": VERSION,
        "host": run.plan.host,
        "fqdn": run.plan.fqdn,
        "verb": run.journal.record.verb,
        "ending": outcome.ending,
        "code": int(outcome.code),
        "case": state.case.value if state.case else None,
        "done": [step.value for step, how in state.standings if how is Standing.DONE],
        "step": outcome.step.value if outcome.step else None,
        "reason": outcome.reason,
        "next": outcome.next,
        "old_disk": old_disk(state).value,
        "lines": list(outcome.lines),
        "notes": list(notes),
    }


def _disk_lines(state: DcState) -> tuple[str, ...]:
    told = OLD_DISKS[old_disk(state)]
    return (told,) if told else ()


def _begun(state: DcState) -> list[Step]:
    begun = {Standing.INTENDED, Standing.ASKED}
    return [step for step, how in state.standings if how in begun]
