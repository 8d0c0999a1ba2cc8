"""A fake Proxmox VE server whose VMs are real QEMU processes.

The configuration becomes the command line, sendkey goes to the monitor, agent calls to the real
guest agent, blockstats come from QMP, an uploaded ISO is the file in the CD drive. What a host
does not do is not done here: a restart of the guest is QEMU's own business.
"""

import base64
import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.pve.cluster import FakeCluster
from tests.pve.guest import Finished, Guest
from tests.pve.state import Died, Vm, Volume
from tests.vm.command_line import drives_of, is_cd
from tests.vm.lab import ARTIFACTS, Lab, LabVm, fingerprint
from tests.vm.machine import VmError
from tests.vm.qmp import GuestAgent, Lines, MonitorError

SHUTDOWN_SECONDS = 180
AGENT_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Started(Finished):
    """A program that was only started: qemu-ga keeps its end."""

    pid: int


class QemuCluster(FakeCluster):
    """A cluster of QEMU processes; `isos` are the files of volumes that nobody uploads.

    `name` is the folder in build/vm/ for logs and screens, one below it for each power-on.
    """

    def __init__(self, lab: Lab, name: str, isos: Mapping[str, Path], **options: Any) -> None:
        super().__init__(**options)
        self.lab, self.name, self.isos = lab, name, dict(isos)
        self.folder = lab.folder / "hosts" / name
        self.folder.mkdir(parents=True)
        shutil.rmtree(ARTIFACTS / name, ignore_errors=True)
        self.spoil: Callable[[Path], None] | None = None  # what a new disk holds already
        self.machines: list[HostVm] = []  # one for each power-on
        self._files: list[tuple[Volume, Path]] = []
        self.make_guest = lambda vm: QemuGuest(vm, self)

    def file(self, volid: str) -> Path:
        """Where a volume lies; another one of the same name is another file."""
        if volid in self.isos:
            return self.isos[volid]
        volume = self.volume(volid)
        if volume is None:
            raise Died(f"volume '{volid}' does not exist")
        for known, path in self._files:
            if known is volume:
                return path
        path = self.folder / f"{len(self._files)}-{volid.rpartition(':')[2].replace('/', '-')}"
        if volume.kind == "iso":
            assert volume.content is not None, f"nobody has sent {volid}"
            path.write_bytes(volume.content)
        self._files.append((volume, path))
        return path

    def machine(self, vmid: int) -> "HostVm":
        """The running QEMU of a VM."""
        guest = self.guests[vmid]
        assert isinstance(guest, QemuGuest)
        return guest.machine

    def picture(self, stage: str) -> None:
        """The screens of all VMs as they are now."""
        with self.guard:
            for guest in self.guests.values():
                if isinstance(guest, QemuGuest):
                    with contextlib.suppress(MonitorError, OSError, VmError):
                        guest.machine.picture(stage)

    def remember_exec(self, vm: Vm, finished: Finished) -> int:
        return (
            finished.pid if isinstance(finished, Started) else super().remember_exec(vm, finished)
        )

    def collect_exec(self, vm: Vm, pid: int) -> Finished | None:
        guest = self.guests[vm.vmid]
        return guest.collect(pid) if isinstance(guest, QemuGuest) else None

    def __exit__(self, *reason: object) -> None:
        try:
            super().__exit__(*reason)
        finally:
            for machine in self.machines:
                machine.close()


class HostVm(LabVm):
    """One power-on: its volumes are those of the cluster."""

    def __init__(self, pve: QemuCluster, vm: Vm) -> None:
        name = f"{pve.name}/{len(pve.machines) + 1:02}-vm{vm.vmid}"
        super().__init__(pve.lab, name, dict(vm.config))
        self.pve = pve
        self.closed = False
        self.agent = GuestAgent(self.places["qga"], seconds=AGENT_SECONDS)
        self.before: dict[Path, str] = {}  # what was on its disks, by file
        self.after: dict[Path, str] = {}

    def volume(self, name: str) -> Path:
        return self.pve.file(name)

    def start(self) -> None:
        fresh = {path for path in self._disks() if not path.exists()}
        for path in fresh if self.pve.spoil else ():
            self.pve.spoil(path)
        self.before = {path: fingerprint(path) for path in self._disks() if path.exists()}
        super().start()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self.monitor is not None:
            with contextlib.suppress(MonitorError, OSError):
                self.monitor.execute("quit")  # a guest that is off keeps its QEMU
        super().close()
        self.after = {path: fingerprint(path) for path in self._disks() if path.exists()}

    def _disks(self) -> list[Path]:
        drives = drives_of(self.config).values()
        return [self.volume(parts[""]) for parts in drives if not is_cd(parts)]


