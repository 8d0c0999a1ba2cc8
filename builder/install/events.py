"""What happens while hosts install themselves, told to whoever watches."""

import enum
import json
import threading
from collections.abc import Callable

from builder.record import record

VERSION = 1


class EventKind(enum.Enum):
    """What an event is about."""

    STEP = "step"  # a step of the run, or a phase of the installation, begins
    SAMPLE = "sample"  # nothing new: counters and time
    SERIAL = "serial"  # a line that our own commands wrote to COM1
    NOTE = "note"
    WARNING = "warning"
    STALL = "stall"  # nothing moves; the run waits a while longer
    DONE = "done"  # this host is settled
    FAILED = "failed"  # this host is given up


@record
class Event:
    """Something that happened to `host`.

    `at` in seconds of the run's clock, `elapsed` in seconds since this host's installation began,
    `written` in bytes on its install disk since the VM was switched on. `phase` is a phase of the
    installation (`phases.py`) or a step of the run. `text` is one line for people.
    """

    host: str
    at: float
    kind: EventKind
    phase: str
    text: str
    elapsed: float = 0.0
    written: int = 0


Sink = Callable[[Event], None]


def render_event(event: Event, *, time: str = "") -> str:
    """An event as a line of JSON; `time` is the moment as the caller writes it (ISO 8601)."""
    row = {
        "version": VERSION,
        "event": event.kind.value,
        "host": event.host,
        "phase": event.phase,
        "elapsed": round(event.elapsed, 1),
        "written": event.written,
        "text": event.text,
    }
    return json.dumps(row | ({"time": time} if time else {}), ensure_ascii=False)


def join_sinks(*sinks: Sink) -> Sink:
    """One sink that gives each event to all of `sinks`, one event at a time."""
    turn = threading.Lock()

    def tell(event: Event) -> None:
        with turn:
            for sink in sinks:
                sink(event)

    return tell
