"""Full-size install discs for the bench, built once into a cache folder.

The virtio-win disc has every name of 0.1.285 (drivers/layouts), sized random data and the
upstream command line; the Windows disc a real install.wim of more than 4.6 GB. Run as
`python -m tests.bench.media virtio|windows TARGET`: building takes memory that must not count for
the processes the bench measures.
"""

import functools
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "0.1.285"
VIRTIO_BYTES = 789_645_312  # the published size of virtio-win-0.1.285.iso
WIM_BYTES = 4_720_000_000
BOOT_BYTES = 550_000_000
WIM_FILE = 40_000_000  # bytes of one file in an image
BUILD = 20348
CHUNK = 1 << 24

# Bytes, of the 0.1.240 w10/amd64 folders; those of the installers are guesses that make the
# answer ISO one of 12 MB.
SIZES = {
    "netkvmco.exe": 780_000,
    "netkvmp.exe": 220_000,
    "blnsvr.exe": 181_000,
    "virtiofs.exe": 226_000,
    "viorngum.dll": 115_000,
    "vgpusrv.exe": 190_000,
    "viogpuap.exe": 196_000,
    "netkvm.sys": 182_000,
    "viofs.sys": 60_000,
    "qemu-ga-x86_64.msi": 10_900_000,
    "qemu-ga-i386.msi": 9_100_000,
    "virtio-win-gt-x64.msi": 7_000_000,
    "virtio-win-gt-x86.msi": 6_800_000,
    "virtio-win-guest-tools.exe": 30_000_000,
}
KINDS = {".sys": 70_000, ".cat": 12_000, ".dll": 130_000, ".exe": 150_000, ".inf": 6_000}
COINSTALLER = 1_720_000
OTHER = 2_000
SYMBOLS = ".pdb"


def symbol_weight(name: str) -> int:
    """How much of the rest of the disc a .pdb takes: those of the C++ tools are the big ones."""
    tools = ("blnsvr", "netkvmco", "netkvmp", "virtiofs", "vgpusrv", "viogpuap", "viosock", "vst")
    return 6 if name.startswith(tools) else 1


def layout() -> dict:
    return json.loads((ROOT / "drivers" / "layouts" / f"{RELEASE}.json").read_text())


def named_files() -> Iterator[tuple[str, tuple[str, str]]]:
    """Path -> key of its content: the build it comes from and its name."""
    table = layout()
    origin = table["built_from"]
    for folder, names in table["folders"].items():
        driver = folder.partition("/")[0]
        for name in names:  # qemupciserial has one INF and catalog for all builds
            yield f"{folder}/{name}", (origin.get(folder, driver), name)
    for folder, names in table["alias_trees"].items():
        tree, os_name = folder.split("/")
        arch = {"amd64": "amd64", "i386": "x86"}[tree]
        for name in names:
            same = f"{name.partition('.')[0]}/{os_name}/{arch}"
            yield f"{folder}/{name}", (origin[same], name)
    for name in table["guest_agent"]:
        yield f"guest-agent/{name}", ("", name)
    for name in table["top"]:
        yield name, ("", name)
    for folder, names in table["other_dirs"].items():
        for name in names:
            yield f"{folder}/{name}", (folder, name)


def write_virtio_tree(root: Path) -> None:
    """Every file of the release; equal (build, name) pairs are hard links, as upstream has them."""
    files = dict(named_files())
    contents = driver_contents(files)
    sizes = content_sizes(set(files.values()), contents)
    first: dict[tuple[str, str], Path] = {}
    for name, key in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if key in first:
            os.link(first[key], path)
        elif key in contents:
            path.write_bytes(contents[key])
        else:
            write_random(path, sizes[key], seed="/".join(key))
        first.setdefault(key, path)


def content_sizes(keys: set[tuple[str, str]], fixed: dict) -> dict[tuple[str, str], int]:
    """The .pdb files share what the others leave of the disc."""
    sizes = {}
    for key in keys:
        name = key[1]
        kind = COINSTALLER if name.startswith("Wdf") else KINDS.get(Path(name).suffix, OTHER)
        sizes[key] = len(fixed[key]) if key in fixed else SIZES.get(name, kind)
    symbols = {key: symbol_weight(key[1]) for key in keys if key[1].endswith(SYMBOLS)}
    left = VIRTIO_BYTES - sum(size for key, size in sizes.items() if key not in symbols)
    unit = left // sum(symbols.values())
    return sizes | {key: weight * unit for key, weight in symbols.items()}


