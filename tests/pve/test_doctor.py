"""`winseed doctor` as a command, against a strict server: findings, exit codes, nothing changed."""

import io
import json
import os
import re
import shlex
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from builder.errors import ExitCode
from tests.command import process, winseed
from tests.pve.conftest import rights

SPEC = """
[proxmox]
url = "{url}"
node = "pve1"
ca_file = "{ca}"

[defaults]
virtio_iso = "virtio-win.iso"
windows_iso = "win2025.iso"

[[host]]
name = "dc01"
machine = {{ vmid = 101 }}
"""
SIZES = {"win2025.iso": 5_000_000_000, "virtio-win.iso": 700_000_256}


@pytest.fixture
def folder(pve, tmp_path, monkeypatch):
    """A site with local discs of the sizes that the node has."""
    monkeypatch.chdir(tmp_path)
    for name, size in SIZES.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)  # sparse
    (tmp_path / "winseed.toml").write_text(SPEC.format(url=pve.url, ca=pve.ca_file))
    return tmp_path


def value(token):
    return f"{token.user}!{token.name}={token.value}"


@pytest.fixture
def doctor(pve, release, folder, monkeypatch, capsys):
    token = pve.token("installer@pve", rights(release) | {"Datastore.Allocate"})
    monkeypatch.setenv("WINSEED_PVE_TOKEN", value(token))
    return lambda *arguments: winseed(capsys, "doctor", *arguments)


def stops(done):
    return re.findall(r"^stop +(.*)$", done.out, re.MULTILINE)


def test_all_is_fine(doctor, pve, release):
    done = doctor()
    assert (done.code, done.err) == (0, ""), done
    assert f"Proxmox VE {release}" in done.out
    assert "dc01: VM 101 on pve1" in done.out
    levels = set(re.findall(r"^(ok|warn|stop) ", done.out, re.MULTILINE))
    assert levels == {"ok"}
    assert {seen.method for seen in pve.requests} == {"GET"}
    assert {seen.status for seen in pve.requests} <= {200, 501}


def test_json(doctor, release):
    done = doctor("--json")
    document = json.loads(done.out)
    assert (document["version"], document["ok"], done.code) == (1, True, 0)
    (host,) = document["hosts"]
    assert (host["host"], host["node"], host["vmid"]) == ("dc01", "pve1", 101)
    assert all(
        set(row) == {"subject", "level", "what", "hint", "commands"} for row in host["findings"]
    )
    assert document["token"] == "installer@pve!winseed"


def test_everything_at_once(doctor, pve, folder):
    pve.add_vm(101, config={"name": "other", "scsi0": "local-lvm:vm-101-disk-0,size=4G"})
    pve.storages["local-lvm"].active = False
    (folder / "win2025.iso").write_bytes(b"x")
    pve.node("pve1").bridges.clear()
    done = doctor()
    assert done.code == ExitCode.UNSAFE
    told = " ".join(stops(done))
    for subject in ("vmid", "storage local-lvm", "windows iso", "bridge"):
        assert subject in told
    assert done.err.startswith("error: an installation cannot start")


def test_the_lines_it_prints_mend_what_is_missing(pve, release, folder, monkeypatch, capsys):
    """Run as root would run them, they leave nothing to be granted: the fake's own rules judge."""
    token = pve.token("poor@pve", {"/": ["SDN.Audit"]})
    monkeypatch.setenv("WINSEED_PVE_TOKEN", value(token))
    done = winseed(capsys, "doctor")
    assert done.code == ExitCode.PROXMOX
    roles = {}
    for line in re.findall(r"^ +(pveum .*)$", done.out, re.MULTILINE):
        words = shlex.split(line)
        if words[1] == "role":
            roles[words[3]] = frozenset(words[5].split(","))
            assert roles[words[3]] <= pve.schema.privileges
        else:
            granted = frozenset().union(*(roles[name] for name in words[7].split(",")))
            account = pve.access.accounts[words[5]]
            held = account.entries.get(words[3], frozenset())
            account.entries[words[3]] = held | granted
    assert roles
    done = winseed(capsys, "doctor")
    assert (done.code, stops(done)) == (0, [])
    assert "warn" not in done.out


@pytest.mark.parametrize("missing", ["VM.Console", "Datastore.AllocateTemplate", "SDN.Use"])
def test_one_missing_right(pve, release, folder, monkeypatch, capsys, missing):
    token = pve.token("poor@pve", (rights(release) | {"SDN.Audit"}) - {missing})
    monkeypatch.setenv("WINSEED_PVE_TOKEN", value(token))
    done = winseed(capsys, "doctor")
    assert done.code == ExitCode.PROXMOX
    (told,) = stops(done)
    assert missing in told


