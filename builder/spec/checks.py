"""What single keys cannot tell: rules between the keys of one host, and between hosts.

Pure; the only outside knowledge is the release tables. Each finding names the keys it has read,
so that a host with one bad key still gets every verdict that does not depend on it.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import assert_never

from builder.drivers import layout_releases
from builder.releases import Release, load_release
from builder.spec.conflict import Conflict
from builder.spec.domain_checks import find_dc_conflicts
from builder.spec.model import DataDiskSpec, HostSpec, NicSpec, SiteSpec
from builder.tables import nearest
from builder.values import Bus, Channel, Delivery, Firmware, derive_mac

# learn.microsoft.com, "Hardware requirements for Windows Server": 32 GB is the stated minimum
SMALLEST_WINDOWS_MIB = 32 * 1024 - 4 * 1024
PARTITION_TABLE_MIB = 2
REFS_UNITS = (4096, 65536)
DEFAULT_RELEASE = "2022"
FIRST_SATA_DATA, LAST_SATA = 2, 5  # pve-docs qm.adoc: six SATA slots


def find_conflicts(host: HostSpec) -> Iterator[Conflict]:
    """Every rule between keys that `host` breaks."""
    release = load_release(host.release or DEFAULT_RELEASE)
    for rule in RULES:
        yield from rule(host, release)


def find_doubles(site: SiteSpec, hosts: tuple[HostSpec, ...]) -> Iterator[tuple[int, str, str]]:
    """Names and MAC addresses that two hosts share, as (index of the later host, key, what)."""
    names: dict[str, int] = {}
    macs: dict[str, int] = {}
    for index, host in enumerate(hosts):
        first = names.setdefault(host.name.casefold(), index)
        if first != index:
            yield index, "name", f"host[{first}] is called {host.name} as well"
        for number, nic in enumerate(host.nic):
            mac = nic.mac or derive_mac(site.name, host.name, number)
            owner = macs.setdefault(mac, index)
            if owner != index:
                yield (
                    index,
                    f"nic[{number}].mac",
                    f"host[{owner}] has the MAC address {mac} as well",
                )


def required_mib(host: HostSpec) -> int:
    """What the partitions beside Windows take, in MiB."""
    disk = host.disk
    recovery = 0 if disk.recovery == "none" else disk.recovery_mib
    match disk.layout:
        case Firmware.UEFI:
            fixed = disk.efi_mib + disk.msr_mib
        case Firmware.BIOS:
            fixed = disk.system_mib
        case _:
            assert_never(disk.layout)
    return fixed + recovery + PARTITION_TABLE_MIB


def _edition(host: HostSpec, release: Release) -> Iterator[Conflict]:
    if release.image(host.sku, host.edition) is None:
        have = sorted({image.sku.value for image in release.images})
        yield Conflict(
            key="sku",
            reads=("sku", "release", "edition"),
            what=f"{release.name} has no {host.sku.value} edition",
            hint=f"it comes as {', '.join(have)}",
        )


def _key(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    given = host.product_key not in {"auto", "none"}
    if given and host.channel is Channel.EVALUATION:
        yield Conflict(
            key="product_key",
            reads=("product_key", "channel"),
            what="evaluation media refuse a product key",
            hint='set product_key = "none", or use volume or retail media',
        )
    if host.product_key == "auto" and host.channel is Channel.RETAIL:
        yield Conflict(
            key="product_key",
            reads=("product_key", "channel"),
            what="retail media need your product key; no KMS client key fits them",
            hint='set product_key to your key, or to "none" to be asked after installation',
        )
    if host.sku.value == "azure" and host.windows_iso is None:
        yield Conflict(
            key="windows_iso",
            reads=("sku", "windows_iso"),
            what="the image name of the Azure Edition is not public; its media must be read",
            hint="give --windows-iso",
        )


def _firmware(host: HostSpec, release: Release) -> Iterator[Conflict]:
    if host.disk.layout not in release.firmware:
        yield Conflict(
            key="disk.layout",
            reads=("disk.layout", "release"),
            what=f"{release.name} is not installed with {host.disk.layout.value} firmware: its "
            "Setup is reported to write no MBR boot code",
            hint='use layout = "uefi"',
        )


def _disk(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    left = host.disk.size_gib * 1024 - required_mib(host)
    if left < SMALLEST_WINDOWS_MIB:
        yield Conflict(
            key="disk.size_gib",
            reads=("disk",),
            what=f"{left} MiB are left for Windows, at least {SMALLEST_WINDOWS_MIB} are needed",
            hint="enlarge the disk or shrink the other partitions",
        )


def _delivery(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    ways = host.driver_delivery
    if ways is None or host.disk.bus is Bus.SATA:
        return
    if not ways:
        yield Conflict(
            key="driver_delivery",
            reads=("driver_delivery", "disk.bus"),
            what="without any delivery Setup sees no VirtIO disk",
            hint="leave the key out to use every way",
        )
    elif Delivery.DRVLOAD not in ways and host.disk.wipe == "refuse":
        yield Conflict(
            key="driver_delivery",
            reads=("driver_delivery", "disk.bus", "disk.wipe"),
            what="without drvload the guard cannot look at the disk before it is erased",
            hint='keep "drvload", or set disk.wipe = "existing"',
        )
    if len(set(ways)) != len(ways):
        yield Conflict(
            key="driver_delivery", reads=("driver_delivery",), what="a way is named twice"
        )


def _data_disks(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    for key in ("letter", "slot"):
        counts = Counter(getattr(disk, key) for disk in host.data_disk)
        for value in [value for value, count in counts.items() if count > 1]:
            yield Conflict(
                key="data_disk",
                reads=("data_disk",),
                what=f"{key} {value} is used by more than one disk",
            )
    sizes = Counter(disk.size_gib for disk in host.data_disk)
    for size in [size for size, count in sizes.items() if count > 1]:
        if host.disk.bus is not Bus.SCSI:
            yield Conflict(
                key="data_disk",
                reads=("data_disk", "disk.bus"),
                what=f"two disks of {size} GiB cannot be told apart on {host.disk.bus.value}: only "
                "SCSI shows Windows the slot",
                hint='use disk.bus = "scsi", or give each disk a size of its own',
            )
    for index, disk in enumerate(host.data_disk):
        yield from _data_disk(f"data_disk[{index}]", disk, host.disk.bus)


def _data_disk(key: str, disk: DataDiskSpec, bus: Bus) -> Iterator[Conflict]:
    unit = disk.allocation_unit
    if disk.filesystem == "refs" and unit not in (None, *REFS_UNITS):
        yield Conflict(
            key=f"{key}.allocation_unit",
            reads=(key,),
            what=f"ReFS has allocation units of 4096 or 65536 bytes, not {unit}",
        )
    if disk.filesystem == "ntfs" and len(disk.label) > 32:
        yield Conflict(key=f"{key}.label", reads=(key,), what="an NTFS label has 32 characters")
    if bus is Bus.VIRTIO and disk.slot > 15:
        yield Conflict(
            key=f"{key}.slot",
            reads=(key, "disk.bus"),
            what=f"VirtIO Block ends at virtio15, there is no virtio{disk.slot}",
        )
    if bus is Bus.SATA and not FIRST_SATA_DATA <= disk.slot <= LAST_SATA:
        yield Conflict(
            key=f"{key}.slot",
            reads=(key, "disk.bus"),
            what=f"sata{disk.slot} cannot be a data disk: sata0 is the answer ISO, sata1 the "
            f"install disk, and SATA ends at sata{LAST_SATA}",
        )


def _nics(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    macs = Counter(nic.mac for nic in host.nic if nic.mac)
    for mac in [mac for mac, count in macs.items() if count > 1]:
        yield Conflict(key="nic", reads=("nic",), what=f"two cards have the MAC address {mac}")
    addresses = Counter(a.split("/")[0] for nic in host.nic for a in nic.addresses)
    for address in [address for address, count in addresses.items() if count > 1]:
        yield Conflict(key="nic", reads=("nic",), what=f"the address {address} is given twice")
    for index, nic in enumerate(host.nic):
        for what, hint in _nic(nic):
            key = f"nic[{index}]"
            yield Conflict(key=key, reads=(key,), what=what, hint=hint)


def _nic(nic: NicSpec) -> Iterator[tuple[str, str]]:
    interfaces = [ipaddress.ip_interface(text) for text in nic.addresses]
    gateways = [ipaddress.ip_address(text) for text in nic.gateways]
    if gateways and not interfaces:
        yield "a gateway without addresses has no effect with DHCP", "give addresses as well"
        return
    for version, count in Counter(gateway.version for gateway in gateways).items():
        if count > 1:
            yield f"there is more than one IPv{version} gateway", "keep one per address family"
    for gateway in gateways:
        family = [i for i in interfaces if i.version == gateway.version]
        if not any(gateway in i.network for i in family) and not gateway.is_link_local:
            networks = ", ".join(str(i.network) for i in family) or "no network of its family"
            yield f"the gateway {gateway} cannot be reached from {networks}", "check the prefix"
        if any(gateway == i.ip for i in family):
            yield f"the gateway {gateway} is the host's own address", ""


def _accounts(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    counts = Counter(account.name.casefold() for account in host.account)
    for name in [name for name, count in counts.items() if count > 1]:
        yield Conflict(key="account", reads=("account",), what=f"{name!r} is given twice")
    for index, account in enumerate(host.account):
        key = f"account[{index}]"
        if account.name.casefold() in {"administrator", "guest", "defaultaccount", "system"}:
            yield Conflict(
                key=f"{key}.name", reads=(key,), what=f"{account.name!r} is a built-in account"
            )
        if account.name.casefold() == host.name.casefold():
            yield Conflict(
                key=f"{key}.name", reads=(key, "name"), what="the computer has the same name"
            )
        if (account.password_file is None) == (account.password_env is None):
            yield Conflict(
                key=key,
                reads=(key,),
                what="the password must come from password_file or from password_env",
            )


def _membership(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    if host.workgroup and host.offline_join_file:
        yield Conflict(
            key="workgroup",
            reads=("workgroup", "offline_join_file"),
            what="a computer is in a workgroup or in a domain, not in both",
        )


def _updates(host: HostSpec, release: Release) -> Iterator[Conflict]:
    updates = host.updates
    if updates.mode == "wsus" and updates.server is None:
        yield Conflict(
            key="updates.server", reads=("updates",), what="mode wsus needs the server's address"
        )
    if updates.mode != "wsus":
        for key in ("server", "status_server", "target_group"):
            if getattr(updates, key) is not None:
                yield Conflict(
                    key=f"updates.{key}",
                    reads=("updates",),
                    what=f"has no effect with mode {updates.mode}",
                    hint='set mode = "wsus" or leave it out',
                )
    if updates.mode == "wsus" and updates.install == "notify" and not release.au_option_7:
        yield Conflict(
            key="updates.install",
            reads=("updates", "release"),
            what=f"{release.name} does not know notify (AUOptions 7)",
            hint="use download or schedule",
        )
    yield from _files(host, "updates.packages", host.updates.packages, (".msu", ".cab"))


def _remote(host: HostSpec, release: Release) -> Iterator[Conflict]:
    remote = host.remote
    package = remote.openssh_package
    if remote.ssh and not release.openssh_inbox and package is None:
        yield Conflict(
            key="remote.ssh",
            reads=("remote", "release"),
            what=f"{release.name} has no OpenSSH server of its own",
            hint="give openssh_package = an OpenSSH MSI or FoD .cab",
        )
    if package is not None:
        if not remote.ssh:
            yield Conflict(
                key="remote.openssh_package", reads=("remote",), what="has no effect without ssh"
            )
        yield from _files(host, "remote.openssh_package", (package,), (".msi", ".cab"))


def _virtio(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    known = layout_releases()
    if host.virtio_iso is None and host.virtio_release not in known:
        guess = nearest(host.virtio_release, known)
        yield Conflict(
            key="virtio_release",
            reads=("virtio_release", "virtio_iso"),
            what=f"the folders of virtio-win {host.virtio_release} are not known"
            + (f"; did you mean {guess}?" if guess else ""),
            hint=f"give virtio_iso, or one of {', '.join(known)}",
        )


def _scripts(host: HostSpec, _release: Release) -> Iterator[Conflict]:
    yield from _files(host, "first_boot", host.first_boot, (".cmd", ".ps1"))


def _files(
    _host: HostSpec, key: str, paths: tuple[PurePath, ...], suffixes: tuple[str, ...]
) -> Iterator[Conflict]:
    for path in paths:
        if path.suffix.casefold() not in suffixes:
            yield Conflict(
                key=key, reads=(key,), what=f"{path.name!r} is not a {' or '.join(suffixes)} file"
            )
        elif not path.name.isascii() or set(path.name) & set("<>:\"|?*%!^&'`$;,()[]{} "):
            yield Conflict(
                key=key,
                reads=(key,),
                what=f"the file name {path.name!r} holds blanks, accents or signs that mean "
                "something to cmd or PowerShell",
                hint="rename it to letters, digits, dots, hyphens and underscores",
            )


RULES: tuple[Callable[[HostSpec, Release], Iterator[Conflict]], ...] = (
    *(_edition, _key, _firmware, _disk, _delivery, _data_disks, _nics),
    *(_accounts, _membership, _updates, _remote, _scripts, _virtio, find_dc_conflicts),
)
