"""Past "Press any key to boot from CD": keys only as long as the CD's read counter asks for them.

The firmware shows its own page for three seconds, in which `ret` means "go on at once" (edk2
OvmfPkg PlatformBootManagerLib BdsPlatform.c, with the `menu=on` of qemu-server QemuServer.pm:3399),
then the loader on the CD waits some five seconds for any key. The loader itself is a few MiB,
boot.wim hundreds, so the counter says which of them was read (FT26). A key too many would go to
Setup.
"""

import contextlib
import dataclasses
from collections.abc import Callable

from builder.install.events import Event, EventKind, Sink
from builder.install.patience import Patience, load_patience
from builder.install.phases import BEGUN, MIB, Observation, Phase, advance, start_progress
from builder.install.poll import find_target, inspect_target
from builder.install.stalls import NotSettled, make_stall, make_unsettled
from builder.install.target import Target
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import reset_vm, send_key

KEY = "ret"
KEY_PAUSE = 0.7  # seconds between two keys: the prompt lasts for five
KEY_SECONDS, WAIT_SECONDS = 20.0, 30.0  # of keys, and until the CD must have been read
QUIET_SECONDS = 10.0  # nothing more is read: then the loader has given up
RESETS = 3
RESET_TIMEOUT = 60.0
LONGEST_PAUSE = 30.0
# what waiting may mend; anything else (a missing right, a wrong token) is told at once
PASSING = frozenset({
    *(Trouble.UNREACHABLE, Trouble.UNKNOWN, Trouble.BUSY, Trouble.LOCKED, Trouble.NO_QUORUM),
    *(Trouble.REFUSED, Trouble.MALFORMED, Trouble.TASK, Trouble.MISSING),
})  # fmt: skip
Look = Callable[[Target], str | None]


def pass_prompt(
    target: Target, emit: Sink, *, look: Look | None = None, patience: Patience | None = None
) -> Target:
    """Press a key until Windows PE is read from the CD; the VM was switched on just now.

    Resets the VM and tries again, at most three times, when nothing is read any more and nothing
    was written. Gives `target` on the node where it is then. Presses nothing when Windows PE has
    begun already, so that it may be called again. `look` says what the screen shows. Raises
    NotSettled, or PveError for what waiting does not mend.
    """
    return _Prompt(target, emit, look, patience or load_patience()).run()


class _Prompt:
    """One VM at the prompt. `base`: the CD's counter when the current boot began."""

    def __init__(self, target: Target, emit: Sink, look: Look | None, patience: Patience) -> None:
        self.target, self.emit, self.look, self.patience = target, emit, look, patience
        self.clock = target.api.clock
        self.started = self.clock.now()
        self.base = 0
        self.seen = Observation(at=self.started, running=True, qmp="", uptime=0, read=0, written=0)
        self.trouble: PveError | None = None

    def run(self) -> Target:
        for attempt in range(RESETS + 1):
            self._tell(EventKind.STEP, "waiting for the prompt of the CD")
            if self._try():
                self._tell(EventKind.NOTE, "Windows PE is read from the CD")
                return self.target
            if attempt < RESETS:
                text = f"the CD did not start: reset {attempt + 1} of {RESETS}"
                self._tell(EventKind.WARNING, text)
                self._reset()
        raise self._failure(f"Windows PE did not start from the CD, after {RESETS} resets")

    def _try(self) -> bool:
        """One boot: whether Windows PE was read."""
        began = grew = self.clock.now()
        last = self.base
        while True:
            waited_from = self.clock.now()
            seen = self._see()
            now = seen.at
            if self._has_begun():
                return True
            if now - waited_from > QUIET_SECONDS:
                # nothing was known meanwhile: this boot is given its time again
                began = grew = now
            if seen.read != last:
                grew, last = now, seen.read
            if now - began >= WAIT_SECONDS and now - grew >= QUIET_SECONDS:
                return False
            if now - began < KEY_SECONDS:
                self._press()
            self.clock.pause(KEY_PAUSE)

    def _has_begun(self) -> bool:
        """Whether boot.wim was read, or Setup has written: never a key or a reset after that."""
        return self.seen.read - self.base >= BEGUN or self.seen.written >= MIB

    def _see(self) -> Observation:
        """The counters of the running VM, waited for while it is off or nobody answers.

        Raises NotSettled when it stays off, and the last PveError when nobody answers for long.
        """
        off_since: float | None = None
        lost_since, pause = self.clock.now(), 1.0
        while True:
            try:
                seen = inspect_target(self.target)
            except PveError as error:
                self._bear(error)
                if self.clock.now() - lost_since >= self.patience.of(Phase.PROMPT.value).limit:
                    raise
            else:
                self.seen = seen
                if seen.running:
                    return seen
                off_since = seen.at if off_since is None else off_since
                if seen.at - off_since >= self._off_limit():
                    raise self._failure("the VM is off before Windows PE has started")
                lost_since = seen.at
            self.clock.pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _off_limit(self) -> float:
        return self.patience.off_managed if self.seen.managed else self.patience.off

    def _press(self) -> None:
        try:
            send_key(self.target.api, self.target.node, self.target.vmid, KEY)
        except PveError as error:
            # the monitor sometimes ends such a call with EOF: hashicorp/packer#237
            self._bear(error, also=frozenset({Trouble.STOPPED}))

    def _reset(self) -> None:
        """Reset, unless a last look shows that Windows PE has begun."""
        self._see()
        if self._has_begun():
            return
        try:
            upid = reset_vm(self.target.api, self.target.node, self.target.vmid)
            wait_for_task(self.target.api, upid, timeout=RESET_TIMEOUT)
        except PveError as error:
            # if it did not happen, the next keys go nowhere and the next reset follows
            self._bear(error, also=frozenset({Trouble.STOPPED}))
        self.base = self.seen.read

    def _bear(self, error: PveError, *, also: frozenset[Trouble] = frozenset()) -> None:
        if error.trouble not in PASSING | also:
            raise error
        self.trouble = error
        if error.trouble is Trouble.MISSING:
            with contextlib.suppress(PveError):
                self.target = find_target(self.target) or self.target

    def _tell(self, kind: EventKind, text: str) -> None:
        now = self.clock.now()
        self.emit(
            Event(
                host=self.target.host,
                at=now,
                kind=kind,
                phase=Phase.PROMPT.value,
                text=text,
                elapsed=now - self.started,
                written=self.seen.written,
            )
        )

    def _failure(self, what: str) -> NotSettled:
        # what all boots have read together must not pass for Windows PE
        read = max(0, self.seen.read - self.base)
        seen = dataclasses.replace(self.seen, read=read)
        progress = advance(start_progress(self.target.fingerprint, self.started), seen)
        told = (f"the last refusal: {self.trouble.what}",) if self.trouble else ()
        stall = make_stall(progress, what, final=True)
        stall = dataclasses.replace(stall, seen=(*stall.seen, *told))
        looked = self.look(self.target) if self.look else None
        return make_unsettled(self.target.host, stall, progress, looked=looked or "")
