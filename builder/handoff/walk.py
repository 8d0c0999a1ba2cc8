"""A hand-off rehearsed: what happens from the firmware to the first boot, before it happens.

The stages that are the same on every carrier are those of `winseed rehearse`; what differs (how
Windows PE starts, where drivers and files come from) is walked here.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from builder.answer.document import Broken
from builder.answer.lint import AnswerKind
from builder.disc import InlineFile
from builder.errors import ExitCode
from builder.handoff.host import HostFiles
from builder.handoff.winpe import NetworkKit, carrier_of
from builder.media.windows import WindowsMedia
from builder.plan.carrier import AppliedImage, SetupShare
from builder.plan.drivers import start_packages
from builder.plan.model import ImageByIndex, Plan
from builder.rehearsal.answer_file import AnswerFile, load_answer_file
from builder.rehearsal.clock import rehearse_clock
from builder.rehearsal.discs import inspect_disc_facts, windows_facts
from builder.rehearsal.facts import Content, DiscFacts, DiscKind, Facts
from builder.rehearsal.first_boot import rehearse_first_boot
from builder.rehearsal.image import find_image, rehearse_image
from builder.rehearsal.judged import rehearse_answer
from builder.rehearsal.make import rehearse
from builder.rehearsal.model import Rehearsal, Stage, Step, passed, risk, stop
from builder.rehearsal.network import rehearse_network
from builder.rehearsal.partitions import rehearse_partitions
from builder.rehearsal.plan import plan_facts
from builder.values import Bus

NIC_INBOX = frozenset(("e1000e", "e1000"))
MIB = 1 << 20
WINPE_MIB = 1024  # what Windows PE of Setup needs beside its image
WIMBOOT = "ipxe/wimboot src/efifile.c, src/wimpatch.c"


def walk_network(host: HostFiles, kit: NetworkKit) -> Rehearsal:
    """The walk of a host that boots iPXE."""
    facts, answer = _facts(host)
    stages = [
        Stage(key="network-boot", title="Network boot", steps=tuple(_boot_steps(host, kit))),
        Stage(key="start", title="Windows PE starts", steps=tuple(_start_steps(host))),
    ]
    applied = isinstance(host.plan.carrier, AppliedImage)
    kind = AnswerKind.IMAGE if applied else AnswerKind.SETUP
    return _walk(host, facts, answer, stages, kind=kind, by_setup=not applied)


def walk_wds(host: HostFiles, client: bytes, steps: tuple[Step, ...]) -> Rehearsal:
    """The walk of a host of a WDS server; `steps` are those of the server's releases."""
    facts, answer = _facts(host)
    judged = rehearse_answer(
        client, name="client unattend", release=host.plan.release, kind=AnswerKind.WDS_CLIENT
    )
    stages = [
        Stage(key="network-boot", title="Network boot by WDS", steps=steps),
        dataclasses.replace(judged, key="client", title="Client unattend is read"),
    ]
    return _walk(host, facts, answer, stages, kind=AnswerKind.IMAGE, by_setup=False)


def walk_hyperv(plan: Plan, iso: Path, windows: DiscFacts | None) -> Rehearsal:
    """The answer ISO on a stand-in for Hyper-V: a machine whose every device Windows knows.

    Synthetic disk and card are stood for by SATA and e1000e: what they have in common is that no
    driver has to come from a disc.
    """
    stand_in = dataclasses.replace(
        plan,
        disk=dataclasses.replace(plan.disk, bus=Bus.SATA),
        nics=tuple(dataclasses.replace(nic, model="e1000e") for nic in plan.nics),
        machine=dataclasses.replace(
            plan.machine, agent=False, balloon=False, rng=False, virtiofs=False, vga="std"
        ),
    )
    _, answer = inspect_disc_facts(iso)
    facts = plan_facts(stand_in, answer, windows=windows, content=Content.EMPTY)
    planned = plan_facts(plan, answer, windows=windows, content=Content.EMPTY).planned
    walked = rehearse(dataclasses.replace(facts, planned=planned))
    note = risk(
        "hyper-v.stand-in",
        "walked on a stand-in with SATA and e1000e; Hyper-V's own devices were not",
        beliefs=("FT66",),
    )
    first = dataclasses.replace(walked.stages[0], steps=(note, *walked.stages[0].steps))
    return dataclasses.replace(
        walked, machine=plan.host, stages=(first, *(map(_without_agent, walked.stages[1:])))
    )


def _without_agent(stage: Stage) -> Stage:
    """Hyper-V has its own integration services, so nobody waits for QEMU's agent."""
    steps = tuple(step for step in stage.steps if step.id != "first-boot.agent")
    return dataclasses.replace(stage, steps=steps)


