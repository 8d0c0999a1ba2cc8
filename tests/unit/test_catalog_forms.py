"""Every form of a catalog with every kind of signer: sound as a whole, and tampered by one byte.

Forms as real catalogs have them: SHA-1 members under a hexadecimal tag (Windows 7 to 8.1 builds of
virtio-win) and SHA-256 members (Windows 10 and later). PE files count by their Authenticode hash.
"""

import functools
import hashlib

import pytest

from builder.errors import WinseedError
from builder.media.catalog import Signer, check_catalog, inspect_catalog
from builder.media.signer import Anchors
from tests.catalogs import (
    ATTESTATION_EKU,
    CODE_EKU,
    PUBLISHER,
    WHQL_EKU,
    make_catalog,
    make_identity,
    make_pe,
    member,
    self_signed,
    trust_list,
)

PES = {
    "viorng.sys": make_pe(b"driver " * 90),
    "viorngum.dll": make_pe(b"library " * 90, signature=b"own signature" * 3, checksum=0xBEEF),
}
INF = b'[Version]\r\nSignature = "$Windows NT$"\r\nCatalogFile = viorng.cat\r\n'
FILES = {"viorng.inf": INF, **{name: pe.data for name, pe in PES.items()}}
KINDS = {
    "WHQL": ((WHQL_EKU, CODE_EKU), Signer.WHQL),
    "attestation": ((WHQL_EKU, ATTESTATION_EKU, CODE_EKU), Signer.ATTESTATION),
    "test": ((), Signer.TEST_SIGNED),
}
FORMS = [(name, kind) for name in ("sha1", "sha256") for kind in KINDS]


@functools.cache
def authority():
    return make_identity("Microsoft Windows Third Party Component CA 2014", authority=True)


@functools.cache
def catalog(name, kind):
    eku, _ = KINDS[kind]
    tag = "hex" if name == "sha1" else "raw"
    listing = trust_list(
        member(hashlib.new(name, INF).digest(), "viorng.inf", tag=tag, flat=True),
        *(member(pe.digest(name), file, tag=tag) for file, pe in PES.items()),
        attributes=(("OS", "_v100_X64"),),
    )
    if not eku:
        return make_catalog(listing, signer=self_signed(), name=name)
    publisher = make_identity(PUBLISHER, issuer=authority(), eku=eku)
    return make_catalog(listing, signer=publisher, chain=(authority(),))


def check(data, files=FILES):
    anchors = Anchors(microsoft=frozenset({authority().fingerprint}), cross=frozenset(), roots=())
    return check_catalog(inspect_catalog(data, name="viorng.cat", anchors=anchors), files)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_a_sound_package_is_what_its_signer_is(name, kind):
    found = check(catalog(name, kind))
    assert found.signer is KINDS[kind][1]
    assert found.failed == found.absent == ()
    assert {file.algorithm for file in found.files} == {name}


@pytest.mark.parametrize(("name", "kind"), FORMS)
@pytest.mark.parametrize("file", FILES)
def test_one_flipped_byte_of_a_file_is_found(name, kind, file):
    data = FILES[file]
    # the first section of a PE file begins at 0x200; an INF counts from its first byte
    for at in (0x200 if file in PES else 0, 0x210 if file in PES else len(data) - 1):
        found = check(catalog(name, kind), {**FILES, file: flipped(data, at)})
        assert found.signer is Signer.TAMPERED
        assert [one.name for one in found.failed] == [file]


@pytest.mark.parametrize(("name", "kind"), FORMS)
def test_one_flipped_byte_of_the_catalog_is_found(name, kind):
    """In the list of hashes, in the signature, in the certificate that signs."""
    data = catalog(name, kind)
    places = [
        data.index(hashlib.new(name, INF).digest()) + 3,  # inside the entry of the INF
        len(data) - 5,  # the signature ends the file
        data.index("_v100_X64".encode("utf-16-le")),
    ]
    for at in places:
        try:
            found = check(flipped(data, at))
        except WinseedError:
            continue  # no catalog any more is as good
        assert found.signer in {Signer.TAMPERED, Signer.UNSIGNED}, at
