"""The tree for network boot by iPXE and wimboot, with or without a share.

http/    boot.ipxe, boot/, wimboot, media/, winpe/, drivers/, hosts/, secret/
share/   hosts/, media/ (for the way by share)
server/  dnsmasq.conf, nginx.conf, smb.conf
"""

import json
from collections.abc import Mapping, Sequence
from typing import assert_never
from urllib.parse import quote

from builder.answer.render import render_text
from builder.disc import Content, InlineFile
from builder.handoff.boot_image import disc_source, find_boot_files
from builder.handoff.host import HostFiles
from builder.handoff.partitions import WINDOWS_LETTER, render_partitions
from builder.handoff.servers import Site, server_texts
from builder.handoff.tree import MANIFEST, Placed, Tree
from builder.handoff.winpe import (
    HTTP,
    NAMES,
    Initrd,
    NetworkKit,
    add_curl,
    boot_wim,
    carrier_of,
    inject_boot_image,
    shared_initrds,
)
from builder.plan.carrier import STAGED, AppliedImage, SetupShare
from builder.plan.drivers import start_packages
from builder.plan.model import ImageByIndex, Plan
from builder.record import record
from builder.values import Firmware

SHARE = "share"
SECRET = "secret"  # noqa: S105 - a folder below HTTP, served only if asked for by name


@record
class HostBoot:
    """What a host's iPXE script fetches, in its order."""

    host: HostFiles
    initrds: tuple[Initrd, ...]


def write_ipxe(tree: Tree, hosts: Sequence[HostFiles], kit: NetworkKit) -> None:
    """Lay the whole tree. Raises WinseedError (SPEC, MEDIA) for what cannot be booted so."""
    tree.add(f"{HTTP}/wimboot", kit.wimboot.content)
    if kit.login is not None:
        values = {"user": kit.login.user, "password": kit.login.password.reveal()}
        login = render_text("handoff/login.cmd.j2", values)
        tree.add_text(f"{HTTP}/{SECRET}/login.cmd", login, private=True)
    for disc_hosts in _by_media(hosts).values():
        _write_media(tree, disc_hosts, kit)
    boots = [_write_host(tree, host, kit) for host in hosts]
    menu = render_text("handoff/boot.ipxe.j2", {"hosts": hosts, "version": kit.version})
    tree.add_text(f"{HTTP}/boot.ipxe", menu)
    _write_servers(tree, hosts, kit)
    tree.add_text(MANIFEST, _manifest(tree, boots, kit))


def _by_media(hosts: Sequence[HostFiles]) -> dict[str, list[HostFiles]]:
    found: dict[str, list[HostFiles]] = {}
    for host in hosts:
        found.setdefault(carrier_of(host.plan).media, []).append(host)
    return found


def _write_media(tree: Tree, hosts: Sequence[HostFiles], kit: NetworkKit) -> None:
    """What all hosts of one Windows disc share: boot files, and the disc or its image."""
    disc = hosts[0].disc
    if disc is None:
        raise TypeError(hosts[0].key)
    carrier = carrier_of(hosts[0].plan)
    folder = f"{HTTP}/media/{carrier.media}"
    boot = find_boot_files(disc.image, disc.windows)
    for name, content in boot.companions.items():
        tree.add(f"{folder}/{name}", content)
    match carrier:
        case SetupShare():
            for file in disc.image.files.values():
                place = f"{SHARE}/media/{carrier.media}/{file.path}"
                tree.add_foreign(place, disc_source(disc.image, file))
        case AppliedImage():
            install = disc.image.find(disc.windows.install_path)
            if install is None:
                raise TypeError(disc.windows.install_path)
            tree.add(f"{folder}/{carrier.image}", disc_source(disc.image, install))
            add_curl(tree, hosts[0], kit)
        case _:
            assert_never(carrier)
    if not kit.inject:
        tree.add(f"{folder}/boot.wim", boot.wim)
        return
    for host in hosts:
        inject_boot_image(tree, host, boot, kit)


def _write_host(tree: Tree, host: HostFiles, kit: NetworkKit) -> HostBoot:
    plan, carrier = host.plan, carrier_of(host.plan)
    path = f"hosts/{host.key}/host.cmd"
    tree.add_text(f"{HTTP}/{path}", _host_script(host))
    initrds = [] if kit.inject else shared_initrds(tree, host, kit)
    initrds.append(Initrd(name=NAMES["host"], path=path))
    match carrier:
        case SetupShare():
            folder = f"{SHARE}/hosts/{host.key}"
            tree.add_text(f"{folder}/autounattend.xml", host.answer, private=True)
            _add_medium(tree, f"{folder}/medium", host.medium)
            initrds.append(Initrd(name=NAMES["login"], path=f"{SECRET}/login.cmd"))
        case AppliedImage():
            answer = f"{SECRET}/{host.key}/answer.xml"
            tree.add_text(f"{HTTP}/{answer}", host.answer, private=True)
            _write_fetched(tree, host, carrier)
            initrds.append(Initrd(name=NAMES["answer"], path=answer))
        case _:
            assert_never(carrier)
    media = f"media/{carrier.media}"
    companions = ("BCD", "boot.sdi", "bootmgr")
    initrds += [
        Initrd(name=name, path=f"{media}/{name}")
        for name in companions
        if f"{HTTP}/{media}/{name}" in tree.placed
    ]
    initrds.append(Initrd(name="boot.wim", path=boot_wim(host, kit)))
    values = {"plan": plan, "version": kit.version, "initrds": initrds}
    script = render_text("handoff/host.ipxe.j2", values)
    tree.add_text(f"{HTTP}/boot/{host.key}.ipxe", script)
    for mac in _macs(plan):
        tree.add_text(f"{HTTP}/boot/{mac}.ipxe", script)
    return HostBoot(host=host, initrds=tuple(initrds))