def _facts(host: HostFiles) -> tuple[Facts, AnswerFile | None]:
    scripts = {
        path.casefold(): content.data.decode("utf-8", "replace")
        for path, content in host.medium.items()
        if isinstance(content, InlineFile) and path.endswith(".cmd")
    }
    files = frozenset(path.casefold() for path in host.medium)
    disc = DiscFacts(
        name=f"the files of {host.plan.host}",
        kind=DiscKind.ANSWER,
        files=files,
        shown=frozenset(path.partition("/")[0] for path in files),
        answers={"autounattend.xml": host.answer},
        scripts=scripts,
    )
    windows = windows_facts(host.disc.image, host.disc.windows) if host.disc else None
    facts = plan_facts(host.plan, disc, windows=windows, content=Content.EMPTY)
    answer = load_answer_file(host.answer)
    return facts, None if isinstance(answer, Broken) else answer


def _walk(
    host: HostFiles,
    facts: Facts,
    answer: AnswerFile | None,
    stages: list[Stage],
    *,
    kind: AnswerKind,
    by_setup: bool,
) -> Rehearsal:
    plan = host.plan
    media: WindowsMedia | None = host.disc.windows if host.disc else None
    stages = [
        *stages,
        rehearse_answer(host.answer, name="answer file", release=plan.release, kind=kind),
    ]
    disk = None
    if answer is not None:
        if by_setup:
            image = find_image(answer, media)
            size = image.total_bytes if image else 0
            partitions, disk = rehearse_partitions(
                facts, answer, build=plan.build, image_bytes=size
            )
            stages += [partitions, rehearse_image(facts, answer)]
        else:
            stages.append(_chosen(plan))
        stages += [
            rehearse_network(facts, answer),
            rehearse_clock(facts, answer),
            rehearse_first_boot(facts, answer),
        ]
    return Rehearsal(
        machine=plan.host,
        answer="the tree",
        release=plan.release_name,
        stages=tuple(stages),
        letters=None,
        disk=disk,
        devices=(),
    )


def _chosen(plan: Plan) -> Stage:
    """The image that the plan took from the media, for installations without InstallFrom."""
    if isinstance(plan.image, ImageByIndex):
        what = f"image {plan.image.index} of the media: {plan.image.name}"
        step = passed("image.choice", what)
    else:
        what = "the image was not read from media"
        step = stop("image.choice", what, code=ExitCode.MEDIA, fix="give --windows-iso")
    return Stage(key="image", title="Windows image", steps=(step,))


def _boot_steps(host: HostFiles, kit: NetworkKit) -> Iterator[Step]:
    plan = host.plan
    macs = ", ".join(nic.mac for nic in plan.nics)
    yield passed("network-boot.script", f"boot.ipxe finds the script of {macs}")
    yield passed(
        "network-boot.wimboot",
        f"wimboot {kit.wimboot.version}: kernel header for BIOS, UEFI application for amd64",
        source=WIMBOOT,
    )
    if plan.machine.secure_boot and not kit.wimboot.signed:
        yield stop(
            "network-boot.secure-boot",
            "the machine has Secure Boot on, and this wimboot is not signed",
            code=ExitCode.MEDIA,
            fix="take a signed wimboot, or set machine.secure_boot = false",
        )
    elif plan.machine.secure_boot:
        yield risk(
            "network-boot.secure-boot",
            "the machine has Secure Boot on: it needs a signed iPXE as well, and keys that trust "
            "both signers",
            fix="iPXE 2.0 or later with its shim, or machine.secure_boot = false",
            beliefs=("FT64",),
        )
    boot = host.disc.image.find("sources/boot.wim") if host.disc else None
    needed = WINPE_MIB + 2 * ((boot.size if boot else 0) // MIB)
    if plan.machine.memory_mib < needed:
        yield risk(
            "network-boot.memory",
            f"boot.wim is held in memory: {plan.machine.memory_mib} MiB may be too few",
            fix=f"machine.memory_mib = {needed} or more while it installs",
        )


def _start_steps(host: HostFiles) -> Iterator[Step]:
    plan = host.plan
    loaded = {package.driver for package in start_packages(plan.drivers)}
    virtio = [nic for nic in plan.nics if nic.model not in NIC_INBOX]
    if virtio and not any(not package.boot for package in start_packages(plan.drivers)):
        yield stop(
            "start.card",
            "Windows PE gets no driver for its card: it would have no network",
            code=ExitCode.MEDIA,
            fix='give --virtio-iso, or set the card\'s model to "e1000e"',
        )
    else:
        told = ", ".join(sorted(loaded)) or "none needed"
        yield passed("start.drivers", f"drvload before the network: {told}")
    carrier = carrier_of(plan)
    match carrier:
        case SetupShare():
            yield risk(
                "start.share",
                rf"Setup runs from \\{carrier.server}\{carrier.share} without restarting by "
                "itself, then the files of the first boot are put onto the disk",
                beliefs=("FT60", "FT61"),
            )
        case AppliedImage():
            yield risk(
                "start.http",
                f"curl.exe fetches {carrier.image}, dism applies it, bcdboot makes it start",
                beliefs=("FT60", "FT62", "FT63"),
            )
        case _:
            assert_never(carrier)
