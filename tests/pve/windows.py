"""A guest that behaves like an installation of Windows Server, as the host sees it.

Times are rough and adjustable; the order of events is what counts: firmware, the loader's prompt
on a CD, Setup from the CD (its read counter grows), a reboot from the disk, first boot, the agent.
Setup takes every disk that is attached for its own: the numbers of disks in Windows PE are not
those of the host, so the fake marks all of them as wiped.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.pve import drives, powershell
from tests.pve.guest import Finished, Guest
from tests.pve.installed import Answers, Installed, apply_image, finish_first_boot, read_answers
from tests.pve.state import Vm, Volume
from tests.pve.vmconfig import boot_devices

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

MIB = 1024**2


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of each phase."""

    firmware: float = 3.0
    prompt: float = 5.0
    setup: float = 300.0
    specialize: float = 120.0
    first_boot: float = 60.0
    boot: float = 20.0


class WindowsGuest(Guest):
    """Windows on the disk, or its Setup on the CD; `windows` is what lies on the disk.

    `execute` runs our PowerShell calls and nothing else, as `plans` says (`tests.pve.powershell`).
    """

    def __init__(
        self,
        vm: Vm,
        pve: "FakeCluster",
        times: Times | None = None,
        plans: powershell.Plans | None = None,
    ):
        super().__init__(vm)
        self.pve = pve
        self.times = times or Times()
        self.plans = plans or powershell.Plans()
        self.runs: dict[str, tuple[float, str]] = {}  # of PowerShell: until when, with what result
        self.silent_until = 0.0
        self.phase = "off"
        self.phases: list[str] = []
        self._until = 0.0
        self._devices: list[str] = []
        self._device = ""
        self._base = 0

    def power_on(self, now: float) -> None:
        self.agent = False
        self.end_runs()
        self.runs.clear()
        self.pve.forget_programs(self.vm)
        self._devices = boot_devices(self.pve, self.vm.config.get("boot"))
        self._enter("firmware", now + self.times.firmware)

    def _enter(self, phase: str, until: float) -> None:
        self.phase, self._until = phase, until
        self.phases.append(phase)

    def press(self, key: str) -> None:
        if self.phase == "firmware" and key in {"esc", "f2"}:
            self._enter("firmware setup", float("inf"))
        elif self.phase == "prompt":
            self._base = self.vm.read_bytes.get(self._device, 0)
            self._enter("setup", self.pve.clock() + self.times.setup)
            self._tell(self._answers(), "phase=winpe id={}", "guard=passed", "phase=winpe done")

    def answers(self, now: float) -> bool:
        return self.agent and now >= self.silent_until

    def silence(self, seconds: float) -> None:
        """The agent does not answer for a while; what runs goes on."""
        self.silent_until = self.pve.clock() + seconds

    def end_runs(self) -> None:
        """Writes down the results of scripts that are done by now."""
        windows = self.windows
        for name, (due, text) in list(self.runs.items()):
            if due <= self.pve.clock():
                del self.runs[name]
                if windows and name in windows.started:
                    windows.results[name] = text

    @property
    def windows(self) -> Installed | None:
        """The Windows that runs, or the one Setup has just made."""
        volume = self._volume(self.vm.config.get(self._device, ""))
        return volume.windows if volume else None

    def disk_in_slot(self, slot: int) -> Volume | None:
        """The disk that Windows finds under a slot's number."""
        return self._volume(self.vm.config.get(f"scsi{slot}", ""))

    def advance(self, now: float) -> None:
        self.end_runs()
        while now >= self._until and not self.off:
            before = self.phase
            self._leave(self._until)
            if self.phase == before:
                break
        if self.phase == "setup":
            part = 1 - (self._until - now) / self.times.setup
            self.vm.read_bytes[self._device] = self._base + int(part * 600 * MIB) + 20 * MIB

    @property
    def _medium(self) -> str:
        """The volid of the CD that Setup runs from."""
        return self.vm.config.get(self._device, "").partition(",")[0]

    def _leave(self, now: float) -> None:
        if self.phase in {"firmware", "prompt"}:
            self._next_device(now)
        elif self.phase == "setup":
            self._apply_image(now)
        elif self.phase == "specialize":
            self._stage("specialized")
            answers = self.windows.answers if self.windows else None
            self._tell(answers, "phase=specialize id={}", "phase=specialize done")
            self._reboot(now)
        elif self.phase in {"first boot", "boot"}:
            self._finish_boot(self.phase)
            self._stage("ready")
            self._enter("ready", float("inf"))
            self.agent = True

    def _next_device(self, now: float) -> None:
        while self._devices:
            self._device = self._devices.pop(0)
            value = self.vm.config.get(self._device, "")
            volume = self._volume(value)
            if volume is None:
                continue
            if volume.kind == "iso":
                self.vm.read_bytes[self._device] = self.vm.read_bytes.get(self._device, 0) + 2 * MIB
                self._enter("prompt", now + self.times.prompt)
                return
            if volume.written:
                self._boot_disk(volume, now)
                return
        self._enter("no bootable device", float("inf"))

    def _boot_disk(self, volume: Volume, now: float) -> None:
        phase, seconds = {
            "applied": ("specialize", self.times.specialize),
            "specialized": ("first boot", self.times.first_boot),
        }.get(volume.stage, ("boot", self.times.boot))
        self._enter(phase, now + seconds)

    def _volume(self, value: str) -> Volume | None:
        return drives.find_volume(self.pve, self.vm.node, value.partition(",")[0])

    def _disks(self) -> list[Volume]:
        named = [key for key in self.vm.drives() if key[:3] in {"ide", "sat", "scs", "vir"}]
        found = [self._volume(self.vm.config[key]) for key in sorted(named)]
        return [volume for volume in found if volume and volume.kind == "images"]

    def _apply_image(self, now: float) -> None:
        # whoever looks only now finds the counter where it has come to
        self.vm.read_bytes[self._device] = self._base + 620 * MIB
        disks = self._disks()
        if not disks:
            self._enter("dialog: no disk", float("inf"))
            return
        for volume in disks:
            volume.wiped = volume.wiped or volume.written
            volume.written = True
        first = next(key for key in boot_devices(self.pve, self.vm.config["boot"]))
        system = self._volume(self.vm.config.get(first, "")) or disks[0]
        system.stage = "applied"
        system.windows = apply_image(
            self._answers(), name=self.vm.config.get("name", ""), medium=self._medium
        )
        self.vm.written_bytes[first] = 9000 * MIB
        self._reboot(now)

    def _answers(self) -> Answers | None:
        """Those of the first CD that has some."""
        for _slot, value in sorted(self.vm.drives().items()):
            volume = self._volume(value)
            content = volume.content if volume and volume.kind == "iso" else None
            found = read_answers(content) if content else None
            if found:
                return found
        return None

    def _tell(self, answers: Answers | None, *texts: str) -> None:
        """Lines of our own commands on COM1, which only those from an answer ISO write."""
        if answers and "serial0" in self.vm.config:
            for text in texts:
                self.write_serial(f"winseed: {text.format(answers.fingerprint)}\r\n")

    def _finish_boot(self, phase: str) -> None:
        windows = self.windows
        if windows is None:
            return
        windows.restart()
        if phase == "first boot":
            finish_first_boot(windows)
            failed = ",".join(windows.failed_steps)
            done = f"phase=done ok={not failed} failed={failed}"
            self._tell(windows.answers, "phase=first-boot id={}", done)

    def _stage(self, stage: str) -> None:
        volume = self._volume(self.vm.config.get(self._device, ""))
        if volume:
            volume.stage = stage

    def _reboot(self, now: float) -> None:
        if self.vm.config.get("reboot") == "0":
            self.off = True
            return
        self.power_on(now)

    def shut_down(self) -> bool:
        return self.agent

    def query(self, command: str) -> Any:
        if command == "get-osinfo":
            build = str(self.windows.build) if self.windows else "20348"
            return {"id": "mswindows", "name": "Microsoft Windows", "kernel-release": build}
        if command == "get-host-name":
            name = self.windows.computer_name if self.windows else ""
            return {"host-name": name or self.vm.config.get("name", "").upper()}
        if command == "network-get-interfaces":
            cards = sorted(key for key in self.vm.config if key.startswith("net"))
            return [self._card(number, self.vm.config[key]) for number, key in enumerate(cards)]
        return super().query(command)

    def _card(self, number: int, text: str) -> dict[str, Any]:
        mac = text.partition("=")[2].partition(",")[0].lower()
        address = {"ip-address-type": "ipv4", "ip-address": f"10.0.0.{number + 5}", "prefix": 24}
        title = f"Ethernet {number}" if number else "Ethernet"
        return {"name": title, "hardware-address": mac, "ip-addresses": [address]}

    def read_file(self, path: str) -> bytes:
        files = self.windows.files if self.windows else {}
        return files[path] if path in files else super().read_file(path)

    def execute(self, command: list[str], stdin: bytes) -> Finished:
        if command[0] != "powershell.exe":
            return super().execute(command, stdin)
        return powershell.execute(self, command, stdin)
