"""What a host asks of a cluster, out of its spec. Pure."""

from collections.abc import Mapping
from pathlib import Path

from builder.plan.make import MEMORY_MIB
from builder.proxmox.media import WantedIso
from builder.proxmox.rights import Network, Subject
from builder.record import record
from builder.spec.model import HostSpec, ProxmoxSpec
from builder.values import derive_mac

DRIVERS_AND_SCRIPTS = 256 << 20  # bytes to have free, beside what the spec attaches


@record
class WantedNic:
    """A network card: MAC address, bridge and VLAN."""

    mac: str
    bridge: str
    vlan: int | None


@record
class Wanted:
    """What one host asks of a cluster; `vmid` 0 and `node` "" leave it to the cluster.

    `exists`: the VM is there, and stays with its disks detached.
    `disk_gib` counts all disks, `answer_bytes` what to have free for the answer ISO.
    """

    name: str
    vmid: int
    node: str
    pool: str
    disk_storage: str
    iso_storage: str
    disk_gib: int
    answer_bytes: int
    cores: int
    memory_mib: int
    nics: tuple[WantedNic, ...]
    windows: WantedIso
    virtio: WantedIso
    exists: bool = False

    def subject(self, *, node: str, vmid: int, vnets: frozenset[str] = frozenset()) -> Subject:
        """What the rights of an installation on `node` as `vmid` are about, `vnets` left out."""
        volids = [iso.volid for iso in (self.windows, self.virtio) if iso.volid]
        return Subject(
            node=node,
            vmid=vmid,
            fixed=bool(self.vmid),
            pool=self.pool,
            disk_storage=self.disk_storage,
            iso_storage=self.iso_storage,
            media_storages=tuple(volid.partition(":")[0] for volid in volids),
            networks=tuple(
                Network(bridge=nic.bridge, vlan=nic.vlan)
                for nic in self.nics
                if nic.bridge not in vnets
            ),
        )


def make_wanted(
    host: HostSpec, proxmox: ProxmoxSpec, *, site: str, sizes: Mapping[Path, int]
) -> Wanted:
    """What `host` asks for. `sizes` holds the bytes of the local files that could be read."""
    attached = [*host.updates.packages, *host.first_boot]
    attached += [path for path in (host.remote.openssh_package,) if path]
    return Wanted(
        name=host.name,
        vmid=host.machine.vmid,
        node=host.machine.node or proxmox.node or "",
        pool=proxmox.pool or "",
        disk_storage=proxmox.disk_storage,
        iso_storage=proxmox.iso_storage,
        disk_gib=host.disk.size_gib + sum(disk.size_gib for disk in host.data_disk),
        answer_bytes=DRIVERS_AND_SCRIPTS + sum(sizes.get(path, 0) for path in attached),
        cores=host.machine.cores,
        memory_mib=host.machine.memory_mib or MEMORY_MIB[host.edition],
        nics=tuple(
            WantedNic(
                mac=nic.mac or derive_mac(site, host.name, number), bridge=nic.bridge, vlan=nic.vlan
            )
            for number, nic in enumerate(host.nic)
        ),
        windows=WantedIso(
            kind="windows iso",
            key="windows_volid",
            volid=host.machine.windows_volid,
            name=host.windows_iso.name if host.windows_iso else "",
            size=sizes.get(host.windows_iso) if host.windows_iso else None,
        ),
        virtio=WantedIso(
            kind="virtio iso",
            key="virtio_volid",
            volid=host.machine.virtio_volid,
            name=host.virtio_iso.name if host.virtio_iso else "",
            size=sizes.get(host.virtio_iso) if host.virtio_iso else None,
            release=host.virtio_release,
        ),
    )


def files_of(host: HostSpec) -> tuple[Path, ...]:
    """The local files of a host whose sizes count."""
    single = (host.windows_iso, host.virtio_iso, host.remote.openssh_package)
    return (*host.updates.packages, *host.first_boot, *(path for path in single if path))
