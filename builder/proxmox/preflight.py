"""Whether an installation can start: judgement over facts that `survey.py` has read. Pure.

A finding is fine, a warning, or a reason to stop; each but the first names the way out. Everything
is judged at once, and nothing that was not read counts as fine.
"""

from collections.abc import Iterable, Iterator, Mapping

from builder.errors import ExitCode
from builder.machine import GIB
from builder.proxmox.facts import Guest, Node, Storage, Version
from builder.proxmox.findings import Finding, fine, stop, warn
from builder.proxmox.media import choose_iso
from builder.proxmox.rights import Need, Network, find_missing, make_needs, render_grants
from builder.proxmox.survey import ClusterFacts, NodeFacts, Unread, VmidFacts
from builder.proxmox.wanted import Wanted

OLDEST, NEWEST = (8, 4), 9  # releases whose schema the calls were checked against
# efidisk0 and tpmstate0 take 528 KiB and 4 MiB, and one allocation unit of the storage each
SMALL_DISKS = 64 << 20
# storages that keep files: the others take no upload (Status.pm, "can't upload to storage type")
FILE_KINDS = frozenset({"btrfs", "cephfs", "cifs", "dir", "glusterfs", "nfs"})
# a storage is listed for who has one of these on it (Status.pm, index)
VISIBLE = frozenset({"Datastore.Audit", "Datastore.AllocateSpace"})
THICK_KINDS = frozenset({"lvm", "iscsi", "iscsidirect"})  # a disk takes all its space at once


def choose_node(wanted: Wanted, nodes: Iterable[Node]) -> Node | Finding:
    """The node that the host goes to, or why there is none."""
    by_name = {node.name: node for node in nodes}
    known = ", ".join(by_name) or "none"
    if not wanted.node and len(by_name) == 1:
        node = next(iter(by_name.values()))
    elif not wanted.node:
        hint = f"set proxmox.node or --node; the cluster has {known}"
        return stop("node", "no node is named", hint, code=ExitCode.SPEC)
    elif wanted.node not in by_name:
        what = f"the cluster has no node {wanted.node}"
        return stop("node", what, f"it has {known}", code=ExitCode.SPEC)
    else:
        node = by_name[wanted.node]
    if not node.online:
        hint = "bring it back, or choose another with --node"
        return stop("node", f"{node.name} is offline", hint, code=ExitCode.PROXMOX)
    return node


def judge_version(version: Version) -> Finding:
    """Whether winseed knows this release of Proxmox VE."""
    told = f"Proxmox VE {version.text}"
    if version.major < OLDEST[0]:
        hint = "upgrade to 8.4 or 9: older ones take other parameters and privileges"
        return stop("version", f"{told} is too old", hint, code=ExitCode.PROXMOX)
    if (version.major, version.minor) < OLDEST or version.major > NEWEST:
        return warn("version", f"{told}: winseed was made for 8.4 and 9", "upgrade one of them")
    return fine("version", told)


def judge_host(
    wanted: Wanted,
    cluster: ClusterFacts,
    node: NodeFacts,
    vmid: VmidFacts,
    granted: Mapping[str, frozenset[str]],
) -> tuple[Finding, ...]:
    """Everything there is to say about one host on its node."""
    return (
        *_rights(wanted, cluster, node, vmid, granted),
        *([] if wanted.exists else [_vmid(wanted, cluster, node.node.name, vmid)]),
        *_name(wanted, cluster, vmid),
        *_macs(wanted, cluster, vmid),
        _disk_storage(wanted, node, granted),
        _iso_storage(wanted, node, granted),
        *(choose_iso(iso, node.isos).finding for iso in (wanted.windows, wanted.virtio)),
        *_unread_shelves(node),
        *_bridges(wanted, node, granted),
        *_size(wanted, node),
    )


