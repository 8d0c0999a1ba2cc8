"""Discs into the drives of a machine, by the names in its configuration. Pure.

A configuration names a volume (`local:iso/virtio-win-0.1.271.iso`), a disc has a file name. What
fits neither by name nor by kind is taken as if plugged into a free drive, and said so.
"""

import dataclasses
from collections.abc import Iterable

from builder.machine import CdDrive, DriveBus, Machine, Slot
from builder.record import record
from builder.rehearsal.facts import DiscFacts, DiscKind, DriveFacts

# the slots of the design, then what is left and works on both chipsets
SPARE = (
    *(Slot(bus=DriveBus.IDE, number=number) for number in (2, 0)),
    *(Slot(bus=DriveBus.SATA, number=number) for number in range(6)),
)
HOME = {DiscKind.WINDOWS: SPARE[0], DiscKind.VIRTIO: SPARE[1], DiscKind.ANSWER: SPARE[2]}


@record
class Plugged:
    """The drives, the machine with them, and the discs that the configuration does not mention."""

    machine: Machine
    drives: tuple[DriveFacts, ...]
    guessed: tuple[str, ...]


def make_drives(machine: Machine, discs: Iterable[DiscFacts], *, mentioned: bool) -> Plugged:
    """Every disc in a drive. `mentioned`: the configuration is a real one, so a guess is told."""
    left = list(discs)
    filled: dict[Slot, DiscFacts] = {}
    for drive in machine.cds:
        disc = _by_name(drive, left) or _by_kind(machine, drive, left)
        if disc is not None:
            filled[drive.slot] = disc
            left.remove(disc)
    guessed = []
    added: list[CdDrive] = []
    for disc in sorted(left, key=lambda disc: disc.kind not in HOME):
        slot = _free_slot(machine, disc, filled, added)
        if slot is None:
            guessed.append(f"{disc.name} (no drive is free)")
            continue
        filled[slot] = disc
        if slot not in {drive.slot for drive in machine.cds}:
            added.append(CdDrive(slot=slot, volume=None))
        guessed.append(f"{disc.name} as {slot}")
    whole = dataclasses.replace(machine, drives=(*machine.drives, *added))
    drives = tuple(
        DriveFacts(slot=drive.slot, disc=filled.get(drive.slot) or _unread(drive))
        for drive in whole.cds
    )
    return Plugged(machine=whole, drives=drives, guessed=tuple(guessed) if mentioned else ())


def _by_name(drive: CdDrive, discs: list[DiscFacts]) -> DiscFacts | None:
    if drive.volume is None:
        return None
    name = _base(drive.volume)
    return next((disc for disc in discs if disc.name.casefold() == name), None)


def _by_kind(machine: Machine, drive: CdDrive, discs: list[DiscFacts]) -> DiscFacts | None:
    """A local copy may have another name: the driver disc, and the disc that is booted."""
    if drive.volume is None:
        return None
    wanted = None
    if "virtio" in _base(drive.volume):
        wanted = DiscKind.VIRTIO
    elif str(drive.slot) in machine.boot:
        wanted = DiscKind.WINDOWS
    return next((disc for disc in discs if disc.kind is wanted), None)


def _free_slot(
    machine: Machine, disc: DiscFacts, filled: dict[Slot, DiscFacts], added: list[CdDrive]
) -> Slot | None:
    """An empty drive of the machine, the design's slot first; else a slot with nothing in it."""
    empty = [
        drive.slot for drive in machine.cds if drive.volume is None and drive.slot not in filled
    ]
    used = {drive.slot for drive in (*machine.drives, *added)}
    home = HOME.get(disc.kind)
    if home in empty:
        return home
    if empty:
        return empty[0]
    return next((slot for slot in (*filter(None, (home,)), *SPARE) if slot not in used), None)


def _unread(drive: CdDrive) -> DiscFacts | None:
    if drive.volume is None:
        return None
    return DiscFacts(name=_base(drive.volume), kind=DiscKind.UNREAD)


def _base(volume: str) -> str:
    return volume.rpartition(":")[2].rpartition("/")[2].casefold()


def answer_slot(drives: Iterable[DriveFacts], name: str | None = None) -> Slot | None:
    """The drive whose answer file is meant: the disc of that name, else the first with one."""
    holding = [drive for drive in drives if drive.disc is not None and drive.disc.answers]
    for drive in holding:
        if drive.disc is not None and drive.disc.name == name:
            return drive.slot
    own = [drive for drive in holding if drive.disc and drive.disc.kind is DiscKind.ANSWER]
    return next((drive.slot for drive in (*own, *holding)), None)
