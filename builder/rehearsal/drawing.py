"""What the page of a rehearsal draws: a disk to scale, and the values of its template."""

from builder.record import record
from builder.rehearsal.model import DrawnDisk, DrawnPartition, Rehearsal, Verdict
from builder.rehearsal.report import belief_rows

SMALL = 0.04  # of the disk; narrower partitions are drawn once more, enlarged


@record
class Bar:
    """A partition in a drawing of 1,000 units: where it begins, how wide it is."""

    partition: DrawnPartition
    x: float
    width: float


@record
class Lens:
    """A run of narrow partitions, enlarged; `x` and `width` are where it lies in the whole."""

    x: float
    width: float
    bars: tuple[Bar, ...]


@record
class Drawing:
    """A disk to scale, and what would be too narrow to see."""

    bars: tuple[Bar, ...]
    lenses: tuple[Lens, ...]


def draw_disk(disk: DrawnDisk) -> Drawing:
    """The bars of a disk in units of a thousandth of its size."""
    unit = 1000 / max(1, disk.size_mib)
    bars = tuple(
        Bar(partition=one, x=one.start_mib * unit, width=one.size_mib * unit)
        for one in disk.partitions
    )
    lenses: list[Lens] = []
    run: list[Bar] = []
    for bar in (*bars, None):
        if bar is not None and bar.width < SMALL * 1000:
            run.append(bar)
            continue
        if run:
            lenses.append(_enlarge(run))
            run = []
    return Drawing(bars=bars, lenses=tuple(lenses))


def _enlarge(run: list[Bar]) -> Lens:
    start = run[0].x
    width = max(1e-9, run[-1].x + run[-1].width - start)
    unit = 1000 / width
    bars = tuple(
        Bar(partition=bar.partition, x=(bar.x - start) * unit, width=bar.width * unit)
        for bar in run
    )
    return Lens(x=start, width=width, bars=bars)


def page_values(rehearsal: Rehearsal, *, version: str) -> dict[str, object]:
    """What the template of the page is given."""
    return {
        "rehearsal": rehearsal,
        "version": version,
        "drawing": draw_disk(rehearsal.disk) if rehearsal.disk else None,
        "beliefs": belief_rows(rehearsal),
        "stops": [step for step in rehearsal.steps if step.verdict is Verdict.STOP],
        "counts": {verdict.name.lower(): rehearsal.count(verdict) for verdict in Verdict},
    }
