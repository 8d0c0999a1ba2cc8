"""Synthetic install discs, written by tools of other people's making.

genisoimage (with the command line of virtio-win.spec) and wimlib-imagex; where those are missing,
pycdlib and a WIM of header and XML take their place, so that every test run has discs.
"""

import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pycdlib
import pytest

from tests import media_drivers, media_udf, media_wim

PACKAGES = {
    "genisoimage": "genisoimage",
    "isoinfo": "genisoimage",
    "wimlib-imagex": "wimtools",
    "7z": "p7zip-full",
    "bsdtar": "libarchive-tools",
    "xorriso": "xorriso",
}
LABEL = "SSS_X64FREE_EN-US_DV9"


class MissingTool(Exception):  # noqa: N818 - it is the tool that is missing
    """A tool that a test cannot do without; the text names the Debian package."""


def find_tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"{name} is missing: apt install {PACKAGES.get(name, name)}")
    return found


def need_tool(name: str) -> str:
    """The path of a tool, or a skip that names its Debian package."""
    try:
        return find_tool(name)
    except MissingTool as error:
        pytest.skip(str(error))


def make_disc(target: Path, files: Mapping[str, bytes], options: list[str]) -> Path:
    """A disc of these files by genisoimage, or a skip."""
    need_tool("genisoimage")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        genisoimage(target, Path(folder), options)
    return target


def virtio_tree(
    *, release: str = "0.1.271", drop: Iterable[str] = (), extra: Mapping[str, bytes] | None = None
) -> dict[str, tuple[str, bytes]]:
    """Path -> (name of its content, content) of a virtio-win disc.

    `drop` names folders and files to leave out, in any case; `extra` adds or replaces files.
    """
    build = media_drivers.build_of(release)
    files = media_drivers.driver_files(release)
    aliased = media_drivers.NEW_SYSTEMS if build >= 262 else media_drivers.SYSTEMS
    for path, content in list(files.items()):
        driver, system, arch, name = path.split("/")
        if driver in {"vioscsi", "viostor"} and system in aliased:
            files[f"{arch}/{system}/{name}"] = content
    others = {
        "guest-agent/qemu-ga-i386.msi": 90_000,
        "guest-agent/qemu-ga-x86_64.msi": 100_000,
        "virtio-win-gt-x64.msi": 200_000,
        "virtio-win-gt-x86.msi": 200_000,
        "virtio-win-guest-tools.exe": 300_000,
        "virtio-win_license.txt": 1_500,
        "data/info.json": 900,
        **({"cert/Virtio_Win_Red_Hat_CA.cer": 900} if build >= 221 else {}),
    }
    for path, size in others.items():
        files[path] = (path, media_drivers.random.Random(path).randbytes(size))
    for path, new in (extra or {}).items():
        files[path] = (hashlib.sha256(new).hexdigest(), new)
    gone = tuple(name.strip("/").casefold() for name in drop)
    return {
        path: content
        for path, content in files.items()
        if not any(f"{path.casefold()}/".startswith(f"{name}/") for name in gone)
    }


def make_virtio_iso(
    target: Path,
    *,
    release: str = "0.1.271",
    joliet: bool = False,
    drop: Iterable[str] = (),
    extra: Mapping[str, bytes] | None = None,
    volume_id: str | None = None,
    writer: str | None = None,
) -> Path:
    """A virtio-win disc of the server folders, amd64, with hard links as on the real one.

    `joliet`: Joliet instead of Rock Ridge, as some repackagers do. `writer`: "genisoimage" or
    "pycdlib"; by default the first that is there.
    """
    label = volume_id or f"virtio-win-{release}"
    tree = virtio_tree(release=release, drop=drop, extra=extra)
    if writer == "pycdlib" or (writer is None and shutil.which("genisoimage") is None):
        return _pycdlib_iso(target, tree, label, joliet=joliet)
    names = ["-J", "-joliet-long"] if joliet else ["-r", "-iso-level", "4"]
    options = [*names, "-input-charset", "iso8859-1", "-V", label]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        write_tree(Path(folder), tree)
        genisoimage(target, Path(folder), options)
    return target


