"""Driver paths: letters, folders of virtio-win, architecture.

Sources: KB2686316; cschneegans/unattend-generator#400; virtio-win-pkg-scripts util/filemap.py;
bin456789/reinstall windows.xml:46 (balloon). No public document tells what Setup does with a path
on a letter that is not there.
"""

import re
from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import Answer, shown
from builder.answer.rules.table import Finding

COMPONENTS = (
    "Microsoft-Windows-PnpCustomizationsWinPE",
    "Microsoft-Windows-PnpCustomizationsNonWinPE",
)
PATHS = "DriverPaths/PathAndCredentials/Path"
ON_LETTER = re.compile(r'\s*"?([A-Za-z]):[\\/]?(.*)', re.DOTALL)
FIXED = frozenset("CX")  # the installed system and Windows PE's own disk
ARCHITECTURES = {"amd64": "amd64", "x64": "amd64", "x86": "x86", "i386": "x86", "arm64": "arm64"}
BALLOON_BUILDS = frozenset((9200, 9600))


def judge_letters(answer: Answer) -> Iterator[Finding]:
    """Drivers that Windows PE gets from one letter only."""
    for name in COMPONENTS:
        by_rest: dict[str, dict[str, Element]] = {}
        for path in answer.found(name, PATHS):
            found = ON_LETTER.match(path.text)
            if found:
                rest = found[2].strip().strip('"\\/').casefold()
                by_rest.setdefault(rest, {}).setdefault(found[1].upper(), path)
        letters = {letter for places in by_rest.values() for letter in places} - FIXED
        if len(letters) != 1:
            continue
        first = next(path for p in by_rest.values() for k, path in p.items() if k in letters)
        yield answer.finding("WS701", first, f"every driver path is on {letters.pop()}:")


def judge_folders(answer: Answer) -> Iterator[Finding]:
    """Folders of virtio-win that are for another Windows."""
    release = answer.release
    for name in COMPONENTS:
        for path in answer.found(name, PATHS):
            steps = [step for step in re.split(r"[\\/]+", path.text.strip().lower()) if step]
            folders = [step for step in steps if step in answer.tables.driver_folders]
            if release and folders and folders[-1] not in release.driver_folders:
                what = f"the folder {shown(folders[-1])} is not for {release.name}"
                yield answer.finding("WS702", path, what)
            stops = release is not None and release.build in BALLOON_BUILDS
            if stops and name == COMPONENTS[0] and "balloon" in steps:
                yield answer.finding("WS703", path, "the balloon driver in Windows PE")
            yield from _judge_architecture(answer, path, steps)


def _judge_architecture(answer: Answer, path: Element, steps: list[str]) -> Iterator[Finding]:
    component: Element | None = path
    while component is not None and component.name != "component":
        component = component.parent
    wanted = component.attributes.get("processorArchitecture", "") if component else ""
    named = {ARCHITECTURES[step] for step in steps if step in ARCHITECTURES}
    if wanted in set(ARCHITECTURES.values()) and named and wanted not in named:
        what = f"a folder for {', '.join(sorted(named))} in a component for {wanted}"
        yield answer.finding("WS704", path, what)
