"""The facts that a preflight judges, read from a cluster. Nothing here changes anything.

A question that is refused does not end the survey: `Unread` says why the answer is missing. Only
what everything else rests on, the version and the token, is raised.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from builder.errors import WinseedError
from builder.proxmox.api import Api
from builder.proxmox.facts import (
    Bridge,
    Guest,
    IsoFile,
    Node,
    Role,
    Room,
    Storage,
    Version,
    VmConfig,
)
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import (
    inspect_bridges,
    inspect_config,
    inspect_guests,
    inspect_isos,
    inspect_next_vmid,
    inspect_nodes,
    inspect_rights,
    inspect_roles,
    inspect_room,
    inspect_storages,
    inspect_version,
    inspect_vmid_free,
)
from builder.record import record

MOST_CONFIGS = 500  # VMs whose cards are compared: a call each
_T = TypeVar("_T")
FATAL = frozenset({Trouble.UNREACHABLE, Trouble.UNTRUSTED, Trouble.TOKEN})


@record
class Unread:
    """An answer that was not given, and why."""

    reason: str


@record
class Card:
    """A network card of a VM that is there."""

    mac: str
    vmid: int
    vm: str


@record
class ClusterFacts:
    """What holds for every node; `guests` and `cards` are those that the token may see.

    `unseen` counts the VMs whose cards were not read.
    """

    user: str
    token: str
    version: Version
    nodes: tuple[Node, ...]
    guests: tuple[Guest, ...]
    roles: tuple[Role, ...] | Unread
    cards: tuple[Card, ...]
    unseen: int


@record
class Shelf:
    """The ISOs of one storage."""

    storage: str
    isos: tuple[IsoFile, ...] | Unread


@record
class NodeFacts:
    """What one node has."""

    node: Node
    storages: tuple[Storage, ...] | Unread
    shelves: tuple[Shelf, ...]
    bridges: tuple[Bridge, ...] | Unread
    room: Room | Unread

    @property
    def vnets(self) -> frozenset[str]:
        """The virtual networks among the bridges: their zone, and so their path, is not told."""
        bridges = self.bridges if isinstance(self.bridges, tuple) else ()
        return frozenset(bridge.name for bridge in bridges if bridge.vnet)

    @property
    def isos(self) -> tuple[IsoFile, ...]:
        """Every ISO that was seen."""
        return tuple(
            iso for shelf in self.shelves if isinstance(shelf.isos, tuple) for iso in shelf.isos
        )


@record
class VmidFacts:
    """A VMID: whether it is free in the cluster, and the VM that has it, where it may be read."""

    vmid: int
    free: bool
    config: VmConfig | Unread | None


def inspect_cluster(api: Api) -> ClusterFacts:
    """The cluster. Raises PveError when it cannot be reached or the token is not accepted."""
    token = api.connection.token
    version = inspect_version(api)
    nodes, guests = inspect_nodes(api), inspect_guests(api)
    vms = [guest for guest in guests if guest.kind == "qemu"]
    online = {node.name for node in nodes if node.online}
    cards: list[Card] = []
    unseen = 0
    for vm in vms:
        config: VmConfig | Unread = Unread(reason="")
        if vm.node in online and len(cards) < MOST_CONFIGS:
            config = _tried(lambda vm=vm: inspect_config(api, vm.node, vm.vmid))  # type: ignore[misc]
        if isinstance(config, Unread):
            unseen += 1
        else:
            macs = [nic.mac for nic in config.machine.nics if nic.mac]
            cards += [Card(mac=mac.upper(), vmid=vm.vmid, vm=vm.name) for mac in macs]
    return ClusterFacts(
        user=token.user,
        token=token.name,
        version=version,
        nodes=nodes,
        guests=guests,
        roles=_tried(lambda: inspect_roles(api)),
        cards=tuple(cards),
        unseen=unseen,
    )


def inspect_node(api: Api, node: Node) -> NodeFacts:
    """What `node` has. Raises PveError only when the server cannot be reached at all."""
    storages = _tried(lambda: inspect_storages(api, node.name))
    shelves = []
    for storage in storages if isinstance(storages, tuple) else ():
        if storage.active and "iso" in storage.content:
            isos = _tried(lambda name=storage.name: inspect_isos(api, node.name, name))  # type: ignore[misc]
            shelves.append(Shelf(storage=storage.name, isos=isos))
    return NodeFacts(
        node=node,
        storages=storages,
        shelves=tuple(shelves),
        bridges=_tried(lambda: inspect_bridges(api, node.name)),
        room=_tried(lambda: inspect_room(api, node.name)),
    )


def inspect_vmid(
    api: Api, vmid: int, guests: Iterable[Guest], *, reserved: frozenset[int]
) -> VmidFacts:
    """The VMID that a host wants; 0: the next free one beside those `reserved`. Raises PveError."""
    if not vmid:
        drawn = inspect_next_vmid(api)
        while drawn in reserved or not inspect_vmid_free(api, drawn):
            drawn += 1
        return VmidFacts(vmid=drawn, free=True, config=None)
    owner = next((guest for guest in guests if guest.vmid == vmid), None)
    if owner is None or owner.kind != "qemu":
        free = owner is None and inspect_vmid_free(api, vmid)
        return VmidFacts(vmid=vmid, free=free, config=None)
    config = _tried(lambda: inspect_config(api, owner.node, vmid))
    return VmidFacts(vmid=vmid, free=False, config=config)


def inspect_granted(api: Api, paths: Iterable[str]) -> dict[str, frozenset[str]]:
    """The token's effective rights on each path. Raises PveError."""
    return {path: inspect_rights(api, path) for path in paths}


def _tried(ask: Callable[[], _T]) -> _T | Unread:
    try:
        return ask()
    except PveError as error:
        if error.trouble in FATAL:
            raise
        return Unread(reason=error.what)
    except WinseedError as error:  # a configuration that is no machine of ours
        return Unread(reason=error.what)
