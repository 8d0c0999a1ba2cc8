"""The fake as a client sees it: transport, accounts, tasks and their faults."""

import http.client
import ssl

import pytest
import requests

from tests.pve.browser import Client
from tests.pve.calls import ANSWERS
from tests.pve.clock import Clock
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights
from tests.pve.state import PveError

VM = {"name": "dc01", "memory": "4096", "scsi0": "local-lvm:vm-101-disk-0,size=60G"}


def test_certificate_is_the_clusters_own(pve):
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(pve.url + "/version", verify=ssl.get_default_verify_paths().cafile, timeout=5)
    pem = ssl.get_server_certificate(("127.0.0.1", pve.port), timeout=5)
    digest = __import__("hashlib").sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    assert digest == pve.node("pve1").fingerprint.replace(":", "")
    assert pve.node("pve1").fingerprint != pve.node("pve2").fingerprint


def test_version_tells_the_release(client, release):
    assert client.data("/version")["release"] == release


@pytest.mark.parametrize(
    "header",
    [None, "PVEAPIToken=installer@pve!winseed=wrong", "Basic x"],
)
def test_without_a_valid_token_nothing_is_told(pve, header):
    client = Client(pve, None)
    if header:
        client.session.headers["Authorization"] = header
    assert client.get("/version").status_code == 401


def test_ticket_needs_the_token_against_forgery(pve):
    pve.user("admin@pve", ["VM.Audit"], password="Given-1")
    pve.add_vm(101, config=VM)
    client = Client(pve, None)
    sent = {"username": "admin@pve", "password": "Given-1"}
    found = client.post("/access/ticket", **sent).json()["data"]
    client.session.cookies.set("PVEAuthCookie", found["ticket"], domain="127.0.0.1")
    assert client.get("/nodes/pve1/qemu/101/config").status_code == 200
    refused = client.put("/nodes/pve1/qemu/101/config", name="x")
    assert (refused.status_code, refused.reason) == (401, "Permission denied - invalid csrf token")
    client.session.headers["CSRFPreventionToken"] = found["CSRFPreventionToken"]
    assert client.put("/nodes/pve1/qemu/101/config", name="x").status_code == 403
    assert client.post("/access/ticket", username="admin@pve", password="no").status_code == 401


def test_permissions_of_a_token_are_those_of_both(pve):
    pve.user("w@pve", {"/vms": ["VM.Audit", "VM.Console"]}, password="x")
    token = pve.token("w@pve", {"/vms": ["VM.Audit", "VM.PowerMgmt"], "/vms/7": ["VM.Console"]})
    found = Client(pve, token).data("/access/permissions")
    assert found == {"/vms": {"VM.Audit": 1}, "/vms/7": {"VM.Console": 1}}


def test_a_pool_gives_rights_on_its_members(pve):
    pve.add_vm(101, config=VM)
    pve.add_vm(102, config={"name": "other"})
    pve.add_pool("win", 101)
    client = Client(pve, pve.token("p@pve", {"/pool/win": ["VM.Audit"]}))
    assert [row["vmid"] for row in client.data("/cluster/resources", type="vm")] == [101]
    assert client.get("/nodes/pve1/qemu/101/config").status_code == 200
    refused = client.get("/nodes/pve1/qemu/102/config")
    assert (refused.status_code, refused.reason) == (
        403,
        "Permission check failed (/vms/102, VM.Audit)",
    )


def test_privileges_of_the_other_release_are_unknown(pve, release):
    other = "VM.GuestAgent.Audit" if release == "8.4" else "VM.Monitor"
    with pytest.raises(PveError, match="invalid privilege"):
        pve.token("w@pve", [other])


