"""The guest agent of a running VM, one call each. All raise PveError.

Each call makes the node ping the agent first, which costs one of its three daemons up to 3 s when
nobody answers: ask seldom, and not before the agent is due. Calls: proxmox/qemu-server at e6352be,
src/PVE/API2/Qemu/Agent.pm. Its JSON carries Latin-1 only: send ASCII.
"""

import dataclasses
from typing import Any

from builder.proxmox.api import Api, Value
from builder.proxmox.failures import PveError, Trouble
from builder.values import Secret


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestSystem:
    """Windows as the agent tells it; `build` as `26100`, "" where it does not say."""

    name: str
    build: str


def ping_agent(api: Api, node: str, vmid: int) -> bool:
    """Whether the agent answers now; during a restart of Windows it does not."""
    try:
        api.change("POST", (*_agent(node, vmid), "ping"), {}, lambda _answer: None, safe=True)
    except PveError as error:
        if error.trouble in {Trouble.AGENT, Trouble.STOPPED}:
            return False
        raise
    return True


def start_command(
    api: Api, node: str, vmid: int, command: tuple[str, ...], *, stdin: Secret | None = None
) -> int:
    """Start a program and give its number. UNKNOWN: it may run, or there is no such program.

    A program that is not there ends as 596 after 5 s (seen on the real code, 8.4 and 9.2).
    """
    values: dict[str, Value] = {"command": command, "input-data": stdin}
    return api.change(
        "POST", (*_agent(node, vmid), "exec"), values, lambda answer: int(answer["pid"])
    )


def inspect_system(api: Api, node: str, vmid: int) -> GuestSystem:
    """Name and build of the Windows that runs."""

    def load(answer: Any) -> GuestSystem:
        told = answer["result"]
        name = str(told.get("pretty-name") or "")
        return GuestSystem(name=name, build=str(told.get("kernel-release") or ""))

    return api.get((*_agent(node, vmid), "get-osinfo"), load)


def _agent(node: str, vmid: int) -> tuple[str | int, ...]:
    return ("nodes", node, "qemu", vmid, "agent")
