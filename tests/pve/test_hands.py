"""What people and clusters do to a VM between two calls; a run neither trusts nor harms it."""

import dataclasses

import pytest

from builder.errors import ExitCode
from builder.install.fleet import HostResult
from builder.install.jobs import accept_host, deploy_host
from builder.install.journal import Outcome, load_journal
from tests.pve.deploying import SPEC
from tests.pve.direct import journal_moments
from tests.pve.scene import DISK, QUICK, Scene
from tests.pve.state import GIB, Volume
from tests.pve.test_reinstall import DATA, HOST, SYSTEM, add_old, open_reinstall, volid
from tests.pve.windows import Times, WindowsGuest

FOREIGN = "local-lvm:vm-100-disk-7"
WATCHING = "after the journal said power-on: done"


@pytest.fixture
def play(discs, trusted, tmp_path):
    """Scenes of a release, with a journal whose writes are moments."""

    def make(spec=SPEC + DISK):
        scene = Scene("9.2", tmp_path, discs, spec)
        patched = journal_moments(scene.site, pytest.MonkeyPatch)
        patched.__enter__()
        opened.append(patched)
        return scene

    opened = []
    yield make
    for patched in opened:
        patched.__exit__(None, None, None)


@pytest.fixture
def scene(play):
    return play()


def words(result: HostResult) -> str:
    error = result.error
    return f"{error.what} {error.problems} {error.hint}" if error else ""


def attach(scene, slot, vmid=100, name=FOREIGN):
    """Somebody adds a disk of his own to a VM."""
    scene.store[name] = Volume(
        volid=name, kind="images", size=GIB, form="raw", vmid=vmid, written=True
    )
    scene.pve.vms[vmid].config[slot] = f"{name},size=1G"
    scene.before.add(name)


def delete(scene, vmid=100):
    """Somebody destroys a VM and everything in it."""
    vm = scene.pve.vms.pop(vmid)
    scene.pve.guests.pop(vmid, None)
    for text in vm.config.values():
        scene.store.pop(volid(text), None)


def test_a_vm_that_was_deleted_by_hand(scene):
    scene.live(scene.site.deploy, WATCHING)
    delete(scene)
    result = scene.live(scene.site.resume)
    assert result.code is ExitCode.UNSAFE
    assert "not there any more" in words(result)
    assert "--undo" in words(result)
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    assert not scene.readable_isos()
    scene.check_unmade()


def test_a_number_that_somebody_else_has_now(scene):
    scene.live(scene.site.deploy, WATCHING)
    delete(scene)
    scene.pve.add_vm(100, config={"name": "other", "scsi0": "local-lvm:vm-100-disk-0,size=1G"})
    scene.before |= set(scene.store)
    before = dict(scene.pve.vms[100].config)
    result = scene.live(scene.site.resume)
    assert result.code is ExitCode.UNSAFE
    assert "not the one of this run" in words(result)
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    assert scene.pve.vms[100].config == before
    assert "local-lvm:vm-100-disk-0" in scene.store
    scene.check_unmade()


def test_a_disk_of_somebody_else_is_never_destroyed(scene):
    scene.live(scene.site.deploy, WATCHING)
    attach(scene, "scsi5")
    result = scene.live(scene.site.undo)
    assert result.code is ExitCode.UNSAFE
    assert FOREIGN in words(result)
    assert FOREIGN in scene.store
    del scene.pve.vms[100].config["scsi5"]
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    assert FOREIGN in scene.store


def test_a_disk_where_a_data_disk_is_to_go(scene):
    scene.live(scene.site.deploy, "after the journal said installed: done")
    attach(scene, "scsi1")
    result = scene.live(scene.site.resume)
    assert result.code is ExitCode.UNSAFE
    assert FOREIGN in words(result)
    assert scene.pve.vms[100].config["scsi1"].startswith(FOREIGN)
    assert scene.live(scene.site.undo).code is ExitCode.UNSAFE
    del scene.pve.vms[100].config["scsi1"]
    assert scene.live(scene.site.resume).outcome is Outcome.SETTLED


def test_notes_that_somebody_has_written_over(scene):
    scene.live(scene.site.deploy, WATCHING)
    scene.pve.vms[100].config["description"] = "web server of the third floor"
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    assert not scene.pve.vms