def test_two_hosts_and_two_nodes(doctor, pve, folder):
    spec = (folder / "winseed.toml").read_text()
    spec += '[[host]]\nname = "dc02"\nmachine = { node = "pve2" }\n'
    (folder / "winseed.toml").write_text(spec)
    pve.node("pve2").online = False
    done = doctor("--all")
    assert done.code == ExitCode.PROXMOX
    assert "dc01: VM 101 on pve1" in done.out
    assert stops(done) == ["node               pve2 is offline"]


def test_node_flag_outranks_the_spec(doctor):
    assert "dc01: VM 101 on pve2" in doctor("--node", "pve2").out


# Connection


def test_no_address(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    done = winseed(capsys, "doctor")
    assert (done.code, done.out) == (ExitCode.SPEC, "")
    assert "no address of Proxmox VE is given" in done.err


@pytest.mark.parametrize(
    "url", ["http://pve1:8006", "https://u:p@pve1", "https://pve1/x", "https://pve1:99999", "a b"]
)
def test_addresses_that_are_none(doctor, url):
    done = doctor("--url", url)
    assert (done.code, done.out) == (ExitCode.SPEC, "")
    assert "--url" in done.err


def test_no_token(doctor, monkeypatch):
    monkeypatch.delenv("WINSEED_PVE_TOKEN")
    done = doctor()
    assert (done.code, done.out) == (ExitCode.SPEC, "")
    assert "no API token is given" in done.err


def test_token_from_a_file_and_standard_input(doctor, folder, monkeypatch, capsys):

    token = os.environ["WINSEED_PVE_TOKEN"]
    monkeypatch.delenv("WINSEED_PVE_TOKEN")
    path = folder / "token"
    path.write_text(f"{token}\n")
    path.chmod(0o600)
    assert (doctor("--token-file", path).code, doctor("--token-file", path).err) == (0, "")
    path.chmod(0o644)
    assert "others can read the token" in doctor("--token-file", path).err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    assert doctor("--token-file", "-").code == 0


def test_a_token_that_is_not_accepted(doctor, monkeypatch):
    monkeypatch.setenv("WINSEED_PVE_TOKEN", "installer@pve!winseed=not-this-one")
    done = doctor()
    assert (done.code, done.out) == (ExitCode.PROXMOX, "")
    assert "does not accept the token" in done.err
    assert "not-this-one" not in done.err


def test_insecure_warns_each_time_and_tells_the_fingerprint(doctor, pve):
    for _ in range(2):
        done = doctor("--insecure")
        assert done.code == 0
        assert done.err.startswith("warning: --insecure")
        assert pve.node("pve1").fingerprint in done.err
    done = doctor("--fingerprint", pve.node("pve1").fingerprint.lower())
    assert (done.code, done.err) == (0, "")


def test_certificates_are_checked(doctor, pve, folder):
    spec = (folder / "winseed.toml").read_text()
    (folder / "winseed.toml").write_text(re.sub("ca_file.*", "", spec))
    for flags in ([], ["--fingerprint", ":".join(["00"] * 32)]):
        done = doctor(*flags)
        assert (done.code, done.out) == (ExitCode.PROXMOX, "")
        assert "is not trusted" in done.err
    assert doctor("--ca", pve.ca_file).code == 0
    assert doctor("--ca", "gone.pem").code == ExitCode.SPEC
    assert doctor("--ca", pve.ca_file, "--insecure").code == ExitCode.SPEC


def test_nobody_there(doctor):
    done = doctor("--url", "https://127.0.0.77:1")
    assert (done.code, done.out) == (ExitCode.PROXMOX, "")
    assert "cannot connect to 127.0.0.77:1" in done.err


def test_something_else_there(doctor):
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        done = doctor("--url", f"https://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (done.code, done.out) == (ExitCode.PROXMOX, "")


def test_a_server_that_breaks_off_in_the_middle(doctor, pve):
    """One refused question is told; the others are still asked."""
    pve.faults.fail("GET */storage", answer=500, reason="storage 'nfs' hangs", times=9)
    done = doctor()
    assert done.code == ExitCode.PROXMOX
    assert "hangs" in done.out
    assert "bridge" in done.out


def test_no_secret_anywhere(doctor, folder):
    """With --debug as well, in a process of its own; the last one is no whole token."""
    token = os.environ["WINSEED_PVE_TOKEN"]
    secret = token.rpartition("=")[2]
    for variables in ({}, {"WINSEED_PVE_TOKEN": token}, {"WINSEED_PVE_TOKEN": secret}):
        done = process("--debug", "doctor", cwd=folder, env=variables)
        assert secret not in done.out + done.err
    assert done.code == ExitCode.SPEC