def judge_doubles(hosts: Iterable[Wanted]) -> Iterator[Finding]:
    """VMIDs that two hosts of the spec claim."""
    owners: dict[int, list[str]] = {}
    for host in hosts:
        if host.vmid:
            owners.setdefault(host.vmid, []).append(host.name)
    for vmid, names in owners.items():
        if len(names) > 1:
            what = f"{vmid} is given to {', '.join(names)}"
            yield stop("vmid", what, "give each host its own machine.vmid", code=ExitCode.SPEC)


def _rights(
    wanted: Wanted,
    cluster: ClusterFacts,
    node: NodeFacts,
    vmid: VmidFacts,
    granted: Mapping[str, frozenset[str]],
) -> Iterator[Finding]:
    subject = wanted.subject(node=node.node.name, vmid=vmid.vmid, vnets=node.vnets)
    needs = make_needs(subject, major=cluster.version.major)
    missing = find_missing(needs, granted)
    required = tuple(need for need in missing if not need.optional)
    optional = tuple(need for need in missing if need.optional)
    roles = cluster.roles if isinstance(cluster.roles, tuple) else ()
    grants = render_grants(
        required,
        optional,
        needs,
        roles={role.name: role.privileges for role in roles},
        user=cluster.user,
        token=cluster.token,
    )
    if not required:
        yield fine("rights", f"{cluster.user}!{cluster.token} has all that is needed")
    *others, last = _by_path(required) or [""]
    for what in others:
        yield stop("rights", what, "", code=ExitCode.PROXMOX)
    if last:
        hint = "to grant them, as root on a node (an ACL replaces what is inherited on its path):"
        yield stop("rights", last, hint, code=ExitCode.PROXMOX, commands=grants.required)
    if optional:
        what = "; ".join(_by_path(optional))
        yield warn("rights", what, "it goes without; to grant that too:", grants.optional)


def _by_path(needs: Iterable[Need]) -> list[str]:
    """Missing rights in words, a sentence for each path; reasons only where they are few."""
    paths: dict[str, list[Need]] = {}
    for need in needs:
        paths.setdefault(need.paths[0], []).append(need)
    return [
        f"missing on {path}: "
        + ", ".join(
            f"{need.privilege} ({need.why})" if len(found) < 4 else need.privilege for need in found
        )
        for path, found in paths.items()
    ]


def _vmid(wanted: Wanted, cluster: ClusterFacts, node: str, facts: VmidFacts) -> Finding:
    if facts.free:
        drawn = "" if wanted.vmid else " (the next free one)"
        return fine("vmid", f"{facts.vmid} is free{drawn}")
    owner = next((guest for guest in cluster.guests if guest.vmid == facts.vmid), None)
    if owner is None:
        what = f"{facts.vmid} belongs to a VM that the token may not see"
        return _taken(what)
    told = f"{facts.vmid} is {_described(owner)}"
    if owner.kind != "qemu" or owner.template or owner.name.casefold() != wanted.name.casefold():
        return _taken(told)
    if isinstance(facts.config, Unread):
        return _taken(f"{told}; its disks were not read: {facts.config.reason}")
    disks = facts.config.machine.disks if facts.config else ()
    if disks:
        slots = ", ".join(str(disk.slot) for disk in disks)
        what = f"{told} and has disks ({slots}), which an installation never touches"
        hint = f"`winseed reinstall {wanted.name}` installs anew on it; or another machine.vmid"
        return stop("vmid", what, hint, code=ExitCode.UNSAFE)
    if owner.node != node:
        hint = f"set its node: machine.node = {owner.node!r}"
        return stop("vmid", f"{told}, not on {node}", hint, code=ExitCode.SPEC)
    if owner.lock or owner.running:
        hint = "wait until it is done, or stop it"
        state = f"locked ({owner.lock})" if owner.lock else "running"
        return stop("vmid", f"{told} and {state}", hint, code=ExitCode.PROXMOX)
    return fine("vmid", f"{told} without a disk: it can be taken over")


