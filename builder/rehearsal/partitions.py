"""Stage 6, DiskConfiguration on the real disk: what is erased, what is made, whether it fits.

Sources: unattended setup reference, Microsoft-Windows-Setup DiskConfiguration; learn.microsoft.com,
"UEFI/GPT-based hard drive partitions" and "BIOS/MBR-based hard drive partitions". The disk numbers
of Windows PE are not those of Proxmox VE, so a second disk makes DiskID 0 a guess.
"""

from collections.abc import Iterator

from builder.errors import ExitCode
from builder.machine import Ovmf
from builder.rehearsal.answer_file import AnswerDisk, AnswerFile
from builder.rehearsal.facts import Content, Facts
from builder.rehearsal.layout import MIB, REFERENCE, lay_out
from builder.rehearsal.model import (
    DrawnDisk,
    Stage,
    Step,
    passed,
    risk,
    stop,
    unknown,
)

MINIMUM_MIB = 32 * 1024  # learn.microsoft.com, Windows Server hardware requirements: 32 GB
MBR_LIMIT_MIB = 2 * 1024 * 1024
NEW_SETUP = 26040
KINDS = {"EFI", "MSR", "PRIMARY", "EXTENDED", "LOGICAL"}


def rehearse_partitions(
    facts: Facts, answer: AnswerFile, *, build: int | None, image_bytes: int
) -> tuple[Stage, DrawnDisk | None]:
    """What is erased, what is made, and whether it fits."""
    steps = list(_targets(facts, answer))
    drawn = None
    disk = next((one for one in answer.disks if one.number == 0), None)
    if disk is not None:
        if disk.wipe:
            steps += _wipe(facts)
        drawn, laid = lay_out(facts, disk, answer.install_to)
        steps += laid
        steps += _firmware_fits(facts, disk)
        if drawn is not None:
            steps += _windows_fits(drawn, image_bytes)
    if build is not None and build >= NEW_SETUP and disk is not None:
        steps.append(
            risk(
                "partitions.recovery",
                "the new Setup is reported to take a recovery partition from the end of C:",
                source="bin456789/reinstall windows-setup.bat:284",
                beliefs=("FT05",),
            )
        )
    return Stage(key="partitions", title="Disk and partitions", steps=tuple(steps)), drawn


def _targets(facts: Facts, answer: AnswerFile) -> Iterator[Step]:
    """Which disk DiskID 0 is, and whether the answer file says anything about it."""
    disks = facts.machine.disks
    if not disks:
        yield stop(
            "partitions.disk",
            "the machine has no disk",
            code=ExitCode.MEDIA,
            fix="add one: qm set VMID --scsi0 local-lvm:60",
        )
    if not answer.disks:
        if any("diskpart" in command.text.lower() for command in answer.commands):
            what = "a command runs diskpart; what it does to the disk was not followed"
            yield unknown("partitions.none", what)
        else:
            what = "the answer file has no DiskConfiguration: Setup shows the disk page and waits"
            yield risk("partitions.none", what, fix="add one", source=REFERENCE)
        return
    missing = [one.number for one in answer.disks if (one.number or 0) >= len(disks)]
    if missing and disks:
        yield stop(
            "partitions.number",
            f"DiskID {missing[0]} is not there: the machine has {len(disks)} disk(s)",
            code=ExitCode.ANSWER,
            fix="use DiskID 0 and one disk",
            source=REFERENCE,
        )
    if len(disks) > 1:
        yield _many(facts, erases=any(one.wipe for one in answer.disks))


def _many(facts: Facts, *, erases: bool) -> Step:
    names = ", ".join(str(disk.slot) for disk in facts.machine.disks)
    fix = "attach only the install disk while Setup runs"
    if facts.planned is not None and facts.planned.guard:
        return stop(
            "partitions.many",
            f"the machine has {len(facts.machine.disks)} disks ({names}): the disk guard powers it "
            "off, nothing is erased",
            code=ExitCode.UNSAFE,
            fix=fix,
        )
    return stop(
        "partitions.many",
        f"the machine has {len(facts.machine.disks)} disks ({names}), and any of them may be "
        f"DiskID 0{', which is erased' if erases else ''}",
        code=ExitCode.UNSAFE,
        fix=fix,
        source="Windows PE numbers disks as controllers turn up",
    )


