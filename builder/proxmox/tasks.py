"""Tasks: the work that Proxmox VE does on its own after a call, named by a UPID.

Forms: proxmox/pve-common at f665029, src/PVE/Tools.pm `upid_decode`, `upid_normalize_status_type`;
pve-manager at 14a22df, PVE/API2/Tasks.pm.
"""

import re
from typing import Any

from builder.proxmox.api import Api
from builder.proxmox.failures import PveError, Trouble
from builder.record import record

UPID = re.compile(
    r"UPID:(?P<node>[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):[0-9A-Fa-f]{8}:[0-9A-Fa-f]{8,9}"
    r":(?P<start>[0-9A-Fa-f]{8}):(?P<kind>[^:\s]+):(?P<id>[^:\s]*):(?P<user>[^:\s]+):"
)
_WARNINGS = re.compile(r"WARNINGS: (\d+)")
LOG_LINES = 200
_CHANGING = ("qm", "resize", "move_disk", "hastart", "hastop")


@record
class Upid:
    """The name of a task; `node` is where it runs, which may not be where it was asked for.

    `about` is the VMID or the storage it works on.
    """

    text: str
    node: str
    kind: str
    about: str = ""

    def __str__(self) -> str:
        return self.text


@record
class Running:
    """A task that is not done."""

    upid: Upid


@record
class Succeeded:
    """A task that did its work; `warnings` stand in its log."""

    upid: Upid
    warnings: int


@record
class Failed:
    """A task that did not; `reason` is its exit status."""

    upid: Upid
    reason: str


Task = Running | Succeeded | Failed


def load_upid(answer: Any) -> Upid:
    """A UPID as calls return it; ValueError for anything else."""
    match = UPID.fullmatch(str(answer))
    if match is None:
        raise ValueError(f"no UPID: {answer!r}")
    return Upid(text=match[0], node=match["node"], kind=match["kind"], about=match["id"])


def load_upid_or_none(answer: Any) -> Upid | None:
    """For calls that return null when they were done at once."""
    return None if answer is None else load_upid(answer)


def inspect_task(api: Api, upid: Upid) -> Task:
    """How a task stands, asked of the node that its UPID names. Raises PveError."""

    def load(answer: Any) -> Task:
        if answer["status"] == "running":
            return Running(upid=upid)
        return load_exit(upid, str(answer.get("exitstatus") or "unexpected status"))

    return api.get(("nodes", upid.node, "tasks", upid.text, "status"), load)


def load_exit(upid: Upid, status: str) -> Task:
    """The end of a task: `OK` and `WARNINGS: n` are both a success (Tools.pm)."""
    if status == "OK":
        return Succeeded(upid=upid, warnings=0)
    warnings = _WARNINGS.fullmatch(status)
    if warnings:
        return Succeeded(upid=upid, warnings=int(warnings[1]))
    return Failed(upid=upid, reason=status)


def inspect_task_log(api: Api, upid: Upid) -> tuple[str, ...]:
    """The last lines that a task has written. Raises PveError."""

    def load(answer: Any) -> tuple[str, ...]:
        return tuple(str(row.get("t") or "") for row in answer)

    # limit=0 gives all (Tasks.pm, read_task_log); logs of our tasks are short
    lines = api.get(("nodes", upid.node, "tasks", upid.text, "log"), load, limit=0)
    return lines[-LOG_LINES:]


def inspect_recent_tasks(api: Api, kind: str) -> tuple[tuple[Upid, Task], ...]:
    """The tasks of `kind` in the cluster's list, the latest some 25 of each node.

    Without Sys.Audit they are those of the token alone (PVE/API2/Cluster.pm, tasks).
    """

    def load(answer: Any) -> tuple[tuple[Upid, Task], ...]:
        found = []
        for row in answer:
            if row.get("type") != kind:
                continue
            upid = load_upid(row["upid"])
            ended = row.get("endtime") or row.get("status")
            task = load_exit(upid, str(row.get("status"))) if ended else Running(upid=upid)
            found.append((upid, task))
        return tuple(found)

    return api.get(("cluster", "tasks"), load)


def inspect_active_tasks(api: Api, node: str, vmid: int) -> tuple[Upid, ...]:
    """The tasks that change a VM right now, on its node; consoles do not count.

    Without Sys.Audit on the node they are those of the token alone (PVE/API2/Tasks.pm).
    """

    def load(answer: Any) -> tuple[Upid, ...]:
        # what has ended stays in the active list for a while, with its status
        rows = [row for row in answer if not (row.get("endtime") or row.get("status"))]
        found = (load_upid(row["upid"]) for row in rows)
        return tuple(upid for upid in found if upid.kind.startswith(_CHANGING))

    return api.get(("nodes", node, "tasks"), load, source="active", vmid=vmid)


def wait_for_quiet(api: Api, node: str, vmid: int, *, timeout: float = 600.0) -> None:
    """Wait until no task changes the VM any more. Raises PveError (UNKNOWN) when one goes on."""
    end = api.clock.now() + timeout
    while active := inspect_active_tasks(api, node, vmid):
        if api.clock.now() >= end:
            raise PveError(
                f"task {active[0].kind} of VM {vmid} on {node} still runs after {timeout:.0f} s",
                trouble=Trouble.UNKNOWN,
                hint=f"its log: `pvenode task log {active[0]}` on {node}",
            )
        api.clock.pause(1 + api.clock.jitter())


def wait_for_task(api: Api, upid: Upid, *, timeout: float) -> Succeeded:
    """Wait until a task has done its work, at most `timeout` seconds.

    Raises PveError: TASK with its exit status and the end of its log, UNKNOWN when it still runs.
    """
    clock = api.clock
    end, pause = clock.now() + timeout, 0.25
    while True:
        task = inspect_task(api, upid)
        match task:
            case Succeeded():
                return task
            case Failed():
                raise _failure(api, task)
            case Running():
                pass
        if clock.now() >= end:
            raise PveError(
                f"task {upid.kind} on {upid.node} still runs after {timeout:.0f} s",
                trouble=Trouble.UNKNOWN,
                hint=f"its log: `pvenode task log {upid}` on {upid.node}",
            )
        clock.pause(pause * (1 + api.clock.jitter() / 4))
        pause = min(pause * 1.5, 2.0)


def _failure(api: Api, task: Failed) -> PveError:
    try:
        log = [line for line in inspect_task_log(api, task.upid) if line.strip()][-4:]
    except PveError:
        log = []
    tail = [line for line in log if task.reason not in line]
    told = f"; its log ends: {' / '.join(tail)}" if tail else ""
    return PveError(
        f"task {task.upid.kind} on {task.upid.node} failed: {task.reason}{told[:500]}",
        trouble=Trouble.TASK,
        hint=f"its log: `pvenode task log {task.upid}` on {task.upid.node}",
    )
