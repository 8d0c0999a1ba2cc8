"""What a cluster consists of: nodes, storages, volumes, VMs; and the one error of its calls."""

import hashlib
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.pve.installed import Installed

GIB = 1024**3
KEPT = 64 * 1024 * 1024  # contents of larger uploads are hashed, not kept
DRIVE = re.compile(r"(ide[0-3]|sata[0-5]|scsi\d+|virtio\d+|efidisk0|tpmstate0)")


class PveError(Exception):
    """Status code and reason of an answer, sentences by parameter for a refused parameter."""

    def __init__(self, status: int, reason: str, errors: dict[str, str] | None = None):
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
        self.errors = errors


class Died(PveError):  # noqa: N818 - Perl's word
    """A plain `die` of the Perl code: 500 with its text."""

    def __init__(self, text: str):
        super().__init__(500, text)


@dataclass(kw_only=True)
class Volume:
    """A file or image on a storage; `content` is what was uploaded, when it is small."""

    volid: str
    kind: str
    size: int
    form: str
    ctime: int = 1_700_000_000
    vmid: int | None = None
    content: bytes | None = None
    sha256: str = ""
    written: bool = False  # a guest wrote to it: no longer an empty disk
    stage: str = ""  # how far Windows on it has come
    windows: "Installed | None" = None  # what Setup made of it
    wiped: bool = False  # Setup ran while it was attached and held something


@dataclass(kw_only=True)
class Storage:
    """A storage definition. `nodes` empty: on all; `volumes` by node, by "" when shared."""

    name: str
    kind: str
    content: frozenset[str]
    shared: bool = False
    nodes: frozenset[str] = frozenset()
    total: int = 1000 * GIB
    used: int = 0
    enabled: bool = True
    active: bool = True
    volumes: dict[str, dict[str, Volume]] = field(default_factory=dict)

    def scope(self, node: str) -> str:
        return "" if self.shared else node

    def on(self, node: str) -> dict[str, Volume]:
        """Volumes that a node sees, by volid."""
        return self.volumes.setdefault(self.scope(node), {})

    def seen_by(self, node: str) -> bool:
        return not self.nodes or node in self.nodes

    def avail(self, node: str) -> int:
        return max(0, self.total - self.used - sum(v.size for v in self.on(node).values()))

    @property
    def snapshots_raw(self) -> bool:
        """Whether raw images take part in snapshots (thin LVM, ZFS, RBD)."""
        return self.kind in {"lvmthin", "zfspool", "rbd", "btrfs"}


@dataclass(kw_only=True)
class Node:
    """A node: its address, its bridges, and whether its pveproxy answers."""

    name: str
    address: str
    fingerprint: str = ""
    online: bool = True
    bridges: list[str] = field(default_factory=lambda: ["vmbr0"])
    cpus: int = 16
    memory: int = 64 * GIB
    root_free: int = 20 * GIB  # where /var/tmp lies


@dataclass(kw_only=True)
class Snapshot:
    """A snapshot: the configuration, and the volumes as they were."""

    name: str
    config: dict[str, str]
    taken: int
    parent: str = ""
    description: str = ""
    written: dict[str, bool] = field(default_factory=dict)


@dataclass(kw_only=True)
class Vm:
    """A VM: its configuration file (with the pending section) and its running QEMU, if any."""

    vmid: int
    node: str
    config: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    pending_delete: dict[str, bool] = field(default_factory=dict)  # option: forced
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    running: bool = False
    started: float = 0.0
    read_bytes: dict[str, int] = field(default_factory=dict)
    written_bytes: dict[str, int] = field(default_factory=dict)
    ha_state: str | None = None
    keys: list[str] = field(default_factory=list)
    starts: int = 0
    replicated: bool = False

    @property
    def digest(self) -> str:
        """SHA-1 of what stands in the configuration file."""
        sections = [self.config, self.pending, {"delete": ",".join(self.pending_delete)}]
        text = "\n".join(f"{k}: {v}" for part in sections for k, v in sorted(part.items()))
        snapshots = ",".join(sorted(self.snapshots))
        return hashlib.sha1(f"{text}\n{snapshots}".encode()).hexdigest()

    @property
    def managed(self) -> bool:
        """Whether the HA manager acts on it (HA/Config.pm: not in state `ignored`)."""
        return self.ha_state not in {None, "ignored"}

    @property
    def lock(self) -> str | None:
        return self.config.get("lock")

    def check_lock(self) -> None:
        if self.lock:
            raise Died(f"VM is locked ({self.lock})")

    def named(self) -> list[str]:
        """Values of the configuration and of what waits to become it."""
        return [*self.config.values(), *self.pending.values()]

    def drives(self) -> dict[str, str]:
        return {key: value for key, value in self.config.items() if DRIVE.fullmatch(key)}


def make_uuid() -> str:
    return str(uuid.uuid4())


def make_mac() -> str:
    """A random address of Proxmox's prefix BC:24:11."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in uuid.uuid4().bytes[:3])
