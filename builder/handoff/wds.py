"""The folder for Windows Deployment Services: answer files, drivers, and the import script.

An image unattend belongs to an image, not to a device, so each host has an entry of its own in the
image group; WDS stores equal content once.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from builder.answer.lint import AnswerKind
from builder.answer.render import (
    DISK_WAIT,
    SEARCH_LETTERS,
    guard_script,
    render_text,
    render_xml,
)
from builder.answer.verdict import refuse_findings
from builder.build import package_files
from builder.handoff.boot_image import find_boot_files, inject_files
from builder.handoff.host import Disc, HostFiles
from builder.handoff.tree import MANIFEST, Tree
from builder.handoff.winpe import copy_out
from builder.plan.carrier import STAGED, WdsServer, media_folder
from builder.plan.drivers import start_packages
from builder.plan.model import ImageByIndex, ImageByName, Plan
from builder.record import record
from builder.rehearsal.model import Step, passed, risk
from builder.values import WdsBoot

SUPPORT = "windows-itpro-docs windows/deployment/wds-boot-support.md"


@record
class WdsKit:
    """What the call gives beside the hosts; `secrets` tells that they are in the tree."""

    version: str
    secrets: bool


def write_wds(tree: Tree, hosts: Sequence[HostFiles], kit: WdsKit) -> None:
    """Lay the whole folder. Raises WinseedError (ANSWER, MEDIA, SPEC)."""
    discs: dict[str, Disc] = {}
    for host in hosts:
        if host.disc is not None:
            discs[media_folder(host.disc.windows)] = host.disc
        tree.add_text(f"unattend/client/{host.key}.xml", render_client(host.plan))
        image = f"unattend/image/{host.key}.xml"
        tree.add_text(image, host.answer, private=kit.secrets)
        for path, content in host.medium.items():
            tree.add(f"medium/{host.key}/{path}", content)
    drivers = [row for host in _one_of_each(hosts) for row in _write_drivers(tree, host, hosts)]
    guarded = carrier_of(hosts[0].plan).guarded
    if guarded:
        for name, disc in discs.items():
            _write_boot_image(tree, name, disc, hosts, kit)
    tree.add_text("hosts.json", _render_json(_plan(hosts, list(discs), drivers)))
    values = {"version": kit.version, "media": list(discs), "staged": STAGED}
    tree.add_text("import-wds.ps1", render_text("handoff/import-wds.ps1.j2", values))
    tree.add_text("README.md", _readme(hosts, list(discs), kit, guarded=guarded))
    names = [host.plan.host for host in hosts]
    tree.add_text(MANIFEST, _render_json({"version": 1, "kind": "wds", "hosts": names}))


def render_client(plan: Plan) -> bytes:
    """The client unattend, judged as one; WinseedError (ANSWER) when WDS would not take it."""
    data = render_xml("handoff/client-unattend.xml.j2", plan)
    refuse_findings(plan, data, kind=AnswerKind.WDS_CLIENT)
    return data


def carrier_of(plan: Plan) -> WdsServer:
    """The carrier of a plan for WDS."""
    if not isinstance(plan.carrier, WdsServer):
        raise TypeError(type(plan.carrier))
    return plan.carrier


def boot_steps(plan: Plan) -> tuple[Step, ...]:
    """What the rehearsal says of the boot: release, switch, guard."""
    carrier = carrier_of(plan)
    steps = [
        risk(
            "wds.hands-free",
            "WDS hands out no answer file unless AllowHandsFreeFunctionality is 1 on the server",
            why="whoever is on the boot network reads it then (CVE-2026-0386)",
            fix="winseed handoff ipxe, or import-wds.ps1 -AllowHandsFree on a network of its own",
            source="KB5074952",
        )
    ]
    if carrier.boot is WdsBoot.WARNS:
        what = f"{plan.release_name}: a deprecation message has to be dismissed on the screen"
        steps.append(risk("wds.release", what, fix="winseed handoff ipxe", source=SUPPORT))
    else:
        steps.append(passed("wds.release", f"{plan.release_name}: supported", source=SUPPORT))
    if carrier.guarded:
        what = "the disk guard in the boot image runs before the disk is erased"
        steps.append(risk("wds.guard", what, beliefs=("FT65",)))
    what = "the first-boot files reach C: by $OEM$ beside the image"
    steps.append(risk("wds.files", what, beliefs=("FT67",)))
    return tuple(steps)


def _one_of_each(hosts: Sequence[HostFiles]) -> list[HostFiles]:
    """A host for every set of drivers."""
    return list({_group(host.plan): host for host in hosts}.values())


def _group(plan: Plan) -> str:
    """The driver group: one release of virtio-win has one folder for one release of Windows."""
    return f"winseed-{plan.release}-{plan.drivers.virtio_release}-{plan.drivers.os}"


def _write_drivers(
    tree: Tree, host: HostFiles, hosts: Sequence[HostFiles]
) -> list[Mapping[str, Any]]:
    """The union of what the hosts of a group need, each package once."""
    group = _group(host.plan)
    members = [one for one in hosts if _group(one.plan) == group]
    media = sorted({media_folder(one.disc.windows) for one in members if one.disc})
    rows: list[Mapping[str, Any]] = []
    found = {package.driver: package for one in members for package in one.plan.drivers.packages}
    started = {package.driver for one in members for package in start_packages(one.plan.drivers)}
    for driver, package in found.items():
        folder = f"drivers/{group}/{driver}"
        for path, content in package_files(package, folder).items():
            tree.add(path, content)
        rows.append(
            {
                "group": group,
                "inf": f"{folder}/{package.inf}",
                "version": package.version,
                "boot": driver in started,
                "media": media,
            }
        )
    return rows


def _write_boot_image(
    tree: Tree, name: str, disc: Disc, hosts: Sequence[HostFiles], kit: WdsKit
) -> None:
    """boot.wim with the guard inside; drivers are added by WDS itself, which installs them."""
    boot = find_boot_files(disc.image, disc.windows)
    path = f"boot/{name}.wim"
    target = tree.place(path)
    copy_out(boot.wim, target)
    files = {}
    for host in {guard_script(host.plan): host for host in hosts}.values():
        script = guard_script(host.plan)
        place = f"boot/{script}"
        if place not in tree.placed:
            tree.add_text(place, _render_guard(host.plan, kit))
        files[f"/winseed/{script}"] = tree.root / place
    inject_files(target, boot.index, files, epoch=tree.epoch)
    tree.adopt(path)


def _render_guard(plan: Plan, kit: WdsKit) -> bytes:
    values = {
        "plan": plan,
        "banner": f"winseed {kit.version}, for every host of this boot image",
        "build_id": "wds",
        "packages": (),
        "boot_packages": (),
        "drvload": False,
        "letters": " ".join(SEARCH_LETTERS),
        "disk_wait": DISK_WAIT,
        "staged": "",
    }
    return render_text("scripts/winpe.cmd.j2", values)


def _plan(
    hosts: Sequence[HostFiles], media: list[str], drivers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "version": 1,
        "group": carrier_of(hosts[0].plan).group,
        "media": media,
        "drivers": list(drivers),
        "hosts": [
            {
                "host": host.key,
                "name": host.plan.host,
                "device_ids": [nic.identifier for nic in host.plan.nics],
                "media": media_folder(host.disc.windows) if host.disc else "",
                "image": _image_name(host.plan),
                "fingerprint": host.plan.fingerprint,
            }
            for host in hosts
        ],
    }


def _image_name(plan: Plan) -> str:
    match plan.image:
        case ImageByIndex(name=name) | ImageByName(name=name):
            return name


def _render_json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()


def _readme(hosts: Sequence[HostFiles], media: list[str], kit: WdsKit, *, guarded: bool) -> bytes:
    rows = [
        {
            "name": host.plan.host,
            "windows": f"{host.plan.release_name} {host.plan.edition.value}",
            "macs": ", ".join(nic.mac for nic in host.plan.nics),
            "fingerprint": host.plan.fingerprint,
        }
        for host in hosts
    ]
    values = {
        "version": kit.version,
        "hosts": rows,
        "media_arguments": "; ".join(f"'{name}' = 'E:\\'" for name in media),
        "secrets": kit.secrets,
        "guarded": guarded,
    }
    return render_text("handoff/wds-readme.md.j2", values)
