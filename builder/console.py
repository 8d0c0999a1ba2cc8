"""What a person sees while winseed works: steps, progress, warnings, errors; all on stderr.

Results belong on stdout and are printed by the verbs in `cli/`. Every line passes through the
mask, so a secret that slipped into a message is shown as `***`.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TextIO

from builder.errors import WinseedError

MASK = "***"
SHORTEST_SECRET = 4  # masking shorter strings would garble ordinary words

RED, YELLOW, DIM, BOLD, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
STYLES = {RED: "red", YELLOW: "yellow", DIM: "dim", BOLD: "bold"}


class Progress(Protocol):
    """Where a long piece of work reports how far it is; `count` in the unit of the total."""

    def advance(self, count: int) -> None:
        """Another `count` is done."""


class NoProgress:
    """Progress nobody watches."""

    def advance(self, count: int) -> None:
        """Forget it."""


@dataclasses.dataclass(kw_only=True)
class Console:
    """The terminal, or what stands in its place.

    `live` allows moving bars (a terminal), `color` allows escape sequences (NO_COLOR unset).
    """

    stream: TextIO
    live: bool = False
    color: bool = False
    quiet: bool = False
    secrets: set[str] = dataclasses.field(default_factory=set)
    above: Callable[[str, str], None] | None = None  # prints a line above a moving table

    def hide(self, *secrets: str) -> None:
        """Show each of `secrets` as `***` from now on."""
        self.secrets.update(text for text in secrets if len(text) >= SHORTEST_SECRET)

    def masked(self, text: str) -> str:
        """`text` with every known secret replaced, longer ones first."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return text

    def line(self, text: str, color: str = "") -> None:
        """Print one line."""
        text = self.masked(text)
        if self.above is not None:
            self.above(text, color)
            return
        print(f"{color}{text}{PLAIN}" if color and self.color else text, file=self.stream)

    def note(self, text: str) -> None:
        """Something worth knowing that asks for nothing."""
        if not self.quiet:
            self.line(text, DIM)

    def warn(self, text: str) -> None:
        """Something the user should look at."""
        self.line(f"warning: {text}", YELLOW)

    def error(self, error: WinseedError) -> None:
        """An error as the user reads it: what, every problem, what to do."""
        self.line(f"error: {error.what}", RED)
        for problem in error.problems:
            self.line(f"  {problem}")
        if error.hint:
            self.line(f"hint: {error.hint}")

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Name a step while it runs; its time is told when it took long enough to wonder."""
        started = time.monotonic()
        yield
        elapsed = time.monotonic() - started
        if not self.quiet:
            self.line(f"{text} ({elapsed:.2f} s)", DIM)

    @contextlib.contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """Report on `total` bytes of work: a bar with rate and time left, or a plain line."""
        if not self.live or self.quiet or self.above is not None:
            yield NoProgress()
            self.note(label)
            return
        from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with self._bar(label, total, columns) as bar:
            yield bar

    @contextlib.contextmanager
    def counting(self, label: str, total: int) -> Iterator[Progress]:
        """Report on `total` things: a bar with count and time left on a terminal, else nothing."""
        if not self.live or self.above is not None:
            yield NoProgress()
            return
        from rich.progress import MofNCompleteColumn, TimeRemainingColumn

        with self._bar(label, total, (MofNCompleteColumn(), TimeRemainingColumn())) as bar:
            yield bar

    @contextlib.contextmanager
    def table(
        self,
        heads: Sequence[str],
        rows: Callable[[int], Sequence[tuple[str, Sequence[str]]]],
        summary: Callable[[], str],
    ) -> Iterator[None]:
        """Show a table while this lasts, on a terminal only; lines appear above it.

        `rows` is asked every second for at most so many rows, each with its colour.
        """
        from rich.console import Console as Screen
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text

        screen = Screen(file=self.stream, no_color=not self.color)

        def styled(text: str, color: str = "") -> Text:
            return Text(self.masked(text), style=STYLES.get(color, "") if self.color else "")

        def draw() -> Table:
            table = Table(
                box=None, pad_edge=False, expand=True, header_style="bold" if self.color else ""
            )  # fmt: skip
            table.caption, table.caption_justify = styled(summary(), DIM), "left"
            for number, head in enumerate(heads):
                ratio = 1 if number == len(heads) - 1 else None
                table.add_column(head, no_wrap=True, overflow="ellipsis", ratio=ratio)
            for color, cells in rows(max(1, screen.height - 4)):
                table.add_row(*(styled(cell, color) for cell in cells))
            return table

        with Live(
            console=screen, get_renderable=draw, refresh_per_second=1,
            redirect_stdout=False, redirect_stderr=False,
        ):  # fmt: skip
            self.above = lambda text, color: screen.print(styled(text, color), soft_wrap=True)
            try:
                yield
            finally:
                self.above = None

    @contextlib.contextmanager
    def _bar(self, label: str, total: int, columns: tuple[Any, ...]) -> Iterator[Progress]:
        from rich.console import Console as Screen
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        screen = Screen(file=self.stream, no_color=not self.color)
        text = TextColumn("{task.description}")
        with Bars(text, BarColumn(), *columns, console=screen, transient=True) as bars:
            yield _Bar(bars.advance, bars.add_task(self.masked(label), total=total))


@dataclasses.dataclass(frozen=True)
class _Bar:
    step: Any
    task: Any

    def advance(self, count: int) -> None:
        self.step(self.task, count)