def driver_contents(files: dict[str, tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """INFs, PE files and catalogs of the 64-bit Windows 10 and 11 builds, which the rows read."""
    from tests import catalogs, media_drivers

    signer, authority = identities()
    contents: dict[tuple[str, str], bytes] = {}
    for package in media_drivers.PACKAGES:
        for build in ("Win10", "Win11"):
            source = f"{build}/amd64"
            listed = [*package.listed, *(["netkvmp.exe"] if package.driver == "NetKVM" else [])]
            folder = f"{package.driver}/{'2k22' if build == 'Win10' else '2k25'}/amd64"
            if files.get(f"{folder}/{package.stem}.inf", ("",))[0] != source:
                continue
            inf = media_drivers.inf_text(package, build, 285, tuple(listed))
            contents[source, f"{package.stem}.inf"] = inf
            images = {name: program(source, name) for name in (*listed, *package.extra)}
            images = {name: pe for name, pe in images.items() if f"{folder}/{name}" in files}
            contents |= {(source, name): pe.data for name, pe in images.items()}
            members = [
                catalogs.member(pe.digest("sha256"), name)
                for name, pe in images.items()
                if name in listed
            ]
            members.append(
                catalogs.member(hashlib.sha256(inf).digest(), f"{package.stem}.inf", flat=True)
            )
            attributes = [("OS", "_v100_X64"), ("HWID1", package.ids[0].lower())]
            listing = catalogs.trust_list(*sorted(members), attributes=attributes)
            catalog = catalogs.make_catalog(listing, signer=signer, chain=[authority])
            contents[source, f"{package.stem}.cat"] = catalog
    return contents


@functools.cache
def identities():
    """A signer and its authority, RSA as Microsoft's, thrown away after the build."""
    from tests import catalogs

    usages = (catalogs.WHQL_EKU, catalogs.ATTESTATION_EKU, catalogs.CODE_EKU)
    authority = catalogs.make_identity("winseed bench authority", authority=True, kind="rsa")
    signer = catalogs.make_identity(
        "winseed bench signer", issuer=authority, eku=usages, kind="rsa"
    )
    return signer, authority


@functools.cache
def program(source: str, name: str):
    """A PE file of the size `name` has."""
    from tests import catalogs

    size = SIZES.get(name, KINDS.get(Path(name).suffix, OTHER))
    body = random.Random(f"{source}/{name}").randbytes((size - 512) & ~7)
    return catalogs.make_pe(body)


def write_random(path: Path, size: int, *, seed: str) -> None:
    source = random.Random(seed)
    with path.open("wb") as file:
        for at in range(0, size, CHUNK):
            file.write(source.randbytes(min(CHUNK, size - at)))


def make_virtio_disc(target: Path) -> None:
    """About 790 MB and 1,674 files, by the mkisofs line of virtio-win.spec."""
    from tests import media

    options = ["-r", "-iso-level", "4", "-input-charset", "iso8859-1"]
    with scratch(target) as folder:
        root = Path(folder, "tree")
        write_virtio_tree(root)
        draft = Path(folder, "draft.iso")
        media.genisoimage(draft, root, [*options, "-V", f"virtio-win-{RELEASE}"])
        draft.replace(target)


def make_windows_disc(target: Path) -> None:
    """Over 5 GB: README.TXT in ISO 9660, the rest in UDF 1.02, four images in install.wim."""
    from tests import media, media_wim

    with scratch(target) as folder:
        root = Path(folder, "tree")
        root.mkdir()
        # The small disc's tree and options; only the two image files grow.
        media._windows_tree(root, BUILD, "en-US", evaluation=True, install="wim")
        media._write_settings(root, "en-US", "Eval", None, noprompt=True)
        sources = root / "sources"
        images = media_wim.server_images(BUILD, evaluation=True, language="en-US")
        write_wim(sources / "install.wim", images, WIM_BYTES)
        write_wim(sources / "boot.wim", media_wim.boot_images(BUILD, "en-US"), BOOT_BYTES)
        draft = Path(folder, "draft.iso")
        options = [*media._udf_options(root, media.LABEL, efi=True), "-allow-limited-size"]
        media.genisoimage(draft, root, options)
        draft.replace(target)


def write_wim(target: Path, images: list, size: int) -> None:
    """By wimlib-imagex; the images share nothing and have about `size` bytes together."""
    target.unlink(missing_ok=True)
    share = size // len(images)
    for index, image in enumerate(images):
        with tempfile.TemporaryDirectory(dir=target.parents[2]) as folder:
            for number, at in enumerate(range(0, share, WIM_FILE)):
                path = Path(folder, f"file{number:04}.bin")
                write_random(path, min(WIM_FILE, share - at), seed=f"{target.name}{index}{number}")
            verb = ["append"] if index else ["capture", "--compress=none"]
            settings = [f"--image-property={key}={text}" for key, text in image.properties.items()]
            command = ["wimlib-imagex", verb[0], folder, target, image.name, image.name, *verb[1:]]
            quiet = subprocess.DEVNULL
            subprocess.run([*command, "--no-acls", *settings], check=True, stdout=quiet)


def scratch(target: Path) -> tempfile.TemporaryDirectory:
    """A folder beside the target, gone afterwards."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.stem}.*.tmp"):
        shutil.rmtree(left)  # of a run that was killed
    return tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.", suffix=".tmp")


if __name__ == "__main__":
    {"virtio": make_virtio_disc, "windows": make_windows_disc}[sys.argv[1]](Path(sys.argv[2]))
