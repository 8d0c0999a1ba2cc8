"""Stage 1, the firmware: which entry boots, at the first start and after Setup's own restarts.

Measured with QEMU 7.2 and OVMF: an empty disk that comes first is passed over without delay; a disk
with an old Windows wins; after Setup's first restart the disk has a boot manager and wins
(tianocore/edk2 QemuBootOrderLib.c). The order itself: qemu-server QemuServer.pm device_bootorder.
"""

from collections.abc import Iterator

from builder.errors import ExitCode
from builder.machine import Chipset, DriveBus, Ovmf, Slot
from builder.rehearsal.facts import Content, DriveFacts, Facts, on_virtio
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown

NEW_SETUP = 26040  # bin456789/reinstall windows-setup.bat:274
ORDER = "proxmox/qemu-server QemuServer.pm device_bootorder; OVMF measured with QEMU 7.2"
LOOP = "hashicorp/packer#10252, #10662; nutanix-cloud-native/packer-plugin-nutanix#194, #205"
KEY = "hashicorp/packer#10653, #7278; quickemu-project/quickemu#1341"


def rehearse_firmware(facts: Facts, build: int | None) -> Stage:
    """Walk the boot order twice: the first start, and the starts that Setup makes."""
    steps = [
        risk(
            "firmware.mounted",
            f"the configuration does not mention {one}",
            fix="mount it before the start",
        )
        for one in facts.guessed
    ]
    drive = _windows_drive(facts)
    if drive is None:
        what = "no drive holds a Windows disc"
        if facts.unread:
            steps.append(unknown("firmware.windows", f"{what} that was read", fix="--windows-iso"))
        else:
            fix = "mount the Windows ISO"
            steps.append(stop("firmware.windows", what, code=ExitCode.MEDIA, fix=fix))
    else:
        steps += _order(facts, drive)
        steps += _loader(facts, drive)
    steps += _cd_buses(facts, build)
    steps += _boot_code(facts, build)
    return Stage(key="firmware", title="Firmware and boot order", steps=tuple(steps))


def _windows_drive(facts: Facts) -> DriveFacts | None:
    """The Windows disc; among unread ones, the only one in the boot order."""
    if facts.windows_drive is not None:
        return facts.windows_drive
    named = [drive for drive in facts.unread if str(drive.slot) in facts.machine.boot]
    return named[0] if len(named) == 1 else None


def _order(facts: Facts, drive: DriveFacts) -> Iterator[Step]:
    order, cd = facts.machine.boot, str(drive.slot)
    disk = str(facts.install_disk.slot) if facts.install_disk else ""
    shown = ";".join(order) or "(none)"
    if cd not in order:
        yield stop(
            "firmware.order",
            f"{cd} with the Windows disc is not in the boot order ({shown}): nothing starts Setup",
            code=ExitCode.MEDIA,
            fix=f"qm set VMID --boot 'order={disk or 'scsi0'};{cd}'",
            source=ORDER,
        )
        return
    if disk not in order:
        yield stop(
            "firmware.order",
            f"no disk is in the boot order ({shown}): each restart starts Setup again",
            code=ExitCode.MEDIA,
            fix=f"qm set VMID --boot 'order={disk or 'scsi0'};{cd}'",
            source=LOOP,
        )
        return
    first = order.index(disk) < order.index(cd)
    yield from _disk_first(facts, disk, cd) if first else _cd_first(drive, disk, cd)
    others = [str(one.slot) for one in facts.drives if str(one.slot) in order and one != drive]
    if others:
        yield risk(
            "firmware.other-cds",
            f"{', '.join(others)} stand in the boot order as well",
            fix="keep answer and driver discs out of it",
            source=ORDER,
        )


def _disk_first(facts: Facts, disk: str, cd: str) -> Iterator[Step]:
    match facts.content:
        case Content.EMPTY:
            yield passed(
                "firmware.order",
                f"{disk} is empty, so the first start falls through to {cd}; "
                f"after Setup's restart {disk} boots",
                source=ORDER,
            )
        case Content.USED:
            yield stop(
                "firmware.order",
                f"{disk} comes first and holds a system: that boots, and Setup never starts",
                code=ExitCode.MEDIA,
                fix="attach an empty disk in its place, or put the CD first for one start",
                source=ORDER,
            )
        case Content.UNKNOWN:
            yield unknown(
                "firmware.order",
                f"{disk} comes first: if it holds a system, that boots and not {cd}",
                fix="say --disk empty or --disk used",
                source=ORDER,
            )


