"""The ways by which a driver package reaches Windows PE or the installed system.

* DriverPaths in windowsPE (PnpCustomizationsWinPE): propagated to the installed system, as is
  `$WinPEDriver$`; what `drvload` loads is not (Microsoft KB 2686316, Windows 7 to 2012 R2).
* DriverPaths in offlineServicing (PnpCustomizationsNonWinPE): for the installed system only.
* Belief is what beliefs.toml lists: a folder is searched with its subfolders (FT22), absent letters
  are skipped (FT01), the new Setup sees what drvload loaded (FT02), `$WinPEDriver$` is read from a
  CD (FT03), offline servicing skips absent letters (FT12), the CD is as its layout says (FT11).
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping

from builder.record import record
from builder.rehearsal.answer_file import PE, AnswerFile
from builder.rehearsal.facts import WINPE_DRIVER, DiscDriver, Facts, fold_path
from builder.rehearsal.letters import ALPHABET, Pair

ON_LETTER = re.compile(r'\s*"?([A-Za-z]):[\\/]+(.*)', re.DOTALL)
FOR_LOOP = re.compile(r"for\s+%{1,2}~?(\w)\s+in\s*\(([^)]{1,200})\)\s*do", re.IGNORECASE)
DRVLOAD = re.compile(r'drvload(?:\.exe)?\s+"?([^"&|\r\n]{1,260}?\.inf)', re.IGNORECASE)
SCRIPT = re.compile(r'(%{1,2}\w|[A-Za-z]):\\([^"\s&|)]{1,200}?\.(?:cmd|bat))', re.IGNORECASE)
VARIABLE = re.compile(
    r"^(?:%[^%\\:]{1,60}%:?|%{1,2}~?[a-z0-9]{1,4}:?|[A-Za-z]:)?[\\/]*", re.IGNORECASE
)
HEAD = re.compile(r"(%{1,2}\w|[A-Za-z]):")
ASSIGNED = re.compile(r'set\s+"?(\w{1,60})=(%~?[a-z]{0,3}[01]|%\w{1,60}%)"?', re.IGNORECASE)
OWN_PLACE = re.compile(r"%(?:~?[a-z]{0,3}[01]|(\w{1,60})%)", re.IGNORECASE)
RAM_DISK = "X"


class Way(enum.Enum):
    """How a package gets in."""

    DRIVER_PATHS = "DriverPaths"
    DRVLOAD = "drvload"
    WINPE_DRIVER = "$WinPEDriver$"
    OFFLINE = "offlineServicing"


BELIEFS: Mapping[Way, tuple[str, ...]] = {
    Way.DRIVER_PATHS: ("FT01",),
    Way.DRVLOAD: ("FT02",),
    Way.WINPE_DRIVER: ("FT03",),
    Way.OFFLINE: ("FT12",),
}


@record
class Offered:
    """A package on a way; it is there when one of `pairs` holds, or always when there are none."""

    way: Way
    slot: str
    driver: DiscDriver
    pairs: frozenset[Pair]
    copied: bool = False

    @property
    def beliefs(self) -> tuple[str, ...]:
        """What the way rests on; FT11 for a package that nobody has read."""
        return (*BELIEFS[self.way], *(() if self.driver.inf is not None else ("FT11",)))


def winpe_ways(facts: Facts, answer: AnswerFile) -> tuple[Offered, ...]:
    """Every package that Windows PE is given."""
    return (
        *_paths(facts, answer.winpe_paths, Way.DRIVER_PATHS),
        *_loaded(facts, answer),
        *_folders(facts),
    )


def offline_ways(facts: Facts, answer: AnswerFile) -> tuple[Offered, ...]:
    """Every package that offline servicing is given."""
    return tuple(_paths(facts, answer.offline_paths, Way.OFFLINE))


def _paths(facts: Facts, paths: Iterable[str], way: Way) -> Iterator[Offered]:
    """Packages by path: one `Offered` per package with all the letters that name its folder."""
    letters: dict[str, set[str]] = {}
    for path in paths:
        found = ON_LETTER.fullmatch(path)
        if found:
            letters.setdefault(fold_path(found[2]), set()).add(found[1].upper())
    offers: dict[tuple[str, str], tuple[DiscDriver, set[Pair], bool]] = {}
    for folder, named in letters.items():
        for slot, disc in facts.discs:
            for driver in disc.drivers_under(_source_folder(folder, facts, named)):
                key = (str(slot), driver.path)
                _, pairs, copied = offers.setdefault(key, (driver, set(), False))
                pairs |= {(str(slot), letter) for letter in named}
                if RAM_DISK in named and slot == facts.answer_slot and not copied:
                    offers[key] = (driver, pairs, True)
    for (place, _), (driver, pairs, copied) in offers.items():
        yield Offered(way=way, slot=place, driver=driver, pairs=frozenset(pairs), copied=copied)


def _source_folder(folder: str, facts: Facts, letters: set[str]) -> str:
    """Where a folder of the RAM disk was copied from: winseed's script keeps the last name."""
    if letters == {RAM_DISK} and facts.planned is not None:
        return f"drivers/{folder.rpartition('/')[2]}"
    return folder


