"""Calls that switch a VM on and off, press its keys, or ask QEMU itself."""

import re
from typing import TYPE_CHECKING, Any

from tests.pve import drives, vmconfig
from tests.pve.access import ROOT
from tests.pve.calls import Asked, answers
from tests.pve.state import DRIVE, Died, PveError, Vm
from tests.pve.tasks import Task

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

BASE = "POST /nodes/{node}/qemu/{vmid}/status/"
NAMED_KEYS = {"ret", "spc", "esc", "tab", "backspace", "up", "down", "left", "right", "home", "end"}
NAMED_KEYS |= {"insert", "delete", "pgup", "pgdn", "shift", "ctrl", "alt", "minus", "dot", "comma"}
NAMED_KEYS |= {"slash", "backslash", "equal", "semicolon", "caps_lock", "menu", "meta_l", "print"}


def start_vm(pve: "FakeCluster", vm: Vm, task: Task) -> None:
    """Applies what is pending, looks for every volume and bridge, and runs QEMU."""
    vm.check_lock()
    if vm.running:
        raise Died(f"VM {vm.vmid} already running")
    vmconfig.apply(pve, vm)
    for key, value in sorted(vm.config.items()):
        if DRIVE.fullmatch(key):
            _check_volume(pve, vm, drives.parse(pve, key, value)["file"])
        elif re.fullmatch(r"net\d+", key):
            bridge = pve.schema.parse(drives.CREATE, key, value).get("bridge")
            if bridge and bridge not in pve.nodes[vm.node].bridges:
                raise Died(f"bridge '{bridge}' does not exist")
    _warn_about_keys(pve, vm, task)
    task.checkpoint("checked")
    power_on(pve, vm)


def _check_volume(pve: "FakeCluster", vm: Vm, volid: str) -> None:
    if volid not in drives.NO_MEDIUM and drives.find_volume(pve, vm.node, volid) is None:
        raise Died(f"volume '{volid}' does not exist")


def _warn_about_keys(pve: "FakeCluster", vm: Vm, task: Task) -> None:
    if "efidisk0" not in vm.config:
        return
    drive = drives.parse(pve, "efidisk0", vm.config["efidisk0"])
    if drive.get("pre-enrolled-keys") == "1" and drive.get("ms-cert") != "2023k":
        task.warn("EFI disk without 'ms-cert=2023k' option, suggesting that not all UEFI 2023")


def power_on(pve: "FakeCluster", vm: Vm) -> None:
    """A new QEMU process: counters at zero, a guest that boots."""
    vm.running = True
    vm.started = pve.clock()
    vm.starts += 1
    vm.read_bytes.clear()
    vm.written_bytes.clear()
    guest = pve.guests[vm.vmid] = pve.make_guest(vm)
    guest.power_on(pve.clock())


def power_off(pve: "FakeCluster", vm: Vm) -> None:
    """QEMU ends; its clean-up applies nothing yet, the next start does."""
    vm.running = False
    if guest := pve.guests.pop(vm.vmid, None):
        guest.power_off()


def cleanup_after_stop(pve: "FakeCluster", vm: Vm) -> None:
    """A stop by the API applies the pending changes (vm_stop_cleanup)."""
    power_off(pve, vm)
    vmconfig.apply(pve, vm)


def _skiplock(asked: Asked) -> bool:
    if asked.flag("skiplock") and asked.user != ROOT:
        text = "Only root may use this option."
        raise PveError(400, "Parameter verification failed.", {"skiplock": text})
    return asked.flag("skiplock")


def _check_running(vm: Vm) -> None:
    if not vm.running:
        raise Died(f"VM {vm.vmid} not running")


@answers(BASE + "start")
def start(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    _skiplock(asked)
    pve.check_quorum()
    if vm.managed:
        return _ask_ha(asked, "hastart", "started")
    return pve.fork(asked, "qmstart", str(vm.vmid), lambda task: start_vm(pve, vm, task))


def _ask_ha(asked: Asked, kind: str, state: str) -> str:
    vm = asked.vm

    def work(task: Task) -> None:
        task.say(f"Requesting HA {kind[2:]} for VM {vm.vmid}")
        asked.pve.request_ha(vm, state)

    return asked.pve.fork(asked, kind, str(vm.vmid), work)


@answers(BASE + "stop")
def stop(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    _skiplock(asked)
    if vm.managed:
        return _ask_ha(asked, "hastop", "stopped")

    def work(_: Task) -> None:
        vm.check_lock()
        if vm.running:
            cleanup_after_stop(pve, vm)

    return pve.fork(asked, "qmstop", str(vm.vmid), work)


@answers(BASE + "shutdown")
def shutdown(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    _skiplock(asked)
    if vm.managed:
        return _ask_ha(asked, "hastop", "stopped")

    def work(_: Task) -> None:
        vm.check_lock()
        if vm.running:
            _shut_down(asked, vm, force=asked.flag("forceStop"))

    return pve.fork(asked, "qmshutdown", str(vm.vmid), work)


def _shut_down(asked: Asked, vm: Vm, *, force: bool) -> None:
    pve = asked.pve
    if not pve.guests[vm.vmid].shut_down():
        pve.delay(asked.number("timeout", 60) + 3, "shutdown")
        if not force:
            raise Died("VM quit/powerdown failed - got timeout")
    cleanup_after_stop(pve, vm)


@answers(BASE + "reboot")
def reboot(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    _check_running(vm)

    def work(task: Task) -> None:
        vm.check_lock()
        _shut_down(asked, vm, force=False)
        start_vm(pve, vm, task)

    return pve.fork(asked, "qmreboot", str(vm.vmid), work)


@answers(BASE + "reset")
def reset(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    _skiplock(asked)
    _check_running(vm)

    def work(_: Task) -> None:
        vm.check_lock()
        pve.guests[vm.vmid].power_on(pve.clock())  # the same QEMU: counters stay, pending too

    return pve.fork(asked, "qmreset", str(vm.vmid), work)


@answers(BASE + "resume")
def resume(asked: Asked) -> Any:
    vm = asked.vm
    _check_running(vm)
    return asked.pve.fork(asked, "qmresume", str(vm.vmid), lambda task: task.say("resumed"))


@answers("PUT /nodes/{node}/qemu/{vmid}/sendkey")
def sendkey(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    key = asked.text("key")

    def work(_: Task) -> None:
        if not vm.running:
            raise Died(f"VM {vm.vmid} not running")
        for part in key.split("-"):
            if part not in NAMED_KEYS and not re.fullmatch(r"[a-z0-9]|f\d\d?|kp_\w+", part):
                raise Died(f"invalid parameter: {part}\r\n")  # the monitor's line end
        vm.keys.append(key)
        pve.guests[vm.vmid].press(key)

    pve.run_locked(vm, work)


@answers("POST /nodes/{node}/qemu/{vmid}/monitor")
def monitor(asked: Asked) -> Any:
    vm = asked.vm
    _check_running(vm)
    command = asked.text("command").strip()
    if not re.match(r"(info|help)\b", command) and asked.user != ROOT:
        raise Died(f"Permission check failed (/, only root@pam may run '{command.split()[0]}')")
    return f"VM status: {'running' if vm.running else 'paused'}\n"