def test_a_vm_that_moved_to_another_node(scene):
    scene.live(scene.site.deploy, "after the journal said eject: done")
    (iso,) = scene.readable_isos()
    there = scene.pve.storages["local-lvm"]
    there.on("pve2").update(there.on("pve1"))
    there.on("pve1").clear()
    scene.pve.vms[100].node = "pve2"
    result = scene.live(scene.site.resume)
    assert result.outcome is Outcome.SETTLED, words(result)
    assert result.node == "pve2"
    assert not scene.readable_isos(), f"{iso} lies where it was uploaded, not where the VM is"


def test_a_vm_that_moved_is_unmade_where_it_is(scene):
    scene.live(scene.site.deploy, WATCHING)
    there = scene.pve.storages["local-lvm"]
    there.on("pve2").update(there.on("pve1"))
    there.on("pve1").clear()
    scene.pve.vms[100].node = "pve2"
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    assert not scene.pve.vms
    assert not there.on("pve2")
    scene.check_unmade()


def test_a_locked_vm_waits(scene):
    scene.live(scene.site.deploy, WATCHING)
    scene.pve.vms[100].config["lock"] = "backup"
    result = scene.live(scene.site.undo)
    assert result.outcome is Outcome.OPEN
    assert "locked" in words(result)
    del scene.pve.vms[100].config["lock"]
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE


def test_a_vm_that_ha_looks_after(scene):
    scene.live(scene.site.deploy, WATCHING)
    scene.pve.vms[100].ha_state = "started"
    scene.pve.ha_seconds = 20.0
    result = scene.live(scene.site.resume)
    assert result.outcome is Outcome.SETTLED, words(result)
    assert scene.pve.vms[100].starts == 2, "what waited for a cold start was applied"


def test_a_right_that_goes_away_in_the_middle(scene):
    scene.live(scene.site.deploy, WATCHING)
    account = scene.pve.access.accounts["installer@pve!winseed"]
    before = dict(account.entries)
    account.entries["/"] = before["/"] - {"VM.PowerMgmt"}
    result = scene.live(scene.site.resume)
    assert result.outcome is Outcome.KEPT
    assert "VM.PowerMgmt" in words(result)
    account.entries.update(before)
    assert scene.live(scene.site.resume).outcome is Outcome.SETTLED


def test_an_api_that_is_away_for_long(scene):
    class Away(WindowsGuest):
        def press(self, key):
            before = self.phase
            super().press(key)
            if before == "prompt":
                scene.pve.faults.fail("GET *", answer=595, times=60)

    scene.pve.make_guest = lambda vm: Away(vm, scene.pve, QUICK)
    result = scene.live(scene.site.deploy)
    assert result.outcome is Outcome.SETTLED, words(result)


def test_a_copy_that_ends_after_the_kill(scene):
    scene.pve.tasks.seconds["imgcopy"] = 60.0
    scene.live(scene.site.deploy, "after POST */upload")
    assert not scene.readable_isos(), "it is still being copied"
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    scene.clock.sleep(100)
    scene.pve.advance_tasks()
    assert not scene.readable_isos()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_answer_that_is_lost_while_all_is_unmade(scene, moment):
    scene.pve.faults.kill_worker("qmstart", at="before")
    lost = scene.pve.faults.fail("DELETE */qemu/*", answer=596, moment=moment)
    result = scene.live(scene.site.deploy)
    assert lost.hits == 1
    assert result.outcome is Outcome.UNDONE, words(result)
    assert not scene.pve.vms


@pytest.mark.parametrize("call", ["PUT */config", "POST */config"])
def test_a_configuration_that_somebody_else_changes_meanwhile(scene, call):
    fault = scene.pve.faults.fail(
        call, answer=500, reason="checksum mismatch (file change by other user?)", times=2
    )
    result = scene.live(scene.site.deploy)
    assert result.outcome is Outcome.SETTLED, words(result)
    assert fault.hits == 2


def test_a_pool(play):
    scene = play(SPEC.replace('node = "pve1"', 'node = "pve1"\npool = "lab"', 1) + DISK)
    scene.pve.add_pool("lab")
    scene.live(scene.site.deploy, WATCHING)
    assert scene.pve.access.pools["lab"] == {100}
    assert scene.live(scene.site.resume).outcome is Outcome.SETTLED


