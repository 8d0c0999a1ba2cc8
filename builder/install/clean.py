"""Removing what runs have left behind: one thing at a time, each judged again right before.

Only what `status` calls removable; a run that somebody works on keeps everything.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from builder.errors import ExitCode, WinseedError
from builder.install.journal import locked
from builder.install.leftovers import Record, StaleIso, StrayDisk
from builder.install.media_steps import DELETE_TIME
from builder.install.status import (
    Status,
    find_disks,
    find_isos,
    find_records,
    inspect_cluster_view,
)
from builder.proxmox.api import Api
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_config, inspect_isos
from builder.proxmox.tasks import wait_for_quiet, wait_for_task
from builder.proxmox.vm import delete_volume, unlink_disks
from builder.record import record

Leftover = StaleIso | StrayDisk
_Kind = TypeVar("_Kind", StaleIso, StrayDisk)


@record
class Cleaned:
    """What became of one leftover; `error` is None when it is gone."""

    leftover: Leftover
    error: WinseedError | None = None


def removable(status: Status) -> tuple[Leftover, ...]:
    """What may be removed, ISOs first: a password may lie on them."""
    found: tuple[Leftover, ...] = (*status.isos, *status.disks)
    return tuple(one for one in found if one.removable)


def remove_leftovers(api: Api, output: Path, wanted: tuple[Leftover, ...]) -> Iterator[Cleaned]:
    """Remove what was agreed to, unless it has changed since. One failure never stops the rest."""
    for leftover in wanted:
        try:
            _remove(api, output, leftover)
        except WinseedError as error:
            yield Cleaned(leftover=leftover, error=error)
        else:
            yield Cleaned(leftover=leftover)


def _remove(api: Api, output: Path, leftover: Leftover) -> None:
    folder = _record_of(output, leftover)[0].path.parent
    with locked(folder):
        # whoever held the lock before may have changed everything
        record, records = _record_of(output, leftover)
        view = inspect_cluster_view(api, records)
        match leftover:
            case StaleIso():
                _delete_iso(api, _again(leftover, find_isos(records, view)))
            case StrayDisk():
                _destroy_disk(api, _again(leftover, find_disks(records, view)))
                _forget(record, leftover)


def _record_of(output: Path, leftover: Leftover) -> tuple[Record, tuple[Record, ...]]:
    """The journal that says the leftover is ours, and all of its VM's.

    Raises WinseedError (UNSAFE) without a single one.
    """
    records, _ = find_records(output)
    found = [one for one in records if one.state.run == leftover.run]
    if len(found) != 1:
        raise WinseedError(
            f"{leftover.volid}: there is no single journal of run {leftover.run} in {output}",
            code=ExitCode.UNSAFE,
            hint="only what a journal names is removed",
        )
    (record,) = found
    return record, tuple(one for one in records if one.state.vmid == record.state.vmid)


def _again(wanted: _Kind, found: Iterable[_Kind]) -> _Kind:
    """The same leftover as it is now. Raises WinseedError (UNSAFE) if it may not be removed."""
    for one in found:
        if one.volid == wanted.volid and one.removable:
            return one
    raise WinseedError(
        f"{wanted.volid} has changed since it was looked at, and is kept",
        code=ExitCode.UNSAFE,
        hint="`winseed status` tells how it stands now",
    )


def _delete_iso(api: Api, iso: StaleIso) -> None:
    storage = iso.volid.partition(":")[0]
    try:
        upid = delete_volume(api, iso.node, iso.volid)
        if upid is not None:
            wait_for_task(api, upid, timeout=DELETE_TIME)
    except PveError as error:
        if not any(one.volid == iso.volid for one in inspect_isos(api, iso.node, storage)):
            return
        if error.trouble is Trouble.FORBIDDEN:
            raise WinseedError(
                f"{iso.volid} could not be deleted: {error.what}",
                code=ExitCode.PROXMOX,
                hint=f"Datastore.Allocate on /storage/{storage} allows it; or, as root on "
                f"{iso.node}: pvesm free {iso.volid}",
            ) from None
        raise


def _destroy_disk(api: Api, disk: StrayDisk) -> None:
    """Slots of detached disks have no order of their own: the volid decides, read just before."""
    wait_for_quiet(api, disk.node, disk.vmid)
    config = inspect_config(api, disk.node, disk.vmid)
    slots = tuple(key for key, text in config.settings if text == disk.volid)
    if slots != (disk.slot,):
        raise WinseedError(
            f"{disk.volid} is not {disk.slot} of VM {disk.vmid} any more, and is kept",
            code=ExitCode.UNSAFE,
            hint="somebody else changes this VM; `winseed status` tells how it stands now",
        )
    try:
        unlink_disks(api, disk.node, disk.vmid, slots)
    except PveError:
        settings = inspect_config(api, disk.node, disk.vmid).settings
        if disk.volid in {text for _, text in settings}:
            raise


def _forget(record: Record, disk: StrayDisk) -> None:
    """Its volid is given to the next disk: the journal names it no more. Its date stays."""
    state = record.state
    volumes = tuple(volid for volid in state.volumes if volid != disk.volid)
    record.journal.keep(dataclasses.replace(state, volumes=volumes))
    with contextlib.suppress(OSError):
        os.utime(record.path, (record.written, record.written))
