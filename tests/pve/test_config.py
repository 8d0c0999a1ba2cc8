"""Changing a VM: digest, locks, the boot order's silent guest, pending against live."""

import pytest

from tests.pve.browser import Client
from tests.pve.conftest import rights
from tests.pve.test_create import PATH, WINDOWS

CONFIG = f"{PATH}/101/config"
ISO = "local:iso/virtio-win.iso,media=cdrom"


@pytest.fixture
def vm(client, pve):
    assert client.task(client.post(PATH, **WINDOWS)) == "OK"
    return pve.vms[101]


@pytest.fixture
def running(client, vm):
    client.post(f"{PATH}/101/status/start")
    assert vm.running
    return vm


def pending(client):
    rows = client.data(f"{PATH}/101/pending")
    return {row["key"]: row for row in rows if "pending" in row or "delete" in row}


def test_an_old_digest_is_refused(client, vm):
    digest = client.data(CONFIG)["digest"]
    assert client.put(CONFIG, digest=digest, onboot=1).status_code == 200
    for call in (client.put, client.post):
        refused = call(CONFIG, digest=digest, onboot=0)
        assert refused.status_code == 500
        assert refused.reason == "checksum mismatch (file change by other user?)"
    refused = client.put(f"{PATH}/101/resize", digest=digest, disk="scsi0", size="+1G")
    assert refused.reason.startswith("checksum mismatch")


def test_pending_changes_change_the_digest(client, running):
    digest = client.data(CONFIG)["digest"]
    client.put(CONFIG, cores=8)
    assert client.data(CONFIG)["digest"] != digest


def test_a_new_cd_joins_the_boot_order(client, vm):
    client.put(CONFIG, sata0=ISO)
    assert client.data(CONFIG)["boot"] == "order=scsi0;ide2;sata0"


def test_a_boot_order_in_the_same_request_loses(client, vm):
    client.put(CONFIG, sata0=ISO, boot="order=ide2;scsi0")
    assert client.data(CONFIG)["boot"] == "order=scsi0;ide2;sata0"
    client.put(CONFIG, boot="order=scsi0;ide2")
    assert client.data(CONFIG)["boot"] == "order=scsi0;ide2"


def test_another_medium_in_a_slot_outside_the_order_joins_it_too(client, running):
    client.put(CONFIG, ide0="none,media=cdrom")
    assert running.config["ide0"] == "none,media=cdrom"
    assert pending(client)["boot"]["pending"] == "order=scsi0;ide2;ide0"


def test_a_removed_drive_leaves_the_boot_order(client, vm):
    client.put(CONFIG, delete="ide2")
    config = client.data(CONFIG)
    assert config["boot"] == "order=scsi0"
    assert "ide2" not in config


def test_a_boot_order_names_drives_that_exist(client, vm):
    refused = client.put(CONFIG, boot="order=scsi9")
    assert refused.status_code == 500
    assert refused.reason == "invalid bootorder: device 'scsi9' does not exist'"


def test_a_running_vm_takes_a_medium_at_once(client, running):
    client.put(CONFIG, ide2="none,media=cdrom")
    assert running.config["ide2"] == "none,media=cdrom"
    assert "ide2" not in pending(client)


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ({"sata0": ISO}, "sata0"),
        ({"delete": "ide0"}, "ide0"),
        ({"boot": "order=ide2"}, "boot"),
        ({"cores": "2"}, "cores"),
        ({"memory": "4096"}, "memory"),
        ({"delete": "efidisk0"}, "efidisk0"),
        ({"agent": "0"}, "agent"),
    ],
)
def test_a_running_vm_keeps_these_until_its_cold_start(client, running, sent, key):
    before = running.config.get(key)
    assert client.put(CONFIG, **sent).status_code == 200
    assert running.config.get(key) == before
    assert key in pending(client)
    shown = client.data(CONFIG)
    assert (key in shown) == ("delete" not in sent)
    assert client.data(CONFIG, current=1).get(key) != shown.get(key)
    client.post(f"{PATH}/101/status/reset")
    assert key in pending(client)
    client.post(f"{PATH}/101/status/stop")
    assert pending(client) == {}
    assert running.config.get(key) != before


@pytest.mark.parametrize("sent", [{"name": "new"}, {"onboot": "1"}, {"tags": "a;b"}])
def test_a_running_vm_takes_these_at_once(client, running, sent):
    client.put(CONFIG, **sent)
    key, value = next(iter(sent.items()))
    assert running.config[key] == value


def test_a_disk_on_scsi_is_plugged_in_and_out(client, running):
    client.put(CONFIG, scsi1="local-lvm:10")
    assert running.config["scsi1"].startswith("local-lvm:vm-101-disk-3,")
    client.put(CONFIG, delete="scsi1")
    assert running.config["unused0"] == "local-lvm:vm-101-disk-3"


