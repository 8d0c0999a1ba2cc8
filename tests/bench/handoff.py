"""`winseed handoff`: files into a boot image against wimlib alone, a large tree against `cp -a`."""

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.handoff.boot_image import inject_files
from tests.bench.measure import Bench, Row, Skip, Usage, need
from tests.wimboots import write_wimboot

HOSTS = 200
EPOCH = 1577836800
BOOT_BYTES = 500_000_000
FILE_BYTES = 10_000_000
DRIVERS = {"netkvm": 1_200_000, "vioscsi": 90_000, "viostor": 80_000}


def handed_off(bench: Bench) -> Iterator[Row]:
    """The rows of this file."""
    yield injected(bench)
    yield planted(bench)


def injected(bench: Bench) -> Row:
    """In this process, as the verb does it: no start of Python counts. Each on a new copy."""
    need("wimlib-imagex")
    with bench.scratch() as scratch:
        folder = Path(scratch)
        boot = boot_image(bench, folder)
        tree = folder / "files"
        files = {}
        for name, size in DRIVERS.items():
            for suffix in ("inf", "cat", "sys"):
                path = tree / f"Windows/System32/{name}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(random.Random(path.name).randbytes(size // 3))
                files[f"/Windows/System32/{path.name}"] = path
        copy = folder / "copy.wim"
        command = ["wimlib-imagex", "update", str(copy), "2", f"--command=add {tree} /"]

        def timed(work: Callable[[], object]) -> Usage:
            shutil.copyfile(boot, copy)
            subprocess.run(["sync", str(copy)], check=True)
            started = time.perf_counter()
            work()
            return Usage(time.perf_counter() - started, 0, 0)

        return bench.race(
            f"--inject, boot.wim of {boot.stat().st_size / 1e6:.0f} MB : wimlib-imagex update",
            lambda: timed(lambda: inject_files(copy, 2, files, epoch=EPOCH)),
            lambda: timed(lambda: subprocess.run(command, check=True, capture_output=True)),
            pairs=15,
            target=1.2,
        )


def boot_image(bench: Bench, folder: Path) -> Path:
    """Two images of random files, as those of a disc: compressed, so nothing shrinks."""
    boot = folder / "boot.wim"
    for verb, name in (("capture", "PE"), ("append", "Setup")):
        source = folder / name
        for number in range(BOOT_BYTES // 2 // FILE_BYTES):
            path = source / f"Windows/System32/{name}{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(random.Random(path.name).randbytes(FILE_BYTES))
        bench.run("wimlib-imagex", verb, source, boot, name, "--compress=LZX")
        shutil.rmtree(source)
    return boot


def planted(bench: Bench) -> Row:
    """A tree for many hosts of one Windows disc, against copying it with its links."""
    virtio, windows = bench.virtio(), bench.windows()
    size = windows.stat().st_size
    if shutil.disk_usage(bench.cache).free < 3 * size:
        raise Skip(f"two trees of {windows.name} need {2 * size // 10**9} GB in {bench.cache}")
    hosts = HOSTS // 5 if bench.quick else HOSTS
    with bench.scratch() as scratch:
        folder = Path(scratch)
        tables = [f'[[host]]\nname = "srv{number:03}"\n' for number in range(hosts)]
        (folder / "site.toml").write_text(
            '[site]\nname = "bench"\n\n[defaults]\nrelease = "2022"\nedition = "core"\n'
            f'virtio_iso = "{virtio}"\nwindows_iso = "{windows}"\n\n' + "\n".join(tables)
        )
        loader = write_wimboot(folder / "wimboot")
        out, copy = folder / "out", folder / "copy"
        call = ["handoff", "ipxe", out, "--all", "--spec", folder / "site.toml"]
        call += ["--wimboot", loader, "--server", "192.0.2.10"]

        def cleared(path: Path) -> None:
            shutil.rmtree(path, ignore_errors=True)
            # nobody pays for what the other has left to be written
            subprocess.run(["sync", "-f", str(folder)], check=True)

        def ours() -> Usage:
            cleared(out.with_name("out.passwords"))
            cleared(out)
            return bench.run(*bench.winseed, *call)

        def theirs() -> Usage:
            cleared(copy)
            return bench.run("cp", "-a", out, copy)

        name = f"handoff ipxe, {hosts} hosts, {size / 1e9:.1f} GB : cp -a of the tree"
        return bench.race(name, ours, theirs, pairs=3, target=2)