def test_another_version_of_winseed_does_not_go_on(scene, monkeypatch):
    scene.live(scene.site.deploy, WATCHING)
    case = scene.site.case
    newer = lambda name: dataclasses.replace(case(name), version="1")  # noqa: E731
    monkeypatch.setattr(scene.site, "case", newer)
    result = scene.live(scene.site.resume)
    assert "has changed since its run began" in words(result)
    assert "put spec, media and winseed back" in words(result)
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE


def test_a_full_iso_storage_unmakes_all(scene):
    scene.pve.faults.fail("POST */upload", answer=500, reason="No space left on device", times=9)
    result = scene.live(scene.site.deploy)
    assert result.outcome is Outcome.UNDONE
    assert "No space left" in words(result)
    assert not scene.pve.vms
    scene.check_unmade()


class Guarded(WindowsGuest):
    """The disk guard stops Setup."""

    def _apply_image(self, now):
        self.write_serial("winseed: guard=stopped reason=disk-has-partitions\r\n")
        self.off = True


class Broken(WindowsGuest):
    """Windows is not what was planned."""

    def _finish_boot(self, phase):
        super()._finish_boot(phase)
        if self.windows:
            self.windows.build = 17763


class Failing(WindowsGuest):
    """A step of the first boot fails."""

    def _finish_boot(self, phase):
        if self.windows and phase == "first boot":
            self.windows.failed_steps = ["settings"]
        super()._finish_boot(phase)


def test_a_definite_failure_leaves_a_vm_that_can_start(scene):
    scene.pve.make_guest = lambda vm: Failing(vm, scene.pve, QUICK)
    result = scene.live(scene.site.deploy)
    assert result.outcome is Outcome.KEPT
    assert not scene.readable_isos()
    vm = scene.pve.vms[100]
    assert vm.running
    named = [text.partition(",")[0] for text in vm.config.values() if "media=cdrom" in text]
    there = scene.pve.storages["local"].on("pve1")
    assert [one for one in named if one != "none" and one not in there] == []


def test_an_answer_iso_that_was_uploaded_again_is_named_again(scene):
    scene.pve.faults.kill_worker("qmstart", at="before")
    scene.pve.faults.fail("DELETE */qemu/*", answer=500, reason="not now", times=9)
    assert scene.live(scene.site.deploy).outcome is Outcome.OPEN
    assert not scene.readable_isos()
    scene.pve.faults.clear()
    scene.live(scene.site.resume, WATCHING)
    assert scene.readable_isos(), "there is one again, and check_books has found it named"


def test_a_setup_that_stands_still_keeps_its_iso_and_says_so(scene):
    scene.pve.make_guest = lambda vm: WindowsGuest(vm, scene.pve, Times(setup=1e9))
    result = scene.live(scene.site.deploy)
    assert result.outcome is Outcome.KEPT
    (iso,) = scene.readable_isos()
    assert any(iso in note for note in result.notes)
    assert scene.pve.vms[100].running


def test_a_vm_that_was_taken_over_is_given_back_even_if_it_runs(play):
    scene = play(SPEC + "machine = {{ vmid = 101 }}\n")
    before = {"name": "app01", "memory": "2048", "net0": "virtio=BC:24:11:AA:00:01,bridge=vmbr0"}
    scene.pve.add_vm(101, config=before)
    vm = scene.pve.vms[101]
    before = dict(vm.config)
    scene.live(scene.site.deploy, WATCHING)
    assert vm.running
    vm.config["scsi3"] = "local-lvm:vm-101-disk-9,size=1G"
    attach(scene, "scsi3", 101, "local-lvm:vm-101-disk-9")
    result = scene.live(scene.site.undo)
    assert result.outcome is Outcome.UNDONE, words(result)
    assert not vm.running
    assert vm.config.pop("scsi3").startswith("local-lvm:vm-101-disk-9")
    assert {key: vm.config[key] for key in before} == before
    assert not [key for key in vm.config if key.startswith(("scsi0", "efi", "tpm", "unused"))]


