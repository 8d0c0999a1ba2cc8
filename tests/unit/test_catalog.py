"""Catalogs: hashes, signatures, verdicts. osslsigncode is the second opinion."""

import contextlib
import hashlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import ExitCode, WinseedError
from builder.media.authenticode import catalog_digest
from builder.media.catalog import (
    Level,
    Listing,
    Signer,
    check_catalog,
    inspect_catalog,
    judge_signature,
)
from builder.media.signer import Anchors
from tests.catalogs import (
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

PE = make_pe()
INF = b'[Version]\r\nSignature = "$Windows NT$"\n;\n'
INF_SHA256 = hashlib.sha256(INF).digest()
INF_SHA1 = hashlib.sha1(INF).digest()
FILES = {"vioscsi.inf": INF, "vioscsi.sys": PE.data}
LIST = trust_list(
    member(PE.digest("sha256"), "vioscsi.sys", os="2:10.0"),
    member(INF_SHA256, "vioscsi.inf", os="2:10.0", flat=True),
    attributes=(("OS", "_v100_X64,_v100_X64_22H2"), ("HWID1", "pci\\ven_1af4&dev_1004")),
)

needs_osslsigncode = pytest.mark.skipif(
    shutil.which("osslsigncode") is None, reason="needs the Debian package osslsigncode"
)


def inspect(data, **keywords):
    return inspect_catalog(data, name="vioscsi.cat", **keywords)


def run(folder, *arguments):
    done = subprocess.run(
        ["osslsigncode", *arguments], cwd=folder, capture_output=True, check=False
    )
    return done.returncode == 0


# The hash of a file


@pytest.mark.parametrize("name", ["sha1", "sha256"])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(
    "extra", [{}, {"checksum": 0xC0FFEE}, {"signature": b"s" * 33}, {"tail": b"12345678"}]
)
def test_pe_hash_leaves_out_checksum_entry_and_table(name, wide, extra):
    pe = make_pe(b"code" * 77, wide=wide, **extra)
    assert catalog_digest(pe.data, name) == pe.digest(name)


def test_pe_hash_counts_what_follows_the_table():
    pe = make_pe(signature=b"s" * 8, tail=b"appended")
    assert catalog_digest(pe.data, "sha256") == pe.digest("sha256")
    assert pe.digest("sha256") != make_pe(signature=b"s" * 8).digest("sha256")


def test_other_files_have_their_plain_hash():
    broken = bytearray(make_pe(signature=b"s" * 16).data)
    broken[0x80 + 24 + 112 + 4 * 8 + 3] = 0x7F  # the table now starts beyond the end
    for data in (INF, b"", b"MZ", PE.data[:0x90], b"MZ" + b"\xff" * 200, bytes(broken)):
        assert catalog_digest(data, "sha256") == hashlib.sha256(data).digest()


@needs_osslsigncode
def test_signing_does_not_change_the_hash(tmp_path):
    write_key(tmp_path, self_signed())
    for index, pe in enumerate((make_pe(), make_pe(wide=False), make_pe(b"odd" * 171))):
        (tmp_path / "in.sys").write_bytes(pe.data)
        out = f"out{index}.sys"
        assert run(
            tmp_path, "sign", "-certs", "cert.pem", "-key", "key.pem", "-in", "in.sys", "-out", out
        )
        signed = (tmp_path / out).read_bytes()
        assert len(signed) > len(pe.data) + 500
        for name in ("sha1", "sha256"):
            assert catalog_digest(signed, name) == catalog_digest(pe.data, name)


def write_key(folder, identity):
    key = identity.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "key.pem").write_bytes(key)
    (folder / "cert.pem").write_bytes(identity.pem)


# What a catalog says


def test_members_systems_and_attributes():
    catalog = inspect(make_catalog(LIST, signer=self_signed()))
    assert [(m.file_name, m.algorithm, m.digest, m.os) for m in catalog.members] == [
        ("vioscsi.sys", "sha256", PE.digest("sha256"), "2:10.0"),
        ("vioscsi.inf", "sha256", INF_SHA256, "2:10.0"),
    ]
    assert catalog.os == ("_v100_X64", "_v100_X64_22H2")
    assert catalog.attributes == (("HWID1", "pci\\ven_1af4&dev_1004"),)


def test_members_with_only_a_tag():
    """Microsoft's catalogs give the SHA-1 of a file in the tag alone, old ones in hexadecimal."""
    members = (
        member(INF_SHA1, indirect=False),
        member(INF_SHA256, tag="hex", indirect=False),
        member(PE.digest("sha1"), tag="hex"),
    )
    catalog = inspect(make_catalog(trust_list(*members), signer=self_signed()))
    assert [(m.digest, m.algorithm, m.file_name) for m in catalog.members] == [
        (INF_SHA1, "sha1", ""),
        (INF_SHA256, "sha256", ""),
        (PE.digest("sha1"), "sha1", ""),
    ]


