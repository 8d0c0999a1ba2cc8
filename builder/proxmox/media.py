"""Which ISO on a node is the one that was inspected. Pure.

A node tells name and size of an ISO, not its sum. The same size is taken for the same disc
(design: preflight compares sizes); a disc of the same name and another size is refused.
"""

import re
from collections.abc import Iterable

from builder.errors import ExitCode
from builder.proxmox.facts import IsoFile
from builder.proxmox.findings import Finding, fine, stop, warn
from builder.record import record


@record
class WantedIso:
    """A disc that the VM needs. `kind` in words; the rest as far as it is known.

    `volid` as the spec names it, `name` and `size` (bytes) of the local file, `release` of
    virtio-win when there is no local file.
    """

    kind: str
    key: str
    volid: str = ""
    name: str = ""
    size: int | None = None
    release: str = ""


@record
class Choice:
    """The ISO to mount, None if there is none, and what is to be said about it."""

    iso: IsoFile | None
    finding: Finding


def choose_iso(wanted: WantedIso, isos: Iterable[IsoFile]) -> Choice:
    """The disc on the node that is `wanted`."""
    isos = tuple(isos)
    if wanted.volid:
        return _named(wanted, isos)
    if wanted.size is not None:
        return _measured(wanted, isos)
    if wanted.release:
        return _released(wanted, isos)
    seen = ", ".join(iso.volid for iso in isos) or "none was seen"
    return _none(
        stop(
            wanted.kind,
            "the spec does not say which ISO it is",
            f"set windows_iso (the local file) or machine.{wanted.key}; on the node: {seen}",
            code=ExitCode.SPEC,
        )
    )


def _named(wanted: WantedIso, isos: tuple[IsoFile, ...]) -> Choice:
    found = next((iso for iso in isos if iso.volid == wanted.volid), None)
    if found is None:
        similar = [iso.volid for iso in isos if iso.name == wanted.volid.rpartition("/")[2]]
        hint = f"did you mean {similar[0]}?" if similar else _UPLOAD
        return _none(
            stop(wanted.kind, f"{wanted.volid} is not on the node", hint, code=ExitCode.MEDIA)
        )
    if wanted.size is not None and found.size != wanted.size:
        return _none(_other(wanted, found))
    return Choice(iso=found, finding=_verdict(wanted, found))


def _measured(wanted: WantedIso, isos: tuple[IsoFile, ...]) -> Choice:
    same = sorted(
        (iso for iso in isos if iso.size == wanted.size),
        key=lambda iso: (iso.name.casefold() != wanted.name.casefold(), iso.volid),
    )
    if same:
        return Choice(iso=same[0], finding=_verdict(wanted, same[0]))
    namesake = next((iso for iso in isos if iso.name.casefold() == wanted.name.casefold()), None)
    if namesake is not None:
        return _none(_other(wanted, namesake))
    what = f"no ISO on the node has the {wanted.size} bytes of {wanted.name}"
    return _none(stop(wanted.kind, what, _UPLOAD, code=ExitCode.MEDIA))


def _released(wanted: WantedIso, isos: tuple[IsoFile, ...]) -> Choice:
    pattern = re.compile(rf"virtio-win-{re.escape(wanted.release)}(-\d+)?\.iso", re.IGNORECASE)
    found = [iso for iso in isos if pattern.fullmatch(iso.name)]
    if found:
        return Choice(iso=found[-1], finding=_verdict(wanted, found[-1]))
    others = [iso.volid for iso in isos if "virtio" in iso.name.casefold()]
    hint = f"`winseed fetch virtio-win --release {wanted.release}`, then upload it to the node"
    if others:
        hint += f"; or name one: machine.{wanted.key} = {others[0]!r}"
    what = f"no ISO on the node is named virtio-win-{wanted.release}.iso"
    return _none(stop(wanted.kind, what, hint, code=ExitCode.MEDIA))


_UPLOAD = "upload it to an ISO storage of the node (web interface: storage, ISO Images, Upload)"


def _none(finding: Finding) -> Choice:
    return Choice(iso=None, finding=finding)


def _other(wanted: WantedIso, found: IsoFile) -> Finding:
    return stop(
        wanted.kind,
        f"{found.volid} has {found.size} bytes, the disc that was inspected {wanted.size}",
        "it is another disc: inspect a copy of the one on the node, or upload yours",
        code=ExitCode.UNSAFE,
    )


def _verdict(wanted: WantedIso, found: IsoFile) -> Finding:
    if wanted.size is None:
        return warn(
            wanted.kind,
            f"{found.volid}: not checked, there is no local file to compare it with",
            "give the local file as well, so that image and drivers are read from it",
        )
    return fine(wanted.kind, f"{found.volid}, {found.size} bytes like the inspected one")
