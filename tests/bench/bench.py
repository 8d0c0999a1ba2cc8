"""`make bench`: how long winseed takes, as ratios to tools that move the same bytes.

Each row runs winseed and its yardstick in turn (A B A B ...), so that whatever else the machine
does hits both, and takes the median of the ratios of each pair. A missed target is printed, not
an error; exit code 1 means that something did not run. Full-size discs are built once into
`.bench/` (WINSEED_BENCH_DIR): 6.1 GB, 15 GB while they are built.
"""

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# `python tests/bench/bench.py` has that folder on its path, and not the project's
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.handoff import handed_off
from tests.bench.measure import MIB, ROOT, Bench, Row, Skip, Usage, middle, need, table
from tests.bench.noprompt import patched

HOSTS = 200
PEAK_MIB = 80
HELP_SECONDS = 0.15


def emptied(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def split_result(bench: Bench, iso: Path, folder: Path) -> tuple[Path, Path]:
    """What the yardsticks need of a finished answer ISO.

    A list of the files that come from the virtio-win disc, and a folder of the rendered ones.
    """
    manifest = json.loads(iso.with_suffix(".manifest.json").read_text())
    system = manifest["plan"]["drivers"]["os"]
    named = []
    rendered = folder / "rendered"
    bench.run("7z", "x", "-y", f"-o{rendered}", iso)
    for file in manifest["files"]:
        top, _, rest = file["path"].partition("/")
        if top == "drivers":
            driver, _, name = rest.partition("/")
            named.append(f"{driver}/{system}/amd64/{name}")
        elif top == "guest-agent":
            named.append(file["path"])
    for top in ("drivers", "guest-agent", "$WinPEDriver$"):
        shutil.rmtree(rendered / top, ignore_errors=True)
    listed = folder / "files.txt"
    listed.write_text("\n".join(named) + "\n")
    return listed, rendered


def one_iso(bench: Bench) -> Iterator[Row]:
    """`winseed iso` against `7z x` and `xorriso -as mkisofs` of the same files."""
    need("7z", "xorriso")
    disc = bench.virtio()
    with bench.scratch() as scratch:
        folder = Path(scratch)
        call = ["iso", "--edition", "core", "--release", "2022", "--virtio-iso", disc]

        def ours() -> Usage:
            return bench.run(*bench.winseed, *call, "-o", emptied(folder / "ours"))

        ours()
        iso = next((folder / "ours").glob("*.iso"))
        listed, rendered = split_result(bench, iso, folder)
        size = iso.stat().st_size

        def theirs() -> Usage:
            tree, target = folder / "tree", folder / "theirs.iso"
            shutil.rmtree(tree, ignore_errors=True)
            target.unlink(missing_ok=True)
            unpacked = bench.run("7z", "x", "-y", f"-o{tree}", disc, f"@{listed}")
            options = ["-quiet", "-J", "-r", "-iso-level", "4", "-V", "ANSWER", "-o", target]
            return unpacked + bench.run("xorriso", "-as", "mkisofs", *options, tree, rendered)

        name = f"iso, {size / 1e6:.1f} MB, whole process : 7z x + xorriso"
        row = bench.race(name, ours, theirs, pairs=9, target=4, wish=2)
        yield row
        peak = row.ours.peak / MIB if row.ours else 0
        yield Row(name="iso, peak memory", value=peak, target=PEAK_MIB, unit="MiB")
        bench.notes += stages(bench, [*call, "-o", emptied(folder / "ours")])


def stages(bench: Bench, call: list) -> list[str]:
    """The steps that `winseed iso -v` tells of; the rest is Python, imports and the spec."""
    started = time.perf_counter()
    words = [str(word) for word in (*bench.winseed, *call, "-v")]
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env=bench.environment, cwd=ROOT
    )
    total = time.perf_counter() - started
    steps = re.findall(r"^(.+) \((\d+\.\d+) s\)$", done.stderr, re.MULTILINE)
    rest = total - sum(float(seconds) for _, seconds in steps)
    lines = [f"  {1000 * float(seconds):6.0f} ms  {text}" for text, seconds in steps]
    return [
        f"stages of one `winseed iso`: {1000 * total:.0f} ms",
        f"  {1000 * rest:6.0f} ms  start: interpreter, imports, spec; and printing",
        *lines,
    ]


# One host of the yardstick: extract, write, sync, read back. $1 is the host's number.
JOB = """
set -e
7z x -y -o"$OUT/tree$1" "$DISC" @"$LISTED" >"$OUT/log$1"
genisoimage -quiet -J -r -iso-level 4 -V "ANSWER$1" -o "$OUT/$1.iso" "$OUT/tree$1" "$RENDERED"
sync "$OUT/$1.iso"
find "$OUT/tree$1" "$RENDERED" -type f -exec sha256sum {} + >"$OUT/$1.sums"
sha256sum "$OUT/$1.iso" >>"$OUT/$1.sums"
rm -r "$OUT/tree$1" "$OUT/log$1"
"""


