# ruff: noqa: PTH123, PTH207, PTH208
"""The machine as the stand-in for Windows Setup sees it: what it is told, devices, letters, mounts.

Shares no code with winseed. Runs as the first program of a small Linux in a VM; COM1 belongs to the
scripts of the answer ISO, COM2 is this program's own log.
"""

import glob
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

TOLD = "/sys/firmware/qemu_fw_cfg/by_name/opt/winseed"
INBOX = (
    # what Windows drives by itself: storahci, intelide, cdrom, disk
    "ata_piix", "ahci", "sr_mod", "sd_mod", "cdrom", "isofs", "udf", "vfat", "nls_cp437",
    "nls_ascii", "nls_iso8859-1", "nls_utf8", "fuse", "qemu_fw_cfg", "button", "evdev",
)  # fmt: skip
# The Linux module that stands for the driver of a VirtIO device (virtio specification 1.2, 4.1.2.1)
MODULES = {
    "1000": "virtio_net", "1041": "virtio_net", "1001": "virtio_blk", "1042": "virtio_blk",
    "1002": "virtio_balloon", "1045": "virtio_balloon", "1003": "virtio_console",
    "1043": "virtio_console", "1004": "virtio_scsi", "1048": "virtio_scsi",
}  # fmt: skip
ALPHABET = "CDEFGHIJKLMNOPQRSTUVWYZ"  # X: is Windows PE


class Stopped(Exception):  # noqa: N818 - Setup is stopped
    """Setup does not go on; `stage` names where, the text why."""

    def __init__(self, stage: str, why: str) -> None:
        super().__init__(why)
        self.stage = stage


def say(text: str) -> None:
    """A line for whoever tests, on COM2 and on the screen."""
    for device in ("/dev/ttyS1", "/dev/tty0"):
        try:
            with open(device, "w") as stream:
                stream.write(f"{time.monotonic():7.2f} standin: {text}\n")
        except OSError:
            pass


def told(name: str, default: str = "") -> str:
    """What the test has told through QEMU's fw_cfg (docs/specs/fw_cfg.txt)."""
    try:
        return Path(TOLD, name, "raw").read_text().strip()
    except OSError:
        return default


def believed(name: str) -> bool:
    """Whether a rule that rests on belief holds in this run."""
    return name not in told("disbelieve").split()


