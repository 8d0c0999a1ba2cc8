"""What goes on in a cluster between requests: tasks, guests, the HA manager, programs in guests."""

import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.pve import calls_power
from tests.pve.access import ROOT, Access
from tests.pve.calls import Asked
from tests.pve.console import Session
from tests.pve.faults import Faults
from tests.pve.guest import Finished, Guest, SilentGuest
from tests.pve.schema import load_schema
from tests.pve.state import Died, Node, Storage, Vm
from tests.pve.tasks import Task, TaskList

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

LOCK_SECONDS = 10.0  # AbstractConfig.pm lock_config: how long a call waits for a VM's lock


class Engine:
    """State of a cluster and everything that changes it without a request."""

    def __init__(self, *, release: str, clock: Callable[[], float] = time.monotonic):
        self.release = release
        self.schema = load_schema(release)
        self.clock = clock
        self.access = Access(self.schema.privileges)
        self.access.add_user(ROOT, {}, password=secrets.token_hex(8))
        self.faults = Faults()
        self.tasks = TaskList(clock)
        self.nodes: dict[str, Node] = {}
        self.storages: dict[str, Storage] = {}
        self.vms: dict[int, Vm] = {}
        self.guests: dict[int, Guest] = {}
        self.make_guest: Callable[[Vm], Guest] = SilentGuest
        self.quorate = True
        self.guard = threading.RLock()
        self.delays: Counter[str] = Counter()
        self.roles: dict[str, frozenset[str]] = {}
        self.next_id = (100, 1_000_000)
        self.downloads: dict[str, bytes] = {}  # what lies behind an address
        self.consoles: dict[str, Session] = {}
        self.termproxy_takes_tokens = True  # since qemu-server 8.4.8 and 9.1.8
        self.ha_seconds = 0.0
        self._ha_wanted: dict[int, tuple[float, str]] = {}
        self._programs: dict[tuple[int, int], tuple[float, Finished]] = {}
        self._pids = itertools.count(1000, 4)

    def check_quorum(self) -> None:
        if not self.quorate:
            raise Died("cluster not ready - no quorum?")

    def delay(self, seconds: float, why: str) -> None:
        """Adds up what a real host would have waited."""
        self.delays[why] += int(seconds)

    def fork(
        self,
        asked: Asked,
        kind: str,
        about: str,
        work: Callable[[Task], None],
        *,
        node: str = "",
        storages: frozenset[str] = frozenset(),
    ) -> str:
        """Starts a task; its UPID."""
        return self._start(node or asked.node, kind, about, asked.user, work, storages)

    def _start(
        self,
        node: str,
        kind: str,
        about: str,
        user: str,
        work: Callable[[Task], None],
        storages: frozenset[str] = frozenset(),
    ) -> str:
        task = self.tasks.make(node, kind, about, user, work)
        task.storages = storages
        self.faults.prepare(task)
        return self.tasks.start(task)

    def wait_for(self, upid: str, seconds: int) -> str | None:
        """None when a task ends in that time, else its UPID; Died when it failed."""
        task = self.tasks.get(upid)
        if task.ends - self.clock() <= seconds:
            self.tasks.finish(task)
        if task.exitstatus is None:
            return upid
        if task.exitstatus != "OK" and not task.exitstatus.startswith("WARNINGS"):
            raise Died(task.exitstatus)
        return None

    def run_locked(self, vm: Vm, work: Callable[[Task], None]) -> None:
        """Runs a change at once, behind the task that holds the VM's lock."""
        holder = self.tasks.of_vm(vm.vmid)
        if holder is not None:
            left = holder.ends - self.clock()
            if left > LOCK_SECONDS:
                self.delay(LOCK_SECONDS, "lock")
                path = f"/var/lock/qemu-server/lock-{vm.vmid}.conf"
                raise Died(f"can't lock file '{path}' - got timeout")
            self.delay(left, "lock")
            self.tasks.finish(holder)
        work(self.tasks.make(vm.node, "none", str(vm.vmid), "", work))

    def advance_tasks(self) -> None:
        """Finishes what is due; the HA manager and the guests move on too."""
        self.tasks.run_due()
        now = self.clock()
        for vmid, (due, state) in list(self._ha_wanted.items()):
            if due <= now and self.quorate:
                del self._ha_wanted[vmid]
                self._obey_ha(self.vms[vmid], state)
        for vmid, guest in list(self.guests.items()):
            guest.advance(now)
            if guest.off:
                self.stop_from_inside(self.vms[vmid])

    def request_ha(self, vm: Vm, state: str) -> None:
        """Records a wish; the local resource manager acts on it after `ha_seconds`."""
        vm.ha_state = state
        self._ha_wanted[vm.vmid] = (self.clock() + self.ha_seconds, state)

    def _obey_ha(self: "Engine", vm: Vm, state: str) -> None:
        pve: FakeCluster = self  # type: ignore[assignment]
        if state == "started" and not vm.running:
            self._start(
                vm.node,
                "qmstart",
                str(vm.vmid),
                ROOT,
                lambda task: calls_power.start_vm(pve, vm, task),
            )
        elif state in {"stopped", "disabled"} and vm.running:
            self._start(
                vm.node,
                "qmshutdown",
                str(vm.vmid),
                ROOT,
                lambda _: calls_power.cleanup_after_stop(pve, vm),
            )

    def stop_from_inside(self, vm: Vm) -> None:
        """The guest switched itself off: pending changes wait for the next start."""
        calls_power.power_off(self, vm)  # type: ignore[arg-type]

    def remember_exec(self, vm: Vm, finished: Finished) -> int:
        """Keeps a program's end for exec-status; its process number."""
        pid = next(self._pids)
        self._programs[vm.vmid, pid] = (self.clock() + finished.seconds, finished)
        return pid

    def forget_programs(self, vm: Vm) -> None:
        """Windows starts anew: no program of before is left, and the agent knows none."""
        for key in [key for key in self._programs if key[0] == vm.vmid]:
            del self._programs[key]

    def collect_exec(self, vm: Vm, pid: int) -> Finished | None:
        """The end of a program, once: the agent forgets it then. None while it runs."""
        found = self._programs.get((vm.vmid, pid))
        if found is None or found[1].collected:
            raise Died("Agent error: Invalid parameter 'pid'")
        due, finished = found
        if due > self.clock():
            return None
        self._programs[vm.vmid, pid] = (due, Finished(collected=True))
        return finished

    def volumes_of(self, vm: Vm, *, every: bool) -> list[str]:
        """Images that go with a VM: those it names, or `every` one that bears its number."""
        named = {value.partition(",")[0] for value in vm.named()}
        found = []
        for storage in self.storages.values():
            for volid, volume in storage.on(vm.node).items():
                if volume.kind == "images" and volume.vmid == vm.vmid and (every or volid in named):
                    found.append(volid)
        return sorted(found)
