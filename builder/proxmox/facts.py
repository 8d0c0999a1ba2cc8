"""What Proxmox VE tells, as values: one class per kind of answer, and how each is read.

Fields and their meaning: the API's own schema of 8.4 and 9.2 (pve-docs, api-viewer/apidata.js).
Every `load_` raises ValueError, KeyError or TypeError for what is no such answer; the transport
turns these into an error that names the call.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from builder.machine import Machine
from builder.record import record
from builder.vm_config import load_machine


@record
class Version:
    """The release of Proxmox VE: `text` as `8.4.1`."""

    text: str
    major: int
    minor: int


@record
class Node:
    """A node of the cluster; `cpus`, `memory` (bytes) are None and `fingerprint` "" if not told."""

    name: str
    online: bool
    cpus: int | None
    memory: int | None
    fingerprint: str


@record
class Address:
    """Where a node can be reached; `local`: it is the node that answered."""

    node: str
    ip: str
    local: bool


@record
class Storage:
    """A storage as one node sees it; sizes in bytes, None while it is not active."""

    name: str
    kind: str
    content: frozenset[str]
    shared: bool
    active: bool
    available: int | None


@record
class IsoFile:
    """An ISO on a storage: `volid` as `local:iso/windows.iso`, `size` in bytes."""

    volid: str
    size: int

    @property
    def storage(self) -> str:
        """The storage it lies on."""
        return self.volid.partition(":")[0]

    @property
    def name(self) -> str:
        """Its file name."""
        return self.volid.rpartition("/")[2]


@record
class Image:
    """A disk of a VM on a storage; `created` in seconds since 1970, None where it is not told."""

    volid: str
    vmid: int
    size: int
    created: int | None


@record
class Bridge:
    """A bridge of a node, or a virtual network of its SDN (`vnet`)."""

    name: str
    vnet: bool
    vlan_aware: bool | None


@record
class Guest:
    """A VM or container in the cluster's list, which is some ten seconds old."""

    vmid: int
    name: str
    node: str
    kind: str
    running: bool
    template: bool
    pool: str
    tags: frozenset[str]
    lock: str


@record
class Room:
    """Free space on the root file system of a node, and its memory, in bytes."""

    root_available: int
    memory: int


@record
class Role:
    """A named set of privileges."""

    name: str
    privileges: frozenset[str]


@record
class VmConfig:
    """The configuration of a VM: every setting as written, and the machine they make."""

    digest: str
    settings: tuple[tuple[str, str], ...]
    machine: Machine

    def setting(self, key: str) -> str | None:
        """The value of `key` as Proxmox VE writes it; never compare it as text, parse it."""
        return dict(self.settings).get(key)


@record
class DriveCounter:
    """Bytes that a running VM has read from and written to the drive in `slot` since its start."""

    slot: str
    read: int
    written: int


@record
class VmStatus:
    """The state of a VM now. `uptime` in seconds; `qmp` as QEMU says (`running`, `paused`)."""

    running: bool
    qmp: str
    uptime: int
    lock: str
    ha_managed: bool
    drives: tuple[DriveCounter, ...]


def load_version(answer: Any) -> Version:
    """GET /version."""
    text = str(answer["version"])
    numbers = re.match(r"(\d+)\.(\d+)", text)
    if numbers is None:
        raise ValueError(f"version {text!r}")
    return Version(text=text, major=int(numbers[1]), minor=int(numbers[2]))


def load_rights(answer: Any, path: str) -> frozenset[str]:
    """GET /access/permissions?path=: the privileges; whether they propagate is not told here."""
    return frozenset(answer.get(path, {}))


def load_roles(answer: Any) -> tuple[Role, ...]:
    """GET /access/roles."""
    return tuple(
        Role(name=str(row["roleid"]), privileges=frozenset(_words(row.get("privs"))))
        for row in answer
    )


def load_nodes(answer: Any) -> tuple[Node, ...]:
    """GET /nodes, by name."""
    rows = sorted(answer, key=lambda row: str(row["node"]))
    return tuple(
        Node(
            name=str(row["node"]),
            online=row.get("status") == "online",
            cpus=_number(row.get("maxcpu")),
            memory=_number(row.get("maxmem")),
            fingerprint=str(row.get("ssl_fingerprint") or ""),
        )
        for row in rows
    )


def load_addresses(answer: Any) -> tuple[Address, ...]:
    """GET /cluster/status: the nodes in it."""
    return tuple(
        Address(node=str(row["name"]), ip=str(row.get("ip") or ""), local=_flag(row.get("local")))
        for row in answer
        if row["type"] == "node"
    )


