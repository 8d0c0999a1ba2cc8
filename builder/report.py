"""What winseed tells: the manifest on the disc, results as versioned JSON, and plain text.

Nothing here can hold a secret: plans print theirs as `***`, and files that hold one are listed
without a hash.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from builder.disc import Content, SourceFile, compute_sha256
from builder.machine import install_slot
from builder.plan.model import (
    GivenKey,
    ImageByIndex,
    ImageByName,
    KmsClientKey,
    NoKey,
    Plan,
    plan_document,
)
from builder.rehearsal.model import Rehearsal, Verdict
from builder.rehearsal.report import summary_line
from builder.values import Bus, Delivery, Firmware

if TYPE_CHECKING:
    from builder.build import Delivered

VERSION = 1
NEXT = (
    "upload, mount, start, press a key at the Windows CD's prompt; when Windows is up: "
    "`winseed settle {host}`, or by hand: eject all three CDs and delete {what}"
)
ASSUMED_CHANNEL = "FT09"  # answer_templates/beliefs.toml
SLOTS = {"windows": "ide2", "virtio": "ide0", "answer": "sata0"}


def render_manifest(
    plan: Plan, files: Mapping[str, Content], *, secret: Collection[str], epoch: int
) -> bytes:
    """The manifest of a medium: its plan and every file with size and SHA-256."""
    listed = [
        {
            "path": path,
            "size": content.size,
            "sha256": None if path in secret else _sha256(content),
        }
        for path, content in sorted(files.items())
    ]
    document = {
        "version": VERSION,
        "winseed": plan.version,
        "fingerprint": plan.fingerprint,
        "host": plan.host,
        "epoch": epoch,
        "plan": plan_document(plan),
        "files": listed,
    }
    return render_json(document)


def _sha256(content: Content) -> str:
    """A hash that is known is not taken again: `write_disc` compares it with what it reads back."""
    known = content.sha256 if isinstance(content, SourceFile) else None
    return known.lower() if known else compute_sha256(content)


def render_json(document: Mapping[str, Any]) -> bytes:
    """JSON as all results print it: two blanks deep, UTF-8, a line end.

    Bytes of a path that are not UTF-8 become JSON's own escapes of their surrogates.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def describe_image(plan: Plan) -> str:
    """The image as a person says it."""
    match plan.image:
        case ImageByIndex():
            return f"image {plan.image.index}, {plan.image.display_name or plan.image.name}"
        case ImageByName():
            return f"image {plan.image.name!r} (unverified: no Windows ISO was read)"
        case _:
            assert_never(plan.image)


def describe_key(plan: Plan) -> str:
    """The product key as a person says it, without showing a given one."""
    match plan.key:
        case NoKey():
            return f"no product key ({plan.key.reason})"
        case KmsClientKey():
            return f"KMS client key {plan.key.key}"
        case GivenKey():
            return "product key as given (***)"
        case _:
            assert_never(plan.key)


def describe_channel(plan: Plan) -> str:
    """The licensing channel, and whether it was read or is taken for granted."""
    assumed = any(risk.id == ASSUMED_CHANNEL for risk in plan.risks)
    return f"{plan.channel.value} media{' assumed' if assumed else ''}"


def describe_deliveries(plan: Plan) -> str:
    """The ways that the storage drivers really take: `$WinPEDriver$` needs drivers on the ISO."""
    if plan.disk.bus is Bus.SATA:
        return "none needed: Windows has the driver of a SATA disk"
    ways = [
        way.value
        for way in plan.drivers.deliveries
        if plan.drivers.carried or way is not Delivery.WINPE_DRIVER
    ]
    return ", ".join(ways) or "none"


def describe_drivers(plan: Plan) -> str:
    """Which drivers, from where."""
    names = ", ".join(package.driver for package in plan.drivers.packages)
    place = "carried on the answer ISO" if plan.drivers.carried else "on the virtio-win CD"
    return f"{names} of virtio-win {plan.drivers.virtio_release} ({plan.drivers.os}), {place}"


def describe_disks(plan: Plan) -> str:
    """The install disk and its partitions."""
    parts = " + ".join(
        f"{part.label or part.kind} {'rest' if part.size_mib is None else f'{part.size_mib} MiB'}"
        for part in plan.disk.partitions
    )
    return f"{plan.disk.size_gib} GiB on {plan.disk.bus.value}, {plan.disk.layout.value}: {parts}"


