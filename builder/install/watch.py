"""The watch over one installation: ask seldom, fold what is seen, tell it, and know when to stop.

Counters of one VM every 15 to 30 s, the state of all VMs from one list, the agent only when it is
due and by turns. The installation goes on without a watch, so an API that is away for a while ends
nothing. COM1 and the screen make it quicker and clearer; it never depends on them.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import NoReturn

from builder.errors import WinseedError
from builder.install.events import Event, EventKind, Sink
from builder.install.patience import Patience, load_patience
from builder.install.phases import (
    Marker,
    Observation,
    Phase,
    Progress,
    advance,
    needs_agent,
    start_progress,
)
from builder.install.poll import AgentSlots, StatePoll, find_target, follow, inspect_target
from builder.install.prompt import PASSING, Look
from builder.install.stalls import (
    Stall,
    find_stall,
    make_foreign,
    make_guard_refusal,
    make_stall,
    make_unsettled,
    minutes,
)
from builder.install.target import Target
from builder.install.told import own_text
from builder.proxmox.agent import ping_agent
from builder.proxmox.failures import PveError, Trouble
from builder.record import record

PAUSE = 15.0  # seconds between two looks, and up to as many again by chance
SLICE = 5.0  # between two looks at COM1, which cost the API nothing
LONGEST_PAUSE = 120.0
LAST_WORDS = 30.0  # for the log that Setup's error handler sends after its first line
GONE = 120.0  # a VM that no list names for so long is not there any more


def _no_lines() -> tuple[str, ...]:
    return ()


def _no_look(_target: Target) -> str | None:
    return None


@record
class Witnesses:
    """What tells more than the API. Each gets the VM on the node where it is now.

    `read_marker` reads `done.json` and ImageState in Windows; None while there is none. `serial`
    gives the lines of COM1 since it was asked last. `look` says in a line what the screen shows,
    and where the screenshot lies. What they cannot do they say with WinseedError or OSError.
    """

    read_marker: Callable[[Target], Marker | None]
    serial: Callable[[], tuple[str, ...]] = _no_lines
    look: Look = _no_look


@record
class Watched:
    """An installation whose final marker was seen twice, and where its VM is now."""

    target: Target
    progress: Progress


def watch_install(
    target: Target,
    emit: Sink,
    *,
    poll: StatePoll,
    witnesses: Witnesses,
    slots: AgentSlots,
    patience: Patience | None = None,
    phase: Phase = Phase.FIRMWARE,
) -> Watched:
    """Watch until the final marker was seen twice; `phase` is what an earlier watch had reached.

    Whether the marker names failed steps is for the caller to judge. Raises NotSettled: exit code
    UNSAFE when the disk guard refused, else UNSETTLED with phase, likely causes and what was seen.
    Raises PveError for a missing right or a token that is not accepted.
    """
    reached = Phase.AGENT if phase is Phase.MARKED else phase  # the marker itself is not known
    return _Watch(target, emit, poll, witnesses, slots, patience or load_patience(), reached).run()


class _Watch:
    def __init__(
        self, target: Target, emit: Sink, poll: StatePoll, witnesses: Witnesses,
        slots: AgentSlots, patience: Patience, phase: Phase,
    ) -> None:  # fmt: skip
        self.target, self.emit, self.poll = target, emit, poll
        self.witnesses, self.slots, self.patience = witnesses, slots, patience
        self.clock = target.api.clock
        self.progress = start_progress(target.fingerprint, self.clock.now(), phase=phase)
        self.last: Observation | None = None
        self.lost_since: float | None = None
        self.gone_since: float | None = None
        self.failed_at: float | None = None
        self.warned = ""
        self.pause = PAUSE

    def run(self) -> Watched:
        while True:
            try:
                self._look_at_vm()
            except PveError as error:
                self._bear(error)
            self._judge()
            if self.progress.phase is Phase.MARKED:
                return Watched(target=self.target, progress=self.progress)
            self._wait()

    def _look_at_vm(self) -> None:
        """One look by the API, and at the agent if it is due."""
        seen = dataclasses.replace(self._observe(), serial=self._serial())
        self._found()
        self.last = seen
        self._fold(seen)
        if needs_agent(self.progress, seen.at, self.patience):
            agent, marker = self._ask_agent()
            now = self.clock.now()
            self._fold(dataclasses.replace(seen, at=now, serial=(), agent=agent, marker=marker))

    def _observe(self) -> Observation:
        guest = self.poll.find(self.target.vmid)
        if guest is not None:
            self._move(follow(self.target, guest))
        try:
            return inspect_target(self.target)
        except PveError as error:
            found = find_target(self.target) if error.trouble is Trouble.MISSING else None
            if found is None:
                raise
            # it has moved since the list was made
            self._move(found)
            return inspect_target(self.target)

    def _move(self, found: Target) -> None:
        if found.node != self.target.node:
            self._tell(EventKind.NOTE, f"the VM is on {found.node} now")
            self.target = found

    def _ask_agent(self) -> tuple[bool | None, Marker | None]:
        """Whether the agent answers, and the marker if there is one; None: nobody knows."""
        target, passing = self.target, PASSING | {Trouble.AGENT, Trouble.STOPPED}
        with self.slots.at(target.node):
            try:
                if not ping_agent(target.api, target.node, target.vmid):
                    return False, None
                return True, self.witnesses.read_marker(target)
            except PveError as error:
                # Windows may restart between the two
                if error.trouble not in passing:
                    raise
                return None, None
            except WinseedError as error:
                self._warn(f"the marker cannot be read: {error.what}")
                return True, None

    def _serial(self) -> tuple[str, ...]:
        with contextlib.suppress(WinseedError, OSError):
            return self.witnesses.serial()
        return ()

    def _screen(self) -> str:
        with contextlib.suppress(WinseedError, OSError):
            return self.witnesses.look(self.target) or ""
        return ""

    def _fold(self, seen: Observation) -> None:
        """Take in what was seen, and tell what is new."""
        before, self.progress = self.progress, advance(self.progress, seen)
        for line in filter(None, map(own_text, seen.serial)):
            self._tell(EventKind.SERIAL, line)
        if self.progress.restarts > before.restarts:
            self._tell(EventKind.WARNING, "the VM was switched on again")
        if self.progress.phase is before.phase:
            self._tell(EventKind.SAMPLE, self.progress.phase.title)
        else:
            self._tell(EventKind.STEP, self.progress.phase.title)

    def _judge(self) -> None:
        """Raise NotSettled when this does not end well any more."""
        now, host, told = self.clock.now(), self.target.host, self.progress.told
        if told.guard:
            raise make_guard_refusal(host, self.progress)
        if self.progress.foreign:
            raise make_foreign(host, self.progress)
        if self.progress.phase is Phase.MARKED:
            return
        if told.failure:
            self.failed_at = now if self.failed_at is None else self.failed_at
            if now - self.failed_at >= LAST_WORDS:
                self._give_up(f"Windows Setup has failed ({told.failure})")
        if self.lost_since is not None:
            if now - self.progress.started >= self.patience.overall:
                self._give_up(f"Proxmox VE does not answer for {minutes(now - self.lost_since)}")
            return
        stall = find_stall(self.progress, now, self.patience)
        if stall is None:
            return
        if stall.final:
            self._give_up(stall.what)
        self._tell_stall(stall)

    def _tell_stall(self, stall: Stall) -> None:
        """Once for each silence, with what the screen shows then."""
        mark = f"{stall.phase.value} {self.progress.active}"
        if mark != self.warned:
            self.warned = mark
            cause = f"; likely: {stall.causes[0]}" if stall.causes else ""
            screen = self._screen()
            shown = f"; screen: {screen}" if screen else ""
            self._tell(EventKind.STALL, f"{stall.what}{cause}{shown}")

    def _give_up(self, what: str) -> NoReturn:
        progress = self.progress
        stall = make_stall(progress, what, final=True)
        raise make_unsettled(self.target.host, stall, progress, looked=self._screen())

    def _bear(self, error: PveError) -> None:
        """Live with a call that failed, unless waiting mends nothing."""
        if error.trouble not in PASSING:
            raise error
        now = self.clock.now()
        if error.trouble is Trouble.MISSING:
            self.gone_since = now if self.gone_since is None else self.gone_since
            if now - self.gone_since >= GONE:
                self._give_up("the VM is not there any more, or the token may not see it")
            return
        if self.lost_since is None:
            self.lost_since = now
            self._tell(EventKind.WARNING, f"{error.what}; the installation goes on, so does this")
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def _found(self) -> None:
        if self.lost_since is not None:
            away = minutes(self.clock.now() - self.lost_since)
            self._tell(EventKind.NOTE, f"Proxmox VE answers again after {away}")
        self.lost_since = self.gone_since = None
        self.pause = PAUSE

    def _wait(self) -> None:
        """Until the next look; COM1 is read meanwhile, and may end the watch."""
        left = self.pause * (1 + self.clock.jitter())
        while left > 0:
            self.clock.pause(min(SLICE, left))
            left -= SLICE
            lines = self._serial() if self.last is not None else ()
            if any(map(own_text, lines)) and self.last is not None:
                self._fold(dataclasses.replace(self.last, at=self.clock.now(), serial=lines))
                self._judge()

    def _warn(self, text: str) -> None:
        if text != self.warned:
            self.warned = text
            self._tell(EventKind.WARNING, text)

    def _tell(self, kind: EventKind, text: str) -> None:
        now = self.clock.now()
        self.emit(
            Event(
                host=self.target.host,
                at=now,
                kind=kind,
                phase=self.progress.phase.value,
                text=text,
                elapsed=now - self.progress.started,
                written=self.progress.written,
            )
        )
