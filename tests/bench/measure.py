"""What the bench measures with: runs of processes, pairs of runs, rows of the table."""

import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
ROOM = {"virtio": 2_500_000_000, "windows": 13_000_000_000}  # bytes while a disc is built
PACKAGES = {
    "7z": "p7zip-full",
    "genisoimage": "genisoimage",
    "wimlib-imagex": "wimtools",
    "xorriso": "xorriso",
}


class Skip(Exception):  # noqa: N818 - not an error
    """A row that this machine cannot run; the text says what is missing."""


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a run took: seconds, seconds, bytes (of the largest process of its tree)."""

    wall: float
    cpu: float
    peak: int

    def __add__(self, other: "Usage") -> "Usage":
        peak = max(self.peak, other.peak)
        return Usage(self.wall + other.wall, self.cpu + other.cpu, peak)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `value` is held against `target`, both in `unit` ("x": a ratio)."""

    name: str
    value: float
    target: float
    unit: str = "x"
    wish: float | None = None
    ours: Usage | None = None
    theirs: Usage | None = None
    spread: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        if self.value > self.target:
            return "MISS"
        return "wish" if self.wish is not None and self.value <= self.wish else "pass"


class Bench:
    """The folders, the tools and the number of pairs of this call."""

    def __init__(self, cache: Path, *, quick: bool) -> None:
        self.cache = cache
        self.quick = quick
        self.notes: list[str] = []
        self.environment = {
            key: value
            for key, value in os.environ.items()
            # PYTHONDONTWRITEBYTECODE would have every run compile winseed anew
            if not key.startswith(("WINSEED_", "PYTHON"))
        } | {"LC_ALL": "C.UTF-8"}
        beside = Path(sys.executable).with_name("winseed")
        code = "from builder.cli.main import main; main()"
        self.winseed = [str(beside)] if beside.exists() else [sys.executable, "-c", code]

    def pairs(self, wanted: int) -> int:
        return max(1, wanted // 3) if self.quick else wanted

    def run(self, *command: str | Path, output: Path | None = None) -> Usage:
        """One process and its children; stdout to `output` or to nowhere."""
        words = [str(word) for word in command]
        with (
            (output or Path(os.devnull)).open("wb") as stdout,
            tempfile.TemporaryFile() as stderr,
        ):
            started = time.perf_counter()
            child = subprocess.Popen(
                words, stdout=stdout, stderr=stderr, env=self.environment, cwd=ROOT
            )
            _, status, used = os.wait4(child.pid, 0)
            wall = time.perf_counter() - started
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                stderr.seek(0)
                words_of_tool = stderr.read().decode(errors="replace").strip()
                raise RuntimeError(f"{words}: exit code {child.returncode}\n{words_of_tool}")
        return Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)

    def race(
        self, name: str, ours: Callable[[], Usage], theirs: Callable[[], Usage], **row: float | int
    ) -> Row:
        """Both in turn, after one run of each that does not count."""
        pairs = self.pairs(int(row.pop("pairs")))
        if not self.quick:
            ours()
            theirs()
        runs = [(ours(), theirs()) for _ in range(pairs)]
        ratios = [mine.wall / other.wall for mine, other in runs]
        return Row(
            name=name,
            value=statistics.median(ratios),
            spread=(min(ratios), max(ratios)),
            ours=middle([mine for mine, _ in runs]),
            theirs=middle([other for _, other in runs]),
            **row,
        )

    def disc(self, kind: str, name: str, *tools: str) -> Path:
        """A disc of the cache, built if it is missing."""
        need(*tools)
        target = self.cache / name
        if target.exists():
            return target
        self.cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.cache).free
        if free < ROOM[kind]:
            have, want = free // 10**9, ROOM[kind] // 10**9
            raise Skip(f"building {name} needs {want} GB in {self.cache}, {have} are free")
        print(f"building {target}, once ...", file=sys.stderr)
        # in a process of its own: a child starts with the peak memory of its parent
        self.run(sys.executable, "-m", "tests.bench.media", kind, target)
        return target

    def virtio(self) -> Path:
        return self.disc("virtio", "virtio-win-0.1.285.iso", "genisoimage")

    def windows(self) -> Path:
        return self.disc("windows", "windows-server-2022.iso", "genisoimage", "wimlib-imagex")

    def scratch(self) -> tempfile.TemporaryDirectory:
        self.cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=self.cache, prefix="run.")


def middle(runs: list[Usage]) -> Usage:
    return Usage(
        statistics.median(run.wall for run in runs),
        statistics.median(run.cpu for run in runs),
        max(run.peak for run in runs),
    )


def need(*tools: str) -> None:
    missing = [PACKAGES[tool] for tool in tools if shutil.which(tool) is None]
    if missing:
        raise Skip(f"apt install {' '.join(missing)}")


def table(rows: list[Row]) -> str:
    """Aligned columns; wall and CPU in seconds, of the median run."""
    head = (
        "",
        "value",
        "spread",
        "target",
        "",
        "wall s",
        "cpu s",
        "MiB",
        "| wall s",
        "cpu s",
        "MiB",
    )
    lines = [head]
    for row in rows:
        unit = "x" if row.unit == "x" else f" {row.unit}"
        wish = f" ({row.wish:g}{unit})" if row.wish is not None else ""
        spread = f"{row.spread[0]:.2f}-{row.spread[1]:.2f}" if row.spread else ""
        digits = 0 if row.unit == "MiB" else 2
        value = (f"{row.value:.{digits}f}{unit}", spread, f"{row.target:g}{unit}{wish}")
        lines.append((row.name, *value, row.verdict, *cells(row.ours), *cells(row.theirs, "| ")))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in {0, 4} else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def cells(usage: Usage | None, bar: str = "") -> tuple[str, str, str]:
    if usage is None:
        return "", "", ""
    return f"{bar}{usage.wall:.3f}", f"{usage.cpu:.3f}", f"{usage.peak / MIB:.0f}"
