"""What an installed Windows says of itself, as values."""

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping

from builder.guest.call import GuestError, GuestTrouble, call_guest
from builder.guest.envelope import Given, Json, load_script
from builder.install.phases import Marker
from builder.proxmox.agent import GuestAgent
from builder.record import record

CONTROLLERS = frozenset({4, 5})  # Win32_ComputerSystem DomainRole: backup and primary
FIXED = 3  # Win32_Volume DriveType


@record
class RoleFacts:
    """What the computer is in its domain; `domain_role` as Win32_ComputerSystem counts it."""

    computer_name: str
    domain_role: int
    domain: str

    @property
    def controller(self) -> bool:
        """Whether it is a domain controller."""
        return self.domain_role in CONTROLLERS


@record
class PolicyFacts:
    """A value below the Windows Update policy key; `subkey` is "" or "AU"."""

    subkey: str
    name: str
    value: str


@record
class DeviceFacts:
    """A device of Device Manager: `problem` is 0 when it works, `inf` as `oem3.inf` or ""."""

    id: str
    name: str
    hardware_ids: tuple[str, ...]
    problem: int
    service: str
    inf: str
    version: str
    provider: str


@record
class VolumeFacts:
    """A volume that has a letter; `kind` 3 is a fixed disk, 5 a CD."""

    letter: str
    kind: int
    label: str
    filesystem: str
    size: int  # bytes

    @property
    def fixed(self) -> bool:
        """Whether it lies on a disk."""
        return self.kind == FIXED


@record
class GuestFacts:
    """Windows after its installation. `revision` is "" where the release keeps none.

    `pending`: what waits for a restart; `renames`: files that the next start moves or deletes.
    """

    role: RoleFacts
    booted: str
    edition: str
    installation_type: str
    build: str
    revision: str
    image_state: str
    pending: tuple[str, ...]
    renames: tuple[str, ...]
    policies: tuple[PolicyFacts, ...]
    devices: tuple[DeviceFacts, ...]
    volumes: tuple[VolumeFacts, ...]
    agent: str


@record
class LogFacts:
    """The end of a log in the guest: `size` bytes in all."""

    path: str
    size: int
    tail: str


def inspect_marker(agent: GuestAgent, *, timeout: float) -> Marker | None:
    """The marker of the first boot, None while there is none. Raises GuestError, PveError."""
    values = ask(agent, "marker", id="marker", timeout=timeout)
    with _typed("marker"):
        text = values["marker"]
        if text is None:
            return None
        told = json.loads(str(text))
        return Marker(
            id=str(told["id"]),
            ok=bool(told["ok"]),
            failed=tuple(str(name) for name in _items(told["failed"])),
            image_state=str(values["image_state"]),
        )


def inspect_role(agent: GuestAgent, *, timeout: float) -> RoleFacts:
    """What the computer is in its domain. Raises GuestError, PveError."""
    values = ask(agent, "role", id="role", timeout=timeout)
    with _typed("role"):
        return _load_role(values)


def inspect_guest(agent: GuestAgent, *, id: str, timeout: float) -> GuestFacts:  # noqa: A002
    """Everything that the verdict is made of. Raises GuestError, PveError."""
    values = ask(agent, "facts", id=id, timeout=timeout)
    with _typed("facts"):
        return _load_facts(values)


def inspect_logs(
    agent: GuestAgent, *, timeout: float, limit: int = 24576, secrets: tuple[str, ...] = ()
) -> tuple[LogFacts, ...]:
    """The last `limit` bytes of every log, with `secrets` as `***`. Raises GuestError, PveError."""
    values = ask(agent, "logs", id="logs", timeout=timeout, payload={"bytes": limit})
    with _typed("logs"):
        return tuple(_load_log(row, secrets) for row in _rows(values["files"]))


