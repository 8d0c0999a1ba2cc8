"""What runs inside a VM, as far as the host sees it."""

from dataclasses import dataclass
from typing import Any

from tests.pve.state import Died, Vm


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The end of a program in the guest; streams as bytes of the guest's code page."""

    exitcode: int = 0
    out: bytes = b""
    err: bytes = b""


class Guest:
    """A guest: override what a test needs. Called with the cluster's guard held."""

    def __init__(self, vm: Vm):
        self.vm = vm
        self.agent = False

    def power_on(self, now: float) -> None:
        """QEMU has started or was reset."""

    def advance(self, now: float) -> None:
        """Time has passed; move counters, reboot, switch off."""

    def press(self, key: str) -> None:
        """A key arrived."""

    def shut_down(self) -> bool:
        """Whether the guest obeys a request to switch off."""
        return self.agent

    def execute(self, command: list[str], stdin: bytes) -> Finished:
        """Runs a program; Died with the agent's words when it cannot."""
        raise Died("Guest agent command failed, error was 'Failed to execute child process'")

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
