"""The transport against a strict server: what is sent, what is told, what is never repeated."""

import dataclasses
import hashlib
import json
import logging
import pickle
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from builder.console import NoProgress
from builder.errors import ExitCode, WinseedError
from builder.proxmox import agent, inventory, vm
from builder.proxmox.api import LOGGERS, Api, inspect_fingerprint
from builder.proxmox.connection import (
    CaFile,
    Clock,
    Pinned,
    SystemTrust,
    load_token,
    make_connection,
)
from builder.proxmox.endpoints import connect_node
from builder.proxmox.facts import DriveCounter
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.tasks import Succeeded, load_upid, wait_for_task
from builder.proxmox.upload import inspect_upload, send_upload, upload_iso
from builder.values import Secret
from tests.command import ROOT
from tests.pve.authority import the_authority
from tests.pve.conftest import rights

VM = {
    "name": "dc01",
    "machine": "pc-q35-9.2+pve1",
    "scsihw": "virtio-scsi-single",
    "scsi0": "local-lvm:vm-101-disk-0,size=60G",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
    "description": "two\nlines: with scsi1: x",
}


class Time:
    """Seconds that pass only in pauses."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def pause(self, seconds):
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def time_passed():
    return Time()


def open_api(pve, token, passed, *, trust=None, timeout=(2.0, 2.0)):
    clock = Clock(now=lambda: passed.now, pause=passed.pause, jitter=lambda: 0.0)
    told = load_token(f"{token.user}!{token.name}={token.value}", source="test")
    trust = trust or CaFile(path=Path(pve.ca_file))
    return Api(make_connection(pve.url, told, trust), clock, timeout=timeout)


@pytest.fixture
def api(pve, release, time_passed):
    return open_api(pve, pve.token("installer@pve", rights(release)), time_passed)


def posts(pve, expected):
    """How many POSTs were seen; the server notes them a moment after it has answered."""
    for _ in range(100):
        found = [seen for seen in pve.requests if seen.method == "POST"]
        if len(found) >= expected:
            break
        time.sleep(0.01)
    return len(found)


def refused(call):
    with pytest.raises(PveError) as caught:
        call()
    assert caught.value.code is ExitCode.PROXMOX
    return caught.value


# What is told


def test_inventory(api, pve, release):
    pve.add_vm(101, config={**VM, "boot": "order=scsi0;ide2", "tags": "a;b"})
    pve.add_vm(102, node="pve2", config={"name": "other"})
    version = inventory.inspect_version(api)
    assert (version.major, version.minor) == ((8, 4) if release == "8.4" else (9, 2))
    assert [node.name for node in inventory.inspect_nodes(api)] == ["pve1", "pve2"]
    assert [node.cpus for node in inventory.inspect_nodes(api)] == [16, 16]
    assert [one.local for one in inventory.inspect_addresses(api)] == [True, False]
    local, lvm = inventory.inspect_storages(api, "pve1")
    assert (local.name, local.kind, "iso" in local.content, local.active) == (
        "local",
        "dir",
        True,
        True,
    )
    assert (lvm.name, "images" in lvm.content, lvm.available) == ("local-lvm", True, 999 << 30)
    sizes = {iso.name: iso.size for iso in inventory.inspect_isos(api, "pve1", "local")}
    assert sizes == {"win2025.iso": 5_000_000_000, "virtio-win.iso": 700_000_256}
    assert [bridge.name for bridge in inventory.inspect_bridges(api, "pve1")] == ["vmbr0"]
    guests = inventory.inspect_guests(api)
    assert [(g.vmid, g.name, g.node, g.running) for g in guests] == [
        (101, "dc01", "pve1", False),
        (102, "other", "pve2", False),
    ]
    assert guests[0].tags == {"a", "b"}
    assert inventory.inspect_vmid_free(api, 103)
    assert not inventory.inspect_vmid_free(api, 101)
    assert inventory.inspect_next_vmid(api) == 100
    config = inventory.inspect_config(api, "pve1", 101)
    assert [str(disk.slot) for disk in config.machine.disks] == ["scsi0"]
    assert config.machine.nics[0].mac == "BC:24:11:00:00:01"
    assert config.digest == pve.vms[101].digest
    assert config.setting("description") == VM["description"]
    assert "VM.Audit" in inventory.inspect_rights(api, "/vms/101")


def test_status_counts_what_drives_have_read(api, pve):
    machine = pve.add_vm(101, config=VM)
    assert not inventory.inspect_status(api, "pve1", 101).running
    wait_for_task(api, vm.start_vm(api, "pve1", 101), timeout=60)
    machine.read_bytes["scsi0"] = 4096
    status = inventory.inspect_status(api, "pve1", 101)
    assert status.running
    assert DriveCounter(slot="scsi0", read=4096, written=0) in status.drives


def test_a_vm_is_made_changed_and_destroyed(api, pve):
    settings = {"name": "dc02", "memory": 4096, "onboot": False, "scsi0": "local-lvm:8"}
    task = wait_for_task(api, vm.create_vm(api, "pve1", 105, settings), timeout=60)
    assert isinstance(task, Succeeded)
    assert pve.vms[105].config["name"] == "dc02"
    digest = inventory.inspect_config(api, "pve1", 105).digest
    vm.set_config(api, "pve1", 105, {"cores": 4}, digest=digest)
    assert inventory.inspect_config(api, "pve1", 105).setting("cores") == "4"
    error = refused(lambda: vm.set_config(api, "pve1", 105, {"cores": 2}, digest=digest))
    assert error.trouble is Trouble.CHANGED
    wait_for_task(api, vm.destroy_vm(api, "pve1", 105), timeout=60)
    assert 105 not in pve.vms


def test_a_volume_is_deleted_by_its_volid(pve, release, time_passed):
    token = pve.token("cleaner@pve", rights(release) | {"Datastore.Allocate"})
    api = open_api(pve, token, time_passed)
    upid = vm.delete_volume(api, "pve1", "local:iso/win2025.iso")
    wait_for_task(api, upid, timeout=60)
    assert pve.volume("local:iso/win2025.iso", "pve1") is None


# What goes wrong


def test_missing_privileges_are_named(pve, time_passed):
    api = open_api(pve, pve.token("poor@pve", ["SDN.Use"]), time_passed)
    error = refused(lambda: inventory.inspect_isos(api, "pve1", "local"))
    assert error.trouble is Trouble.FORBIDDEN
    assert (error.path, error.privileges) == (
        "/storage/local",
        ("Datastore.Audit", "Datastore.AllocateSpace"),
    )
    assert "doctor" in error.hint


def test_a_wrong_token_is_refused(pve, api, time_passed):
    bad = load_token("installer@pve!winseed=00000000-not-this", source="test")
    api = Api(make_connection(pve.url, bad, api.connection.trust), api.clock)
    error = refused(lambda: inventory.inspect_version(api))
    assert error.trouble is Trouble.TOKEN
    assert "00000000" not in str(error) + error.hint
    assert time_passed.pauses == []


@pytest.mark.parametrize(
    ("call", "trouble"),
    [
        (lambda api: inventory.inspect_config(api, "pve1", 999), Trouble.MISSING),
        (lambda api: inventory.inspect_isos(api, "pve1", "gone"), Trouble.MISSING),
        (lambda api: vm.send_key(api, "pve1", 101, "ret"), Trouble.STOPPED),
        (lambda api: agent.inspect_system(api, "pve1", 101), Trouble.STOPPED),
        (lambda api: vm.create_vm(api, "pve1", 300, {"name": "dc_01"}), Trouble.PARAMETERS),
    ],
)
def test_refusals(api, pve, call, trouble):
    pve.add_vm(101, config={**VM, "agent": "1"})
    error = refused(lambda: call(api))
    assert error.trouble is trouble, error.what
    assert error.what


def test_a_refused_parameter_is_named(api):
    error = refused(lambda: vm.create_vm(api, "pve1", 300, {"name": "dc_01", "cores": 0}))
    assert {problem.where for problem in error.problems} == {"name", "cores"}


def test_a_locked_vm(api, pve):
    pve.add_vm(101, config={**VM, "lock": "backup"})
    error = refused(
        lambda: vm.set_config(api, "pve1", 101, {"cores": 2}, digest=pve.vms[101].digest)
    )
    assert error.trouble is Trouble.LOCKED


def test_errors_travel_between_processes():
    error = PveError("what", trouble=Trouble.UNKNOWN, hint="h", path="/", privileges=("A",))
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.what, copy.trouble, copy.hint, copy.path, copy.privileges) == (
        error.what,
        error.trouble,
        error.hint,
        error.path,
        error.privileges,
    )


# What is repeated, and what never is


@pytest.mark.parametrize("answer", ["drop", 595, 596, 599])
def test_a_question_is_asked_again(api, pve, time_passed, answer):
    pve.faults.fail("GET /version", answer=answer, times=2)
    assert inventory.inspect_version(api)
    assert len(time_passed.pauses) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("answer", ["drop", "stall", 595, 596, 599])
def test_a_change_is_sent_once_and_its_outcome_unknown(pve, release, time_passed, answer, moment):
    token = pve.token("installer@pve", rights(release))
    api = open_api(pve, token, time_passed, timeout=(2.0, 0.3))
    pve.faults.fail("POST */qemu", answer=answer, moment=moment, seconds=0.6)
    error = refused(lambda: vm.create_vm(api, "pve1", 105, {"name": "dc02"}))
    assert error.trouble is Trouble.UNKNOWN
    assert posts(pve, 1) == 1
    assert (105 in pve.vms) == (moment == "after")


def test_a_change_goes_out_again_when_a_lock_was_not_free(api, pve):
    text = "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout"
    pve.add_vm(101, config=VM)
    pve.faults.fail("PUT */config", answer=500, reason=text)
    vm.set_config(api, "pve1", 101, {"cores": 2}, digest=pve.vms[101].digest)
    assert pve.vms[101].config["cores"] == "2"


def test_no_server(api, time_passed):
    nowhere = dataclasses.replace(api.connection, host="127.0.0.99", port=1)
    error = refused(lambda: vm.create_vm(Api(nowhere, api.clock), "pve1", 105, {}))
    assert error.trouble is Trouble.UNREACHABLE  # nothing was sent: it was tried again
    assert len(time_passed.pauses) == 2
    assert "127.0.0.99:1" in error.what


# Certificates


def test_trust(pve, api, release, time_passed):
    token = pve.token("installer@pve", rights(release))
    pin = Pinned(fingerprint=inspect_fingerprint(pve.url))
    assert inventory.inspect_version(open_api(pve, token, time_passed, trust=pin))
    wrong = Pinned(fingerprint=":".join(["00"] * 32))
    for trust in (SystemTrust(), wrong):
        error = refused(
            lambda trust=trust: inventory.inspect_version(
                open_api(pve, token, time_passed, trust=trust)
            )
        )
        assert error.trouble is Trouble.UNTRUSTED
    assert time_passed.pauses == []
    assert inspect_fingerprint(pve.url) == pve.node("pve1").fingerprint


def test_a_pin_holds_for_uploads_too(pve, release, time_passed, tmp_path):
    token = pve.token("installer@pve", rights(release))
    upload = make_upload(tmp_path, b"x")
    wrong = Pinned(fingerprint=":".join(["00"] * 32))
    api = open_api(pve, token, time_passed, trust=wrong)
    error = refused(lambda: api.send(("nodes", "pve1"), [b"x"], 1, "text/plain", str))
    assert error.trouble is Trouble.UNTRUSTED
    right = Pinned(fingerprint=pve.node("pve1").fingerprint)
    assert upload_iso(open_api(pve, token, time_passed, trust=right), upload).size == 1


def test_no_ca_file(pve, release, time_passed, tmp_path):
    token = pve.token("installer@pve", rights(release))
    with pytest.raises(WinseedError, match="No such file") as caught:
        open_api(pve, token, time_passed, trust=CaFile(path=tmp_path / "ca.pem"))
    assert caught.value.code is ExitCode.SPEC
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(WinseedError, match="it holds no certificate"):
        open_api(pve, token, time_passed, trust=CaFile(path=tmp_path / "ca.pem"))


def test_the_server_of_a_node_is_found_and_pinned(api, pve):
    own = connect_node(api, "pve2")
    assert own.connection.host == "127.0.0.2"
    assert own.connection.trust == Pinned(fingerprint=pve.node("pve2").fingerprint)
    assert connect_node(api, "pve1") is api
    pve.node("pve2").online = False
    assert connect_node(api, "pve2") is api


# Tasks


def test_a_failed_task_tells_why(api, pve):
    upid = vm.create_vm(api, "pve1", 105, {"ide2": "local:iso/gone.iso,media=cdrom"})
    error = refused(lambda: wait_for_task(api, upid, timeout=60))
    assert error.trouble is Trouble.TASK
    assert "gone.iso" in error.what


def test_a_worker_that_died(api, pve):
    pve.faults.kill_worker("qmcreate")
    upid = vm.create_vm(api, "pve1", 105, {})
    error = refused(lambda: wait_for_task(api, upid, timeout=60))
    assert "unexpected status" in error.what


def test_a_task_that_takes_too_long(api, pve, time_passed):
    pve.tasks.seconds["qmcreate"] = 1e6
    upid = vm.create_vm(api, "pve1", 105, {})
    error = refused(lambda: wait_for_task(api, upid, timeout=30))
    assert error.trouble is Trouble.UNKNOWN
    assert 30 <= time_passed.now < 35


def test_warnings_are_a_success(api, pve):
    pve.add_vm(101, config=VM)
    pve.faults.kill_worker("qmstart", at="after", status="WARNINGS: 2")
    assert wait_for_task(api, vm.start_vm(api, "pve1", 101), timeout=60).warnings == 2
    assert pve.vms[101].running


def test_what_is_no_upid():
    for text in ("", "OK", "UPID:pve1:1", None):
        with pytest.raises(ValueError, match="no UPID"):
            load_upid(text)


# Uploads


def make_upload(folder, content, *, node="pve1", name="winseed-101-3fa9.iso"):
    path = folder / "answer.iso"
    path.write_bytes(content)
    return inspect_upload(path, node=node, storage="local", name=name)


@pytest.mark.parametrize("size", [0, 1, 15_000, 16_384, 16_385, 3_000_001])
def test_an_upload_arrives_byte_for_byte(api, pve, tmp_path, size):
    content = (b"\r\n--winseed-\r\n\0\xff" * (size // 10 + 1))[:size]
    upload = make_upload(tmp_path, content)
    iso = upload_iso(api, upload)
    assert (iso.volid, iso.size) == ("local:iso/winseed-101-3fa9.iso", size)
    volume = pve.volume(iso.volid, "pve1")
    assert volume.content == content
    assert volume.sha256 == hashlib.sha256(content).hexdigest() == upload.sha256


SENDER = """
import resource, sys, time
from pathlib import Path
from builder.console import NoProgress
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.proxmox.upload import inspect_upload, send_upload
url, ca, path = sys.argv[1:4]
clock = Clock(now=time.monotonic, pause=time.sleep, jitter=lambda: 0.0)
token = load_token("a@pve!bb=cc", source="test")
api = Api(make_connection(url, token, CaFile(path=Path(ca))), clock)
upload = inspect_upload(Path(path), node="pve1", storage="local", name="large.iso")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
send_upload(api, upload, NoProgress())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