class QemuGuest(Guest):
    """The guest of a real QEMU; called with the cluster's guard held."""

    def __init__(self, vm: Vm, pve: QemuCluster) -> None:
        super().__init__(vm)
        self.pve = pve
        self.machine = HostVm(pve, vm)
        pve.machines.append(self.machine)

    # -- power ---------------------------------------------------------------------------------

    def power_on(self, now: float) -> None:
        if self.machine.monitor is not None:
            self.machine.reset()
            return
        try:
            self.machine.start()
        except VmError as error:
            raise Died(f"start failed: QEMU exited with code 1: {error}") from None

    def power_off(self) -> None:
        self.machine.close()

    def shut_down(self) -> bool:
        """The agent where it answers, else the power button (`qm shutdown`)."""
        if self.machine.agent.answers():
            self._ask_to_shut_down()
        else:
            self.machine.press_power()
        end = time.monotonic() + SHUTDOWN_SECONDS
        while self.machine.running:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def _ask_to_shut_down(self) -> None:
        """guest-shutdown has no answer."""
        lines = Lines(self.machine.agent.path, seconds=AGENT_SECONDS)
        try:
            message = {"execute": "guest-shutdown", "arguments": {"mode": "powerdown"}}
            lines.send(message, before=b"\xff")
            with contextlib.suppress(OSError, MonitorError):
                lines.receive()
        finally:
            lines.close()

    # -- what the host sees --------------------------------------------------------------------

    def advance(self, now: float) -> None:
        """Counters, media that were changed, and whether the guest has switched itself off."""
        if not self.machine.running:
            self.off = True
            return
        self._change_drives()
        for slot, counted in self.machine.block_counters().items():
            self.vm.read_bytes[slot] = counted["rd_bytes"]
            self.vm.written_bytes[slot] = counted["wr_bytes"]

    def _change_drives(self) -> None:
        """What the configuration got while QEMU runs: other discs, further disks."""
        then = drives_of(self.machine.config)
        for slot, parts in drives_of(self.vm.config).items():
            if slot not in then:
                self.machine.attach_disk(slot, self.vm.config[slot])
            elif is_cd(parts) and parts[""] != then[slot][""]:
                self.machine.change_medium(slot, parts[""])

    def press(self, key: str) -> None:
        try:
            self.machine.send_key(key)
        except (MonitorError, OSError) as error:
            raise Died(f"{error}\r\n") from None

    def socket_of(self, kind: str) -> Path | None:
        return self.machine.places["serial0"] if kind == "serial" else None

    def screen(self) -> tuple[int, int, bytes]:
        """QEMU's own picture: PPM, three bytes a pixel."""
        path = self.machine.folder / "screen.ppm"
        assert self.machine.monitor is not None
        self.machine.monitor.execute("screendump", filename=str(path))
        content = path.read_bytes()
        width, height = map(int, content[:20].split()[1:3])
        colours = content[-3 * width * height :]
        pixels = bytearray(4 * width * height)
        pixels[0::4], pixels[1::4], pixels[2::4] = colours[2::3], colours[1::3], colours[0::3]
        return width, height, bytes(pixels)

    # -- agent ---------------------------------------------------------------------------------

    def answers(self, now: float) -> bool:
        return self.machine.running and self.machine.agent.answers()

    def _ask(self, command: str, **arguments: Any) -> Any:
        try:
            return self.machine.agent.execute(command, **arguments)
        except MonitorError as error:
            raise Died(f"Agent error: {error}") from None
        except OSError:
            vmid = self.vm.vmid
            raise Died(f"VM {vmid} qga command '{command}' failed - got timeout") from None

    def execute(self, command: list[str], stdin: bytes) -> Finished:
        given = {"input-data": base64.b64encode(stdin).decode(), "capture-output": True}
        program, *arguments = command
        told = self._ask("guest-exec", path=program, arg=arguments, **given)
        return Started(pid=told["pid"])

    def collect(self, pid: int) -> Finished | None:
        told = self._ask("guest-exec-status", pid=pid)
        if not told["exited"]:
            return None
        return Finished(
            exitcode=told.get("exitcode", -1),
            out=base64.b64decode(told.get("out-data", "")),
            err=base64.b64decode(told.get("err-data", "")),
        )

    def query(self, command: str) -> Any:
        return self._ask(f"guest-{command}")

    def read_file(self, path: str) -> bytes:
        try:
            return self.machine.agent.read_file(path)
        except MonitorError as error:
            raise Died(str(error)) from None
