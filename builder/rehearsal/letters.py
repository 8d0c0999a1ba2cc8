"""Drive letters: every assignment that is possible, not one guess.

Windows PE itself is X:. CD drives and volumes of existing partitions share the letters from C: on.
Which gets which depends on the order in which controllers and volumes turn up, which no document
promises, so every order counts. C: may stay free: of 55 public answer files with a fixed letter for
the driver disc 36 say E:, 17 F: and 1 D:, which an order without a gap would not give. That the
letters are dealt from the beginning of the alphabet without further gaps is belief (FT21).

In the installed system C: is Windows, and the CD drives share the letters from D: on.
"""

import functools
import itertools
import math
from collections.abc import Iterable

from builder.machine import Disk
from builder.record import record
from builder.rehearsal.facts import Content, Facts
from builder.rehearsal.model import DriveLetters, LetterMap, Stage, Step, passed, unknown

ALPHABET = tuple("CDEFGHIJKLMNOPQRSTUVWYZ")  # X: is Windows PE
# volumes of a used disk that get a letter: system, Windows, recovery and data is what is common [B]
USED_VOLUMES = 4
MOST_INVOLVED = 4  # drives that are tried together; more is no machine that anybody has

Pair = tuple[str, str]  # slot, letter


@record
class Reach:
    """In how many of all assignments something is found; `miss` is one in which it is not."""

    hits: int
    total: int
    miss: str = ""

    @property
    def always(self) -> bool:
        """In every assignment."""
        return self.hits == self.total

    @property
    def never(self) -> bool:
        """In none."""
        return self.hits == 0

    def __str__(self) -> str:
        return f"{self.hits} of {self.total}"


@record
class LetterModel:
    """CD drives and the letters they may get; each assignment gives every drive another one."""

    slots: tuple[str, ...]
    letters: tuple[str, ...]

    @property
    def total(self) -> int:
        """The number of assignments."""
        return math.perm(len(self.letters), len(self.slots))

    def reach(self, pairs: Iterable[Pair]) -> Reach:
        """In how many assignments at least one of `pairs` (slot, letter) holds."""
        return _reach(self, frozenset(pairs))


@functools.lru_cache(maxsize=256)
def _reach(model: LetterModel, pairs: frozenset[Pair]) -> Reach:
    """Only the drives that occur are dealt; the others multiply both counts alike."""
    usable = {(slot, letter) for slot, letter in pairs if letter in model.letters}
    involved = sorted({slot for slot, _ in usable if slot in model.slots})[:MOST_INVOLVED]
    if not involved:
        return Reach(hits=0, total=model.total)
    hits, miss = 0, ""
    for dealt in itertools.permutations(model.letters, len(involved)):
        if any(pair in usable for pair in zip(involved, dealt, strict=True)):
            hits += 1
        elif not miss:
            given = zip(involved, dealt, strict=True)
            miss = ", ".join(f"{slot} as {letter}:" for slot, letter in given)
    rest = math.perm(len(model.letters) - len(involved), len(model.slots) - len(involved))
    return Reach(hits=hits * rest, total=model.total, miss=miss)


def winpe_letters(facts: Facts) -> LetterModel:
    """The letters of Windows PE; a disk that may hold partitions takes some as well."""
    slots = tuple(str(drive.slot) for drive in facts.drives)
    volumes = sum(_volumes(disk, facts) for disk in facts.machine.disks)
    return LetterModel(slots=slots, letters=ALPHABET[: len(slots) + volumes + 1])


def system_letters(facts: Facts) -> LetterModel:
    """The letters of the installed system, in specialize and later."""
    slots = tuple(str(drive.slot) for drive in facts.drives)
    others = sum(USED_VOLUMES for disk in facts.machine.disks if disk != facts.install_disk)
    return LetterModel(slots=slots, letters=ALPHABET[1 : len(slots) + others + 1])


def _volumes(disk: Disk, facts: Facts) -> int:
    if disk == facts.install_disk and facts.content is Content.EMPTY:
        return 0
    return USED_VOLUMES


def rehearse_letters(facts: Facts, model: LetterModel) -> Stage:
    """How many assignments there are, and what makes them so many."""
    steps: list[Step] = []
    if not facts.drives:
        steps.append(unknown("letters.none", "the machine has no CD drive"))
    else:
        shared = f"{model.letters[0]} to {model.letters[-1]}"
        steps.append(
            passed(
                "letters.dealt",
                f"{len(model.slots)} CD drives share the letters {shared}; "
                f"all {model.total} assignments are tried below",
                source="public answer files: E: 36, F: 17, D: 1 times",
            )
        )
    if facts.content is Content.UNKNOWN and facts.install_disk is not None:
        steps.append(
            unknown(
                "letters.volumes",
                f"{facts.install_disk.slot} may hold partitions, which take letters as well",
                fix="say --disk empty or --disk used",
            )
        )
    return Stage(key="letters", title="Drive letters in Windows PE", steps=tuple(steps))


def make_letter_map(
    facts: Facts, model: LetterModel, *, needed: Iterable[str], tried: Iterable[str]
) -> LetterMap | None:
    """The picture of it; `needed` are the slots that something is read from."""
    if not facts.drives:
        return None
    wanted = set(needed)
    drives = tuple(
        DriveLetters(
            slot=str(drive.slot),
            disc=drive.disc.name if drive.disc else "(empty)",
            kind=drive.disc.kind.value if drive.disc else "empty",
            letters=model.letters,
            needed=str(drive.slot) in wanted,
        )
        for drive in facts.drives
    )
    named = sorted(set(tried) | set(model.letters), key=ALPHABET.index)
    return LetterMap(
        drives=drives,
        letters=tuple(named),
        tried=tuple(letter for letter in named if letter in set(tried)),
        assignments=model.total,
    )
