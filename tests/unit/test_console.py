"""What a person sees: masked, plain without a terminal, coloured only when allowed."""

import io

import pytest

from builder.console import Console, NoProgress
from builder.errors import ExitCode, Problem, WinseedError

ERROR = WinseedError(
    "it failed",
    code=ExitCode.MEDIA,
    hint="mend it",
    problems=(
        Problem(where="host[0].name", what="is wrong", hint="better"),
        Problem(where="", what="x"),
    ),
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def console(**options):
    return Console(stream=Terminal() if options.get("live") else io.StringIO(), **options)


def test_an_error_as_it_reads():
    screen = console()
    screen.error(ERROR)
    assert screen.stream.getvalue() == (
        "error: it failed\n  host[0].name: is wrong (better)\n  x\nhint: mend it\n"
    )


def test_colours_only_when_asked():
    plain, coloured = console(live=True), console(color=True)
    for screen in (plain, coloured):
        screen.error(ERROR)
        screen.warn("careful")
    assert "\x1b" not in plain.stream.getvalue()
    assert "\x1b[31merror: it failed\x1b[0m" in coloured.stream.getvalue()


def test_secrets_are_masked_everywhere():
    screen = console()
    screen.hide("longsecret", "longsecret2", "abc")
    screen.line("a longsecret and longsecret2, abc")
    screen.note("longsecret")
    screen.warn("longsecret")
    screen.error(WinseedError("longsecret", code=ExitCode.BUG, hint="longsecret2"))
    with (
        screen.step("longsecret"),
        screen.progress("longsecret", 1),
        screen.counting("longsecret", 1),
    ):
        pass
    told = screen.stream.getvalue()
    assert "longsecret" not in told
    assert "a *** and ***, abc\n" in told  # a short one would garble ordinary words


def test_quiet_tells_errors_and_warnings_only():
    screen = console(quiet=True)
    screen.note("note")
    with screen.step("step"), screen.progress("bytes", 10) as bar:
        bar.advance(10)
    assert screen.stream.getvalue() == ""
    screen.warn("warning")
    assert screen.stream.getvalue() == "warning: warning\n"


def test_a_step_tells_its_time_and_lets_errors_through():
    screen = console()
    with screen.step("read media"):
        pass
    assert screen.stream.getvalue().startswith("read media (0.")
    with pytest.raises(WinseedError), screen.step("write"):
        raise ERROR
    assert "write" not in screen.stream.getvalue()


def test_no_bars_without_a_terminal():
    screen = console()
    with screen.progress("copy", 100) as bar:
        assert isinstance(bar, NoProgress)
        bar.advance(100)
    with screen.counting("hosts", 3) as bar:
        bar.advance(1)
    assert screen.stream.getvalue() == "copy\n"


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = console(live=True)
    screen.hide("secret-name")
    with screen.progress("copy of secret-name", 100) as bar:
        bar.advance(50)
    with screen.counting("hosts", 3) as bar:
        bar.advance(1)
    assert "secret-name" not in screen.stream.getvalue()
    assert "copy of ***" in screen.stream.getvalue()
