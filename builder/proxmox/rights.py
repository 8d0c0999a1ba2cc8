"""The privileges that winseed's calls need, where, and the `pveum` lines that grant them. Pure.

Which call asks for what: proxmox/qemu-server at e6352be, src/PVE/API2/Qemu.pm
(`check_vm_create_*_perm`, `check_vm_modify_config_perm`, `check_storage_access`) and
API2/Qemu/Agent.pm; pve-storage at 0c56bad, src/PVE/API2/Storage/{Status,Content}.pm and
PVE/Storage.pm `check_volume_access`; pve-guest-common at 4a8f6cb, src/PVE/GuestHelpers.pm
`check_vnet_access`; pve-access-control at 5ccd07d, src/PVE/RPCEnvironment.pm `check_vm_perm`.
A role that names a privilege unknown to a release is refused there: 9 has no VM.Monitor, 8 no
VM.GuestAgent.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping

from builder.record import record

GUEST_AGENT_SINCE = 9  # pve-access-control 9.0.2, 2025-07-17

VM_PRIVILEGES = (
    ("VM.Allocate", "create and destroy the VM"),
    ("VM.Audit", "read its configuration and state"),
    ("VM.Config.CDROM", "put in and take out CDs"),
    ("VM.Config.CPU", "set its CPUs"),
    ("VM.Config.Disk", "set disks and boot order"),
    ("VM.Config.HWType", "set machine type, controllers and serial port"),
    ("VM.Config.Memory", "set its memory"),
    ("VM.Config.Network", "set its network cards"),
    ("VM.Config.Options", "set name, firmware and agent"),
    ("VM.Console", "press a key at the Windows CD's prompt, take a screenshot"),
    ("VM.PowerMgmt", "start and stop it"),
)


@record
class Network:
    """A bridge, with the VLAN tag if there is one."""

    bridge: str
    vlan: int | None

    @property
    def path(self) -> str:
        """The path its right is looked for on; a bridge of the node is in zone `localnetwork`."""
        tag = f"/{self.vlan}" if self.vlan else ""
        return f"/sdn/zones/localnetwork/{self.bridge}{tag}"


@record
class Subject:
    """What an installation touches. `fixed`: the VMID was given, not drawn just now."""

    node: str
    vmid: int
    fixed: bool
    pool: str
    disk_storage: str
    iso_storage: str
    media_storages: tuple[str, ...]
    networks: tuple[Network, ...]


@record
class Need:
    """A privilege on one of `paths`, the first of which is where to grant it; `why` in words.

    An `optional` one makes something better or checks more.
    """

    privilege: str
    paths: tuple[str, ...]
    grant: str
    role: str
    why: str
    optional: bool = False


def make_needs(subject: Subject, *, major: int) -> tuple[Need, ...]:
    """Everything an installation needs on Proxmox VE `major`, and what it can use besides."""
    agent = "VM.GuestAgent.Unrestricted" if major >= GUEST_AGENT_SINCE else "VM.Monitor"
    vm = (*VM_PRIVILEGES, (agent, "talk to the guest agent"))
    return (
        *(_vm_need(subject, privilege, why) for privilege, why in vm),
        _need("Datastore.AllocateSpace", f"/storage/{subject.disk_storage}", "WinseedDisk",
              "make disks"),
        _need("Datastore.AllocateTemplate", f"/storage/{subject.iso_storage}", "WinseedISO",
              "upload the answer ISO"),
        _need("Datastore.Audit", f"/storage/{subject.iso_storage}", "WinseedISO",
              "see and mount it"),
        *_media_needs(subject),
        *_network_needs(subject),
        _need("Datastore.Allocate", f"/storage/{subject.iso_storage}", "WinseedISODelete",
              "delete the answer ISO; without it the file is overwritten and stays", optional=True),
        _need("Sys.Audit", f"/nodes/{subject.node}", "WinseedNode",
              "see the node's free space and memory", optional=True),
    )  # fmt: skip


def _vm_need(subject: Subject, privilege: str, why: str) -> Need:
    """On the VM, or on the pool it is made in: each check takes either."""
    paths: tuple[str, ...] = (f"/vms/{subject.vmid}",)
    grant = f"/vms/{subject.vmid}" if subject.fixed else "/vms"
    if subject.pool:
        paths, grant = (f"/pool/{subject.pool}", *paths), f"/pool/{subject.pool}"
    return Need(privilege=privilege, paths=paths, grant=grant, role="WinseedVM", why=why)


def _media_needs(subject: Subject) -> Iterator[Need]:
    for storage in dict.fromkeys(subject.media_storages):
        if storage != subject.iso_storage:
            path = f"/storage/{storage}"
            yield _need("Datastore.Audit", path, "WinseedMedia", "mount the ISOs there")


def _network_needs(subject: Subject) -> Iterator[Need]:
    for network in dict.fromkeys(subject.networks):
        yield _need("SDN.Use", network.path, "WinseedNetwork", "connect a network card")


def _need(privilege: str, path: str, role: str, why: str, *, optional: bool = False) -> Need:
    return Need(
        privilege=privilege, paths=(path,), grant=path, role=role, why=why, optional=optional
    )


def paths_of(needs: Iterable[Need]) -> tuple[str, ...]:
    """Every path whose effective rights have to be known, each once."""
    return tuple(dict.fromkeys(path for need in needs for path in need.paths))


def find_missing(needs: Iterable[Need], granted: Mapping[str, frozenset[str]]) -> tuple[Need, ...]:
    """The needs that no path gives; `granted` are the token's effective rights by path."""
    return tuple(need for need in needs if not _held(need, granted))


