"""A driver catalog (.cat): what it lists, who signed it, whether the files beside it are those.

`inspect_catalog` and `check_catalog` report facts, `judge_signature` says what they mean for the
Windows to be installed. Not looked at: revocation, the validity period against a clock, and the
signature of the time stamp (`timestamped` only says that there is one).
"""

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, assert_never

from builder.media.authenticode import catalog_digest
from builder.record import record

if TYPE_CHECKING:
    from builder.media.signer import Anchors

FileSource = bytes | Callable[[], bytes]


class Signer(enum.Enum):
    """Who stands behind a catalog; only the first three can reach a Windows that does not test."""

    WHQL = "whql"  # Microsoft, after the hardware lab tests
    ATTESTATION = "attestation"  # Microsoft, on the vendor's word
    CROSS_SIGNED = "cross-signed"  # a vendor, under Microsoft Code Verification Root
    TEST_SIGNED = "test-signed"  # a certificate that vouches for itself
    OTHER = "other"  # sound, but by nobody that winseed knows
    UNSIGNED = "unsigned"
    TAMPERED = "tampered"  # the signature does not fit the list, or the list not the files


@record
class Certificate:
    """What a certificate says of itself. `eku` holds dotted object identifiers, `spki` is the
    SHA-256 of the public key in hexadecimal."""

    common_name: str
    organization: str
    issuer: str
    not_before: dt.datetime
    not_after: dt.datetime
    eku: tuple[str, ...]
    is_authority: bool
    spki: str


@record
class Signature:
    """The signature of a catalog.

    `chain` runs from the leaf upward; every link in it was verified with the key of the next.
    `root` names the issuer of the last one. `anchored` is true when the chain reaches a key that
    winseed knows; without it the names in `chain` are claims. `reason` says in words why `signer`
    is what it is.
    """

    signer: Signer
    reason: str
    chain: tuple[Certificate, ...] = ()
    anchored: bool = False
    root: str = ""
    algorithm: str = ""
    timestamped: bool = False

    @property
    def leaf(self) -> Certificate | None:
        """The certificate that signed, if there is one."""
        return self.chain[0] if self.chain else None


@record
class Member:
    """A file the catalog lists. `algorithm` is `sha1` or `sha256`; `file_name` and `os` are empty
    when the catalog does not give them."""

    digest: bytes
    algorithm: str
    file_name: str
    os: str


@record
class Catalog:
    """A catalog. `os` is its list of systems (`_v100_X64`, ...), `attributes` its other entries as
    (name, value), hardware ids and submission number among them."""

    name: str
    members: tuple[Member, ...]
    os: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]
    signature: Signature


class Listing(enum.Enum):
    """How a file stands to a catalog."""

    LISTED = "listed"
    CHANGED = "changed"  # the catalog lists that name with another hash
    NOT_LISTED = "not listed"


@record
class FileCheck:
    """A file held against a catalog. `algorithm` is that of the hash found, else empty."""

    name: str
    listing: Listing
    algorithm: str


@record
class CatalogCheck:
    """A package held against its catalog.

    `signer` is TAMPERED as soon as one file is not the one listed. `absent` names listed files that
    were not among those given: not an error, a catalog may serve several folders.
    """

    signer: Signer
    files: tuple[FileCheck, ...]
    absent: tuple[str, ...]

    @property
    def failed(self) -> tuple[FileCheck, ...]:
        """The files the catalog does not vouch for."""
        return tuple(file for file in self.files if file.listing is not Listing.LISTED)


