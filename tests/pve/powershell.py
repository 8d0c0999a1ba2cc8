"""Windows PowerShell in a fake guest: runs our calls and nothing else.

Command line, protocol and scripts must be those of `tests/pve/data/guest`, to the letter; anything
else is an error of the test. An envelope is decoded as the bootstrap would; then the effects that
each script has on a Windows are applied to `Installed`. `Plans` says which scripts fail, die or
take their time. A run that takes time has its effect at once and its result at the end, so that
whatever cuts it off finds the effect without the result.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.pve.guest import Finished
from tests.pve.installed import DONE, ROOT, Account, Installed
from tests.pve.state import GIB

if TYPE_CHECKING:
    from tests.pve.windows import WindowsGuest

DATA = Path(__file__).parent / "data" / "guest"
COMMAND = [
    *("powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive", "-InputFormat", "None"),
    *("-OutputFormat", "Text", "-ExecutionPolicy", "Bypass", "-EncodedCommand"),
]
STDIN_LIMIT = 65536
# what each script is given: nothing more, nothing less
PAYLOADS = {
    "marker": set(),
    "role": set(),
    "facts": set(),
    "rotate": {"password"},
    "accounts": {"accounts"},
    "join": {"blob"},
    "data-disks": set(),
    "scrub": set(),
    "logs": {"bytes"},
    "remove": set(),
}
NAMES = tuple(PAYLOADS)
ACCOUNT = {"name", "FullName", "Description", "groups", "password"}
QUESTIONS = {"marker", "role", "facts", "logs", "remove"}
KILLED = 0x40010004  # DBG_TERMINATE_PROCESS: what a process ends with when Windows shuts down


@dataclass(kw_only=True)
class Plans:
    """What happens to scripts, by name; lists are used up from their head.

    `deaths`: PowerShell is killed `before` or `after` the effect. `errors`: the script says so and
    has no effect. `seconds`: how long it takes.
    """

    deaths: dict[str, list[str]] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """A call as it came in."""

    id: str
    record: bool
    script: str
    values: dict[str, Any]
    secrets: list[str]


class ThrownError(Exception):
    """A `throw` in a script."""


@cache
def known_text(name: str) -> str:
    return (DATA / f"{name}.ps1").read_text(encoding="ascii")


@cache
def known_scripts() -> dict[str, str]:
    """Names by text."""
    return {known_text(name): name for name in NAMES}


def learn_script(
    name: str, text: str, effect: "Effect", *, payload: set[str], question: bool
) -> None:
    """Another script that the fake runs from now on, for tests of what brings its own."""
    known_scripts()[text] = name
    PAYLOADS[name], EFFECTS[name] = payload, effect
    QUESTIONS.discard(name)
    QUESTIONS.update({name} if question else ())


def execute(guest: "WindowsGuest", command: list[str], stdin: bytes) -> Finished:
    """Runs a call; AssertionError for anything that is none of ours."""
    envelope = open_envelope(command, stdin)
    windows = guest.windows
    assert windows is not None, "there is no Windows on the disk"
    if not envelope.record:
        return _run(guest, windows, envelope)
    guest.end_runs()
    if envelope.id in windows.results:
        return say(windows.results[envelope.id])
    if envelope.id in guest.runs:
        return say('{"state":"running"}')
    if envelope.id in windows.started:
        return say('{"state":"interrupted"}')
    windows.started.add(envelope.id)
    return _run(guest, windows, envelope)


def open_envelope(command: list[str], stdin: bytes) -> Envelope:
    """What the bootstrap would read."""
    assert command[:-1] == COMMAND, f"another command line: {command}"
    text = base64.b64decode(command[-1], validate=True).decode("utf-16-le")
    assert text == known_text("bootstrap"), "another bootstrap"
    assert stdin.isascii(), "the agent takes ASCII only"
    assert len(stdin) <= STDIN_LIMIT, "the agent takes 64 KiB"
    told = json.loads(stdin)
    assert set(told) == {"id", "record", "call", "script", "payload"}, sorted(told)
    assert _decode(told["call"]) == known_text("call"), "another protocol"
    script = known_scripts().get(_decode(told["script"]))
    assert script is not None, "an unknown script"
    content = json.loads(_decode(told["payload"]))
    assert set(content) == {"values", "secrets"}, sorted(content)
    assert set(content["values"]) == PAYLOADS[script], (script, sorted(content["values"]))
    assert told["record"] is (script not in QUESTIONS), script
    for secret in wanted_secrets(script, content["values"]):
        assert secret in content["secrets"], f"a secret of {script} is not named as one"
    return Envelope(
        id=told["id"],
        record=told["record"],
        script=script,
        values=content["values"],
        secrets=content["secrets"],
    )


def wanted_secrets(script: str, values: Mapping[str, Any]) -> list[str]:
    if script == "rotate":
        return [values["password"]]
    if script == "join":
        return [values["blob"]]
    if script == "accounts":
        return [account["password"] for account in values["accounts"]]
    return []


def say(text: str) -> Finished:
    """The line of the protocol, among other things that a guest prints in its code page."""
    line = b"winseed-result: " + base64.b64encode(text.encode())
    return Finished(out=b"G\xfcnther was here\r\n" + line + b"\r\n")


def _run(guest: "WindowsGuest", windows: Installed, envelope: Envelope) -> Finished:
    name, plans = envelope.script, guest.plans
    death = _take(plans.deaths, name)
    if death == "before":
        return Finished(exitcode=KILLED)
    try:
        values = _have_effect(guest, windows, envelope)
        text = json.dumps({"state": "done", "code": 0, "message": "", "values": values})
        if envelope.record:
            windows.effects.append((name, envelope.id))
    except ThrownError as failure:
        message = f"line 7: {failure}"
        for secret in envelope.secrets:
            message = message.replace(secret, "***")
        text = json.dumps({"state": "done", "code": 1, "message": message, "values": {}})
    if death == "after":
        return Finished(exitcode=KILLED)
    seconds = plans.seconds.get(name, 0.0)
    if envelope.record:
        guest.runs[envelope.id] = (guest.pve.clock() + seconds, text)
        guest.end_runs()
    spoken = say(text)
    return Finished(out=spoken.out, seconds=seconds)


def _have_effect(guest: "WindowsGuest", windows: Installed, envelope: Envelope) -> dict[str, Any]:
    error = _take(guest.plans.errors, envelope.script)
    if error:
        raise ThrownError(error)
    return EFFECTS[envelope.script](guest, windows, envelope.values)


def _take(planned: dict[str, list[str]], name: str) -> str:
    found = planned.get(name)
    return found.pop(0) if found else ""


def _decode(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _marker(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    content = windows.files.get(DONE)
    return {
        "marker": content.decode() if content else None,
        "image_state": windows.image_state,
        "booted": _booted(windows),
    }


def _booted(windows: Installed) -> str:
    return f"20261121{windows.boots:06}.500000+060"


def _role(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "computer_name": windows.computer_name,
        "domain_role": windows.domain_role,
        "domain": windows.domain,
    }


def _refuse_controller(windows: Installed) -> None:
    if windows.domain_role >= 4:
        raise ThrownError("this is a domain controller: nothing was changed")


def _rotate(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    _refuse_controller(windows)
    windows.administrator.password = values["password"]
    return {"account": windows.administrator.name, "sid": "S-1-5-21-1-2-3-500"}


def _accounts(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    _refuse_controller(windows)
    told = []
    for wanted in values["accounts"]:
        assert set(wanted) == ACCOUNT, sorted(wanted)
        known = {account.name.casefold(): account for account in windows.accounts}
        account = known.get(wanted["name"].casefold())
        told.append({"name": wanted["name"], "created": account is None})
        if account is None:
            rid = 1000 + len(windows.accounts)
            account = Account(name=wanted["name"], rid=rid, password="")
            windows.accounts.append(account)
        account.password = wanted["password"]
        account.groups |= set(wanted["groups"])
    return {"accounts": told}


def _join(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    _refuse_controller(windows)
    if windows.domain_role != 3 and not windows.joins:
        raise ThrownError("djoin ended with 2; %SystemRoot%\\debug\\NetSetup.LOG says why")
    windows.joined = True
    if windows.domain_role != 3:
        windows.pending.append("domain")
    return {"joined": True}


def _data_disks(
    guest: "WindowsGuest", windows: Installed, values: dict[str, Any]
) -> dict[str, Any]:
    wanted = windows.answers.disks if windows.answers else ()
    if not wanted:
        raise ThrownError("this installation has no script for data disks")
    lines = []
    for entry in wanted:
        volume = guest.disk_in_slot(entry.slot)
        if volume is None or volume.size != entry.gib * GIB:
            lines.append(f"{entry.letter}: no disk of {entry.gib * GIB} bytes in slot {entry.slot}")
            continue
        kept = volume.written
        volume.written = True
        label = "kept" if kept else entry.label
        windows.letters[entry.letter] = (entry.filesystem, label, volume.size)
        lines.append(f"{entry.letter}: disk 1, {entry.filesystem}, label {label}")
    return {"lines": lines, "volumes": _volumes(windows)}


def _volumes(windows: Installed) -> list[dict[str, Any]]:
    rows = {"C": ("NTFS", "Windows", 60 * GIB), **windows.letters}
    found = [
        {"letter": letter, "kind": 3, "label": row[1], "filesystem": row[0], "bytes": row[2]}
        for letter, row in rows.items()
    ]
    cd = {"letter": "Z", "kind": 5, "label": "", "filesystem": "", "bytes": 0}
    return [*found, cd]


def _scrub(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    copies = [path for path in windows.files if _is_copy(path)]
    for path in copies:
        if path not in windows.stubborn:
            del windows.files[path]
    left = [path for path in windows.files if _is_copy(path)]
    if left:
        raise ThrownError(f"could not remove {', '.join(left)}")
    return {"removed": copies}


def _is_copy(path: str) -> bool:
    name = path.rpartition("\\")[2].casefold()
    mine = path.startswith((f"{ROOT}\\files\\", f"{ROOT}\\drivers\\"))
    return mine or "unattend" in name or name in {"setupcomplete.cmd", "errorhandler.cmd"}


def _logs(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    rows = [
        {
            "path": path,
            "bytes": len(content),
            "tail": base64.b64encode(content[-values["bytes"] :]).decode(),
        }
        for path, content in windows.files.items()
        if path.endswith(".log")
    ]
    return {"files": rows}


def _remove(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    windows.results.clear()
    windows.started.clear()
    return {}


def _facts(guest: "WindowsGuest", windows: Installed, values: dict[str, Any]) -> dict[str, Any]:
    return {
        **_role(guest, windows, values),
        "booted": _booted(windows),
        "edition": windows.edition,
        "installation_type": windows.installation_type,
        "build": str(windows.build),
        "revision": "2031",
        "image_state": windows.image_state,
        "pending": list(windows.pending),
        "renames": [],
        "policies": [
            {"subkey": subkey, "name": name, "value": value}
            for (subkey, name), value in windows.policies.items()
        ],
        "devices": list(_devices(guest, windows)),
        "volumes": _volumes(windows),
        "agent": "Running",
    }


def _devices(guest: "WindowsGuest", windows: Installed) -> Iterator[dict[str, Any]]:
    config = guest.vm.config
    cards = [value for key, value in config.items() if key.startswith("net")]
    shown = {
        "NetKVM": any(value.startswith("virtio") for value in cards) and "1000",
        "vioscsi": config.get("scsihw", "").startswith("virtio-scsi") and "1004",
        "viostor": any(key.startswith("virtio") for key in config) and "1001",
        "Balloon": config.get("balloon") != "0" and "1002",
        "vioserial": "agent" in config and "1003",
        "viorng": "rng0" in config and "1005",
        "viogpudo": config.get("vga", "").startswith("virtio") and "1050",
    }
    for driver, device in shown.items():
        if device:
            id_ = f"PCI\\VEN_1AF4&DEV_{device}&SUBSYS_00011AF4&REV_00"
            yield _device(id_, driver, driven=driver in windows.drivers)
    yield _device("PCI\\VEN_8086&DEV_2918&SUBSYS_11001AF4&REV_02", "LPC", driven=True)
    yield _device("PCI\\VEN_8086&DEV_2930&SUBSYS_11001AF4&REV_02", "SMBus", driven=False)
    yield _device("ACPI\\QEMU0002", "FwCfg", driven=False)
    for id_, name in windows.undriven:
        yield _device(id_, name, driven=False)


def _device(id_: str, name: str, *, driven: bool) -> dict[str, Any]:
    return {
        "id": f"{id_}\\3&11583659&0&18",
        "name": name,
        "hardware_ids": [id_],
        "problem": 0 if driven else 28,
        "service": name.casefold() if driven else "",
        "inf": "oem3.inf" if driven else "",
        "version": "100.95.104.26200" if driven else "",
        "provider": "Red Hat, Inc." if driven else "",
    }


Effect = Callable[["WindowsGuest", Installed, dict[str, Any]], dict[str, Any]]
EFFECTS: dict[str, Effect] = {
    "marker": _marker,
    "role": _role,
    "facts": _facts,
    "rotate": _rotate,
    "accounts": _accounts,
    "join": _join,
    "data-disks": _data_disks,
    "scrub": _scrub,
    "logs": _logs,
    "remove": _remove,
}