def test_parameters_are_judged_by_the_schema(client):
    refused = client.post("/nodes/pve1/qemu", vmid=101, onboot="True", bogus="1")
    assert (refused.status_code, refused.reason) == (400, "Parameter verification failed.")
    assert set(refused.json()["errors"]) == {"onboot", "bogus"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nope", 501),
        ("//nodes/pve1/storage/local/upload", 501),
        ("/nodes/pve9/qemu", 500),
        ("/nodes/pve1/qemu/999/config", 500),
    ],
)
def test_paths_that_lead_nowhere(pve, path, status):
    client = Client(pve, pve.token("x@pve", pve.schema.privileges))
    assert client.get(path).status_code == status


def test_missing_vm_is_named_by_its_file(client):
    pve_says = client.get("/nodes/pve1/qemu/999/status/current").reason
    assert pve_says == "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist"


def test_bodies_have_a_limit_and_two_forms(pve, client):
    pve.add_vm(101, config=VM)
    url, sent = client.base + "/nodes/pve1/qemu/101/config", {"verify": client.ca, "timeout": 5}
    assert client.session.put(url, data={"description": "x" * 600_000}, **sent).status_code == 501
    assert client.session.put(url, json={"onboot": True, "name": "a"}, **sent).status_code == 200
    assert pve.vms[101].config["onboot"] == "1"
    kind = {"Content-Type": "text/plain"}
    assert client.session.put(url, data="name=a", headers=kind, **sent).status_code == 506
    assert client.session.delete(url, data="a=b", **sent).status_code == 501


def test_a_node_that_is_away_is_595_and_its_own_port_is_dead(pve, client):
    pve.node("pve2").online = False
    assert client.get("/nodes/pve2/qemu").status_code == 595
    with pytest.raises(requests.exceptions.ConnectionError):
        Client(pve, None, node="pve2").get("/version")


def test_faults_strike_before_or_after_the_effect(pve, client):
    pve.add_vm(101, config=VM)
    path = "/nodes/pve1/qemu/101/config"
    pve.faults.fail("PUT */config", moment="before", answer=596, reason="Broken pipe")
    assert client.put(path, name="one").status_code == 596
    assert "name" not in pve.vms[101].pending
    assert pve.vms[101].config["name"] == "dc01"
    pve.faults.fail("PUT */config", moment="after", answer="drop")
    with pytest.raises(requests.exceptions.ConnectionError):
        client.put(path, name="two")
    assert pve.vms[101].config["name"] == "two"
    assert client.put(path, name="three").status_code == 200


def test_a_stalled_call_runs_into_the_clients_time_limit(pve, client):
    pve.faults.fail("GET /version", answer="stall", seconds=0.3)
    with pytest.raises(requests.exceptions.ReadTimeout):
        client.session.get(pve.url + "/version", verify=client.ca, timeout=0.1)


def test_the_nth_change_can_fail(pve, client):
    pve.add_vm(101, config=VM)
    pve.faults.fail_change(1, answer=500, reason="got timeout")
    path = "/nodes/pve1/qemu/101/config"
    assert [client.put(path, name=f"n{i}").status_code for i in range(3)] == [200, 500, 200]


def test_a_task_takes_its_time_and_can_be_polled(release):
    clock = Clock()
    with FakeCluster(release=release, clock=clock) as pve:
        pve.tasks.seconds["qmstart"] = 5
        pve.add_vm(101, config={"name": "a"})
        client = Client(pve, pve.token("i@pve", rights(release)))
        upid = client.post("/nodes/pve1/qemu/101/status/start").json()["data"]
        status = f"/nodes/pve1/tasks/{upid}/status"
        assert client.data(status)["status"] == "running"
        assert client.data("/nodes/pve1/qemu/101/status/current")["status"] == "stopped"
        clock.sleep(4)  # the lock is free within the ten seconds that a call waits
        assert client.put("/nodes/pve1/qemu/101/config", onboot="1").status_code == 200
        assert client.data(status)["exitstatus"] == "OK"
        assert client.data("/nodes/pve1/qemu/101/status/current")["status"] == "running"