def _held(need: Need, granted: Mapping[str, frozenset[str]]) -> bool:
    return any(need.privilege in granted.get(path, frozenset()) for path in need.paths)


@record
class Grants:
    """`pveum` lines: those that are needed, and those for the rest, to be run after them."""

    required: tuple[str, ...]
    optional: tuple[str, ...]


def render_grants(
    required: Iterable[Need],
    optional: Iterable[Need],
    needs: Iterable[Need],
    *,
    roles: Mapping[str, frozenset[str]],
    user: str,
    token: str,
) -> Grants:
    """The lines that give what is missing of `needs` to the token `user!token`.

    An ACL replaces what is inherited on its path (AccessControl.pm, `roles`), so the first line for
    a path gives everything that is needed there and every optional right that is held already. A
    token never has more than its user, so both get it; root@pam has all.
    """
    needs, required, optional = tuple(needs), tuple(required), tuple(optional)
    whom = [f"--tokens {shlex.quote(f'{user}!{token}')}"]
    if user != "root@pam":
        whom.insert(0, f"--users {shlex.quote(user)}")
    first = {need.grant for need in required}
    kept = [need for need in needs if need not in optional]
    needed = [need for need in kept if need.grant in first]
    second = {need.grant for need in optional} - first
    rest = [need for need in kept if need.grant in second] + list(optional)
    made = dict(roles)
    return Grants(
        required=(*_role_lines(needed, made), *_acl_lines(needed, whom)),
        optional=(*_role_lines(rest, made), *_acl_lines(rest, whom)),
    )


def _role_lines(given: Iterable[Need], roles: dict[str, frozenset[str]]) -> list[str]:
    """The lines that make or widen the roles of `given`; `roles` holds them then."""
    by_role: dict[str, list[str]] = {}
    for need in given:
        by_role.setdefault(need.role, []).append(need.privilege)
    lines = []
    for role, privileges in by_role.items():
        wanted = dict.fromkeys(privileges)
        absent = [name for name in wanted if name not in roles.get(role, ())]
        if role not in roles:
            lines.append(f"pveum role add {role} --privs {','.join(wanted)}")
        elif absent:
            lines.append(f"pveum role modify {role} --append 1 --privs {','.join(absent)}")
        roles[role] = roles.get(role, frozenset()) | frozenset(wanted)
    return lines


def _acl_lines(given: Iterable[Need], whom: Iterable[str]) -> list[str]:
    by_path: dict[str, list[str]] = {}
    for need in given:
        by_path.setdefault(need.grant, []).append(need.role)
    return [
        f"pveum acl modify {path} {who} --roles {','.join(dict.fromkeys(names))}"
        for path, names in by_path.items()
        for who in whom
    ]
