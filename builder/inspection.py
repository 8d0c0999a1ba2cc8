"""`winseed inspect`: the facts of one disc, as JSON values and as text.

Reads and reports; whether the disc suits a host is decided in `plan/`.
"""

import dataclasses
import enum
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from builder.errors import WinseedError
from builder.manifest import PATH as MANIFEST
from builder.manifest import Manifest, load_manifest
from builder.media.image import DiscImage, inspect_image
from builder.media.kinds import looks_like_virtio, looks_like_windows
from builder.media.windows import WindowsMedia, inspect_windows
from builder.record import record
from builder.releases import release_of_build

if TYPE_CHECKING:
    from builder.media.package import Package
    from builder.media.virtio import VirtioMedia

Document = dict[str, Any]


@record
class WindowsDisc:
    """A Windows installation disc."""

    image: DiscImage
    media: WindowsMedia


@record
class VirtioDisc:
    """A virtio-win disc. `packages` of the server folders; `broken` are (folder, what)."""

    image: DiscImage
    media: "VirtioMedia"
    packages: "tuple[Package, ...]"
    broken: tuple[tuple[str, str], ...]


@record
class AnswerDisc:
    """An answer ISO of winseed."""

    image: DiscImage
    manifest: Manifest


@record
class OtherDisc:
    """Any other disc; `has_answer_file` tells a foreign answer ISO."""

    image: DiscImage
    has_answer_file: bool


Disc = WindowsDisc | VirtioDisc | AnswerDisc | OtherDisc


def inspect_disc(path: Path) -> Disc:
    """Find out what kind of disc lies at `path`; WinseedError (MEDIA) when it is none."""
    image = inspect_image(path)
    if looks_like_windows(image):
        return WindowsDisc(image=image, media=inspect_windows(image))
    if looks_like_virtio(image):
        return _inspect_virtio(image)
    manifest = image.find(MANIFEST)
    if manifest is not None:
        data = image.read(manifest)
        return AnswerDisc(image=image, manifest=load_manifest(data, name=f"{MANIFEST} of {path}"))
    return OtherDisc(image=image, has_answer_file=image.find("autounattend.xml") is not None)


def disc_document(disc: Disc) -> Document:
    """The facts as JSON values."""
    image = disc.image
    common: Document = {
        "path": str(image.path),
        "size": image.size,
        "volume_id": image.volume_id,
        "namespace": image.namespace.value,
        "files": len(image.files),
        "boot_images": [dataclasses.asdict(boot) for boot in image.boot_images],
    }
    match disc:
        case WindowsDisc(media=media):
            facts: Document = _values(media)
            return common | {"kind": "windows"} | facts
        case VirtioDisc(media=media):
            return common | {
                "kind": "virtio-win",
                "release": media.release,
                "family": media.family.value,
                "folders": [folder.path for folder in media.folders],
                "guest_agents": sorted(media.guest_agents),
                "packages": [_package_document(package) for package in disc.packages],
                "broken": [{"folder": folder, "what": what} for folder, what in disc.broken],
            }
        case AnswerDisc(manifest=manifest):
            return common | {
                "kind": "answer",
                "host": manifest.host,
                "fingerprint": manifest.fingerprint,
                "winseed": manifest.winseed,
                "plan": manifest.plan,
            }
        case OtherDisc():
            return common | {"kind": "other", "answer_file": disc.has_answer_file}
        case _:
            assert_never(disc)


def disc_lines(disc: Disc) -> list[str]:
    """The facts as text."""
    image = disc.image
    head = f"{image.path}: {{}}, volume id {image.volume_id!r}, {image.size / 1e6:.1f} MB"
    match disc:
        case WindowsDisc(media=media):
            return [head.format("Windows"), *_windows_lines(media)]
        case VirtioDisc():
            return [head.format("virtio-win"), *_virtio_lines(disc)]
        case AnswerDisc(manifest=manifest):
            return [
                head.format("answer ISO of winseed"),
                f"  host {manifest.host}, build {manifest.fingerprint}, winseed {manifest.winseed}",
                *(f"  {size:>9}  {path}" for path, size, _sha256 in manifest.files),
            ]
        case OtherDisc():
            kind = "a foreign answer ISO" if disc.has_answer_file else "no disc that winseed knows"
            names = sorted({file.path.partition("/")[0] for file in image.files.values()})
            return [head.format(kind), f"  top level: {', '.join(names[:20])}"]
        case _:
            assert_never(disc)


