"""What the boot proof needs of Debian, and a skip that names what is missing."""

import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "swtpm": "swtpm",
    "swtpm_setup": "swtpm-tools",
    "ntfs-3g": "ntfs-3g",
    "mkntfs": "ntfs-3g",
    "sgdisk": "gdisk",
    "sfdisk": "fdisk",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "qemu-ga": "qemu-guest-agent",
    "wimlib-imagex": "wimtools",
    "genisoimage": "genisoimage",
    "grub-mkimage": "grub-common",
}
FILES = {
    "/boot/vmlinuz-*-amd64": "linux-image-amd64",
    "/bin/busybox": "busybox-static",
    "/usr/bin/python3": "python3",
    "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd": "ovmf",
    "/usr/lib/shim/shimx64.efi.signed": "shim-signed",
    "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed": "grub-efi-amd64-signed",
    "/usr/lib/grub/i386-pc/boot.img": "grub-pc-bin",
}
PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"


class Missing(Exception):  # noqa: N818 - a package is missing
    """A tool that is not there; the text names the Debian package."""

    def __init__(self, name: str, package: str | None = None) -> None:
        super().__init__(f"{name} is missing: apt install {package or PACKAGES.get(name, name)}")


def missing_packages() -> list[str]:
    """The Debian packages that are not installed, each once."""
    found = [package for name, package in PACKAGES.items() if not shutil.which(name, path=PLACES)]
    for pattern, package in FILES.items():
        if not list(Path("/").glob(pattern[1:])):
            found.append(package)
    return sorted(set(found))


def need_packages() -> None:
    """A skip that names every missing package."""
    missing = missing_packages()
    if missing:
        pytest.skip(f"missing for the boot proof: apt install {' '.join(missing)}")