def _taken(what: str) -> Finding:
    hint = "choose another machine.vmid, or 0 for the next free one"
    return stop("vmid", what, hint, code=ExitCode.UNSAFE)


def _described(guest: Guest) -> str:
    kind = "template" if guest.template else {"qemu": "VM", "lxc": "container"}.get(guest.kind, "")
    return f"{kind or guest.kind} {guest.name or 'without a name'} on {guest.node}"


def _name(wanted: Wanted, cluster: ClusterFacts, facts: VmidFacts) -> Iterator[Finding]:
    namesakes = [
        guest
        for guest in cluster.guests
        if guest.name.casefold() == wanted.name.casefold() and guest.vmid != facts.vmid
    ]
    if namesakes:
        told = ", ".join(f"{guest.vmid} on {guest.node}" for guest in namesakes)
        hint = "two computers of one name do not go together in a network: rename one"
        yield warn("name", f"{wanted.name} is the name of {told} as well", hint)
    else:
        yield fine("name", f"{wanted.name} is not taken")


def _macs(wanted: Wanted, cluster: ClusterFacts, facts: VmidFacts) -> Iterator[Finding]:
    owners = {card.mac: card for card in cluster.cards if card.vmid != facts.vmid}
    for nic in wanted.nics:
        if card := owners.get(nic.mac.upper()):
            what = f"{nic.mac} is that of VM {card.vmid} ({card.vm})"
            hint = "give another nic.mac, or change site.name, which MAC addresses are derived from"
            yield stop("mac", what, hint, code=ExitCode.UNSAFE)
    unseen = f"; {cluster.unseen} VMs were not read" if cluster.unseen else ""
    if not any(nic.mac.upper() in owners for nic in wanted.nics):
        macs = ", ".join(nic.mac for nic in wanted.nics)
        yield fine("mac", f"{macs}: no other VM that was read has it{unseen}")


def _storage(
    node: NodeFacts,
    name: str,
    content: str,
    key: str,
    granted: Mapping[str, frozenset[str]],
) -> Storage | Finding:
    subject = f"storage {name}"
    if isinstance(node.storages, Unread):
        hint = "look at the node: a storage that hangs makes the others wait"
        return stop(subject, f"not read: {node.storages.reason}", hint, code=ExitCode.PROXMOX)
    by_name = {storage.name: storage for storage in node.storages}
    fitting = [storage.name for storage in node.storages if content in storage.content]
    hint = f"set proxmox.{key}; for {content} there is {', '.join(fitting) or 'none'}"
    if name not in by_name and VISIBLE.isdisjoint(granted.get(f"/storage/{name}", ())):
        return warn(subject, "not seen: the token has no right on it", "grant the rights above")
    if name not in by_name:
        what = f"{node.node.name} has none of that name"
        return stop(subject, what, hint, code=ExitCode.SPEC)
    storage = by_name[name]
    if not storage.active:
        hint = "it is enabled and does not answer: look at the node"
        return stop(subject, f"not active on {node.node.name}", hint, code=ExitCode.PROXMOX)
    if content not in storage.content:
        return stop(subject, f"it holds no {content}", hint, code=ExitCode.SPEC)
    return storage


def _disk_storage(
    wanted: Wanted, node: NodeFacts, granted: Mapping[str, frozenset[str]]
) -> Finding:
    storage = _storage(node, wanted.disk_storage, "images", "disk_storage", granted)
    if isinstance(storage, Finding):
        return storage
    subject, needed = f"storage {storage.name}", wanted.disk_gib * GIB + SMALL_DISKS
    if storage.available is None:
        return warn(subject, "free space is not told", "look at the node")
    told = f"{_gib(storage.available)} free, {_gib(needed)} for the disks"
    if storage.available >= needed:
        return fine(subject, told)
    if storage.kind in THICK_KINDS:
        hint = "make room there, or choose another proxmox.disk_storage"
        return stop(subject, told, hint, code=ExitCode.PROXMOX)
    hint = "disks grow as they fill there; make room before they do"
    return warn(subject, told, hint)