# Files against the list


def test_sound_package():
    check = check_catalog(
        inspect(make_catalog(LIST, signer=self_signed())),
        {"vioscsi.cat": b"itself", **FILES, "VIOSCSI.SYS": lambda: PE.data},
    )
    assert check.signer is Signer.TEST_SIGNED
    assert check.failed == ()
    assert check.absent == ()
    assert [file.algorithm for file in check.files] == ["sha256"] * 3


@pytest.mark.parametrize("name", ["vioscsi.inf", "vioscsi.sys"])
def test_changed_file(name):
    changed = bytearray(FILES[name])
    changed[-1] ^= 1
    catalog = inspect(make_catalog(LIST, signer=self_signed()))
    check = check_catalog(catalog, {**FILES, name: bytes(changed)})
    assert check.signer is Signer.TAMPERED
    assert [(file.name, file.listing) for file in check.failed] == [(name, Listing.CHANGED)]


def test_line_ends_are_part_of_the_file():
    catalog = inspect(make_catalog(LIST, signer=self_signed()))
    check = check_catalog(catalog, {**FILES, "vioscsi.inf": INF.replace(b"\r\n", b"\n")})
    assert check.signer is Signer.TAMPERED


def test_file_that_is_not_listed_and_listed_file_that_is_not_there():
    catalog = inspect(make_catalog(LIST, signer=self_signed()))
    check = check_catalog(catalog, {"vioscsi.inf": INF, "extra.dll": b"extra"})
    assert check.signer is Signer.TAMPERED
    assert [(file.name, file.listing) for file in check.failed] == [
        ("extra.dll", Listing.NOT_LISTED)
    ]
    assert check.absent == ("vioscsi.sys",)


def test_catalog_of_another_package():
    other = trust_list(member(hashlib.sha256(b"other").digest(), "viostor.sys"))
    check = check_catalog(inspect(make_catalog(other, signer=self_signed())), FILES)
    assert check.signer is Signer.TAMPERED
    assert {file.listing for file in check.failed} == {Listing.NOT_LISTED}


def test_old_catalogs_list_sha1():
    old = trust_list(member(PE.digest("sha1"), tag="hex"), member(INF_SHA1, tag="hex", flat=True))
    signed = make_catalog(old, signer=self_signed(), name="sha1")
    check = check_catalog(inspect(signed), FILES)
    assert check.signer is Signer.TEST_SIGNED
    assert [file.algorithm for file in check.files] == ["sha1", "sha1"]


# The signature


def test_no_signature():
    signature = inspect(make_catalog(LIST)).signature
    assert (signature.signer, signature.leaf) == (Signer.UNSIGNED, None)


def test_self_signed():
    signature = inspect(make_catalog(LIST, signer=self_signed())).signature
    assert (signature.signer, signature.anchored) == (Signer.TEST_SIGNED, False)
    assert signature.leaf.common_name == signature.root == "Red Hat Inc."
    assert signature.leaf.not_after.year == 2045
    assert signature.leaf.eku == (CODE_EKU,)
    assert signature.leaf.spki == self_signed().fingerprint
    assert (signature.algorithm, signature.timestamped) == ("sha256", False)


def test_broken_signatures():
    good = make_catalog(LIST, signer=self_signed())
    other = make_identity("Red Hat Inc.", kind="rsa")
    signature = good[-256:]
    listed = PE.digest("sha256")
    for data, reason in (
        (good.replace(listed, hashlib.sha256(b"evil").digest()), "changed after it was signed"),
        (make_catalog(LIST, signer=self_signed(), covered=b"other"), "changed after"),
        (good[:-256] + signature[::-1], "not made with the signer's key"),
        (good.replace(self_signed().der, other.der), "not in the catalog"),
    ):
        found = inspect(data).signature
        assert found.signer is Signer.TAMPERED
        assert reason in found.reason
        assert not found.anchored


@needs_osslsigncode
@pytest.mark.parametrize(
    "pe", [PE, make_pe(wide=False), make_pe(b"odd" * 171), make_pe(checksum=77, tail=b"12345678")]
)
def test_osslsigncode_agrees_with_catalogs_made_here(tmp_path, pe):
    """The judge of the maker: else the other tests might share a mistake with the reader."""
    root = make_identity("Root", authority=True, kind="rsa")
    leaf = make_identity("Leaf", issuer=root, kind="rsa")
    data = make_catalog(trust_list(member(pe.digest("sha256"))), signer=leaf, chain=(root,))
    evil = data.replace(pe.digest("sha256"), hashlib.sha256(b"evil").digest())
    for name, content in (("a.cat", data), ("b.cat", evil), ("root.pem", root.pem)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "good.sys").write_bytes(pe.data)
    (tmp_path / "evil.sys").write_bytes(make_pe(b"evil").data)
    verify = ("verify", "-CAfile", "root.pem", "-catalog")
    for cat, file, expected in (
        ("a.cat", "good.sys", True),
        ("a.cat", "evil.sys", False),
        ("b.cat", "good.sys", False),
    ):
        assert run(tmp_path, *verify, cat, file) is expected
        catalog = inspect((tmp_path / cat).read_bytes())
        check = check_catalog(catalog, {file: (tmp_path / file).read_bytes()})
        assert (check.signer is not Signer.TAMPERED) is expected


