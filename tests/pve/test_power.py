"""Power, keys, the guest agent, HA, snapshots; and a Windows that installs itself."""

import pytest

from tests.pve.browser import Client
from tests.pve.clock import Clock
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights
from tests.pve.guest import Finished, Guest
from tests.pve.state import Died
from tests.pve.test_create import PATH, WINDOWS
from tests.pve.windows import WindowsGuest

VM = f"{PATH}/101"


class Willing(Guest):
    """A guest whose agent answers, and that knows one program and one file."""

    def __init__(self, vm):
        super().__init__(vm)
        self.agent = True
        self.files = {}
        self.passwords = {}

    def execute(self, command, stdin):
        if command[0] == "more.com":
            return Finished(out=b"\xe4" + stdin, exitcode=3, seconds=2)
        return super().execute(command, stdin)

    def read_file(self, path):
        return self.files[path] if path in self.files else super().read_file(path)

    def write_file(self, path, content):
        self.files[path] = content

    def set_password(self, user, password):
        self.passwords[user] = password


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pve(release, clock):
    with FakeCluster(release=release, nodes=("pve1", "pve2"), clock=clock) as cluster:
        cluster.add_iso("local", "win2025.iso", size=5_000_000_000)
        cluster.add_iso("local", "virtio-win.iso", size=700_000_256)
        yield cluster


@pytest.fixture
def vm(client, pve):
    assert client.task(client.post(PATH, **WINDOWS)) == "OK"
    return pve.vms[101]


def start(client):
    return client.task(client.post(f"{VM}/status/start"))


def test_old_keys_in_the_firmware_are_a_warning_not_a_failure(client, pve, vm, release):
    expected = {"8.4": "WARNINGS: 1", "9.2": "OK"}[release]
    assert start(client) == expected
    assert vm.running
    client.post(f"{VM}/status/stop")
    vm.config["efidisk0"] = vm.config["efidisk0"].replace(",ms-cert=2023k", "")
    assert start(client) == "WARNINGS: 1"
    assert start(client) == "VM 101 already running"


def test_a_silent_guest_does_not_shut_down(client, pve, vm):
    start(client)
    failed = client.task(client.post(f"{VM}/status/shutdown", timeout=20))
    assert failed == "VM quit/powerdown failed - got timeout"
    assert pve.delays["shutdown"] == 23
    assert client.task(client.post(f"{VM}/status/shutdown", forceStop=1)) == "OK"
    assert not vm.running
    assert client.post(f"{VM}/status/reset").reason == "VM 101 not running"


def test_a_reboot_by_the_api_applies_what_is_pending(client, pve, vm):
    pve.make_guest = Willing
    start(client)
    client.put(f"{VM}/config", cores=8)
    assert vm.config["cores"] == "4"
    client.task(client.post(f"{VM}/status/reboot"))
    assert (vm.config["cores"], vm.running, vm.starts) == ("8", True, 2)


def test_keys_reach_a_running_vm(client, pve, vm, release):
    assert client.put(f"{VM}/sendkey", key="ret").status_code == 500
    start(client)
    assert client.put(f"{VM}/sendkey", key="ret").status_code == 200
    assert client.put(f"{VM}/sendkey", key="nokey").status_code == 400
    assert vm.keys == ["ret"]
    less = Client(pve, pve.token("l@pve", rights(release) - {"VM.Console"}))
    assert less.put(f"{VM}/sendkey", key="ret").status_code == 403


def test_the_agent_refuses_in_three_ways(client, pve, vm):
    ping = f"{VM}/agent/ping"
    assert client.post(ping).reason == "VM 101 is not running"
    start(client)
    assert client.post(ping).reason == "QEMU guest agent is not running"
    assert pve.delays["agent"] == 3
    pve.add_vm(102, config={"name": "x"})
    refused = client.post(f"{PATH}/102/agent/ping")
    assert (refused.status_code, refused.reason) == (500, "No QEMU guest agent configured")
    assert client.post(f"{PATH}/999/agent/ping").status_code == 500


