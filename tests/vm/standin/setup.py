# ruff: noqa: PTH110, PTH123
"""The stand-in for Windows Setup: from the search for the answer file to the first restart.

The order of the steps: Unattended Windows Setup Reference, "windowsPE", and what public projects
rely on (cschneegans/unattend-generator ran diskpart from RunSynchronous before Setup's disk page).
Every rule names its source where it stands; rules that are belief carry the id of
answer_templates/beliefs.toml and can be switched off from outside (`disbelieve`).
"""

import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import accounts
import batch
import disk
import world
from answer import NS, AnswerFile, find_answer_file, text, without_secrets
from programs import WindowsPe
from windows_cmd import PoweredOffError

import drivers

NEW_SETUP = 26040  # bin456789/reinstall windows-setup.bat:274


class Setup:
    """One run of Setup."""

    def __init__(self) -> None:
        self.letters = world.Letters("letters", first="C")
        self.letters.roots["X"] = Path("/x")
        for folder in ("Windows/System32", "Windows/Temp"):
            Path("/x", folder).mkdir(parents=True, exist_ok=True)
        self.propagated: list[Path] = []

    def run(self) -> None:
        """Stopped, PoweredOffError, or Windows is on the disk."""
        self.letters.add_cds()
        self.media = self.find_media()
        self.images = read_images(self.media / "sources/install.wim")
        self.version = self.images[0]["version"]
        self.uefi = {"uefi": True, "bios": False}.get(
            world.told("firmware"), os.path.exists("/sys/firmware/efi")
        )
        letter, path = find_answer_file(self.letters)
        self.data = path.read_bytes()
        self.answer = AnswerFile(self.data)
        world.say(f"stage=discovery answer file on {letter}:")
        self.check_dialogs()
        self.load_drivers()
        if world.told("volumes", "yes") == "yes":
            self.letters.add_volumes()
        self.run_commands()
        self.letters.remove_volumes()
        world.say(f"stage=storage disks: {' '.join(world.disks()) or 'none'}")
        self.configure_disks()
        target = self.apply_image()
        self.service(target)

    def find_media(self) -> Path:
        """The disc that this Windows PE was started from."""
        for letter in sorted(self.letters.roots):
            found = self.letters.find(f"{letter}:\\sources\\install.wim")
            if found is not None:
                return found.parents[1]
        raise world.Stopped("media", "no disc has sources\\install.wim: a media driver is missing")

    def check_dialogs(self) -> None:
        """What makes Setup ask, whatever else the answer file says."""
        # cschneegans/unattend-generator#64, #88, #170
        languages = self.answer.values(
            "windowsPE", "International-Core-WinPE", "SetupUILanguage/UILanguage"
        )
        if not languages:
            raise world.Stopped("image", "no SetupUILanguage: Setup asks for a language")
        held = {image["language"].casefold() for image in self.images}
        if languages[0].casefold() not in held:
            raise world.Stopped("image", f"no language {languages[0]} on these media: Setup asks")

    # -- drivers ---------------------------------------------------------------------------------

    def load_drivers(self) -> None:
        """DriverPaths of PnpCustomizationsWinPE, then $WinPEDriver$ (Microsoft KB 2686316)."""
        for path in self.answer.driver_paths("windowsPE", "PnpCustomizationsWinPE"):
            folder = self.letters.find(path)
            if folder is not None:
                self.load_below(folder, "DriverPaths")
            elif not world.believed("FT01"):
                raise world.Stopped("storage", f"{path} is not there")
        if world.believed("FT03"):
            for letter in sorted(self.letters.roots):
                folder = self.letters.find(f"{letter}:\\$WinPEDriver$")
                if folder is not None:
                    self.load_below(folder, "$WinPEDriver$")

    def load_below(self, folder: Path, way: str) -> None:
        subfolders = world.believed("FT22") or way == "$WinPEDriver$"
        for package in drivers.packages_below(folder, self.version, subfolders=subfolders):
            started = world.load_driver_of(set(package.hardware_ids))
            if package.hardware_ids:
                self.propagated.append(package.path)
            world.say(f"{way} {package.path.name}: {', '.join(started) or 'no device'}")

    def run_commands(self) -> None:
        programs = WindowsPe(self.letters, self.version).table()
        variables = {"SYSTEMDRIVE": "X:", "SYSTEMROOT": r"X:\Windows", "WINDIR": r"X:\Windows"}
        for line in self.answer.commands("windowsPE", "Setup"):
            level = batch.run_line(line, self.letters, programs, variables)
            world.say(f"stage=commands exit={level}")

    # -- disk and image --------------------------------------------------------------------------

    def configure_disks(self) -> None:
        found = world.disks()
        elements = [
            element
            for component in self.answer.component("windowsPE", "Setup")
            for element in component.findall(f"{NS}DiskConfiguration/{NS}Disk")
        ]
        if not elements:
            raise world.Stopped("partitions", "no DiskConfiguration: Setup shows the disk page")
        for element in elements:
            number = disk.number_of(element)
            if number >= len(found):
                # joefitzgerald/packer-windows#259: the storage driver is missing
                why = "Windows could not apply the unattend answer file's <DiskConfiguration>"
                raise world.Stopped("storage" if not found else "partitions", why)
            disk.configure(found[number], element, uefi=self.uefi)

    def apply_image(self) -> Path:
        """The image by MetaData, to the partition of InstallTo, by wimlib."""
        image = self.choose_image()
        (target,) = self.component_elements("ImageInstall/OSImage/InstallTo") or [None]
        if target is None:
            raise world.Stopped("image", "InstallTo is missing: Setup asks for a partition")
        number = disk.number_of(target)
        wanted = int(text(target, "PartitionID") or 0)
        name = world.disks()[number]
        parts = {disk.partition_number(one): one for one in world.partitions(name)}
        device = f"/dev/{parts.get(wanted, '')}"
        wim = self.media / "sources/install.wim"
        try:
            world.run("wimlib-imagex", "apply", str(wim), str(image["index"]), device)
        except world.Stopped as error:
            raise world.Stopped("image", str(error)) from error
        world.say(f"stage=image index={image['index']} name={image['name']} partition={wanted}")
        self.installed_disk, self.image = name, image
        root = Path("/mnt/windows")
        root.mkdir(exist_ok=True)
        if not world.mount_volume(device, root, write=True):
            raise world.Stopped("image", f"{device} is not NTFS")
        return root

    def component_elements(self, path: str) -> list[ET.Element]:
        steps = "/".join(f"{NS}{step}" for step in path.split("/"))
        return [
            element
            for component in self.answer.component("windowsPE", "Setup")
            for element in component.findall(steps)
        ]

    def choose_image(self) -> dict:
        """MetaData: INDEX, or NAME without regard to case (bin456789/reinstall)."""
        fitting = list(self.images)
        for item in self.component_elements("ImageInstall/OSImage/InstallFrom/MetaData"):
            key, value = text(item, "Key") or "", (text(item, "Value") or "").casefold()
            if key.upper() == "/IMAGE/INDEX":
                fitting = [one for one in fitting if str(one["index"]) == value]
            elif key.upper() == "/IMAGE/NAME":
                names = ("name", "display")
                fitting = [one for one in fitting if value in {one[n].casefold() for n in names}]
        if not fitting:
            raise world.Stopped("image", "the selected image is not on these media")
        if len(fitting) > 1:
            raise world.Stopped("image", "several images fit: Setup asks")  # Setup shows a list
        self.check_key(fitting[0])
        return fitting[0]

    def check_key(self, image: dict) -> None:
        keys = self.answer.values("windowsPE", "Setup", "UserData/ProductKey/Key")
        evaluation = image["edition"].endswith("Eval")
        # OpenNebula/one-apps#225; learn.microsoft.com, KMS client activation keys
        if keys and evaluation:
            raise world.Stopped("image", "a key on evaluation media: Setup asks for another")
        ei_cfg = (self.media / "sources/ei.cfg").exists()
        # bin456789/reinstall trans.sh:7882-7904
        if image["version"][:2] == (6, 3) and not keys and not ei_cfg:
            raise world.Stopped("image", "Windows cannot read the <ProductKey> setting")
        if (self.answer.value("windowsPE", "Setup", "UserData/AcceptEula") or "") != "true":
            raise world.Stopped("image", "AcceptEula is not true: Setup asks")

    # -- what the first boot needs -----------------------------------------------------------------

    def service(self, root: Path) -> None:
        """Drivers into the image (offlineServicing), Panther, boot files."""
        store = root / "Windows/System32/DriverStore/FileRepository"
        store.mkdir(parents=True, exist_ok=True)
        packages = list(self.propagated)  # never what drvload brought: Microsoft KB 2686316
        for path in self.answer.driver_paths("offlineServicing", "PnpCustomizationsNonWinPE"):
            folder = self.letters.find(path)
            if folder is None:
                if not world.believed("FT12"):
                    raise world.Stopped("offlineServicing", f"{path} is not there")
                continue
            below = drivers.packages_below(folder, self.image["version"], subfolders=True)
            packages += [one.path for one in below if one.hardware_ids]
        for path in packages:
            target = store / f"{path.name.lower()}_amd64"
            if not target.exists():
                shutil.copytree(path.parent, target, copy_function=shutil.copyfile)
        panther = root / "Windows/Panther"
        panther.mkdir(parents=True, exist_ok=True)
        (panther / "unattend.xml").write_bytes(without_secrets(self.data))
        (panther / "setupact.log").write_text("stand-in: Setup has applied the image\r\n")
        (panther / "setuperr.log").write_text("")
        self.leave_notes(panther)
        accounts.begin(root, self.answer)
        self.write_boot_files(root)
        stored = sorted(one.name for one in store.iterdir())
        world.say(f"stage=drivers {' '.join(stored)}")
        world.run("busybox", "umount", str(root))
        world.run("busybox", "sync")

    def leave_notes(self, panther: Path) -> None:
        """What the second start goes on from; Windows has its registry for that."""
        notes = {name: self.image[name] for name in ("name", "edition", "display")}
        notes |= {"state": "specialize"}
        notes |= {k: self.image[k] for k in ("index", "installation", "revision")}
        notes["version"] = list(self.image["version"])
        (panther / "standin.json").write_text(json.dumps(notes))

    def write_boot_files(self, root: Path) -> None:
        """As bcdboot does: from C:\\Windows\\Boot to the system partition, or the boot sector."""
        boot = root / "Windows/Boot"
        if not (boot / "EFI").is_dir():
            return  # an image without a boot program: this run ends before its second start
        if not self.uefi:
            # the new Setup writes no MBR boot code: bin456789/reinstall windows-setup.bat:274
            if self.version[2] < NEW_SETUP:
                with open(f"/dev/{self.installed_disk}", "r+b") as stream:
                    stream.write((boot / "PCAT/boot.img").read_bytes()[:440])
                    stream.seek(512)
                    stream.write((boot / "PCAT/core.img").read_bytes())
            return
        for part in world.partitions(self.installed_disk):
            where = Path("/mnt", part)
            where.mkdir(exist_ok=True)
            with open(f"/dev/{part}", "rb") as stream:
                if stream.read(512)[82:87] != b"FAT32":
                    continue
            if world.mount_volume(f"/dev/{part}", where, write=True):
                world.copy_tree(boot / "EFI", where / "EFI/Boot")
                world.run("busybox", "umount", str(where))
                return
        raise world.Stopped("partitions", "no EFI partition to boot from")


