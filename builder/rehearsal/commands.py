"""Stages 5 and 8, command lines: their limits, their order, and the files that they name.

Sources: unattended setup reference, RunSynchronousCommand Path (259 characters) and
SynchronousCommand CommandLine (1,024); longer lines work in windowsPE and fail in specialize
(cschneegans/unattend-generator#213, #6). The text of a command is never repeated here: it may hold
a password.
"""

import re
from collections.abc import Iterator

from builder.errors import ExitCode
from builder.rehearsal.answer_file import OOBE, PE, SPECIALIZE, AnswerFile, CommandLine
from builder.rehearsal.facts import Facts, fold_path
from builder.rehearsal.letters import ALPHABET, LetterModel
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown
from builder.rehearsal.ways import loop_letters

LIMITS = {"RunSynchronous": 259, "RunAsynchronous": 259}
LOGON_LIMIT = 1024
TITLES = {
    PE: "Commands in Windows PE",
    SPECIALIZE: "Commands in specialize",
    OOBE: "Commands at logon",
}
# a path on a letter, as it stands or in the variable of a loop
REFERENCE = re.compile(r'(%{1,2}\w|(?<![\w%])[A-Za-z]):\\([^"\s&|)<>,;]{1,240})')
PROBE = re.compile(r"\bif\s+(not\s+)?exist\b", re.IGNORECASE)
PROGRAM = re.compile(r'\s*"?([^"\s]{1,120})')
MSIEXEC = re.compile(r"(^|\\)msiexec(\.exe)?$", re.IGNORECASE)
GUEST_TOOLS = "virtio-win-guest-tools"
NEW_SETUP = 26040
OWN = {PE: "X", SPECIALIZE: "C", OOBE: "C"}  # the disk of the running system
SOURCES = "unattended setup reference; cschneegans/unattend-generator#6, #213"


def rehearse_commands(
    facts: Facts, answer: AnswerFile, passes: str, model: LetterModel, *, build: int | None
) -> Stage:
    """Every command of one pass, in its order."""
    commands = [one for one in answer.commands if one.passes == passes]
    steps: list[Step] = []
    for way in dict.fromkeys(one.way for one in commands):
        listed = [one for one in commands if one.way == way]
        steps += _form(listed, way, passes)
        for number, one in enumerate(listed, start=1):
            steps += _files(facts, one, f"{way} {one.order or number}", model)
            steps += _programs(one, f"{way} {one.order or number}", build)
    if not commands:
        steps.append(passed(f"commands-{passes}.none", "no command runs here"))
    return Stage(key=f"commands-{passes}", title=TITLES[passes], steps=tuple(steps))


def _form(listed: list[CommandLine], way: str, passes: str) -> Iterator[Step]:
    """Length and order of one list."""
    limit = LIMITS.get(way, LOGON_LIMIT)
    longest = max(len(one.text) for one in listed)
    orders = [one.order for one in listed]
    key = f"commands-{passes}"
    if longest > limit and passes == PE:
        yield risk(
            f"{key}.length",
            f"{way}: a command has {longest} characters, {limit} are documented",
            source=SOURCES,
        )
    elif longest > limit:
        yield stop(
            f"{key}.length",
            f"{way}: a command has {longest} characters, {limit} are allowed",
            why="could not parse or process unattend answer file",
            code=ExitCode.ANSWER,
            fix="call a script",
            source=SOURCES,
        )
    elif None in orders or len(set(orders)) < len(orders):
        yield risk(
            f"{key}.order",
            f"{way}: {len(listed)} commands with missing or repeated Order",
            fix="number them from 1",
            source=SOURCES,
        )
    else:
        yield passed(
            f"{key}.form",
            f"{way}: {len(listed)} command{'s' if len(listed) > 1 else ''} in order, "
            f"the longest has {longest} of {limit} characters",
            source=SOURCES,
        )


