"""One driver package of a virtio-win disc: its INF, its own files, its signature."""

import functools
import hashlib

from builder.errors import WinseedError
from builder.media.catalog import CatalogCheck, Signer, check_catalog, inspect_catalog
from builder.media.image import DiscFile, DiscImage
from builder.media.inf import Inf, load_inf
from builder.media.virtio import DriverFolder
from builder.record import record

SYMBOLS = ".pdb"
CHUNK = 1 << 20  # bytes hashed at once: the guest agent has some 10 MB


@record
class PackageMember:
    """A file of the package; `sha256` in hex."""

    file: DiscFile
    sha256: str

    @property
    def name(self) -> str:
        """The name on the disc, which is the name to copy."""
        return self.file.path.rsplit("/", 1)[-1]


@record
class Package:
    """An INF and what belongs to it. `missing` are files it names that the disc has not.

    `signed_by` is the name on the certificate that signed, `authority` the one at the top of its
    chain; both are claims unless `check` says who it was.
    """

    folder: DriverFolder
    inf: Inf
    members: tuple[PackageMember, ...]
    extras: tuple[PackageMember, ...]
    missing: tuple[str, ...]
    check: CatalogCheck
    signed_by: str
    authority: str

    @property
    def files(self) -> tuple[PackageMember, ...]:
        """Everything to copy."""
        return (*self.members, *self.extras)


def inspect_packages(
    image: DiscImage, folder: DriverFolder, *, extras: tuple[str, ...] = ()
) -> tuple[Package, ...]:
    """Every INF of `folder` as a package (pvpanic has two). Raises WinseedError for a bad INF.

    `extras` are names to take along that no INF lists, such as blnsvr.exe.
    """
    by_name = {_name(file).casefold(): file for file in folder.files}
    infs = [file for name, file in by_name.items() if name.endswith(".inf")]
    return tuple(_inspect(image, folder, file, by_name, extras) for file in infs)


def inspect_member(image: DiscImage, file: DiscFile) -> PackageMember:
    """A file of the disc with its SHA-256."""
    digest = hashlib.sha256()
    for offset in range(0, file.size, CHUNK):
        digest.update(image.read(file, offset, CHUNK))
    return PackageMember(file=file, sha256=digest.hexdigest())


def _inspect(
    image: DiscImage,
    folder: DriverFolder,
    inf_file: DiscFile,
    by_name: dict[str, DiscFile],
    extras: tuple[str, ...],
) -> Package:
    inf = load_inf(image.read(inf_file), name=_name(inf_file))
    listed = dict.fromkeys(_base(name) for name in inf.package_files(folder.arch))
    found = [by_name[name] for name in listed if name in by_name]
    others = [by_name[name.casefold()] for name in extras if name.casefold() in by_name]
    members = tuple(inspect_member(image, file) for file in found)
    check, signed_by, authority = _check(image, inf, folder, members)
    return Package(
        folder=folder,
        inf=inf,
        members=members,
        extras=tuple(inspect_member(image, file) for file in others if file not in found),
        missing=tuple(name for name in listed if name not in by_name),
        check=check,
        signed_by=signed_by,
        authority=authority,
    )


def _check(
    image: DiscImage, inf: Inf, folder: DriverFolder, members: tuple[PackageMember, ...]
) -> tuple[CatalogCheck, str, str]:
    """The catalog held against the files, its signer and the authority above.

    A catalog that cannot be read leaves the files unsigned.
    """
    unsigned = CatalogCheck(signer=Signer.UNSIGNED, files=(), absent=())
    wanted = _base(inf.catalog_file(folder.arch))
    for member in members:
        if member.name.casefold() == wanted:
            break
    else:
        return unsigned, "", ""
    try:
        catalog = inspect_catalog(image.read(member.file), name=member.name)
    except WinseedError:
        return unsigned, "", ""
    files = {other.name: functools.partial(image.read, other.file) for other in members}
    leaf = catalog.signature.leaf
    name = leaf.common_name if leaf else ""
    return check_catalog(catalog, files), name, catalog.signature.root


def _name(file: DiscFile) -> str:
    return file.path.rsplit("/", 1)[-1]


def _base(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].casefold()
