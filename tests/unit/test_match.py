"""Devices held against driver packages, by the ids that real INF files and QEMU have."""

import dataclasses
from types import SimpleNamespace

import pytest

from builder.devices import make_devices
from builder.drivers import choose_folder, known_drivers, load_layout
from builder.match import (
    Inbox,
    Offer,
    Served,
    Unserved,
    layout_offers,
    make_offers,
    match_devices,
)
from builder.media.catalog import CatalogCheck, Level, Signer
from builder.media.inf import load_inf
from builder.releases import load_release
from builder.vm_config import load_machine
from tests import media_drivers

DRIVERS = {driver.name: driver for driver in known_drivers()}
RELEASE = load_release("2022")


def package(name, *, source="Win10", build=271, signer=Signer.ATTESTATION, missing=()):
    """What a reader reports of a package; the INF is a synthetic one with real ids."""
    (made,) = [one for one in media_drivers.PACKAGES if one.driver == name]
    text = media_drivers.inf_text(made, source, build, made.listed)
    return SimpleNamespace(
        folder=SimpleNamespace(path=f"{name}/2k22/amd64", driver=name),
        inf=load_inf(text, name=f"{made.stem}.inf"),
        missing=missing,
        check=CatalogCheck(signer=signer, files=(), absent=()),
        signed_by="somebody",
        authority="some authority",
    )


def offers(*packages, release=RELEASE, secure_boot=True):
    pairs = [(DRIVERS[one.folder.driver], one) for one in packages]
    return make_offers(pairs, release, secure_boot=secure_boot)


def devices(text):
    return make_devices(load_machine(text, source="vm.conf"))


EVERYTHING = """\
agent: 1
rng0: source=/dev/urandom
scsihw: virtio-scsi-single
scsi0: a:b
virtio1: a:c
vga: virtio
virtiofs0: share
net0: virtio=AA
net1: e1000e=BB
"""


def test_every_device_gets_its_driver():
    found = match_devices(devices(EVERYTHING), offers(*map(package, DRIVERS_OF_2022)))
    assert {match.device.name: match.offer.inf for match in found if isinstance(match, Served)} == {
        "virtio-scsi": "vioscsi.inf",
        "virtio-blk": "viostor.inf",
        "virtio-net": "netkvm.inf",
        "virtio-serial": "vioser.inf",
        "balloon": "balloon.inf",
        "rng": "viorng.inf",
        "virtio-vga": "viogpudo.inf",
        "virtiofs": "viofs.inf",
    }
    assert [m.device.name for m in found if isinstance(m, Inbox)] == ["e1000e"]
    assert not any(isinstance(match, Unserved) for match in found)


DRIVERS_OF_2022 = [
    "vioscsi", "viostor", "NetKVM", "vioserial", "Balloon", "viorng", "viogpudo", "viofs",
]  # fmt: skip


def test_the_closest_id_is_the_one_they_meet_at():
    (match,) = match_devices(devices("scsihw: virtio-scsi-pci\nscsi0: a:b\nvga: none\nballoon: 0"),
                             offers(package("vioscsi")))  # fmt: skip
    assert match.hardware_id == "PCI\\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00"


STORAGE = "scsihw: virtio-scsi-pci\nscsi0: a:b\nvga: none\nballoon: 0"


def only(found):
    (match,) = found
    return match


def test_an_inf_with_subsystem_ids_only_serves():
    # vioscsi, viorng and vioserial of 2k8R2 name no bare id
    whole = only(offers(package("vioscsi")))
    ids = frozenset(one for one in whole.ids if "SUBSYS" in one)
    match = only(match_devices(devices(STORAGE), [dataclasses.replace(whole, ids=ids)]))
    assert isinstance(match, Served)


def test_an_inf_for_the_modern_form_alone_does_not_serve():
    whole = only(offers(package("vioscsi")))
    ids = frozenset(one for one in whole.ids if "DEV_1048" in one)
    match = only(match_devices(devices(STORAGE), [dataclasses.replace(whole, ids=ids)]))
    assert isinstance(match, Unserved)
    assert match.why == "vioscsi/2k22/amd64/vioscsi.inf does not name 1af4:1004"
    assert match.device.boot_critical


def test_the_driver_of_the_other_disk_does_not_serve():
    match = only(match_devices(devices(STORAGE), offers(package("viostor"))))
    assert isinstance(match, Unserved)
    assert match.why == "no package of it in this folder"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"signer": Signer.TEST_SIGNED}, "test certificate"),
        ({"signer": Signer.TAMPERED}, "do not belong together"),
        ({"signer": Signer.UNSIGNED}, "not signed"),
        ({"signer": Signer.CROSS_SIGNED}, "signed by its vendor only"),
        ({"missing": ("vioscsi.sys",)}, "the INF names vioscsi.sys, which the disc has not"),
        # a 2k25 package on Server 2022 fits, on 2016 it does not: NTamd64.10.0...16299
        ({"source": "Win11", "release": "2016"}, "the INF is for another Windows"),
    ],
)
def test_a_package_that_windows_would_not_take(change, why):
    release = load_release(change.pop("release", "2022"))
    made = offers(package("vioscsi", **change), release=release)
    match = only(match_devices(devices(STORAGE), made))
    assert isinstance(match, Unserved)
    assert why in match.why
    assert match.why.startswith("vioscsi/2k22/amd64/vioscsi.inf: ")


def test_a_second_package_stands_in_for_a_refused_one():
    bad, good = package("vioscsi", signer=Signer.TAMPERED), package("vioscsi")
    match = only(match_devices(devices(STORAGE), offers(bad, good)))
    assert isinstance(match, Served)
    assert match.offer.package is good


def test_an_unknown_authority_is_a_warning():
    (offer,) = offers(package("vioscsi", signer=Signer.OTHER))
    assert offer.verdict.level is Level.WARN
    assert "some authority" in offer.verdict.text
    assert offer.usable


def test_a_test_signed_extra_is_left_out_but_not_refused():
    (offer,) = offers(package("viorng", signer=Signer.TEST_SIGNED))
    assert not offer.usable
    assert not offer.refused


@pytest.mark.parametrize("model", ["pvscsi", "lsi", "megasas", "lsi53c810"])
def test_controllers_that_virtio_win_does_not_serve(model):
    match = only(match_devices(devices(f"scsihw: {model}\nscsi0: a:b\nvga: none\nballoon: 0"), ()))
    assert isinstance(match, Unserved)
    assert match.device.boot_critical
    assert match.why == ("not served by virtio-win; attach the disks by scsihw virtio-scsi-single")


def test_qxl_has_no_driver_for_2022():
    layout = load_layout("0.1.271")
    folder = choose_folder("2022", "0.1.271", {"2k22"}, source="test")
    made = layout_offers(layout, folder, DRIVERS.values())
    found = match_devices(devices("vga: qxl\nballoon: 0"), made)
    assert [(m.device.name, type(m)) for m in found] == [
        ("qxl", Unserved),
        ("virtio-serial", Served),
    ]


@pytest.mark.parametrize("release", ["2016", "2019", "2022", "2025"])
def test_layouts_serve_every_virtio_device(release):
    folder = choose_folder(release, "0.1.271", {"2k16", "2k19", "2k22", "2k25"}, source="test")
    made = layout_offers(load_layout("0.1.271"), folder, DRIVERS.values())
    found = match_devices(devices(EVERYTHING), made)
    assert not any(isinstance(match, Unserved) for match in found)
    assert all(isinstance(one, Offer) and one.verdict is None for one in made)
