"""What a run has made, said before and after each step: one file per host, written whole.

Whoever opens it can go on where the last process was killed: a step that was only intended is
looked for before it is tried. It holds no secret, only where secrets lie.
"""

import contextlib
import dataclasses
import enum
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import TypeAdapter

from builder.errors import ExitCode, WinseedError
from builder.files import draft, prepare_folder, target_errors
from builder.names import printable
from builder.record import record

VERSION = 1
NAME = "journal.json"


class Kind(enum.Enum):
    """What a run does."""

    DEPLOY = "deploy"
    REINSTALL = "reinstall"
    SETTLE = "settle"


class Outcome(enum.Enum):
    """How a run stands. `KEPT`: it failed after the first power-on, the VM is there to look at.

    `ROLLED_BACK`: a reinstallation that failed, and the old disk is back in its place.
    """

    OPEN = "open"
    SETTLED = "settled"
    UNDONE = "undone"
    KEPT = "kept"
    ROLLED_BACK = "rolled back"


class Standing(enum.Enum):
    """How a step stands; `INTENDED` may or may not have happened."""

    INTENDED = "intended"
    DONE = "done"
    UNDONE = "undone"


@record
class OldVm:
    """A VM as it was before a reinstallation: every setting as Proxmox VE wrote it."""

    settings: tuple[tuple[str, str], ...]
    running: bool

    def setting(self, key: str) -> str | None:
        """The value of `key` as it was written."""
        return dict(self.settings).get(key)


@record
class Answer:
    """The answer ISO: `size` in bytes, `sha256` in hex, where it lies here and on the cluster.

    `node` is the one it was uploaded to; the VM may be on another by now.
    """

    path: str
    size: int
    sha256: str
    volid: str
    node: str = ""


@record
class RunState:
    """Everything a run has to remember. `started` in seconds since 1970.

    `given`: the Administrator's final password came with the call and lies in no file of ours.
    `drawn`: the VMID was the next free one. `windows` and `virtio` are the volids of those discs,
    `cds` the slots of these two and of the answer ISO.
    `volumes` are the disks that this run made, by volid, `slots` where it puts those it begins
    with; `created`: the VM is of its making, `uuid` its own (smbios1).
    `powered`: the VM was about to be switched on for the first time, so undoing ends here.
    `tries`: how often a script has failed in the guest, by its step.
    `outside`: something beyond the VM has changed, so its old disk may not come back.
    `verb`: what began it, if that is more than the installation (`dc reinstall`).
    `neutral`: the answer ISO was deleted or overwritten. `doubtful`: discs that were in the VM and
    may be answer ISOs, but nothing proves it.
    """

    run: str
    kind: Kind
    host: str
    fingerprint: str
    nonce: str
    given: bool
    started: int
    node: str
    vmid: int
    drawn: bool = False
    windows: str = ""
    virtio: str = ""
    cds: tuple[str, ...] = ("ide2", "ide0", "sata0")
    created: bool = False
    adopted: OldVm | None = None
    old: OldVm | None = None
    volumes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    answer: Answer | None = None
    powered: bool = False
    outside: bool = False
    neutral: bool = False
    doubtful: tuple[str, ...] = ()
    tries: Mapping[str, int] = dataclasses.field(default_factory=dict)
    phase: str = ""
    outcome: Outcome = Outcome.OPEN
    failure: str = ""
    next: str = ""
    verb: str = ""
    slots: tuple[str, ...] = ()
    uuid: str = ""

    @property
    def call(self) -> str:
        """The call that goes on with the run, as `winseed deploy dc01`."""
        return f"winseed {self.verb or self.kind.value} {self.host}"


@record
class _Written:
    version: int
    state: RunState
    steps: dict[str, Standing]


_ADAPTER = TypeAdapter(_Written)


class Journal:
    """The journal of one host: `state` and how each step stands, on disk before anything else."""

    def __init__(self, path: Path, state: RunState, steps: dict[str, Standing]) -> None:
        self.path = path
        self._state = state
        self._steps = steps

    @property
    def state(self) -> RunState:
        """What is known now."""
        return self._state

    @property
    def steps(self) -> tuple[tuple[str, Standing], ...]:
        """Every step that was begun, in order."""
        return tuple(self._steps.items())

    def standing(self, step: str) -> Standing | None:
        """How `step` stands, None when it was never begun."""
        return self._steps.get(step)

    def keep(self, state: RunState) -> None:
        """Replace the state. Raises WinseedError (SPEC) when it cannot be written."""
        if state != self._state:
            self._write(state, self._steps)

    def mark(self, step: str, standing: Standing, **changes: object) -> None:
        """Say how a step stands, together with what it changes in the state."""
        state = dataclasses.replace(self._state, **changes)  # type: ignore[arg-type]
        self._write(state, {**self._steps, step: standing})

    def _write(self, state: RunState, steps: dict[str, Standing]) -> None:
        written = _Written(version=VERSION, state=state, steps=steps)
        data = _ADAPTER.dump_json(written, indent=1) + b"\n"
        with target_errors(self.path):
            prepare_folder(self.path)
            with draft(self.path) as (fd, _), os.fdopen(os.dup(fd), "wb") as file:
                file.write(data)
        self._state, self._steps = state, steps


def begin_journal(folder: Path, state: RunState) -> Journal:
    """A new journal in `folder`; the one of an ended run is set aside as `journal-<run>.json`."""
    path = folder / NAME
    if (old := load_journal(folder)) is not None:
        with target_errors(path):
            path.rename(folder / f"journal-{old.state.run}.json")
    journal = Journal(path, state, {})
    journal.mark("begin", Standing.DONE)
    return journal


def load_journal(folder: Path) -> Journal | None:
    """The journal of a host, None without one; WinseedError (SPEC) for a file that is none."""
    return read_journal(folder / NAME)


def read_journal(path: Path) -> Journal | None:
    """The journal in a file, None when there is no such file; WinseedError (SPEC) for another."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        what = f"cannot read {printable(path)}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from None
    try:
        written = _ADAPTER.validate_json(data)
    except ValueError:  # ValidationError is one
        written = None
    if written is None or written.version != VERSION:
        raise WinseedError(
            f"{printable(path)} is no journal of this winseed",
            code=ExitCode.SPEC,
            hint="use the version that wrote it, or look at the VM and move the file away",
        )
    return Journal(path, written.state, written.steps)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes away from a host's folder; the lock ends with the process.

    Raises WinseedError (UNSAFE) when another one has it.
    """
    path = folder / ".lock"
    with target_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WinseedError(
                f"another winseed works on {printable(folder)}",
                code=ExitCode.UNSAFE,
                hint="wait for it, or stop it; `winseed status` tells how far it is",
            ) from None
        yield
    finally:
        os.close(fd)