def make_windows_iso(
    target: Path,
    *,
    build: int = 20348,
    evaluation: bool = True,
    language: str = "en-US",
    channel: str | None = "Eval",
    install: str = "wim",
    efi: bool = True,
    noprompt: bool = True,
    pid: str | None = None,
    drop: Iterable[str] = (),
    extra: Mapping[str, bytes] | None = None,
    volume_id: str = LABEL,
    writer: str | None = None,
) -> Path:
    """A Server disc: README.TXT in ISO 9660, everything in UDF 1.02, four images.

    `install`: "wim", "esd" or "swm" (four parts; these two need wimlib-imagex).
    `channel`: None leaves ei.cfg out. `pid`: content of pid.txt. `drop`, `extra` as above.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        root = Path(folder)
        _windows_tree(root, build, language, evaluation=evaluation, install=install)
        _write_settings(root, language, channel, pid, noprompt=noprompt)
        for name in drop:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, content in (extra or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        if writer == "pycdlib" or (writer is None and shutil.which("genisoimage") is None):
            return _pycdlib_udf(target, root, volume_id, efi=efi)
        genisoimage(target, root, _udf_options(root, volume_id, efi=efi))
    return target


def _udf_options(root: Path, volume_id: str, *, efi: bool) -> list[str]:
    hidden = [path.name for path in root.iterdir() if path.name != "README.TXT"]
    options = ["-udf", "-iso-level", "3", "-V", volume_id]
    for name in hidden:
        options += ["-hide", name]
    # The short names -b and -e collide with other options of this tool.
    options += ["-eltorito-boot", "boot/etfsboot.com", "-no-emul-boot", "-boot-load-size", "8"]
    if efi:
        options += ["-eltorito-alt-boot", "-efi-boot", "efi/microsoft/boot/efisys.bin"]
        options += ["-no-emul-boot"]
    # The install image comes last, so that it can be made to grow.
    weights = root.parent / f"{root.name}.sort"
    weights.write_text(f"{root}/sources/install.wim -1000\n")
    return [*options, "-sort", str(weights)]


def _windows_tree(root: Path, build: int, language: str, *, evaluation: bool, install: str) -> None:
    for name in ("sources", "boot", "efi/microsoft/boot", "efi/boot", "support"):
        (root / name).mkdir(parents=True)
    (root / "README.TXT").write_text('This disc contains a "UDF" file system.\r\n')
    images = media_wim.server_images(build, evaluation=evaluation, language=language)
    sources = root / "sources"
    if install == "swm":
        media_wim.write_wim(sources / "install.wim", images, size=700_000)
        media_wim.split_wim(sources / "install.wim", sources / "install.swm")
        (sources / "install.wim").unlink()
    else:
        media_wim.write_wim(sources / f"install.{install}", images, solid=install == "esd")
    media_wim.write_wim(sources / "boot.wim", media_wim.boot_images(build, language), boot=2)
    binaries = {
        "bootmgr": 40_000,
        "bootmgr.efi": 50_000,
        "setup.exe": 20_000,
        "sources/setup.exe": 30_000,
        "boot/etfsboot.com": 4_096,
        "boot/boot.sdi": 30_000,
        "boot/bcd": 16_384,
        "boot/bootfix.bin": 1_024,
        "efi/boot/bootx64.efi": 60_000,
        "efi/microsoft/boot/bcd": 16_384,
    }
    for name, size in binaries.items():
        (root / name).write_bytes(media_drivers.random.Random(name).randbytes(size))
    (root / "efi/microsoft/boot/efisys.bin").write_bytes(floppy("efisys.bin"))


def _write_settings(
    root: Path, language: str, channel: str | None, pid: str | None, *, noprompt: bool
) -> None:
    sources = root / "sources"
    lines = ["", "[Available UI Languages]", f"{language} = 3", "", "[Fallback Languages]",
             f"{language} = en-us", ""]  # fmt: skip
    (sources / "lang.ini").write_bytes("\r\n".join(lines).encode())
    if channel is not None:
        volume = "1" if channel == "Volume" else "0"
        lines = ["[EditionID]", "", "[Channel]", channel, "[VL]", volume, ""]
        (sources / "ei.cfg").write_bytes("\r\n".join(lines).encode())
    if pid is not None:
        (sources / "pid.txt").write_bytes(f"[PID]\r\nValue={pid}\r\n".encode())
    if noprompt:
        image = root / "efi/microsoft/boot/efisys_noprompt.bin"
        image.write_bytes(floppy("noprompt"))


def floppy(seed: str, *, sectors: int = 2880) -> bytes:
    """A boot image: the boot sector of a FAT12 floppy disk (Microsoft's FAT specification 3.1)."""
    content = bytearray(media_drivers.random.Random(seed).randbytes(sectors * 512))
    content[:3] = b"\xeb\x3c\x90"
    content[3:11] = b"MSDOS5.0"
    content[11:28] = struct.pack("<HBHBHHBHHH", 512, 1, 1, 2, 224, sectors, 0xF0, 9, 18, 2)
    content[28:36] = bytes(8)
    content[510:512] = b"\x55\xaa"
    return bytes(content)


def write_tree(root: Path, tree: Mapping[str, tuple[str, bytes]]) -> None:
    """Files below a folder; equal contents become hard links, as the upstream archive has them."""
    first: dict[str, Path] = {}
    for name, (key, content) in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if key in first:
            os.link(first[key], path)
        else:
            path.write_bytes(content)
            first[key] = path


def genisoimage(target: Path, root: Path, options: list[str]) -> None:
    """Run the tool; its own words are the error."""
    command = [find_tool("genisoimage"), "-quiet", *options, "-o", str(target), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for weights in root.parent.glob(f"{root.name}.sort"):
        weights.unlink()
    if done.returncode:
        raise RuntimeError(done.stderr)


def _pycdlib_iso(
    target: Path, tree: Mapping[str, tuple[str, bytes]], label: str, *, joliet: bool
) -> Path:
    disc = pycdlib.PyCdlib()
    disc.new(
        interchange_level=3 if joliet else 4,
        vol_ident=label[: 16 if joliet else 32],
        joliet=3 if joliet else None,
        rock_ridge=None if joliet else "1.09",
    )
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        root = Path(folder)
        write_tree(root, tree)
        short = _short_names(tree) if joliet else {}
        folders = {parent for name in tree for parent in Path(name).parents if parent.name}
        for path in sorted(folders, key=lambda path: len(path.parts)):
            iso = "/" + (short[str(path)] if joliet else str(path))
            names = {"joliet_path": f"/{path}"} if joliet else {"rr_name": path.name}
            disc.add_directory(iso, **names)
        first: dict[str, str] = {}
        for name, (key, _) in tree.items():
            iso = "/" + (short[name] if joliet else name)
            rock_ridge = {} if joliet else {"rr_name": Path(name).name}
            if key in first:
                disc.add_hard_link(iso_old_path=first[key], iso_new_path=iso, **rock_ridge)
            else:
                disc.add_file(str(root / name), iso, **rock_ridge)
            first.setdefault(key, iso)
            if joliet:
                disc.add_hard_link(iso_old_path=iso, joliet_new_path=f"/{name}")
        disc.write(str(target))
    disc.close()
    return target


def _short_names(tree: Mapping[str, tuple[str, bytes]]) -> dict[str, str]:
    """Level 3 names: the path with each part numbered."""
    short: dict[str, str] = {}
    for name in tree:
        for path in (*reversed(Path(name).parents), Path(name)):
            if path.name and str(path) not in short:
                parent = short.get(str(path.parent), "")
                number = f"N{len(short):06}" + (".X;1" if str(path) == name else "")
                short[str(path)] = f"{parent}/{number}".strip("/")
    return short


def _pycdlib_udf(target: Path, root: Path, label: str, *, efi: bool) -> Path:
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=3, vol_ident=label[:32], udf="2.60")
    for path in sorted(root.rglob("*")):
        udf = "/" + str(path.relative_to(root))
        if path.is_dir():
            disc.add_directory(udf_path=udf)
        elif path.name == "README.TXT":
            disc.add_file(str(path), "/README.TXT;1", udf_path=udf)
        else:
            disc.add_file(str(path), udf_path=udf)
    # El Torito needs its images in ISO 9660 with this library.
    for number, name in enumerate(["boot/etfsboot.com", *_efi_images(efi=efi)]):
        disc.add_file(str(root / name), f"/BOOT{number}.BIN;1")
        platform = 0xEF if number else 0
        options = {"efi": True, "platform_id": platform} if number else {"boot_load_size": 8}
        disc.add_eltorito(f"/BOOT{number}.BIN;1", "/BOOT.CAT;1", **options)
    disc.write(str(target))
    disc.close()
    return target


def _efi_images(*, efi: bool) -> list[str]:
    return ["efi/microsoft/boot/efisys.bin"] if efi else []


def make_large_windows_iso(
    target: Path, *, build: int = 26100, size: int = 4_700_000_000, language: str = "en-US"
) -> Path:
    """A Server disc whose install.wim has `size` bytes, sparse on disk. Needs genisoimage."""
    images = media_wim.server_images(build, evaluation=False, language=language)
    xml = media_wim.wim_xml(images)
    header = media_wim.wim_header(xml_offset=size - len(xml), xml_size=len(xml), count=len(images))
    placeholder = bytes(4_097)
    make_windows_iso(
        target,
        build=build,
        language=language,
        channel=None,
        extra={"sources/install.wim": placeholder},
        writer="genisoimage",
    )
    media_udf.grow_install(target, len(placeholder), size, tail=xml, head=header)
    return target
