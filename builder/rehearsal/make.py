"""Facts -> Rehearsal: the stages of Setup in their order. Pure.

firmware -> letters -> discovery -> answer file -> storage -> commands in Windows PE ->
partitions -> image -> drivers of the system -> specialize -> network -> clock -> first boot
"""

import dataclasses

from builder.answer.document import Broken
from builder.devices import make_devices
from builder.errors import ExitCode
from builder.rehearsal.answer_file import OOBE, PE, SPECIALIZE, AnswerFile, load_answer_file
from builder.rehearsal.clock import rehearse_clock
from builder.rehearsal.commands import rehearse_commands
from builder.rehearsal.discovery import IN_SOURCES, NAME, rehearse_discovery
from builder.rehearsal.facts import Facts
from builder.rehearsal.firmware import rehearse_firmware
from builder.rehearsal.first_boot import guest_texts, rehearse_first_boot
from builder.rehearsal.image import find_image, rehearse_image
from builder.rehearsal.judged import rehearse_answer
from builder.rehearsal.known_bad import known_bad_steps
from builder.rehearsal.letters import (
    LetterModel,
    make_letter_map,
    rehearse_letters,
    system_letters,
    winpe_letters,
)
from builder.rehearsal.model import Rehearsal, Stage, stop
from builder.rehearsal.network import rehearse_network
from builder.rehearsal.partitions import rehearse_partitions
from builder.rehearsal.storage import Target, rehearse_storage
from builder.rehearsal.system import rehearse_devices
from builder.rehearsal.ways import offline_ways, winpe_ways
from builder.releases import load_release, release_ids, release_of_build


def rehearse(facts: Facts) -> Rehearsal:
    """Walk Setup once; never raises for any facts."""
    data, where = _answer(facts)
    answer = load_answer_file(data) if data is not None else None
    model = winpe_letters(facts)
    if answer is None or isinstance(answer, Broken):
        return _without_answer(facts, model, data, where)
    return _walk(facts, answer, model, data or b"", where)


def _answer(facts: Facts) -> tuple[bytes | None, str]:
    """The answer file that is meant, else the one that is found first."""
    disc = facts.answer_disc
    discs = [disc] if disc is not None else []
    discs += [one for _, one in facts.discs]
    for name in (NAME, IN_SOURCES):
        for one in discs:
            if name in one.answers:
                return one.answers[name], one.name
    return None, ""


def _without_answer(facts: Facts, model: LetterModel, data: bytes | None, where: str) -> Rehearsal:
    stages = [
        rehearse_firmware(facts, None),
        rehearse_letters(facts, model),
        rehearse_discovery(facts, model),
    ]
    if data is not None:
        stages.append(rehearse_answer(data, name=where, release=None))
    elif not facts.unread:
        what = "there is no answer file to go on with"
        step = stop("answer.none", what, code=ExitCode.ANSWER, fix="mount the answer ISO")
        stages.append(Stage(key="answer", title="Answer file is read", steps=(step,)))
    return Rehearsal(
        machine=facts.machine.name or "this machine",
        answer=where,
        release="",
        stages=tuple(stages),
        letters=make_letter_map(facts, model, needed=(), tried=()),
        disk=None,
        devices=(),
    )


def _walk(
    facts: Facts, answer: AnswerFile, model: LetterModel, data: bytes, where: str
) -> Rehearsal:
    image = find_image(answer, facts.windows)
    build = _build(facts, answer)
    release = release_of_build(build) if build else None
    target = Target(build=build or 0, secure_boot=facts.machine.secure_boot)
    devices = make_devices(facts.machine)
    winpe, offline = winpe_ways(facts, answer), offline_ways(facts, answer)
    unread = bool(facts.unread)
    later = facts.planned is not None and "drivers" in facts.planned.steps
    partitions, disk = rehearse_partitions(
        facts, answer, build=build, image_bytes=image.total_bytes if image else 0
    )
    drivers, rows = rehearse_devices(
        devices, (winpe, offline), model, target, unread=unread, steps_later=later
    )
    warned = known_bad_steps(
        facts,
        devices,
        (*winpe, *offline),
        release=release.id if release else "",
        texts=guest_texts(facts, answer),
    )
    drivers = dataclasses.replace(drivers, steps=(*drivers.steps, *warned))
    system = system_letters(facts)
    stages = (
        rehearse_firmware(facts, build),
        rehearse_letters(facts, model),
        rehearse_discovery(facts, model),
        rehearse_answer(data, name=where, release=release.id if release else None),
        rehearse_storage(devices, winpe, model, target, unread=unread),
        rehearse_commands(facts, answer, PE, model, build=build),
        partitions,
        rehearse_image(facts, answer),
        drivers,
        rehearse_commands(facts, answer, SPECIALIZE, system, build=build),
        rehearse_network(facts, answer),
        rehearse_clock(facts, answer),
        rehearse_commands(facts, answer, OOBE, system, build=build),
        rehearse_first_boot(facts, answer),
    )
    offered = (*winpe, *offline)
    letters = {letter for one in offered for _, letter in one.pairs} & set(model.letters)
    return Rehearsal(
        machine=facts.machine.name or "this machine",
        answer=where,
        release=release.name if release else "",
        stages=stages,
        letters=make_letter_map(facts, model, needed=(one.slot for one in offered), tried=letters),
        disk=disk,
        devices=rows,
    )


def _build(facts: Facts, answer: AnswerFile) -> int | None:
    """The build to install: of the image, of the media, of the plan, or by the image's name."""
    image = find_image(answer, facts.windows)
    if image is not None:
        return image.build
    if facts.windows is not None:
        builds = {one.build for one in facts.windows.images}
        if len(builds) == 1:
            return builds.pop()
    if facts.planned is not None:
        return facts.planned.build
    named = [one.value.casefold() for one in answer.selections]
    for release in map(load_release, release_ids()):
        if any(name.startswith(release.name.casefold()) for name in named):
            return release.build
    return None
