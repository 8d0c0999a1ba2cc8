"""What people see of many installations: a table that moves on a terminal, plain lines elsewhere.

The board only remembers the last event of each host; drawing is the console's.
"""

import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from builder.console import RED, YELLOW, Console
from builder.install.events import Event, EventKind, Sink
from builder.install.phases import Phase
from builder.record import record

HEADS = ("host", "phase", "elapsed", "written", "last event")
HEARTBEAT = 600.0  # seconds without a line of a host, until it gets one that says so
TITLES = {phase.value: phase.title for phase in Phase}
ALERTS = {EventKind.WARNING: YELLOW, EventKind.STALL: YELLOW, EventKind.FAILED: RED}
ORDER = {EventKind.FAILED: 0, EventKind.STALL: 1, EventKind.WARNING: 2}
ENDS = frozenset({EventKind.DONE, EventKind.FAILED})


@record
class HostLine:
    """The last that was heard of a host; `began` and `at` in seconds of the run's clock."""

    host: str
    began: float
    at: float
    kind: EventKind
    phase: str
    text: str
    written: int

    @property
    def over(self) -> bool:
        """Whether nothing more is expected of it."""
        return self.kind in ENDS


class Board:
    """The last event of each host, in the order in which they were first heard of."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lines: dict[str, HostLine] = {}
        self._guard = threading.Lock()

    def take(self, event: Event) -> None:
        """Remember an event; a sample moves time and counters alone."""
        with self._guard:
            line = self._lines.get(event.host) or _first(event)
            self._lines[event.host] = _after(line, event)

    def rows(self, limit: int) -> list[tuple[str, tuple[str, ...]]]:
        """Colour and cells of at most `limit` hosts; those that need somebody stay longest."""
        with self._guard:
            lines = list(self._lines.values())
        chosen = {id(line) for line in sorted(lines, key=_urgency)[: max(limit, 1)]}
        now = self._now()
        return [
            (ALERTS.get(line.kind, ""), _cells(line, now)) for line in lines if id(line) in chosen
        ]

    def summary(self) -> str:
        """How many hosts are where: `2 done, 1 failed, 5 under way`."""
        with self._guard:
            counts = Counter(_standing(line) for line in self._lines.values())
        return ", ".join(
            f"{counts[how]} {how}" for how in ("done", "failed", "under way") if counts[how]
        )


@contextlib.contextmanager
def show_events(console: Console, now: Callable[[], float]) -> Iterator[Sink]:
    """A sink whose events people see while this lasts; `now` is the run's clock."""
    if not console.live or console.quiet:
        yield PlainLines(console).take
        return
    board = Board(now)

    def tell(event: Event) -> None:
        board.take(event)
        # the table forgets, what went wrong stays on the screen
        if event.kind in ALERTS:
            console.line(render_line(event), ALERTS[event.kind])

    with console.table(HEADS, board.rows, board.summary):
        yield tell


class PlainLines:
    """One line per event, and now and then one for a host that has nothing to say."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: dict[str, float] = {}
        self._guard = threading.Lock()

    def take(self, event: Event) -> None:
        """Print what is worth a line."""
        with self._guard:
            last = self._told.setdefault(event.host, event.at)
            if event.kind is EventKind.SAMPLE and event.at - last < HEARTBEAT:
                return
            self._told[event.host] = event.at
            text = render_line(event)
            if event.kind in ALERTS:
                self._console.warn(text)
            else:
                self._console.note(text)


def render_line(event: Event) -> str:
    """An event as a line: `dc01 12:05 Windows PE: drvload=vioscsi result=0`."""
    title = TITLES.get(event.phase, event.phase)
    told = "" if event.text in {event.phase, title} else f": {event.text}"
    written = f" ({_size(event.written)} written)" if event.kind is EventKind.SAMPLE else ""
    return f"{event.host} {clock_time(event.elapsed)} {title}{told}{written}"


def clock_time(seconds: float) -> str:
    """A duration as `05:09` or `1:02:03`."""
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes:02}:{left:02}"


def _first(event: Event) -> HostLine:
    return HostLine(
        host=event.host,
        began=event.at - event.elapsed,
        at=event.at,
        kind=event.kind,
        phase=event.phase,
        text="",
        written=0,
    )


def _after(line: HostLine, event: Event) -> HostLine:
    sample = event.kind is EventKind.SAMPLE
    moved = event.phase != line.phase
    return dataclasses.replace(
        line,
        at=event.at,
        kind=line.kind if sample and not moved else event.kind,
        phase=event.phase,
        text=line.text if sample and not moved else event.text,
        written=max(event.written, 0) or line.written,
    )


def _standing(line: HostLine) -> str:
    if line.kind is EventKind.DONE:
        return "done"
    return "failed" if line.kind is EventKind.FAILED else "under way"


def _urgency(line: HostLine) -> tuple[int, float]:
    """What is wrong comes first, what is done last, else the latest news."""
    return (ORDER.get(line.kind, len(ORDER) + (line.kind is EventKind.DONE)), -line.at)


def _cells(line: HostLine, now: float) -> tuple[str, ...]:
    title = TITLES.get(line.phase, line.phase)
    elapsed = clock_time((line.at if line.over else now) - line.began)
    return (line.host, title, elapsed, _size(line.written), line.text)


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count else ""
