"""What watches ask the API: one VM's counters, and what many watches share.

pvedaemon has three workers per node, and every call occupies one of them (proxmox/pve-manager at
14a22df, PVE/Service/pvedaemon.pm:18); one list tells the state of all VMs.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping

from builder.install.phases import Observation
from builder.install.target import Target
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest
from builder.proxmox.failures import PveError
from builder.proxmox.inventory import inspect_guests, inspect_status

MAX_AGE = 10.0  # seconds; pvestatd fills the list every ten seconds itself
AGENT_LIMIT = 2


def inspect_target(target: Target) -> Observation:
    """The VM now: power, lock and counters. Raises PveError."""
    status = inspect_status(target.api, target.node, target.vmid)
    drives = {drive.slot: drive for drive in status.drives}
    cd, disk = drives.get(target.install_cd), drives.get(target.install_disk)
    return Observation(
        at=target.api.clock.now(),
        running=status.running,
        qmp=status.qmp,
        uptime=status.uptime,
        read=cd.read if cd else 0,
        written=disk.written if disk else 0,
        lock=status.lock,
        managed=status.ha_managed,
    )


def find_target(target: Target) -> Target | None:
    """`target` on the node where it is now, None when no VM has its number. Raises PveError."""
    for guest in inspect_guests(target.api):
        if guest.vmid == target.vmid:
            return follow(target, guest)
    return None


def follow(target: Target, guest: Guest) -> Target:
    """`target` on the node of `guest`."""
    if guest.node in {"", target.node}:
        return target
    return dataclasses.replace(target, node=guest.node)


class StatePoll:
    """The VMs of the cluster, asked at most once in `max_age` seconds by all threads together."""

    def __init__(self, api: Api, *, max_age: float = MAX_AGE) -> None:
        self._api, self._max_age = api, max_age
        self._turn = threading.Lock()
        self._asked: float | None = None
        self._guests: Mapping[int, Guest] = {}
        self._error: PveError | None = None

    def find(self, vmid: int) -> Guest | None:
        """The VM as the list has it, or None. Raises PveError, the same one for all that ask."""
        with self._turn:
            now = self._api.clock.now()
            if self._asked is None or now - self._asked >= self._max_age:
                self._ask()
            if self._error is not None:
                # many threads raise it, and each would add its own frames
                raise self._error.with_traceback(None)
            return self._guests.get(vmid)

    def _ask(self) -> None:
        try:
            guests = inspect_guests(self._api)
        except PveError as error:
            # whoever waits meanwhile hears the same instead of asking once more
            self._error = error
        else:
            self._error = None
            self._guests = {guest.vmid: guest for guest in guests if guest.kind == "qemu"}
        self._asked = self._api.clock.now()


class AgentSlots:
    """Turns at guest agents: at most `limit` calls at a time on each node."""

    def __init__(self, *, limit: int = AGENT_LIMIT) -> None:
        self._limit = limit
        self._guard = threading.Lock()
        self._nodes: dict[str, threading.Semaphore] = {}

    @contextlib.contextmanager
    def at(self, node: str) -> Iterator[None]:
        """Wait for a turn at an agent on `node`, and keep it."""
        with self._guard:
            slots = self._nodes.setdefault(node, threading.Semaphore(self._limit))
        with slots:
            yield
