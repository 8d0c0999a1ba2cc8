"""The guest agent of a running VM, one call each. All raise PveError.

Each call makes the node ping the agent first, which costs one of its three daemons up to 3 s when
nobody answers: ask seldom, and not before the agent is due. Calls: proxmox/qemu-server at e6352be,
src/PVE/API2/Qemu/Agent.pm. Its JSON carries Latin-1 only: send ASCII.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from builder.proxmox.api import Api, Value
from builder.proxmox.failures import PveError, Trouble
from builder.record import record
from builder.values import Secret

STDIN_LIMIT = 65536  # characters of `input-data` (Agent.pm, exec)


@record
class GuestAgent:
    """The agent of one VM: what a conversation with its Windows goes through.

    `turn` is entered for each call: where many VMs are asked, it bounds the calls to a node.
    """

    api: Api
    node: str
    vmid: int
    turn: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext


@record
class GuestSystem:
    """Windows as the agent tells it; `build` as `26100`, "" where it does not say."""

    name: str
    build: str


@record
class CommandResult:
    """The end of a program. `out` and `err` are the guest's bytes, one character each (Latin-1).

    `exitcode` is None when a signal ended it; `complete` is False when output was cut.
    """

    exitcode: int | None
    out: str
    err: str
    complete: bool


@record
class GuestFile:
    """The first bytes of a file in the guest; `complete` when there are no more."""

    content: bytes
    complete: bool


@record
class GuestInterface:
    """A card as Windows sees it: `mac` as `BC:24:11:00:00:01` or "", addresses as `10.0.0.5/24`."""

    name: str
    mac: str
    addresses: tuple[str, ...]


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


def take_result(api: Api, node: str, vmid: int, pid: int) -> CommandResult | None:
    """The end of a program, None while it runs. The agent tells it once and forgets it.

    So it is never asked twice for one answer: UNKNOWN means that the result is lost. A number that
    the agent does not know (told already, or Windows restarted) is REFUSED, "Invalid parameter".
    """

    def load(answer: Any) -> CommandResult | None:
        if not int(answer["exited"]):
            return None
        code = answer.get("exitcode")
        cut = [answer.get(name) for name in ("out-truncated", "err-truncated")]
        return CommandResult(
            exitcode=None if code is None else int(code),
            out=str(answer.get("out-data") or ""),
            err=str(answer.get("err-data") or ""),
            complete=not any(int(flag or 0) for flag in cut),
        )

    return api.change("GET", (*_agent(node, vmid), "exec-status"), {"pid": pid}, load)


def read_file(api: Api, node: str, vmid: int, path: str) -> GuestFile:
    """The first 16 MiB of a file; REFUSED when there is none. On 9 it needs FileRead as well."""

    def load(answer: Any) -> GuestFile:
        content = str(answer["content"]).encode("latin-1")
        return GuestFile(content=content, complete=not int(answer.get("truncated") or 0))

    return api.get((*_agent(node, vmid), "file-read"), load, file=path)


def inspect_system(api: Api, node: str, vmid: int) -> GuestSystem:
    """Name and build of the Windows that runs."""

    def load(answer: Any) -> GuestSystem:
        told = answer["result"]
        name = str(told.get("pretty-name") or "")
        return GuestSystem(name=name, build=str(told.get("kernel-release") or ""))

    return api.get((*_agent(node, vmid), "get-osinfo"), load)


def inspect_host_name(api: Api, node: str, vmid: int) -> str:
    """The computer name as the agent tells it."""
    return api.get(
        (*_agent(node, vmid), "get-host-name"), lambda answer: str(answer["result"]["host-name"])
    )


def inspect_interfaces(api: Api, node: str, vmid: int) -> tuple[GuestInterface, ...]:
    """The cards of the guest with their addresses."""

    def load(answer: Any) -> tuple[GuestInterface, ...]:
        return tuple(
            GuestInterface(
                name=str(row.get("name") or ""),
                mac=str(row.get("hardware-address") or "").upper().replace("-", ":"),
                addresses=tuple(
                    f"{address['ip-address']}/{int(address['prefix'])}"
                    for address in row.get("ip-addresses") or ()
                ),
            )
            for row in answer["result"]
        )

    return api.get((*_agent(node, vmid), "network-get-interfaces"), load)


def _agent(node: str, vmid: int) -> tuple[str | int, ...]:
    return ("nodes", node, "qemu", vmid, "agent")
