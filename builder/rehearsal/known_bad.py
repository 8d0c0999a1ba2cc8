"""Drivers and installers that are reported to fail: `drivers/known-bad.toml`, disc by disc.

The release is that of the disc a package lies on, by its volume id, or of the disc that winseed's
own manifest took it from. A repacked disc tells none, and only the rows for every release count.
"""

from collections.abc import Iterable, Iterator

from builder.devices import MachineDevice, virtio_names
from builder.drivers import Combination, find_known_bad
from builder.rehearsal.facts import DiscFacts, DiscKind, Facts
from builder.rehearsal.model import Step, risk
from builder.rehearsal.ways import Offered

UNKNOWN = "unknown"
AGENT = "qemu-ga"
INSTALLERS = {
    "virtio-win-guest-tools": "guest-tools",
    "virtio-win-gt": "virtio-win-gt",
    AGENT: AGENT,
}


def known_bad_steps(
    facts: Facts,
    devices: tuple[MachineDevice, ...],
    offered: Iterable[Offered],
    *,
    release: str,
    texts: str,
) -> Iterator[Step]:
    """A risk for every row that speaks of what is loaded or run; `texts` are the commands.

    A row that makes the plan refuse is a risk here: the answer file may be somebody else's, and
    what is reported did not happen to everybody.
    """
    loaded = tuple(offered)
    told: set[str] = set()
    for slot, disc in facts.discs:
        names = {one.driver.driver for one in loaded if one.slot == str(slot)}
        folders = {_folder(one, facts) for one in loaded if one.slot == str(slot)}
        for folder in sorted(folders) or [""]:
            combination = Combination(
                virtio_release=_release(disc, facts),
                release=release,
                os=folder,
                drivers=tuple(sorted(names)),
                devices=virtio_names(devices),
                installers=tuple(_installers(disc, facts, texts)),
                cores=facts.machine.cores,
            )
            for row in find_known_bad(combination):
                if row.level != "note" and row.id not in told:
                    told.add(row.id)
                    what = f"{row.id}: {row.reason}"
                    yield risk("devices.known-bad", what, fix=row.way_out, source=row.source)


def _own(disc: DiscFacts, facts: Facts) -> bool:
    return facts.planned is not None and disc == facts.answer_disc


def _release(disc: DiscFacts, facts: Facts) -> str:
    if facts.planned is not None and _own(disc, facts):
        return facts.planned.virtio_release
    return disc.release or UNKNOWN


def _folder(one: Offered, facts: Facts) -> str:
    """`2k22` of `vioscsi/2k22/amd64/vioscsi.inf`, in the case of virtio-win."""
    steps = one.driver.path.split("/")
    named = {"2k8r2": "2k8R2", "2k12r2": "2k12R2"}
    found = next((step for step in steps if step.startswith("2k")), "")
    if not found and facts.planned is not None:
        return facts.planned.folder
    return named.get(found, found)


def _installers(disc: DiscFacts, facts: Facts, texts: str) -> Iterator[str]:
    """What the guest runs from this disc."""
    if facts.planned is not None:
        carries = _own(disc, facts) or disc.kind is DiscKind.VIRTIO
        if carries and "agent" in facts.planned.steps and _holds(disc, AGENT):
            yield AGENT
        return
    for name, installer in INSTALLERS.items():
        if name in texts.casefold() and _holds(disc, name):
            yield installer


def _holds(disc: DiscFacts, name: str) -> bool:
    return any(path.rpartition("/")[2].startswith(name) for path in disc.files)
