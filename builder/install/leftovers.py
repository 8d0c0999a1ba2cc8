"""What runs leave behind, and what of it may be removed. Pure, but for a look at local files.

Removing is refused wherever a doubt is left: a disk may hold somebody's files by now, and the
volid of one that is gone is given to the next (proxmox/qemu-server takes the first free number).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.install.identity import is_same_vm, old_volumes, volid_of
from builder.install.journal import NAME, Journal, Kind, Outcome, RunState, Standing
from builder.install.opening import administrator_file, is_open, one_time_file
from builder.proxmox.facts import Image, IsoFile, VmConfig
from builder.record import record

ISO_NAME = re.compile(r"winseed-(?P<vmid>[1-9]\d*)-(?P<run>[0-9a-f]{8,})\.iso")
UNUSED = re.compile(r"unused\d+")
DISK_NAME = re.compile(r"(?:.*[:/])?(?:vm|base)-\d+-disk-\d+(?:\.\w+)?")
SKEW = 300  # seconds that the clocks of a node and of this machine may differ


@record
class Record:
    """A journal that was found. `written`: when it was last, in seconds since 1970."""

    path: Path
    journal: Journal
    written: int

    @property
    def state(self) -> RunState:
        """What the run remembers."""
        return self.journal.state

    @property
    def current(self) -> bool:
        """Whether it is the last run of its host in this folder."""
        return self.path.name == NAME


@record
class StaleIso:
    """An answer ISO on a storage. `host` is "" when no journal knows its run."""

    volid: str
    node: str
    size: int
    run: str
    host: str
    removable: bool
    what: str


@record
class StrayDisk:
    """A disk that no drive uses. `slot` as `unused0`, "" when no configuration names it."""

    volid: str
    node: str
    vmid: int
    slot: str
    size: int | None
    host: str
    run: str
    removable: bool
    what: str


def secrets_left(
    journal: Journal, folder: Path, *, current: bool = True, gone: bool = False
) -> list[str]:
    """Where secrets of a run lie now, one line each. `current`: it is the last run of its host.

    `gone`: somebody has looked, and its answer ISO is not on its storage.
    """
    state, lines, used = journal.state, [], used_files(journal, folder)
    answer = state.answer
    if answer is not None and answer.volid and not (state.neutral or gone) and _uploaded(journal):
        lines.append(f"a one-time password lies on {answer.volid} and in the VM's CD drive")
    if current and (folder / "answer.iso").exists():
        lines.append(f"a one-time password lies in {folder / 'answer.iso'}")
    for path in (one_time_file, administrator_file):
        file = path(folder, state)
        if file.exists():
            lines.append(f"a password lies in {file}")
    return lines + [f"what Windows was installed with lies in {file}" for file in used]


def used_files(journal: Journal, folder: Path) -> list[Path]:
    """What `winseed iso` wrote for a VM that was settled by hand: its ISO, its first password."""
    state = journal.state
    if state.kind is not Kind.SETTLE:
        return []
    passwords = sorted(folder.parent.glob(f"*.{state.fingerprint}.password"))
    iso = Path(state.answer.path) if state.answer and state.answer.path else None
    return [*([iso] if iso and iso.exists() else []), *passwords]


def _uploaded(journal: Journal) -> bool:
    """Whether the answer ISO may lie on its storage."""
    if journal.standing("delete-answer") is Standing.DONE:
        return False
    if journal.state.kind is Kind.SETTLE:
        return True
    return journal.standing("upload") in {Standing.INTENDED, Standing.DONE}


def judge_iso(
    iso: IsoFile, node: str, records: Sequence[Record], configs: Sequence[VmConfig], *, shared: bool
) -> StaleIso | None:
    """What an ISO on a storage of `node` is to us, None when it is nothing of ours."""
    named = ISO_NAME.fullmatch(iso.name)
    record = _run_of(iso, named, records)
    if named is None and record is None:
        return None
    # an ISO that somebody uploaded by hand may have been uploaded anew since
    doubts = [] if named else ["it was uploaded by hand: look whether it is the used one"]
    if record is None:
        doubts.append("no journal in this folder knows its run")
    else:
        doubts += _iso_doubts(iso, node, record, shared=shared)
    doubts += [
        f"it is in {cd.slot} of {config.machine.name or 'a VM'}"
        for config in configs
        for cd in config.machine.cds
        if cd.volume == iso.volid
    ]
    return StaleIso(
        volid=iso.volid,
        node=node,
        size=iso.size,
        run=named["run"] if named else (record.state.run if record else ""),
        host=record.state.host if record else "",
        removable=not doubts,
        what="; ".join(doubts) or "its run has ended",
    )


def _run_of(iso: IsoFile, named: re.Match[str] | None, records: Sequence[Record]) -> Record | None:
    by_run = (one for one in records if named and one.state.run == named["run"])
    by_volid = (one for one in records if one.state.answer and one.state.answer.volid == iso.volid)
    return next(by_run, None) or next(by_volid, None)


def _iso_doubts(iso: IsoFile, node: str, record: Record, *, shared: bool) -> Iterator[str]:
    state, answer = record.state, record.state.answer
    if is_open(record.journal):
        yield f"its run is open: {open_hint(state)}"
    where = answer.node or state.node if answer else ""
    if answer is None or answer.volid != iso.volid or not (shared or node == where):
        yield "its journal names another one"
    elif iso.size != answer.size and not state.neutral:
        yield f"it has {iso.size} bytes, its journal says {answer.size}"


def judge_unused(
    slot: str,
    volid: str,
    vmid: int,
    node: str,
    config: VmConfig,
    records: Sequence[Record],
    image: Image | None,
) -> StrayDisk | None:
    """What a detached disk of a VM is to us, None when no run ever had to do with it."""
    naming = _naming(volid, vmid, records)
    if not naming:
        return None
    last = naming[0].state
    doubts = [doubt for record in naming for doubt in _disk_doubts(volid, record)]
    if not is_same_vm(config, last):
        doubts.append("nothing proves that this VM is the one of its run")
    if image is not None and image.created and image.created > naming[0].written + SKEW:
        doubts.append("it was made after its run had ended")
    return StrayDisk(
        volid=volid,
        node=node,
        vmid=vmid,
        slot=slot,
        size=image.size if image else None,
        host=last.host,
        run=last.run,
        removable=not doubts,
        what="; ".join(dict.fromkeys(doubts))
        or f"made by a run that is {last.outcome.value}, and no drive uses it",
    )


def _naming(volid: str, vmid: int, records: Sequence[Record]) -> list[Record]:
    """Every run that had to do with a disk, the last one first."""
    found = [
        one
        for one in records
        if one.state.vmid == vmid
        and volid in {*one.state.volumes, *one.state.unused, *old_volumes(one.state)}
    ]
    return sorted(found, key=lambda one: one.state.started, reverse=True)


def _disk_doubts(volid: str, record: Record) -> Iterator[str]:
    """Why a detached disk is not removed, as far as one run speaks."""
    state = record.state
    if volid in state.unused:
        if state.kind is Kind.REINSTALL and state.outcome is Outcome.SETTLED and record.current:
            yield f"an old disk: winseed reinstall {state.host} --accept destroys it"
        else:
            yield f"an old disk of {state.host}: nothing here destroys it"
    elif volid in old_volumes(state):
        yield f"it was in the VM before {state.host} was installed anew"
    if is_open(record.journal):
        yield f"its run is open: {open_hint(state)}"
    elif state.outcome is Outcome.SETTLED and volid in state.volumes:
        yield "it belonged to a settled VM, and somebody has detached it: it may hold files"


def judge_orphan(
    image: Image, node: str, used: frozenset[str], records: Sequence[Record], *, seen: bool
) -> StrayDisk | None:
    """A disk that carries the number of a VM of ours and that no configuration names."""
    runs = [one.state for one in records if one.state.vmid == image.vmid]
    if not runs or image.volid in used or not DISK_NAME.fullmatch(image.volid):
        return None
    last = max(runs, key=lambda state: state.started)
    what = f"no drive and no unusedN names it: on {node}, qm disk rescan --vmid {image.vmid}"
    if not seen:
        what = f"there is no VM {image.vmid}, or this token may not see it"
    return StrayDisk(
        volid=image.volid,
        node=node,
        vmid=image.vmid,
        slot="",
        size=image.size,
        host=last.host,
        run=last.run,
        removable=False,
        what=what,
    )


def unused_disks(config: VmConfig) -> Iterator[tuple[str, str]]:
    """Slot and volid of every detached disk that the configuration still names."""
    for key, text in config.settings:
        if UNUSED.fullmatch(key):
            yield key, volid_of(text)


def open_hint(state: RunState) -> str:
    """How an open run goes on."""
    if state.next:
        return state.next
    undo = "" if state.kind is Kind.SETTLE else ", or --undo"
    return f"{state.call} --resume{undo}"
