"""Who signed a catalog, and what a name without the key behind it is worth."""

import functools
import hashlib

import pytest

from builder.media.catalog import Signer, inspect_catalog
from builder.media.signer import Anchors, known_anchors
from tests.catalogs import (
    ATTESTATION_EKU,
    CODE_EKU,
    PUBLISHER,
    WHQL_EKU,
    make_catalog,
    make_identity,
    member,
    trust_list,
)

LIST = trust_list(member(hashlib.sha256(b"driver").digest(), "vioscsi.sys"))


@functools.cache
def authority():
    return make_identity("Microsoft Windows Third Party Component CA 2014", authority=True)


@functools.cache
def publisher(*extra):
    return make_identity(PUBLISHER, issuer=authority(), eku=(WHQL_EKU, CODE_EKU, *extra))


def trusting(*, microsoft=(), cross=(), roots=()):
    return Anchors(
        microsoft=frozenset(one.fingerprint for one in microsoft),
        cross=frozenset(one.fingerprint for one in cross),
        roots=tuple((name, one.spki) for name, one in roots),
    )


def inspect(data, **keywords):
    return inspect_catalog(data, name="vioscsi.cat", **keywords)


@pytest.mark.parametrize(
    ("extra", "signer"), [((), Signer.WHQL), ((ATTESTATION_EKU,), Signer.ATTESTATION)]
)
def test_signed_by_microsoft(extra, signer):
    data = make_catalog(LIST, signer=publisher(*extra), chain=(authority(),))
    signature = inspect(data, anchors=trusting(microsoft=(authority(),))).signature
    assert (signature.signer, signature.anchored) == (signer, True)
    assert [one.common_name for one in signature.chain] == [
        PUBLISHER,
        "Microsoft Windows Third Party Component CA 2014",
    ]


def test_authority_yet_unknown_under_the_root_of_microsoft():
    root = make_identity("Microsoft Root Certificate Authority 2010", authority=True, kind="rsa")
    newer = make_identity("Third Party Component CA 2030", issuer=root, authority=True)
    leaf = make_identity(PUBLISHER, issuer=newer, eku=(WHQL_EKU,))
    data = make_catalog(LIST, signer=leaf, chain=(newer,))
    name = "Microsoft Root Certificate Authority 2010"
    assert inspect(data, anchors=trusting(roots=((name, root),))).signature.signer is Signer.WHQL
    assert inspect(data, anchors=trusting(roots=((name, newer),))).signature.signer is Signer.OTHER
    assert inspect(data).signature.signer is Signer.OTHER


def test_forged_microsoft_names_are_not_microsoft():
    """The names are right in every certificate, the keys are not."""
    root = make_identity("Microsoft Root Certificate Authority 2010", authority=True)
    middle = make_identity(
        "Microsoft Windows Third Party Component CA 2014", issuer=root, authority=True
    )
    leaf = make_identity(PUBLISHER, issuer=middle, eku=(WHQL_EKU, CODE_EKU))
    alone = make_identity(PUBLISHER, eku=(WHQL_EKU, CODE_EKU))
    named = "Microsoft Windows Third Party Component CA 2014"
    renamed = make_identity(PUBLISHER, issuer_name=named, eku=(WHQL_EKU, CODE_EKU))
    for signer, chain in (
        (leaf, (middle, root)),
        (leaf, (middle,)),
        (leaf, ()),
        (alone, ()),
        (renamed, ()),
    ):
        signature = inspect(make_catalog(LIST, signer=signer, chain=chain)).signature
        assert signature.signer in {Signer.OTHER, Signer.TEST_SIGNED}
        assert not signature.anchored


def test_genuine_authority_beside_a_forged_leaf():
    """The known authority is in the catalog and is named, but never signed this leaf."""
    forged = make_identity(
        PUBLISHER,
        issuer_name="Microsoft Windows Third Party Component CA 2014",
        eku=(WHQL_EKU, CODE_EKU),
    )
    data = make_catalog(LIST, signer=forged, chain=(authority(),))
    signature = inspect(data, anchors=trusting(microsoft=(authority(),))).signature
    assert (signature.signer, signature.anchored) == (Signer.OTHER, False)
    assert len(signature.chain) == 1


def test_leaf_that_plays_authority():
    """A genuine certificate that is no authority must not vouch for another."""
    below = make_identity(PUBLISHER, issuer=publisher(), eku=(WHQL_EKU,))
    data = make_catalog(LIST, signer=below, chain=(publisher(), authority()))
    signature = inspect(data, anchors=trusting(microsoft=(authority(),))).signature
    assert (signature.signer, signature.anchored) == (Signer.OTHER, False)


@pytest.mark.parametrize(
    ("name", "eku"), [("Someone Else", (WHQL_EKU,)), (PUBLISHER, (CODE_EKU,)), (PUBLISHER, ())]
)
def test_other_certificates_of_microsoft(name, eku):
    leaf = make_identity(name, issuer=authority(), eku=eku)
    data = make_catalog(LIST, signer=leaf, chain=(authority(),))
    signature = inspect(data, anchors=trusting(microsoft=(authority(),))).signature
    assert (signature.signer, signature.anchored) == (Signer.OTHER, True)


def test_cross_signed():
    microsoft = make_identity("Microsoft Code Verification Root", authority=True)
    public = make_identity("Public Root", issuer=microsoft, authority=True)
    middle = make_identity("Code Signing CA", issuer=public, authority=True)
    leaf = make_identity("Red Hat, Inc.", issuer=middle)
    mail = make_identity("Red Hat, Inc.", issuer=middle, eku=("1.3.6.1.5.5.7.3.4",))
    anchors = trusting(cross=(public,))
    data = make_catalog(LIST, signer=leaf, chain=(public, middle))
    signature = inspect(data, anchors=anchors).signature
    assert (signature.signer, signature.anchored) == (Signer.CROSS_SIGNED, True)
    assert signature.root == "Microsoft Code Verification Root"
    assert inspect(data).signature.signer is Signer.OTHER
    without = make_catalog(LIST, signer=leaf, chain=(middle,))
    assert inspect(without, anchors=anchors).signature.signer is Signer.OTHER
    wrong = make_catalog(LIST, signer=mail, chain=(public, middle))
    assert inspect(wrong, anchors=anchors).signature.signer is Signer.OTHER


def test_public_authority_without_cross_certificate():
    """Windows knows it, its kernel does not: only Microsoft's cross certificate makes it one."""
    public = make_identity("Public Root", authority=True)
    leaf = make_identity("Red Hat, Inc.", issuer=public)
    data = make_catalog(LIST, signer=leaf, chain=(public,))
    assert inspect(data, anchors=trusting(cross=(public,))).signature.signer is Signer.OTHER


def test_known_root_is_the_one_of_microsoft():
    """The fingerprint is the one of the key in Microsoft's published list of roots."""
    ((name, key),) = known_anchors().roots
    assert name == "Microsoft Root Certificate Authority 2010"
    assert hashlib.sha256(key).hexdigest() == (
        "c9905b0ee01202293ca026e64f08412442c5504c06e44ca7e9726d61f20e4089"
    )