def run(*command: str, check: bool = True) -> str:
    """Output of a program; Stopped with its words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        words = " ".join((done.stdout + done.stderr).split())[-300:]
        raise Stopped("standin", f"{' '.join(command)}: {words}")
    return done.stdout


# -- devices -------------------------------------------------------------------------------------


def load_module(name: str) -> None:
    """A module and what it needs, in the order that the archive lists."""
    for line in Path("/modules/order").read_text().splitlines():
        wanted, *chain = line.split()
        if wanted == name:
            for one in chain:
                if not Path("/sys/module", one.replace("-", "_")).exists():
                    run("busybox", "insmod", f"/modules/{one}.ko", check=False)


def load_inbox() -> None:
    for name in INBOX:
        load_module(name)
    load_module("virtio_pci")  # the bus; no device works by it alone
    wait_for(lambda: len(glob.glob("/sys/block/sr*") + ata_disks()) >= int(told("drives", "1")), 15)


def wait_for(reached, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached() and time.monotonic() < end:
        time.sleep(0.05)


def pci_devices() -> dict[str, list[str]]:
    """Hardware ids of every PCI device, the most special first.

    Form: learn.microsoft.com, "Identifiers for PCI Devices".
    """
    found = {}
    for folder in sorted(glob.glob("/sys/bus/pci/devices/*")):
        read = {
            name: Path(folder, name).read_text().strip().removeprefix("0x").upper()
            for name in ("vendor", "device", "subsystem_vendor", "subsystem_device", "revision")
        }
        ids = f"PCI\\VEN_{read['vendor']}&DEV_{read['device']}"
        sub = f"&SUBSYS_{read['subsystem_device']}{read['subsystem_vendor']}"
        rev = f"&REV_{read['revision']}"
        found[folder] = [ids + sub + rev, ids + sub, ids + rev, ids]
    return found


def load_driver_of(hardware_ids: set[str]) -> list[str]:
    """Start the devices that an INF names; the PCI device ids that were found."""
    started = []
    for ids in pci_devices().values():
        if not hardware_ids & set(ids):
            continue
        device = ids[-1][-4:].lower()
        started.append(f"1af4:{device}")
        module = MODULES.get(device.upper())
        if module and not Path("/sys/module", module).exists():
            before = disks()
            load_module(module)
            if module in {"virtio_scsi", "virtio_blk"}:
                wait_for(lambda known=before: disks() != known, 5)
    return started


def ata_disks() -> list[str]:
    return [one for one in glob.glob("/sys/block/sd*") if "/ata" in os.path.realpath(one)]


def disks() -> list[str]:
    """Fixed disks as Windows PE would number them: `disks=reverse` turns the order round."""
    names = [Path(one).name for one in glob.glob("/sys/block/[sv]d*")]
    ordered = sorted(names, key=lambda name: (name not in map(os.path.basename, ata_disks()), name))
    return ordered[::-1] if told("disks") == "reverse" else ordered


def partitions(disk: str) -> list[str]:
    found = [Path(one).name for one in glob.glob(f"/sys/block/{disk}/{disk}*")]
    return sorted(found, key=lambda name: int(re.findall(r"\d+$", name)[0]))


# -- letters -------------------------------------------------------------------------------------


class Letters:
    """Drive letters: which, the test decides, because no document does.

    `letters` and `system-letters` name a CD drive by its place; the others get what is free.
    """

    def __init__(self, key: str, *, first: str) -> None:
        self.given = dict(pair.split("=") for pair in told(key).split())
        self.free = list(ALPHABET[ALPHABET.index(first) :])
        for letter in self.given.values():
            if letter in self.free:
                self.free.remove(letter)
        self.roots: dict[str, Path] = {}
        self.places: dict[str, str] = {}

    def add_cds(self) -> None:
        """Every CD drive gets a letter, with or without a disc."""
        for block in sorted(glob.glob("/sys/block/sr*"), key=_cd_place):
            place, name = _cd_place(block), Path(block).name
            letter = self.given.get(place) or self.free.pop(0)
            root = Path("/mnt", name)
            root.mkdir(exist_ok=True)
            self.places[letter] = place
            self.roots[letter] = root
            kind = mount_disc(f"/dev/{name}", root)
            say(f"letter {letter}: is {place}, {kind}")

    def add_volumes(self) -> None:
        """Volumes of existing partitions, after the CD drives."""
        for disk in disks():
            for part in partitions(disk):
                root = Path("/mnt", part)
                root.mkdir(exist_ok=True)
                if root in self.roots.values() or not mount_volume(f"/dev/{part}", root):
                    continue
                letter = self.free.pop(0)
                self.roots[letter] = root
                say(f"letter {letter}: is {part}")

    def remove_volumes(self) -> None:
        for letter, root in list(self.roots.items()):
            if not root.name.startswith("sr"):
                run("busybox", "umount", str(root), check=False)
                del self.roots[letter]

    def find(self, path: str) -> Path | None:
        """The file or folder at a path of Windows, in any case; None if it is not there."""
        match = re.fullmatch(r"([A-Za-z]):[\\/]*(.*)", path.strip().strip('"'), re.DOTALL)
        root = self.roots.get(match[1].upper()) if match else None
        return find_below(root, match[2]) if match and root else None

    def place(self, path: str) -> Path:
        """Where a path of Windows is or would be; its folder need not be there."""
        letter, rest = path[0].upper(), re.sub(r"^[A-Za-z]:[\\/]*", "", path.strip('"'))
        at = self.roots.get(letter)
        if at is None:
            raise FileNotFoundError(path)
        for part in filter(None, re.split(r"[\\/]+", rest)):
            known = find_below(at, part)
            at = known if known is not None else at / part
        return at


def find_below(root: Path, path: str) -> Path | None:
    for part in filter(None, re.split(r"[\\/]+", path)):
        try:
            names = os.listdir(root)
        except OSError:
            return None
        same = [name for name in names if name.casefold() == part.casefold()]
        if not same:
            return None
        root = root / same[0]
    return root


def _cd_place(block: str) -> str:
    """`PCI device:port:unit` of the drive's controller, as the test names it."""
    path = os.path.realpath(block)
    match = re.search(r"0000:[0-9a-f]{2}:([0-9a-f]{2}\.\d)/ata(\d+)/.*?/\d+:\d+:(\d+):\d+/", path)
    if match is None:
        return "scsi:" + re.findall(r":(\d+)/block", path)[0] + ":0"
    folder = path[: path.index(f"/ata{match[2]}/")]
    first = min(int(one.rpartition("ata")[2]) for one in glob.glob(f"{folder}/ata*"))
    return f"{match[1]}:{int(match[2]) - first}:{match[3]}"


def mount_disc(device: str, root: Path) -> str:
    """As Windows reads a disc: UDF, else Joliet, else ISO 9660; never Rock Ridge."""
    for kind, options in (("udf", "ro,iocharset=utf8"), ("iso9660", "ro,norock,iocharset=utf8")):
        done = subprocess.run(
            ["busybox", "mount", "-t", kind, "-o", options, device, str(root)],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return kind
    return "empty"


def mount_volume(device: str, root: Path, *, write: bool = False) -> bool:
    """NTFS by ntfs-3g, FAT by the kernel; nothing else is a volume for Windows."""
    mode = "rw" if write else "ro"
    with open(device, "rb") as stream:
        head = stream.read(512)
    if head[3:7] == b"NTFS":
        command = ["ntfs-3g", "-o", f"{mode},streams_interface=none", device, str(root)]
    elif head[82:87] == b"FAT32" or head[54:57] == b"FAT":
        command = ["busybox", "mount", "-t", "vfat", "-o", mode, device, str(root)]
    else:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