def _iso_storage(wanted: Wanted, node: NodeFacts, granted: Mapping[str, frozenset[str]]) -> Finding:
    storage = _storage(node, wanted.iso_storage, "iso", "iso_storage", granted)
    if isinstance(storage, Finding):
        return storage
    subject = f"storage {storage.name}"
    if storage.kind not in FILE_KINDS:
        hint = f"choose one that keeps files ({', '.join(sorted(FILE_KINDS))})"
        return stop(subject, f"{storage.kind} takes no uploads", hint, code=ExitCode.SPEC)
    if storage.available is not None and storage.available < wanted.answer_bytes:
        hint = "make room there, or choose another proxmox.iso_storage"
        told = f"{_gib(storage.available)} free, {_gib(wanted.answer_bytes)} for the answer ISO"
        return stop(subject, told, hint, code=ExitCode.PROXMOX)
    free = "not told" if storage.available is None else _gib(storage.available)
    return fine(subject, f"{free} free for the answer ISO")


def _unread_shelves(node: NodeFacts) -> Iterator[Finding]:
    for shelf in node.shelves:
        if isinstance(shelf.isos, Unread):
            hint = "an ISO that lies there was not found for that reason"
            yield warn(f"storage {shelf.storage}", f"not listed: {shelf.isos.reason}", hint)


def _bridges(
    wanted: Wanted, node: NodeFacts, granted: Mapping[str, frozenset[str]]
) -> Iterator[Finding]:
    if isinstance(node.bridges, Unread):
        yield warn("bridge", f"not read: {node.bridges.reason}", "look at the node's network")
        return
    known = {bridge.name for bridge in node.bridges}
    for network in dict.fromkeys(Network(bridge=n.bridge, vlan=n.vlan) for n in wanted.nics):
        if network.bridge in node.vnets:
            hint = "the token needs SDN.Use on /sdn/zones/ZONE/VNET of it"
            yield warn("bridge", f"{network.bridge} is a VNet: SDN.Use on it not checked", hint)
        elif network.bridge in known:
            yield fine("bridge", f"{network.bridge} is on {node.node.name}")
        elif "SDN.Use" in granted.get(network.path, frozenset()):
            # the VM would be made and would not start
            hint = f"set nic.bridge; there is {', '.join(sorted(known)) or 'none'}"
            what = f"{node.node.name} has no bridge {network.bridge}"
            yield stop("bridge", what, hint, code=ExitCode.SPEC)
        else:
            hint = "grant the right above, then look again"
            yield warn("bridge", f"{network.bridge} cannot be seen without SDN.Use on it", hint)


def _size(wanted: Wanted, node: NodeFacts) -> Iterator[Finding]:
    name, cpus = node.node.name, node.node.cpus
    if cpus is not None and wanted.cores > cpus:
        # QemuServer.pm:3383: "MAX n vcpus allowed per VM on this node"
        what = f"{wanted.cores} cores, {name} has {cpus}"
        yield stop("cpu", what, "lower machine.cores", code=ExitCode.SPEC)
    if isinstance(node.room, Unread):
        hint = "it needs Sys.Audit on the node"
        yield warn("node", f"memory and /var/tmp of {name} not checked: {node.room.reason}", hint)
        return
    if wanted.memory_mib << 20 > node.room.memory:
        what = f"{wanted.memory_mib} MiB, {name} has {node.room.memory >> 20} MiB in all"
        yield stop("memory", what, "lower machine.memory_mib", code=ExitCode.SPEC)
    if node.room.root_available < wanted.answer_bytes:
        what = f"{name} has {_gib(node.room.root_available)} free in /var/tmp"
        hint = "uploads wait there before they reach their storage: make room on /"
        yield stop("node", what, hint, code=ExitCode.PROXMOX)
    else:
        yield fine("node", f"{name} is online, {_gib(node.room.root_available)} free in /var/tmp")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