class Sink(BaseHTTPRequestHandler):
    """Takes an upload of any size and forgets it."""

    def do_POST(self):
        left = self.server.taken = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 18)))
        body = json.dumps({"data": f"UPID:pve1:{'0' * 8}:{'0' * 8}:{'0' * 8}:imgcopy::a@pve!b:"})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


def test_an_upload_takes_constant_memory(tmp_path):
    path = tmp_path / "large.iso"
    with path.open("wb") as file:
        file.truncate(150 << 20)
    pem, _ = the_authority().certify("pve1", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with HTTPServer(("127.0.0.1", 0), Sink) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.timeout = 10
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{server.server_port}"
        done = subprocess.run(
            [sys.executable, "-c", SENDER, url, str(the_authority().file), path],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        thread.join(timeout=30)
        assert done.returncode == 0, done.stderr
        assert 150 << 20 < server.taken < (150 << 20) + 2000
    assert int(done.stdout) < 32 << 10  # KiB more than before


def test_an_upload_that_arrives_damaged_is_sent_again(api, pve, tmp_path):
    """Bytes of a header in the file, once: the node compares the sum and refuses."""
    turns = []

    def mangle(chunk):
        turns.append(len(chunk))
        return chunk.replace(b"GOOD", b"EVIL") if len(turns) == 1 else chunk

    pve.mangle_upload = mangle
    iso = upload_iso(api, make_upload(tmp_path, b"GOOD" * 10))
    assert pve.volume(iso.volid, "pve1").content == b"GOOD" * 10
    assert [task.exitstatus == "OK" for task in pve.tasks] == [False, True]


def test_an_upload_that_never_arrives_whole(api, pve, tmp_path):
    pve.mangle_upload = lambda chunk: chunk.replace(b"GOOD", b"EVIL")
    error = refused(lambda: upload_iso(api, make_upload(tmp_path, b"GOOD")))
    assert error.trouble is Trouble.TASK
    assert "checksum mismatch" in error.what
    assert posts(pve, 2) == 2
    assert pve.volume("local:iso/winseed-101-3fa9.iso", "pve1") is None


def test_reads_of_a_servers_size_do_not_tear_the_header(api, pve, tmp_path):
    """All headers and the file's first bytes come in one piece; smaller reads would tear them."""
    pve.upload_read_size = 8192  # AnyEvent::Handle reads as much at once
    assert upload_iso(api, make_upload(tmp_path, b"x" * 50_000)).size == 50_000
    assert [task.exitstatus for task in pve.tasks] == ["OK"]
    pve.upload_read_size = 7
    error = refused(lambda: upload_iso(api, make_upload(tmp_path, b"x", name="torn.iso")))
    assert "checksum mismatch" in error.what


def test_an_agent_that_does_not_answer(api, pve):
    pve.add_vm(101, config={**VM, "agent": "1"})
    assert not agent.ping_agent(api, "pve1", 101)
    wait_for_task(api, vm.start_vm(api, "pve1", 101), timeout=60)
    assert not agent.ping_agent(api, "pve1", 101)


def test_a_lost_answer_is_looked_up_not_sent_again(api, pve, tmp_path):
    pve.faults.fail("POST */upload", moment="after", answer="drop")
    iso = upload_iso(api, make_upload(tmp_path, b"x" * 100))
    assert iso.size == 100
    assert posts(pve, 1) == 1


def test_a_lost_upload_is_sent_again(api, pve, tmp_path):
    pve.faults.fail("POST */upload", moment="before", answer="drop")
    assert upload_iso(api, make_upload(tmp_path, b"x" * 100)).size == 100
    assert posts(pve, 2) == 2


def test_a_lost_answer_waits_for_the_copy(api, pve, tmp_path, time_passed):
    pve.clock = lambda: time_passed.now
    pve.tasks._clock = pve.clock
    pve.tasks.seconds["imgcopy"] = 20.0
    pve.faults.fail("POST */upload", moment="after", answer="drop")
    assert upload_iso(api, make_upload(tmp_path, b"x" * 100)).size == 100
    assert posts(pve, 1) == 1
    assert time_passed.now >= 20


def test_copies_of_others_are_not_waited_for(api, pve, tmp_path, time_passed):
    pve.clock = lambda: time_passed.now
    pve.tasks._clock = pve.clock
    pve.tasks.seconds["imgcopy"] = 1000.0
    send_upload(api, make_upload(tmp_path, b"x", name="others.iso"), NoProgress())
    pve.tasks.seconds["imgcopy"] = 0.0
    pve.faults.fail("POST */upload", moment="after", answer="drop")
    assert upload_iso(api, make_upload(tmp_path, b"x" * 100)).size == 100
    assert time_passed.now < 10


def test_the_same_name_there_before_proves_nothing(api, pve, tmp_path):
    """A file of the same size from before is not taken for the one whose upload was lost."""
    upload = make_upload(tmp_path, b"new!")
    pve.add_iso("local", upload.name, size=4, content=b"old!")
    pve.faults.fail("POST */upload", moment="before", answer="drop")
    upload_iso(api, upload)
    assert pve.volume(upload.volid, "pve1").content == b"new!"


def test_an_upload_without_the_right(pve, release, time_passed, tmp_path):
    token = pve.token("poor@pve", rights(release) - {"Datastore.AllocateTemplate"})
    error = refused(
        lambda: upload_iso(open_api(pve, token, time_passed), make_upload(tmp_path, b"x"))
    )
    assert error.privileges == ("Datastore.AllocateTemplate",)
    assert posts(pve, 1) == 1


@pytest.mark.parametrize(
    "name", ["x.img", "bad name.iso", "ü.iso", "../x.iso", "a\r\nb.iso", ".iso"]
)
def test_names_that_the_node_would_change(tmp_path, name):
    with pytest.raises(WinseedError) as caught:
        make_upload(tmp_path, b"x", name=name)
    assert caught.value.code is ExitCode.SPEC


def test_a_file_that_shrinks_under_way(api, tmp_path):
    upload = make_upload(tmp_path, b"x" * 1000)
    upload.path.write_bytes(b"x")
    with pytest.raises(WinseedError, match="shorter"):
        upload_iso(api, upload)


# Secrets


@pytest.mark.parametrize(
    "text", ["", "secret", "user!name=secret", "u@pve!n", "u@pve=secret", "u@pve!n=a b"]
)
def test_what_is_no_token_is_not_shown(text):
    with pytest.raises(WinseedError) as caught:
        load_token(text, source="WINSEED_PVE_TOKEN")
    told = f"{caught.value} {caught.value.hint}".replace("USER@REALM!NAME=SECRET", "")
    assert "secret" not in told


def test_no_secret_is_logged_raised_or_shown(pve, release, time_passed, caplog, tmp_path):
    """Every logger at DEBUG, proxmoxer's on too: bodies with passwords, the token, the upload."""
    token = pve.token("installer@pve", rights(release))
    caplog.set_level(logging.DEBUG)
    pve.add_vm(101, config={**VM, "agent": "1"})
    api = open_api(pve, token, time_passed)
    for name in (*LOGGERS, "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    password = Secret("Lasting-Secret 1")
    told = [repr(api.connection), str(api.connection), repr(api.connection.token)]
    calls = [
        lambda: agent.start_command(api, "pve1", 101, ("powershell.exe",), stdin=password),
        lambda: api.change("POST", ("nodes", "pve1", "qemu", 101, "agent", "set-user-password"),
                           {"username": "a", "password": password}, str),
        lambda: api.change("PUT", ("nodes", "pve1", "qemu", 101, "config"),
                           {"cipassword": password, "nonsense": password}, str),
    ]  # fmt: skip
    pve.faults.fail(
        "PUT */config", answer=500, reason=f"echo {password.reveal()} and {token.value}"
    )
    for call in (*calls, calls[-1]):
        error = refused(call)
        told += [str(error), repr(error), error.hint, *map(str, error.problems)]
    upload_iso(api, make_upload(tmp_path, b"x"))
    everything = "\n".join([*told, caplog.text])
    for secret in (password.reveal(), "Lasting-Secret", token.value):
        assert secret not in everything
    assert "echo *** and ***" in everything
    assert not any(record.name.startswith("proxmoxer") for record in caplog.records)