def disk_slot(plan: Plan) -> str:
    """The slot of the install disk: `scsi0`."""
    return str(install_slot(plan.disk.bus))


def describe_machine(plan: Plan) -> str:
    """The VM in Proxmox VE's own words."""
    machine = plan.machine
    firmware = "bios=ovmf" if plan.disk.layout is Firmware.UEFI else "bios=seabios"
    if machine.secure_boot:
        firmware += " efidisk0=efitype=4m,pre-enrolled-keys=1"
    elif plan.disk.layout is Firmware.UEFI:
        firmware += " efidisk0=efitype=4m"
    tpm = " tpmstate0=version=v2.0" if machine.tpm else ""
    hardware = " scsihw=virtio-scsi-single" if plan.disk.bus is Bus.SCSI else ""
    return (
        f"machine=q35 {firmware}{tpm} ostype={machine.ostype} cpu={machine.cpu} "
        f"cores={machine.cores} memory={machine.memory_mib}{hardware} "
        f"agent={int(machine.agent)} serial0=socket boot=order={disk_slot(plan)};{SLOTS['windows']}"
    )


def describe_nics(plan: Plan) -> str:
    """Every card in Proxmox VE's own words: addresses are given by MAC, so each must be right."""
    return " ".join(
        f"net{number}={nic.model}={nic.mac},bridge={nic.bridge}"
        + (f",tag={nic.vlan}" if nic.vlan is not None else "")
        for number, nic in enumerate(plan.nics)
    )


def plan_lines(plan: Plan) -> list[str]:
    """The plan as `winseed plan` prints it, one fact a line."""
    locale = plan.locale
    rows = [
        ("host", plan.host),
        ("windows", f"{plan.release_name} {plan.sku.value} {plan.edition.value}"),
        ("image", describe_image(plan)),
        ("channel", f"{plan.channel.value}; {describe_key(plan)}"),
        ("disk", describe_disks(plan)),
        ("guard", "powers off if the disk is not empty" if plan.disk.guard else "OFF: erases"),
        *[("data disk", _data_disk(disk)) for disk in plan.disk.data_disks],
        ("drivers", describe_drivers(plan)),
        ("delivery", describe_deliveries(plan)),
        *[("nic", _nic(nic)) for nic in plan.nics],
        ("locale", f"{locale.ui_language}, {locale.input_locale}, {locale.time_zone}"),
        ("accounts", _accounts(plan)),
        ("updates", plan.updates.mode + (f"; {plan.updates.duty}" if plan.updates.duty else "")),
        ("remote", _remote(plan)),
        ("first boot", ", ".join(step.name for step in plan.steps)),
        ("vm", describe_machine(plan)),
        *[("no driver", device) for device in plan.drivers.without_driver],
        *[("risk", f"{risk.id} {risk.what}") for risk in plan.risks],
        ("fingerprint", plan.fingerprint),
    ]
    return [f"{name:<12} {text}" for name, text in rows]


def _data_disk(disk: Any) -> str:
    return (
        f"{disk.letter}: {disk.size_gib} GiB {disk.filesystem} {disk.label!r}, slot {disk.slot}, "
        f"on reinstall {disk.on_reinstall}; attach it after the installation"
    )


def _nic(nic: Any) -> str:
    addresses = ", ".join(nic.addresses) or "DHCP"
    via = f" via {', '.join(route.next_hop for route in nic.routes)}" if nic.routes else ""
    dns = f", DNS {', '.join(nic.dns)}" if nic.dns else ""
    vlan = f" VLAN {nic.vlan}" if nic.vlan is not None else ""
    return f"{nic.model} {nic.mac} on {nic.bridge}{vlan}: {addresses}{via}{dns}"


def _accounts(plan: Plan) -> str:
    origin = "given" if plan.administrator.given else "one-time"
    expires = ", must change at first logon" if plan.administrator.expires else ""
    others = "".join(f"; {account.name} (***)" for account in plan.accounts)
    return f"Administrator ({origin} password ***{expires}){others}"


def _remote(plan: Plan) -> str:
    ways = [
        name
        for name, wanted in (
            ("WinRM over HTTPS", plan.remote.winrm),
            ("RDP", plan.remote.rdp),
            ("SSH", plan.remote.ssh),
        )
        if wanted
    ]
    return f"{', '.join(ways)} from {', '.join(plan.remote.allow_from)}" if ways else "none"


