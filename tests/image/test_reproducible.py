"""The same input gives the same bytes; what is meant to change them does."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from tests.command import PASSWORD, process

SPEC = """
[[host]]
name = "same01"
organization = "Ünïcode & Söhne"
first_boot = ["setup.ps1"]
locale.time_zone = "Europe/Berlin"
[[host.data_disk]]
letter = "D"
size_gib = 10
slot = 1
"""
SURROUNDINGS = {
    "zone": {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "4711", "TERM": "dumb", "COLUMNS": "20"},
    "language": {"LANG": "de_DE.UTF-8", "LC_ALL": "C", "HOME": "/nonexistent", "NO_COLOR": "1"},
    "encoding": {
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii:backslashreplace",
    },
}


@pytest.fixture
def site(tmp_path, discs):
    """A spec and its media in a folder; another folder holds the same under other names."""
    for name in ("first", "second/deeper"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "site.toml").write_text(SPEC)
        (folder / "setup.ps1").write_text("Write-Output 'x'\n")
        (folder / "admin").write_text(f"{PASSWORD}\n")
        (folder / "w.iso").write_bytes(discs["windows-2022-eval"].read_bytes())
        (folder / "v.iso").write_bytes(discs["virtio"].read_bytes())
    os.utime(tmp_path / "second/deeper/setup.ps1", (1, 1))
    (tmp_path / "first/setup.ps1").chmod(0o777)
    return tmp_path


def build(folder: Path, cwd: Path, out: Path, *flags, umask=0o022, **env) -> Path:
    done = process(
        *("iso", "--spec", folder / "site.toml", "-o", out),
        *("--windows-iso", folder / "w.iso", "--virtio-iso", folder / "v.iso"),
        *("--admin-password-file", folder / "admin", *flags),
        cwd=cwd,
        env=env,
        trusted=True,
        umask=umask,
    )
    assert done.code == 0, done.err
    return out


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_same_input_same_bytes(site):
    reference = build(site / "first", site, site / "reference.iso")
    expected = sha256(reference)
    manifest = reference.with_suffix(".manifest.json").read_bytes()
    second = site / "second" / "deeper"
    for name, env in SURROUNDINGS.items():
        # another second, folder, working directory, umask and input path each time
        out = build(second, second.parent, site / name / "other.iso", umask=0o077, **env)
        assert sha256(out) == expected, name
        assert out.with_suffix(".manifest.json").read_bytes() == manifest
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert str(site).encode() not in reference.read_bytes()


def test_what_changes_the_bytes(site):
    first = site / "first"
    made = {
        "reference": build(first, site, site / "a.iso"),
        "epoch": build(first, site, site / "b.iso", SOURCE_DATE_EPOCH="1700000000"),
        "flag": build(first, site, site / "c.iso", "--edition", "desktop"),
    }
    (first / "admin").write_text("Another-Password-1\n")
    made["password"] = build(first, site, site / "d.iso")
    (first / "setup.ps1").write_text("Write-Output 'y'\n")
    made["attachment"] = build(first, site, site / "e.iso")
    assert len({sha256(path) for path in made.values()}) == len(made)
    epochs = {
        name: json.loads(path.with_suffix(".manifest.json").read_text())["epoch"]
        for name, path in made.items()
    }
    assert epochs["epoch"] == 1_700_000_000
    assert epochs["flag"] == epochs["reference"]


def test_a_drawn_password_is_new_each_time_and_never_overwritten(site):
    found = []
    for _ in range(3):
        done = process("iso", "--json", cwd=site)
        assert done.code == 0, done.err
        (built,) = json.loads(done.out)["built"]
        found.append(built)
    files = [site / built["password_file"] for built in found]
    assert len({built["fingerprint"] for built in found}) == 3
    assert len(set(files)) == 3
    assert len({path.read_text() for path in files}) == 3
    assert len(list((site / "dist").glob("*.iso"))) == 1


def test_a_fleet_is_the_same_in_parallel_and_one_by_one(site):
    """Twenty hosts over all cores, and each alone: the same bytes under the same names."""
    hosts = "".join(
        f'[[host]]\nname = "fleet{n:02}"\nowner = "Host {n}"\n'
        f"edition = '{'desktop' if n % 3 else 'core'}'\n"
        for n in range(20)
    )
    folder = site / "first"
    (folder / "site.toml").write_text(hosts)
    every = build(folder, site, site / "parallel", "--all")
    isos = sorted(every.glob("*.iso"))
    assert len(isos) == 20
    single = site / "single"
    done = process(
        *("iso", "--spec", folder / "site.toml", "-o", single, "--all"),
        *("--windows-iso", folder / "w.iso", "--virtio-iso", folder / "v.iso"),
        *("--admin-password-file", folder / "admin"),
        cwd=site,
        trusted=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    assert done.code == 0, done.err
    alone = build(folder, site, site / "alone", "--host", "fleet07")
    for path in sorted(every.iterdir()):
        assert (single / path.name).read_bytes() == path.read_bytes()
    for path in alone.iterdir():
        assert (every / path.name).read_bytes() == path.read_bytes()
