"""Discs that another process reads ahead: the same facts, or silence; and nobody left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from builder.errors import ExitCode, WinseedError
from builder.media.ahead import start_reading
from builder.media.shelf import Shelf
from tests.command import LAUNCH, PASSWORD, ROOT, authority, clean_environment

PACKAGE = ("vioscsi", "2k22", ())
needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="reads ahead on a second core only"
)


@contextlib.contextmanager
def reading(*questions):
    ahead = start_reading(questions)
    assert ahead is not None
    try:
        yield ahead
    finally:
        ahead.close()


@contextlib.contextmanager
def limit(seconds):
    """A test that hangs fails."""

    def give_up(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def children():
    """The processes that are ours, dead ones that nobody asked for among them."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@needs_two_cores
def test_what_is_told_is_what_is_read_here(discs, tmp_path):
    """The discs are gone when the shelf asks: it can only have been told."""
    virtio = shutil.copy(discs["virtio"], tmp_path / "v.iso")
    windows = shutil.copy(discs["windows-2022-eval"], tmp_path / "w.iso")
    questions = [
        ("virtio", (virtio,)),
        ("agent", (virtio,)),
        ("image", (virtio,)),
        ("windows", (windows,)),
        ("image", (windows,)),
        ("packages", (virtio, *PACKAGE)),
        ("packages", (virtio, "nobody", "2k22", ())),
    ]
    here = Shelf()
    expected = {one: getattr(here, one[0])(*one[1]) for one in questions}
    with reading(*questions[:2]) as ahead:
        for question in questions:
            ahead.ask(question)
        ahead.answer(questions[-1])
        virtio.unlink()
        windows.unlink()
        shelf = Shelf(ahead)
        for reader, arguments in questions:
            assert getattr(shelf, reader)(*arguments) == expected[reader, arguments]
    assert expected["packages", (virtio, *PACKAGE)]
    assert not children()


@needs_two_cores
def test_a_fault_is_told_by_who_reads_here(tmp_path):
    path = tmp_path / "no.iso"
    path.write_bytes(b"PK\x03\x04" + bytes(100_000))
    with reading(("virtio", (path,))) as ahead, pytest.raises(WinseedError) as caught:
        Shelf(ahead).virtio(path)
    assert caught.value.code is ExitCode.MEDIA
    assert "ZIP archive" in caught.value.what


@needs_two_cores
def test_without_the_other_process_everything_is_read_here(discs):
    with reading(("virtio", (discs["virtio"],))) as ahead:
        (child,) = children()
        os.kill(int(child), signal.SIGKILL)
        shelf = Shelf(ahead)
        shelf.order("packages", discs["virtio"], *PACKAGE)
        assert shelf.virtio(discs["virtio"]) == Shelf().virtio(discs["virtio"])
        assert shelf.packages(discs["virtio"], *PACKAGE)
    assert not children()


@needs_two_cores
def test_what_was_told_outlives_the_other_process(discs):
    with reading(("virtio", (discs["virtio"],))) as ahead:
        shelf = Shelf(ahead)
        media = shelf.virtio(discs["virtio"])
        shelf.close()
        shelf.close()
        assert not children()
        shelf.order("packages", discs["virtio"], *PACKAGE)
        assert shelf.virtio(discs["virtio"]) is media
        assert shelf.packages(discs["virtio"], *PACKAGE)


@needs_two_cores
def test_more_than_the_pipes_hold(discs, tmp_path):
    """Many questions and large answers: neither side waits for the other for ever."""
    deep = tmp_path.joinpath(*(letter * 200 for letter in "abcdefghijkl"))
    deep.mkdir(parents=True)
    shutil.copy(discs["virtio"], tmp_path / "0.iso")
    for number in range(1, 60):
        (tmp_path / f"{number}.iso").hardlink_to(tmp_path / "0.iso")
    paths = [deep.joinpath(*[".."] * 12, f"{number}.iso") for number in range(60)]
    with limit(60), reading() as ahead:
        for path in paths:
            ahead.ask(("image", (path,)))
        assert [ahead.answer(("image", (path,))).path for path in paths] == paths


def test_no_fork_among_threads_or_on_one_core(discs):
    question = ("virtio", (discs["virtio"],))
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()
    try:
        assert start_reading([question]) is None
    finally:
        leave.set()
        other.join()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert start_reading([question]) is None
    finally:
        os.sched_setaffinity(0, cores)
    assert not children()


@needs_two_cores
def test_it_ends_with_its_parent():
    """However the parent ended, and whatever its child was told to do with signals."""
    code = """
import os, signal
from pathlib import Path
from builder.media.ahead import start_reading
ahead = start_reading([])
print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    child = Path("/proc") / done.stdout.strip()
    assert child.name.isdecimal()
    until = time.monotonic() + 20
    while child.exists() and "Z" not in (child / "stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < until
        time.sleep(0.01)


@needs_two_cores
@pytest.mark.parametrize("spec", [False, True])
def test_iso_reads_the_drivers_disc_once_and_elsewhere(discs, tmp_path, spec):
    """Given by flag or by spec, the disc is walked by one other process; the answer ISO by us."""
    code = """
import os
import builder.media.shelf as shelf
walk = shelf.inspect_image
def told(path):
    with open("walks", "a") as log:
        print(os.getpid(), path.name, file=log)
    return walk(path)
shelf.inspect_image = told
print(os.getpid())
"""
    call = ["iso", "--virtio-iso", discs["virtio"]]
    if spec:
        (tmp_path / "winseed.toml").write_text(f"[defaults]\nvirtio_iso = '{discs['virtio']}'\n")
        call = ["iso"]
    done = subprocess.run(
        [sys.executable, "-c", code + LAUNCH, authority().fingerprint, *map(str, call)],
        cwd=tmp_path,
        env=clean_environment() | {"WINSEED_ADMIN_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ((walker, name),) = [line.split() for line in (tmp_path / "walks").read_text().splitlines()]
    assert name == "virtio.iso"
    assert walker != done.stdout.splitlines()[0]
    assert sorted(path.suffix for path in (tmp_path / "dist").iterdir()) == [".iso", ".json"]
