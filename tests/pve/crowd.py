"""200 hosts on four nodes in one call, in a process of its own: `python -m tests.pve.crowd`.

Threads share a clock that moves to the next wake-up when all of them wait, so hours take a minute
and nothing depends on how fast this machine is. Prints what was counted as one line of JSON.
"""

import contextlib
import dataclasses
import functools
import gc
import heapq
import json
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from builder.cli import deploy, installing
from builder.cli.main import GC_THRESHOLD
from builder.console import Console
from builder.errors import WinseedError
from builder.install.jobs import Workshop, deploy_host
from builder.install.journal import Kind
from builder.install.opening import open_anew
from builder.install.target import Target
from builder.media import signer
from builder.proxmox import endpoints
from builder.proxmox.checkup import inspect_checkup, refuse_checkup
from builder.proxmox.wanted import make_wanted
from tests.pve.conftest import rights
from tests.pve.deploying import SPEC
from tests.pve.direct import DirectApi, DirectSite, Life, QuietCluster
from tests.pve.state import GIB
from tests.pve.windows import Times, WindowsGuest

NODES = ("pve1", "pve2", "pve3", "pve4")
DIES, BREAKS = "app050", "app120"  # the create of one is refused, the first boot of one fails
QUICK = Times(prompt=20, setup=60, specialize=30, first_boot=20, boot=10)
STRIDE = 2.0  # seconds that all sleep longer, so that many wake at once
TASKS = {"qmcreate": 8.0, "imgcopy": 5.0, "qmstart": 3.0, "qmconfig": 2.0, "imgdel": 1.0}
TOO_EARLY = {"firmware", "prompt", "setup", "specialize"}


class SharedClock:
    """Time for many threads: it moves when each of them waits, for it or for another."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._guard = threading.Lock()
        self._sleepers: list[tuple[float, int, threading.Event]] = []
        self._asleep: set[int] = set()
        threading.Thread(target=self._move, daemon=True).start()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            self.now += seconds  # alone, before the crowd starts
            return
        woken, number = threading.Event(), threading.get_native_id()
        with self._guard:
            heapq.heappush(self._sleepers, (self.now + seconds, number, woken))
            self._asleep.add(number)
        woken.wait()

    def _move(self) -> None:
        before = None
        while True:
            time.sleep(0.001)
            with self._guard:
                awake = [one for one in _workers() if one not in self._asleep]
                stand = [_standing(number) for number in awake]
                still = self._sleepers and stand == before and not any("R" in one for one in stand)
                before = stand
                if not still:
                    continue
                self.now = max(self.now, self._sleepers[0][0]) + STRIDE
                while self._sleepers and self._sleepers[0][0] <= self.now:
                    _, number, woken = heapq.heappop(self._sleepers)
                    self._asleep.discard(number)
                    woken.set()
                before = None


def peak_mib() -> int:
    """The most memory that this process had; ru_maxrss would begin at its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _workers() -> list[int]:
    named = [one for one in threading.enumerate() if one.name.startswith("ThreadPool")]
    return [one.native_id for one in named if one.native_id]


def _standing(number: int) -> str:
    """State of a thread and how often it was scheduled, by the kernel's books."""
    try:
        lines = Path(f"/proc/self/task/{number}/status").read_text().splitlines()
    except OSError:
        return ""
    return " ".join(
        line.split()[1] for line in lines if line.startswith(("State", "volun", "nonv"))
    )


class CountingCluster(QuietCluster):
    """Keeps numbers instead of requests, which would be what takes the memory."""

    def __init__(self, **options):
        super().__init__(**options)
        self.polls: list[float] = []
        self.early: list[str] = []
        self.calls = 0

    def record(self, **seen) -> None:
        with self._counting:
            self.calls += 1
            if seen["path"] == "/cluster/resources":
                self.polls.append(self.clock())

    def watch(self, method, path, node):
        if "/agent" in path:
            vmid = int(path.split("/")[4])
            guest, vm = self.guests.get(vmid), self.vms.get(vmid)
            if guest is not None and vm.starts == 1 and guest.phase in TOO_EARLY:
                self.early.append(f"{vmid} in {guest.phase}")
        return super().watch(method, path, node)


class Crowded(WindowsGuest):
    def _finish_boot(self, phase):
        if self.windows and phase == "first boot" and self.vm.config["name"] == BREAKS:
            self.windows.failed_steps = ["settings"]
        super()._finish_boot(phase)


