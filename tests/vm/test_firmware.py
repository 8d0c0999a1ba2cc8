"""Whole installations through real firmware, from power-on to a guest agent that answers."""

import json
import time

import pytest

from tests.vm.cases import BASE, BIOS
from tests.vm.lab import ISO

pytestmark = pytest.mark.timeout(900)
SETUP_READS = 10 << 20  # the loader alone reads less, Setup reads its memory disk
DONE = r"C:\ProgramData\winseed\done.json"
DESKTOP = ("--edition", "desktop")


def machine(lab, windows, answer, **changes):
    config = {
        **BASE,
        "tpmstate0": "local-lvm:tpm,size=4M,version=v2.0",
        "ide0": f"{ISO}{lab.disc('virtio').name},media=cdrom",
        "ide2": f"{ISO}{windows.name},media=cdrom",
        "sata0": f"{ISO}{answer.name},media=cdrom",
        "memory": "1536",
        **changes,
    }
    return {key: value for key, value in sorted(config.items()) if value}


def press_until_setup_reads(vm, slot="ide2", seconds=120):
    """As `deploy` passes the prompt: a key now and then, until the read counter tells.

    A reset does not set the counters back, so what was read before does not count.
    """
    end = time.monotonic() + seconds
    presses, before = 0, vm.block_counters()[slot]["rd_bytes"]
    while vm.block_counters()[slot]["rd_bytes"] < before + SETUP_READS:
        assert time.monotonic() < end, "no key has started the CD"
        vm.send_key("ret")
        presses += 1
        if presses % 4 == 0:
            vm.picture("prompt")
        time.sleep(0.7)


def install(vm):
    """Setup, the restart by itself, the first boot; gives the log lines of both starts."""
    first = vm.result(seconds=300)
    assert first.word == "installed", first.line
    after = len(vm.log())
    second = vm.result(seconds=300, after=after)
    assert second.word == "ready", second.line
    return first, second


def settled(vm, name="winsrv"):
    """The real agent answers, the marker is there, and says that all went well."""
    assert vm.agent.answers()
    assert vm.agent.execute("guest-get-host-name")["host-name"] == name
    marker = json.loads(vm.agent.read_file(DONE))
    assert marker["ok"] is True, marker
    lines = [line for line in vm.com1().splitlines() if "winseed: " in line]
    said = [line.partition("winseed: ")[2] for line in lines]
    order = ["phase=winpe id", "guard=passed", "phase=winpe done", "phase=specialize done",
             "phase=first-boot", "phase=done ok=True"]  # fmt: skip
    places = [next(n for n, line in enumerate(said) if line.startswith(word)) for word in order]
    assert places == sorted(places)
    return marker


def predicted(lab, vm, answer, windows):
    prediction = lab.predict(answer, vm.config, (windows, lab.disc("virtio")), "empty")
    assert prediction.stops == ()
    return prediction


def test_2022_core_with_secure_boot_and_a_key(lab):
    windows = lab.bootable("2022", "volume")
    answer = lab.answer("boot-2022-core", windows=windows)
    vm = lab.vm("secure-boot-2022-core", machine(lab, windows, answer))
    try:
        predicted(lab, vm, answer, windows)
        vm.start()
        press_until_setup_reads(vm)
        first, second = install(vm)
        assert "firmware=uefi secure-boot=yes" in first.log
        assert "firmware=uefi secure-boot=yes" in second.log
        assert "index=1 name=Windows Server 2022 SERVERSTANDARDCORE" in first.log
        for module in ("virtio_balloon", "virtio_console", "virtio_net", "virtio_scsi"):
            assert module in second.log
        settled(vm)
        kept = vm.agent.run("ls", "-R", "/mnt/windows/Windows/Panther")["out-data"]
        assert b"setupact.log" in kept
        assert b"unattend" not in kept
        vm.press_power()
        vm.wait_until_off(seconds=60)
    finally:
        vm.close()


def test_2025_desktop_without_any_key(lab):
    windows = lab.bootable("2025", "volume", prompts=False)
    answer = lab.answer("boot-2025-desktop", windows=windows, flags=DESKTOP)
    efi = "local-lvm:efi.raw,efitype=4m,pre-enrolled-keys=0,size=528K"
    vm = lab.vm("noprompt-2025-desktop", machine(lab, windows, answer, efidisk0=efi))
    try:
        prediction = predicted(lab, vm, answer, windows)
        assert prediction.steps["firmware.key"] == "ok"
        vm.start()
        first, _ = install(vm)
        assert "index=2 name=Windows Server 2025 SERVERSTANDARD " in first.log
        assert "firmware=uefi secure-boot=no" in first.log
        settled(vm)
    finally:
        vm.close()


def test_2022_on_seabios(lab):
    windows = lab.bootable("2022", "volume")
    answer = lab.answer("boot-2022-bios", windows=windows, spec=BIOS)
    changes = {"bios": "seabios", "efidisk0": "", "tpmstate0": ""}
    vm = lab.vm("seabios-2022", machine(lab, windows, answer, **changes))
    try:
        predicted(lab, vm, answer, windows)
        vm.start()
        first, second = install(vm)
        assert "firmware=bios" in first.log
        assert "firmware=bios" in second.log
        settled(vm)
    finally:
        vm.close()