@needs_osslsigncode
def test_catalog_signed_by_osslsigncode(tmp_path):
    write_key(tmp_path, self_signed())
    (tmp_path / "in.cat").write_bytes(make_catalog(LIST))
    keys = ("-certs", "cert.pem", "-key", "key.pem")
    assert run(tmp_path, "sign", "-h", "sha256", *keys, "-in", "in.cat", "-out", "out.cat")
    data = (tmp_path / "out.cat").read_bytes()
    catalog = inspect(data)
    assert catalog.signature.signer is Signer.TEST_SIGNED
    assert check_catalog(catalog, FILES).signer is Signer.TEST_SIGNED
    evil = data.replace(PE.digest("sha256"), hashlib.sha256(b"evil").digest())
    assert inspect(evil).signature.signer is Signer.TAMPERED


# Damage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"MZ not a catalog",
        b"\x30\x80" * 400,
        make_catalog(LIST)[:-1],
        make_catalog(trust_list(usage="1.3.6.1.4.1.311.10.3.9")),
        bytes(17 << 20),
    ],
)
def test_no_catalog(data):
    with pytest.raises(WinseedError, match=r"^vioscsi\.cat: not a driver catalog") as caught:
        inspect(data)
    assert caught.value.code is ExitCode.MEDIA
    assert caught.value.hint


AUTHORITY = make_identity("Authority", authority=True)
TRUSTED = Anchors(microsoft=frozenset({AUTHORITY.fingerprint}), cross=frozenset())
SIGNED = make_catalog(
    LIST,
    signer=make_identity(PUBLISHER, issuer=AUTHORITY, eku=(WHQL_EKU,)),
    chain=(AUTHORITY,),
)
SOUND = inspect(SIGNED, anchors=TRUSTED)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_a_flipped_byte_never_changes_a_trusted_list(position, flip):
    data = bytearray(SIGNED)
    data[position] ^= flip
    try:
        catalog = inspect(bytes(data), anchors=TRUSTED)
    except WinseedError:
        return
    if catalog.signature.signer is Signer.WHQL:
        assert (catalog.members, catalog.os) == (SOUND.members, SOUND.os)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SIGNED)), st.binary(max_size=40))
def test_cut_or_spliced_catalogs(position, insert):
    for data in (SIGNED[:position] + insert, SIGNED[:position] + insert + SIGNED[position:]):
        with contextlib.suppress(WinseedError):
            inspect(data)


# What it means


@pytest.mark.parametrize(
    ("signer", "build", "secure_boot", "boot_critical", "level"),
    [
        (Signer.WHQL, 14393, True, True, Level.OK),
        (Signer.WHQL, 9600, False, True, Level.OK),
        (Signer.ATTESTATION, 20348, True, True, Level.NOTE),
        (Signer.ATTESTATION, 14393, True, False, Level.NOTE),
        (Signer.ATTESTATION, 9600, False, True, Level.WARN),
        (Signer.CROSS_SIGNED, 9600, False, True, Level.NOTE),
        (Signer.CROSS_SIGNED, 9600, True, True, Level.NOTE),
        (Signer.CROSS_SIGNED, 14393, True, True, Level.REFUSE),
        (Signer.CROSS_SIGNED, 14393, True, False, Level.REFUSE),
        (Signer.CROSS_SIGNED, 14393, False, True, Level.WARN),
        (Signer.TEST_SIGNED, 9600, False, True, Level.REFUSE),
        (Signer.TEST_SIGNED, 26100, False, False, Level.LEAVE_OUT),
        (Signer.OTHER, 26100, True, True, Level.WARN),
        (Signer.OTHER, 9600, False, False, Level.WARN),
        (Signer.UNSIGNED, 9600, False, False, Level.REFUSE),
        (Signer.TAMPERED, 9600, False, False, Level.REFUSE),
        (Signer.TAMPERED, 26100, True, True, Level.REFUSE),
    ],
)
def test_verdicts(signer, build, secure_boot, boot_critical, level):
    verdict = judge_signature(
        signer, release_build=build, secure_boot=secure_boot, boot_critical=boot_critical
    )
    assert verdict.level is level
    assert verdict.text
    assert verdict.source


def test_an_unknown_authority_is_named():
    verdict = judge_signature(
        Signer.OTHER,
        release_build=20348,
        secure_boot=True,
        boot_critical=True,
        authority="Example Root CA",
    )
    assert verdict.level is Level.WARN
    assert "Example Root CA" in verdict.text