def ask(
    agent: GuestAgent,
    name: str,
    *,
    id: str,  # noqa: A002 - the word of the protocol
    timeout: float,
    payload: Mapping[str, Given] | None = None,
) -> Mapping[str, Json]:
    """What the script `name` tells. Raises GuestError when it failed, PveError."""
    result = call_guest(agent, load_script(name), id=id, payload=payload or {}, timeout=timeout)
    if result.code:
        raise GuestError(
            f"`{name}` failed in the guest: {result.message}",
            trouble=GuestTrouble.FAILED,
            script=name,
        )
    return result.values


def fixed_letters(values: Mapping[str, Json]) -> frozenset[str]:
    """The letters of disks in the answer of `data-disks`. Raises GuestError when it is no such."""
    with _typed("data-disks"):
        volumes = map(_load_volume, _rows(values["volumes"]))
        return frozenset(volume.letter for volume in volumes if volume.fixed)


@contextlib.contextmanager
def _typed(script: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GuestError(
            f"the guest's answer to `{script}` is not what was asked for ({type(error).__name__})",
            trouble=GuestTrouble.MALFORMED,
            script=script,
        ) from None


def _load_role(values: Mapping[str, Json]) -> RoleFacts:
    return RoleFacts(
        computer_name=_text(values, "computer_name"),
        domain_role=_number(values, "domain_role"),
        domain=_text(values, "domain"),
    )


def _load_facts(values: Mapping[str, Json]) -> GuestFacts:
    return GuestFacts(
        role=_load_role(values),
        booted=_text(values, "booted"),
        edition=_text(values, "edition"),
        installation_type=_text(values, "installation_type"),
        build=_text(values, "build"),
        revision=_text(values, "revision"),
        image_state=_text(values, "image_state"),
        pending=tuple(str(source) for source in _items(values["pending"])),
        renames=tuple(str(path) for path in _items(values["renames"])),
        policies=tuple(
            PolicyFacts(
                subkey=_text(row, "subkey"), name=_text(row, "name"), value=_text(row, "value")
            )
            for row in _rows(values["policies"])
        ),
        devices=tuple(_load_device(row) for row in _rows(values["devices"])),
        volumes=tuple(_load_volume(row) for row in _rows(values["volumes"])),
        agent=_text(values, "agent"),
    )


def _load_device(row: Mapping[str, Json]) -> DeviceFacts:
    return DeviceFacts(
        id=_text(row, "id"),
        name=_text(row, "name"),
        hardware_ids=tuple(str(one) for one in _items(row["hardware_ids"])),
        problem=_number(row, "problem"),
        service=_text(row, "service"),
        inf=_text(row, "inf"),
        version=_text(row, "version"),
        provider=_text(row, "provider"),
    )


def _load_volume(row: Mapping[str, Json]) -> VolumeFacts:
    return VolumeFacts(
        letter=_text(row, "letter").upper(),
        kind=_number(row, "kind"),
        label=_text(row, "label"),
        filesystem=_text(row, "filesystem"),
        size=_number(row, "bytes"),
    )


def _load_log(row: Mapping[str, Json], secrets: tuple[str, ...]) -> LogFacts:
    tail = base64.b64decode(_text(row, "tail"), validate=True)
    # a tail of UTF-16 has lost its byte order mark; Setup's logs are Latin letters mostly
    wide = tail.count(0) > len(tail) // 4
    odd = wide and len(tail) > 1 and tail[0] == 0
    text = tail[1 if odd else 0 :].decode("utf-16-le" if wide else "utf-8", errors="replace")
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return LogFacts(path=_text(row, "path"), size=_number(row, "bytes"), tail=text)


def _text(values: Mapping[str, Json], key: str) -> str:
    value = values[key]
    return "" if value is None else str(value)


def _number(values: Mapping[str, Json], key: str) -> int:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(key)
    return value


def _items(value: Json) -> Iterator[Json]:
    """The members of a list. ConvertTo-Json, which writes the marker, unpacks a list of one."""
    if isinstance(value, list | tuple):
        yield from value
    elif value is not None:
        yield value


def _rows(value: Json) -> Iterator[Mapping[str, Json]]:
    for row in _items(value):
        if not isinstance(row, Mapping):
            raise TypeError("row")
        yield row
