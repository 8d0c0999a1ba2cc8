"""Stage 2, discovery: which answer file Setup takes.

The order is documented ("Windows Setup Automation Overview", implicit answer file search order):
registry, %WINDIR%\\Panther\\Unattend, %WINDIR%\\Panther, removable read/write media, removable
read-only media in the order of their letters, \\Sources of the distribution, %SYSTEMDRIVE%. In
Windows PE the file on a medium must be called Autounattend.xml, in the root.
"""

from collections.abc import Iterator

from builder.errors import ExitCode
from builder.rehearsal.facts import WINPE_DRIVER, Content, DiscFacts, Facts
from builder.rehearsal.letters import LetterModel
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown

NAME = "autounattend.xml"
IN_SOURCES = f"sources/{NAME}"
CUT_NAMES = ("autounat.xml", "autounatt.xml")
ORDER = "learn.microsoft.com, Windows Setup Automation Overview, answer file search order"


def rehearse_discovery(facts: Facts, model: LetterModel) -> Stage:
    """Every answer file on every disc, in the order of the search."""
    found = [(str(slot), disc) for slot, disc in facts.discs if NAME in disc.answers]
    steps = list(_root_files(facts, found, model))
    steps += _other_places(facts, found=bool(found))
    steps += _foreign_drivers(facts)
    steps += [
        unknown(
            "discovery.unread",
            f"{drive.disc.name} in {drive.slot} was not read: an answer file on it could win",
            fix="give it as --disc",
        )
        for drive in facts.unread
        if drive.disc is not None
    ]
    if facts.content is Content.USED:
        steps.append(
            unknown(
                "discovery.disk",
                "an answer file on the used disk (%SYSTEMDRIVE%) comes last in the order",
                source=ORDER,
            )
        )
    return Stage(key="discovery", title="Which answer file wins", steps=tuple(steps))


def _root_files(
    facts: Facts, found: list[tuple[str, DiscFacts]], model: LetterModel
) -> Iterator[Step]:
    if not found:
        yield from _nothing(facts)
        return
    slot, disc = found[0]
    if len(found) == 1:
        yield passed(
            "discovery.winner",
            f"{NAME} on {disc.name} ({slot}) is the only one, so letters do not matter",
            source=ORDER,
        )
        return
    names = ", ".join(f"{one.name} ({where})" for where, one in found)
    contents = {one.answers[NAME] for _, one in found}
    if len(contents) == 1:
        yield risk(
            "discovery.winner",
            f"{len(found)} discs carry the same answer file: {names}",
            fix="keep one of them",
            source=ORDER,
        )
        return
    share = model.total // len(found)
    yield stop(
        "discovery.winner",
        f"{len(found)} discs carry different answer files: {names}",
        why=f"the lowest letter wins: each of them in about {share} of {model.total} assignments",
        code=ExitCode.ANSWER,
        fix="unmount the stale one",
        source=f"{ORDER}; cschneegans/unattend-generator#28",
    )


def _nothing(facts: Facts) -> Iterator[Step]:
    for slot, disc in facts.discs:
        cut = [name for name in CUT_NAMES if name in disc.shown]
        if cut:
            yield stop(
                "discovery.name",
                f"{disc.name} ({slot}) shows Windows the name {cut[0].upper()}: ISO 9660 without "
                "Joliet or UDF cuts it",
                code=ExitCode.ANSWER,
                fix="write the disc with Joliet (genisoimage -J)",
                source="quickemu-project/quickemu#1621; UnattendedWinstall#29",
            )
            return
        if "unattend.xml" in disc.shown:
            yield stop(
                "discovery.name",
                f"{disc.name} ({slot}) has unattend.xml: Windows PE looks for Autounattend.xml",
                code=ExitCode.ANSWER,
                fix="rename it",
                source=ORDER,
            )
            return
    if facts.unread:
        yield unknown("discovery.winner", "no answer file on the discs that were read")
        return
    yield stop(
        "discovery.winner",
        "no disc has an autounattend.xml: Setup asks for everything",
        code=ExitCode.ANSWER,
        fix="mount the answer ISO",
        source=ORDER,
    )


def _other_places(facts: Facts, *, found: bool) -> Iterator[Step]:
    for slot, disc in facts.discs:
        if IN_SOURCES not in disc.answers:
            continue
        what = f"{disc.name} ({slot}) has {IN_SOURCES} as well"
        if found:
            yield risk(
                "discovery.sources",
                f"{what}; the one in a root comes first",
                fix="take unchanged Windows media",
                source=ORDER,
            )
        else:
            yield risk("discovery.sources", f"{what}, and that one is taken", source=ORDER)


def _foreign_drivers(facts: Facts) -> Iterator[Step]:
    """`$WinPEDriver$` is searched at the root of each letter (Microsoft KB 2686316)."""
    for slot, disc in facts.discs:
        if slot == facts.answer_slot or not disc.holds(WINPE_DRIVER):
            continue
        yield risk(
            "discovery.winpe-driver",
            f"{disc.name} ({slot}) has a $WinPEDriver$ folder of its own: Setup loads its drivers",
            why="the first version of a driver that is loaded wins; others may be marked bad",
            fix="unmount the disc",
            source="Microsoft KB 2686316",
        )
