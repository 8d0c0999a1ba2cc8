"""What a change to a domain has come to, on disk before and after each step: `dc.json`.

It lies beside the journal of the installation that the change has in its middle. It holds no
secret, only where one lies.
"""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from builder.domain.cases import Case
from builder.domain.plan import DcPlan
from builder.domain.state import (
    DcState,
    Entry,
    JournalEntry,
    OldStarted,
    Restarted,
    Resumed,
    Standing,
    replay,
)
from builder.domain.steps import Step
from builder.errors import ExitCode, WinseedError
from builder.files import draft, prepare_folder, target_errors
from builder.names import printable
from builder.record import record

NAME = "dc.json"


@record
class DcRecord:
    """What is remembered beside the entries.

    `run`: hex digits of this change, the beginning of every id in a guest. `verb` as `reinstall`.
    `installs`: the runs of the engine that this change began, the last one counts. `roles`: what
    the old DC held, in the words of the cmdlets. `onboot`: how the old VM started with its node.
    `spoiled`: a change before this one may have changed the domain, and was given up.
    """

    run: str
    verb: str
    plan: DcPlan
    installs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    onboot: bool | None = None
    spoiled: bool = False


@record
class _Row:
    """An entry as it is written; `kind` tells which."""

    kind: Literal["step", "restarted", "resumed", "old-started"]
    at: int
    step: Step | None = None
    standing: Standing | None = None
    case: Case | None = None
    held: bool = False
    typed: str = ""
    result: int | None = None
    reason: str = ""


@record
class _Written:
    version: Literal[1]
    record: DcRecord
    entries: tuple[_Row, ...]


_ADAPTER = TypeAdapter(_Written)


class DcJournal:
    """The journal of one change: `record` and `entries`, on disk before anything else."""

    def __init__(self, path: Path, kept: DcRecord, entries: tuple[JournalEntry, ...]) -> None:
        self.path = path
        self._record = kept
        self._entries = entries

    @property
    def record(self) -> DcRecord:
        """What is remembered."""
        return self._record

    @property
    def entries(self) -> tuple[JournalEntry, ...]:
        """Everything that was written, in order."""
        return self._entries

    @property
    def state(self) -> DcState:
        """What the entries add up to."""
        return replay(self._record.plan, self._entries)

    def add(self, entry: JournalEntry) -> None:
        """Write one more entry. Raises WinseedError (SPEC) when that is not possible."""
        self._write(self._record, (*self._entries, entry))

    def keep(self, kept: DcRecord) -> None:
        """Replace what is remembered."""
        if kept != self._record:
            self._write(kept, self._entries)

    def attempt(self, step: Step, *, answers: bool = False) -> str:
        """The round and the try of a step: each has an id of its own in the guest.

        `answers`: a try that went well counts as well.
        """
        missed = {Standing.FAILED, Standing.UNDONE} | ({Standing.DONE} if answers else set())
        tries = sum(_ended(entry, step, missed) for entry in self._entries)
        return f"{self.state.rounds}.{tries}"

    def _write(self, kept: DcRecord, entries: tuple[JournalEntry, ...]) -> None:
        rows = tuple(_row(entry) for entry in entries)
        data = _ADAPTER.dump_json(_Written(version=1, record=kept, entries=rows), indent=1)
        with target_errors(self.path):
            prepare_folder(self.path)
            with draft(self.path) as (fd, _), os.fdopen(os.dup(fd), "wb") as file:
                file.write(data + b"\n")
        self._record, self._entries = kept, entries


def begin_dc_journal(folder: Path, kept: DcRecord) -> DcJournal:
    """A new journal in `folder`; an old one is set aside as `dc-<run>.json`."""
    path = folder / NAME
    if (old := load_dc_journal(folder)) is not None:
        with target_errors(path):
            path.rename(folder / f"dc-{old.record.run}.json")
    journal = DcJournal(path, dataclasses.replace(kept, run=""), ())
    journal.keep(kept)
    return journal


def load_dc_journal(folder: Path) -> DcJournal | None:
    """The journal in `folder`, None without one; WinseedError (SPEC) for a file that is none."""
    path = folder / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        what = f"cannot read {printable(path)}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from None
    try:
        written = _ADAPTER.validate_json(data)
    except ValidationError:
        raise WinseedError(
            f"{printable(path)} is no journal of this winseed",
            code=ExitCode.SPEC,
            hint="use the version that wrote it, or look at the domain and move the file away",
        ) from None
    return DcJournal(path, written.record, tuple(_entry(row) for row in written.entries))


def _ended(entry: JournalEntry, step: Step, how: set[Standing]) -> bool:
    return isinstance(entry, Entry) and entry.step is step and entry.standing in how


def _row(entry: JournalEntry) -> _Row:
    match entry:
        case Entry():
            return _Row(
                kind="step",
                at=entry.at,
                step=entry.step,
                standing=entry.standing,
                case=entry.case,
                held=entry.held,
                typed=entry.typed,
                result=entry.result,
                reason=entry.reason,
            )
        case Restarted():
            return _Row(kind="restarted", at=entry.at, step=entry.step)
        case Resumed():
            return _Row(kind="resumed", at=entry.at)
        case OldStarted():
            return _Row(kind="old-started", at=entry.at)


def _entry(row: _Row) -> JournalEntry:
    step, standing = row.step or Step.PREFLIGHT, row.standing or Standing.INTENDED
    match row.kind:
        case "step":
            return Entry(
                step=step,
                standing=standing,
                at=row.at,
                case=row.case,
                held=row.held,
                typed=row.typed,
                result=row.result,
                reason=row.reason,
            )
        case "restarted":
            return Restarted(step=step, at=row.at)
        case "resumed":
            return Resumed(at=row.at)
        case "old-started":
            return OldStarted(at=row.at)