def _inspect_virtio(image: DiscImage) -> VirtioDisc:
    """Packages of the folders that serve a Windows Server; equal folders are read once."""
    # only this kind of disc needs drivers and signatures: 30 ms that a Windows disc does not wait
    from builder.drivers import ARCH, os_folders  # noqa: PLC0415
    from builder.media.package import inspect_packages  # noqa: PLC0415
    from builder.media.virtio import inspect_virtio  # noqa: PLC0415

    media = inspect_virtio(image)
    wanted = {folder.os.casefold() for folder in os_folders()}
    seen: dict[tuple[Any, ...], tuple[Package, ...]] = {}
    packages: list[Package] = []
    broken: list[tuple[str, str]] = []
    for folder in media.folders:
        if folder.arch != ARCH or folder.os.casefold() not in wanted:
            continue
        same = tuple(file.extents for file in folder.files)
        try:
            if same not in seen:
                seen[same] = inspect_packages(image, folder)
        except WinseedError as error:
            broken.append((folder.path, error.what))
            continue
        packages += (dataclasses.replace(package, folder=folder) for package in seen[same])
    return VirtioDisc(image=image, media=media, packages=tuple(packages), broken=tuple(broken))


def _windows_lines(media: WindowsMedia) -> list[str]:
    lines = []
    for image in media.images:
        release = release_of_build(image.build)
        lines.append(
            f"  image {image.index}: {image.display_name or image.name}"
            f" [{image.name}], {image.edition_id}, {image.installation_type},"
            f" {image.architecture}, build {image.build}.{image.spbuild}"
            f" ({release.name if release else 'not a release winseed knows'}),"
            f" {', '.join(image.languages)}"
        )
    ei_cfg = media.ei_cfg
    channel = f"{ei_cfg.channel or 'no channel'}" if ei_cfg else "none"
    boot = f"build {media.boot_build}" if media.boot_build else "none"
    return [
        *lines,
        f"  install image: {media.install_path} ({media.install_format}, {media.parts} part(s))",
        f"  ei.cfg: {channel}; PID.txt: {'yes' if media.has_pid_txt else 'no'}",
        f"  boot.wim: {boot}; EFI boot: {'yes' if media.has_efi_boot else 'no'};"
        f" efisys_noprompt.bin: {'yes' if media.has_noprompt else 'no'}",
    ]


def _virtio_lines(disc: VirtioDisc) -> list[str]:
    media = disc.media
    lines = [
        f"  release {media.release or 'unknown'} ({media.family.value}),"
        f" {len(media.folders)} driver folders,"
        f" guest agent: {', '.join(sorted(media.guest_agents)) or 'none'}"
    ]
    for os in dict.fromkeys(package.folder.os for package in disc.packages):
        packages = [package for package in disc.packages if package.folder.os == os]
        lines.append(f"  {os}/{packages[0].folder.arch}:")
        lines += [f"    {_package_line(package)}" for package in packages]
    signers = Counter(package.check.signer.value for package in disc.packages)
    lines.append("  signatures: " + ", ".join(f"{name} {n}" for name, n in signers.items()))
    return lines + [f"  {folder}: {what}" for folder, what in disc.broken]


def _package_line(package: "Package") -> str:
    missing = f", MISSING {', '.join(package.missing)}" if package.missing else ""
    signed_by = f" ({package.signed_by})" if package.signed_by else ""
    return (
        f"{package.folder.driver:<13} {package.inf.name:<18} {package.inf.driver_version:<20}"
        f" {package.check.signer.value}{signed_by}{missing}"
    )


def _package_document(package: "Package") -> Document:
    return {
        "folder": package.folder.path,
        "inf": package.inf.name,
        "version": package.inf.driver_version,
        "class": package.inf.class_name,
        "pci": sorted(f"{vendor:04x}:{device:04x}" for vendor, device in package.inf.pci_ids()),
        "boot_start": package.inf.boot_start,
        "signer": package.check.signer.value,
        "signed_by": package.signed_by,
        "missing": list(package.missing),
        "files": [{"name": file.name, "sha256": file.sha256} for file in package.files],
    }


def _values(value: Any) -> Any:
    """A frozen value as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _values(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.name != "path"
        }
    if isinstance(value, tuple):
        return [_values(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value
