"""What winseed tells: manifests, differences, and lines for people."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.build import Delivered, iso_name
from builder.difference import Difference, find_differences
from builder.disc import InlineFile, SourceFile
from builder.errors import WinseedError
from builder.manifest import load_manifest
from builder.media.image import Extent
from builder.media.shelf import Shelf
from builder.plan.make import Secrets
from builder.planning import plan_host
from builder.report import (
    describe_machine,
    iso_document,
    iso_lines,
    plan_lines,
    render_json,
    render_manifest,
)
from builder.spec.load import load_site
from builder.values import Secret

SHELF = Shelf()


def plan_of(text="", *, given=True):
    (host,) = load_site(text, source="s", folder=Path(), overrides={}).hosts
    secrets = Secrets(
        administrator=Secret("Very-Secret-1"),
        given=given,
        nonce="" if given else "drawn",
        accounts={},
        join_blob=None,
        on_medium=False,
    )
    return plan_host(host, site="winseed", shelf=SHELF, secrets=secrets, version="1.2.3")


def delivered(text="", *, given=True):
    plan = plan_of(text, given=given)
    password = None if given else Path("dist/x.password")
    return Delivered(
        plan=plan,
        iso=Path("dist/x.iso"),
        size=1_234_567,
        files=42,
        manifest=Path("dist/x.manifest.json"),
        password=password,
    )


def test_a_manifest_lists_every_file_and_hides_what_holds_secrets(tmp_path):
    (tmp_path / "source").write_bytes(b"....driver")
    files = {
        "autounattend.xml": InlineFile(data=b"secret"),
        "a.txt": InlineFile(data=b"text"),
        "d.sys": SourceFile(
            path=tmp_path / "source",
            extents=(Extent(offset=4, length=6),),
            sha256=hashlib.sha256(b"driver").hexdigest(),
        ),
    }
    data = render_manifest(plan_of(), files, secret={"autounattend.xml"}, epoch=7)
    document = json.loads(data)
    assert data.endswith(b"}\n")
    assert document["epoch"] == 7
    assert {row["path"]: (row["size"], row["sha256"]) for row in document["files"]} == {
        "a.txt": (4, hashlib.sha256(b"text").hexdigest()),
        "autounattend.xml": (6, None),
        "d.sys": (6, hashlib.sha256(b"driver").hexdigest()),
    }
    manifest = load_manifest(data, name="m")
    assert (manifest.host, manifest.winseed) == ("winsrv", "1.2.3")
    assert manifest.fingerprint == plan_of().fingerprint
    assert b"Very-Secret-1" not in data


@given(st.binary(max_size=80))
def test_what_is_no_manifest(data):
    with pytest.raises(WinseedError, match="not a manifest"):
        load_manifest(data, name="m")


def test_names_of_discs():
    assert iso_name(plan_of("defaults.release = '2025'")) == "winsrv-2025-core"
    text = "[defaults]\nsku = 'datacenter'\nedition = 'desktop'\n[[host]]\nname = 'DC01'\n"
    assert iso_name(plan_of(text)) == "dc01-2022-datacenter-desktop"


def test_a_result_in_under_ten_lines():
    for text in ("", "defaults.updates.mode = 'disabled'", "defaults.release = '2025'"):
        for given_one in (True, False):
            lines = iso_lines([delivered(text, given=given_one)])
            assert len(lines) < 10
            assert all("Very-Secret-1" not in line for line in lines)
    text = "\n".join(iso_lines([delivered(given=False)]))
    assert "dist/x.iso (1.2 MB, 42 files read back)" in text
    assert "dist/x.password (one-time, mode 0600); must be changed at first logon" in text
    opened = text.splitlines()[-1].partition(":")[0].split()
    assert len(opened) == len(set(opened))


def test_the_disabled_updates_name_who_must_turn_them_on():
    (line,) = [
        line
        for line in iso_lines([delivered("defaults.updates.mode = 'disabled'")])
        if line.startswith("updates ")
    ]
    assert "the administrator turns them on" in line
    assert "enable-updates.ps1" in line


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["neither installed nor announced", "with sconfig", "before production use"]),
        ("defaults.edition = 'desktop'", ["announced, not installed", "before production use"]),
        (
            "defaults.updates = {mode = 'wsus', server = 'http://w:8530'}",
            ["approve them there", "the administrator installs them with sconfig"],
        ),
    ],
)
def test_updates_say_who_installs_them_and_when(text, parts):
    """Server Core announces nothing: learn.microsoft.com, "Patch a Server Core installation"."""
    (line,) = [line for line in iso_lines([delivered(text)]) if line.startswith("updates ")]
    assert all(part in line for part in parts)


def test_scheduled_updates_need_nobody():
    text = "defaults.updates = {mode = 'wsus', server = 'http://w:8530', install = 'schedule'}"
    (line,) = [line for line in iso_lines([delivered(text)]) if line.startswith("updates ")]
    assert line.endswith("approve them there")


def test_an_assumed_channel_is_said():
    assert "eval media assumed" in "\n".join(iso_lines([delivered()]))
    told = "\n".join(iso_lines([delivered("defaults.channel = 'volume'")]))
    assert "volume media, image" in told


def test_every_card_is_told_with_its_address():
    text = """
[[host]]
name = "a1"
nic = [{ mac = "BC:24:11:00:00:01", vlan = 7 },
       { mac = "BC:24:11:00:00:02", model = "e1000e", bridge = "vmbr1" }]