def test_a_program_in_the_guest_tells_its_end_once(client, pve, vm, clock):
    pve.make_guest = Willing
    start(client)
    sent = {"command": ["more.com", "x"], "input-data": "secret"}
    pid = client.post(f"{VM}/agent/exec", **sent).json()["data"]["pid"]
    status = f"{VM}/agent/exec-status"
    assert client.data(status, pid=pid) == {"exited": 0}
    clock.sleep(3)
    found = client.data(status, pid=pid)
    assert found == {"exited": 1, "exitcode": 3, "out-data": "\u00e4secret"}
    for wrong in (pid, 7):
        refused = client.get(status, pid=wrong)
        assert refused.status_code == 500
        assert "Invalid parameter 'pid'" in refused.reason


def test_a_missing_program_is_a_broken_pipe(client, pve, vm):
    pve.make_guest = Willing
    start(client)
    refused = client.post(f"{VM}/agent/exec", command=["nothing.exe"])
    assert (refused.status_code, refused.reason) == (596, "Broken pipe")


def test_files_and_passwords_are_latin(client, pve, vm):
    pve.make_guest = Willing
    start(client)
    write = f"{VM}/agent/file-write"
    assert client.post(write, file="C:\\a", content="\u00e4").status_code == 200
    assert client.data(f"{VM}/agent/file-read", file="C:\\a")["content"] == "\u00e4"
    assert client.post(write, file="C:\\a", content="\u20ac").status_code == 500
    assert client.post(write, file="C:\\a", content="AAE=", encode=0).status_code == 200
    assert pve.guests[101].files["C:\\a"] == b"\x00\x01"
    assert client.get(f"{VM}/agent/file-read", file="C:\\b").status_code == 500
    sent = {"username": "Administrator", "password": "Given-Pass-1"}
    assert client.post(f"{VM}/agent/set-user-password", **sent).status_code == 200
    assert pve.guests[101].passwords == {"Administrator": "Given-Pass-1"}


@pytest.mark.parametrize("call", ["ping", "exec"])
def test_rights_on_the_agent_differ_by_release(pve, vm, release, call):
    allowed = {"8.4": ["VM.Monitor"], "9.2": ["VM.GuestAgent.Audit"]}[release]
    client = Client(pve, pve.token("g@pve", allowed))
    response = client.post(f"{VM}/agent/{call}", **({"command": "x"} if call == "exec" else {}))
    expected = 403 if (release, call) == ("9.2", "exec") else 500
    assert response.status_code == expected


def test_ha_takes_over_start_and_stop(client, pve, vm, clock):
    pve.ha_seconds = 10
    admin = Client(pve, pve.token("a@pve", pve.schema.privileges))
    assert client.post("/cluster/ha/resources", sid="vm:101").status_code == 403
    added = admin.post("/cluster/ha/resources", sid="vm:101", state="stopped")
    assert added.status_code == 200
    upid = client.post(f"{VM}/status/start").json()["data"]
    assert ":hastart:" in upid
    assert client.exit_of(upid) == "OK"
    current = client.data(f"{VM}/status/current")
    assert (current["status"], current["ha"]["managed"]) == ("stopped", 1)
    clock.sleep(11)
    assert client.data(f"{VM}/status/current")["status"] == "running"
    assert ":hastop:" in client.post(f"{VM}/status/stop").json()["data"]
    assert admin.put("/cluster/ha/resources/vm:101", state="ignored").status_code == 200
    assert ":qmstart:" in client.post(f"{VM}/status/start").json()["data"]
    assert admin.delete("/cluster/ha/resources/vm:101").status_code == 200
    assert client.data(f"{VM}/status/current")["ha"] == {"managed": 0}


def test_a_vm_that_moved_is_found_by_its_resource(client, vm):
    vm.node = "pve2"
    assert "nodes/pve1/qemu-server/101.conf" in client.get(f"{VM}/config").reason
    rows = client.data("/cluster/resources", type="vm")
    assert [(row["vmid"], row["node"]) for row in rows] == [(101, "pve2")]