def load_storages(answer: Any) -> tuple[Storage, ...]:
    """GET /nodes/{node}/storage, by name."""
    rows = sorted(answer, key=lambda row: str(row["storage"]))
    return tuple(
        Storage(
            name=str(row["storage"]),
            kind=str(row["type"]),
            content=frozenset(_words(row["content"])),
            shared=_flag(row.get("shared")),
            active=_flag(row.get("active")),
            available=_number(row.get("avail")) if _flag(row.get("active")) else None,
        )
        for row in rows
    )


def load_isos(answer: Any) -> tuple[IsoFile, ...]:
    """GET /nodes/{node}/storage/{storage}/content?content=iso, by name."""
    files = (IsoFile(volid=str(row["volid"]), size=int(row.get("size") or 0)) for row in answer)
    return tuple(sorted(files, key=lambda file: file.volid))


def load_images(answer: Any) -> tuple[Image, ...]:
    """GET /nodes/{node}/storage/{storage}/content?content=images: those that have an owner."""
    images = (
        Image(
            volid=str(row["volid"]),
            vmid=int(row["vmid"]),
            size=int(row.get("size") or 0),
            created=_number(row.get("ctime")),
        )
        for row in answer
        if row.get("vmid") is not None
    )
    return tuple(sorted(images, key=lambda image: image.volid))


def load_bridges(answer: Any) -> tuple[Bridge, ...]:
    """GET /nodes/{node}/network?type=any_bridge."""
    rows = sorted(answer, key=lambda row: str(row["iface"]))
    return tuple(
        Bridge(
            name=str(row["iface"]),
            vnet=row.get("type") == "vnet",
            # an OVS bridge needs no such switch
            vlan_aware=_flag(row.get("bridge_vlan_aware")) if row.get("type") == "bridge" else None,
        )
        for row in rows
    )


def load_guests(answer: Any) -> tuple[Guest, ...]:
    """GET /cluster/resources?type=vm, by VMID."""
    rows = sorted(answer, key=lambda row: int(row["vmid"]))
    return tuple(
        Guest(
            vmid=int(row["vmid"]),
            name=str(row.get("name") or ""),
            node=str(row.get("node") or ""),
            kind=str(row["type"]),
            running=row.get("status") == "running",
            template=_flag(row.get("template")),
            pool=str(row.get("pool") or ""),
            tags=frozenset(_words(row.get("tags"))),
            lock=str(row.get("lock") or ""),
        )
        for row in rows
    )


def load_room(answer: Any) -> Room:
    """GET /nodes/{node}/status."""
    return Room(
        root_available=int(answer["rootfs"]["avail"]), memory=int(answer["memory"]["total"])
    )


def load_config(answer: Any, source: str) -> VmConfig:
    """GET /nodes/{node}/qemu/{vmid}/config; WinseedError for one that makes no machine."""
    settings = tuple(sorted((str(key), _text(value)) for key, value in answer.items()))
    # the description may hold anything, lines as well; nothing is plugged in by it
    lines = [f"{key}: {value}" for key, value in settings if key not in {"description", "digest"}]
    return VmConfig(
        digest=str(answer.get("digest") or ""),
        settings=settings,
        machine=load_machine("\n".join(lines), source=source),
    )


def load_status(answer: Any) -> VmStatus:
    """GET /nodes/{node}/qemu/{vmid}/status/current.

    `blockstat` is not in the schema (QemuServer.pm:2699, vmstatus).
    """
    ha: Mapping[str, Any] = answer.get("ha") or {}
    return VmStatus(
        running=answer["status"] == "running",
        qmp=str(answer.get("qmpstatus") or answer["status"]),
        uptime=int(answer.get("uptime") or 0),
        lock=str(answer.get("lock") or ""),
        ha_managed=_flag(ha.get("managed")),
        drives=tuple(_counters(answer.get("blockstat") or {})),
    )


def load_snapshots(answer: Any) -> tuple[str, ...]:
    """GET /nodes/{node}/qemu/{vmid}/snapshot, without the state that is now."""
    names = (str(row["name"]) for row in answer)
    return tuple(sorted(name for name in names if name != "current"))


def load_replicated(answer: Any) -> frozenset[int]:
    """GET /cluster/replication: the guests that have a job."""
    return frozenset(int(row["guest"]) for row in answer)


def _counters(stats: Mapping[str, Any]) -> Iterator[DriveCounter]:
    for slot, row in sorted(stats.items()):
        read, written = int(row.get("rd_bytes") or 0), int(row.get("wr_bytes") or 0)
        yield DriveCounter(slot=slot, read=read, written=written)


def _words(text: object) -> list[str]:
    """The members of one of Proxmox VE's lists (PVE::Tools, split_list)."""
    return [word for word in re.split(r"[,;\s\0]+", str(text or "")) if word]


def _flag(value: object) -> bool:
    return str(value or "0") in {"1", "True", "true"}


def _number(value: object) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() else None


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
