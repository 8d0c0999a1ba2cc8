"""One run on one host: what it may use, and what it remembers."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from builder.install.journal import Journal, RunState
from builder.install.order import Order
from builder.install.poll import AgentSlots
from builder.proxmox.agent import GuestAgent
from builder.proxmox.api import Api
from builder.proxmox.connection import Clock
from builder.proxmox.facts import VmConfig
from builder.proxmox.inventory import inspect_config
from builder.record import record

# pveproxy and pvedaemon have three workers each (PVE/Service/pveproxy.pm:32, pvedaemon.pm:18); a
# create takes the allocation lock of its storage three times, and waits 10 s for it (pve-storage)
CREATES = 4  # at a time on one storage
UPLOADS = 2  # at a time to one node
INSTALLS = 6  # at a time on one node: they all read the same ISO storage (a guess, FT25)


class Limits:
    """How much is done at a time, by place; shared by all runs of one call.

    `agents`: turns at guest agents, for the watch as well as for what comes after it.
    """

    def __init__(self, installs: int = INSTALLS) -> None:
        self.agents = AgentSlots()
        self._sizes = {
            "create": CREATES,
            "upload": UPLOADS,
            "install": installs,
        }
        self._gates: dict[tuple[str, str], threading.BoundedSemaphore] = {}
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def at_a_time(self, what: str, place: str) -> Iterator[None]:
        """Wait for a turn: `create` on a storage; `upload` or `install` on a node."""
        with self.gate(what, place):
            yield

    def gate(self, what: str, place: str) -> threading.BoundedSemaphore:
        """The turns of one place."""
        with self._guard:
            size = self._sizes[what]
            return self._gates.setdefault((what, place), threading.BoundedSemaphore(size))


@record
class Trail:
    """What a run has left: enough to look at it and to unmake it, without its order."""

    api: Api
    journal: Journal
    folder: Path
    limits: Limits
    tell: Callable[[str], None]

    @property
    def state(self) -> RunState:
        """What the journal holds."""
        return self.journal.state

    @property
    def clock(self) -> Clock:
        """Time and chance."""
        return self.api.clock

    @property
    def mark(self) -> str:
        """What the VM's description says, so that a look tells it from any other."""
        return f"winseed run {self.state.run}"

    def keep(self, **changes: Any) -> None:
        """Write what was learnt."""
        self.journal.keep(dataclasses.replace(self.state, **changes))

    def say(self, text: str) -> None:
        """Tell what happens now."""
        self.tell(text)

    def agent(self) -> GuestAgent:
        """The agent in the run's VM, asked by turns."""
        node = self.state.node
        turn = functools.partial(self.limits.agents.at, node)
        return GuestAgent(api=self.api, node=node, vmid=self.state.vmid, turn=turn)

    def config(self) -> VmConfig:
        """The VM's configuration with what is pending. Raises PveError."""
        return inspect_config(self.api, self.state.node, self.state.vmid)


@record
class Run(Trail):
    """A run that goes on: its trail, and what it is to make."""

    order: Order
