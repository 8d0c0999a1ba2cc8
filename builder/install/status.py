"""Every run of a folder, how it stands, and what its like has left behind on a cluster.

Journals alone tell most of it. The cluster is asked with one poll of /cluster/resources, the
configurations of the VMs that journals name, and the contents of its storages; what cannot be read
is told and taken for nothing.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.install.identity import is_same_vm, volid_of
from builder.install.journal import NAME, Outcome, read_journal
from builder.install.leftovers import (
    Record,
    StaleIso,
    StrayDisk,
    judge_iso,
    judge_orphan,
    judge_unused,
    open_hint,
    secrets_left,
    unused_disks,
)
from builder.install.opening import is_open
from builder.names import printable
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest, Image, IsoFile, Storage, VmConfig
from builder.proxmox.failures import PveError
from builder.proxmox.inventory import (
    inspect_config,
    inspect_guests,
    inspect_images,
    inspect_isos,
    inspect_nodes,
    inspect_storages,
)
from builder.record import record


@record
class Shelf:
    """What lies on one storage as one node sees it."""

    node: str
    storage: Storage
    isos: tuple[IsoFile, ...]
    images: tuple[Image, ...]


@record
class ClusterView:
    """What was read of a cluster; `notes` say what could not be."""

    guests: Mapping[int, Guest]
    configs: Mapping[int, VmConfig]
    shelves: tuple[Shelf, ...]
    notes: tuple[str, ...]


@record
class LiveVm:
    """A VM as it is now. `ours`: it is provably the one of the run."""

    node: str
    name: str
    running: bool
    lock: str
    ours: bool


@record
class RunStatus:
    """How a run stands. `vm` is None when there is none, or nobody was asked."""

    record: Record
    step: str
    secrets: tuple[str, ...]
    next: str
    vm: LiveVm | None


@record
class Status:
    """All that was found. `asked`: the cluster was."""

    runs: tuple[RunStatus, ...]
    isos: tuple[StaleIso, ...]
    disks: tuple[StrayDisk, ...]
    notes: tuple[str, ...]
    asked: bool


def find_records(output: Path) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    """The journals below `output`, by host and age, and a line for each that cannot be read."""
    found, broken = [], []
    try:
        paths = sorted(output.glob("*/journal*.json"))
    except OSError as error:
        what = f"cannot read {printable(output)}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from None
    for path in paths:
        if path.name != NAME and not path.name.startswith("journal-"):
            continue
        try:
            found.append(load_record(path))
        except WinseedError as error:
            broken.append(f"{error.what}; {error.hint}" if error.hint else error.what)
    records = [one for one in found if one is not None]
    records.sort(key=lambda one: (one.state.host.casefold(), one.state.started))
    return tuple(records), tuple(broken)


def load_record(path: Path) -> Record | None:
    """The journal in `path`, None when it is gone; WinseedError (SPEC) for a file that is none."""
    journal = read_journal(path)
    if journal is None:
        return None
    with contextlib.suppress(OSError):
        return Record(path=path, journal=journal, written=int(path.stat().st_mtime))
    return None


def inspect_cluster_view(api: Api, records: tuple[Record, ...], *, node: str = "") -> ClusterView:
    """Read what the judgement needs; `node` is looked at besides those of the runs.

    Raises PveError when the cluster does not answer at all.
    """
    guests = {guest.vmid: guest for guest in inspect_guests(api) if guest.kind == "qemu"}
    notes: list[str] = []
    vmids = {one.state.vmid for one in records if one.state.vmid in guests}
    configs = {}
    for vmid in sorted(vmids):
        with _noting(notes, f"VM {vmid} on {guests[vmid].node}"):
            configs[vmid] = inspect_config(api, guests[vmid].node, vmid)
    named = {one.state.node for one in records} | {guests[vmid].node for vmid in vmids} | {node}
    nodes = inspect_nodes(api)
    online = [one.name for one in nodes if one.online and (not any(named) or one.name in named)]
    notes += [f"{one.name} is offline: not looked at" for one in nodes if not one.online]
    shelves = tuple(_shelves(api, online, notes))
    return ClusterView(guests=guests, configs=configs, shelves=shelves, notes=tuple(notes))


def _shelves(api: Api, nodes: list[str], notes: list[str]) -> Iterator[Shelf]:
    shared: set[str] = set()
    for node in nodes:
        storages: tuple[Storage, ...] = ()
        with _noting(notes, f"the storages of {node}"):
            storages = inspect_storages(api, node)
        for storage in storages:
            if storage.name in shared or not storage.content & {"iso", "images"}:
                continue
            if not storage.active:
                notes.append(f"{storage.name} on {node} is not active: not looked at")
                continue
            with _noting(notes, f"{storage.name} on {node}"):
                yield _shelf(api, node, storage)
                shared |= {storage.name} if storage.shared else set()


def _shelf(api: Api, node: str, storage: Storage) -> Shelf:
    content = storage.content
    return Shelf(
        node=node,
        storage=storage,
        isos=inspect_isos(api, node, storage.name) if "iso" in content else (),
        images=inspect_images(api, node, storage.name) if "images" in content else (),
    )


@contextlib.contextmanager
def _noting(notes: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except WinseedError as error:
        notes.append(f"{what} could not be read: {error.what}")


def make_status(
    records: tuple[Record, ...], view: ClusterView | None, notes: tuple[str, ...]
) -> Status:
    """Judge everything that was found."""
    return Status(
        runs=tuple(_run_status(one, view) for one in records),
        isos=tuple(find_isos(records, view)) if view else (),
        disks=tuple(find_disks(records, view)) if view else (),
        notes=(*notes, *(view.notes if view else ())),
        asked=view is not None,
    )


def find_isos(records: tuple[Record, ...], view: ClusterView) -> Iterator[StaleIso]:
    """Every answer ISO that may be ours."""
    configs = tuple(view.configs.values())
    for shelf in view.shelves:
        for iso in shelf.isos:
            shared = shelf.storage.shared
            found = judge_iso(iso, shelf.node, records, configs, shared=shared)
            if found is not None:
                yield found


def find_disks(records: tuple[Record, ...], view: ClusterView) -> Iterator[StrayDisk]:
    """Every disk of ours that no drive uses, and every one that no configuration names."""
    images = {image.volid: image for shelf in view.shelves for image in shelf.images}
    for vmid, config in view.configs.items():
        for slot, volid in unused_disks(config):
            node, image = view.guests[vmid].node, images.get(volid)
            found = judge_unused(slot, volid, vmid, node, config, records, image)
            if found is not None:
                yield found
    used = frozenset(
        volid_of(text) for config in view.configs.values() for _, text in config.settings
    )
    for shelf in view.shelves:
        for image in shelf.images:
            if image.vmid in view.guests and image.vmid not in view.configs:
                continue  # its configuration could not be read, and a note says so
            seen = image.vmid in view.guests
            orphan = judge_orphan(image, shelf.node, used, records, seen=seen)
            if orphan is not None:
                yield orphan


def _run_status(record: Record, view: ClusterView | None) -> RunStatus:
    state = record.state
    steps = record.journal.steps
    last = f"{steps[-1][0]} ({steps[-1][1].value})" if steps else ""
    return RunStatus(
        record=record,
        step=last,
        secrets=tuple(
            secrets_left(
                record.journal,
                record.path.parent,
                current=record.current,
                gone=view is not None and _answer_is_gone(record, view),
            )
        ),
        next=_next(record),
        vm=_live(record, view) if view and state.vmid else None,
    )


def _answer_is_gone(record: Record, view: ClusterView) -> bool:
    state, answer = record.state, record.state.answer
    if answer is None:
        return True
    places = [
        shelf
        for shelf in view.shelves
        if shelf.storage.name == answer.volid.partition(":")[0]
        and (shelf.storage.shared or shelf.node == (answer.node or state.node))
    ]
    return bool(places) and not any(
        iso.volid == answer.volid for shelf in places for iso in shelf.isos
    )


def _next(record: Record) -> str:
    state = record.state
    if is_open(record.journal):
        return open_hint(state)
    if state.outcome is Outcome.SETTLED and state.unused and record.current:
        return f"winseed reinstall {state.host} --accept, when the old disks are of no more use"
    return state.next


def _live(record: Record, view: ClusterView) -> LiveVm | None:
    guest, config = (found.get(record.state.vmid) for found in (view.guests, view.configs))
    if not isinstance(guest, Guest):
        return None
    same = isinstance(config, VmConfig) and is_same_vm(config, record.state)
    return LiveVm(
        node=guest.node, name=guest.name, running=guest.running, lock=guest.lock, ours=same
    )


def look_at_cluster(
    api: Api, records: tuple[Record, ...], *, node: str
) -> tuple[ClusterView | None, tuple[str, ...]]:
    """What is there, or a note why nobody could look."""
    try:
        return inspect_cluster_view(api, records, node=node), ()
    except PveError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return None, (f"Proxmox VE was not looked at: {error.what}{hint}",)