def _macs(plan: Plan) -> list[str]:
    """The cards as iPXE's `hexhyp` writes them."""
    return [nic.mac.lower().replace(":", "-") for nic in plan.nics]


def _add_medium(tree: Tree, folder: str, medium: Mapping[str, Content]) -> None:
    for path, content in medium.items():
        tree.add(f"{folder}/{path}", content)


def _host_script(host: HostFiles) -> bytes:
    plan, carrier = host.plan, carrier_of(host.plan)
    match carrier:
        case SetupShare():
            settings = {
                "SERVER": carrier.server,
                "SHARE": carrier.share,
                "MEDIA": carrier.media,
            }
        case AppliedImage():
            index = plan.image.index if isinstance(plan.image, ImageByIndex) else 0
            firmware = "UEFI" if plan.disk.layout is Firmware.UEFI else "BIOS"
            settings = {
                "URL": carrier.url,
                "MEDIA": carrier.media,
                "IMAGE": carrier.image,
                "INDEX": str(index),
                "FIRMWARE": firmware,
            }
        case _:
            assert_never(carrier)
    values = {
        "banner": f"winseed {plan.version}, build {plan.fingerprint} for {plan.host}",
        "plan": plan,
        "infs": [package.inf for package in start_packages(plan.drivers)],
        "settings": settings,
    }
    return render_text("handoff/host.cmd.j2", values)


def _write_fetched(tree: Tree, host: HostFiles, carrier: AppliedImage) -> None:
    """The medium over HTTP, and the two lists that curl fetches it by."""
    plan, folder = host.plan, f"hosts/{host.key}"
    partitions = render_partitions(plan.disk)
    medium = {**host.medium, "partitions.txt": InlineFile(data=partitions)}
    _add_medium(tree, f"{HTTP}/{folder}/medium", medium)
    boot = tuple(f"{package.folder}/" for package in plan.drivers.boot_packages)
    marker = f"winseed/{plan.fingerprint}.id"
    first = [
        path
        for path in medium
        if path in {marker, "winseed/winpe.cmd", "partitions.txt"} or path.startswith(boot)
    ]
    lists = {
        "winpe.txt": (first, f"X:/{STAGED}"),
        "medium.txt": (list(medium), f"{WINDOWS_LETTER}:/{STAGED}"),
    }
    for name, (paths, root) in lists.items():
        files = [
            {"path": quote(f"{folder}/medium/{path}"), "target": f"{root}/{path}"}
            for path in sorted(paths)
        ]
        values = {"files": files, "url": carrier.url}
        tree.add_text(f"{HTTP}/{folder}/{name}", render_text("handoff/fetch.txt.j2", values))


def _write_servers(tree: Tree, hosts: Sequence[HostFiles], kit: NetworkKit) -> None:
    carrier = carrier_of(hosts[0].plan)
    share = carrier if isinstance(carrier, SetupShare) else None
    site = Site(
        server=kit.server,
        url=f"http://{kit.server}",
        subnet=kit.subnet,
        share=share,
        injected=kit.inject,
        signed=kit.wimboot.signed,
        wimboot=kit.wimboot.version,
        version=kit.version,
    )
    rows: list[Mapping[str, str]] = [
        {
            "name": host.plan.host,
            "windows": f"{host.plan.release_name} {host.plan.edition.value}",
            "macs": ", ".join(nic.mac for nic in host.plan.nics),
            "fingerprint": host.plan.fingerprint,
        }
        for host in hosts
    ]
    for path, data in server_texts(site, rows).items():
        tree.add_text(path, data)


def _manifest(tree: Tree, boots: Sequence[HostBoot], kit: NetworkKit) -> bytes:
    """What each host fetches, in order and with sizes, for `winseed serve` and for checks."""
    document = {
        "version": 1,
        "winseed": kit.version,
        "kind": "ipxe",
        "root": HTTP,
        "secret": SECRET,
        "hosts": [
            {
                "host": boot.host.plan.host,
                "fingerprint": boot.host.plan.fingerprint,
                "macs": _macs(boot.host.plan),
                "fetches": [
                    {"path": path, "size": _placed(tree, path).size}
                    for path in (
                        "wimboot",
                        *(initrd.path for initrd in boot.initrds),
                    )
                ],
            }
            for boot in boots
        ],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _placed(tree: Tree, path: str) -> Placed:
    return tree.placed[f"{HTTP}/{path}"]