def make_spec(hosts: int) -> str:
    head = SPEC.partition("[[host]]")[0]
    rows = (
        f'[[host]]\nname = "app{n:03}"\nmachine = {{{{ node = "{NODES[n % 4]}" }}}}\n'
        for n in range(hosts)
    )
    return head + "\n".join(rows)


def main(windows: str, virtio: str, anchor: str, folder: str, hosts: int, workers: int) -> None:
    gc.set_threshold(GC_THRESHOLD, 20, 20)  # as `main` does
    known = signer.known_anchors()
    anchors = dataclasses.replace(known, microsoft=known.microsoft | {anchor})
    signer.known_anchors = lambda: anchors
    clock = SharedClock()
    pve = CountingCluster(release="9.2", nodes=NODES, clock=clock)
    pve.__enter__()
    pve.make_guest = lambda vm: Crowded(vm, pve, QUICK)
    pve.tasks.seconds.update(TASKS)
    for node in pve.nodes.values():
        node.memory, node.cpus = 1024 * GIB, 256
    pve.storages["local-lvm"].total = 100_000 * GIB
    discs = {"windows-2022-volume": Path(windows), "virtio": Path(virtio)}
    token = pve.token("installer@pve", rights("9.2") | {"Datastore.Allocate"})
    site = DirectSite(pve, token, discs, Path(folder), make_spec(hosts), clock=clock)
    endpoints.Api = lambda connection, own: DirectApi(pve, Life(), connection, own)
    relay = installing.Relay()
    shop = _shop(site, relay)
    jobs = list(_jobs(site, shop))
    started, began = time.monotonic(), clock.now
    code = None
    try:
        installing.run_jobs(
            click.Context(deploy.command),
            jobs,
            relay=relay,
            workers=workers,
            stop=threading.Event(),
            as_json=False,
            console=Console(stream=sys.stderr),
        )
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    counted = {
        "code": code,
        "seconds": round(time.monotonic() - started, 1),
        "virtual": round(clock.now - began),
        "mib": peak_mib(),
        "calls": pve.calls,
        "polls": len([moment for moment in pve.polls if moment > began]),
        "early": pve.early,
        "agent": {node: pve.peak.get(("agent", node), 0) for node in NODES},
        "upload": {node: pve.tasks.peak.get(("imgcopy", node), 0) for node in NODES},
        "create": pve.tasks.peak.get(("qmcreate", "local-lvm"), 0),
        "running": Counter(vm.node for vm in pve.vms.values()),
        "isos": [
            volid
            for node in NODES
            for volid in pve.storages["local"].on(node)
            if "winseed-" in volid
        ],
        "twice": [vm.vmid for vm in pve.vms.values() if vm.starts > 2],
    }
    print(json.dumps(counted))


def _shop(site: DirectSite, relay: installing.Relay) -> Workshop:
    shop = site.shop()
    return Workshop(
        api=shop.api,
        limits=shop.limits,
        witness=dataclasses.replace(
            shop.witness, emit=relay, serial=functools.partial(_hear, site.pve)
        ),
    )


@contextlib.contextmanager
def _hear(pve: QuietCluster, target: Target) -> Iterator[Callable[[], tuple[str, ...]]]:
    """COM1 of a VM, as its guest speaks."""
    heard: queue.Queue[bytes] = queue.Queue()
    pve.guests[target.vmid].listeners.append(heard)

    def lines() -> tuple[str, ...]:
        return tuple(heard.get().decode().strip() for _ in range(heard.qsize()))

    yield lines


def _jobs(site: DirectSite, shop: Workshop):
    cases = [site.case(host.name) for host in site.site.hosts]
    sizes = installing.sizes_of(site.site.hosts)
    wanted = [make_wanted(one.host, one.proxmox, site=one.site, sizes=sizes) for one in cases]
    checkup = inspect_checkup(shop.api, wanted)
    entropy = site.entropy()
    for case, found in zip(cases, checkup.hosts, strict=True):
        refuse_checkup(checkup, found)
        opened = open_anew(case, found, entropy, kind=Kind.DEPLOY)
        if case.host.name == DIES:
            pve = site.pve
            make = pve.tasks.make

            def refuse(node, kind, about, user, work, *, vmid=str(found.vmid), make=make):
                task = make(node, kind, about, user, work)
                if kind == "qmcreate" and about == vmid:
                    task.dies_at = "before"
                return task

            pve.tasks.make = refuse
        yield functools.partial(deploy_host, shop, case, opened)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:5], int(sys.argv[5]), int(sys.argv[6]))
    except WinseedError as error:
        sys.exit(f"{error.what} {error.problems}")
