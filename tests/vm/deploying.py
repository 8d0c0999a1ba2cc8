"""`winseed deploy` and `reinstall` as `tests.pve.deploying` drives them, on VMs that truly run."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.install.events import Event, EventKind
from builder.install.fleet import HostResult
from builder.media import signer
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, make_connection
from tests.command import trusting_anchors
from tests.pve.conftest import rights
from tests.pve.deploying import SPEC, Site
from tests.vm.lab import ARTIFACTS, Lab
from tests.vm.pve_guest import HostVm, QemuCluster

RELEASE = "9.2"
VMID = 100
CDS = ("ide2", "ide0", "sata0")
ACCOUNTS = "/mnt/windows/Windows/System32/config/standin-accounts.json"
MEMORY = 1536
MAC = "BC:24:11:00:00:01"
HOST = SPEC + f"machine = {{{{ vmid = {VMID}, memory_mib = {MEMORY} }}}}\n"
HOST += f'\n[[host.nic]]\nmac = "{MAC}"\n'
HOST += '\n[[host.data_disk]]\nletter = "D"\nsize_gib = 10\nslot = 1\n'
ANSWER_SECONDS = 240.0  # a shutdown is one call of the fake, and takes as long as the guest
# seconds of the run for each real one: emulated firmware is slow, and between two looks at a guest
# that is done there is nothing to wait for
RATES = {"power-on": 0.2, "prompt": 0.2, "first-boot": 8.0, "agent": 8.0}
RATE = 3.0


class Pace:
    """A clock for run and cluster: slower than real time at the prompt, faster afterwards.

    A pause is never longer than it was asked for, so keys come as often as on a real host.
    """

    def __init__(self) -> None:
        self.rate = 1.0
        self._guard = threading.Lock()
        self._now, self._real = 1000.0, time.monotonic()

    def __call__(self) -> float:
        with self._guard:
            real = time.monotonic()
            self._now += (real - self._real) * self.rate
            self._real = real
            return self._now

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, seconds / self.rate))


class Told(list[Event]):
    """Events; each new stage sets the pace and is photographed."""

    def __init__(self, pace: Pace, picture: Callable[[str], None]) -> None:
        super().__init__()
        self.pace, self.picture = pace, picture
        self.stage = ""

    def append(self, event: Event) -> None:
        super().append(event)
        self.pace()
        self.pace.rate = RATES.get(event.phase, RATE)
        if event.phase != self.stage or event.kind is EventKind.NOTE:
            self.stage = event.phase
            self.picture(f"{len(self):03}-{event.phase.replace(' ', '-')}")


class VmSite(Site):
    """A site on a cluster of QEMU processes, with COM1 read through the API."""

    def __init__(self, pve: QemuCluster, lab: Lab, windows: Path, folder: Path, pace: Pace) -> None:
        token = pve.token("installer@pve", rights(RELEASE) | {"Datastore.Allocate"})
        discs = {"windows-2022-volume": windows, "virtio": lab.disc("virtio")}
        super().__init__(pve, token, discs, folder, HOST, clock=pace, serial=True)
        self.events = Told(pace, pve.picture)

    def api(self) -> Api:
        connection = make_connection(self.pve.url, self.token, CaFile(path=Path(self.pve.ca_file)))
        clock = Clock(now=self.clock, pause=self.clock.sleep, jitter=self.chance.random)
        return Api(connection, clock, timeout=(5.0, ANSWER_SECONDS))

    @property
    def config(self) -> dict[str, str]:
        """The VM's, without the list of disks that no drive uses."""
        settings = self.pve.vms[VMID].config.items()
        return {key: text for key, text in settings if not key.startswith("unused")}

    @property
    def unused(self) -> list[str]:
        """Volids of detached disks."""
        return [text for key, text in self.pve.vms[VMID].config.items() if key.startswith("unused")]

    @property
    def machine(self) -> HostVm:
        """The QEMU that runs now."""
        return self.pve.machine(VMID)

    @property
    def password(self) -> str:
        """What winseed has drawn last and left for the user."""
        files = (self.folder / "dist/app01").glob("administrator-*.password")
        return max(files, key=lambda path: path.stat().st_mtime).read_text().strip()

    def answer_isos(self) -> list[str]:
        return [volid for volid in self.pve.storages["local"].on("pve1") if "winseed-" in volid]

    def lines(self) -> list[str]:
        """Everything that was told, for a person to read."""
        return [
            f"{one.elapsed:6.0f} {one.kind.value} {one.phase}: {one.text}" for one in self.events
        ]

    def told(self, result: HostResult) -> str:
        """A result and what led to it."""
        error = result.error
        why = [error.what, *map(str, error.problems)] if error else []
        return "\n".join([str(result), *why, *self.lines()[-40:]])


@contextlib.contextmanager
def open_site(lab: Lab, name: str, folder: Path) -> Iterator[VmSite]:
    """A site with its cluster; logs, screens and events go to build/vm/NAME."""
    windows = lab.bootable("2022", "volume")
    isos = {"local:iso/windows.iso": windows, "local:iso/virtio-win.iso": lab.disc("virtio")}
    pace, anchors = Pace(), trusting_anchors()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signer, "known_anchors", lambda: anchors)
        with QemuCluster(lab, name, isos, release=RELEASE, clock=pace) as pve:
            site = VmSite(pve, lab, windows, folder, pace)
            try:
                yield site
            finally:
                (ARTIFACTS / name / "events.txt").write_text("\n".join(site.lines()))


def kept(machine: HostVm) -> str:
    """What the stand-in said in a power-on that is over."""
    return (machine.kept / "standin.log").read_text(errors="replace").replace("\r", "")


def calls_in(log: str) -> list[str]:
    """The scripts that ran in the guest, in order; the marker is asked for any number of times."""
    calls = [line.split()[4] for line in log.splitlines() if "guest call" in line]
    return [name for name in calls if name != "marker"]


def password_in(machine: HostVm) -> str:
    """The Administrator's, as the installed system has it: read beside winseed, by the agent."""
    rows = json.loads(machine.agent.run("cat", ACCOUNTS)["out-data"])
    return str(next(row["password"] for row in rows if row["rid"] == 500))


def on_data_disk(machine: HostVm, command: str) -> Any:
    """A command with the volume of the data disk below /mnt/d."""
    mounted = "mkdir -p /mnt/d && ntfs-3g /dev/sdb1 /mnt/d"
    script = f"{mounted} && {command}; code=$?; umount /mnt/d; sync; exit $code"
    return machine.agent.run("sh", "-c", script)
