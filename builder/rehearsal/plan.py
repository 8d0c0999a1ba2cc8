"""`winseed iso` rehearses what it has just written: the plan, the disc, the media it was given."""

from pathlib import Path

from builder.drivers import known_drivers
from builder.machine import Machine
from builder.media.catalog import Signer
from builder.plan.model import Plan, plan_document
from builder.rehearsal.discs import inspect_disc_facts, plain_ids, with_drivers
from builder.rehearsal.drives import answer_slot, make_drives
from builder.rehearsal.facts import Content, DiscDriver, DiscFacts, DiscKind, Facts
from builder.rehearsal.make import rehearse
from builder.rehearsal.model import Rehearsal
from builder.rehearsal.planned import load_planned, load_planned_machine


def rehearse_plan(
    plan: Plan,
    iso: Path,
    *,
    windows: DiscFacts | None = None,
    content: Content | None = None,
    machine: Machine | None = None,
) -> Rehearsal:
    """Walk Setup with the answer ISO at `iso` on the VM of `plan`, its disk empty by default.

    `windows` are the facts of the Windows disc (`discs.windows_facts`), when it was read.
    `machine` is the VM as it will be, with its CD drives empty, where that is known better than
    the plan knows it. Signatures were judged by the plan, and are taken from there. Raises
    WinseedError (MEDIA) when the ISO cannot be read.
    """
    signers = {
        package.driver: Signer(package.signer)
        for package in plan.drivers.packages
        if package.signer in {signer.value for signer in Signer}
    }
    image, found = inspect_disc_facts(iso)
    data = next(iter(found.answers.values()), None)
    (answer,) = with_drivers([(image, found)], data, signers=signers)
    facts = plan_facts(
        plan, answer, windows=windows, content=content or Content.EMPTY, machine=machine
    )
    return rehearse(facts)


def plan_facts(
    plan: Plan,
    answer: DiscFacts,
    *,
    windows: DiscFacts | None,
    content: Content,
    machine: Machine | None = None,
) -> Facts:
    """The facts of a plan: `machine` or its own VM with one disk, and three discs."""
    document = plan_document(plan)
    unread = DiscFacts(name="the Windows ISO", kind=DiscKind.UNREAD)
    discs = (windows or unread, _virtio_disc(plan), answer)
    plugged = make_drives(machine or load_planned_machine(document), discs, mentioned=False)
    return Facts(
        machine=plugged.machine,
        drives=plugged.drives,
        answer_slot=answer_slot(plugged.drives, answer.name),
        content=content,
        planned=load_planned(document, fingerprint=plan.fingerprint),
    )


def _virtio_disc(plan: Plan) -> DiscFacts:
    """The virtio-win CD: read when its packages were carried, else known by its layout only."""
    name = f"{plan.media.virtio_volume}.iso"
    files = [] if plan.drivers.agent is None else [plan.drivers.agent.path]
    if plan.drivers.carried:
        return DiscFacts(name=name, kind=DiscKind.VIRTIO, release=plan.drivers.virtio_release)
    ids = {
        driver.name: frozenset(one for pci in driver.pci for one in plain_ids(pci))
        for driver in known_drivers()
    }
    drivers = tuple(
        DiscDriver(
            path=f"{package.folder}/{package.inf}".casefold(),
            driver=package.driver,
            ids=ids.get(package.driver, frozenset()),
        )
        for package in plan.drivers.packages
    )
    files += [driver.path for driver in drivers]
    return DiscFacts(
        name=name,
        kind=DiscKind.VIRTIO,
        release=plan.drivers.virtio_release,
        files=frozenset(file.casefold() for file in files),
        drivers=drivers,
    )
