"""What winseed's scripts do to the installed system: on the real NTFS disk, with the real devices.

Facts are read from what Setup applied (the image's own XML, the INFs in the driver store, the
values that `reg add` wrote, PCI ids), never from what winseed planned.
"""

import base64
import json
import shutil
import time
from pathlib import Path

import accounts
import data_disks
import world
from programs import Registry

import drivers

ROOT = Path("/mnt/windows")
STATE = ROOT / "ProgramData/winseed"
RESULTS = STATE / "results"
UPDATE = r"HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate"
SMBUS = "0x0c0500"  # PCI class: no release of Windows brings a driver for the one of q35
OURS = "PCI\\VEN_1AF4"


class ThrownError(Exception):
    """A `throw` in a script."""


def _notes() -> dict:
    return json.loads((ROOT / "Windows/Panther/standin.json").read_text())


def _booted() -> str:
    """Win32_OperatingSystem LastBootUpTime."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return time.strftime("%Y%m%d%H%M%S.500000+000", time.gmtime(time.time() - uptime))


def _image_state() -> str:
    complete = _notes()["state"] == "ready"
    return "IMAGE_STATE_COMPLETE" if complete else "IMAGE_STATE_UNDEPLOYABLE"


def _marker(_values: dict) -> dict:
    path = STATE / "done.json"
    marker = path.read_text() if path.exists() else None
    return {"marker": marker, "image_state": _image_state(), "booted": _booted()}


def _role(_values: dict) -> dict:
    name = _notes().get("computer", "").upper()
    return {"computer_name": name, "domain_role": 2, "domain": "WORKGROUP"}


def _facts(values: dict) -> dict:
    notes = _notes()
    return {
        **_role(values),
        "booted": _booted(),
        "edition": notes["edition"],
        "installation_type": notes["installation"],
        "build": str(notes["version"][2]),
        "revision": notes["revision"],
        "image_state": _image_state(),
        "pending": [],
        "renames": [],
        "policies": _policies(),
        "devices": _devices(tuple(notes["version"])),
        "volumes": _volumes(),
        "agent": "Running",
    }


def _policies() -> list[dict]:
    found = Registry(ROOT / "Windows/System32/config/standin-registry.txt").values()
    return [
        {"subkey": key[len(UPDATE) :].strip("\\"), "name": name, "value": value}
        for (key, name), value in found.items()
        if key.casefold().startswith(UPDATE.casefold())
    ]


def _devices(version: tuple[int, int, int]) -> list[dict]:
    """Every PCI device with the package of the driver store that fits its id."""
    store = ROOT / "Windows/System32/DriverStore/FileRepository"
    packages = drivers.packages_below(store, version, subfolders=True)
    rows = []
    for folder, ids in world.pci_devices().items():
        fitting = [n for n, one in enumerate(packages) if one.hardware_ids & set(ids)]
        inbox = not ids[0].startswith(OURS) and Path(folder, "class").read_text().strip() != SMBUS
        row = {
            "id": f"{ids[0]}\\3&11583659&0&{Path(folder).name[5:7]}",
            "name": f"PCI device {Path(folder).name}",
            "hardware_ids": ids,
            "problem": 0 if fitting or inbox else 28,
            "service": "",
            "inf": "machine.inf" if inbox else "",
            "version": "",
            "provider": "Microsoft" if inbox else "",
        }
        if fitting:
            path = packages[fitting[0]].path
            row |= {"inf": f"oem{fitting[0]}.inf", "version": _driver_version(path)}
            row |= {"provider": "Red Hat, Inc.", "service": path.stem.casefold()}
        rows.append(row)
    return rows


def _driver_version(inf: Path) -> str:
    """The second half of `DriverVer=07/01/2024,100.95.104.26200`."""
    for line in drivers.read_sections(inf).get("version", []):
        name, _, value = line.partition("=")
        if name.strip().casefold() == "driverver":
            return value.partition(",")[2].strip()
    return ""


def _volumes() -> list[dict]:
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    part = next(Path(row[0]).name for row in mounted if row[1] == str(ROOT))
    size = int(Path("/sys/class/block", part, "size").read_text()) * 512
    rows = [{"letter": "C", "kind": 3, "label": "", "filesystem": "NTFS", "bytes": size}]
    rows += data_disks.volumes(ROOT)
    taken = {row["letter"] for row in rows}
    free = [letter for letter in "DEFGHIJKL" if letter not in taken]
    for letter, _ in zip(free, Path("/sys/block").glob("sr*"), strict=False):
        rows.append({"letter": letter, "kind": 5, "label": "", "filesystem": "", "bytes": 0})
    return rows


def _rotate(values: dict) -> dict:
    name = accounts.set_password(ROOT, rid=500, password=values["password"])
    return {"account": name, "sid": "S-1-5-21-1-2-3-500"}


def _accounts(values: dict) -> dict:
    rows = []
    for wanted in values["accounts"]:
        created = accounts.put(
            ROOT, wanted["name"], password=wanted["password"], groups=wanted["groups"]
        )
        rows.append({"name": wanted["name"], "created": created})
    return {"accounts": rows}


def _join(_values: dict) -> dict:
    raise ThrownError("djoin ended with 1355; %SystemRoot%\\debug\\NetSetup.LOG says why")


def _data_disks(_values: dict) -> dict:
    script = STATE / "data-disks.ps1"
    if not script.exists():
        raise ThrownError("this installation has no script for data disks")
    return {"lines": data_disks.prepare(script.read_text("utf-8-sig"), ROOT), "volumes": _volumes()}


def _scrub(_values: dict) -> dict:
    """The copies that answer_copies.ps1 and scrub.ps1 name, as far as this Windows has them."""
    found = [
        path
        for folder in ("Windows/Panther", "Windows/System32/Sysprep", "Windows/Setup/Scripts")
        for path in (ROOT / folder).rglob("*")
        if "unattend" in path.name.casefold() and path.suffix.casefold() == ".xml"
    ]
    found += [
        ROOT / f"Windows/Setup/Scripts/{name}.cmd" for name in ("SetupComplete", "ErrorHandler")
    ]
    found += [STATE / name for name in ("results/join.blob", "drivers", "files")]
    removed = [path for path in found if path.exists()]
    for path in removed:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    world.run("busybox", "sync", check=False)
    return {"removed": [_named(path) for path in removed]}


def _logs(values: dict) -> dict:
    paths = [ROOT / f"Windows/Panther/{name}.log" for name in ("setuperr", "setupact")]
    paths += sorted((STATE / "logs").glob("*.log"))
    rows = []
    for path in paths:
        if path.exists():
            content = path.read_bytes()
            tail = base64.b64encode(content[-values["bytes"] :]).decode()
            rows.append({"path": _named(path), "bytes": len(content), "tail": tail})
    return {"files": rows}


def _remove(_values: dict) -> dict:
    shutil.rmtree(RESULTS, ignore_errors=True)
    world.run("busybox", "sync", check=False)
    return {}


def _named(path: Path) -> str:
    """As Windows calls it."""
    return "C:\\" + str(path.relative_to(ROOT)).replace("/", "\\")


SCRIPTS = {
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
