"""Partitions laid out on the real disk, one after the other, in MiB.

Sources: unattended setup reference, CreatePartition (Order, Size, Extend; the numbers count MSR as
well, which 96 public GPT files confirm). Partitions begin at 1 MiB and at whole MiB; GPT keeps its
copy in the last MiB. That Windows rounds nothing further is belief (FT24).
"""

import dataclasses
from collections.abc import Iterator

from builder.errors import ExitCode
from builder.machine import Ovmf
from builder.rehearsal.answer_file import AnswerDisk, InstallTo, ModifiedPartition
from builder.rehearsal.facts import Facts
from builder.rehearsal.model import DrawnDisk, DrawnPartition, Step, passed, risk, stop, unknown

MIB = 1 << 20
FIRST_MIB = 1
REFERENCE = "unattended setup reference, Microsoft-Windows-Setup DiskConfiguration"


@dataclasses.dataclass(kw_only=True)
class _Ruler:
    """Where the next partition begins; MiB."""

    start: int
    end: int

    @property
    def left(self) -> int:
        return max(0, self.end - self.start)


def lay_out(
    facts: Facts, disk: AnswerDisk, target: InstallTo | None
) -> tuple[DrawnDisk | None, list[Step]]:
    """Every partition from its Order and Size; numbers count MSR as well."""
    install = facts.install_disk
    if install is None:
        return None, []
    if install.size is None:
        fix = "give a configuration that tells its size"
        return None, [unknown("partitions.size", f"the size of {install.slot} is unknown", fix=fix)]
    gpt = isinstance(facts.machine.firmware, Ovmf)
    total = install.size // MIB
    ruler = _Ruler(start=FIRST_MIB, end=total - (1 if gpt else 0))
    changes = {one.partition: one for one in disk.modified}
    drawn: list[DrawnPartition] = []
    steps: list[Step] = []
    for number, one in enumerate(disk.created, start=1):
        size = ruler.left if one.extend or one.size_mib is None else one.size_mib
        steps += _fits(size, ruler, number, extend=one.extend, last=number == len(disk.created))
        size = min(size, ruler.left)
        drawn.append(_partition(number, one.kind, changes.get(number), ruler.start, size, target))
        ruler.start += size
    if ruler.left > 1:
        drawn.append(_free(ruler))
    picture = DrawnDisk(
        slot=str(install.slot),
        size_mib=total,
        style="GPT" if gpt else "MBR",
        partitions=tuple(drawn),
    )
    if not any(step.id == "partitions.fit" for step in steps):
        steps.append(_summary(picture))
    return picture, steps


def _fits(size: int, ruler: _Ruler, number: int, *, extend: bool, last: bool) -> Iterator[Step]:
    if extend and not last:
        yield stop(
            "partitions.fit",
            f"partition {number} takes the rest of the disk, and others come after it",
            code=ExitCode.ANSWER,
            fix="Extend goes to the last partition",
            source=REFERENCE,
        )
    elif size > ruler.left or size <= 0:
        yield stop(
            "partitions.fit",
            f"partition {number} needs {size} MiB, and {ruler.left} MiB are left",
            code=ExitCode.ANSWER,
            fix="a larger disk, or smaller partitions",
            source=REFERENCE,
        )


def _partition(
    number: int,
    kind: str,
    change: ModifiedPartition | None,
    start: int,
    size: int,
    target: InstallTo | None,
) -> DrawnPartition:
    return DrawnPartition(
        number=number,
        kind=kind,
        label=change.label if change else "",
        filesystem=change.filesystem if change else "",
        start_mib=start,
        size_mib=size,
        windows=target is not None and target.partition == number and target.disk == 0,
    )


def _free(ruler: _Ruler) -> DrawnPartition:
    return DrawnPartition(
        number=0,
        kind="unused",
        label="",
        filesystem="",
        start_mib=ruler.start,
        size_mib=ruler.left,
        windows=False,
    )


def _summary(disk: DrawnDisk) -> Step:
    told = ", ".join(
        f"{one.number} {one.label or one.kind} {one.size_mib}"
        for one in disk.partitions
        if one.number
    )
    what = f"{disk.slot}, {disk.size_mib} MiB, {disk.style}: {told} MiB"
    unused = sum(one.size_mib for one in disk.partitions if not one.number)
    if unused > 1024:
        return risk("partitions.fit", f"{what}; {unused} MiB stay unused", fix="use Extend")
    return passed("partitions.fit", what, source=REFERENCE)