"""
    (line,) = [line for line in iso_lines([delivered(text)]) if line.startswith("vm ")]
    assert "net0=virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7 " in line
    assert line.endswith("net1=e1000e=BC:24:11:00:00:02,bridge=vmbr1")
    assert any("on vmbr0 VLAN 7: DHCP" in line for line in plan_lines(plan_of(text)))


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("", "driver-paths, drvload"),  # nothing is carried: the ISO holds no $WinPEDriver$
        ("defaults.disk.bus = 'sata'", "none needed: Windows has the driver of a SATA disk"),
    ],
)
def test_only_ways_that_are_taken_are_told(text, ways):
    rows = dict(line.split(maxsplit=1) for line in plan_lines(plan_of(text)))
    assert rows["delivery"] == ways


@pytest.mark.parametrize(
    ("text", "console"),
    [
        ("", False),
        ("defaults.remote.rdp = true", True),
        ("defaults.remote.winrm = true", True),
        ("defaults.remote.rdp = true\ndefaults.expire_password = false", False),
    ],
)
def test_where_an_expired_password_is_changed(text, console):
    (line,) = [line for line in iso_lines([delivered(text)]) if line.startswith("password ")]
    assert ("at the console" in line) is console


def test_many_results_are_a_line_each_and_say_what_is_next():
    lines = iso_lines([delivered(), delivered(given=False)])
    assert "(unverified)  password: as given" in lines[0]
    assert "dist/x.password" in lines[1]
    assert "sata0 the answer ISO" in lines[-2]
    assert lines[-1].startswith("next ")
    assert "`winseed settle HOST`, or by hand: eject all three CDs and delete" in lines[-1]
    assert len(lines) == 5


def test_the_next_step_is_told():
    (line,) = [line for line in iso_lines([delivered()]) if line.startswith("next ")]
    words = ("mount, start", f"`winseed settle {plan_of().host.lower()}`", "delete this ISO")
    assert [word for word in words if word not in line] == []


def test_a_result_as_json():
    document = json.loads(render_json(iso_document([delivered(given=False), delivered()])))
    first, second = document["built"]
    assert (first["password_file"], second["password_file"]) == ("dist/x.password", None)
    assert first["slots"] == {"windows": "ide2", "virtio": "ide0", "answer": "sata0"}
    assert first["macs"] == [plan_of().nics[0].mac]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["bios=ovmf", "scsihw=virtio-scsi-single", "boot=order=scsi0;ide2", "memory=4096"]),
        ("defaults.edition = 'desktop'", ["memory=6144"]),
        ("defaults.disk.layout = 'bios'", ["bios=seabios"]),
        ("", ["efidisk0=efitype=4m,pre-enrolled-keys=1", "tpmstate0=version=v2.0"]),
        ("defaults.machine = {secure_boot = false, tpm = false}", ["efidisk0=efitype=4m"]),
        ("defaults.disk.bus = 'virtio'", ["boot=order=virtio0;ide2"]),
        ("defaults.disk.bus = 'sata'", ["boot=order=sata1;ide2"]),
        (
            "defaults.machine = {agent = false, cores = 7, cpu = 'x'}",
            ["agent=0", "cores=7", "cpu=x"],
        ),
    ],
)
def test_the_machine_in_the_words_of_proxmox(text, parts):
    told = describe_machine(plan_of(text))
    assert all(part in told.split() for part in parts)
    assert ("scsihw" in told) == ("scsi0" in told)


def test_a_plan_prints_one_fact_a_line():
    text = """
[[host]]
name = "a1"
[[host.nic]]
addresses = ["192.0.2.9/24"]
gateways = ["192.0.2.1"]
dns = ["192.0.2.53"]
[[host.data_disk]]
letter = "D"
size_gib = 5
slot = 2
"""
    lines = plan_lines(plan_of(text))
    assert all("\n" not in line for line in lines)
    rows = dict(line.split(maxsplit=1) for line in lines if not line.startswith(("data", "first")))
    assert rows["host"] == "a1"
    assert "192.0.2.9/24 via 192.0.2.1, DNS 192.0.2.53" in rows["nic"]
    assert any("D: 5 GiB ntfs 'Data', slot 2" in line for line in lines)
    assert "Very-Secret-1" not in "\n".join(lines)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
def test_nothing_differs_from_itself(value):
    assert find_differences(value, value) == []


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), json_values), st.text(min_size=1, max_size=3)
)
def test_a_changed_leaf_is_found(document, key):
    assert find_differences(document | {key: "then"}, document | {key: "now"}) == [
        Difference(path=key, then="then", now="now")
    ]


def test_differences_name_their_place():
    then = {"a": [{"b": 1}, {"b": 2}], "gone": "x", "nonce": "1", "list": [1]}
    now = {"a": [{"b": 1}, {"b": 3}], "new": None, "nonce": "2", "list": [1, 2]}
    assert find_differences(then, now) == [
        Difference(path="a[1].b", then="2", now="3"),
        Difference(path="new", then="(none)", now="null"),
        Difference(path="list", then="[1]", now="[1, 2]"),
        Difference(path="gone", then="x", now="(none)"),
    ]


def test_rows_of_their_own_are_compared_one_by_one():
    """A risk more or a partition more must not print both lists whole."""
    then = {"risks": [{"id": "A", "what": "a"}, {"id": "B", "what": "b"}], "disks": [{"n": 1}]}
    now = {"risks": [{"id": "B", "what": "b"}], "disks": [{"n": 1}, {"n": 2}]}
    assert find_differences(then, now) == [
        Difference(path="risks[A]", then='{"id": "A", "what": "a"}', now="(none)"),
        Difference(path="disks[1]", then="(none)", now='{"n": 2}'),
    ]
