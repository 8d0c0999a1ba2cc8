"""Calls to the guest agent: the ping before each, exec, files, questions (API2/Qemu/Agent.pm)."""

import base64
import binascii
from typing import Any

from tests.pve.calls import Asked, answers
from tests.pve.guest import Guest
from tests.pve.state import Died

BASE = "/nodes/{node}/qemu/{vmid}/agent"
QUESTIONS = [
    *("get-osinfo", "network-get-interfaces", "get-host-name", "get-fsinfo", "get-time"),
    *("get-timezone", "get-users", "info"),
]
NO_AGENT = "QEMU guest agent is not running"


def guest_of(asked: Asked) -> Guest:
    """The guest, once it answered the ping that precedes every call."""
    vm = asked.vm
    enabled = vm.config.get("agent", "0").removeprefix("enabled=").partition(",")[0]
    if "agent" not in vm.config:
        raise Died("No QEMU guest agent configured")
    if not vm.running:
        raise Died(f"VM {vm.vmid} is not running")
    guest = asked.pve.guests[vm.vmid]
    if not guest.answers(asked.pve.clock()) or enabled != "1":
        asked.pve.delay(3, "agent")
        raise Died(NO_AGENT)
    return guest


@answers(f"GET {BASE}")
def commands(asked: Asked) -> Any:
    return [{"name": name} for name in sorted([*QUESTIONS, "ping", "exec", "exec-status"])]


@answers(f"POST {BASE}/ping")
def ping(asked: Asked) -> Any:
    guest_of(asked)
    return {"result": {}}


@answers(f"POST {BASE}")
def generic(asked: Asked) -> Any:
    command = asked.text("command")
    guest = guest_of(asked)
    if command == "ping":
        return {"result": {}}
    return {"result": guest.query(command)}


@answers(*(f"GET {BASE}/{name}" for name in QUESTIONS), f"POST {BASE}/fsfreeze-status")
def question(asked: Asked) -> Any:
    return {"result": guest_of(asked).query(asked.call.rpartition("/")[2])}


@answers(f"POST {BASE}/shutdown")
def shutdown(asked: Asked) -> Any:
    guest = guest_of(asked)
    if guest.shut_down():
        asked.pve.stop_from_inside(asked.vm)
    return {"result": {}}


def _latin(text: str, what: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Died(f"Wide character in subroutine entry ({what})") from None


@answers(f"POST {BASE}/exec")
def execute(asked: Asked) -> Any:
    guest = guest_of(asked)
    command = asked.params["command"]
    argv = [command] if isinstance(command, str) else list(command)
    finished = guest.execute(argv, _latin(asked.text("input-data"), "input-data"))
    return {"pid": asked.pve.remember_exec(asked.vm, finished)}


@answers(f"GET {BASE}/exec-status")
def exec_status(asked: Asked) -> Any:
    guest_of(asked)
    finished = asked.pve.collect_exec(asked.vm, asked.number("pid"))
    if finished is None:
        return {"exited": 0}
    row: dict[str, Any] = {"exited": 1, "exitcode": finished.exitcode}
    if finished.out:
        row["out-data"] = finished.out.decode("latin-1")
    if finished.err:
        row["err-data"] = finished.err.decode("latin-1")
    return row


@answers(f"GET {BASE}/file-read")
def read_file(asked: Asked) -> Any:
    content = guest_of(asked).read_file(asked.text("file"))
    start, count = asked.number("offset"), asked.number("count", 16 * 1024**2)
    part = content[start : start + count]
    row: dict[str, Any] = {"content": part.decode("latin-1"), "bytes-read": len(part)}
    if asked.text("decode", "1") == "0":
        row["content"] = base64.b64encode(part).decode()
    if start + count < len(content):
        row["truncated"] = 1
    return row


@answers(f"POST {BASE}/file-write")
def write_file(asked: Asked) -> Any:
    guest = guest_of(asked)
    content = asked.text("content")
    if asked.text("encode", "1") == "0":
        try:
            written = base64.b64decode(content, validate=True)
        except binascii.Error:
            raise Died("Agent error: Invalid base64 data") from None
    else:
        written = _latin(content, "content")
    guest.write_file(asked.text("file"), written)


@answers(f"POST {BASE}/set-user-password")
def set_password(asked: Asked) -> Any:
    guest = guest_of(asked)
    _latin(asked.text("password"), "password")
    guest.set_password(asked.text("username"), asked.text("password"))
    return {"result": {}}
