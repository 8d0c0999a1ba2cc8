"""QEMU's monitor: QMP over a socket (QEMU, docs/interop/qmp-spec.rst), and the guest agent's."""

import base64
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any


class MonitorError(Exception):
    """QEMU or the agent says no."""


class Lines:
    """JSON lines over a Unix socket."""

    def __init__(self, path: Path, *, seconds: float) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.buffer = b""
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise

    def send(self, message: object, *, before: bytes = b"") -> None:
        self.socket.sendall(before + json.dumps(message).encode() + b"\n")

    def receive(self) -> bytes:
        while b"\n" not in self.buffer:
            part = self.socket.recv(65536)
            if not part:
                raise MonitorError("the other side has closed the socket")
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def close(self) -> None:
        self.socket.close()


class Monitor:
    """One QMP session; `events` are the names of all that have come so far."""

    def __init__(self, path: Path, *, seconds: float = 20.0) -> None:
        self.lines = Lines(path, seconds=seconds)
        self.events: list[str] = []
        self._lock = threading.Lock()
        try:
            json.loads(self.lines.receive())
            self.execute("qmp_capabilities")
        except (OSError, MonitorError):
            self.lines.close()
            raise

    def execute(self, command: str, **arguments: Any) -> Any:
        """The result of a command, from any thread; MonitorError with QEMU's words."""
        with self._lock:
            self.lines.send({"execute": command, "arguments": arguments})
            while True:
                answer = json.loads(self.lines.receive())
                if "event" in answer:
                    self.events.append(answer["event"])
                elif "error" in answer:
                    raise MonitorError(answer["error"]["desc"])
                else:
                    return answer["return"]

    def human(self, line: str) -> str:
        """A command of the monitor that is for people, as Proxmox VE uses it for sendkey."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def close(self) -> None:
        self.lines.close()


class GuestAgent:
    """The real qemu-guest-agent inside a VM (QEMU, docs/interop/qemu-ga-ref)."""

    def __init__(self, path: Path, *, seconds: float = 5.0) -> None:
        self.path, self.seconds = path, seconds

    def execute(self, command: str, **arguments: Any) -> Any:
        """One command in a session of its own, in step by guest-sync-delimited."""
        lines = Lines(self.path, seconds=self.seconds)
        try:
            token = time.monotonic_ns() & 0xFFFFFFFF
            sync = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
            lines.send(sync, before=b"\xff")
            while json.loads(_after_mark(lines)).get("return") != token:
                continue
            lines.send({"execute": command, "arguments": arguments})
            answer = json.loads(lines.receive())
        finally:
            lines.close()
        if "error" in answer:
            raise MonitorError(answer["error"]["desc"])
        return answer["return"]

    def answers(self) -> bool:
        """Whether somebody is there."""
        try:
            self.execute("guest-ping")
        except (OSError, MonitorError):
            return False
        return True

    def run(self, path: str, *arguments: str, stdin: bytes = b"", seconds: float = 60.0) -> Any:
        """A program: exit code and both streams as `exitcode`, `out-data`, `err-data` in bytes."""
        started = self.execute(
            "guest-exec",
            path=path,
            arg=list(arguments),
            **{"capture-output": True, "input-data": base64.b64encode(stdin).decode()},
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.execute("guest-exec-status", pid=started["pid"])
            if status["exited"]:
                for name in ("out-data", "err-data"):
                    status[name] = base64.b64decode(status.get(name, ""))
                return status
            time.sleep(0.1)
        raise MonitorError(f"{path} has not ended after {seconds:.0f} s")

    def read_file(self, path: str) -> bytes:
        handle = self.execute("guest-file-open", path=path, mode="r")
        try:
            content = b""
            while True:
                part = self.execute("guest-file-read", handle=handle, count=48 << 10)
                content += base64.b64decode(part["buf-b64"])
                if part["eof"]:
                    return content
        finally:
            self.execute("guest-file-close", handle=handle)


def _after_mark(lines: Lines) -> bytes:
    """The line that begins with 0xFF; what stands before it are complaints about our mark."""
    while True:
        line = lines.receive()
        if b"\xff" in line:
            return line.rpartition(b"\xff")[2]
