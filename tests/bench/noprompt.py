"""`winseed noprompt` against `cp` of the same disc, and against itself on a small disc."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.bench.measure import Bench, Row, Skip, Usage, need


def patched(bench: Bench) -> Iterator[Row]:
    """In place there and back, so that each run changes the six bytes; and as a copy."""
    need("genisoimage")
    disc = bench.windows()
    size = disc.stat().st_size
    if shutil.disk_usage(bench.cache).free < 3 * size:
        raise Skip(f"three copies of {disc.name} need {3 * size // 10**9} GB in {bench.cache}")
    with bench.scratch() as scratch:
        large, copy = Path(scratch, "large.iso"), Path(scratch, "copy.iso")
        shutil.copyfile(disc, large)
        small = small_disc(Path(scratch))

        def plain() -> Usage:
            copy.unlink(missing_ok=True)
            return bench.run("cp", disc, copy)

        def synced() -> Usage:
            return plain() + bench.run("sync", copy)

        def out() -> Usage:
            copy.unlink(missing_ok=True)
            return bench.run(*bench.winseed, "noprompt", disc, "-o", copy)

        name = f"noprompt --in-place, {size / 1e9:.2f} GB"
        yield bench.race(
            f"{name} : cp", lambda: there_and_back(bench, large), plain, pairs=3, target=0.2
        )
        yield bench.race(
            f"{name} : the same on {small.stat().st_size / 1e6:.0f} MB",
            lambda: there_and_back(bench, large),
            lambda: there_and_back(bench, small),
            pairs=9,
            target=1.5,
        )
        name = f"noprompt -o, {size / 1e9:.2f} GB : cp + sync"
        yield bench.race(name, out, synced, pairs=3, target=1.2)


def there_and_back(bench: Bench, disc: Path) -> Usage:
    """The mean of a patch and its reversal."""
    call = (*bench.winseed, "noprompt", disc, "--in-place")
    both = bench.run(*call) + bench.run(*call, "--revert")
    return Usage(both.wall / 2, both.cpu / 2, both.peak)


def small_disc(folder: Path) -> Path:
    """A disc of the same layout, of some megabytes."""
    from tests import media

    return media.make_windows_iso(folder / "small.iso", writer="genisoimage")
