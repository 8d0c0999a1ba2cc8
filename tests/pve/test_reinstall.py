"""A new Windows on a VM that is there: what is kept, what comes back, what is refused."""

import pytest

from builder.errors import ExitCode, WinseedError
from builder.install.existing import find_existing, refuse_controller, refuse_existing
from builder.install.jobs import accept_host, deploy_host
from builder.install.journal import Outcome
from builder.install.opening import open_again, refuse_stops, rehearse_order
from builder.proxmox.checkup import inspect_checkup, refuse_checkup
from builder.proxmox.wanted import files_of, make_wanted
from tests.pve.browser import Client
from tests.pve.conftest import rights
from tests.pve.deploying import SPEC
from tests.pve.formats import parse_size
from tests.pve.installed import Account, Installed
from tests.pve.test_deploy_start import answer_isos, images
from tests.pve.windows import WindowsGuest

BASE = {
    "name": "app01",
    "ostype": "win11",
    "machine": "pc-q35-9.2+pve1",
    "bios": "ovmf",
    "cpu": "host",
    "cores": "2",
    "memory": "4096",
    "agent": "enabled=1",
    "scsihw": "virtio-scsi-single",
    "serial0": "socket",
    "smbios1": "uuid=11111111-2222-3333-4444-555555555555",
    "description": "the file server of the second floor",
    "onboot": "1",
    "efidisk0": "local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M",
    "tpmstate0": "local-lvm:vm-101-disk-1,size=4M,version=v2.0",
    "net0": "virtio=BC:24:11:AA:00:01,bridge=vmbr0",
}
SYSTEM = "local-lvm:vm-101-disk-2,discard=on,iothread=1,size=60G"
DATA = "local-lvm:vm-101-disk-3,discard=on,iothread=1,size=10G"
PLACES = {
    "system first": ({"scsi0": SYSTEM, "scsi1": DATA, "boot": "order=scsi0"}, "scsi0"),
    "data first": ({"scsi0": DATA, "scsi2": SYSTEM, "boot": "order=scsi2"}, "scsi2"),
    "data on sata0": (
        {
            "scsi0": SYSTEM,
            "sata0": DATA.replace("iothread=1,", ""),
            "boot": "order=scsi0;ide2",
            "ide2": "local:iso/old.iso,media=cdrom,size=1000000",
        },
        "scsi0",
    ),
    "system on sata": (
        {"sata1": SYSTEM.replace("iothread=1,", ""), "scsi0": DATA, "boot": "order=sata1"},
        "scsi1",
    ),
}
HOST = SPEC + 'machine = {{ vmid = 101 }}\n\n[[host.nic]]\nmac = "BC:24:11:AA:00:01"\n'


@pytest.fixture
def pve(windows_pve):
    return windows_pve


def add_old(pve, release, place, *, running=True, role=3):
    drives, _ = PLACES[place]
    pve.add_iso("local", "old.iso", size=1_000_000)
    vm = pve.add_vm(101, config={**BASE, **drives})
    sizes = {
        volid(text): parse_size(text.partition("size=")[2].partition(",")[0] or "1G")
        for text in vm.config.values()
        if "size=" in text
    }
    for volume in pve.storages["local-lvm"].on("pve1").values():
        volume.size = sizes.get(volume.volid, volume.size)
        if volume.volid == volid(SYSTEM):
            volume.stage = "ready"
            volume.windows = Installed(
                computer_name="APP01",
                domain_role=role,
                accounts=[Account(name="Administrator", rid=500, password="Old-Pass-1!")],
                image_state="IMAGE_STATE_COMPLETE",
            )
    if running:
        client = Client(pve, pve.token("root2@pve", rights(release)))
        assert client.task(client.post("/nodes/pve1/qemu/101/status/start")) in {
            "OK",
            "WARNINGS: 1",
        }
        pve.clock.sleep(60)
        pve.advance_tasks()
    return vm


def volid(text):
    return text.partition(",")[0]


def old_drives(vm):
    return {
        key: text
        for key, text in vm.config.items()
        if key[:3] in ("scs", "sat", "ide", "efi", "tpm")
    }


def open_reinstall(site, *, not_a_dc=False):
    shop, case = site.shop(), site.case()
    existing = find_existing(shop.api, case.host)
    refuse_existing(existing)
    refuse_controller(shop.api, existing, allowed=not_a_dc)
    sizes = {path: path.stat().st_size for path in files_of(case.host)}
    wanted = make_wanted(case.host, case.proxmox, site=case.site, sizes=sizes)
    import dataclasses

    wanted = dataclasses.replace(
        wanted, vmid=existing.guest.vmid, node=existing.guest.node, exists=True
    )
    checkup = inspect_checkup(shop.api, [wanted])
    (found,) = checkup.hosts
    refuse_checkup(checkup, found)
    opened = open_again(case, existing, found, site.entropy())
    refuse_stops(rehearse_order(case, opened), case.host.name)
    return shop, case, opened


def reinstall(site, **how):
    shop, case, opened = open_reinstall(site, **how)
    return deploy_host(shop, case, opened)


def told(result):
    error = result.error
    return (result, error and (error.what, error.problems, error.hint))


