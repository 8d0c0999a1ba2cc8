"""Paths -> facts: the discs of a call, and the machine that they are put into."""

import re
from collections.abc import Iterable
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.machine import Machine
from builder.manifest import PATH as MANIFEST
from builder.manifest import Manifest, load_manifest
from builder.media.image import DiscImage
from builder.record import record
from builder.rehearsal.discs import inspect_disc_facts, with_drivers
from builder.rehearsal.drives import answer_slot, make_drives
from builder.rehearsal.facts import Content, Facts
from builder.rehearsal.planned import load_planned, load_planned_machine
from builder.vm_config import load_machine

LOCALTIME = re.compile(r"^localtime:\s*(\S+)", re.MULTILINE)
LARGEST_MANIFEST = 64 * 1024 * 1024


@record
class Configuration:
    """The text of `qm config`, and where it came from."""

    text: str
    source: str


@record
class Gathered:
    """The facts, and the answer file's manifest when it is winseed's own."""

    facts: Facts
    manifest: Manifest | None


def gather_facts(
    answer: Path,
    discs: Iterable[Path],
    *,
    configuration: Configuration | None,
    machine: Machine | None,
    content: Content | None,
) -> Gathered:
    """Read the answer ISO and the other discs, and put them into the machine.

    The machine is that of `configuration`, else `machine`, else the one of the answer ISO's own
    manifest. `content` None: unknown on a VM that exists, empty on one that is planned. Raises
    WinseedError (SPEC, MEDIA).
    """
    image, facts = inspect_disc_facts(answer)
    manifest = _manifest(image)
    pairs = [(image, facts), *(inspect_disc_facts(path) for path in dict.fromkeys(discs))]
    data = next(iter(facts.answers.values()), None)
    found = with_drivers(pairs, data)
    vm = _machine(configuration, machine, manifest)
    plugged = make_drives(vm, found, mentioned=configuration is not None)
    slot = answer_slot(plugged.drives, answer.name)
    return Gathered(
        facts=Facts(
            machine=plugged.machine,
            drives=plugged.drives,
            answer_slot=slot,
            content=content or (Content.UNKNOWN if configuration else Content.EMPTY),
            local_clock=_local_clock(configuration),
            planned=load_planned(manifest.plan, fingerprint=manifest.fingerprint)
            if manifest
            else None,
            guessed=plugged.guessed,
        ),
        manifest=manifest,
    )


def _manifest(image: DiscImage) -> Manifest | None:
    file = image.find(MANIFEST)
    if file is None:
        return None
    return load_manifest(image.read(file, 0, LARGEST_MANIFEST), name=f"{MANIFEST} of {image.path}")


def _machine(
    configuration: Configuration | None, machine: Machine | None, manifest: Manifest | None
) -> Machine:
    if configuration is not None:
        return load_machine(configuration.text, source=configuration.source)
    if machine is not None:
        return machine
    if manifest is not None:
        return load_planned_machine(manifest.plan)
    raise WinseedError(
        "an answer ISO that is not winseed's does not tell its machine",
        code=ExitCode.SPEC,
        hint="give the VM as --for MACHINE.conf: qm config VMID > MACHINE.conf",
    )


def _local_clock(configuration: Configuration | None) -> bool | None:
    found = LOCALTIME.search(configuration.text) if configuration else None
    return found[1] in {"1", "on", "yes", "true"} if found else None
