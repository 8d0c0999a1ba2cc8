"""Discs -> facts of a rehearsal. Reads; judges nothing.

Windows shows a disc by its UDF names, else by Joliet, else by ISO 9660 (or its 1999 edition); Rock
Ridge names are not for it. That it reads the 1999 edition is belief (FT23).
"""

import dataclasses
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from builder.answer.document import BYTE_LIMIT, Broken
from builder.devices import PciId
from builder.drivers import ARCH, known_drivers
from builder.errors import WinseedError
from builder.media.catalog import Signer
from builder.media.image import SECTOR, DiscFile, DiscImage, Namespace, inspect_image
from builder.media.inf import Inf, load_inf
from builder.media.kinds import looks_like_virtio, looks_like_windows
from builder.media.package import inspect_packages
from builder.media.virtio import DriverFolder, inspect_virtio
from builder.media.windows import WindowsMedia, inspect_windows
from builder.rehearsal.answer_file import load_answer_file
from builder.rehearsal.discovery import CUT_NAMES, IN_SOURCES, NAME
from builder.rehearsal.facts import WINPE_DRIVER, DiscDriver, DiscFacts, DiscKind, fold_path
from builder.rehearsal.ways import DRVLOAD, ON_LETTER, VARIABLE

SCRIPT_LIMIT = 1 << 18
MOST_SCRIPTS = 200
MOST_SIGNED = 80  # packages whose catalog is checked; a path of a whole disc names hundreds
VOLUME_DESCRIPTORS = range(16, 48)
UDF_MARK = b"NSR"  # ECMA-167 3/9.1
JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")
Read = Callable[[int, int], bytes]
OWN_DRIVERS = "drivers"  # where winseed's own medium carries packages


def inspect_disc_facts(path: Path) -> tuple[DiscImage, DiscFacts]:
    """A disc without its drivers, which `with_drivers` adds; WinseedError (MEDIA) if it is none."""
    image = inspect_image(path)
    if looks_like_windows(image):
        return image, windows_facts(image, inspect_windows(image))
    shown = _shown_names(image)
    answers = _answers(image, shown)
    kind = DiscKind.OTHER
    if looks_like_virtio(image):
        kind = DiscKind.VIRTIO
    elif answers or any(name in shown for name in CUT_NAMES):
        kind = DiscKind.ANSWER
    facts = DiscFacts(
        name=path.name,
        kind=kind,
        files=frozenset(image.files),
        shown=shown,
        answers=answers,
        scripts=_scripts(image) if kind is not DiscKind.VIRTIO else {},
        release=_virtio_release(image) if kind is DiscKind.VIRTIO else "",
    )
    return image, facts


def _virtio_release(image: DiscImage) -> str:
    try:
        return inspect_virtio(image).release or ""
    except WinseedError:
        return ""  # repacked: its folders are not where virtio-win has them


def windows_facts(image: DiscImage, media: WindowsMedia) -> DiscFacts:
    """A Windows disc: what boots from it, and whether that asks for a key."""
    shown = _shown_names(image)
    return DiscFacts(
        name=image.path.name,
        kind=DiscKind.WINDOWS,
        files=frozenset(image.files),
        shown=shown,
        answers=_answers(image, shown),
        windows=media,
        boots=frozenset(boot.platform for boot in image.boot_images),
        prompts=_prompts(image),
    )


def _prompts(image: DiscImage) -> bool | None:
    """Which of the two EFI images the boot catalog points at; None when at neither."""
    places = {boot.lba * SECTOR for boot in image.boot_images if boot.platform == "efi"}
    for name, prompts in (("efisys.bin", True), ("efisys_noprompt.bin", False)):
        file = image.find(f"efi/microsoft/boot/{name}")
        if file and file.extents and file.extents[0].offset in places:
            return prompts
    return None


def _answers(image: DiscImage, shown: frozenset[str]) -> dict[str, bytes]:
    found = {}
    for name in (NAME, IN_SOURCES):
        file = image.find(name)
        if file is not None and (name != NAME or name in shown):
            found[name] = image.read(file, 0, BYTE_LIMIT + 1)
    return found


def _scripts(image: DiscImage) -> dict[str, str]:
    names = [name for name in image.files if name.endswith((".cmd", ".bat"))]
    return {
        name: image.read(image.files[name], 0, SCRIPT_LIMIT).decode("utf-8", "replace")
        for name in sorted(names)[:MOST_SCRIPTS]
    }


def _shown_names(image: DiscImage) -> frozenset[str]:
    """The names in the root as Windows shows them, case-folded."""
    if image.namespace in {Namespace.UDF, Namespace.JOLIET}:
        return frozenset(name.partition("/")[0] for name in image.files)
    try:
        with image.path.open("rb") as stream:

            def read(lba: int, size: int) -> bytes:
                stream.seek(lba * SECTOR)
                return stream.read(size)

            if not any(read(lba, 6)[1:4] == UDF_MARK for lba in VOLUME_DESCRIPTORS):
                return _raw_root(read)
    except (OSError, struct.error, IndexError):
        pass  # the tables were sound a moment ago; the names that were read are the next best
    return frozenset(name.partition("/")[0] for name in image.files)


