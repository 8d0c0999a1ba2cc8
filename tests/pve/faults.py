"""Faults that a test plants: a call that fails before or after its effect, a worker that dies."""

import threading
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from tests.pve.state import PveError
from tests.pve.tasks import Task

Moment = Literal["before", "after"]


class Dropped(Exception):  # noqa: N818 - an event
    """The connection closes without an answer."""


class Stalled(Exception):  # noqa: N818 - an event
    """No answer comes for so many seconds, then the connection closes."""

    def __init__(self, seconds: float):
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(kw_only=True)
class CallFault:
    """Fails a call. `answer`: `drop`, `stall`, or a status code with its `reason`.

    595, 596 and 599 are what pveproxy says when pvedaemon or another node did not answer it.
    """

    call: str
    moment: Moment = "before"
    answer: int | Literal["drop", "stall"] = "drop"
    reason: str = "Connection timed out"
    seconds: float = 0.2
    skip: int = 0
    times: int = 1
    hits: int = 0

    def strike(self) -> None:
        self.hits += 1
        if self.answer == "drop":
            raise Dropped
        if self.answer == "stall":
            raise Stalled(self.seconds)
        raise PveError(self.answer, self.reason)


@dataclass(kw_only=True)
class TaskFault:
    """Lets a worker die at a checkpoint, `before` or `after` its effect or one in between."""

    kind: str
    at: str = "before"
    status: str = "unexpected status"
    skip: int = 0
    times: int = 1
    hits: int = 0


@dataclass
class Faults:
    """The faults of a cluster; each counts how often it struck."""

    calls: list[CallFault] = field(default_factory=list)
    tasks: list[TaskFault] = field(default_factory=list)
    changes_seen: int = 0
    consoles: dict[str, bytes | Literal["cut", "stall"]] = field(default_factory=dict)
    _at_change: dict[int, CallFault] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, call: str, **how: object) -> CallFault:
        """Plants a fault for calls matching a pattern such as `POST */status/start`."""
        fault = CallFault(call=call, **how)  # type: ignore[arg-type]
        self.calls.append(fault)
        return fault

    def fail_change(self, number: int, **how: object) -> CallFault:
        """Plants a fault for the n-th changing request (POST, PUT, DELETE), from 0."""
        fault = CallFault(call="*", **how)  # type: ignore[arg-type]
        self._at_change[number] = fault
        return fault

    def kill_worker(self, kind: str, **how: object) -> TaskFault:
        """Plants the death of a worker of a kind such as `qmcreate`."""
        fault = TaskFault(kind=kind, **how)  # type: ignore[arg-type]
        self.tasks.append(fault)
        return fault

    def fail_console(self, stage: str, answer: bytes | Literal["cut", "stall"]) -> None:
        """Plants what comes instead at a stage of a console (console.py), until cleared."""
        self.consoles[stage] = answer

    def clear(self) -> None:
        self.calls.clear()
        self.consoles.clear()
        self.tasks.clear()
        self._at_change.clear()

    def choose(self, method: str, path: str) -> CallFault | None:
        """The fault that this request meets, counted now; its moment says when it strikes."""
        with self._guard:
            planted = None
            if method != "GET":
                planted = self._at_change.pop(self.changes_seen, None)
                self.changes_seen += 1
            return planted or _next(
                [f for f in self.calls if fnmatchcase(f"{method} {path}", f.call)]
            )

    def prepare(self, task: Task) -> None:
        """Marks a new task for the death that was planted for it."""
        with self._guard:
            for fault in self.tasks:
                if fault.kind != task.kind or fault.times <= 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                fault.hits += 1
                task.dies_at, task.dies_with = fault.at, fault.status
                return


def _next(candidates: list[CallFault]) -> CallFault | None:
    for fault in candidates:
        if fault.times <= 0:
            continue
        if fault.skip:
            fault.skip -= 1
            continue
        fault.times -= 1
        return fault
    return None
