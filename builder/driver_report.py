"""`winseed drivers`: which driver serves each device, as JSON values and as text."""

import dataclasses
from typing import Any, assert_never

from builder.devices import InboxDevice, MachineDevice, PciId, VirtioDevice, make_devices
from builder.drivers import KnownBad
from builder.errors import Problem
from builder.machine import DriveBus, Machine, Ovmf
from builder.match import Inbox, Match, Served, Unserved, match_devices
from builder.plan.drivers import DriverChoice, signature_risks
from builder.record import record
from builder.releases import Release

Document = dict[str, Any]
HEAD = ("device", "at", "PCI id", "driver", "INF", "version", "signer", "verdict")


@record
class DriverReport:
    """A machine, the drivers chosen for it, and how they meet.

    `source` names where the machine is from, `assumed` that nobody named the Windows release.
    """

    machine: Machine
    source: str
    release: Release
    assumed: bool
    choice: DriverChoice
    matches: tuple[Match, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What stands against it: no driver for the install disk, or a known refusal."""
        name = self.machine.name or self.source
        missing = tuple(
            Problem(where=f"{name}: {match.device.name}", what=match.why)
            for match in self.matches
            if isinstance(match, Unserved) and match.device.boot_critical
        )
        refused = tuple(
            Problem(where=f"{name}: {row.id}", what=row.reason, hint=row.way_out)
            for row in self.choice.known_bad
            if row.level == "refuse"
        )
        return (*missing, *refused)


def make_report(
    machine: Machine, release: Release, choice: DriverChoice, *, source: str, assumed: bool
) -> DriverReport:
    """Hold the devices of `machine` against what was chosen for it."""
    return DriverReport(
        machine=machine,
        source=source,
        release=release,
        assumed=assumed,
        choice=choice,
        matches=match_devices(make_devices(machine), choice.offers),
    )


def report_document(report: DriverReport) -> Document:
    """The report as JSON values."""
    choice = report.choice
    return {
        "machine": report.machine.name,
        "source": report.source,
        "release": report.release.id,
        "release_assumed": report.assumed,
        "secure_boot": report.machine.secure_boot,
        "virtio_release": choice.virtio_release,
        "folder": choice.folder.os,
        "devices": [_device_document(match) for match in report.matches],
        "rejected": [{"where": problem.where, "what": problem.what} for problem in choice.rejected],
        "signatures": [dataclasses.asdict(risk) for risk in signature_risks(choice.offers)],
        "known_bad": [_row_document(row) for row in choice.known_bad],
        "custom_args": report.machine.custom_args,
        "sound": not report.problems,
    }


def report_lines(report: DriverReport) -> list[str]:
    """The report as text: the machine, a table, what to know about it."""
    machine, choice = report.machine, report.choice
    firmware = "ovmf" if isinstance(machine.firmware, Ovmf) else "seabios"
    secure = ", Secure Boot" if machine.secure_boot else ""
    assumed = " (assumed; say --release)" if report.assumed else ""
    read = "" if any(offer.package for offer in choice.offers) else ", disc not read"
    lines = [
        f"machine  {machine.name or 'unnamed'} of {report.source}:"
        f" {machine.chipset.value}, {firmware}{secure}",
        f"windows  {report.release.name}{assumed}",
        f"drivers  virtio-win {choice.virtio_release}, folder {choice.folder.os}{read}",
        "",
        *_table([HEAD, *(_row(match) for match in report.matches)]),
        "",
    ]
    lines += [f"{problem.where}: {problem.what}" for problem in choice.rejected]
    lines += [f"{risk.id}  {risk.what}" for risk in signature_risks(choice.offers)]
    if choice.folder.note:
        lines.append(f"KB00  {choice.folder.note}")
    lines += [_row_text(row) for row in choice.known_bad]
    notes = (match.device for match in report.matches if not isinstance(match, Unserved))
    lines += [f"{device.name}: {device.note}" for device in notes if device.note]
    on_scsi = [str(cd.slot) for cd in machine.cds if cd.slot.bus is DriveBus.SCSI]
    if on_scsi:
        lines.append(f"{' '.join(on_scsi)}: a CD drive belongs on ide or sata, see KB15")
    if machine.custom_args:
        lines.append("args: adds what its owner wrote there; it is not looked at")
    lines.append(_closing(report))
    return lines


def _closing(report: DriverReport) -> str:
    without = [match.device for match in report.matches if isinstance(match, Unserved)]
    if not without:
        return "every device has a driver"
    names = ", ".join(_marked(device) for device in without)
    critical = any(device.boot_critical for device in without)
    end = "; * Windows starts from it: Setup would see no disk" if critical else ""
    return f"without a driver: {names}{end}"


def _row(match: Match) -> tuple[str, ...]:
    device = match.device
    head = (_marked(device), " ".join(device.places), _shown(device.shown))
    match match:
        case Served(offer=offer):
            verdict = offer.verdict.level.value if offer.verdict else "not read"
            signer = offer.package.check.signer.value if offer.package else ""
            return (*head, offer.driver.name, offer.where, offer.version, signer, verdict)
        case Inbox():
            return (*head, "(Windows)", "", "", "", "expected to be inbox")
        case Unserved(why=why):
            return (*head, "NONE", "", "", "", why)
        case _:
            assert_never(match)


def _marked(device: MachineDevice) -> str:
    critical = not isinstance(device, InboxDevice) and device.boot_critical
    return f"{device.name}*" if critical else device.name


def _shown(pci: PciId | None) -> str:
    return str(pci) if pci else "-"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row_text(row: KnownBad) -> str:
    return f"{row.id}  {row.level}: {row.reason}; {row.way_out} [{row.source}]"


def _row_document(row: KnownBad) -> Document:
    return {
        "id": row.id,
        "level": row.level,
        "reason": row.reason,
        "way_out": row.way_out,
        "source": row.source,
    }


def _device_document(match: Match) -> Document:
    device = match.device
    other = device.other if isinstance(device, VirtioDevice) else None
    document: Document = {
        "device": device.name,
        "qemu": device.qemu,
        "places": list(device.places),
        "pci": device.shown.device if device.shown else None,
        "pci_other": other.device if other else None,
        "boot_critical": not isinstance(device, InboxDevice) and device.boot_critical,
    }
    match match:
        case Served(offer=offer, hardware_id=hardware_id):
            return document | {
                "served_by": "virtio-win",
                "driver": offer.driver.name,
                "inf": offer.where,
                "hardware_id": hardware_id,
                "version": offer.version or None,
                "signer": offer.package.check.signer.value if offer.package else None,
                "signed_by": offer.package.signed_by if offer.package else None,
                "verdict": offer.verdict.level.value if offer.verdict else None,
                "text": offer.verdict.text if offer.verdict else "",
            }
        case Inbox():
            return document | {"served_by": "windows"}
        case Unserved(why=why):
            return document | {"served_by": None, "text": why}
        case _:
            assert_never(match)
