"""The permutations: one thing at a time is different, and both walks of Setup must say the same.

`ends` is how the stand-in must end: `installed`, `powered-off`, or the stage at which it stops.
`blames` are beginnings of the ids of rehearsal steps, one of which must be a stop.
"""

import dataclasses
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from tests import rehearsals
from tests.rehearsals import KMS_2022, answer_with, command, component, driver_paths, on_letters
from tests.vm.lab import ISO, Lab

MAC = "BC:24:11:00:00:01"
BASE = {
    "agent": "1",
    "bios": "ovmf",
    "boot": "order=scsi0;ide2",
    "cores": "2",
    "efidisk0": "local-lvm:efi.raw,efitype=4m,pre-enrolled-keys=1,size=528K",
    "machine": "q35",
    "memory": "4096",
    "name": "winsrv",
    "net0": f"virtio={MAC},bridge=vmbr0",
    "ostype": "win11",
    "scsi0": "local-lvm:disk.raw,size=60G",
    "scsihw": "virtio-scsi-single",
    "serial0": "socket",
}
STANDARD = "ide2=D ide0=E sata0=F"
BIOS = '[[host]]\nname = "winsrv"\nrelease = "2022"\ndisk = { layout = "bios" }\n'
BLOCK = '[[host]]\nname = "winsrv"\nrelease = "2022"\ndisk = { bus = "virtio" }\n'
SATA = '[[host]]\nname = "winsrv"\nrelease = "2022"\ndisk = { bus = "sata" }\n'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A machine, its discs, and how it ends."""

    id: str
    ends: str
    answer: Callable[[Lab], Path]
    windows: str = "windows-2022-volume"
    virtio: str | None = "virtio"
    stale: Callable[[Lab], Path] | None = None
    config: Mapping[str, str] = dataclasses.field(default_factory=dict)
    letters: str = STANDARD
    disk: str = "empty"
    blames: tuple[str, ...] = ()
    tell: Mapping[str, str] = dataclasses.field(default_factory=dict)
    log: tuple[str, ...] = ()
    com1: tuple[str, ...] = ()

    def machine(self, lab: Lab) -> dict[str, str]:
        """The configuration with the discs in their drives."""
        config = dict(BASE)
        slots = {"ide2": lab.disc(self.windows), "sata0": self.answer(lab)}
        if self.virtio is not None:
            slots["ide0"] = lab.disc(self.virtio)
        if self.stale is not None:
            slots["sata1"] = self.stale(lab)
        for slot, path in slots.items():
            config[slot] = f"{ISO}{path.name},media=cdrom"
        config |= self.config
        return {key: value for key, value in sorted(config.items()) if value}

    def discs(self, lab: Lab) -> tuple[Path, ...]:
        """What is in the VM besides the answer ISO."""
        found = [lab.disc(self.windows)]
        found += [lab.disc(self.virtio)] if self.virtio else []
        return (*found, *((self.stale(lab),) if self.stale else ()))


# -- answer discs ------------------------------------------------------------------------------


def ours(lab: Lab) -> Path:
    """Drivers carried, image chosen from the media."""
    return lab.answer("answer-2022", windows="windows-2022-volume")


def referring(lab: Lab) -> Path:
    """Drivers named on the virtio-win CD."""
    return lab.answer("answer-referring", windows="windows-2022-volume", virtio=None)


def by_spec(name: str, spec: str, windows: str = "windows-2022-volume") -> Callable[[Lab], Path]:
    return lambda lab: lab.answer(name, windows=windows, spec=spec)


def for_release(release: str) -> Callable[[Lab], Path]:
    name = f"answer-{release}"
    return lambda lab: lab.answer(name, windows=f"windows-{release}-volume")


def foreign(name: str, text: str, **options) -> Callable[[Lab], Path]:
    return lambda lab: lab.foreign(name, text, **options)


def paths_on(letters: str, drivers: tuple[str, ...] = ("vioscsi",)) -> str:
    """The foreign answer file with driver paths on these letters only."""
    paths = component("PnpCustomizationsWinPE", driver_paths(on_letters(drivers, letters)))
    return answer_with(rehearsals.WINPE_PATHS, paths)


ON_E = foreign("on-e", paths_on("E"))
DRVLOAD = foreign(
    "drvload",
    rehearsals.ANSWER.replace(rehearsals.WINPE_PATHS, "")
    .replace(rehearsals.OFFLINE_PATHS, "")
    .replace(
        rehearsals.USER,
        "<RunSynchronous>"
        + command(
            r"cmd.exe /c for %d in (C D E F G H I J) do if exist %d:\vioscsi\2k22\amd64\vioscsi.inf"
            r" drvload %d:\vioscsi\2k22\amd64\vioscsi.inf"
        )
        + "</RunSynchronous>"
        + rehearsals.USER,
    ),
)
STALE = foreign("stale", answer_with("srv01", "old01"))
BROKEN = foreign("broken", rehearsals.ANSWER.replace("</unattend>", ""))
SECOND_DISK = foreign("disk-1", rehearsals.ANSWER.replace("<DiskID>0<", "<DiskID>1<"))
NO_IMAGE = foreign(
    "no-image",
    answer_with("<Key>/IMAGE/INDEX</Key><Value>1<", "<Key>/IMAGE/NAME</Key><Value>Nothing<"),
)
ASKS_IMAGE = foreign(
    "asks-image",
    answer_with(
        '<InstallFrom><MetaData wcm:action="add"><Key>/IMAGE/INDEX</Key><Value>1</Value>'
        "</MetaData></InstallFrom>",
        "",
    ),
)
KEYLESS = foreign(
    "keyless",
    answer_with(f"<ProductKey><Key>{KMS_2022['standard']}</Key></ProductKey>", ""),
)
SILENT = foreign("silent", answer_with(rehearsals.LANGUAGES, ""))

CASES = (
    Case(id="own-disc", ends="installed", answer=ours, com1=("winseed: guard=passed",)),
    Case(id="own-disc-other-letters", ends="installed", answer=ours,
         letters="sata0=C ide2=D ide0=E"),
    Case(id="drivers-on-the-virtio-cd", ends="installed", answer=referring,
         letters="ide0=H sata0=E ide2=C"),
    Case(id="i440fx", ends="installed", answer=ours, config={"machine": "pc"}),
    Case(id="cds-on-ide-0-1-2", ends="installed", answer=ours,
         config={"machine": "pc", "sata0": "", "ide1": f"{ISO}answer-2022.iso,media=cdrom"},
         letters="ide2=F ide0=D ide1=E"),
    Case(id="virtio-block", ends="installed", answer=by_spec("answer-block", BLOCK),
         config={"scsi0": "", "virtio0": "local-lvm:disk.raw,size=60G",
                 "boot": "order=virtio0;ide2"}),
    Case(id="sata-disk", ends="installed", answer=by_spec("answer-sata", SATA),
         config={"scsi0": "", "sata1": "local-lvm:disk.raw,size=60G",
                 "boot": "order=sata1;ide2"}, tell={"drives": "4"}),
    Case(id="bios-layout", ends="installed", answer=by_spec("answer-bios", BIOS),
         config={"bios": "seabios", "efidisk0": ""}, tell={"firmware": "bios"}),
    Case(id="2025", ends="installed", answer=for_release("2025"), windows="windows-2025-volume"),
    Case(id="2019-evaluation", ends="installed", windows="windows-2019-eval",
         answer=lambda lab: lab.answer("answer-2019", windows="windows-2019-eval")),
    Case(id="foreign", ends="installed", answer=foreign("foreign", rehearsals.ANSWER)),
    Case(id="one-letter-hit", ends="installed", answer=ON_E),
    Case(id="one-letter-missed", ends="storage", answer=ON_E, letters="ide2=E ide0=D sata0=F",
         blames=("risk:storage.letters",)),
    Case(id="letter-that-cannot-be", ends="storage", answer=foreign("on-t", paths_on("T")),
         blames=("storage.letters",)),
    Case(id="another-bus", ends="storage", answer=foreign("another-bus", rehearsals.ANSWER),
         config={"scsi0": "", "virtio0": "local-lvm:disk.raw,size=60G",
                 "boot": "order=virtio0;ide2"}, blames=("storage.",)),
    Case(id="foreign-controller", ends="powered-off", answer=ours, config={"scsihw": "pvscsi"},
         blames=("storage.",), com1=("winseed: guard=stopped reason=no-disk",)),
    Case(id="driver-folder-missing", ends="storage", answer=foreign("foreign", rehearsals.ANSWER),
         virtio="virtio-0.1.189", blames=("storage.",)),
    Case(id="drivers-for-another-windows", ends="powered-off", windows="windows-2012r2-volume",
         answer=ours, blames=("storage.",), com1=("winseed: guard=stopped reason=no-disk",)),
    Case(id="stale-answer-file-first", ends="installed", answer=ours, stale=STALE,
         letters="sata1=D sata0=E ide0=F ide2=G", blames=("discovery.winner",),
         log=("answer file on D:",)),
    Case(id="stale-answer-file-last", ends="installed", answer=ours, stale=STALE,
         letters="sata0=D sata1=E ide0=F ide2=G", blames=("discovery.winner",),
         log=("answer file on D:",)),
    Case(id="second-disk", ends="powered-off", answer=ours,
         config={"scsi1": "local-lvm:data.raw,size=20G"}, blames=("partitions.many",),
         com1=("winseed: guard=stopped reason=disks expected=1 found=2",)),
    Case(id="disk-with-partitions", ends="powered-off", answer=ours, disk="partitions",
         blames=("partitions.wipe",),
         com1=("winseed: guard=stopped reason=disk-has-partitions",)),
    Case(id="disk-with-windows", ends="powered-off", answer=ours, disk="windows",
         blames=("partitions.wipe",),
         com1=("winseed: guard=stopped reason=installed-system drive=C",)),
    # the index is there, so Setup installs another Windows than the spec asked for
    Case(id="release-of-another-media", ends="installed", answer=ours,
         windows="windows-2025-volume", blames=("image.release",),
         log=("name=Windows Server 2025 SERVERSTANDARDCORE",)),
    Case(id="media-in-another-language", ends="image", answer=ours,
         windows="windows-2022-volume-de-DE", blames=("image.language",)),
    Case(id="key-on-evaluation-media", ends="image", windows="windows-2022-eval",
         answer=foreign("foreign", rehearsals.ANSWER), blames=("image.key",)),
    Case(id="no-key-on-evaluation-media", ends="installed", windows="windows-2022-eval",
         answer=KEYLESS),
    Case(id="no-such-image", ends="image", answer=NO_IMAGE, blames=("image.choice",)),
    Case(id="no-image-chosen", ends="image", answer=ASKS_IMAGE, blames=("image.choice",)),
    Case(id="no-language", ends="image", answer=SILENT, blames=("image.language",)),
    Case(id="name-cut-by-iso-9660", ends="discovery",
         answer=foreign("cut", rehearsals.ANSWER, options=("-r",)), blames=("discovery.name",)),
    Case(id="unattend-xml", ends="discovery",
         answer=foreign("unattend", rehearsals.ANSWER, file="unattend.xml"),
         blames=("discovery.name",)),
    Case(id="broken-answer-file", ends="answer", answer=BROKEN, blames=("answer.",)),
    Case(id="disk-that-is-not-there", ends="partitions", answer=SECOND_DISK,
         blames=("partitions.number",)),
    Case(id="cd-on-virtio-scsi", ends="discovery", answer=ours,
         config={"sata0": "", "scsi1": f"{ISO}answer-2022.iso,media=cdrom"},
         letters="ide2=D ide0=E", tell={"drives": "2"}, blames=("firmware.cd-bus",)),
)  # fmt: skip


# -- disks that are not empty ------------------------------------------------------------------


def make_disk(path: Path, kind: str, scratch: Path) -> None:
    """A disk of 60 GiB with a partition that holds data, or an installed system."""
    with path.open("wb") as stream:
        stream.truncate(60 << 30)
    command = ["sgdisk", "--new=1:0:+64M", "--typecode=1:0700", path]
    subprocess.run(command, check=True, capture_output=True)
    volume = scratch / f"{path.name}.ntfs"
    with volume.open("wb") as stream:
        stream.truncate(64 << 20)
    command = ["mkntfs", "--quick", "--force", "--label", "OLD", volume]
    subprocess.run(command, check=True, capture_output=True)
    tree = scratch / f"{path.name}.tree"
    name = "Windows/System32/config/SYSTEM" if kind == "windows" else "Accounts/2026.txt"
    (tree / name).parent.mkdir(parents=True)
    (tree / name).write_bytes(b"not to be lost" * 1000)
    wim = scratch / f"{path.name}.wim"
    capture = ["capture", tree, wim, "--compress=none", "--no-acls"]
    for words in (capture, ["apply", wim, "1", volume]):
        subprocess.run(["wimlib-imagex", *words], check=True, capture_output=True)
    with path.open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(volume.read_bytes())
    volume.unlink()
