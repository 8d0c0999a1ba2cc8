"""A run that is interrupted, killed or refused space leaves whole files or none."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.media.image import inspect_image
from tests.command import clean_environment, command_line, process

HOSTS = 200
PATIENCE = 60  # seconds; only a hang needs them


@pytest.fixture
def fleet(tmp_path):
    text = "".join(f'[[host]]\nname = "fleet{number:03}"\n' for number in range(HOSTS))
    (tmp_path / "winseed.toml").write_text(text)
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture
def started(request):
    """Start a command in a process group of its own; nothing of it outlives the test."""
    groups = []

    def start(*arguments, cwd, **options):
        running = subprocess.Popen(
            command_line(*arguments),
            cwd=cwd,
            env=clean_environment() | {"TMPDIR": str(cwd / "tmp")},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        groups.append(running)
        return running

    yield start
    for running in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate(timeout=PATIENCE)


def wait_until(condition, running=None):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.005)


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def check_whole(folder: Path) -> int:
    """Every file that has its final name is whole, and belongs to the others of its host."""
    for path in folder.iterdir():
        assert not path.name.startswith("."), path
    for iso in folder.glob("*.iso"):
        image = inspect_image(iso)
        manifest = json.loads(image.read(image.find("winseed/manifest.json")))
        sizes = {row["path"]: row["size"] for row in manifest["files"]}
        found = {file.path: file.size for file in image.files.values()}
        assert found.items() >= sizes.items()
        password = iso.with_name(f"{iso.stem}.{manifest['fingerprint']}.password")
        assert len(password.read_text()) == 25
        assert stat.S_IMODE(iso.stat().st_mode) == 0o600
    for manifest in folder.glob("*.manifest.json"):
        json.loads(manifest.read_text())
    return len(list(folder.glob("*.iso")))


@pytest.mark.parametrize("to_group", [True, False], ids=["terminal", "kill"])
def test_interrupt_while_writing_many(fleet, started, to_group):
    """Ctrl-C reaches the whole group, `kill -INT` the command alone."""
    out = fleet / "dist"
    running = started("iso", "--all", cwd=fleet)
    wait_until(lambda: out.is_dir() and len(list(out.glob("*.iso"))) >= 2, running)
    (os.killpg if to_group else os.kill)(running.pid, signal.SIGINT)
    told, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, errors
    assert errors.strip() == "interrupted"
    assert told == ""
    wait_until(lambda: group_is_gone(running.pid))
    written = check_whole(out)
    assert 2 <= written < HOSTS
    assert len(list(out.glob("*.manifest.json"))) == written
    assert len(list(out.glob("*.password"))) == written
    assert list((fleet / "tmp").iterdir()) == []


def test_killed_while_writing_many(fleet, started):
    """Nothing can be tidied then, so nothing may be left that needs it; no process stays behind."""
    out = fleet / "dist"
    running = started("iso", "--all", cwd=fleet)
    wait_until(lambda: out.is_dir() and len(list(out.glob("*.iso"))) >= 2, running)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=PATIENCE)
    wait_until(lambda: group_is_gone(running.pid))
    assert 2 <= check_whole(out) < HOSTS
    assert list((fleet / "tmp").iterdir()) == []


def test_everything_killed_at_once(fleet, started):
    out = fleet / "dist"
    running = started("iso", "--all", cwd=fleet)
    wait_until(lambda: out.is_dir() and len(list(out.glob("*.iso"))) >= 2, running)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=PATIENCE)
    wait_until(lambda: group_is_gone(running.pid))
    check_whole(out)
    assert list((fleet / "tmp").iterdir()) == []


def test_interrupt_while_waiting_for_the_password(fleet, started):
    os.mkfifo(fleet / "pipe")
    flags = ("--host", "fleet001", "--admin-password-file", "pipe")
    running = started("iso", *flags, cwd=fleet)
    wait_until(lambda: Path(f"/proc/{running.pid}/wchan").exists() and waits(running.pid), running)
    os.kill(running.pid, signal.SIGINT)
    told, errors = running.communicate(timeout=PATIENCE)
    assert (running.returncode, told, errors.strip()) == (130, "", "interrupted")
    assert not (fleet / "dist").exists()


def waits(pid: int) -> bool:
    """Whether the process sleeps in the opening of a pipe (x86-64 and others: openat)."""
    text = Path(f"/proc/{pid}/syscall").read_text()
    return (
        text.split()[0] in {"257", "56"} and Path(f"/proc/{pid}/stat").read_text().split()[2] == "S"
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(fleet, small_disk):
    """What fits is whole, what does not is told; no draft takes the space of the next."""
    done = process("iso", "--all", "-o", small_disk, cwd=fleet)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "space" in done.err
    written = check_whole(small_disk)
    assert 1 <= written < HOSTS
    assert len(list(small_disk.glob("*.password"))) == len(list(small_disk.glob("*.iso")))
    filled = small_disk / "filler"
    with contextlib.suppress(OSError), filled.open("wb") as file:
        file.write(bytes(2 << 20))
    before = {path.name: path.read_bytes() for path in small_disk.glob("*.iso")}
    done = process("iso", "--host", "fleet001", "-o", small_disk, cwd=fleet)
    assert done.code == 2, done.out
    assert {path.name: path.read_bytes() for path in small_disk.glob("*.iso")} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(fleet):
    (fleet / "dist").mkdir(mode=0o500)
    done = process("iso", "--host", "fleet001", cwd=fleet)
    assert done.code == 2
    assert "Permission denied" in done.err
    assert list((fleet / "dist").iterdir()) == []


@pytest.mark.parametrize(
    "target", ["/dev/full", "/proc/winseed.iso", "file/below.iso", "folder.iso"]
)
def test_places_that_take_no_disc(fleet, target):
    (fleet / "file").write_text("")
    (fleet / "folder.iso").mkdir()
    done = process("iso", "--host", "fleet001", "-o", target, cwd=fleet)
    assert done.code == 2, done
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not list(fleet.glob("*.password"))


def test_the_interpreter_is_this_one():
    """Signals are sent to the very process: no shell or launcher in between."""
    assert command_line("iso")[0] == sys.executable
