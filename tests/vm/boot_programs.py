"""Boot programs of the stand-in's discs and disks: shim and GRUB as Debian signs them, SeaBIOS too.

Microsoft's cdboot.efi asks "Press any key to boot from CD or DVD" for five seconds and gives up;
efisys_noprompt.bin holds a loader that does not ask. Here both images hold shim, and the signed
GRUB next to it reads another configuration in each: gcdx64 from its own folder, grubx64 from
/EFI/debian.
"""

import dataclasses
import subprocess
import tempfile
from pathlib import Path

from tests.vm.initramfs import kernel_path, make_archive, pack

SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
SIGNED = Path("/usr/lib/grub/x86_64-efi-signed")
PC = Path("/usr/lib/grub/i386-pc")
IMAGE_SIZE = 8 << 20
CONSOLE = "console=ttyS1 console=tty0 loglevel=2 panic=-1 no_timer_check"

# A key ends the countdown and clears `fallback`; when the time is over it is still there. Giving up
# means the next boot option. A loader that ends well makes OVMF show its own menu instead, so the
# disk, which is the only other option of these VMs, is started from here.
PROMPT = """\
set default=0
set fallback=1
set timeout=5
set timeout_style=menu
menuentry 'Press any key to boot from CD or DVD....' {{
  if [ -n "$fallback" ]; then
    if [ -e (hd0,gpt1)/EFI/Boot/bootx64.efi ]; then
      set root=(hd0,gpt1)
      chainloader /EFI/Boot/bootx64.efi
      boot
    fi
    exit
  fi
{boot}
}}
menuentry 'give up' {{ exit }}
"""
LOAD = """\
  echo 'loading the stand-in'
  linux {folder}/vmlinuz {arguments}
  initrd {folder}/initrd
  boot
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Payload:
    """Kernel and compressed archive, once for all discs of a run."""

    kernel: bytes
    archive: bytes


def make_payload() -> Payload:
    return Payload(kernel=kernel_path().read_bytes(), archive=pack(make_archive()))


def cd_configurations() -> dict[str, bytes]:
    """The files of GRUB on a CD, by their paths there."""
    load = LOAD.format(folder="/standin", arguments=f"{CONSOLE} standin=setup")
    return {
        "efi/boot/grub.cfg": PROMPT.format(boot=load).encode(),
        "efi/debian/grub.cfg": load.encode(),
    }


def efi_image(*, prompts: bool) -> bytes:
    """A FAT image for El Torito, as efisys.bin and efisys_noprompt.bin are."""
    grub = SIGNED / ("gcdx64.efi.signed" if prompts else "grubx64.efi.signed")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        image.write_bytes(bytes(IMAGE_SIZE))
        _mtools("mformat", image, "-v", "EFISYS", "::")
        _mtools("mmd", image, "::/EFI", "::/EFI/BOOT")
        _mtools("mcopy", image, str(SHIM), "::/EFI/BOOT/BOOTX64.EFI")
        _mtools("mcopy", image, str(grub), "::/EFI/BOOT/grubx64.efi")
        return image.read_bytes()


def _mtools(tool: str, image: Path, *arguments: str) -> None:
    subprocess.run([tool, "-i", str(image), *arguments], check=True, capture_output=True)


def bios_cd_image() -> bytes:
    """etfsboot.com: SeaBIOS starts it unasked when the disk is empty, so it never asks."""
    load = LOAD.format(folder="/standin", arguments=f"{CONSOLE} standin=setup")
    text = f"set root=cd\nif [ ! -e /standin/vmlinuz ]; then set root=$cmdpath; fi\n{load}"
    modules = ["biosdisk", "iso9660", "linux", "echo", "test", "minicmd", "boot"]
    return _core("i386-pc-eltorito", text, modules)


def windows_boot_files(payload: Payload) -> dict[str, bytes]:
    """What lies in C:\\Windows\\Boot of an image; Setup copies it as bcdboot does."""
    on_esp = LOAD.format(folder="$cmdpath", arguments=f"{CONSOLE} standin=system")
    on_ntfs = LOAD.format(folder="/Windows/Boot/EFI", arguments=f"{CONSOLE} standin=system")
    search = "search --file --set=root /Windows/Boot/EFI/vmlinuz\n"
    modules = ["biosdisk", "part_msdos", "ntfs", "linux", "echo", "boot"]
    modules += ["search", "search_fs_file"]
    return {
        "EFI/bootx64.efi": SHIM.read_bytes(),
        "EFI/grubx64.efi": (SIGNED / "gcdx64.efi.signed").read_bytes(),
        "EFI/grub.cfg": on_esp.encode(),
        "EFI/vmlinuz": payload.kernel,
        "EFI/initrd": payload.archive,
        "PCAT/boot.img": (PC / "boot.img").read_bytes(),
        "PCAT/core.img": _core("i386-pc", search + on_ntfs, modules),
    }


def _core(kind: str, configuration: str, modules: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        early, image = Path(folder, "early.cfg"), Path(folder, "image")
        early.write_text(configuration)
        command = ["grub-mkimage", "-O", kind, "-o", str(image), "-p", "/boot/grub"]
        command += ["-c", str(early), *modules]
        subprocess.run(command, check=True, capture_output=True)
        return image.read_bytes()
