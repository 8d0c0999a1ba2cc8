"""What is there: the calls that only ask. Each raises PveError and gives a value of `facts.py`.

Calls and the privileges they need: PVE/API2/{Cluster,Nodes,Network}.pm of proxmox/pve-manager at
14a22df, src/PVE/API2/Storage/{Status,Content}.pm of pve-storage at 0c56bad, src/PVE/API2/Qemu.pm
of qemu-server at e6352be, src/PVE/API2/AccessControl.pm of pve-access-control at 5ccd07d.
"""

from typing import Any

from builder.proxmox.api import Api
from builder.proxmox.facts import (
    Address,
    Bridge,
    Guest,
    Image,
    IsoFile,
    Node,
    Role,
    Room,
    Storage,
    Version,
    VmConfig,
    VmStatus,
    load_addresses,
    load_bridges,
    load_config,
    load_guests,
    load_images,
    load_isos,
    load_nodes,
    load_replicated,
    load_rights,
    load_roles,
    load_room,
    load_snapshots,
    load_status,
    load_storages,
    load_version,
)
from builder.proxmox.failures import PveError, Trouble


def inspect_version(api: Api) -> Version:
    """The release of the node that answers; every valid token may ask."""
    return api.get(("version",), load_version)


def inspect_rights(api: Api, path: str) -> frozenset[str]:
    """The token's effective privileges on `path`: what its user has too, inheritance included.

    Asked path by path, because the whole tree leaves out paths without an ACL of their own
    (RPCEnvironment.pm, get_effective_permissions).
    """
    return api.get(("access", "permissions"), lambda answer: load_rights(answer, path), path=path)


def inspect_roles(api: Api) -> tuple[Role, ...]:
    """Every role of the cluster."""
    return api.get(("access", "roles"), load_roles)


def inspect_nodes(api: Api) -> tuple[Node, ...]:
    """The nodes; CPUs and memory only with Sys.Audit on them."""
    return api.get(("nodes",), load_nodes)


def inspect_addresses(api: Api) -> tuple[Address, ...]:
    """Where the nodes are; needs Sys.Audit on /."""
    return api.get(("cluster", "status"), load_addresses)


def inspect_guests(api: Api) -> tuple[Guest, ...]:
    """The VMs and containers that the token may see."""
    return api.get(("cluster", "resources"), load_guests, type="vm")


def inspect_next_vmid(api: Api) -> int:
    """A VMID that is free now; nothing reserves it."""
    return api.get(("cluster", "nextid"), int)


def inspect_vmid_free(api: Api, vmid: int) -> bool:
    """Whether no VM or container in the cluster has `vmid`, seen or not."""
    try:
        return api.get(("cluster", "nextid"), int, vmid=vmid) == vmid
    except PveError as error:
        if error.trouble is Trouble.PARAMETERS:  # "VM 101 already exists"
            return False
        raise


def inspect_storages(api: Api, node: str) -> tuple[Storage, ...]:
    """The storages enabled on `node` that the token may use or look at."""
    return api.get(("nodes", node, "storage"), load_storages, enabled=True)


def inspect_isos(api: Api, node: str, storage: str) -> tuple[IsoFile, ...]:
    """The ISOs on a storage; needs Datastore.Audit or Datastore.AllocateSpace there."""
    return api.get(("nodes", node, "storage", storage, "content"), load_isos, content="iso")


def inspect_images(api: Api, node: str, storage: str) -> tuple[Image, ...]:
    """The disks on a storage of VMs that the token may see; needs Datastore.Audit there."""
    return api.get(("nodes", node, "storage", storage, "content"), load_images, content="images")


def inspect_bridges(api: Api, node: str) -> tuple[Bridge, ...]:
    """The bridges and virtual networks of `node` that the token may use or look at."""
    return api.get(("nodes", node, "network"), load_bridges, type="any_bridge")


def inspect_room(api: Api, node: str) -> Room:
    """Space and memory of `node`; needs Sys.Audit there."""
    return api.get(("nodes", node, "status"), load_room)


def inspect_config(api: Api, node: str, vmid: int, *, current: bool = False) -> VmConfig:
    """The configuration with pending changes applied, or as it runs (`current`)."""

    def load(answer: Any) -> VmConfig:
        return load_config(answer, f"VM {vmid} on {node}")

    return api.get(("nodes", node, "qemu", vmid, "config"), load, current=current)


def inspect_status(api: Api, node: str, vmid: int) -> VmStatus:
    """The state of a VM now; it occupies one of the three daemons of its node."""
    return api.get(("nodes", node, "qemu", vmid, "status", "current"), load_status)


def inspect_snapshots(api: Api, node: str, vmid: int) -> tuple[str, ...]:
    """The names of a VM's snapshots."""
    return api.get(("nodes", node, "qemu", vmid, "snapshot"), load_snapshots)


def inspect_replicated(api: Api) -> frozenset[int]:
    """The VMIDs that have a replication job which the token may see."""
    return api.get(("cluster", "replication"), load_replicated)
