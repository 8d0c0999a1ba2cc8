"""Hand-offs as tests call for them: one spec, the session's discs, one command."""

import subprocess
from pathlib import Path

from tests.command import PASSWORD, winseed
from tests.wimboots import write_wimboot

SPEC = """
[site]
name = "lab"
[[host]]
name = "A1"
release = "2022"
nic = [ { mac = "bc:24:11:00:00:01" } ]
[[host]]
name = "b2"
release = "2022"
edition = "desktop"
nic = [ { mac = "bc:24:11:00:00:02" } ]
"""
SHARE_PASSWORD = "Share-Password-01"


def hand_off(capsys, discs, folder: Path, kind: str, *options: object, spec: str = SPEC, **more):
    """`winseed handoff KIND folder/out`; `windows` names the disc, None leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.toml").write_text(spec)
    (folder / "admin.txt").write_text(f"{PASSWORD}\n")
    flags: list[object] = ["--spec", folder / "site.toml", "--all"]
    windows = more.pop("windows", "windows-2022-volume")
    if windows:
        flags += ["--windows-iso", discs[windows] if isinstance(windows, str) else windows]
    if more.pop("virtio", True):
        flags += ["--virtio-iso", discs["virtio"]]
    if more.pop("given", True):
        flags += ["--admin-password-file", folder / "admin.txt"]
    if kind == "ipxe":
        loader = more.pop("wimboot", None) or write_wimboot(folder / "wimboot")
        flags += ["--wimboot", loader, "--server", more.pop("server", "192.0.2.10:8080")]
    assert not more, more
    return winseed(capsys, "handoff", kind, folder / "out", *flags, *options)


def run_tool(*command: object) -> str:
    """What a program says; its own words are the error."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def listing(folder: Path) -> dict[str, tuple]:
    """Everything that a copy of the folder would carry: bytes, modes, times, links."""
    first: dict[int, str] = {}
    found = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        name = path.relative_to(folder).as_posix()
        linked = first.setdefault(facts.st_ino, name)
        content = path.read_bytes() if path.is_file() else b""
        found[name] = (content, facts.st_mode, int(facts.st_mtime), linked)
    return found
