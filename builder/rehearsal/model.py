"""What a rehearsal says: steps with a verdict, grouped in the stages of Setup, and three pictures.

Values only. `report.py` prints them, the HTML page draws them.
"""

import enum
from collections.abc import Iterable

from builder.errors import ExitCode
from builder.record import record


class Verdict(enum.Enum):
    """What a step comes to, from best to worst."""

    OK = "ok"  # documented or measured to work with what was read
    NOT_CHECKED = "not checked"  # something that is needed to tell was not given
    RISK = "risk"  # rests on belief, on chance, or on a person
    STOP = "stop"  # Setup stops, or ends in a system that is not the one asked for


RANK = tuple(Verdict)


@record
class Step:
    """One thing that Setup will do. `id` is stable: `<stage>.<what>`.

    `beliefs` are ids of `answer_templates/beliefs.toml`. `code` is what a stop exits with.
    """

    id: str
    verdict: Verdict
    what: str
    why: str = ""
    fix: str = ""
    source: str = ""
    beliefs: tuple[str, ...] = ()
    code: ExitCode = ExitCode.DONE


def passed(name: str, what: str, *, source: str = "") -> Step:
    """A step that will work."""
    return Step(id=name, verdict=Verdict.OK, what=what, source=source)


def unknown(name: str, what: str, *, fix: str = "", source: str = "") -> Step:
    """A step nobody can judge with what was given; `fix` says what to give."""
    return Step(id=name, verdict=Verdict.NOT_CHECKED, what=what, fix=fix, source=source)


def risk(
    name: str,
    what: str,
    *,
    why: str = "",
    fix: str = "",
    source: str = "",
    beliefs: Iterable[str] = (),
) -> Step:
    """A step that may go wrong."""
    return Step(
        id=name,
        verdict=Verdict.RISK,
        what=what,
        why=why,
        fix=fix,
        source=source,
        beliefs=tuple(beliefs),
    )


def stop(
    name: str, what: str, *, code: ExitCode, why: str = "", fix: str = "", source: str = ""
) -> Step:
    """A step that will go wrong; `code` is ANSWER, MEDIA or UNSAFE."""
    return Step(
        id=name, verdict=Verdict.STOP, what=what, why=why, fix=fix, source=source, code=code
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of them; OK for none."""
    return max(verdicts, key=RANK.index, default=Verdict.OK)


@record
class Stage:
    """A stage of Setup with its steps, in the order in which they happen."""

    key: str
    title: str
    steps: tuple[Step, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest of its steps."""
        return worst(step.verdict for step in self.steps)


@record
class DriveLetters:
    """A CD drive and the letters it may get; `needed` tells that something is read from it."""

    slot: str
    disc: str
    kind: str
    letters: tuple[str, ...]
    needed: bool


@record
class LetterMap:
    """Every drive against every letter of Windows PE. `assignments` counts the ways to deal them.

    `tried` are the letters that driver paths name.
    """

    drives: tuple[DriveLetters, ...]
    letters: tuple[str, ...]
    tried: tuple[str, ...]
    assignments: int


@record
class DrawnPartition:
    """A partition as it will lie on the disk; sizes in MiB, `number` 0 for unused space."""

    number: int
    kind: str
    label: str
    filesystem: str
    start_mib: int
    size_mib: int
    windows: bool


@record
class DrawnDisk:
    """The install disk after DiskConfiguration; `style` is GPT or MBR."""

    slot: str
    size_mib: int
    style: str
    partitions: tuple[DrawnPartition, ...]


@record
class DeviceRow:
    """A device of the machine and what serves it; verdicts for Windows PE and for the system."""

    device: str
    pci: str
    driver: str
    package: str
    winpe: Verdict | None
    system: Verdict
    note: str


@record
class Rehearsal:
    """The whole walk. `machine` names the VM, `answer` the disc whose answer file was read."""

    machine: str
    answer: str
    release: str
    stages: tuple[Stage, ...]
    letters: LetterMap | None
    disk: DrawnDisk | None
    devices: tuple[DeviceRow, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step in the order of Setup."""
        return tuple(step for stage in self.stages for step in stage.steps)

    @property
    def verdict(self) -> Verdict:
        """The gravest of all."""
        return worst(step.verdict for step in self.steps)

    @property
    def exit_code(self) -> ExitCode:
        """DONE without a stop, else the gravest code of the stops: a wipe before a refusal."""
        codes = [step.code for step in self.steps if step.verdict is Verdict.STOP]
        return max(codes, default=ExitCode.DONE)

    def count(self, verdict: Verdict) -> int:
        """How many steps came to `verdict`."""
        return sum(step.verdict is verdict for step in self.steps)
