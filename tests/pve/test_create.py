"""Creating and destroying VMs: what the server rewrites, what each option needs, what is left."""

import pytest

from tests.pve.browser import Client
from tests.pve.conftest import rights

PATH = "/nodes/pve1/qemu"
ANSWER = "local:iso/answer.iso,media=cdrom"
WINDOWS = {
    "vmid": 101,
    "name": "dc01",
    "ostype": "win11",
    "machine": "q35",
    "bios": "ovmf",
    "cpu": "host",
    "sockets": 1,
    "cores": 4,
    "memory": 8192,
    "balloon": 2048,
    "agent": "enabled=1,fstrim_cloned_disks=1",
    "scsihw": "virtio-scsi-single",
    "scsi0": "local-lvm:80,discard=on,iothread=1,ssd=1",
    "efidisk0": "local-lvm:1,efitype=4m,pre-enrolled-keys=1",
    "tpmstate0": "local-lvm:1,version=v2.0",
    "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1",
    "ide2": "local:iso/win2025.iso,media=cdrom",
    "ide0": "local:iso/virtio-win.iso,media=cdrom",
    "boot": "order=scsi0;ide2",
    "localtime": 1,
    "onboot": 0,
    "tags": "winseed",
}


def without(*keys):
    return {key: value for key, value in WINDOWS.items() if key not in keys}


def test_the_server_rewrites_what_it_is_sent(client, release):
    assert client.task(client.post(PATH, **WINDOWS)) == "OK"
    config = client.data(f"{PATH}/101/config")
    pinned = {"8.4": "pc-q35-9.2+pve1", "9.2": "pc-q35-11.0+pve2"}[release]
    cert = {"8.4": "", "9.2": ",ms-cert=2023k"}[release]
    assert config["machine"] == pinned
    assert config["scsi0"] == "local-lvm:vm-101-disk-1,discard=on,iothread=1,size=80G,ssd=1"
    expected = f"local-lvm:vm-101-disk-0,efitype=4m{cert},pre-enrolled-keys=1,size=4M"
    assert config["efidisk0"] == expected
    assert config["tpmstate0"] == "local-lvm:vm-101-disk-2,size=4M,version=v2.0"
    assert config["ide0"] == "local:iso/virtio-win.iso,media=cdrom,size=683594K"
    assert config["smbios1"].startswith("uuid=")
    assert len(config["vmgenid"]) == 36
    assert (config["cores"], config["onboot"], config["memory"]) == (4, 0, "8192")
    assert len(config["digest"]) == 40
    assert "lock" not in config


def test_without_a_boot_order_the_first_cd_by_name_is_taken(client):
    assert client.task(client.post(PATH, **without("boot"))) == "OK"
    assert client.data(f"{PATH}/101/config")["boot"] == "order=scsi0;ide0;net0"


def test_a_missing_address_is_made_up(client):
    sent = {**WINDOWS, "net0": "virtio,bridge=vmbr0"}
    assert client.task(client.post(PATH, **sent)) == "OK"
    found = client.data(f"{PATH}/101/config")["net0"]
    assert found.startswith("virtio=BC:24:11:")
    assert found.endswith(",bridge=vmbr0")


def test_a_number_in_use_is_refused(client, pve):
    pve.add_vm(101, node="pve2", config={"name": "old"})
    refused = client.post(PATH, **WINDOWS)
    assert refused.status_code == 500
    assert refused.reason == ("unable to create VM 101 - VM 101 already exists on node 'pve2'")
    assert client.get("/cluster/nextid", vmid=101).status_code == 400
    assert client.data("/cluster/nextid") == client.data("/cluster/nextid") == "100"


def test_a_missing_iso_undoes_the_disks(client, pve):
    exit_status = client.task(client.post(PATH, **WINDOWS, sata0=ANSWER))
    assert exit_status == "unable to create VM 101 - volume local:iso/answer.iso does not exist"
    assert client.get(f"{PATH}/101/config").status_code == 500
    assert client.data("/nodes/pve1/storage/local-lvm/content") == []


def test_a_missing_bridge_shows_at_start_only(client):
    sent = {**WINDOWS, "net0": "virtio,bridge=vmbr9"}
    assert client.task(client.post(PATH, **sent)) == "OK"
    start = client.post(f"{PATH}/101/status/start")
    assert client.task(start) == "bridge 'vmbr9' does not exist"


