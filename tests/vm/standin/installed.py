# ruff: noqa: PTH101, PTH103, PTH123, PTH207
"""The second start: the installed system, from specialize to a running guest agent.

The disk is there only if the driver store holds a driver for it; so are network, agent channel and
balloon. Passes: Unattended Windows Setup Reference, "specialize" and "oobeSystem".
SetupComplete.cmd: learn.microsoft.com, "Add a Custom Script to Windows Setup".
"""

import glob
import json
import os
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import batch
import powershell
import world
from answer import NS, AnswerFile, text
from programs import Registry

import drivers

ROOT = Path("/mnt/windows")
GUEST = Path("/run/guest")  # the agent's folder: files by their names in Windows
VARIABLES = {
    "SYSTEMDRIVE": "C:",
    "SYSTEMROOT": r"C:\Windows",
    "WINDIR": r"C:\Windows",
    "PROGRAMDATA": r"C:\ProgramData",
}
KEY_POWER, EVENT = 116, struct.Struct("llHHi")


class Windows:
    """One start of the installed system."""

    def __init__(self) -> None:
        self.letters = world.Letters("system-letters", first="D")
        self.letters.roots["C"] = ROOT

    def run(self) -> str:
        self.notes_path = self.boot()
        self.notes = json.loads(self.notes_path.read_text())
        self.version = tuple(self.notes["version"])
        self.letters.add_cds()
        self.registry = Registry(ROOT / "Windows/System32/config/standin-registry.txt")
        world.say(f"stage=boot state={self.notes['state']} modules={' '.join(self.modules)}")
        if self.notes["state"] == "specialize":
            self.specialize()
            self.set_state("oobe")
            if world.told("specialize-restarts") == "yes":
                return "result=installed"  # restarts
        if self.notes["state"] == "oobe":
            self.run_script(r"C:\Windows\Setup\Scripts\SetupComplete.cmd")
            self.set_state("ready")
        self.settle()
        return "result=ready"

    def boot(self) -> Path:
        """The driver store is on the disk that needs it: winload reads both through the firmware.

        So the store is read with every driver there is, and then only its own are kept.
        """
        root = self.find_root()
        if root is None:
            raise world.Stopped("boot", "no disk holds Windows")
        notes = root / "Windows/Panther/standin.json"
        version = tuple(json.loads(notes.read_text())["version"])
        ids: set[str] = set()
        for path in (root / "Windows/System32/DriverStore/FileRepository").rglob("*.inf"):
            ids |= drivers.read_package(path, version).hardware_ids
        served = {ids_[-1][-4:] for ids_ in world.pci_devices().values() if ids & set(ids_)}
        self.modules = sorted({world.MODULES[one] for one in served if one in world.MODULES})
        needed = self.disk_module
        if needed and needed not in self.modules:
            raise world.Stopped("boot", "INACCESSIBLE_BOOT_DEVICE: no driver for the disk")
        for module in self.modules:
            world.load_module(module)
        return notes

    def find_root(self) -> Path | None:
        ROOT.mkdir(exist_ok=True)
        for module in ("", "virtio_scsi", "virtio_blk"):
            if module:
                before = world.disks()
                world.load_module(module)
                world.wait_for(lambda known=before: world.disks() != known, 2)
            for disk in world.disks():
                for part in world.partitions(disk):
                    if not world.mount_volume(f"/dev/{part}", ROOT, write=True):
                        continue
                    if (ROOT / "Windows/Panther/standin.json").exists():
                        self.disk_module = module
                        return ROOT
                    world.run("busybox", "umount", str(ROOT), check=False)
        return None

    def set_state(self, state: str) -> None:
        self.notes["state"] = state
        self.notes_path.write_text(json.dumps(self.notes))
        world.run("busybox", "sync")

    # -- passes ----------------------------------------------------------------------------------

    def specialize(self) -> None:
        answer = AnswerFile((ROOT / "Windows/Panther/unattend.xml").read_bytes())
        name = answer.value("specialize", "Shell-Setup", "ComputerName") or "WIN-STANDIN"
        self.notes["computer"] = name
        self.notes["addresses"] = addresses_of(answer)
        for line in answer.commands("specialize", "Deployment"):
            level = batch.run_line(line, self.letters, self.programs(), VARIABLES)
            world.say(f"stage=specialize exit={level}")

    def programs(self) -> batch.Programs:
        quiet = {name: lambda _rest: (0, "") for name in ("icacls", "attrib", "schtasks", "ping")}
        return quiet | {"reg": self.registry.program, "powershell": self.powershell}

    def run_script(self, path: str) -> None:
        if self.letters.find(path) is None:
            world.say(f"stage=oobe {path} is not there")
            return
        level = batch.run_line(f"call {path}", self.letters, self.programs(), VARIABLES)
        world.say(f"stage=oobe exit={level}")

    def powershell(self, rest: str) -> tuple[int, str]:
        """`powershell.exe -File SCRIPT`: the effects of our first boot that a host can see."""
        match = re.search(r'-File\s+("[^"]+"|\S+)', rest)
        script = self.letters.find(match[1]) if match else None
        if script is None:
            return 1, ""
        return powershell.first_boot(script, ROOT, has_channel=bool(glob.glob("/dev/vport*"))), ""

    # -- running -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Name, addresses, guest agent; then wait for the power button."""
        write_identity(self.notes)
        wanted = {mac.upper(): rows for mac, rows in self.notes.get("addresses", {}).items()}
        for path in glob.glob("/sys/class/net/*"):
            card, mac = Path(path).name, Path(path, "address").read_text().strip()
            for address in wanted.get(mac.upper().replace(":", "-"), []):
                world.run("ip", "addr", "add", address, "dev", card, check=False)
            world.run("ip", "link", "set", card, "up", check=False)
        agent = ROOT / "Program Files/Qemu-ga/qemu-ga.exe"
        if not agent.exists() or "virtio_console" not in self.modules:
            world.say("stage=ready no agent")
            return
        start_agent()
        world.say("stage=ready agent")