@pytest.mark.parametrize("place", PLACES)
def test_a_new_windows_and_the_data_comes_back(make, pve, release, place):
    vm = add_old(pve, release, place)
    before = dict(vm.config)
    site = make(HOST)
    result = reinstall(site)
    assert result.outcome is Outcome.SETTLED, told(result)
    data = next(key for key, text in before.items() if volid(text) == volid(DATA))
    assert volid(vm.config[data]) == volid(DATA), "the data disk is in its slot again"
    store = pve.storages["local-lvm"].on("pve1")
    assert not store[volid(DATA)].wiped, "Setup never saw it"
    assert not store[volid(SYSTEM)].wiped
    unused = {text for key, text in vm.config.items() if key.startswith("unused")}
    assert unused == {volid(SYSTEM), volid(before["efidisk0"]), volid(before["tpmstate0"])}
    for key in ("smbios1", "vmgenid", "net0", "description", "memory"):
        assert vm.config[key] == before[key], key
    slot = PLACES[place][1]
    assert volid(vm.config[slot]) not in {volid(text) for text in before.values()}
    assert vm.config["boot"].removeprefix("order=").split(";")[0] == slot
    assert not answer_isos(pve)
    accepted = accept_host(site.shop(), site.folder / "dist" / "app01", "app01")
    assert accepted.error is None, told(accepted)
    assert not unused & images(pve)
    assert volid(DATA) in images(pve)


@pytest.mark.parametrize("release", ["9.2"])
@pytest.mark.parametrize("place", ["data first", "data on sata0"])
@pytest.mark.parametrize("number", range(7))
def test_before_the_power_on_all_comes_back(make, pve, release, place, number):
    vm = add_old(pve, release, place)
    before, made = dict(vm.config), images(pve)
    site = make(HOST)
    shop, case, opened = open_reinstall(site)
    pve.faults.fail_change(
        pve.faults.changes_seen + number, answer=500, reason="no space left on device"
    )
    result = deploy_host(shop, case, opened)
    if result.error is None:
        pytest.skip(f"there is no change number {number} before the power-on")
    if site.journal().state.powered:
        assert result.outcome in {Outcome.SETTLED, Outcome.KEPT, Outcome.ROLLED_BACK}
        return
    assert result.outcome is Outcome.UNDONE, told(result)
    assert vm.config == before
    assert images(pve) == made
    assert vm.running
    assert not answer_isos(pve)


def test_a_failed_installation_brings_the_old_disk_back(make, pve, release):
    class Guarded(WindowsGuest):
        def _apply_image(self, now):
            self._tell_guard()
            self.off = True

        def _tell_guard(self):
            self.write_serial("winseed: guard=stopped reason=disk-has-partitions\r\n")

    vm = add_old(pve, release, "system first")
    before = dict(vm.config)
    pve.make_guest = lambda vm: Guarded(vm, pve)
    site = make(HOST)
    result = reinstall(site)
    now = {key: text for key, text in vm.config.items() if not key.startswith("unused")}
    assert result.outcome in {Outcome.ROLLED_BACK, Outcome.KEPT}, told(result)
    if result.outcome is Outcome.KEPT:
        result = site.undo()
        assert result.outcome is Outcome.ROLLED_BACK, told(result)
        now = {key: text for key, text in vm.config.items() if not key.startswith("unused")}
    assert now == before
    assert vm.running
    assert not answer_isos(pve)
    pve.make_guest = lambda vm: WindowsGuest(vm, pve)
    site.clock.sleep(60)
    again = reinstall(site)
    assert again.outcome is Outcome.SETTLED, told(again)


def refusal(call):
    with pytest.raises(WinseedError) as caught:
        call()
    return caught.value


def test_a_domain_controller_is_refused(make, pve, release):
    vm = add_old(pve, release, "system first", role=5)
    before = dict(vm.config)
    error = refusal(lambda: reinstall(make(HOST), not_a_dc=True))
    assert error.code is ExitCode.UNSAFE
    assert "winseed dc" in error.hint
    assert vm.config == before


def test_silence_is_refused_unless_it_is_said_to_be_no_controller(make, pve, release):
    vm = add_old(pve, release, "system first", running=False)
    site = make(HOST)
    error = refusal(lambda: reinstall(site))
    assert error.code is ExitCode.UNSAFE
    assert "--not-a-dc" in error.hint
    result = reinstall(site, not_a_dc=True)
    assert result.outcome is Outcome.SETTLED, told(result)
    assert vm.running


@pytest.mark.parametrize("change", ["protection", "snapshot", "lock", "replica", "ha"])
def test_what_makes_it_unsafe_is_refused(make, pve, release, change):
    vm = add_old(pve, release, "system first")
    match change:
        case "protection":
            vm.config["protection"] = "1"
        case "snapshot":
            from tests.pve.state import Snapshot

            vm.snapshots["before"] = Snapshot(name="before", config=dict(vm.config), taken=1)
        case "lock":
            vm.config["lock"] = "backup"
        case "replica":
            vm.replicated = True
        case "ha":
            vm.ha_state = "started"
    before = dict(vm.config)
    error = refusal(lambda: reinstall(make(HOST)))
    assert error.code is ExitCode.UNSAFE
    assert error.problems
    assert vm.config == before


def test_another_machine_than_the_spec_says_is_refused(make, pve, release):
    vm = add_old(pve, release, "system first")
    vm.config["net0"] = "virtio=BC:24:11:AA:00:99,bridge=vmbr0"
    error = refusal(lambda: reinstall(make(HOST)))
    assert error.code is ExitCode.SPEC
    assert "network" in str(error.problems)


def test_a_run_that_keeps_old_disks_is_not_set_aside(make, pve, release):
    add_old(pve, release, "system first")
    site = make(HOST)
    assert reinstall(site).outcome is Outcome.SETTLED
    run = site.journal().state.run
    shop, case, opened = open_reinstall(site)
    result = deploy_host(shop, case, opened)
    assert result.code is ExitCode.UNSAFE
    assert "--accept" in result.error.hint
    assert site.journal().state.run == run
