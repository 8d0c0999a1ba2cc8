"""What people see of many installations: a table on a terminal, lines or JSON elsewhere."""

import io
import json
import re
import threading

import pytest

from builder.console import Console, NoProgress
from builder.install.board import Board, clock_time, render_line, show_events
from builder.install.events import Event, EventKind, join_sinks, render_event

GIB = 1024**3
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def event(text="", kind=EventKind.STEP, host="dc01", **what):
    usual = {"at": 1010.0, "phase": "winpe", "elapsed": 10.0, "written": 0}
    return Event(host=host, kind=kind, text=text, **(usual | what))


def board(*events, now=1100.0):
    made = Board(lambda: now)
    for one in events:
        made.take(one)
    return made


def test_a_row_is_the_last_that_was_heard():
    (row,) = board(
        event("Windows PE"),
        event("drvload=vioscsi result=0", EventKind.SERIAL, at=1020.0, elapsed=20.0),
        event("Windows PE", EventKind.SAMPLE, at=1030.0, elapsed=30.0, written=3 * GIB),
    ).rows(10)
    assert row == ("", ("dc01", "Windows PE", "01:40", "3.0 GiB", "drvload=vioscsi result=0"))


def test_a_host_that_is_over_has_no_running_clock():
    made = board(event(), event("settled", EventKind.DONE, at=1060.0, phase="settle"))
    assert made.rows(10) == [("", ("dc01", "settle", "01:00", "", "settled"))]
    assert made.summary() == "1 done"


def test_when_there_is_no_room_what_is_wrong_stays():
    kinds = [EventKind.DONE, EventKind.STEP, EventKind.STALL, EventKind.FAILED, EventKind.NOTE]
    events = [event(kind=kind, host=f"h{n:03}") for n, kind in enumerate(kinds * 40)]
    made = board(*events)
    colours = [colour for colour, _ in made.rows(80)]
    assert len(colours) == 80
    assert all(colours)
    names = [cells[0] for _, cells in made.rows(160)]
    assert names == sorted(names)  # they keep their places
    assert "h000" not in names
    assert made.summary() == "40 done, 40 failed, 120 under way"
    assert len(made.rows(500)) == 200


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (event("Windows PE"), "dc01 00:10 Windows PE"),
        (event("drvload=x", EventKind.SERIAL), "dc01 00:10 Windows PE: drvload=x"),
        (event("the answer ISO", phase="upload"), "dc01 00:10 upload: the answer ISO"),
        (event("Windows PE", EventKind.SAMPLE, written=GIB, elapsed=3723),
         "dc01 1:02:03 Windows PE (1.0 GiB written)"),
    ],
)  # fmt: skip
def test_an_event_as_a_line(told, line):
    assert render_line(told) == line


def test_durations():
    assert [clock_time(s) for s in (-1, 59.9, 61, 3600)] == ["00:00", "00:59", "01:01", "1:00:00"]


def plain(*events, **options):
    console = Console(stream=io.StringIO(), **options)
    with show_events(console, lambda: 0.0) as sink:
        for one in events:
            sink(one)
    return console.stream.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    told = plain(
        event("Windows PE"),
        event("nothing moves", EventKind.STALL),
        event("Windows PE", EventKind.SAMPLE),
    )
    assert told == "dc01 00:10 Windows PE\nwarning: dc01 00:10 Windows PE: nothing moves\n"


def test_a_silent_host_is_heard_of_now_and_then():
    samples = [
        event("applying the image", EventKind.SAMPLE, phase="apply", at=at, elapsed=at, written=GIB)
        for at in range(0, 1900, 20)
    ]
    lines = plain(*samples).splitlines()
    assert [line.split()[1] for line in lines] == ["10:00", "20:00", "30:00"]


def test_quiet_leaves_warnings_alone():
    told = plain(event("x"), event("beware", EventKind.WARNING), quiet=True)
    assert told == "warning: dc01 00:10 Windows PE: beware\n"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("LINES", "12")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal


def test_a_table_on_a_terminal(terminal):
    console = Console(stream=terminal(), live=True, color=True)
    console.hide("Secret-Word")
    with show_events(console, lambda: 1100.0) as sink:
        for n in range(30):
            sink(event(f"host [{n}] with Secret-Word", host=f"srv{n:02}", written=n * GIB))
        sink(event("nothing moves", EventKind.STALL, host="srv03"))
        console.note("a line between")
        with console.progress("building", 10) as progress:
            assert isinstance(progress, NoProgress)
    told = ESCAPES.sub("", console.stream.getvalue())
    last = told[told.rindex("last event") :].splitlines()
    assert len(last) <= 12
    assert any(
        re.match(r"srv03 +Windows PE +01:40 +3\.0 GiB +nothing moves", line) for line in last
    )
    assert "30 under way" in told
    assert "a line between" in told
    assert "srv03 00:10 Windows PE: nothing moves" in told  # above the table, and stays
    assert "Secret" not in told
    assert all(len(line) <= 90 for line in last)
    assert "\x1b[33m" in console.stream.getvalue()
    console.note("after")
    assert console.stream.getvalue().endswith("\x1b[2mafter\x1b[0m\n")


def test_no_colours_without_leave(terminal):
    console = Console(stream=terminal(), live=True)
    with show_events(console, lambda: 0.0) as sink:
        sink(event("beware", EventKind.WARNING))
    assert not re.search(r"\x1b\[(3\d|2|1)m", console.stream.getvalue())


def test_markup_of_a_guest_is_text(terminal):
    console = Console(stream=terminal(), live=True, color=True)
    with show_events(console, lambda: 0.0) as sink:
        sink(event("[red]x[/red] [/nothing]", EventKind.WARNING))
    assert "[red]x[/red] [/nothing]" in ESCAPES.sub("", console.stream.getvalue())


def test_a_failure_leaves_the_terminal_as_it_was(terminal):
    console = Console(stream=terminal(), live=True)
    with pytest.raises(ZeroDivisionError), show_events(console, lambda: 0.0):
        raise ZeroDivisionError
    assert console.above is None
    assert "\x1b[?25h" in console.stream.getvalue()  # the cursor is back


def test_json_lines():
    told = render_event(event("ä", written=5, elapsed=1.26), time="2026-01-01T00:00:00Z")
    assert "\n" not in told
    assert json.loads(told) == {
        "version": 1, "event": "step", "host": "dc01", "phase": "winpe", "elapsed": 1.3,
        "written": 5, "text": "ä", "time": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    assert "time" not in json.loads(render_event(event()))


def test_sinks_are_joined_in_turns():
    seen, inside = [], []

    def slow(one):
        inside.append(one)
        assert len(inside) == 1
        seen.append(one)
        inside.clear()

    tell = join_sinks(slow, seen.append)
    threads = [threading.Thread(target=tell, args=(event(),)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