def test_snapshots_roll_back_to_a_new_generation(client, pve, vm):
    feature = client.data(f"{VM}/feature", feature="snapshot")
    assert feature["hasFeature"] == 1
    assert client.task(client.post(f"{VM}/snapshot", snapname="before")) == "OK"
    before = dict(vm.config)
    client.put(f"{VM}/config", cores=16)
    assert client.task(client.post(f"{VM}/snapshot/before/rollback")) == "OK"
    assert vm.config["cores"] == "4"
    assert vm.config["vmgenid"] != before["vmgenid"]
    assert [row["name"] for row in client.data(f"{VM}/snapshot")] == ["before", "current"]
    assert client.task(client.delete(f"{VM}/snapshot/before")) == "OK"


def test_a_raw_image_on_files_has_no_snapshots(client, pve, vm):
    pve.add_storage("dir", content=("images",))
    client.put(f"{VM}/config", scsi1="dir:1")
    assert client.data(f"{VM}/feature", feature="snapshot")["hasFeature"] == 0
    failed = client.task(client.post(f"{VM}/snapshot", snapname="s1"))
    assert failed == "snapshot feature is not available"


def watch(client, pve, clock, seconds):
    for _ in range(int(seconds / 5)):
        clock.sleep(5)
        client.data(f"{VM}/status/current")
    return pve.guests[101]


def test_windows_installs_itself_after_one_key(client, pve, vm, clock):
    pve.make_guest = lambda made: WindowsGuest(made, pve)
    start(client)
    clock.sleep(4)
    blocks = client.data(f"{VM}/status/current")["blockstat"]
    assert 0 < blocks["ide2"]["rd_bytes"] < 10 * 1024**2
    client.put(f"{VM}/sendkey", key="ret")
    clock.sleep(15)
    blocks = client.data(f"{VM}/status/current")["blockstat"]
    assert blocks["ide2"]["rd_bytes"] > 10 * 1024**2
    guest = watch(client, pve, clock, 600)
    assert guest.phases == [
        *("firmware", "prompt", "setup"),
        *("firmware", "specialize", "firmware", "first boot", "ready"),
    ]
    assert client.post(f"{VM}/agent/ping").status_code == 200
    system = pve.volume(vm.config["scsi0"].partition(",")[0])
    assert (system.stage, system.wiped) == ("ready", False)


def test_a_missed_prompt_leads_nowhere_and_reset_repeats_it(client, pve, vm, clock):
    pve.make_guest = lambda made: WindowsGuest(made, pve)
    start(client)
    guest = watch(client, pve, clock, 60)
    assert guest.phase == "no bootable device"
    client.post(f"{VM}/status/reset")
    clock.sleep(4)
    client.put(f"{VM}/sendkey", key="spc")
    assert watch(client, pve, clock, 10).phase == "setup"


def test_setup_wipes_every_disk_it_finds(client, pve, vm, clock):
    pve.make_guest = lambda made: WindowsGuest(made, pve)
    client.put(f"{VM}/config", scsi1="local-lvm:10")
    pve.volume(vm.config["scsi1"].partition(",")[0]).written = True
    start(client)
    clock.sleep(4)
    client.put(f"{VM}/sendkey", key="ret")
    watch(client, pve, clock, 400)
    assert pve.volume(vm.config["scsi1"].partition(",")[0]).wiped


def test_without_restart_a_reboot_of_the_guest_is_its_end(client, pve, vm, clock):
    pve.make_guest = lambda made: WindowsGuest(made, pve)
    client.put(f"{VM}/config", reboot=0)
    start(client)
    clock.sleep(4)
    client.put(f"{VM}/sendkey", key="ret")
    clock.sleep(400)
    assert client.data(f"{VM}/status/current")["status"] == "stopped"


def test_a_guest_without_its_own_answers_dies_as_the_agent_does(vm):
    with pytest.raises(Died, match="unsupported"):
        Willing(vm).query("get-fsinfo")