def _files(facts: Facts, one: CommandLine, name: str, model: LetterModel) -> Iterator[Step]:
    """Each file on a letter: does a disc have it, and under which assignments."""
    loops = loop_letters(one.text)
    seen: set[tuple[str, str]] = set()
    for head, raw in REFERENCE.findall(one.text):
        path = fold_path(raw.rstrip("."))
        if (head, path) in seen or "%" in path or "*" in path:
            continue
        seen.add((head, path))
        letters = _letters(head, loops)
        if not letters or letters == {OWN[one.passes]} or letters == {"X"}:
            continue
        yield from _file(facts, one, name, path, letters, model)


def _letters(head: str, loops: dict[str, frozenset[str]]) -> frozenset[str]:
    if not head.startswith("%"):
        return frozenset({head.upper()})
    return loops.get(head.lstrip("%").casefold(), frozenset(ALPHABET) if loops else frozenset())


def _file(
    facts: Facts,
    one: CommandLine,
    name: str,
    path: str,
    letters: frozenset[str],
    model: LetterModel,
) -> Iterator[Step]:
    key = f"commands-{one.passes}.file"
    slots = [(str(slot), disc.name) for slot, disc in facts.discs if disc.holds(path)]
    if not slots:
        yield _missing(facts, one, key, name, path)
        return
    reach = model.reach((slot, letter) for slot, _ in slots for letter in letters)
    where = ", ".join(f"{disc} ({slot})" for slot, disc in slots)
    if reach.always:
        yield passed(key, f"{name}: {path} is on {where}, found under every assignment")
    elif reach.never:
        yield stop(
            key,
            f"{name}: {path} is on {where}, which never has the letter {_told(letters)}",
            code=ExitCode.ANSWER,
            fix="look for it on the letters C: to J:",
        )
    else:
        yield risk(
            key,
            f"{name}: {path} on {where} is found in {reach} assignments",
            why=f"not, for instance, with {reach.miss}",
            fix="look for it on every letter, by a marker file",
            source="hashicorp/packer#7950, #10613; unattend-generator#400",
        )


def _told(letters: frozenset[str]) -> str:
    return ", ".join(f"{letter}:" for letter in sorted(letters))


def _missing(facts: Facts, one: CommandLine, key: str, name: str, path: str) -> Step:
    if facts.unread:
        return unknown(key, f"{name}: {path} is on no disc that was read", fix="give every disc")
    if PROBE.search(one.text):
        return risk(key, f"{name}: {path} is looked for, and no disc has it")
    return stop(
        key,
        f"{name}: {path} is on no disc",
        code=ExitCode.ANSWER,
        fix="put it on the answer ISO",
    )


def _programs(one: CommandLine, name: str, build: int | None) -> Iterator[Step]:
    """Programs that are reported to stall Setup."""
    key = f"commands-{one.passes}"
    program = PROGRAM.match(one.text)
    if one.way == "FirstLogonCommands" and program and MSIEXEC.search(program[1]):
        yield risk(
            f"{key}.msiexec",
            f"{name} calls msiexec directly: reported to end the rest of the list",
            fix="call one script that waits for it",
            source="Pumba98/proxmox-packer-templates#180",
        )
    if GUEST_TOOLS in one.text.lower() and one.passes == SPECIALIZE:
        hangs = build is None or build >= NEW_SETUP
        yield risk(
            f"{key}.guest-tools",
            f"{name} runs {GUEST_TOOLS}.exe in specialize"
            + (", which is reported to hang on this build" if hangs else ""),
            fix="install the agent's MSI after Setup",
            source="cschneegans/unattend-generator#119; "
            "virtio-win/virtio-win-guest-tools-installer#64",
        )
    elif GUEST_TOOLS in one.text.lower():
        yield risk(
            f"{key}.guest-tools",
            f"{name} runs {GUEST_TOOLS}.exe, which is reported to fail or to ask",
            fix="install the agent's MSI, and drivers by offlineServicing",
            source="virtio-win/virtio-win-guest-tools-installer#40, #64",
        )
