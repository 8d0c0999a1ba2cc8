"""Everything a rehearsal knows: the machine, the discs in its drives, what the disk may hold.

Values only; `discs.py` reads them from discs, `planned.py` makes them from a plan.
"""

import dataclasses
import enum
from collections.abc import Mapping

from builder.machine import Disk, DriveBus, Machine, Slot
from builder.media.catalog import Signer
from builder.media.inf import Inf
from builder.media.windows import WindowsMedia
from builder.record import record

WINPE_DRIVER = "$winpedriver$"


class DiscKind(enum.Enum):
    """What a disc is for; UNREAD is one that the machine names and nobody gave."""

    WINDOWS = "windows"
    VIRTIO = "virtio-win"
    ANSWER = "answer"
    OTHER = "other"
    UNREAD = "not read"


class Content(enum.Enum):
    """What the install disk holds when the VM is started."""

    EMPTY = "empty"
    USED = "used"
    UNKNOWN = "unknown"


@record
class DiscDriver:
    """A driver package on a disc: `path` of its INF, case-folded, with `/`.

    `inf` is None where only a known layout tells that it is there; `ids` are hardware ids in upper
    case. `signer` is None when no catalog was looked at.
    """

    path: str
    driver: str
    ids: frozenset[str]
    version: str = ""
    inf: Inf | None = None
    signer: Signer | None = None
    missing: tuple[str, ...] = ()


@record
class DiscFacts:
    """A disc. `files` are case-folded paths; `shown` the root's names as Windows shows them.

    `answers` are the answer files at places where Setup looks; `scripts` the text of batch files.
    `boots` holds `efi` and `bios`; `prompts` is None when nobody can tell. `release` is that of a
    virtio-win disc, as its volume id tells it.
    """

    name: str
    kind: DiscKind
    files: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    answers: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    drivers: tuple[DiscDriver, ...] = ()
    scripts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    windows: WindowsMedia | None = None
    boots: frozenset[str] = frozenset()
    prompts: bool | None = None
    release: str = ""

    @property
    def read(self) -> bool:
        """Whether its content is known."""
        return self.kind is not DiscKind.UNREAD

    def holds(self, path: str) -> bool:
        """Whether there is a file or a folder at a path, in any case, `/` or `\\`."""
        wanted = fold_path(path)
        return wanted in self.files or any(name.startswith(f"{wanted}/") for name in self.files)

    def drivers_under(self, folder: str) -> tuple[DiscDriver, ...]:
        """The packages in a folder and below it."""
        wanted = fold_path(folder)
        prefix = f"{wanted}/" if wanted else ""
        return tuple(one for one in self.drivers if one.path.startswith(prefix))


def fold_path(path: str) -> str:
    """A path as `DiscFacts.files` spells it."""
    return path.replace("\\", "/").strip("/ \t\"'").casefold()


@record
class DriveFacts:
    """A CD drive and what lies in it; None while it is empty."""

    slot: Slot
    disc: DiscFacts | None


@record
class Planned:
    """What winseed's own manifest adds to what the discs show.

    `virtio_release` and `folder` (`2k22`) say where its drivers come from.
    """

    fingerprint: str
    host: str
    release: str
    build: int
    guard: bool
    steps: tuple[str, ...]
    updates: str
    virtio_release: str
    folder: str
    expects_macs: tuple[str, ...]


@record
class Facts:
    """The input of a rehearsal.

    `answer_slot` is the drive whose answer file is meant. `local_clock`: whether the VM's clock
    shows local time; None when the configuration leaves it to the guest type. `guessed` are discs
    that the configuration does not mention, with the drive they are taken to be in.
    """

    machine: Machine
    drives: tuple[DriveFacts, ...]
    answer_slot: Slot | None
    content: Content
    local_clock: bool | None = None
    planned: Planned | None = None
    guessed: tuple[str, ...] = ()

    @property
    def answer_disc(self) -> DiscFacts | None:
        """The disc whose answer file is meant."""
        for drive in self.drives:
            if drive.slot == self.answer_slot:
                return drive.disc
        return None

    @property
    def windows_drive(self) -> DriveFacts | None:
        """The drive with the Windows disc, read or at least named like one."""
        for drive in self.drives:
            if drive.disc is not None and drive.disc.kind is DiscKind.WINDOWS:
                return drive
        return None

    @property
    def windows(self) -> WindowsMedia | None:
        """The Windows media, when they were read."""
        drive = self.windows_drive
        return drive.disc.windows if drive and drive.disc else None

    @property
    def unread(self) -> tuple[DriveFacts, ...]:
        """Drives with a disc that nobody gave."""
        return tuple(drive for drive in self.drives if drive.disc and not drive.disc.read)

    @property
    def install_disk(self) -> Disk | None:
        """The disk that Proxmox VE boots from."""
        return self.machine.boot_disk

    @property
    def discs(self) -> tuple[tuple[Slot, DiscFacts], ...]:
        """Every disc with its drive."""
        return tuple((drive.slot, drive.disc) for drive in self.drives if drive.disc is not None)


def on_virtio(slot: Slot, machine: Machine) -> bool:
    """Whether Windows needs a driver of virtio-win to see the drive in that slot."""
    match slot.bus:
        case DriveBus.VIRTIO:
            return True
        case DriveBus.SCSI:
            return machine.scsi.value.startswith("virtio-scsi")
        case _:
            return False