def _folders(facts: Facts) -> Iterator[Offered]:
    for slot, disc in facts.discs:
        for driver in disc.drivers_under(WINPE_DRIVER):
            yield Offered(way=Way.WINPE_DRIVER, slot=str(slot), driver=driver, pairs=frozenset())


def _loaded(facts: Facts, answer: AnswerFile) -> Iterator[Offered]:
    """What the commands of windowsPE load, and the batch files that they call."""
    for command in answer.commands:
        if command.passes != PE:
            continue
        loops = loop_letters(command.text)
        for operand in DRVLOAD.findall(command.text):
            yield from _operand(facts, operand, loops, home="")
        for head, path in dict.fromkeys(SCRIPT.findall(command.text)):
            letters = _head_letters(head, loops)
            for slot, disc in facts.discs:
                text = disc.scripts.get(fold_path(path), "")
                inner, own = {**loops, **loop_letters(text)}, _own_names(text)
                for operand in DRVLOAD.findall(text):
                    yield from (
                        one
                        for one in _operand(facts, operand, inner, home=str(slot), letters=letters)
                        if one.slot == str(slot) or not _is_own(operand, own)
                    )


def _own_names(script: str) -> set[str]:
    """Variables that hold the script's own disc: its argument, its drive, or one that does."""
    own: set[str] = set()
    for name, value in ASSIGNED.findall(script):
        if _is_own(value, own):
            own.add(name.casefold())
    return own


def _is_own(operand: str, own: set[str]) -> bool:
    found = OWN_PLACE.match(operand)
    return found is not None and (found[1] is None or found[1].casefold() in own)


def _operand(
    facts: Facts,
    operand: str,
    loops: Mapping[str, frozenset[str]],
    *,
    home: str,
    letters: frozenset[str] = frozenset(),
) -> Iterator[Offered]:
    """The packages that one operand of drvload can mean.

    In a script on a disc a path without a letter of its own is on that disc; other discs count
    when that disc has no such file, and are taken to be found on the letters of the script's loop.
    """
    path = fold_path(VARIABLE.sub("", operand))
    head = HEAD.match(operand)
    own = _head_letters(head[1], loops) if head else frozenset()
    known = own or letters or frozenset().union(*loops.values())
    places = [(str(slot), one) for slot, disc in facts.discs for one in disc.drivers]
    matching = [(slot, one) for slot, one in places if one.path == path]
    at_home = [(slot, one) for slot, one in matching if slot == home]
    for slot, one in at_home or matching:
        pairs = frozenset((slot, letter) for letter in known or ALPHABET)
        yield Offered(way=Way.DRVLOAD, slot=slot, driver=one, pairs=pairs)


def loop_letters(text: str) -> dict[str, frozenset[str]]:
    """The letters of each `for %d in (C D E) do`, by the variable, in lower case."""
    return {
        name.casefold(): frozenset(
            item.rstrip(":\\").upper() for item in items.split() if item.rstrip(":\\").isalpha()
        )
        for name, items in FOR_LOOP.findall(text)
    }


def _head_letters(head: str, loops: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The letters that `E` or `%d` may stand for."""
    if head.startswith("%"):
        return loops.get(head.lstrip("%").casefold(), frozenset())
    return frozenset({head.upper()})
