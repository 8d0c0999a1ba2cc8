"""What a plan of winseed adds: the machine it is for, and what its scripts will do.

Read from JSON values, so that a plan in memory and the manifest on a disc go the same way.
"""

from collections.abc import Mapping
from typing import Any

from builder.errors import ExitCode, WinseedError
from builder.machine import (
    GIB,
    AgentKind,
    CdDrive,
    Chipset,
    Disk,
    DriveBus,
    EfiDisk,
    EmulatedVga,
    Machine,
    Nic,
    Ovmf,
    Qxl,
    ScsiModel,
    SeaBios,
    Slot,
    Tpm,
    VirtioVga,
    install_slot,
)
from builder.rehearsal.facts import Planned
from builder.values import Bus

WINDOWS_SLOT = Slot(bus=DriveBus.IDE, number=2)
VIRTIO_SLOT = Slot(bus=DriveBus.IDE, number=0)
ANSWER_SLOT = Slot(bus=DriveBus.SATA, number=0)


def load_planned(document: Mapping[str, Any], *, fingerprint: str) -> Planned:
    """The promises of a plan document; WinseedError (MEDIA) for another winseed's form."""
    try:
        return Planned(
            fingerprint=fingerprint,
            host=str(document["host"]),
            release=str(document["release"]),
            build=int(document["build"]),
            guard=bool(document["disk"]["guard"]),
            steps=tuple(str(step["name"]) for step in document["steps"]),
            updates=str(document["updates"]["mode"]),
            virtio_release=str(document["drivers"]["virtio_release"]),
            folder=str(document["drivers"]["os"]),
            expects_macs=tuple(str(nic["mac"]) for nic in document["nics"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _other_form(error) from None


def load_planned_machine(document: Mapping[str, Any]) -> Machine:
    """The VM of a plan while Setup runs: one disk, three CD drives, data disks come later."""
    try:
        return _machine(document)
    except (KeyError, TypeError, ValueError) as error:
        raise _other_form(error) from None


def _other_form(error: Exception) -> WinseedError:
    return WinseedError(
        f"the manifest of the answer ISO has another form ({error})",
        code=ExitCode.MEDIA,
        hint="build the answer ISO with this winseed",
    )


def _machine(document: Mapping[str, Any]) -> Machine:
    machine, disk = document["machine"], document["disk"]
    slot = install_slot(Bus(disk["bus"]))
    uefi = disk["layout"] == "uefi"
    efi_disk = EfiDisk(volume="", kind="4m", enrolled=bool(machine["secure_boot"]))
    vga = str(machine["vga"])
    cds = (WINDOWS_SLOT, VIRTIO_SLOT, ANSWER_SLOT)
    return Machine(
        name=str(document["host"]),
        ostype=str(machine["ostype"]),
        chipset=Chipset(machine["chipset"]),
        machine_type="q35" if machine["chipset"] == "q35" else "pc",
        firmware=Ovmf(efi_disk=efi_disk) if uefi else SeaBios(),
        tpm=Tpm(volume="", version="v2.0") if machine["tpm"] else None,
        cores=int(machine["cores"]),
        scsi=ScsiModel.VIRTIO_SINGLE,
        drives=(
            Disk(slot=slot, volume="", size=int(disk["size_gib"]) * GIB),
            *(CdDrive(slot=cd, volume=None) for cd in cds),
        ),
        nics=tuple(
            Nic(number=number, model=nic["model"], mac=nic["mac"], bridge=nic["bridge"], vlan=None)
            for number, nic in enumerate(document["nics"])
        ),
        vga=_vga(vga),
        clipboard=False,
        agent=AgentKind.VIRTIO if machine["agent"] else AgentKind.NONE,
        balloon=bool(machine["balloon"]),
        rng=bool(machine["rng"]),
        virtiofs=("virtiofs0",) if machine["virtiofs"] else (),
        serial=("serial0",),
        extras=(),
        boot=(str(slot), str(WINDOWS_SLOT)),
        custom_args=False,
    )


def _vga(model: str) -> VirtioVga | Qxl | EmulatedVga:
    if model == "virtio":
        return VirtioVga(gl=False)
    return Qxl(heads=1) if model == "qxl" else EmulatedVga(model=model)