@pytest.fixture
def again(play):
    """A VM with Windows and data that is to be installed anew."""
    scene = play(HOST)
    vm = add_old(scene.pve, "9.2", "system first", running=False)
    scene.start(101)
    scene.before = set(scene.store)

    def begin():
        shop, case, opened = open_reinstall(scene.site)
        return deploy_host(shop, case, opened)

    return scene, vm, begin


def test_a_reinstallation_goes_on_with_its_data_disk(again):
    scene, vm, begin = again
    scene.live(begin, WATCHING)
    result = scene.live(scene.site.resume)
    assert result.outcome is Outcome.SETTLED, words(result)
    assert vm.config["scsi1"].startswith(volid(DATA))


def test_a_fresh_disk_that_no_journal_names_is_not_left(again):
    scene, vm, begin = again
    before, made = dict(vm.config), set(scene.store)
    scene.live(begin, "after POST */qemu/101/config")
    assert set(scene.store) - made, "killed right after the disks were made"
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    assert vm.config == before
    assert set(scene.store) == made
    assert vm.running


def test_another_vm_under_the_number_is_not_restored(again):
    scene, _, begin = again
    scene.live(begin, WATCHING)
    delete(scene, 101)
    scene.pve.add_vm(101, config={"name": "x", "scsi0": "local-lvm:vm-101-disk-0,size=1G"})
    scene.before |= set(scene.store)
    scene.start(101)
    before = dict(scene.pve.vms[101].config)
    for verb in (scene.site.undo, scene.site.resume):
        result = scene.live(verb)
        assert result.code is ExitCode.UNSAFE
        assert "not the one of this run" in words(result)
        assert scene.pve.vms[101].config == before
        assert scene.pve.vms[101].running


def test_a_vm_that_is_gone_cannot_be_put_back_but_its_run_ends(again):
    scene, _, begin = again
    scene.live(begin, WATCHING)
    delete(scene, 101)
    assert scene.live(scene.site.undo).outcome is Outcome.UNDONE
    scene.check_unmade()


def test_the_old_windows_that_somebody_has_put_back_is_not_switched_off(again):
    scene, vm, begin = again
    before = dict(vm.config)
    scene.live(begin, WATCHING)
    scene.pve.guests.pop(101)
    vm.running = False
    vm.config = dict(before)
    scene.start(101)
    starts = vm.starts
    result = scene.live(scene.site.undo)
    assert result.outcome is Outcome.ROLLED_BACK, words(result)
    assert vm.running
    assert vm.starts == starts, "nobody has pulled its plug"


def test_a_disk_that_was_added_meanwhile_stays_when_all_is_put_back(again):
    scene, vm, begin = again
    scene.live(begin, WATCHING)
    attach(scene, "scsi5", 101, "local-lvm:vm-101-disk-9")
    result = scene.live(scene.site.undo)
    assert result.outcome is Outcome.ROLLED_BACK, words(result)
    assert vm.config["scsi5"].startswith("local-lvm:vm-101-disk-9")
    assert vm.config["scsi0"].startswith(volid(SYSTEM))


def test_accept_leaves_another_vm_alone(again):
    scene, _, begin = again
    assert scene.live(begin).outcome is Outcome.SETTLED
    unused = load_journal(scene.folder).state.unused
    delete(scene, 101)
    name = unused[0]
    scene.pve.add_vm(101, config={"name": "x", "unused0": name})
    done = accept_host(scene.site.shop(), scene.folder, "app01")
    assert done.code is ExitCode.UNSAFE
    assert name in scene.store


def test_what_failed_is_not_to_be_mended_in_a_windows_that_is_gone(again):
    scene, vm, begin = again
    scene.pve.make_guest = lambda vm: Broken(vm, scene.pve, QUICK)
    result = scene.live(begin)
    assert result.outcome is Outcome.ROLLED_BACK, words(result)
    assert "mend it in the guest" not in words(result)
    assert vm.config["scsi0"].startswith(volid(SYSTEM))
    assert vm.running


def test_a_silent_agent_is_no_reason_to_go_back(again):
    scene, vm, begin = again
    scene.plans.silence = 1e7
    result = scene.live(begin)
    assert result.outcome is Outcome.KEPT, words(result)
    assert not vm.config["scsi0"].startswith(volid(SYSTEM))
