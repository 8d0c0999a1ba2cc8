"""The inside of a driver catalog: a certificate trust list, signed as PKCS #7.

Sources: the trust list and its attributes, Microsoft `wincrypt.h` and `mscat.h` (CTL_INFO,
CRYPTCATATTRIBUTE); the envelope, RFC 2315 (the list stands in the content directly, not in an OCTET
STRING, and its hash leaves out the outer tag and length).
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from asn1crypto import cms, core, parser, x509

from builder.errors import ExitCode, WinseedError
from builder.media.catalog import Catalog, Member
from builder.media.signer import Anchors, SignerEntry, inspect_signature

_SIGNED_DATA = "1.2.840.113549.1.7.2"
_SIGNED_LIST = "1.3.6.1.4.1.311.10.1"
_CATALOG_USAGE = "1.3.6.1.4.1.311.12.1.1"
_NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"
_INDIRECT_HASH = "1.3.6.1.4.1.311.2.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_TIMESTAMPS = {"1.2.840.113549.1.9.6", "1.3.6.1.4.1.311.3.3.1"}
_LARGEST = 16 << 20  # bytes; real catalogs of drivers have 7 to 12 KB
_DIGESTS = {20: "sha1", 32: "sha256"}
_ALGORITHMS = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


class _Attribute(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [
        ("type", core.ObjectIdentifier),
        ("values", core.SetOf, {"spec": core.Any}),
    ]


class _Attributes(core.SetOf):  # type: ignore[misc]
    _child_spec: ClassVar = _Attribute


class _Subject(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [("tag", core.OctetString), ("attributes", _Attributes, {"optional": True})]


class _Subjects(core.SequenceOf):  # type: ignore[misc]
    _child_spec: ClassVar = _Subject


class _Usage(core.SequenceOf):  # type: ignore[misc]
    _child_spec: ClassVar = core.ObjectIdentifier


class _NameValue(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [
        ("name", core.BMPString),
        ("flags", core.Integer),
        ("value", core.OctetString),
    ]


class _HashInfo(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [("algorithm", core.Any), ("digest", core.OctetString)]


class _IndirectHash(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [("subject", core.Any), ("hash", _HashInfo)]


class _TrustList(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [
        ("version", core.Integer, {"default": 0}),
        ("usage", _Usage),
        ("identifier", core.OctetString, {"optional": True}),
        ("number", core.Integer, {"optional": True}),
        ("this_update", x509.Time),
        ("next_update", x509.Time, {"optional": True}),
        ("algorithm", core.Sequence),
        ("subjects", _Subjects, {"optional": True}),
        ("extensions", x509.Extensions, {"explicit": 0, "optional": True}),
    ]


class _Content(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [("type", core.ObjectIdentifier), ("list", _TrustList, {"explicit": 0})]


class _Certificates(core.SetOf):  # type: ignore[misc]
    _child_spec: ClassVar = core.Any


class _Algorithm(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [
        ("algorithm", core.ObjectIdentifier),
        ("parameters", core.Any, {"optional": True}),
    ]


class _SignerInfo(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [
        ("version", core.Integer),
        ("sid", cms.SignerIdentifier),
        ("digest", _Algorithm),
        ("signed", _Attributes, {"implicit": 0, "optional": True}),
        ("algorithm", _Algorithm),
        ("signature", core.OctetString),
        ("unsigned", _Attributes, {"implicit": 1, "optional": True}),
    ]


class _SignerInfos(core.SetOf):  # type: ignore[misc]
    _child_spec: ClassVar = _SignerInfo


class _SignedData(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [
        ("version", core.Integer),
        ("digests", core.SetOf, {"spec": core.Any}),
        ("content", _Content),
        ("certificates", _Certificates, {"implicit": 0, "optional": True}),
        ("crls", _Certificates, {"implicit": 1, "optional": True}),
        ("signers", _SignerInfos),
    ]


class _Envelope(core.Sequence):  # type: ignore[misc]
    _fields: ClassVar = [("type", core.ObjectIdentifier), ("data", _SignedData, {"explicit": 0})]


def load_catalog(data: bytes, *, name: str, anchors: Anchors) -> Catalog:
    """Read a catalog. Raises WinseedError (MEDIA) when `data` is not one."""
    if len(data) > _LARGEST:
        raise _not_a_catalog(name, f"it has {len(data)} bytes")
    try:
        return _load(data, name, anchors)
    except _MALFORMED as error:
        # asn1crypto parses when a value is asked for, and tells of it in any of these ways.
        raise _not_a_catalog(name, "its structure is damaged") from error


_MALFORMED = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def _not_a_catalog(name: str, why: str) -> WinseedError:
    return WinseedError(
        f"{name}: not a driver catalog: {why}",
        code=ExitCode.MEDIA,
        hint="take the file from the virtio-win ISO again; compare the ISO with its published sum",
    )


def _load(data: bytes, name: str, anchors: Anchors) -> Catalog:
    envelope = _Envelope.load(data)
    signed = envelope["data"]
    content = signed["content"]
    if envelope["type"].dotted != _SIGNED_DATA or content["type"].dotted != _SIGNED_LIST:
        raise _not_a_catalog(name, "it holds no trust list")
    trust_list = content["list"]
    if [usage.dotted for usage in trust_list["usage"]] != [_CATALOG_USAGE]:
        raise _not_a_catalog(name, "its trust list is for something else")
    attributes = tuple(_list_attributes(trust_list))
    return Catalog(
        name=name,
        members=tuple(_list_members(trust_list)),
        os=tuple(
            system
            for key, value in attributes
            if key == "OS"
            for system in value.split(",")
            if system
        ),
        attributes=tuple(entry for entry in attributes if entry[0] != "OS"),
        signature=inspect_signature(
            tuple(_load_signer(signer) for signer in signed["signers"]),
            content=trust_list.contents,
            content_type=_SIGNED_LIST,
            certificates=tuple(entry.dump() for entry in _entries(signed["certificates"])),
            anchors=anchors,
        ),
    )


def _entries(value: Any) -> Iterator[Any]:
    """The entries of a set that may be missing."""
    return iter(()) if isinstance(value, core.Void) else iter(value)


def _list_attributes(trust_list: Any) -> Iterator[tuple[str, str]]:
    for extension in _entries(trust_list["extensions"]):
        if extension["extn_id"].dotted == _NAME_VALUE:
            yield _load_name_value(extension["extn_value"].native)


def _load_name_value(encoded: bytes) -> tuple[str, str]:
    pair = _NameValue.load(encoded)
    text = pair["value"].native.decode("utf-16-le", errors="replace")
    return pair["name"].native, text.rstrip("\0")


def _list_members(trust_list: Any) -> Iterator[Member]:
    for subject in _entries(trust_list["subjects"]):
        tag = subject["tag"].native
        digest, names = _digest_of_tag(tag), {}
        for attribute in _entries(subject["attributes"]):
            kind = attribute["type"].dotted
            if kind == _NAME_VALUE:
                key, value = _load_name_value(attribute["values"][0].dump())
                names[key] = value
            elif kind == _INDIRECT_HASH:
                digest = _IndirectHash.load(attribute["values"][0].dump())["hash"]["digest"].native
        algorithm = _DIGESTS.get(len(digest))
        if algorithm is not None:
            yield Member(
                digest=digest,
                algorithm=algorithm,
                file_name=names.get("File", ""),
                os=names.get("OSAttr", ""),
            )


def _digest_of_tag(tag: bytes) -> bytes:
    """The hash in a member's tag: plain in newer catalogs, in older ones as UTF-16 hexadecimal."""
    if len(tag) in _DIGESTS:
        return tag
    try:
        return bytes.fromhex(tag.decode("utf-16-le").rstrip("\0"))
    except ValueError:
        return b""


