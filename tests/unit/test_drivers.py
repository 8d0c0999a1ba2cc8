"""The driver tables: folders per release, known-bad combinations, and the page that shows them."""

import re

import pytest

from builder.devices import known_devices
from builder.drivers import (
    Combination,
    candidate_folders,
    choose_folder,
    find_known_bad,
    known_bad,
    known_drivers,
    load_layout,
    os_folders,
)
from builder.errors import ExitCode, WinseedError
from builder.releases import release_ids
from tests.command import ROOT

ALL = {"2k8R2", "2k12R2", "2k16", "2k19", "2k22", "2k25", "w10", "w11"}
PAGE = ROOT / "docs" / "drivers.md"


def folders(release, virtio, present=ALL, *, signed):
    found = candidate_folders(release, virtio, present, source="disc", signed=signed)
    return [folder.os for folder in found]


@pytest.mark.parametrize(
    ("release", "virtio", "unread", "read"),
    [
        ("2025", "0.1.285", ["2k25"], ["2k25"]),
        ("2022", "0.1.285", ["2k22"], ["2k22"]),
        ("2022", "1.9.46", ["2k22"], ["2k22"]),
        ("2019", "0.1.189", ["2k19"], ["2k19"]),
        # its own folder is test-signed from 0.1.217 on; who reads the disc need not know that
        ("2012r2", "0.1.271", ["2k8R2"], ["2k12R2", "2k8R2"]),
        ("2012r2", "0.1.217", ["2k8R2"], ["2k12R2", "2k8R2"]),
        ("2012r2", "0.1.215", ["2k12R2"], ["2k12R2"]),
        ("2012r2", "0.1.189", ["2k12R2"], ["2k12R2"]),
        ("2012r2", None, ["2k12R2", "2k8R2"], ["2k12R2", "2k8R2"]),
        ("2012r2", "1.9.46", ["2k12R2", "2k8R2"], ["2k12R2", "2k8R2"]),
    ],
)
def test_candidate_folders(release, virtio, unread, read):
    assert folders(release, virtio, signed=True) == unread
    assert folders(release, virtio, signed=False) == read


def test_2k19_stands_in_for_an_absent_2k22_only():
    older = ALL - {"2k22", "2k25", "w11"}
    assert folders("2022", "0.1.208", older, signed=True) == ["2k19"]
    assert folders("2022", None, older, signed=False) == ["2k19"]
    assert folders("2022", None, {os.upper() for os in ALL}, signed=False) == ["2k22"]


@pytest.mark.parametrize(
    ("release", "virtio", "present", "words"),
    [
        ("2025", "0.1.248", ALL - {"2k25"}, ["2k25", "0.1.262 or later"]),
        ("2012r2", "0.1.217", {"2k12R2"}, ["0.1.189 up to but not 0.1.217", "0.1.217 or later"]),
        ("2022", "0.1.271", (), ["2k22", "it has none"]),
    ],
)
def test_no_folder_for_a_release(release, virtio, present, words):
    with pytest.raises(WinseedError) as caught:
        choose_folder(release, virtio, present, source="virtio-win.iso")
    assert caught.value.code is ExitCode.MEDIA
    assert "virtio-win.iso has no drivers" in caught.value.what
    for word in words:
        assert word in caught.value.hint


def test_every_release_has_a_folder():
    assert {folder.release for folder in os_folders()} == set(release_ids())


def test_drivers_and_devices_agree():
    devices = {row.name: row for row in known_devices() if row.driven_by == "virtio-win"}
    assert {driver.device for driver in known_drivers()} == set(devices)
    for driver in known_drivers():
        row = devices[driver.device]
        forms = [form.device for form in (row.transitional, row.modern) if form]
        assert list(driver.pci) == forms, driver.name


def test_layouts_have_the_storage_drivers_of_every_folder():
    layout = load_layout("0.1.271")
    for os in {folder.os for folder in os_folders()}:
        for driver in known_drivers():
            if driver.boot:
                files = layout.folders[f"{driver.name}/{os}/amd64"]
                assert f"{driver.name}.inf" in files


# Known-bad table