def _cd_first(drive: DriveFacts, disk: str, cd: str) -> Iterator[Step]:
    prompts = drive.disc.prompts if drive.disc else None
    fix = f"qm set VMID --boot 'order={disk};{cd}', or eject {cd} after the first restart"
    if prompts is False:
        yield stop(
            "firmware.order",
            f"{cd} comes before {disk} and starts without asking: Setup begins again at each "
            "restart",
            code=ExitCode.MEDIA,
            fix=fix,
            source=LOOP,
        )
    else:
        yield risk(
            "firmware.order",
            f"{cd} comes before {disk}: a key at the prompt of a later restart begins Setup again",
            fix=fix,
            source=LOOP,
        )


def _loader(facts: Facts, drive: DriveFacts) -> Iterator[Step]:
    """Whether the disc has a loader for this firmware, and whether it asks for a key."""
    disc = drive.disc
    if disc is None or not disc.read:
        yield unknown("firmware.loader", f"{drive.slot} was not read", fix="give --windows-iso")
        return
    uefi = isinstance(facts.machine.firmware, Ovmf)
    kind, name = ("efi", "UEFI") if uefi else ("bios", "BIOS")
    if kind not in disc.boots:
        yield stop(
            "firmware.loader",
            f"{disc.name} has no {name} boot image, and the VM has {name} firmware",
            code=ExitCode.MEDIA,
            fix="take unchanged media, or the other firmware",
            source="El Torito 2.0; UEFI 13.3.2",
        )
    elif uefi and disc.prompts is False:
        yield passed("firmware.key", f"{disc.name} starts without asking for a key")
    elif uefi:
        yield risk(
            "firmware.key",
            f'{disc.name} says "Press any key to boot from CD" for five seconds: somebody must',
            why="missed, the VM ends in the network boot or the firmware's shell",
            fix="open the console at power-on and press one key, once",
            source=KEY,
        )
    elif facts.content is Content.EMPTY:
        yield risk(
            "firmware.key",
            "SeaBIOS starts the CD unasked when the first disk has no active partition",
            fix="be ready to press a key",
            source="Pumba98/proxmox-packer-templates boots so without a key; otherwise belief",
        )
    else:
        yield risk(
            "firmware.key",
            "the BIOS loader asks for a key when the disk has an active partition",
            source="general knowledge of Windows",
        )


def _cd_buses(facts: Facts, build: int | None) -> Iterator[Step]:
    """CDs on a SCSI or odd IDE slot (virtio-win/kvm-guest-drivers-windows#1100, #1037)."""
    for drive in facts.drives:
        if drive.slot.bus is DriveBus.SCSI:
            yield _scsi_cd(facts, drive.slot, build)
    odd = [drive.slot for drive in facts.drives if _is_odd_ide(drive.slot)]
    if odd and facts.machine.chipset is Chipset.Q35:
        yield risk(
            "firmware.ide-unit",
            f"{', '.join(map(str, odd))} on q35 needs qemu-server 8.0.7 or later, or the VM does "
            "not start",
            fix="use ide0, ide2 or sata0 to sata5",
            source="proxmox/qemu-server b155086b",
        )
    if facts.drives and not any(drive.slot.bus is DriveBus.SCSI for drive in facts.drives):
        yield passed(
            "firmware.cd-bus", "every CD is on IDE or SATA, which Windows drives by itself"
        )


def _is_odd_ide(slot: Slot) -> bool:
    return slot.bus is DriveBus.IDE and slot.number in {1, 3}


def _scsi_cd(facts: Facts, slot: Slot, build: int | None) -> Step:
    source = "virtio-win/kvm-guest-drivers-windows#1100, #1037"
    fix = "put every CD on ide0, ide2 or sata0"
    if on_virtio(slot, facts.machine) and (build is None or build >= NEW_SETUP):
        what = f"the CD in {slot} is on virtio-scsi: the new Setup then refuses every driver"
        return stop("firmware.cd-bus", what, code=ExitCode.MEDIA, fix=fix, source=source)
    if on_virtio(slot, facts.machine):
        what = f"the CD in {slot} is on virtio-scsi: Windows PE cannot read it before its driver"
        return stop("firmware.cd-bus", what, code=ExitCode.MEDIA, fix=fix, source=source)
    what = f"the CD in {slot} hangs on {facts.machine.scsi.value}; that Windows drives it is open"
    return risk("firmware.cd-bus", what, fix=fix, source=source)


def _boot_code(facts: Facts, build: int | None) -> Iterator[Step]:
    """The new Setup writes no MBR boot code."""
    if not isinstance(facts.machine.firmware, Ovmf) and build is not None and build >= NEW_SETUP:
        yield stop(
            "firmware.boot-code",
            f"build {build} on BIOS firmware: the new Setup writes no boot code, and the disk "
            "does not start",
            code=ExitCode.MEDIA,
            fix="qm set VMID --bios ovmf --efidisk0 ...",
            source="bin456789/reinstall windows-setup.bat:274; cschneegans/unattend-generator#459",
        )
