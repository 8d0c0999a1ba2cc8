"""How far an installation is, from what can be seen of it: a fold over observations, nothing else.

QEMU's counters begin at zero when a VM is switched on, go on through every restart of the guest,
and say which drive was read (proxmox/qemu-server src/PVE/QemuServer.pm:2699, `blockstat`). COM1
tells more and sooner where somebody reads it (`told.py`). The limits below are general knowledge,
not measured on Windows (FT25).
"""

import dataclasses
import enum

from builder.install.patience import Patience
from builder.install.told import Told, load_told
from builder.record import record

MIB = 1024**2
# the boot loader reads a few MiB from the CD, boot.wim has hundreds
BEGUN = 10 * MIB
# formatting the partitions writes some tens of MiB, an image some thousands
APPLYING, APPLIED = 300 * MIB, 2048 * MIB
CD_QUIET = 180.0  # seconds: then Setup has no more to read and the installed system starts
SEEN_TWICE = 2
COMPLETE = "IMAGE_STATE_COMPLETE"
CRASHED = frozenset({"internal-error", "guest-panicked"})
HELD = frozenset({"paused", "finish-migrate", "inmigrate", "postmigrate", "save-vm", "restore-vm"})


class Phase(enum.Enum):
    """What a VM is doing while Windows installs itself, in this order."""

    OFF = "off"
    FIRMWARE = "firmware"
    PROMPT = "prompt"  # the boot loader of the CD was read: it asks for a key
    WINPE = "winpe"
    APPLY = "apply"  # the image is written to the install disk
    SPECIALIZE = "specialize"
    FIRST_BOOT = "first-boot"
    AGENT = "agent"  # the guest agent answers
    MARKED = "marked"  # the final marker was seen twice

    @property
    def rank(self) -> int:
        """Its place in the order, from 0."""
        return _RANKS[self]

    @property
    def title(self) -> str:
        """As people read it."""
        return _TITLES[self]


_RANKS = {phase: rank for rank, phase in enumerate(Phase)}
_TITLES = {
    Phase.OFF: "off",
    Phase.FIRMWARE: "firmware",
    Phase.PROMPT: "boot from CD",
    Phase.WINPE: "Windows PE",
    Phase.APPLY: "applying the image",
    Phase.SPECIALIZE: "first start of Windows",
    Phase.FIRST_BOOT: "first boot steps",
    Phase.AGENT: "agent answers",
    Phase.MARKED: "installed",
}


@record
class Marker:
    """The marker in Windows, `done.json`: the build it is of and the steps that failed.

    `image_state` as Windows Setup keeps it, "" when it was not read.
    """

    id: str
    ok: bool
    failed: tuple[str, ...]
    image_state: str = ""


@record
class Observation:
    """What was seen at one moment. `at` in seconds of the run's clock.

    `qmp` as QEMU says (`running`, `paused`, `io-error`), `uptime` of QEMU in seconds, `read` and
    `written` in bytes from the install CD and to the install disk since QEMU started. `serial`:
    the lines since the last time. `agent` is None when it was not asked.
    """

    at: float
    running: bool
    qmp: str
    uptime: int
    read: int
    written: int
    serial: tuple[str, ...] = ()
    agent: bool | None = None
    marker: Marker | None = None
    lock: str = ""
    managed: bool = False


