"""Many runs in one call: a thread each, no more at a time than the cluster takes."""

import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from builder.errors import ExitCode, WinseedError
from builder.install.journal import Outcome
from builder.proxmox.connection import Clock
from builder.record import record

WORKERS = 24  # installations in flight in one cluster (a guess, FT25)


class Interrupted(BaseException):
    """Ctrl-C: the run stops where it is, and its journal says how to go on."""


@record
class HostResult:
    """How a run ended. `notes` are for people: where a password lies, what is left to do."""

    host: str
    node: str
    vmid: int
    outcome: Outcome
    seconds: float
    error: WinseedError | None = None
    interrupted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def code(self) -> ExitCode:
        """The exit code of this host alone."""
        if self.interrupted:
            return ExitCode.INTERRUPTED
        return self.error.code if self.error else ExitCode.DONE


def run_fleet(
    jobs: Sequence[Callable[[], HostResult]], *, workers: int, stop: threading.Event
) -> Iterator[HostResult]:
    """Run every job and give its result as it comes; one that fails never stops the others.

    Ctrl-C sets `stop`, and every job ends at its next pause.
    """
    if not jobs:
        return
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(workers, len(jobs))) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except KeyboardInterrupt:
            stop.set()
            for future in futures:
                future.cancel()
            left = [future for future in futures if not future.cancelled()]
            yield from (future.result() for future in concurrent.futures.as_completed(left))


def stoppable(clock: Clock, stop: threading.Event) -> Clock:
    """`clock`, whose pauses end a run once `stop` is set."""

    def pause(seconds: float) -> None:
        if not stop.is_set():
            clock.pause(seconds)
        if stop.is_set():
            raise Interrupted

    return Clock(now=clock.now, pause=pause, jitter=clock.jitter)


def gravest(results: Iterable[HostResult]) -> ExitCode:
    """The exit code of a call: safety first, then what has to be mended at the cluster."""
    order = (
        ExitCode.BUG,
        ExitCode.INTERRUPTED,
        ExitCode.UNSAFE,
        ExitCode.UNSETTLED,
        ExitCode.PROXMOX,
        ExitCode.ANSWER,
        ExitCode.MEDIA,
        ExitCode.SPEC,
    )
    codes = {result.code for result in results}
    return next((code for code in order if code in codes), ExitCode.DONE)