def test_a_long_task_keeps_the_lock(release):
    clock = Clock()
    with FakeCluster(release=release, clock=clock) as pve:
        pve.tasks.seconds["qmstart"] = 30
        pve.add_vm(101, config={"name": "a"})
        client = Client(pve, pve.token("i@pve", rights(release)))
        client.post("/nodes/pve1/qemu/101/status/start")
        refused = client.put("/nodes/pve1/qemu/101/sendkey", key="ret")
        assert refused.status_code == 500
        assert refused.reason.endswith("lock-101.conf' - got timeout")


def test_a_worker_dies_with_or_without_its_effect(pve, client):
    pve.add_vm(101, config=VM)
    start = "/nodes/pve1/qemu/101/status/start"
    pve.faults.kill_worker("qmstart", at="before")
    assert client.task(client.post(start)) == "unexpected status"
    assert not pve.vms[101].running
    pve.faults.kill_worker("qmstart", at="after")
    assert client.task(client.post(start)) == "unexpected status"
    assert pve.vms[101].running
    assert client.task(client.post(start)) == "VM 101 already running"


def test_tasks_are_known_by_their_node_and_owner(pve, client, release):
    pve.add_vm(101, config=VM)
    upid = client.post("/nodes/pve1/qemu/101/status/start").json()["data"]
    wrong = client.get(f"/nodes/pve2/tasks/{upid}/status")
    assert (wrong.status_code, wrong.json()["errors"]) == (400, {"upid": "no such task"})
    stranger = Client(pve, pve.token("s@pve", ["VM.Audit"]))
    assert stranger.get(f"/nodes/pve1/tasks/{upid}/status").status_code == 403
    assert [line["t"] for line in client.data(f"/nodes/pve1/tasks/{upid}/log")][-1] == "TASK OK"


def test_keep_alive_serves_many_calls_on_one_connection(pve, client):
    context = ssl.create_default_context(cafile=pve.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", pve.port, context=context, timeout=5)
    header = dict(client.session.headers)
    for _ in range(3):
        connection.request("GET", "/api2/json/version", headers=header)
        assert connection.getresponse().read().startswith(b'{"data"')
    connection.close()


def test_requests_are_recorded_for_the_tests(pve, client):
    client.get("/version")
    client.get("/nodes/pve9/qemu")
    assert [(r.method, r.path, r.status) for r in pve.requests] == [
        ("GET", "/version", 200),
        ("GET", "/nodes/pve9/qemu", 500),
    ]


def test_every_call_of_the_schema_is_answered(pve):
    assert set(pve.schema.calls) == set(ANSWERS)


def test_pools_roles_and_downloads(pve, client, release):
    admin = Client(pve, pve.token("adm@pve", pve.schema.privileges))
    pve.add_vm(101, config=VM)
    assert client.post("/pools", poolid="win").status_code == 403
    assert admin.post("/pools", poolid="win").status_code == 200
    assert admin.put("/pools", poolid="win", vms="101").status_code == 200
    assert [row["vmid"] for row in admin.data("/pools/win")["members"]] == [101]
    pve.roles["Installer"] = frozenset({"VM.Audit"})
    assert admin.data("/access/roles/Installer") == {"VM.Audit": 1}
    pve.downloads["https://example.org/a.iso"] = b"content"
    sent = {"content": "iso", "filename": "a.iso", "url": "https://example.org/a.iso"}
    path = "/nodes/pve1/storage/local/download-url"
    assert admin.task(admin.post(path, **sent)) == "OK"
    assert pve.volume("local:iso/a.iso").content == b"content"
    assert "refusing to override" in admin.task(admin.post(path, **sent))


def test_a_disk_moves_and_leaves_its_old_image(pve, client):
    vm = pve.add_vm(101, config=VM)
    pve.add_storage("fast", kind="zfspool", content=("images",))
    path = "/nodes/pve1/qemu/101/move_disk"
    assert client.task(client.post(path, disk="scsi0", storage="fast")) == "OK"
    assert vm.config["scsi0"].startswith("fast:vm-101-disk-0,")
    assert vm.config["unused0"] == "local-lvm:vm-101-disk-0"
    assert pve.volume("fast:vm-101-disk-0").written