def many_isos(bench: Bench) -> Iterator[Row]:
    """`winseed iso --all` against 7z, genisoimage, fsync and hashing for each host, two at a time.

    The yardstick hashes what it packed and the image it wrote: the least that can tell them apart.
    """
    need("7z", "genisoimage")
    disc = bench.virtio()
    hosts = HOSTS // 5 if bench.quick else HOSTS
    if shutil.disk_usage(bench.cache).free < 2 * hosts * 16_000_000:
        raise Skip(f"{hosts} hosts need {2 * hosts * 16 // 1000} GB in {bench.cache}")
    cores = len(os.sched_getaffinity(0))
    with bench.scratch() as scratch:
        folder = Path(scratch)
        spec = folder / "site.toml"
        tables = [f'[[host]]\nname = "srv{number:03}"\n' for number in range(hosts)]
        spec.write_text(
            '[site]\nname = "bench"\n\n[defaults]\nrelease = "2022"\nedition = "core"\n'
            f'virtio_iso = "{disc}"\n\n' + "\n".join(tables)
        )

        def ours() -> Usage:
            target = emptied(folder / "ours")
            return bench.run(*bench.winseed, "iso", "--all", "--spec", spec, "-o", target)

        ours()
        first = next((folder / "ours").glob("srv000*.iso"))
        listed, rendered = split_result(bench, first, folder)
        (folder / "job.sh").write_text(JOB)
        (folder / "numbers").write_text("\n".join(map(str, range(hosts))) + "\n")
        names = {"OUT": "theirs", "RENDERED": rendered.name, "LISTED": listed.name}
        bench.environment |= {key: str(folder / name) for key, name in names.items()}
        bench.environment |= {"DISC": str(disc)}
        each = ["xargs", "-a", folder / "numbers", "-n", "1", "-P", str(cores)]

        def theirs() -> Usage:
            emptied(folder / "theirs")
            return bench.run(*each, "sh", folder / "job.sh")

        name = f"iso --all, {hosts} hosts : 7z x + genisoimage + sync + hashes"
        row = bench.race(name, ours, theirs, pairs=3, target=1, wish=0.5)
        yield row
        if row.ours and row.theirs:
            mine, other = 1000 * row.ours.wall / hosts, 1000 * row.theirs.wall / hosts
            bench.notes.append(f"per ISO of {hosts}: {mine:.1f} ms, yardstick {other:.1f} ms")


def inspected(bench: Bench) -> Iterator[Row]:
    """`winseed inspect` of a Windows disc against streaming its install.wim out."""
    need("7z")
    disc = bench.windows()
    size = disc.stat().st_size
    yield bench.race(
        f"inspect, Windows ISO of {size / 1e9:.2f} GB : 7z x -so install.wim",
        lambda: bench.run(*bench.winseed, "inspect", disc),
        lambda: bench.run("7z", "x", "-so", disc, "sources/install.wim"),
        pairs=5,
        target=0.2,
    )


def helped(bench: Bench) -> Iterator[Row]:
    """CPU time of `winseed --help`."""
    runs = [bench.run(*bench.winseed, "--help") for _ in range(bench.pairs(15))]
    row = middle(runs)
    yield Row(name="--help, CPU time", value=row.cpu, target=HELP_SECONDS, unit="s", ours=row)


ROWS = {
    "iso": one_iso,
    "all": many_isos,
    "inspect": inspected,
    "help": helped,
    "noprompt": patched,
    "handoff": handed_off,
}


def document(rows: list[Row], notes: list[str]) -> dict:
    listed = [dataclasses.asdict(row) | {"verdict": row.verdict} for row in rows]
    return {"version": 1, "cores": os.cpu_count(), "rows": listed, "notes": notes}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; or all")
    parser.add_argument("--quick", action="store_true", help="a third of the runs, 40 hosts")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}")
    bench = Bench(Path(os.environ.get("WINSEED_BENCH_DIR") or ROOT / ".bench"), quick=given.quick)
    rows: list[Row] = []
    failed = False
    for name in given.rows or ROWS:
        print(f"{name} ...", file=sys.stderr)
        try:
            rows += ROWS[name](bench)
        except Skip as reason:
            bench.notes.append(f"skipped {name}: {reason}")
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            failed = True
            bench.notes.append(f"failed {name}: {error}")
    if given.json:
        print(json.dumps(document(rows, bench.notes), indent=2))
    else:
        print("\n".join([table(rows), "", *bench.notes]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