def iso_document(delivered: "list[Delivered]") -> dict[str, Any]:
    """The result of `winseed iso --json`."""
    return {
        "version": VERSION,
        "built": [
            {
                "host": item.plan.host,
                "release": item.plan.release,
                "edition": item.plan.edition.value,
                "iso": str(item.iso),
                "size": item.size,
                "files": item.files,
                "manifest": str(item.manifest),
                "password_file": str(item.password) if item.password else None,
                "fingerprint": item.plan.fingerprint,
                "verified": item.plan.verified,
                "slots": SLOTS,
                "disk": disk_slot(item.plan),
                "macs": [nic.mac for nic in item.plan.nics],
                "updates": item.plan.updates.duty,
                "risks": [risk.id for risk in item.plan.risks],
                "rehearsal": _counts(item.rehearsal),
            }
            for item in delivered
        ],
    }


def dry_document(targets: Collection[tuple[Plan, Path]]) -> dict[str, Any]:
    """The result of `winseed iso --dry-run --json`."""
    return {
        "version": VERSION,
        "would_write": [
            {"host": plan.host, "iso": str(target), "fingerprint": plan.fingerprint}
            for plan, target in targets
        ],
    }


def _counts(rehearsal: Rehearsal | None) -> dict[str, int] | None:
    if rehearsal is None:
        return None
    return {verdict.value: rehearsal.count(verdict) for verdict in Verdict}


def iso_lines(delivered: "list[Delivered]") -> list[str]:
    """The result of `winseed iso` in under ten lines for one host, a line each for many."""
    if len(delivered) == 1:
        return _one_iso(delivered[0])
    rows = [
        f"{item.iso}  {item.size / 1e6:.1f} MB  {item.plan.release_name} "
        f"{item.plan.edition.value}{'' if item.plan.verified else ' (unverified)'}  "
        f"password: {item.password or 'as given'}"
        for item in delivered
    ]
    slots = (
        f"{SLOTS['windows']} Windows ISO, {SLOTS['virtio']} virtio-win ISO, "
        f"{SLOTS['answer']} the answer ISO; the install disk empty and the only disk"
    )
    following = NEXT.format(host="HOST", what="its ISO")
    return [
        *rows,
        f"{len(delivered)} answer ISOs; `winseed plan --host NAME` shows each VM",
        *(f"{name:<9}{text}" for name, text in (("cds", slots), ("next", following))),
    ]


def _cds(plan: Plan) -> str:
    return (
        f"{SLOTS['windows']} Windows ISO, {SLOTS['virtio']} {plan.media.virtio_volume}.iso, "
        f"{SLOTS['answer']} this ISO; {disk_slot(plan)} empty and the only disk"
    )


def _password_duty(plan: Plan) -> str:
    if not plan.administrator.expires:
        return ""
    remote = plan.remote.winrm or plan.remote.rdp or plan.remote.ssh
    # with NLA the logon comes before there is a screen to change the password on
    where = ", at the console: a remote logon may refuse it until then" if remote else ""
    return f"; must be changed at first logon{where}"


def _one_iso(item: "Delivered") -> list[str]:
    plan = item.plan
    password = (
        f"{item.password} (one-time, mode 0600)" if item.password else "Administrator as given"
    )
    change = _password_duty(plan)
    rows = [
        ("built", f"{item.iso} ({item.size / 1e6:.1f} MB, {item.files} files read back)"),
        (
            "windows",
            f"{plan.release_name} {plan.sku.value} {plan.edition.value}, {describe_channel(plan)}, "
            f"{describe_image(plan)}",
        ),
        ("drivers", describe_drivers(plan)),
        ("password", f"{password}{change}"),
        ("vm", f"{describe_machine(plan)} {describe_nics(plan)}"),
        ("cds", _cds(plan)),
        ("next", NEXT.format(host=plan.host.lower(), what="this ISO")),
    ]
    if plan.updates.duty:
        rows.append(("updates", plan.updates.duty))
    ids = " ".join(dict.fromkeys(risk.id for risk in plan.risks))
    walked = summary_line(item.rehearsal) if item.rehearsal else "not rehearsed"
    rows.append(("open", f"{walked}; {ids}: `winseed rehearse` and `winseed plan` tell each"))
    return [f"{name:<9}{text}" for name, text in rows]
