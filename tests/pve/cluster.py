"""A cluster for tests: `with FakeCluster(release="9.2") as pve:` and real HTTPS on loopback.

Every node is a server of its own (127.0.0.1, 127.0.0.2, ...) on one port, as in a real cluster.
Time comes from `clock`; tasks take the seconds that `pve.tasks.seconds[kind]` says, none by
default. Nothing here sleeps: what a real host would wait is added up in `pve.delays`.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.pve import (  # noqa: F401 - they register the calls they answer
    calls_agent,
    calls_catalog,
    calls_cluster,
    calls_config,
    calls_ha,
    calls_power,
    calls_qemu,
    calls_snapshot,
    calls_storage,
)
from tests.pve.access import Privileges
from tests.pve.authority import the_authority
from tests.pve.engine import Engine
from tests.pve.schema import Value
from tests.pve.server import Front, serve
from tests.pve.state import GIB, Node, PveError, Storage, Vm, Volume, make_uuid

ISO_CONTENT = frozenset({"iso", "vztmpl", "backup", "snippets"})


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A request as a node saw it; `status` 0 means that no answer was sent."""

    node: str
    user: str | None
    method: str
    path: str
    params: Mapping[str, Value]
    status: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Token:
    """An API token: `user`, `name` and `value` as proxmoxer takes them, or the whole header."""

    user: str
    name: str
    value: str

    @property
    def header(self) -> dict[str, str]:
        return {"Authorization": f"PVEAPIToken={self.user}!{self.name}={self.value}"}