def bad(virtio, release="2022", **keys):
    values = {
        "os": "2k22",
        "drivers": ("vioscsi", "viostor", "NetKVM", "Balloon", "vioserial"),
        "devices": ("virtio-scsi", "virtio-net"),
        "installers": ("qemu-ga",),
        "cores": 2,
    }
    found = find_known_bad(Combination(virtio_release=virtio, release=release, **(values | keys)))
    return {row.id for row in found if row.level != "note"}


@pytest.mark.parametrize(
    ("virtio", "release", "keys", "expected"),
    [
        ("0.1.271", "2022", {}, set()),
        ("0.1.271", "2022", {"devices": ("virtio-blk",)}, {"KB12"}),
        ("0.1.271", "2025", {}, {"KB04"}),
        ("1.9.46", "2025", {}, {"KB04"}),
        ("0.1.285", "2022", {}, {"KB01", "KB03"}),
        ("0.1.285", "2022", {"devices": ("virtio-blk",)}, {"KB01", "KB02", "KB03"}),
        ("0.1.285", "2025", {"cores": 64}, {"KB01", "KB03", "KB11"}),
        ("0.1.285", "2025", {"cores": 60}, {"KB01", "KB03", "KB11"}),
        ("0.1.285", "2025", {"cores": 59}, {"KB01", "KB03"}),
        ("0.1.240", "2019", {}, {"KB05"}),
        ("0.1.208", "2019", {}, set()),
        ("0.1.262", "2019", {}, {"KB05", "KB13"}),
        ("0.1.262", "2019", {"installers": ()}, {"KB05"}),
        ("0.1.266", "2019", {}, set()),
        ("0.1.217", "2022", {}, {"KB05", "KB08"}),
        ("0.1.190", "2012r2", {"os": "2k8R2"}, {"KB06"}),
        ("0.1.190", "2012r2", {"os": "2k12R2"}, set()),
        ("0.1.215", "2012r2", {"os": "2k12R2"}, {"KB05", "KB07"}),
        ("0.1.302", "2025", {}, set()),
        ("0.1.285", "2025", {"drivers": ("smbus",)}, {"KB09"}),
        ("0.1.285", "2022", {"drivers": ("smbus", "sriov")}, {"KB10"}),
        ("0.1.208", "2016", {"installers": ("guest-tools",)}, {"KB17"}),
        ("0.1.271", "2012r2", {"installers": ("virtio-win-gt",)}, {"KB18"}),
        ("0.1.285", "2025", {"installers": ("guest-tools",), "drivers": ()}, {"KB19"}),
    ],
)
def test_known_bad(virtio, release, keys, expected):
    assert bad(virtio, release, **keys) == expected


def test_notes_name_the_family_of_the_disc():
    def notes(virtio):
        rows = find_known_bad(
            Combination(virtio_release=virtio, release="2022", os="2k22", drivers=(), devices=(),
                        installers=(), cores=1)
        )  # fmt: skip
        return [row.id for row in rows if row.level == "note"]

    assert notes("1.9.46") == ["KB22"]
    assert notes("0.1.271") == ["KB23"]
    assert notes("unknown") == []


def test_rows_are_whole():
    rows = known_bad()
    assert [row.id for row in rows] == [f"KB{number:02}" for number in range(1, len(rows) + 1)]
    devices = {row.name for row in known_devices()}
    systems = {folder.os for folder in os_folders()}
    for row in rows:
        assert row.level in {"refuse", "warn", "note"}
        assert row.reason
        assert row.way_out
        # a refusal that rests on reports names them
        assert re.search(r"#\d+|[0-9a-f]{7,}|\.inf|\.cat|spec", row.source), row.id
        assert set(row.releases) <= set(release_ids())
        assert set(row.folders) <= systems
        assert not row.disk or row.disk in devices


# The page


def table_of_the_page():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if re.match(r"\| KB\d\d \|", line)]


def test_the_page_shows_every_row():
    """docs/drivers.md, to be changed with drivers/known-bad.toml."""
    expected = [
        f"| {row.id} | {row.level} | {row.reason} | {row.way_out} | {row.source} |"
        for row in known_bad()
    ]
    assert table_of_the_page() == expected


def test_the_page_shows_every_folder():
    text = PAGE.read_text(encoding="utf-8")
    for folder in os_folders():
        assert f"`{folder.os}`" in text
    for driver in known_drivers():
        assert driver.name in text
