"""Tasks: UPID, log, exit status; work that is done at once or when its time has passed.

`OK`, `WARNINGS: n` and anything else as in PVE::RPCEnvironment::fork_worker; a worker that died
leaves `unexpected status`, with whatever it had done until then.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.pve.state import Died, PveError

UPID = re.compile(
    r"UPID:([a-zA-Z0-9][a-zA-Z0-9-]*):([0-9A-F]{8}):([0-9A-F]{8,9}):([0-9A-F]{8}):"
    r"([^:\s]+):([^:\s]*):([^:\s]+):"
)


class WorkerDied(Exception):  # noqa: N818 - an event
    """The worker process was killed at this point; nothing after it happens."""


@dataclass(kw_only=True)
class Task:
    """A task; `storages` are those that it allocates on, for counting."""

    upid: str
    node: str
    kind: str
    about: str
    user: str
    started: float
    ends: float
    work: Callable[["Task"], None]
    storages: frozenset[str] = frozenset()
    log: list[str] = field(default_factory=list)
    warnings: int = 0
    exitstatus: str | None = None
    dies_at: str | None = None
    dies_with: str = "unexpected status"

    def say(self, line: str) -> None:
        self.log.append(line)

    def warn(self, line: str) -> None:
        self.log.append(f"WARN: {line}")
        self.warnings += 1

    def checkpoint(self, name: str) -> None:
        """A point between two effects, where a test may let the worker die."""
        if self.dies_at == name:
            raise WorkerDied

    def run(self) -> None:
        try:
            self.checkpoint("before")
            self.work(self)
            self.checkpoint("after")
        except WorkerDied:
            self.exitstatus = self.dies_with
            return
        except (Died, PveError) as error:
            self.exitstatus = error.reason
            self.log.append(f"TASK ERROR: {error.reason}")
            return
        if self.warnings:
            self.exitstatus = f"WARNINGS: {self.warnings}"
            self.log.append(f"TASK WARNINGS: {self.warnings}")
        else:
            self.exitstatus = "OK"
            self.log.append("TASK OK")


def _places(task: Task) -> set[str]:
    """Its node, its storages, and their names whatever the node."""
    names = {storage.rpartition(":")[2] for storage in task.storages}
    return {task.node, *task.storages, *names}


class TaskList:
    """Tasks of all nodes, by UPID, in the order of their start."""

    def __init__(self, clock: Callable[[], float]):
        self._clock = clock
        self._by_upid: dict[str, Task] = {}
        self._open: dict[str, Task] = {}
        self.seconds: dict[str, float] = {}
        self.peak: dict[tuple[str, str], int] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._by_upid.values()))

    def start(self, task: Task) -> str:
        """Registers the task and runs it when it takes no time."""
        self._by_upid[task.upid] = self._open[task.upid] = task
        self._count(task)
        if task.ends <= task.started:
            self.finish(task)
        return task.upid

    def finish(self, task: Task) -> None:
        """Runs a task's work now, unless it was stopped before."""
        if self._open.pop(task.upid, None) and task.exitstatus is None:
            task.run()
            task.work = lambda _task: None  # what it held is not needed any more

    def make(
        self, node: str, kind: str, about: str, user: str, work: Callable[[Task], None]
    ) -> Task:
        now = self._clock()
        number = len(self._by_upid) + 1
        stamp = 0x67000000 + int(now)
        upid = f"UPID:{node}:{number:08X}:{number + 4096:08X}:{stamp:08X}:{kind}:{about}:{user}:"
        ends = now + self.seconds.get(kind, 0.0)
        return Task(
            upid=upid,
            node=node,
            kind=kind,
            about=about,
            user=user,
            started=now,
            ends=ends,
            work=work,
        )

    def _count(self, task: Task) -> None:
        running = [other for other in self._open.values() if other.kind == task.kind]
        for place in _places(task):
            here = sum(1 for other in running if place in _places(other))
            key = (task.kind, place)
            self.peak[key] = max(self.peak.get(key, 0), here)

    def run_due(self) -> None:
        """Finishes the tasks whose time has come, oldest first."""
        now = self._clock()
        due = [task for task in self._open.values() if task.ends <= now]
        for task in sorted(due, key=lambda task: task.ends):
            self.finish(task)

    def of_vm(self, vmid: int) -> Task | None:
        """The task that holds a VM's lock now."""
        return next((t for t in self._open.values() if t.about == str(vmid)), None)

    def get(self, upid: str) -> Task:
        return self._by_upid[upid]

    def find(self, upid: str, node: str) -> Task:
        """400 as the API answers for a task that the node does not know."""
        task = self._by_upid.get(upid)
        if task is None or task.node != node:
            raise PveError(400, "Parameter verification failed.", {"upid": "no such task"})
        return task
