"""How every change to a domain stands that has a journal below a folder, for `winseed status`."""

from pathlib import Path
from typing import Any

from builder.domain.change.journal import NAME, DcJournal, load_dc_journal
from builder.domain.change.told import OLD_DISKS
from builder.domain.machine import Finish, Policy, next_step, old_disk
from builder.domain.state import Standing
from builder.errors import ExitCode, WinseedError


def find_changes(output: Path) -> tuple[tuple[DcJournal, ...], tuple[str, ...]]:
    """The journals, and what is none."""
    found, broken = [], []
    for path in sorted(output.glob(f"*/{NAME}")):
        try:
            journal = load_dc_journal(path.parent)
        except WinseedError as error:
            broken.append(error.what)
        else:
            found += [journal] if journal else []
    return tuple(found), tuple(broken)


def refuse_unfinished(folder: Path) -> None:
    """Raise WinseedError (UNSAFE) while a change to a domain is under way in a host's folder."""
    journal = load_dc_journal(folder)
    if journal is None:
        return
    row = change_row(journal)
    if row["next"]:
        raise WinseedError(
            f"{row['fqdn']} is not done: dc {row['verb']}, {row['standing']}",
            code=ExitCode.UNSAFE,
            hint=f"its old disk is kept until the domain is in order: {row['next']}",
        )


def change_lines(journal: DcJournal) -> list[str]:
    """A change in a few lines."""
    row = change_row(journal)
    lines = [f"{row['fqdn']}: dc {row['verb']}, {row['standing']}"]
    lines += [f"  {text}" for text in (row["failure"], row["old_disk_told"]) if text]
    return [*lines, f"  next: {row['next']}"] if row["next"] else lines


def change_row(journal: DcJournal) -> dict[str, Any]:
    """A change as JSON values."""
    state, kept = journal.state, journal.record
    # nobody is asked here, so time does not matter: what is stale is done again
    finished = isinstance(next_step(state, Policy(), state_time(journal)), Finish)
    begun = [step.value for step, how in state.standings if how is not Standing.DONE]
    call = f"winseed dc {kept.verb} {kept.plan.host}"
    at = begun[-1] if begun else "between two steps"
    again = f"{call} --resume" if state.changed else call
    return {
        "fqdn": kept.plan.fqdn,
        "verb": kept.verb,
        "standing": "finished" if finished else f"at {at}",
        "failure": state.failure.reason if state.failure else "",
        "old_disk": old_disk(state).value,
        "old_disk_told": OLD_DISKS[old_disk(state)],
        "next": "" if finished else again,
    }


def state_time(journal: DcJournal) -> int:
    """When the last entry was written."""
    return max((entry.at for entry in journal.entries), default=0)