class Level(enum.Enum):
    """What to do about a package."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    LEAVE_OUT = "leave out"
    REFUSE = "refuse"


@record
class SignatureVerdict:
    """What a signature means for one Windows. `source` names the public text the rule is from."""

    level: Level
    text: str
    source: str


def inspect_catalog(data: bytes, *, name: str, anchors: "Anchors | None" = None) -> Catalog:
    """Read a catalog and verify its signature up to a known key.

    `anchors` are the keys to trust, by default the ones of Microsoft and of the authorities it
    cross-certified. Raises WinseedError (MEDIA) when `data` is not a catalog.
    """
    from builder.media import ctl, signer  # noqa: PLC0415 - cryptography takes 0.1 s to load

    return ctl.load_catalog(data, name=name, anchors=anchors or signer.known_anchors())


def check_catalog(catalog: Catalog, files: Mapping[str, FileSource]) -> CatalogCheck:
    """Hold files (name -> bytes, or a function that reads them) against a catalog.

    Give every file of the package (`Inf.package_files`) except tools the INF does not name. An
    entry with the catalog's own name is passed over. File names only serve the explanation: a hash
    that is listed counts, whatever name stands beside it.
    """
    digests = {member.digest for member in catalog.members}
    algorithms = sorted({member.algorithm for member in catalog.members}, reverse=True)
    named = {member.file_name.casefold() for member in catalog.members if member.file_name}
    checks = []
    for name, source in files.items():
        if name.casefold() == catalog.name.casefold():
            continue
        data = source if isinstance(source, bytes) else source()
        found = next((a for a in algorithms if catalog_digest(data, a) in digests), "")
        base = name.replace("\\", "/").rsplit("/", 1)[-1].casefold()
        missed = Listing.CHANGED if base in named else Listing.NOT_LISTED
        checks.append(
            FileCheck(name=name, listing=Listing.LISTED if found else missed, algorithm=found)
        )
    given = {file.name.replace("\\", "/").rsplit("/", 1)[-1].casefold() for file in checks}
    sound = all(file.listing is Listing.LISTED for file in checks)
    return CatalogCheck(
        signer=catalog.signature.signer if sound else Signer.TAMPERED,
        files=tuple(checks),
        absent=tuple(sorted(named - given)),
    )


_DOCS = "learn.microsoft.com/windows-hardware/drivers/"
_POLICY = _DOCS + "install/kernel-mode-code-signing-policy--windows-vista-and-later-"
_OFFERINGS = _DOCS + "dashboard/code-signing-reqs"
_TEST_SIGNING = _DOCS + "install/the-testsigning-boot-configuration-option"
_VIRTIO = "github.com/virtio-win/virtio-win-pkg-scripts/issues/"
_POLICY_BUILD = 14393  # Windows 10 1607, Server 2016
_WINDOWS_10 = 10240


def judge_signature(
    signer: Signer,
    *,
    release_build: int,
    secure_boot: bool,
    boot_critical: bool,
    authority: str = "",
) -> SignatureVerdict:
    """Say what the signer of a package means for one Windows.

    `release_build` is the build of the Windows to install (9600 = Server 2012 R2, 14393 = 2016),
    `boot_critical` whether Windows needs the driver to find its disk, `authority` the name at the
    top of the signer's chain.
    """
    match signer:
        case Signer.WHQL:
            return SignatureVerdict(
                level=Level.OK, text="signed by Microsoft after its hardware tests", source=_POLICY
            )
        case Signer.ATTESTATION:
            return _judge_attestation(release_build)
        case Signer.CROSS_SIGNED:
            return _judge_cross_signed(release_build, secure_boot=secure_boot)
        case Signer.TEST_SIGNED:
            return SignatureVerdict(
                level=Level.REFUSE if boot_critical else Level.LEAVE_OUT,
                text="signed with a test certificate, which Windows only accepts in test mode",
                source=_TEST_SIGNING + ", " + _VIRTIO + "61",
            )
        case Signer.OTHER:
            return _judge_unknown(authority)
        case Signer.UNSIGNED:
            return SignatureVerdict(level=Level.REFUSE, text="not signed", source=_POLICY)
        case Signer.TAMPERED:
            return SignatureVerdict(
                level=Level.REFUSE,
                text="the catalog and the files do not belong together, or one was changed",
                source=_DOCS + "install/catalog-files",
            )
        case _:
            assert_never(signer)


def _judge_attestation(release_build: int) -> SignatureVerdict:
    if release_build < _WINDOWS_10:
        return SignatureVerdict(
            level=Level.WARN,
            text="attestation-signed, which Microsoft offers for Windows 10 and later only",
            source=_OFFERINGS,
        )
    # Microsoft's page says Server 2016 and later load only tested drivers; the Fedora builds of
    # virtio-win are attested and in wide use there, Secure Boot included. The page is taken as a
    # rule for submissions; a site with a strict code integrity policy may still refuse them.
    return SignatureVerdict(
        level=Level.NOTE,
        text="signed by Microsoft on the vendor's word; a site whose code integrity policy asks"
        " for tested drivers needs the WHQL build that comes with RHEL",
        source=_OFFERINGS + ", " + _VIRTIO + "91",
    )


def _judge_cross_signed(release_build: int, *, secure_boot: bool) -> SignatureVerdict:
    if release_build < _POLICY_BUILD:
        return SignatureVerdict(
            level=Level.NOTE,
            text="signed by its vendor; installed after Setup, Windows may ask whether to trust the"
            " publisher",
            source=_POLICY + ", " + _VIRTIO + "57",
        )
    if secure_boot:
        return SignatureVerdict(
            level=Level.REFUSE,
            text="signed by its vendor only: with Secure Boot this Windows loads drivers that"
            " Microsoft signed",
            source=_POLICY,
        )
    return SignatureVerdict(
        level=Level.WARN,
        text="signed by its vendor only: it stops loading once Secure Boot is turned on",
        source=_POLICY,
    )


def _judge_unknown(authority: str) -> SignatureVerdict:
    # A refusal must not rest on winseed's list of authorities being complete: the signature is
    # sound, and Windows itself refuses the package if it does not trust who gave it.
    name = "".join(sign if sign.isprintable() else "?" for sign in authority)
    return SignatureVerdict(
        level=Level.WARN,
        text=f"signed under {name or 'an authority without a name'}, which winseed does not know;"
        " Windows decides whether to trust it",
        source=_POLICY,
    )