def _load_signer(signer: Any) -> SignerEntry:
    signed = tuple(_entries(signer["signed"]))
    unsigned = tuple(_entries(signer["unsigned"]))
    sid = signer["sid"].chosen
    by_serial = signer["sid"].name == "issuer_and_serial_number"
    return SignerEntry(
        issuer=sid["issuer"].dump() if by_serial else b"",
        serial=sid["serial_number"].native if by_serial else 0,
        key_id=b"" if by_serial else sid.native,
        algorithm=_ALGORITHMS.get(signer["digest"]["algorithm"].dotted, ""),
        content_types=tuple(
            core.ObjectIdentifier.load(value).dotted for value in _values(signed, _CONTENT_TYPE)
        ),
        digests=tuple(
            core.OctetString.load(value).native for value in _values(signed, _MESSAGE_DIGEST)
        ),
        # The signature covers the attributes as a SET, not under the tag they carry here.
        signed=parser.emit(0, 1, 17, signer["signed"].contents) if signed else b"",
        signature=signer["signature"].native,
        timestamped=any(attribute["type"].dotted in _TIMESTAMPS for attribute in unsigned),
    )


def _values(attributes: tuple[Any, ...], kind: str) -> Iterator[bytes]:
    for attribute in attributes:
        if attribute["type"].dotted == kind:
            yield from (value.dump() for value in attribute["values"])
