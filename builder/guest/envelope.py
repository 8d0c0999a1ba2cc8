"""How a script travels into Windows, and how its result comes back.

The command line is one constant: PowerShell with a text that runs what comes on standard input
(process auditing, event 4688, shows command lines). Standard input carries the rest, as ASCII: the
agent's JSON is Latin-1 only and its `input-data` has 64 KiB (proxmox/qemu-server at e6352be,
src/PVE/API2/Qemu/Agent.pm). PowerShell leaves standard input alone unless a text names $input
(PowerShell/PowerShell ConsoleHost.cs, "Detect if they're using input"); that Windows PowerShell
does as well is believed (FT27).
"""

import base64
import dataclasses
import enum
import functools
import json
import re
from collections.abc import Iterator, Mapping

from builder.answer.render import render_guest_script
from builder.errors import ExitCode, WinseedError
from builder.proxmox.agent import STDIN_LIMIT
from builder.record import record
from builder.values import Secret

Json = str | int | bool | None | tuple["Json", ...] | Mapping[str, "Json"]
Given = str | int | bool | None | Secret | tuple["Given", ...] | Mapping[str, "Given"]

ID = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")  # the name of a file in Windows
# `remove` takes the results away, its own could not stay
QUESTIONS = frozenset({"facts", "logs", "marker", "remove", "role"})
_LINE = re.compile(r"winseed-result: ([A-Za-z0-9+/]+={0,2})\s*(?:\r?\n|$)")


@record
class GuestScript:
    """A PowerShell text that runs in the guest with `$payload` and fills `$values`.

    Running it twice does no harm: what was cut off by a restart is run again under another id. The
    guest keeps no result of a `question`.
    """

    name: str
    text: str
    question: bool


class Standing(enum.Enum):
    """How a call stands in the guest."""

    DONE = "done"
    RUNNING = "running"
    INTERRUPTED = "interrupted"  # it was started, its process is gone, and there is no result


@record
class Answer:
    """What the guest says of a call; `code` 0 and the values of the script when it went well."""

    standing: Standing
    code: int = 0
    message: str = ""
    values: Mapping[str, Json] = dataclasses.field(default_factory=dict)


@functools.cache
def load_script(name: str) -> GuestScript:
    """The script `name`, as `rotate`."""
    return GuestScript(name=name, text=render_guest_script(name), question=name in QUESTIONS)


@functools.cache
def make_command() -> tuple[str, ...]:
    """The command line of every call."""
    text = base64.b64encode(render_guest_script("bootstrap").encode("utf-16-le")).decode()
    return (
        *("powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive", "-InputFormat", "None"),
        *("-OutputFormat", "Text", "-ExecutionPolicy", "Bypass", "-EncodedCommand", text),
    )


def make_envelope(
    script: GuestScript, call: str, payload: Mapping[str, Given], *, record: bool
) -> Secret:
    """Standard input of the call `call`. Raises WinseedError when Proxmox VE would refuse it."""
    if not ID.fullmatch(call):
        raise WinseedError(f"{call!r} is no id of a call into the guest", code=ExitCode.BUG)
    secrets = sorted(find_secrets(payload), key=len, reverse=True)
    content = json.dumps({"values": _reveal(payload), "secrets": secrets})
    text = json.dumps(
        {
            "id": call,
            "record": record,
            "call": _encode(render_guest_script("call")),
            "script": _encode(script.text),
            "payload": _encode(content),
        }
    )
    if len(text) > STDIN_LIMIT:
        raise WinseedError(
            f"the guest agent takes {STDIN_LIMIT} characters, the call {script.name} has "
            f"{len(text)}",
            code=ExitCode.SPEC,
            hint="fewer accounts per host, or a smaller offline join blob (no policies, no roots)",
        )
    return Secret(text)


def load_answer(out: str) -> Answer | None:
    """The answer in what the program printed, None when there is none."""
    found = _LINE.search(out)
    if found is None:
        return None
    try:
        told = json.loads(base64.b64decode(found[1], validate=True))
        standing = Standing(told["state"])
        if standing is not Standing.DONE:
            return Answer(standing=standing)
        return Answer(
            standing=standing,
            code=int(told["code"]),
            message=str(told["message"]),
            values=dict(told["values"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def find_secrets(value: Given) -> Iterator[str]:
    """Every secret in a payload, for masking."""
    if isinstance(value, Secret):
        if value.reveal():
            yield value.reveal()
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from find_secrets(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from find_secrets(part)


def _reveal(value: Given) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: _reveal(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [_reveal(part) for part in value]
    return value


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
