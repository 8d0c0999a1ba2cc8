"""Which of a VM's discs is the answer ISO that it was installed from.

A node tells name and size of an ISO and nothing of its content, so that only two things prove it:
the name that winseed gives its own uploads, or name and size of the ISO that still lies here.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder.errors import WinseedError
from builder.install.journal import Answer
from builder.install.leftovers import ISO_NAME
from builder.manifest import inspect_manifest
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest, IsoFile, VmConfig
from builder.proxmox.failures import PveError
from builder.proxmox.inventory import inspect_isos, inspect_storages
from builder.record import record
from builder.spec.model import HostSpec

VIRTIO = re.compile(r"virtio-win[^/]*\.iso", re.IGNORECASE)
SUFFIX = ".manifest.json"


@record
class LocalIso:
    """An answer ISO of a host in the output folder; `size` is None when only the manifest is left.

    `plan` as JSON values.
    """

    path: Path
    size: int | None
    fingerprint: str
    plan: dict[str, Any]


@record
class Discs:
    """The discs of a VM. `media`: slot and volid of each drive that is emptied; `answer` if proven.

    `doubtful` are those that may be an answer ISO as well.
    """

    media: tuple[tuple[str, str], ...]
    answer: Answer | None
    doubtful: tuple[str, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """The drives that are emptied."""
        return tuple(slot for slot, _ in self.media)


def inspect_local_isos(output: Path, host: str) -> tuple[LocalIso, ...]:
    """The answer ISOs of `host` that `winseed iso` has left in `output`, by their manifests."""
    found = []
    for path in sorted(output.glob(f"*{SUFFIX}")):
        with contextlib.suppress(WinseedError):
            manifest = inspect_manifest(path)
            if manifest.host.casefold() != host.casefold():
                continue
            iso = path.with_name(path.name.removesuffix(SUFFIX) + ".iso")
            found.append(
                LocalIso(
                    path=iso,
                    size=_size(iso),
                    fingerprint=manifest.fingerprint,
                    plan=manifest.plan,
                )
            )
    return tuple(found)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def inspect_discs(
    api: Api, guest: Guest, config: VmConfig, host: HostSpec, local: tuple[LocalIso, ...],
    *, fingerprint: str,
) -> Discs:  # fmt: skip
    """The discs of a VM and what they are. `fingerprint`: the build that Windows came from."""
    isos = tuple(_isos(api, guest.node))
    media = tuple(
        (str(cd.slot), cd.volume)
        for cd in config.machine.cds
        if cd.volume and "cloudinit" not in cd.volume
    )
    return choose_discs(media, isos, host, local, vmid=guest.vmid, fingerprint=fingerprint)


def choose_discs(
    media: tuple[tuple[str, str], ...],
    isos: tuple[IsoFile, ...],
    host: HostSpec,
    local: tuple[LocalIso, ...],
    *,
    vmid: int,
    fingerprint: str,
) -> Discs:
    """Tell the answer ISO among the discs in the drives and those on the node's storages. Pure."""
    mounted = {volid for _, volid in media}
    proven = []
    for iso in sorted(isos, key=lambda one: one.volid not in mounted):
        named = ISO_NAME.fullmatch(iso.name)
        same = next(
            (one for one in local if (one.path.name, one.size) == (iso.name, iso.size)), None
        )
        inside = iso.volid in mounted
        # outside the drives a disc of the same name may be the next build, uploaded meanwhile
        if (inside and named and int(named["vmid"]) == vmid) or (
            same is not None and (inside or same.fingerprint == fingerprint)
        ):
            path = str(same.path) if same else ""
            proven.append(Answer(path=path, size=iso.size, sha256="", volid=iso.volid))
    sizes = {iso.volid: iso.size for iso in isos}
    doubtful = [volid for volid in mounted if not _is_setup(volid, sizes.get(volid), host)]
    return Discs(
        media=media,
        answer=proven[0] if proven else None,
        doubtful=tuple(answer.volid for answer in proven[1:])
        or (() if proven else tuple(sorted(doubtful))),
    )


def _is_setup(volid: str, size: int | None, host: HostSpec) -> bool:
    """Whether a disc is the Windows or the virtio-win ISO."""
    if volid in {host.machine.windows_volid, host.machine.virtio_volid}:
        return True
    if VIRTIO.fullmatch(volid.rpartition("/")[2]):
        return True
    sizes = {_size(path) for path in (host.windows_iso, host.virtio_iso) if path}
    return size is not None and size in sizes


def _isos(api: Api, node: str) -> Iterator[IsoFile]:
    """Every ISO that the node sees; a storage that cannot be read proves nothing."""
    for storage in inspect_storages(api, node):
        if storage.active and "iso" in storage.content:
            with contextlib.suppress(PveError):
                yield from inspect_isos(api, node, storage.name)
