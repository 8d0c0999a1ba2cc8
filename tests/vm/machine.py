"""One VM: a configuration of Proxmox VE that runs as a real QEMU process.

What a host does to a VM is here: power, keys, read counters, screen, serial port, agent, and the
discs in its drives. No root, no network. A fake Proxmox VE server can drive it.
"""

import contextlib
import dataclasses
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.vm.command_line import (
    Places,
    cd_place,
    command_line,
    drive_arguments,
    drives_of,
    firmware_variables,
    is_cd,
    parts_of,
)
from tests.vm.initramfs import plain_kernel
from tests.vm.qmp import GuestAgent, Monitor, MonitorError

SIZES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
PROBE_SECONDS = 20


class VmError(Exception):
    """A VM that did not do what was waited for; the text ends with its last words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DirectKernel:
    """Boot without firmware: kernel, memory disk, command line."""

    kernel: Path
    archive: Path
    # a busy host is late with the first timer ticks, which the kernel would take for a broken board
    arguments: str = "console=ttyS1 loglevel=2 panic=-1 no_timer_check"


@functools.cache
def accelerator() -> str:
    """`kvm` when a kernel truly boots with it, else `tcg`; /dev/kvm alone tells nothing."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder, "vmlinux")
        kernel.write_bytes(plain_kernel())
        command = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "512"]
        command += ["-M", "q35", "-display", "none", "-nodefaults", "-no-reboot"]
        command += ["-serial", "stdio", "-kernel", str(kernel)]
        command += ["-append", "console=ttyS0 panic=-1"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return "tcg"
        # without a root file system a kernel that runs gets as far as this
        return "kvm" if b"VFS: Unable to mount root" in done.stdout else "tcg"


class Vm:
    """A VM in a folder of its own; `volumes` finds the files of volumes, by default in there."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, str],
        *,
        volumes: Callable[[str], Path] | None = None,
        direct: DirectKernel | None = None,
        tell: Mapping[str, str] | None = None,
        restarts: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.config = folder, dict(config)
        self.direct, self.tell, self.restarts = direct, dict(tell or {}), restarts
        # a socket's path must be short (unix(7): 108 bytes)
        self.sockets = Path(tempfile.mkdtemp(prefix="wsvm-"))
        self._volumes = volumes
        self.places = _Places(folder=folder, volume=self.volume, sockets=self.sockets)
        self.agent = GuestAgent(self.places["qga"])
        self.monitor: Monitor | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._tpm: subprocess.Popen[bytes] | None = None

    def volume(self, name: str) -> Path:
        """The file of a volume; a name that is a path is that file."""
        if name.startswith("/"):
            return Path(name)
        if self._volumes is not None:
            return self._volumes(name)
        return self.folder / name.rpartition(":")[2].replace("/", "-")

    # -- power ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Make what is missing of its own files, then power on."""
        self._make_volumes()
        self._start_tpm()
        command = command_line(self.config, self.places, accelerator=accelerator())
        if self.direct is not None:
            command += ["-kernel", str(self.direct.kernel), "-initrd", str(self.direct.archive)]
            command += ["-append", self.direct.arguments]
        for name, text in self._told().items():
            command += ["-fw_cfg", f"name=opt/winseed/{name},string={text.replace(',', ',,')}"]
        if not self.restarts or self.config.get("reboot") == "0":
            command.append("-no-reboot")
        log = (self.folder / "qemu.log").open("ab")
        with log:
            log.write((" ".join(command) + "\n").encode())
            log.flush()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        end = time.monotonic() + 20
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError):
                self.monitor = Monitor(self.places["qmp"])
                return
            time.sleep(0.05)
        raise VmError(f"QEMU did not start: {(self.folder / 'qemu.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Power off at once; the files stay."""
        if self.monitor is not None and self.running:
            with contextlib.suppress(MonitorError, OSError):
                self.monitor.execute("quit")
        for process in (self._process, self._tpm):
            if process is not None:
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        if self.monitor is not None:
            self.monitor.close()
        self.monitor = self._process = self._tpm = None

    def close(self) -> None:
        """Stop, and leave nothing outside of its folder."""
        self.stop()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def reset(self) -> None:
        self._monitor.execute("system_reset")

    def press_power(self) -> None:
        """The power button (ACPI)."""
        self._monitor.execute("system_powerdown")

    @property
    def running(self) -> bool:
        """Whether the process lives and the guest has not switched the VM off."""
        if self._process is None or self._process.poll() is not None:
            return False
        return self.state not in {"shutdown", "postmigrate"}

    @property
    def state(self) -> str:
        """QEMU's word: `running`, `shutdown`, `paused`; `off` without a process."""
        if self._process is None or self._process.poll() is not None or self.monitor is None:
            return "off"
        try:
            return str(self.monitor.execute("query-status")["status"])
        except (OSError, MonitorError):
            return "off"

    # -- what a host sees and does -------------------------------------------------------------

    def send_key(self, key: str) -> None:
        """As `sendkey` of Proxmox VE does it: through the monitor that is for people."""
        answer = self._monitor.human(f"sendkey {key}")
        if answer.strip():
            raise MonitorError(answer.strip())

    def block_counters(self) -> dict[str, dict[str, int]]:
        """Slot -> rd_bytes, wr_bytes and the rest of `blockstat`."""
        found = self._monitor.execute("query-blockstats")
        drives = {f"drive-{slot}": slot for slot in drives_of(self.config)}
        return {
            drives[one["node-name"]]: one["stats"]
            for one in found
            if one.get("node-name") in drives
        }

    def screenshot(self, target: Path) -> Path:
        """What the console shows, as PNG."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self._monitor.execute("screendump", filename=str(target.absolute()), format="png")
        return target

    def change_medium(self, slot: str, volume: str) -> None:
        """Another disc into a CD drive, or `none`, while the VM runs."""
        if volume == "none":
            self._monitor.execute("eject", id=slot, force=True)
        else:
            path = str(self.volume(volume))
            self._monitor.execute(
                "blockdev-change-medium", id=slot, filename=path, force=True, format="raw"
            )
        self.config[slot] = f"{volume},media=cdrom"

    def attach_disk(self, slot: str, value: str) -> None:
        """A disk on scsi or virtio into the running VM, as Proxmox VE plugs one in."""
        self.config[slot] = value
        self._make_volumes()
        for flag, text in drive_arguments(self.config, slot, self.places):
            if flag == "-blockdev":
                self._monitor.execute("blockdev-add", **_nested(text))
            else:
                answer = self._monitor.human(f"{flag[1:]}_add {text}")
                if answer.strip():
                    raise MonitorError(answer.strip())

    def com1(self) -> str:
        """Everything that the guest has written to its first serial port."""
        return _text(self.folder / "com1.log")

    def log(self) -> str:
        """Everything that the stand-in has said; not a thing that a host would see."""
        return _text(self.folder / "standin.log")

    def wait_for(
        self, needle: str | Iterable[str], *, seconds: float, where: str = "log", after: int = 0
    ) -> str:
        """The first line with one of the texts in `log` or `com1`, from an offset on."""
        wanted = (needle,) if isinstance(needle, str) else tuple(needle)
        end = time.monotonic() + seconds
        while True:
            alive = self.running
            text = getattr(self, where)()[after:]
            for line in text.splitlines():
                if any(one in line for one in wanted):
                    return str(line)
            if not alive or time.monotonic() > end:
                why = "the VM is off" if not alive else f"waited {seconds:.0f} s"
                last = "\n".join(self.log().splitlines()[-25:])
                raise VmError(f"{' or '.join(wanted)}: not seen, {why}\n{last}")
            time.sleep(0.2)

    def wait_until_off(self, *, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > end:
                raise VmError(f"still running after {seconds:.0f} s\n{self.log()[-2000:]}")
            time.sleep(0.2)

    # -- its own files -------------------------------------------------------------------------

    @property
    def _monitor(self) -> Monitor:
        if self.monitor is None:
            raise VmError("the VM is off")
        return self.monitor

    def _told(self) -> dict[str, str]:
        """What a test tells the stand-in (fw_cfg): letters by slot become letters by place."""
        told = {name: text for name, text in self.tell.items() if text}
        for name in ("letters", "system-letters"):
            if name in told:
                pairs = (pair.split("=") for pair in told[name].split())
                told[name] = " ".join(f"{cd_place(self.config, s)}={x}" for s, x in pairs)
        return told

    def _make_volumes(self) -> None:
        for parts in drives_of(self.config).values():
            if is_cd(parts):
                continue
            path = self.volume(parts[""])
            if not path.exists():
                size = parts.get("size", "60G")
                with path.open("wb") as stream:
                    stream.truncate(int(size[:-1]) * SIZES[size[-1]])
        if self.config.get("bios") == "ovmf":
            path = self.volume(parts_of(self.config["efidisk0"])[""])
            if not path.exists():
                shutil.copyfile(firmware_variables(self.config), path)

    def _start_tpm(self) -> None:
        if "tpmstate0" not in self.config:
            return
        path = self.volume(parts_of(self.config["tpmstate0"])[""])
        if not path.exists():
            path.mkdir(parents=True)
            options = ["--createek", "--tpm2", "--ecc"]
            command = ["swtpm_setup", "--tpmstate", f"dir://{path}", *options]
            subprocess.run(command, check=True, capture_output=True)
        socket = self.places["swtpm"]
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={path}", "--terminate"]
        command += ["--ctrl", f"type=unixio,path={socket}"]
        self._tpm = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while not socket.exists():
            if self._tpm.poll() is not None:
                raise VmError("swtpm did not start")
            time.sleep(0.02)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Places(Places):
    """Sockets have short paths, files stay with the VM."""

    sockets: Path

    def __getitem__(self, name: str) -> Path:
        return (self.folder if name.endswith(".log") else self.sockets) / name


def _nested(text: str) -> dict[str, Any]:
    """`driver=raw,file.driver=file,read-only=on` as QMP wants it."""
    found: dict[str, Any] = {}
    for part in text.split(","):
        path, _, value = part.partition("=")
        *parents, name = path.split(".")
        at = found
        for parent in parents:
            at = at.setdefault(parent, {})
        at[name] = {"on": True, "off": False}.get(value, value)
    return found


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
