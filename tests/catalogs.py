"""Makes PE files, certificates and driver catalogs for tests.

DER is written by hand and certificates come from cryptography, so nothing here shares a line or a
library with the reader of catalogs. osslsigncode judges the result in tests/unit/test_catalog.py.
"""

import dataclasses
import datetime as dt
import functools
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

WHQL_EKU = "1.3.6.1.4.1.311.10.3.5"
ATTESTATION_EKU = "1.3.6.1.4.1.311.10.3.5.1"
CODE_EKU = ExtendedKeyUsageOID.CODE_SIGNING.dotted_string
PUBLISHER = "Microsoft Windows Hardware Compatibility Publisher"
CTL = "1.3.6.1.4.1.311.10.1"
HASH_OIDS = {"sha1": "1.3.14.3.2.26", "sha256": "2.16.840.1.101.3.4.2.1"}


def der(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes((tag, len(body))) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body


def seq(*parts):
    return der(0x30, *parts)


def set_of(*parts):
    return der(0x31, *parts)


def octets(value):
    return der(4, value)


def integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted):
    first, second, *rest = map(int, dotted.split("."))
    body = bytes((first * 40 + second,))
    for number in rest:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        body += bytes(reversed(groups))
    return der(6, body)


def algorithm(name):
    return seq(oid(HASH_OIDS[name]), der(5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pe:
    """A PE file in the pieces its Authenticode hash takes or leaves: taken and skipped in turn."""

    pieces: tuple[bytes, bytes, bytes, bytes, bytes]
    table: bytes = b""
    tail: bytes = b""

    @property
    def data(self):
        return b"".join(self.pieces) + self.table + self.tail

    def digest(self, name):
        taken = self.pieces[0] + self.pieces[2] + self.pieces[4] + self.tail
        if not self.table:
            taken += bytes(-len(self.data) % 8)
        return hashlib.new(name, taken).digest()


def make_pe(body=b"driver code " * 64, *, wide=True, signature=b"", checksum=0, tail=b""):
    """A PE32+ (or PE32) file with one section, a certificate table if `signature` is given."""
    dos = b"MZ".ljust(0x3C, b"\0") + (0x80).to_bytes(4, "little")
    coff = b"PE\0\0" + (0x8664 if wide else 0x14C).to_bytes(2, "little") + b"\x01\0" + bytes(12)
    directories = 112 if wide else 96
    optional_size = directories + 16 * 8
    coff += optional_size.to_bytes(2, "little") + b"\x22\0"
    magic = (0x20B if wide else 0x10B).to_bytes(2, "little")
    before = magic.ljust(32, b"\0") + (4096).to_bytes(4, "little") + (512).to_bytes(4, "little")
    before = before.ljust(56, b"\0") + (8192).to_bytes(4, "little") + (512).to_bytes(4, "little")
    between = bytes(directories - 68 - 4) + (16).to_bytes(4, "little") + bytes(4 * 8)
    section = b".text\0\0\0" + len(body).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    section += len(body).to_bytes(4, "little") + (512).to_bytes(4, "little") + bytes(16)
    head = dos.ljust(0x80, b"\0") + coff + before
    rest = bytes(11 * 8) + section
    filled = 512 - len(head) - 4 - len(between) - 8 - len(rest)
    rest += bytes(filled) + body
    entry, table = bytes(8), b""
    if signature:
        rest += bytes(-(512 + len(body)) % 8)
        offset = len(head) + 4 + len(between) + 8 + len(rest)
        table = (len(signature) + 8).to_bytes(4, "little") + b"\0\2\2\0" + signature
        table += bytes(-len(table) % 8)
        entry = offset.to_bytes(4, "little") + len(table).to_bytes(4, "little")
    pieces = (head, checksum.to_bytes(4, "little"), between, entry, rest)
    return Pe(pieces=pieces, table=table, tail=tail)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate and its key."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def spki(self):
        return self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def fingerprint(self):
        return hashlib.sha256(self.spki).hexdigest()


def _new_key(kind):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def make_identity(
    name, *, issuer=None, issuer_name=None, authority=False, eku=(CODE_EKU,), kind="ec"
):
    """A certificate: self-signed without `issuer`. `issuer_name` replaces the issuer's name."""
    key = _new_key(kind)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    above = issuer.certificate.subject if issuer else subject
    if issuer_name:
        above = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2045, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if eku and not authority:
        usages = [x509.ObjectIdentifier(one) for one in eku]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    signing = issuer.key if issuer else key
    return Identity(key=key, certificate=builder.sign(signing, hashes.SHA256()))


@functools.cache
def self_signed():
    """A certificate that vouches for itself, as the test builds of virtio-win have."""
    return make_identity("Red Hat Inc.", kind="rsa")


def name_value(key, value):
    text = (value + "\0").encode("utf-16-le")
    return seq(der(0x1E, key.encode("utf-16-be")), integer(0x10010001), octets(text))


def attribute(kind, value):
    return seq(oid(kind), set_of(value))


def member(digest, file_name="", *, os="", tag="raw", indirect=True, flat=False):
    """An entry of a catalog; `tag` raw or hex, `indirect` repeats the hash inside."""
    label = digest if tag == "raw" else (digest.hex().upper() + "\0").encode("utf-16-le")
    attributes = []
    if file_name:
        attributes.append(attribute("1.3.6.1.4.1.311.12.2.1", name_value("File", file_name)))
    if os:
        attributes.append(attribute("1.3.6.1.4.1.311.12.2.1", name_value("OSAttr", os)))
    if indirect:
        name = {20: "sha1", 32: "sha256"}[len(digest)]
        link = der(0xA2, der(0x80))
        image = seq(der(3, b"\0"), der(0xA0, link))
        kind = seq(oid("1.3.6.1.4.1.311.2.1.25"), link)
        if not flat:
            kind = seq(oid("1.3.6.1.4.1.311.2.1.15"), image)
        value = seq(kind, seq(algorithm(name), octets(digest)))
        attributes.append(attribute("1.3.6.1.4.1.311.2.1.4", value))
    return seq(octets(label), set_of(*sorted(attributes)))


def trust_list(*members, attributes=(), usage="1.3.6.1.4.1.311.12.1.1"):
    """The list itself, as it stands in the content; `attributes` as (name, value)."""
    extensions = [
        seq(oid("1.3.6.1.4.1.311.12.2.1"), octets(name_value(key, value)))
        for key, value in attributes
    ]
    return seq(
        seq(oid(usage)),
        octets(bytes(16)),
        der(0x17, b"230722113900Z"),
        seq(oid("1.3.6.1.4.1.311.12.1.3"), der(5)),
        seq(*members),
        *([der(0xA0, seq(*extensions))] if extensions else []),
    )


def _inner(encoded):
    """The value of a DER element, without tag and length."""
    return encoded[2 + (encoded[1] & 0x7F if encoded[1] & 0x80 else 0) :]


def _signer_info(content, signer, name, covered):
    digest = hashlib.new(name, _inner(content) if covered is None else covered).digest()
    attributes = sorted(
        (
            attribute("1.2.840.113549.1.9.3", oid(CTL)),
            attribute("1.2.840.113549.1.9.4", octets(digest)),
        )
    )
    chosen = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[name]
    if isinstance(signer.key, rsa.RSAPrivateKey):
        signature = signer.key.sign(set_of(*attributes), padding.PKCS1v15(), chosen)
        kind = seq(oid("1.2.840.113549.1.1.1"), der(5))
    else:
        signature = signer.key.sign(set_of(*attributes), ec.ECDSA(chosen))
        kind = seq(oid("1.2.840.10045.4.3.2"))
    issuer = signer.certificate.issuer.public_bytes()
    return seq(
        integer(1),
        seq(issuer, integer(signer.certificate.serial_number)),
        algorithm(name),
        der(0xA0, *attributes),
        kind,
        octets(signature),
    )


def make_catalog(content, *, signer=None, chain=(), name="sha256", covered=None):
    """A catalog around a trust list. `covered` signs other bytes than the list's."""
    signers = [_signer_info(content, signer, name, covered)] if signer else []
    certificates = [one.der for one in ((signer, *chain) if signer else ())]
    return seq(
        oid("1.2.840.113549.1.7.2"),
        der(
            0xA0,
            seq(
                integer(1),
                set_of(*([algorithm(name)] if signer else [])),
                seq(oid(CTL), der(0xA0, content)),
                *([der(0xA0, *certificates)] if certificates else []),
                set_of(*signers),
            ),
        ),
    )
