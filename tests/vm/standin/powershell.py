# ruff: noqa: PTH123
"""What PowerShell would have done, as far as a host can see it.

`first_boot` stands for first-boot.ps1: the same marker, the same lines on COM1. `main` stands for
powershell.exe under the guest agent: the calls of `deploy` and `settle` are in `guest_call`.
"""

import json
import re
import shutil
import sys
import time
from pathlib import Path

import guest_call

STEP = re.compile(r"@\{ Name = '([^']+)'; Kind = '([^']+)'; File = '([^']+)'")
IDENTITY = re.compile(r"^\$id = '([^']+)'", re.MULTILINE)


def first_boot(script: Path, root: Path, *, has_channel: bool) -> int:
    """Run the steps that the script lists, and leave its marker."""
    text = script.read_text("utf-8-sig")
    found = IDENTITY.search(text)
    identity = found[1] if found else ""
    state = script.parent
    _com1(f"phase=first-boot id={identity}")
    steps = []
    for name, kind, file in STEP.findall(text):
        result = "0" if kind != "own" or (state / file).exists() else "1"
        if kind == "own" and result == "0":
            result = _effect(name, state, root, has_channel=has_channel)
        ok = result == "0"
        _com1(f"step={name} ok={ok} result={result} seconds=0")
        steps.append({"name": name, "ok": ok, "result": result, "seconds": 0})
    failed = [step["name"] for step in steps if not step["ok"]]
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    report = {"version": 1, "id": identity, "ok": not failed, "failed": failed, "steps": steps}
    (state / "done.json").write_text(json.dumps({**report, "finished": finished}, indent=4))
    _com1(f"phase=done ok={not failed} failed={','.join(failed)}")
    return 0


def _effect(name: str, state: Path, root: Path, *, has_channel: bool) -> str:
    """What a step of ours leaves behind; "0" when it went well."""
    if name == "drivers":
        store = root / "Windows/System32/DriverStore/FileRepository"
        for folder in sorted((state / "drivers").iterdir()):
            for inf in folder.glob("*.inf"):
                target = store / f"{inf.name.lower()}_amd64"
                if not target.exists():
                    shutil.copytree(folder, target, copy_function=shutil.copyfile)
    elif name == "agent":
        if not list((state / "files").glob("qemu-ga*.msi")):
            return "1619"  # msiexec: this installation package could not be opened
        program = root / "Program Files/Qemu-ga/qemu-ga.exe"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_bytes(b"MZ")
        return "0" if has_channel else "1"
    elif name == "scrub":
        for path in (root / "Windows/Panther").rglob("*unattend*.xml"):
            path.unlink()
    return "0"


def _com1(text: str) -> None:
    try:
        with open("/dev/ttyS0", "w") as port:
            port.write(f"winseed: {text}\n")
    except OSError:
        pass


def main(arguments: list[str], stdin: str) -> int:
    """powershell.exe under the guest agent; -EncodedCommand is read, and only our own calls run."""
    if not guest_call.is_call(arguments):
        sys.stderr.write("stand-in: this is no call of winseed\n")
        return 1
    return guest_call.answer(stdin)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.read()))