def _raw_root(read: Read) -> frozenset[str]:
    """The root of the tree that Windows prefers (ECMA-119 8.4, 8.5, 9.1; Joliet 4.2)."""
    chosen, rank, wide = b"", -1, False
    for lba in VOLUME_DESCRIPTORS:
        descriptor = read(lba, SECTOR)
        kind = descriptor[0]
        if kind == 255 or descriptor[1:6] != b"CD001":
            break
        joliet = kind == 2 and descriptor[88:91] in JOLIET_ESCAPES
        found = {1: 0, 2: 2 if joliet else 1}.get(kind, -1)
        if found > rank:
            chosen, rank, wide = descriptor, found, joliet
    lba, size = struct.unpack_from("<L", chosen, 158)[0], struct.unpack_from("<L", chosen, 166)[0]
    return frozenset(_names(read(lba, min(size, 1 << 20)), wide=wide))


def _names(records: bytes, *, wide: bool) -> Iterable[str]:
    at = 0
    while at < len(records):
        length = records[at]
        if length == 0:  # a record does not cross a sector
            at = (at // SECTOR + 1) * SECTOR
            continue
        raw = records[at + 33 : at + 33 + records[at + 32]]
        if raw not in {b"\0", b"\1"}:
            text = raw.decode("utf-16-be" if wide else "latin-1", "replace")
            yield text.partition(";")[0].rstrip(".").casefold()
        at += length


def with_drivers(
    discs: Iterable[tuple[DiscImage, DiscFacts]],
    answer: bytes | None,
    *,
    signers: dict[str, Signer] | None = None,
) -> tuple[DiscFacts, ...]:
    """The discs with the packages that the answer file, its scripts and `$WinPEDriver$` name.

    `signers` by driver name are taken as known; without them each catalog is held against its
    files. An INF that cannot be read is left out.
    """
    pairs = tuple(discs)
    folders = {WINPE_DRIVER, OWN_DRIVERS} | _named_folders(answer, [facts for _, facts in pairs])
    return tuple(
        dataclasses.replace(facts, drivers=tuple(_drivers(image, folders, signers)))
        for image, facts in pairs
    )


def _named_folders(answer: bytes | None, discs: Iterable[DiscFacts]) -> set[str]:
    loaded = load_answer_file(answer) if answer is not None else None
    if loaded is None or isinstance(loaded, Broken):
        return set()
    paths = (*loaded.winpe_paths, *loaded.offline_paths)
    folders = {fold_path(found[2]) for path in paths if (found := ON_LETTER.fullmatch(path))}
    texts = [one.text for one in loaded.commands]
    texts += [text for disc in discs for text in disc.scripts.values()]
    for text in texts:
        for operand in DRVLOAD.findall(text):
            folders.add(fold_path(VARIABLE.sub("", operand)).rpartition("/")[0])
    return folders


def _drivers(
    image: DiscImage, folders: set[str], signers: dict[str, Signer] | None
) -> Iterable[DiscDriver]:
    by_folder: dict[str, list[DiscFile]] = {}
    for name, file in image.files.items():
        by_folder.setdefault(name.rpartition("/")[0], []).append(file)
    wanted = [
        folder
        for folder, files in by_folder.items()
        if any(file.path.casefold().endswith(".inf") for file in files)
        and any(folder == one or folder.startswith(f"{one}/") or not one for one in folders)
    ]
    seen: dict[tuple[object, ...], tuple[DiscDriver, ...]] = {}
    for folder in wanted:
        files = by_folder[folder]
        same = tuple(file.extents for file in files)
        if same not in seen:
            signed = signers is None and len(wanted) <= MOST_SIGNED
            seen[same] = tuple(_package(image, folder, files, signers, signed=signed))
        for one in seen[same]:
            name = one.path.rpartition("/")[2]
            yield dataclasses.replace(one, path=f"{folder}/{name}".lstrip("/"))


def _package(
    image: DiscImage,
    folder: str,
    files: list[DiscFile],
    signers: dict[str, Signer] | None,
    *,
    signed: bool,
) -> Iterable[DiscDriver]:
    try:
        if signed:
            place = DriverFolder(driver="", os="", arch=ARCH, path=folder, files=tuple(files))
            for package in inspect_packages(image, place):
                yield _driver(package.inf, package.check.signer, package.missing)
            return
        for file in files:
            if file.path.casefold().endswith(".inf"):
                inf = load_inf(image.read(file), name=file.path.rpartition("/")[2])
                driver = _driver(inf, None, ())
                signer = (signers or {}).get(driver.driver)
                yield dataclasses.replace(driver, signer=signer)
    except WinseedError:
        return  # a broken package serves nobody; `winseed inspect` says what is wrong with it


def _driver(inf: Inf, signer: Signer | None, missing: tuple[str, ...]) -> DiscDriver:
    ids = frozenset(inf.hardware_ids(ARCH))
    return DiscDriver(
        path=inf.name.casefold(),
        driver=_driver_name(ids, inf.name),
        ids=ids,
        version=inf.driver_version,
        inf=inf,
        signer=signer,
        missing=missing,
    )


def _driver_name(ids: frozenset[str], inf: str) -> str:
    """The catalog's name of the driver with these ids, else that of its INF."""
    for driver in known_drivers():
        if any(plain_ids(pci) & ids for pci in driver.pci):
            return driver.name
    return inf.rpartition(".")[0]


def plain_ids(pci: str) -> frozenset[str]:
    """The hardware ids of a `vendor:device` without subsystem."""
    return frozenset(PciId(device=pci, subsystem="", revision="").hardware_ids)
