"""Further ways through the firmware: a prompt that nobody answers, the CD first, other boards."""

import time

import pytest

from tests.vm.cases import BLOCK
from tests.vm.machine import VmError
from tests.vm.test_firmware import install, machine, press_until_setup_reads, settled

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def media(lab):
    windows = lab.bootable("2022", "volume")
    return windows, lab.answer("boot-2022-core", windows=windows)


def test_a_missed_prompt_starts_nothing_and_a_reset_helps(lab, media):
    vm = lab.vm("missed-prompt", machine(lab, *media))
    try:
        vm.start()
        with pytest.raises(VmError, match="waited"):
            vm.result(seconds=45)
        vm.picture("nobody-pressed-a-key")
        assert "standin:" not in vm.log()
        vm.reset()
        press_until_setup_reads(vm)
        install(vm)
        settled(vm)
    finally:
        vm.close()


def test_cd_first_the_unanswered_prompt_falls_through_to_the_disk(lab, media):
    vm = lab.vm("cd-first", machine(lab, *media, boot="order=ide2;scsi0"))
    try:
        vm.start()
        press_until_setup_reads(vm)
        install(vm)
        settled(vm)
    finally:
        vm.close()


def test_the_cd_is_ejected_live_and_the_disk_boots_again(lab, media):
    vm = lab.vm("eject", machine(lab, *media))
    try:
        vm.start()
        press_until_setup_reads(vm)
        install(vm)
        for slot in ("ide0", "ide2", "sata0"):
            vm.change_medium(slot, "none")
        after = len(vm.log())
        vm.reset()
        again = vm.result(seconds=300, after=after)
        assert again.word == "ready"
        assert "state=ready" in again.log
        assert "empty" in again.log
        assert vm.agent.answers()
    finally:
        vm.close()


def test_a_data_disk_is_attached_live(lab, media):
    vm = lab.vm("live-disk", machine(lab, *media))
    try:
        vm.start()
        press_until_setup_reads(vm)
        install(vm)
        vm.attach_disk("scsi1", "local-lvm:data.raw,size=10G")
        end = time.monotonic() + 60
        while b"sdb" not in vm.agent.run("ls", "/sys/block")["out-data"]:
            assert time.monotonic() < end, "the guest does not see the disk"
            time.sleep(1)
    finally:
        vm.close()


def test_virtio_block(lab):
    windows = lab.bootable("2022", "volume")
    answer = lab.answer("boot-2022-block", windows=windows, spec=BLOCK)
    changes = {"scsi0": "", "virtio0": "local-lvm:disk.raw,size=60G", "boot": "order=virtio0;ide2"}
    vm = lab.vm("virtio-block-uefi", machine(lab, windows, answer, **changes))
    try:
        vm.start()
        press_until_setup_reads(vm)
        _, second = install(vm)
        assert "virtio_blk" in second.log
        settled(vm)
    finally:
        vm.close()


def test_i440fx_does_not_enforce_secure_boot(lab, media):
    vm = lab.vm("i440fx-uefi", machine(lab, *media, machine="pc"))
    try:
        vm.start()
        press_until_setup_reads(vm)
        first, _ = install(vm)
        assert "firmware=uefi" in first.log
        settled(vm)
    finally:
        vm.close()
