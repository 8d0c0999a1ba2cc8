"""Expected files of every kind of hand-off, made by the real command from one spec of two hosts.

What differs from run to run is masked: fingerprints, passwords, hashes of discs and of drivers.
`--regenerate` rewrites what is expected. The scripts of the first boot are those of the answer ISO,
and are looked at there.
"""

import re
import shutil
from pathlib import Path

import pytest

from builder import __version__
from tests.command import PASSWORD, winseed
from tests.golden.test_golden import PASSWORDS
from tests.wimboots import write_wimboot

HERE = Path(__file__).parent / "handoff"
SPEC = HERE / "spec.toml"
SHARE_PASSWORD = "Share-Password-01"
NETWORK = ("--server", "192.0.2.10:8080")
KINDS = {
    "ipxe-share": ("ipxe", *NETWORK, "--way", "share", "--secrets-in-tree"),
    "ipxe-http": ("ipxe", *NETWORK, "--way", "http", "--secrets-in-tree"),
    "wds": ("wds", "--inject"),
    "wds-secrets": ("wds", "--inject", "--secrets-in-tree"),
    "hyperv": ("hyperv",),
}
SUFFIXES = {".ipxe", ".cmd", ".ini", ".txt", ".xml", ".ps1", ".md", ".conf"}
MASKS = {
    r"\b[0-9a-f]{12}\b": "FINGERPRINT",
    r"\b\d{5}-[0-9a-f]{8}\b": "MEDIA",
    r"drivers/[0-9a-f]{8}/": "drivers/HASH/",
    r"boot-[0-9a-f]{8}\.wim": "boot-HASH.wim",
    re.escape(f"winseed {__version__}"): "winseed VERSION",
}


def masked(text: str) -> str:
    text = PASSWORDS.sub(r"\1PASSWORD\3", text)
    for pattern, word in MASKS.items():
        text = re.sub(pattern, word, text)
    return text


def texts(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        ours = "/winseed/" not in name and "share/media/" not in name and "/media/" not in name
        if path.is_file() and path.suffix in SUFFIXES and ours and "/drivers/" not in name:
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
            found[masked(name)] = masked(text)
    return found


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kind", KINDS)
def test_expected(kind, discs, tmp_path, capsys, request, monkeypatch):
    monkeypatch.setenv("WINSEED_SHARE_PASSWORD", SHARE_PASSWORD)
    verb, *options = KINDS[kind]
    password = tmp_path / "administrator"
    password.write_text(f"{PASSWORD}\n")
    if verb == "ipxe":
        options += ["--wimboot", write_wimboot(tmp_path / "wimboot")]
    if "http" in options:
        options += ["--curl", write_wimboot(tmp_path / "curl.exe")]
    flags = ["--spec", SPEC, "--all", "--admin-password-file", password]
    flags += ["--virtio-iso", discs["virtio"], "--windows-iso", discs["windows-2022-volume"]]
    done = winseed(capsys, "handoff", verb, tmp_path / "out", *flags, *options)
    assert done.code == 0, done.err
    found = texts(tmp_path / "out")
    folder = HERE / kind
    if request.config.getoption("regenerate") or not folder.exists():
        written = folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in found.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        assert written or request.config.getoption("regenerate"), f"wrote {folder}: look at it"
    stored = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert sorted(found) == sorted(stored)
    for name, text in found.items():
        assert text == stored[name], name