def read_images(wim: Path) -> list[dict]:
    """What install.wim says of its images, by wimlib."""
    done = world.subprocess.run(
        ["wimlib-imagex", "info", str(wim), "--xml"], capture_output=True, check=False
    )
    if done.returncode:
        raise world.Stopped("media", f"install.wim cannot be read: {done.stderr[-200:]!r}")
    found = []
    for image in ET.fromstring(done.stdout.decode("utf-16").lstrip("\ufeff")).findall("IMAGE"):
        version = image.find("WINDOWS/VERSION")
        numbers = [int(version.findtext(name) or 0) for name in ("MAJOR", "MINOR", "BUILD")]
        found.append(
            {
                "index": int(image.get("INDEX")),
                "name": image.findtext("NAME") or "",
                "display": image.findtext("DISPLAYNAME") or "",
                "edition": image.findtext("WINDOWS/EDITIONID") or "",
                "installation": image.findtext("WINDOWS/INSTALLATIONTYPE") or "",
                "language": image.findtext("WINDOWS/LANGUAGES/DEFAULT") or "",
                "revision": version.findtext("SPBUILD") or "",
                "version": tuple(numbers),
            }
        )
    return found


def install() -> str:
    """The result of Setup as one line of the log, and what the machine does then."""
    try:
        Setup().run()
    except PoweredOffError as end:
        return f"result=powered-off by={re.sub(r'[^a-z -]', '', str(end)) or 'a command'}"
    except world.Stopped as error:
        return f"result=stopped stage={error.stage} why={error}"
    return "result=installed"