def test_a_pending_change_can_be_taken_back(client, running):
    client.put(CONFIG, cores=8)
    client.put(CONFIG, revert="cores")
    assert pending(client) == {}


def test_a_detached_disk_is_kept_and_comes_back(client, vm, pve):
    old = vm.config["scsi0"]
    volid = old.partition(",")[0]
    client.put(CONFIG, delete="scsi0")
    assert vm.config["unused0"] == volid
    client.put(CONFIG, scsi0="local-lvm:60")
    assert vm.config["scsi0"] != old
    client.put(CONFIG, delete="scsi0")
    client.put(CONFIG, scsi0=old)
    assert client.data(CONFIG)["scsi0"] == old
    unused = {key: value for key, value in vm.config.items() if key.startswith("unused")}
    assert volid not in unused.values()
    assert len(unused) == 1
    client.put(CONFIG, delete=next(iter(unused)))
    assert pve.volume(next(iter(unused.values()))) is None
    assert pve.volume(volid) is not None


def test_force_destroys_the_image(client, vm, pve):
    volid = vm.config["scsi0"].partition(",")[0]
    client.put(CONFIG, delete="scsi0", force=1)
    assert pve.volume(volid) is None
    assert not [key for key in vm.config if key.startswith("unused")]


def test_a_network_device_without_address_gets_a_new_one(client, vm):
    client.put(CONFIG, net0="virtio,bridge=vmbr0")
    assert "BC:24:11:00:00:01" not in vm.config["net0"]


def test_a_change_as_a_task(client, vm):
    assert client.task(client.post(CONFIG, onboot=1)) == "OK"
    assert client.post(CONFIG, onboot=0, background_delay=5).json()["data"] is None
    refused = client.post(CONFIG, boot="order=scsi9", background_delay=5)
    assert refused.reason.startswith("failed to update VM 101: invalid bootorder")


def test_resizing_grows_only(client, vm, pve):
    path = f"{PATH}/101/resize"
    assert client.task(client.put(path, disk="scsi0", size="+20G")) == "OK"
    assert "size=100G" in vm.config["scsi0"]
    assert client.task(client.put(path, disk="scsi0", size="10G")) != "OK"
    assert client.put(path, disk="ide2", size="+1G").reason == "you can't resize a cdrom"


@pytest.mark.parametrize(
    ("missing", "sent", "allowed"),
    [
        ("VM.Config.CDROM", {"ide2": "none,media=cdrom"}, False),
        ("VM.Config.Disk", {"ide2": "none,media=cdrom"}, True),
        ("VM.Config.CDROM", {"delete": "scsi0"}, True),
        ("VM.Config.Disk", {"delete": "scsi0"}, False),
        ("VM.Config.Disk", {"boot": "order=scsi0"}, False),
        ("VM.Config.Options", {"description": "x"}, False),
        ("VM.Config.Network", {"delete": "net0"}, False),
        ("SDN.Use", {"net0": "virtio,bridge=vmbr0"}, False),
        ("VM.Config.HWType", {"serial0": "socket"}, False),
    ],
)
def test_changes_need_the_privilege_of_what_they_change(pve, vm, release, missing, sent, allowed):
    client = Client(pve, pve.token("less@pve", rights(release) - {missing}))
    assert (client.put(CONFIG, **sent).status_code == 200) == allowed


def test_nothing_to_do_and_contradictions_are_errors(client, vm):
    assert client.put(CONFIG).reason == "no options specified"
    assert client.put(CONFIG, onboot=1, delete="onboot").status_code == 400
    assert client.put(CONFIG, delete="nonsense").status_code == 400
    assert client.put(CONFIG, balloon=9000).status_code == 500


def test_without_quorum_nothing_is_written(client, vm, pve):
    pve.quorate = False
    assert client.put(CONFIG, onboot=1).reason == "cluster not ready - no quorum?"
    assert client.data(CONFIG)["onboot"] == 0


def test_a_cloudinit_drive_moves_and_joins_no_boot_order(pve, vm, release):
    client = Client(pve, pve.token("ci@pve", pve.schema.privileges))
    client.put(CONFIG, ide3="local-lvm:cloudinit")
    assert vm.config["ide3"] == "local-lvm:vm-101-cloudinit,media=cdrom"
    assert vm.config["boot"] == "order=scsi0;ide2"
    client.put(CONFIG, delete="ide3")
    assert pve.volume("local-lvm:vm-101-cloudinit") is None
    client.put(CONFIG, sata5="local-lvm:cloudinit")
    assert pve.volume("local-lvm:vm-101-cloudinit") is not None
    less = Client(pve, pve.token("l@pve", rights(release)))
    assert less.put(CONFIG, delete="sata5").status_code == 403