def test_a_dead_worker_leaves_a_lock_and_its_images(client, pve):
    pve.faults.kill_worker("qmcreate", at="disks")
    assert client.task(client.post(PATH, **WINDOWS)) == "unexpected status"
    assert client.data(f"{PATH}/101/config")["lock"] == "create"
    assert len(client.data("/nodes/pve1/storage/local-lvm/content")) == 3
    refused = client.put(f"{PATH}/101/config", onboot=1)
    assert (refused.status_code, refused.reason) == (500, "VM is locked (create)")


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("VM.Allocate", "Permission check failed"),
        ("VM.Config.Options", "Permission check failed (/vms/101, VM.Config.Options)"),
        ("VM.Config.HWType", "Permission check failed (/vms/101, VM.Config.HWType)"),
        ("VM.Config.CPU", "Permission check failed (/vms/101, VM.Config.CPU)"),
        ("VM.Config.Memory", "Permission check failed (/vms/101, VM.Config.Memory)"),
        ("VM.Config.Disk", "Permission check failed (/vms/101, VM.Config.Disk)"),
        ("VM.Config.Network", "Permission check failed (/vms/101, VM.Config.Network)"),
        ("SDN.Use", "Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)"),
        (
            "Datastore.AllocateSpace",
            "Permission check failed (/storage/local-lvm, Datastore.AllocateSpace)",
        ),
    ],
)
def test_each_option_has_its_privilege(pve, release, missing, sentence):
    client = Client(pve, pve.token("less@pve", rights(release) - {missing}))
    refused = client.post(PATH, **WINDOWS)
    assert (refused.status_code, refused.reason) == (403, sentence)
    assert 101 not in pve.vms


def test_drives_of_a_new_vm_need_no_right_on_drives(pve, release):
    token = pve.token("less@pve", rights(release) - {"VM.Config.CDROM"})
    client = Client(pve, token)
    assert client.task(client.post(PATH, **WINDOWS)) == "OK"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("args", "-no-reboot"),
        ("vmgenid", "1"),
        ("hookscript", "local:snippets/x.sh"),
        ("serial1", "/dev/ttyS0"),
    ],
)
def test_some_options_are_for_root_alone(client, option, value):
    refused = client.post(PATH, **WINDOWS, **{option: value})
    assert refused.status_code == 500
    assert refused.reason.startswith("only root can set")


@pytest.mark.parametrize(
    ("drive", "status"),
    [
        ({"sata0": "local:iso/win2025.iso"}, 400),
        ({"sata0": "/dev/sda"}, 500),
        ({"sata0": "cdrom,media=cdrom"}, 403),
        ({"sata0": "local:20"}, 400),
        ({"sata0": "nowhere:20"}, 500),
    ],
)
def test_drives_that_no_token_may_add(client, drive, status):
    assert client.post(PATH, **WINDOWS, **drive).status_code == status


def test_a_size_with_a_letter_passes_the_schema_and_fails_later(client):
    refused = client.post(PATH, **{**WINDOWS, "scsi0": "local-lvm:80G"})
    assert refused.status_code == 500


def test_a_pool_right_needs_the_pool_named(pve, release):
    pve.add_pool("win")
    others = {"/storage": rights(release), "/sdn": ["SDN.Use"], "/pool/win": rights(release)}
    client = Client(pve, pve.token("p@pve", others))
    assert client.post(PATH, **WINDOWS).status_code == 403
    assert client.task(client.post(PATH, **WINDOWS, pool="win")) == "OK"
    assert pve.access.pools["win"] == {101}
    assert client.get(f"{PATH}/101/config").status_code == 200


def test_destroying_takes_the_images_and_refuses_three_times(client, pve):
    client.post(PATH, **WINDOWS)
    where = f"{PATH}/101"
    client.put(f"{where}/config", protection=1)
    assert "protection mode enabled" in client.delete(where).reason
    client.put(f"{where}/config", protection=0)
    client.post(f"{where}/status/start")
    assert client.delete(where).reason == "VM 101 is running - destroy failed"
    client.post(f"{where}/status/stop")
    pve.vms[101].ha_state = "stopped"
    assert "used in HA resources" in client.delete(where).reason
    assert client.task(client.delete(where, purge=1)) == "OK"
    assert client.data("/nodes/pve1/storage/local-lvm/content") == []
    assert pve.volume("local:iso/win2025.iso") is not None


def test_storages_on_files_name_and_size_their_images(client, pve):
    pve.add_storage("nfs", kind="nfs", content=("images",), shared=True)
    sent = {**WINDOWS, "efidisk0": "nfs:1,efitype=4m", "scsi0": "nfs:80,format=qcow2"}
    client.task(client.post(PATH, **sent))
    config = client.data(f"{PATH}/101/config")
    assert config["efidisk0"] == "nfs:101/vm-101-disk-0.raw,efitype=4m,size=528K"
    assert config["scsi0"] == "nfs:101/vm-101-disk-1.qcow2,size=80G" or config["scsi0"] == (
        "nfs:101/vm-101-disk-0.qcow2,size=80G"
    )
    on_other_node = client.data("/nodes/pve2/storage/nfs/content", content="images")
    assert len(on_other_node) == 2
