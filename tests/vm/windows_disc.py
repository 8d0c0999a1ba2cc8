"""A Windows disc that boots: laid out as Microsoft's, with the stand-in as its Setup.

README.TXT alone in the ISO 9660 stub (and what GRUB reads, which knows no UDF), everything in UDF;
El Torito with a BIOS image and efisys.bin; install.wim of four images by wimlib.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests import media, media_wim
from tests.vm import boot_programs
from tests.vm.boot_programs import Payload

CHANNELS = {"eval": "Eval", "volume": "Volume", "retail": "Retail"}
FOR_GRUB = ("standin", "efi/boot", "efi/debian")  # what stays visible in ISO 9660


def make_bootable_windows_iso(
    target: Path,
    payload: Payload,
    *,
    build: int = 20348,
    channel: str = "volume",
    language: str = "en-US",
    prompts: bool = True,
) -> Path:
    """`prompts` False: the boot catalog points at efisys_noprompt.bin, as a patched one does."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        root = Path(folder)
        evaluation = channel == "eval"
        media._windows_tree(root, build, language, evaluation=evaluation, install="wim")
        media._write_settings(root, language, CHANNELS[channel], None, noprompt=True)
        images = media_wim.server_images(build, evaluation=evaluation, language=language)
        write_install_wim(root / "sources/install.wim", images, payload)
        files = boot_programs.cd_configurations()
        files |= {
            "standin/vmlinuz": payload.kernel,
            "standin/initrd": payload.archive,
            "boot/etfsboot.com": boot_programs.bios_cd_image(),
            "efi/microsoft/boot/efisys.bin": boot_programs.efi_image(prompts=True),
            "efi/microsoft/boot/efisys_noprompt.bin": boot_programs.efi_image(prompts=False),
            "efi/boot/bootx64.efi": boot_programs.SHIM.read_bytes(),
        }
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        media.genisoimage(target, root, _options(root, prompts=prompts))
    return target


def _options(root: Path, *, prompts: bool) -> list[str]:
    options = ["-udf", "-iso-level", "3", "-V", media.LABEL]
    for path in sorted(root.iterdir()):
        if path.name not in {"README.TXT", "efi", "standin", "boot"}:
            options += ["-hide", path.name]
    options += ["-hide", "microsoft", "-hide", "bcd", "-hide", "boot.sdi", "-hide", "bootfix.bin"]
    options += ["-eltorito-boot", "boot/etfsboot.com", "-no-emul-boot", "-boot-load-size", "4"]
    options += ["-boot-info-table", "-eltorito-alt-boot"]
    name = "efisys.bin" if prompts else "efisys_noprompt.bin"
    return [*options, "-efi-boot", f"efi/microsoft/boot/{name}", "-no-emul-boot"]


def write_install_wim(
    target: Path, images: list[media_wim.Image], payload: Payload, *, size: int = 300_000
) -> None:
    """Four images that share the boot files; each has a file of its own besides."""
    target.unlink(missing_ok=True)
    source = target.parent / ".image"
    for name, content in boot_programs.windows_boot_files(payload).items():
        path = source / "Windows/Boot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (source / "Windows/System32/config").mkdir(parents=True)
    for hive in ("SYSTEM", "SOFTWARE"):
        (source / "Windows/System32/config" / hive).write_bytes(b"regf" + bytes(4092))
    for index, image in enumerate(images, 1):
        own = source / f"image{index}.bin"
        own.write_bytes(media.media_drivers.random.Random(f"{target.name}{index}").randbytes(size))
        verb = ["capture", source, target, image.name, image.name, "--compress=none"]
        if index > 1:
            verb = ["append", source, target, image.name, image.name]
        settings = [f"--image-property={key}={value}" for key, value in image.properties.items()]
        command = ["wimlib-imagex", *verb, "--no-acls", *settings]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        own.unlink()
    shutil.rmtree(source)
