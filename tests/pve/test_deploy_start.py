"""A run up to its first power-on: made once whatever is lost, and unmade when it fails."""

import pytest

from builder.errors import ExitCode, WinseedError
from builder.install.journal import Outcome
from tests.pve.cluster import FakeCluster
from tests.pve.deploying import SPEC

FIRST = "POST */status/start"


@pytest.fixture
def pve(release, clock):
    with FakeCluster(release=release, nodes=("pve1", "pve2"), clock=clock) as cluster:
        yield cluster


@pytest.fixture
def site(make):
    return make()


def images(pve, node="pve1"):
    """Disk images on every storage."""
    return {
        volid
        for storage in pve.storages.values()
        for volid, volume in storage.on(node).items()
        if volume.kind == "images"
    }


def answer_isos(pve, node="pve1"):
    return {volid for volid in pve.storages["local"].on(node) if "winseed-" in volid}


def calls(pve, method):
    return [seen for seen in pve.requests if seen.method == method and seen.status == 200]


def test_the_vm_is_made_as_ordered(site, pve):
    pve.faults.fail(FIRST, answer=500, reason="start is not wanted here", times=9)
    site.deploy()
    created = next(seen for seen in calls(pve, "POST") if seen.path.endswith("/qemu"))
    assert created.params["efidisk0"] == "local-lvm:1,efitype=4m,pre-enrolled-keys=1"
    assert created.params["tpmstate0"] == "local-lvm:1,version=v2.0"
    assert created.params["scsi0"] == "local-lvm:60,discard=on,iothread=1"
    assert created.params["net0"].startswith("virtio=BC:24:11:")
    assert created.params["onboot"] == "0"
    assert "ide2" not in created.params, "a CD in the create would stand in the boot order"


def test_discs_and_boot_order(site, pve):
    result = site.deploy()  # nothing answers in this VM
    assert result.outcome is Outcome.KEPT
    assert result.code is ExitCode.UNSETTLED
    config = pve.vms[100].config
    assert config["boot"] == "order=scsi0;ide2"
    assert config["ide2"].startswith("local:iso/windows.iso,")
    assert config["ide0"].startswith("local:iso/virtio-win.iso,")
    (answer,) = answer_isos(pve)
    assert config["sata0"].startswith(f"{answer},")
    assert any(answer in note for note in result.notes), "where the password still lies"
    assert site.undo().outcome is Outcome.UNDONE
    assert not pve.vms
    assert not images(pve)
    assert not answer_isos(pve)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("answer", ["drop", 595])
@pytest.mark.parametrize("number", range(5))
def test_a_lost_answer_makes_nothing_twice(site, pve, number, moment, answer):
    pve.faults.fail_change(number, moment=moment, answer=answer)
    result = site.deploy()  # nothing answers in this VM
    assert result.outcome is Outcome.KEPT, result
    assert list(pve.vms) == [100]
    assert pve.vms[100].starts == 1
    assert len(images(pve)) == 3
    config = pve.vms[100].config
    assert config["boot"] == "order=scsi0;ide2"
    assert len({volid for volid in images(pve) if volid in str(config)}) == 3


@pytest.mark.parametrize("number", range(5))
def test_what_fails_before_the_power_on_is_unmade(site, pve, number):
    pve.faults.fail_change(number, answer=500, reason="no space left on device")
    result = site.deploy()
    assert result.outcome is Outcome.UNDONE
    assert result.error is not None
    assert not pve.vms
    assert not images(pve)
    assert not answer_isos(pve)
    assert not list((site.folder / "dist" / "app01").glob("*.password"))


def test_a_vm_without_disk_is_taken_over_and_given_back(make, pve):
    site = make(SPEC + "machine = {{ vmid = 101 }}\n")
    before = {
        "name": "app01",
        "memory": "2048",
        "cores": "1",
        "ide2": "local-lvm:cloudinit,media=cdrom",
        "net0": "virtio=BC:24:11:AA:00:01,bridge=vmbr0",
    }
    pve.add_vm(101, config=before)
    config = dict(pve.vms[101].config)
    pve.faults.fail_change(3, answer=500, reason="no space left on device")
    result = site.deploy()
    assert result.outcome is Outcome.UNDONE, result
    assert {key: pve.vms[101].config[key] for key in config} == config
    assert not images(pve) - {value.partition(",")[0] for value in config.values()}


def test_a_vm_with_a_disk_is_never_touched(make, pve):
    site = make(SPEC + "machine = {{ vmid = 101 }}\n")
    pve.add_vm(101, config={"name": "app01", "scsi0": "local-lvm:vm-101-disk-0,size=60G"})
    with pytest.raises(WinseedError) as caught:
        site.deploy()
    assert caught.value.code is ExitCode.UNSAFE
    assert not calls(pve, "POST")
    assert not calls(pve, "PUT")


def test_a_vmid_that_somebody_takes_in_the_same_moment(site, pve):
    shop, case = site.shop(), site.case()
    opened = site.open(case, shop.api)
    pve.add_vm(100, config={"name": "other", "scsi0": "local-lvm:vm-100-disk-0,size=10G"})
    pve.faults.fail(FIRST, answer=500, reason="no kvm", times=9)
    from builder.install.jobs import deploy_host

    result = deploy_host(shop, case, opened)
    assert result.vmid == 101, result
    assert pve.vms[100].config["name"] == "other"
    assert site.undo().outcome is Outcome.UNDONE
    assert list(pve.vms) == [100]


def test_without_the_right_to_delete_the_answer_iso_is_overwritten(make, pve):
    site = make(extra=frozenset())
    site.deploy()
    assert site.undo().outcome is Outcome.UNDONE
    (volid,) = answer_isos(pve)
    content = pve.storages["local"].on("pve1")[volid].content
    assert b"AdministratorPassword" not in content
    assert b"Its content is gone" in content


def test_a_changed_spec_does_not_go_on(make, pve, site):
    site.deploy()
    other = make(SPEC.replace('edition = "core"', 'edition = "desktop"'))
    result = other.resume()
    assert "has changed since its run began" in result.error.what
    assert other.undo().outcome is Outcome.UNDONE


def test_two_runs_at_once_are_refused(site, pve):
    from builder.install.journal import locked

    shop, case = site.shop(), site.case()
    opened = site.open(case, shop.api)
    from builder.install.jobs import deploy_host

    with locked(case.folder):
        result = deploy_host(shop, case, opened)
    assert result.code is ExitCode.UNSAFE
    assert not pve.vms