def _wipe(facts: Facts) -> Iterator[Step]:
    """WillWipeDisk erases without a question; winseed's guard looks first (FT04)."""
    guarded = facts.planned is not None and facts.planned.guard
    name = facts.install_disk.slot if facts.install_disk else "the disk"
    if guarded and facts.content is Content.USED:
        yield stop(
            "partitions.wipe",
            f"{name} is not empty: the disk guard powers the VM off, nothing is erased",
            code=ExitCode.UNSAFE,
            fix='attach an empty disk, or say wipe = "existing" in the spec',
        )
    elif guarded:
        yield risk(
            "partitions.wipe",
            f"{name} is erased only if the disk guard finds it empty and alone",
            beliefs=("FT04",),
        )
    elif facts.content is Content.USED and facts.planned is None:
        yield stop(
            "partitions.wipe",
            f"{name} is not empty, and WillWipeDisk erases it without a question",
            code=ExitCode.UNSAFE,
            fix="attach an empty disk, and keep the old one detached",
            source=REFERENCE,
        )
    elif facts.content is Content.EMPTY:
        yield passed("partitions.wipe", f"{name} is empty, so WillWipeDisk loses nothing")
    else:
        yield risk(
            "partitions.wipe",
            f"WillWipeDisk erases whatever {name} holds, without a question",
            fix="say --disk empty if it is",
            source=REFERENCE,
        )


def _firmware_fits(facts: Facts, disk: AnswerDisk) -> Iterator[Step]:
    kinds = [one.kind.upper() for one in disk.created]
    odd = sorted(set(kinds) - KINDS)
    if odd:
        yield stop(
            "partitions.kind",
            f"{odd[0]!r} is no type of partition",
            code=ExitCode.ANSWER,
            source=REFERENCE,
        )
    uefi = isinstance(facts.machine.firmware, Ovmf)
    if uefi and kinds and "EFI" not in kinds:
        yield stop(
            "partitions.firmware",
            "the VM has UEFI firmware, and the layout has no EFI partition",
            code=ExitCode.ANSWER,
            fix="add an EFI partition of 100 MiB or more, FAT32, or use SeaBIOS",
            source="learn.microsoft.com, UEFI/GPT-based hard drive partitions",
        )
    if not uefi and {"EFI", "MSR"} & set(kinds):
        yield stop(
            "partitions.firmware",
            "the VM has BIOS firmware, and the layout has EFI or MSR partitions",
            code=ExitCode.ANSWER,
            fix="qm set VMID --bios ovmf --efidisk0 ..., or an MBR layout",
            source="learn.microsoft.com, BIOS/MBR-based hard drive partitions",
        )
    size = facts.install_disk.size if facts.install_disk else None
    if not uefi and size is not None and size // MIB > MBR_LIMIT_MIB:
        yield risk("partitions.mbr", "MBR reaches 2 TiB; the rest of the disk is lost")
    if not uefi and kinds.count("PRIMARY") > 4:
        what = "MBR holds four primary partitions"
        yield stop("partitions.mbr", what, code=ExitCode.ANSWER, source=REFERENCE)


def _windows_fits(disk: DrawnDisk, image_bytes: int) -> Iterator[Step]:
    windows = next((one for one in disk.partitions if one.windows), None)
    if windows is None:
        yield risk(
            "partitions.target",
            "InstallTo names no partition of this layout",
            fix="give DiskID and PartitionID; numbers count the MSR as well",
            source=REFERENCE,
        )
        return
    if windows.kind.upper() != "PRIMARY" or windows.filesystem not in {"NTFS", "REFS"}:
        yield stop(
            "partitions.target",
            f"InstallTo names partition {windows.number}, which is {windows.kind}"
            f" {windows.filesystem or 'without a file system'}",
            code=ExitCode.ANSWER,
            fix="install to the NTFS partition",
            source=REFERENCE,
        )
    elif image_bytes and image_bytes // MIB > windows.size_mib:
        yield stop(
            "partitions.target",
            f"the image has {image_bytes // MIB} MiB, C: {windows.size_mib} MiB",
            code=ExitCode.MEDIA,
            fix="a larger disk",
        )
    elif windows.size_mib < MINIMUM_MIB - 1024:
        yield risk(
            "partitions.target",
            f"C: has {windows.size_mib} MiB; Microsoft asks for {MINIMUM_MIB}",
            source="learn.microsoft.com, hardware requirements for Windows Server",
        )
    else:
        what = f"Windows goes to partition {windows.number}, {windows.size_mib} MiB"
        yield passed("partitions.target", what, source=REFERENCE)