class FakeCluster(Engine):
    """Nodes, storages, VMs, accounts and faults; `guard` protects them all."""

    def __init__(
        self,
        *,
        release: str = "9.2",
        nodes: tuple[str, ...] = ("pve1",),
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(release=release, clock=clock)
        self.requests: list[Recorded] = []
        self.in_flight: Counter[tuple[str, str]] = Counter()
        self.peak: dict[tuple[str, str], int] = {}
        self.idle_seconds = 5.0
        self.upload_answer_seconds = 0.0
        self.upload_read_size = 65536
        self.mangle_upload: Callable[[bytes], bytes] = bytes
        self._counting = threading.Lock()
        self._fronts: list[Front] = []
        self.failures: list[str] = []
        self.nodes = {
            name: Node(name=name, address=f"127.0.0.{number}")
            for number, name in enumerate(nodes, 1)
        }
        self.storages = {
            "local": Storage(name="local", kind="dir", content=ISO_CONTENT),
            "local-lvm": Storage(
                name="local-lvm", kind="lvmthin", content=frozenset({"images", "rootdir"})
            ),
        }

    def __enter__(self) -> "FakeCluster":
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        for front in self._fronts:
            front.stop()
        if self.failures:
            raise AssertionError("the fake itself failed:\n" + "\n".join(self.failures))

    def _listen(self) -> None:
        for attempt in range(20):
            port = 0
            try:
                for node in self.nodes.values():
                    pem, node.fingerprint = the_authority().certify(node.name, node.address)
                    front = Front(self, node.name, (node.address, port), pem)
                    self._fronts.append(front)
                    port = front.server_address[1]
            except OSError:  # somebody else has the port on the next address
                if attempt == 19:
                    raise
                for front in self._fronts:
                    front.server_close()
                self._fronts.clear()
                continue
            break
        for front in self._fronts:
            serve(front)

    @property
    def port(self) -> int:
        port: int = self._fronts[0].server_address[1]
        return port

    @property
    def url(self) -> str:
        """Base of the first node's API, without a slash at the end."""
        return self.url_of(next(iter(self.nodes)))

    def url_of(self, node: str) -> str:
        return f"https://{self.nodes[node].address}:{self.port}/api2/json"

    @property
    def ca_file(self) -> str:
        return str(the_authority().file)

    def node(self, name: str) -> Node:
        return self.nodes[name]

    def user(self, name: str, privileges: Privileges, *, password: str) -> None:
        """A user who logs in with a password."""
        self.access.add_user(name, privileges, password=password)

    def token(
        self, user: str, privileges: Privileges, *, name: str = "winseed", separated: bool = True
    ) -> Token:
        """A token with privileges on `/`, or by path; 400 for one that the release lacks."""
        account = self.access.add_token(f"{user}!{name}", privileges, separated=separated)
        return Token(user=user, name=name, value=account.secret)

    def add_storage(
        self,
        name: str,
        *,
        kind: str = "dir",
        content: tuple[str, ...] = ("iso",),
        shared: bool = False,
        nodes: tuple[str, ...] = (),
        total: int = 1000 * GIB,
    ) -> Storage:
        storage = Storage(
            name=name,
            kind=kind,
            content=frozenset(content),
            shared=shared,
            nodes=frozenset(nodes),
            total=total,
        )
        self.storages[name] = storage
        return storage

    def add_iso(
        self, storage: str, name: str, *, size: int, node: str = "", content: bytes | None = None
    ) -> str:
        """Puts a file on a storage (on every node, unless one is named); its volid."""
        volid = f"{storage}:iso/{name}"
        for where in [node] if node else list(self.nodes):
            volume = Volume(volid=volid, kind="iso", size=size, form="iso", content=content)
            self.storages[storage].on(where)[volid] = volume
        return volid

    def add_pool(self, name: str, *vmids: int) -> None:
        self.access.pools[name] = set(vmids)

    def add_vm(
        self, vmid: int, *, node: str = "pve1", config: Mapping[str, str], written: bool = True
    ) -> Vm:
        """A stopped VM; images named in its configuration are made, `written` by a guest."""
        vm = Vm(vmid=vmid, node=node, config={"vmgenid": make_uuid(), **config})
        for value in config.values():
            volid = value.partition(",")[0]
            storage = self.storages.get(volid.partition(":")[0])
            if storage and "images" in storage.content and f"vm-{vmid}-" in volid:
                volume = Volume(
                    volid=volid, kind="images", size=GIB, form="raw", vmid=vmid, written=written
                )
                storage.on(node)[volid] = volume
        self.vms[vmid] = vm
        return vm

    def volume(self, volid: str, node: str = "") -> Volume | None:
        """A volume by its volid, as a node sees it (any node when none is named)."""
        storage = self.storages.get(volid.partition(":")[0])
        if storage is None:
            return None
        scopes = [storage.on(node)] if node else list(storage.volumes.values())
        return next((found[volid] for found in scopes if volid in found), None)

    def reach(self, node: str, contacted: str) -> None:
        """What pveproxy says when a call is meant for a node that is unknown or away."""
        if node not in self.nodes:
            text = f"hostname lookup '{node}' failed - failed to get address info for: {node}"
            raise PveError(500, f"{text}: Name or service not known")
        if node != contacted and not self.nodes[node].online:
            raise PveError(595, "No route to host")

    def may_see(self, user: str, vmid: int) -> bool:
        return self.access.allows(user, f"/vms/{vmid}", ["VM.Audit"])

    def vm_summary(self, vm: Vm) -> dict[str, Any]:
        """The fields that lists and status/current share."""
        return calls_qemu.summary(self, vm)

    def record(self, **seen: Any) -> None:
        with self._counting:
            self.requests.append(Recorded(**seen))

    def note_failure(self) -> None:
        import traceback

        self.failures.append(traceback.format_exc())

    @contextlib.contextmanager
    def uploading(self, node: str) -> Iterator[None]:
        with self._counted(("upload", node)):
            yield

    @contextlib.contextmanager
    def watch(self, method: str, path: str, node: str) -> Iterator[None]:
        """Counts agent calls per node of their VM while they run, others per node contacted."""
        if "/agent" in path:
            method, node = "agent", path.split("/")[2]
        with self._counted((method, node)):
            yield

    @contextlib.contextmanager
    def _counted(self, key: tuple[str, str]) -> Iterator[None]:
        with self._counting:
            self.in_flight[key] += 1
            self.peak[key] = max(self.peak.get(key, 0), self.in_flight[key])
        try:
            yield
        finally:
            with self._counting:
                self.in_flight[key] -= 1