@record
class Progress:
    """How far an installation is. Times in seconds of the run's clock.

    `started`: when the watch began; `since`: when the phase did; `active`: the last sign of life.
    `quiet_cd`: since when the CD was not read. `off_since`: None while the VM runs. `restarts`:
    how often QEMU was started again. `asked`: when the agent was asked last. `foreign`: the build
    whose marker or lines were found instead of ours.
    """

    fingerprint: str
    started: float
    at: float
    phase: Phase
    since: float
    active: float
    quiet_cd: float
    off_since: float | None
    qmp: str
    uptime: int
    read: int
    written: int
    lively_read: int
    lively_written: int
    told: Told
    restarts: int = 0
    managed: bool = False
    asked: float | None = None
    sightings: int = 0
    marker: Marker | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the watch began."""
        return self.at - self.started

    @property
    def foreign(self) -> str:
        """The other build that runs in the VM, "" when none does."""
        if self.marker and self.fingerprint not in {"", self.marker.id}:
            return self.marker.id
        return self.told.foreign


def start_progress(fingerprint: str, at: float, *, phase: Phase = Phase.OFF) -> Progress:
    """Where a watch begins; `phase` is the one a watch before it had reached."""
    return Progress(
        fingerprint=fingerprint, started=at, at=at, phase=phase, since=at, active=at, quiet_cd=at,
        off_since=None, qmp="", uptime=0, read=0, written=0, lively_read=0, lively_written=0,
        told=Told(),
    )  # fmt: skip


def advance(progress: Progress, seen: Observation) -> Progress:
    """`progress` after one more observation. It never goes back, and stays where it is marked."""
    if progress.phase is Phase.MARKED:
        return progress
    progress = _with_times(progress, seen)
    told = load_told(progress.told, seen.serial, fingerprint=progress.fingerprint)
    spoke = told.lines != progress.told.lines
    progress = dataclasses.replace(progress, told=told)
    progress = _with_counters(_with_agent(progress, seen), seen)
    phase = _find_phase(progress, seen)
    if phase is not progress.phase:
        progress = dataclasses.replace(progress, phase=phase, since=progress.at)
        spoke = True
    return dataclasses.replace(progress, active=progress.at) if spoke else progress


def needs_agent(progress: Progress, now: float, patience: Patience) -> bool:
    """Whether the agent is due: every call to one that is not there blocks its node for 3 s.

    The first boot installs it and says so on COM1. Where COM1 is silent, it is asked after a time.
    """
    if progress.off_since is not None or progress.qmp in HELD:
        return False
    if progress.asked is not None and now - progress.asked < patience.agent_pause:
        return False
    match progress.phase:
        case Phase.FIRST_BOOT | Phase.AGENT:
            return True
        case Phase.SPECIALIZE:
            told = bool(progress.told.lines)
            wait = patience.agent_after_told if told else patience.agent_after
            return now - progress.since >= wait
        case _:
            return False


def _with_times(progress: Progress, seen: Observation) -> Progress:
    """Time goes on; while somebody holds the VM (backup, migration) the phase's clock stands."""
    at = max(progress.at, seen.at)
    passed = at - progress.at
    held = passed if seen.running and (seen.lock or seen.qmp in HELD) else 0.0
    off_since = None if seen.running else progress.off_since
    if not seen.running and off_since is None:
        off_since = at
    return dataclasses.replace(
        progress,
        at=at,
        since=min(progress.since + held, at),
        active=min(progress.active + held, at),
        quiet_cd=min(progress.quiet_cd + held, at),
        off_since=off_since,
        qmp=seen.qmp,
        managed=seen.managed,
    )


def _with_counters(progress: Progress, seen: Observation) -> Progress:
    if not seen.running:
        return progress
    began_again = seen.uptime < progress.uptime
    grown = (
        abs(seen.read - progress.lively_read) >= MIB
        or abs(seen.written - progress.lively_written) >= MIB
    )
    if grown:
        progress = dataclasses.replace(
            progress, active=progress.at, lively_read=seen.read, lively_written=seen.written
        )
    return dataclasses.replace(
        progress,
        quiet_cd=progress.quiet_cd if seen.read == progress.read else progress.at,
        uptime=seen.uptime,
        read=seen.read,
        written=seen.written,
        restarts=progress.restarts + began_again,
    )


def _with_agent(progress: Progress, seen: Observation) -> Progress:
    """The marker counts when it was seen by two questions one after the other."""
    if seen.agent is None or progress.phase.rank < Phase.SPECIALIZE.rank:
        return progress
    progress = dataclasses.replace(progress, asked=progress.at)
    marker = seen.marker
    if not seen.agent:
        return progress
    final = marker is not None and marker.image_state in {"", COMPLETE}
    ours = marker is not None and progress.fingerprint in {"", marker.id}
    sightings = progress.sightings + 1 if final and ours else 0
    return dataclasses.replace(progress, sightings=sightings, marker=marker)


def _find_phase(progress: Progress, seen: Observation) -> Phase:
    """The farthest phase that something speaks for."""
    stages, rank = progress.told.stages, progress.phase.rank
    quiet = progress.at - progress.quiet_cd >= CD_QUIET
    signs = {
        Phase.FIRMWARE: seen.running,
        Phase.PROMPT: seen.running and seen.read > 0,
        Phase.WINPE: seen.read >= BEGUN or "winpe" in stages,
    }
    found = _farthest(progress.phase, signs)
    signs = {
        Phase.APPLY: found.rank >= Phase.WINPE.rank and seen.written >= APPLYING,
        Phase.SPECIALIZE: "specialize" in stages
        or (found is Phase.APPLY and seen.running and quiet and seen.written >= APPLIED),
        Phase.FIRST_BOOT: bool(stages & {"first-boot", "done"}),
        Phase.AGENT: bool(seen.agent) and rank >= Phase.SPECIALIZE.rank,
        Phase.MARKED: progress.sightings >= SEEN_TWICE,
    }
    return _farthest(found, signs)


def _farthest(phase: Phase, signs: dict[Phase, bool]) -> Phase:
    spoken_for = [sign for sign, holds in signs.items() if holds]
    return max([phase, *spoken_for], key=lambda found: found.rank)
