"""Why an installation does not go on: when it counts as stuck, and what is likely then.

The causes are data with their public sources (`answer_templates/stalls.toml`); they are told as
likely, because an API cannot see what a dialog says.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from builder.errors import ExitCode, Problem, WinseedError
from builder.install.patience import Patience, read_stalls
from builder.install.phases import CRASHED, MIB, Phase, Progress
from builder.record import record

MOST = 4  # causes that are told
TAIL = 3  # lines of COM1 that are quoted
SIGNS = frozenset({
    *("off", "io-error", "crashed", "com1-silent", "cd-unread", "disk-written", "nothing-written"),
    *("guard-passed", "driver-failed", "no-disk", "virtio-cd-missing", "setup-failed"),
    *("step-failed", "first-boot-done"),
})  # fmt: skip


@record
class Cause:
    """Why it may be stuck in one of `phases` when all of `when` was seen."""

    phases: frozenset[str]
    when: frozenset[str]
    what: str
    way_out: str
    source: str

    def __str__(self) -> str:
        return f"{self.what} [{self.source}]"


@record
class Stall:
    """An installation that stands still. `final`: it is given up, not only told.

    `what` is a clause (`nothing has moved for 8 min`), `causes` the likeliest first, `seen` what
    counters, COM1 and the screen show.
    """

    phase: Phase
    final: bool
    what: str
    causes: tuple[Cause, ...]
    seen: tuple[str, ...]


class NotSettled(WinseedError):  # noqa: N818 - it says how the run ended
    """An installation that did not end as it should; exit code UNSETTLED, or UNSAFE by the guard.

    `stall` says where and why, `progress` how far it had come.
    """

    def __init__(
        self, what: str, *, code: ExitCode = ExitCode.UNSETTLED, hint: str = "",
        problems: tuple[Problem, ...] = (), stall: Stall | None = None,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        super().__init__(what, code=code, hint=hint, problems=problems)
        self.stall = stall
        self.progress = progress

    def __reduce__(self) -> tuple[Callable[..., WinseedError], tuple[str]]:
        """Travel between processes, which keyword-only arguments would not survive."""
        make = functools.partial(
            NotSettled, code=self.code, hint=self.hint, problems=self.problems,
            stall=self.stall, progress=self.progress,
        )  # fmt: skip
        return make, (self.what,)


@functools.cache
def load_causes() -> tuple[Cause, ...]:
    """Every cause of `answer_templates/stalls.toml`, in its order."""
    return tuple(
        Cause(
            phases=frozenset(row["phases"]),
            when=frozenset(row["when"]),
            what=row["what"],
            way_out=row["way_out"],
            source=row["source"],
        )
        for row in read_stalls()["cause"]
    )


def find_stall(progress: Progress, now: float, patience: Patience) -> Stall | None:
    """How the installation is stuck, None while it is not. Told at half of the silence allowed."""
    if progress.phase is Phase.MARKED:
        return None
    final, what = _judge(progress, now, patience)
    return make_stall(progress, what, final=final) if what else None


def make_stall(progress: Progress, what: str, *, final: bool) -> Stall:
    """An installation that stands still because of `what`, with what is likely and was seen."""
    return Stall(
        phase=progress.phase,
        final=final,
        what=what,
        causes=choose_causes(progress),
        seen=_seen(progress),
    )


def _judge(progress: Progress, now: float, patience: Patience) -> tuple[bool, str]:
    """Whether it is over, and why; "" while nothing is wrong."""
    allowed = patience.of(progress.phase.value)
    silent, lasting = now - progress.active, now - progress.since
    off = 0.0 if progress.off_since is None else now - progress.off_since
    if off > (patience.off_managed if progress.managed else patience.off):
        return True, "the VM is off"
    if progress.qmp == "io-error":
        return True, "QEMU has paused the VM after an I/O error"
    if progress.qmp in CRASHED:
        return True, f"the VM has stopped with {progress.qmp}"
    if now - progress.started >= patience.overall:
        return True, f"it is not done after {minutes(patience.overall)}"
    if lasting >= allowed.limit:
        return True, f"this phase lasts for {minutes(lasting)}"
    if silent >= allowed.silence / 2:
        return silent >= allowed.silence, f"nothing has moved for {minutes(silent)}"
    return False, ""


def choose_causes(progress: Progress) -> tuple[Cause, ...]:
    """The likely causes: those whose signs were all seen, the ones with most signs first."""
    signs = make_signs(progress)
    decisive = signs & {"off", "io-error", "crashed"}
    fitting = [
        cause
        for cause in load_causes()
        if progress.phase.value in cause.phases
        and cause.when <= signs
        and (not decisive or cause.when & decisive)
    ]
    return tuple(sorted(fitting, key=lambda cause: -len(cause.when))[:MOST])


def make_signs(progress: Progress) -> frozenset[str]:
    """What was seen, in the words that causes ask for (SIGNS)."""
    told = progress.told
    broken = " ".join(told.problems)
    holds: Mapping[str, bool] = {
        "off": progress.off_since is not None,
        "io-error": progress.qmp == "io-error",
        "crashed": progress.qmp in CRASHED,
        "com1-silent": not told.lines,
        "cd-unread": progress.read == 0,
        "disk-written": progress.written >= MIB,
        "nothing-written": progress.written < MIB,
        "guard-passed": "winpe" in told.ended or "guard=passed" in told.lines,
        "driver-failed": "drvload=" in broken,
        "no-disk": "disks=0" in broken,
        "virtio-cd-missing": "virtio_cd=missing" in broken,
        "setup-failed": bool(told.failure),
        "step-failed": bool(told.failed_steps),
        "first-boot-done": "done" in told.stages,
    }
    return frozenset(sign for sign, seen in holds.items() if seen)


def make_unsettled(
    host: str, stall: Stall, progress: Progress, *, looked: str = ""
) -> NotSettled:  # fmt: skip
    """The error for an installation that is given up; `looked`: what the screen shows."""
    seen = (*stall.seen, *((looked,) if looked else ()))
    causes = (
        Problem(where="likely", what=str(cause), hint=cause.way_out) for cause in stall.causes
    )
    return NotSettled(
        f"{host}: {stall.what} ({stall.phase.title}, {minutes(progress.elapsed)} after the start)",
        hint=stall.causes[0].way_out if stall.causes else "look at the console of the VM",
        problems=(*causes, *(Problem(where="seen", what=line) for line in seen)),
        stall=dataclasses.replace(stall, seen=seen, final=True),
        progress=progress,
    )


def make_guard_refusal(host: str, progress: Progress) -> NotSettled:
    """The error for a VM whose disk guard refused to erase; exit code UNSAFE."""
    return NotSettled(
        f"{host}: the disk guard stopped Windows Setup: {progress.told.guard}; nothing was erased",
        code=ExitCode.UNSAFE,
        hint="Setup needs one empty disk; see which disks the VM has before trying again",
        problems=tuple(Problem(where="seen", what=line) for line in progress.told.lines[-TAIL:]),
        progress=progress,
    )


def make_foreign(host: str, progress: Progress) -> NotSettled:
    """The error for a VM that installs, or has installed, something else than this build."""
    return NotSettled(
        f"{host}: the VM runs build {progress.foreign}, expected {progress.fingerprint}",
        hint="another answer file was found first: look at the CD drives and the media of the VM",
        problems=tuple(Problem(where="seen", what=line) for line in progress.told.lines[-TAIL:]),
        progress=progress,
    )


def _seen(progress: Progress) -> tuple[str, ...]:
    counters = (
        f"{progress.read // MIB} MiB read from the CD, {progress.written // MIB} MiB written to "
        f"the disk, QEMU says {progress.qmp or 'nothing'}"
    )
    restarts = f"QEMU was started again {progress.restarts} times" if progress.restarts else ""
    state = progress.marker.image_state if progress.marker else ""
    marker = f"the marker is there, ImageState {state}" if progress.marker else ""
    told = progress.told
    serial = tuple(f"COM1: {line}" for line in told.lines[-TAIL:]) or ("COM1: nothing",)
    broken = tuple(f"COM1: {line}" for line in told.problems[-TAIL:])
    lines = (counters, restarts, marker, *broken, *serial)
    return tuple(dict.fromkeys(line for line in lines if line))


def minutes(seconds: float) -> str:
    """A duration as people read it: `45 s`, `12 min`, `2 h 5 min`."""
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    hours, left = divmod(whole // 60, 60)
    return f"{hours} h {left} min" if hours else f"{left} min"
