"""A call of winseed into the installed system, as powershell.exe under the guest agent gets it.

Bootstrap, protocol and scripts must be the known ones to the letter (`tests/pve/data/guest`, which
lies beside this file in the archive); what each of them does to a Windows is in `guest_scripts`.
The rules of an id are those of the protocol's own text: the open `ID.started` says that a run is
under way, `ID.json` how it ended; both lie on the installed disk, so they survive a restart.
"""

import base64
import fcntl
import json
import os
from pathlib import Path

import guest_scripts
import world

HERE = Path(__file__).parent
COMMAND = [
    *("-NoLogo", "-NoProfile", "-NonInteractive", "-InputFormat", "None"),
    *("-OutputFormat", "Text", "-ExecutionPolicy", "Bypass", "-EncodedCommand"),
]


def is_call(arguments: list[str]) -> bool:
    """Whether a command line of powershell.exe is winseed's own."""
    if arguments[:-1] != COMMAND:
        return False
    text = base64.b64decode(arguments[-1]).decode("utf-16-le")
    return text == (HERE / "bootstrap.ps1").read_text("ascii")


def answer(stdin: str) -> int:
    """Run the call on standard input and print its result; the exit code of powershell.exe."""
    told = json.loads(stdin)
    script = _name_of(told)
    if not told["record"]:
        _say(_run(script, told))
        return 0
    folder = guest_scripts.RESULTS
    started, finished = folder / f"{told['id']}.started", folder / f"{told['id']}.json"
    if not finished.exists():
        folder.mkdir(parents=True, exist_ok=True)
        state = _run_once(script, told, started, finished)
        if not finished.exists():
            _say(f'{{"state":"{state}"}}')
            return 0
    _say(finished.read_text())
    return 0


def _run_once(script: str, told: dict, started: Path, finished: Path) -> str:
    """Run unless somebody does or did; `running` or `interrupted` when there is no result."""
    try:
        mark = started.open("x")
    except FileExistsError:
        with started.open("r+") as mark:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return "running"
        return "interrupted"
    with mark:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = _run(script, told)
        draft = finished.with_suffix(".tmp")
        with draft.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(finished)
        world.run("busybox", "sync", check=False)
    return "interrupted"


def _name_of(told: dict) -> str:
    """The script of an envelope; an unknown text is an error of the test."""
    assert set(told) == {"id", "record", "call", "script", "payload"}, sorted(told)
    assert _decode(told["call"]) == (HERE / "call.ps1").read_text("ascii"), "another protocol"
    text = _decode(told["script"])
    for name in guest_scripts.SCRIPTS:
        if text == (HERE / f"{name}.ps1").read_text("ascii"):
            return name
    raise AssertionError(f"an unknown script: {text[:60]!r}")


def _run(script: str, told: dict) -> str:
    world.say(f"guest call {script} id={told['id']}")
    content = json.loads(_decode(told["payload"]))
    try:
        values = guest_scripts.SCRIPTS[script](content["values"])
    except guest_scripts.ThrownError as failure:
        message = f"line 1: {failure}"
        for secret in content["secrets"]:
            message = message.replace(secret, "***")
        return json.dumps({"state": "done", "code": 1, "message": message, "values": {}})
    return json.dumps({"state": "done", "code": 0, "message": "", "values": values})


def _decode(text: str) -> str:
    return base64.b64decode(text, validate=True).decode()


def _say(text: str) -> None:
    """The line of the protocol, with the line end of Windows."""
    print("winseed-result: " + base64.b64encode(text.encode()).decode(), end="\r\n")
