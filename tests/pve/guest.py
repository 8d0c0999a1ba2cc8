"""What runs inside a VM, as far as the host sees it."""

import queue
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Stop
from typing import Any

from tests.pve.state import Died, Vm


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end of a program in the guest; streams as bytes of the guest's code page."""

    exitcode: int = 0
    out: bytes = b""
    err: bytes = b""
    seconds: float = 0.0
    collected: bool = False


class Guest:
    """A guest: override what a test needs. Called with the cluster's guard held."""

    def __init__(self, vm: Vm):
        self.vm = vm
        self.agent = False  # whether the agent answers
        self.listeners: list[queue.Queue[bytes]] = []  # the first hears, the others wait
        self.viewers: list[Stop] = []  # clients of the screen
        self.vnc_password = ""
        self.off = False  # set to switch the VM off from inside

    def power_on(self, now: float) -> None:
        """QEMU has started or was reset."""

    def power_off(self) -> None:
        """QEMU has ended."""

    def answers(self, now: float) -> bool:
        """Whether the agent answers a ping."""
        return self.agent

    def advance(self, now: float) -> None:
        """Time has passed; move counters, reboot, switch off."""

    def press(self, key: str) -> None:
        """A key arrived."""

    def write_serial(self, text: str | bytes) -> None:
        """Puts text on the first serial port, lost when nobody listens."""
        for listener in self.listeners[:1]:
            listener.put(text.encode() if isinstance(text, str) else text)

    def set_vnc_password(self, password: str) -> None:
        """What `qm vncproxy` does when a client has come."""
        self.vnc_password = password

    def socket_of(self, kind: str) -> Path | None:
        """The socket of a real QEMU's `vnc` or `serial` port, if one plays the guest."""
        return None

    def screen(self) -> tuple[int, int, bytes]:
        """Width, height and pixels of four bytes: blue, green, red, nothing."""
        return 64, 48, bytes((0xD4, 0x78, 0x00, 0x00)) * (64 * 48)

    def shut_down(self) -> bool:
        """Whether the guest obeys a request to switch off."""
        return self.agent

    def execute(self, command: list[str], stdin: bytes) -> Finished:
        """Runs a program; Died with the agent's words when it cannot."""
        # GLib quotes the program with U+201C: too wide for a status line, the host answers 596
        text = f"Failed to execute child process \u201c{command[0]}\u201d (No such file)"
        raise Died(f"Agent error: Guest agent command failed, error was '{text}'")

    def read_file(self, path: str) -> bytes:
        raise Died(f"can't open file '{path}': No such file or directory")

    def write_file(self, path: str, content: bytes) -> None:
        raise Died(f"can't open file '{path}': No such file or directory")

    def set_password(self, user: str, password: str) -> None:
        raise Died("Guest agent command failed, error was 'failed to find user'")

    def query(self, command: str) -> Any:
        """The `result` of get-osinfo, get-host-name, network-get-interfaces and so on."""
        raise Died(f"Guest agent command failed, error was 'unsupported command: {command}'")


class SilentGuest(Guest):
    """A VM in which nothing happens."""
