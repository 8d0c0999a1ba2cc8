"""Rules between the keys of a domain controller; a host with role = "server" breaks none.

What a disk, a name, an address or a level must be before Windows is asked at all.
"""

import ipaddress
from collections.abc import Iterator

from builder.domain.tables import dc_release, level_number
from builder.releases import Release
from builder.spec.conflict import Conflict
from builder.spec.model import HostSpec
from builder.values import Bus, Channel

PATHS = ("database_path", "log_path", "sysvol_path")
LOWEST = "Win2008"
SAFE_CACHES = frozenset({"none", "directsync", "writethrough"})


def find_dc_conflicts(host: HostSpec, release: Release) -> Iterator[Conflict]:
    """Every rule that a future domain controller breaks."""
    if host.role != "dc":
        return
    for rule in (_domain, _names, _partner, _levels, _secrets, _modes):
        yield from rule(host, release)
    for rule in (_media, _disks, _paths, _network, _membership):
        yield from rule(host, release)


def _broken(key: str, what: str, hint: str = "", *reads: str) -> Conflict:
    return Conflict(key=key, reads=("role", key, *reads), what=what, hint=hint)


def _domain(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    if host.dc.domain is None:
        yield _broken("dc.domain", "a domain controller needs the name of its domain")
    elif host.dc.mode != "new-forest" and host.dc.credential_user is None:
        what = "an account of the domain has to promote the host"
        yield _broken("dc.credential_user", what, r"give it as 'CORP\admin'", "dc.mode")


def _names(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    if host.dc.domain is None:
        return
    first = host.dc.domain.partition(".")[0]
    netbios = host.dc.netbios or first.upper()
    if len(netbios) > 15:
        what = f"the domain's first label has {len(first)} characters, a NetBIOS name at most 15"
        yield _broken("dc.netbios", what, "give netbios", "dc.domain")
    if host.name.casefold() == netbios.casefold():
        # "Naming conventions in Active Directory": both live in one NetBIOS name space
        what = f"the computer and the domain have the same NetBIOS name {netbios.upper()}"
        yield _broken("name", what, "rename the computer", "dc.netbios", "dc.domain")


def _partner(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    dc = host.dc
    if dc.mode == "new-forest":
        if dc.partner or dc.replication_source:
            key = "dc.partner" if dc.partner else "dc.replication_source"
            yield _broken(key, "a new forest has no other domain controller", "", "dc.mode")
        return
    if dc.partner is None:
        what = "everything that decides success is checked on another writable DC of the domain"
        yield _broken("dc.partner", what, "name it, as dc2.ad.example.com", "dc.mode")
        return
    own = f"{host.name}.{dc.domain or ''}".casefold()
    for key, other in {"partner": dc.partner, "replication_source": dc.replication_source}.items():
        if other == own:
            what = "this is the host itself"
            yield _broken(f"dc.{key}", what, "name another DC", "dc.domain", "name")
    if dc.domain and dc.partner.partition(".")[2] != dc.domain:
        what = f"{dc.partner} is not in {dc.domain}: metadata are removed in the DC's own domain"
        yield _broken("dc.partner", what, "name a DC of the same domain", "dc.domain")
    if dc.partner_vmid and dc.partner_vmid == host.machine.vmid:
        what = "the partner cannot be the VM that is installed"
        yield _broken("dc.partner_vmid", what, "", "machine.vmid")


def _levels(host: HostSpec, release: Release) -> Iterator[Conflict]:
    dc, known = host.dc, dc_release(release.id)
    given = {"dc.forest_level": dc.forest_level, "dc.domain_level": dc.domain_level}
    for key, level in given.items():
        if level is None:
            continue
        if dc.mode != "new-forest":
            yield _broken(key, "a level is chosen for a new forest only", "", "dc.mode")
        elif not (
            level_number(known.lowest_level)
            <= level_number(level)
            <= level_number(known.highest_level)
        ):
            span = f"{known.lowest_level} to {known.highest_level}"
            what = f"{release.name} makes forests from {span}"
            yield _broken(key, what, "", "release")
    if (dc.forest_level is None) != (dc.domain_level is None):
        # Troubleshooting-Domain-Controller-Deployment.md, code 74
        what = "forest_level and domain_level go together, else the promotion ends with code 74"
        yield _broken("dc.domain_level", what, "give both or none", "dc.forest_level")
    elif level_number(dc.domain_level or LOWEST) < level_number(dc.forest_level or LOWEST):
        what = "the domain's level cannot be lower than the forest's"
        yield _broken("dc.domain_level", what, "", "dc.forest_level")


def _secrets(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    for name in ("credential", "dsrm"):
        file, variable = f"{name}_password_file", f"{name}_password_env"
        if getattr(host.dc, file) is not None and getattr(host.dc, variable) is not None:
            what = f"the password comes from {file} or from {variable}, not from both"
            yield _broken(f"dc.{variable}", what, "", f"dc.{file}")


def _modes(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    dc = host.dc
    replaces = dc.mode == "replacement"
    if dc.fsmo != "undecided" and not replaces:
        yield _broken("dc.fsmo", "roles are moved off a DC that is replaced", "", "dc.mode")
    if dc.fsmo_back and not replaces:
        yield _broken("dc.fsmo_back", "roles come back to a DC that is replaced", "", "dc.mode")
    if dc.reuse_account and not replaces:
        what = "only a replacement finds an old DC account"
        yield _broken("dc.reuse_account", what, "", "dc.mode")
    if dc.ifm_path and dc.mode == "new-forest":
        yield _broken("dc.ifm_path", "a new forest has nothing to copy", "", "dc.mode")
    if dc.delegated_admin and dc.mode != "rodc":
        yield _broken("dc.delegated_admin", "only an RODC has one", "", "dc.mode")
    if dc.mode == "rodc" and dc.site is None:
        # Troubleshooting-Domain-Controller-Deployment.md, code 58
        yield _broken("dc.site", "an RODC does not find its site by itself", "", "dc.mode")


def _media(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    if host.channel is Channel.EVALUATION:
        # MicrosoftDocs/windowsserverdocs, get-started: an evaluation DC cannot be converted
        what = "a DC on evaluation media can never be converted to a licensed one"
        yield _broken("channel", what, "give volume or retail media")
    if not host.machine.agent:
        what = "promotion runs through the guest agent"
        yield _broken("machine.agent", what, "leave it on")


def _disks(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    if host.disk.bus is Bus.SATA:
        what = "the database needs a disk that supports Forced Unit Access: VirtIO SCSI, not SATA"
        yield _broken("disk.bus", what, 'use disk.bus = "scsi"')
    if host.disk.cache not in SAFE_CACHES:
        what = f"cache {host.disk.cache} loses writes that the database believes to be on disk"
        yield _broken("disk.cache", what, 'use "none" or "directsync"')
    letters = {getattr(host.dc, path)[0] for path in PATHS}
    for index, disk in enumerate(host.data_disk):
        key = f"data_disk[{index}]"
        if disk.letter not in letters:
            continue
        if disk.filesystem != "ntfs":
            # error codes 37 and 39 ask for an NTFS volume
            yield _broken(f"{key}.filesystem", "database and SYSVOL lie on NTFS", "", "dc")
        if disk.on_reinstall == "keep" and host.dc.mode in {"replacement", "rodc"}:
            what = "a kept disk brings the old database along, and cannot stay as it was"
            hint = 'set on_reinstall = "fresh": the old disk stays detached'
            yield _broken(f"{key}.on_reinstall", what, hint, "dc")


def _paths(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    letters = {disk.letter for disk in host.data_disk}
    for name in PATHS:
        path = getattr(host.dc, name)
        if path[0] not in letters:
            what = f"{path} is on no data disk: database, logs and SYSVOL get a disk of their own"
            hint = f'add a [[host.data_disk]] with letter = "{path[0] if path[0] != "C" else "D"}"'
            yield _broken(f"dc.{name}", what, hint, "data_disk")
    if _within(host.dc.sysvol_path, host.dc.database_path):
        what = "SYSVOL and the database need folders of their own"
        yield _broken("dc.sysvol_path", what, "", "dc.database_path")


def _within(one: str, other: str) -> bool:
    first, second = f"{one}\\".casefold(), f"{other}\\".casefold()
    return first.startswith(second) or second.startswith(first)


def _network(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    own = {ipaddress.ip_interface(address).ip for nic in host.nic for address in nic.addresses}
    if not own:
        what = "a domain controller needs a static address"
        yield _broken("nic", what, "give nic.addresses")
    if host.dc.mode == "new-forest":
        return
    if own and not any(nic.dns for nic in host.nic):
        # Troubleshooting-Domain-Controller-Deployment.md, codes 23 and 25
        what = "without a DNS server the domain is not found"
        yield _broken("nic", what, "give nic.dns: an existing DC first", "dc.mode")
    for index, nic in enumerate(host.nic):
        first = ipaddress.ip_address(nic.dns[0]) if nic.dns else None
        if first is not None and (first in own or first.is_loopback):
            what = "before its promotion the host must not ask itself first"
            yield _broken(f"nic[{index}]", what, "put an existing DC first in dns", "dc.mode")


def _membership(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    if host.offline_join_file:
        what = "a DC is promoted from the workgroup, it is not joined before"
        yield _broken("offline_join_file", what, "leave it out")
    if host.account:
        yield _broken("account", "a domain controller has no local accounts", "leave them out")