def addresses_of(answer: AnswerFile) -> dict[str, list[str]]:
    """MAC -> addresses, of Microsoft-Windows-TCPIP."""
    found = {}
    for component in answer.component("specialize", "TCPIP"):
        for interface in component.findall(f"{NS}Interfaces/{NS}Interface"):
            rows = interface.findall(f"{NS}UnicastIpAddresses/{NS}IpAddress")
            found[text(interface, "Identifier") or ""] = [(row.text or "").strip() for row in rows]
    return found


def write_identity(notes: dict) -> None:
    """What guest-get-osinfo and guest-get-host-name read on Linux."""
    Path("/proc/sys/kernel/hostname").write_text(notes.get("computer", "WIN-STANDIN"))
    build = str(notes["version"][2])
    lines = {
        "ID": "mswindows", "NAME": "Microsoft Windows", "PRETTY_NAME": notes["display"],
        "VERSION": f"Microsoft {notes['display']}", "VERSION_ID": build, "VARIANT": "server",
        "VARIANT_ID": "server",
    }  # fmt: skip
    os.makedirs("/etc", exist_ok=True)
    Path("/etc/os-release").write_text("".join(f'{k}="{v}"\n' for k, v in lines.items()))
    Path("/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nAdministrator:x:500:500::/root:\n")
    Path("/etc/shadow").write_text("root:*:1::::::\nAdministrator:*:1::::::\n")
    Path("/etc/group").write_text("root:x:0:\n")


def publish_files() -> None:
    """Links named as in Windows, so that the agent's file commands find what they are asked for."""
    GUEST.mkdir(exist_ok=True)
    for folder in ("ProgramData/winseed", "Windows/Panther", "Windows/Setup/Scripts"):
        for path in (ROOT / folder).rglob("*"):
            link = GUEST / ("C:\\" + str(path.relative_to(ROOT)).replace("/", "\\"))
            if path.is_file() and not link.is_symlink():
                link.symlink_to(path)


def start_agent() -> None:
    """The real qemu-guest-agent on the real channel; powershell.exe and cmd.exe are ours."""
    publish_files()
    places = Path("/run/programs")
    places.mkdir(exist_ok=True)
    for name in ("powershell.exe", r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"):
        (places / name).symlink_to("/standin/powershell")
    Path("/sbin").mkdir(exist_ok=True)
    shutil.copyfile("/standin/shutdown", "/sbin/shutdown")
    os.chmod("/sbin/shutdown", 0o755)
    world.wait_for(lambda: bool(glob.glob("/dev/vport*")), 5)
    device = glob.glob("/dev/vport*")[0]  # there is no udev to name it
    environment = {**os.environ, "PATH": f"{places}:{os.environ['PATH']}"}
    subprocess.Popen(
        ["qemu-ga", "-m", "virtio-serial", "-p", device, "-t", "/run"],
        cwd=GUEST,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_power_button() -> None:
    """Never returns: the button switches off, as Windows does by default."""
    import select

    devices = [open(path, "rb", buffering=0) for path in glob.glob("/dev/input/event*")]  # noqa: SIM115
    while True:
        ready = select.select(devices, [], [], 5)[0] if devices else time.sleep(5) or []
        for device in ready:
            kind, code, value = EVENT.unpack(device.read(EVENT.size))[2:]
            if (kind, code, value) == (1, KEY_POWER, 1):
                world.say("result=powered-off by=button")
                subprocess.run(["/standin/shutdown", "-P"], check=False)
        publish_files()


def run() -> str:
    try:
        return Windows().run()
    except world.Stopped as error:
        return f"result=stopped stage={error.stage} why={error}"
