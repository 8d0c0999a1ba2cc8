"""Drivers chosen from real discs, whose catalogs are signed by keys made for the test."""

import functools
import hashlib
import json

import pytest

from builder.devices import make_devices
from builder.errors import ExitCode, WinseedError
from builder.machine import make_machine
from builder.match import Served, Unserved, match_devices
from builder.media.image import inspect_image
from builder.media.shelf import Shelf
from builder.plan.drivers import choose_drivers, make_drivers, signature_risks
from builder.planning import inspect_drivers
from builder.releases import load_release
from builder.spec.model import HostSpec
from builder.vm_config import load_machine
from tests import catalogs, media
from tests.command import authority, publisher, winseed

# what these tests do not look at
BULK = ("viogpudo", "vioinput", "pvpanic", "fwcfg", "qemufwcfg", "qemupciserial", "smbus", "sriov",
        "amd64", "i386", "x86", *(f"{driver}/{system}"
        for driver in ("vioscsi", "viostor", "NetKVM", "Balloon", "vioserial", "viorng", "viofs")
        for system in ("w10", "w11", "2k19")))  # fmt: skip
CONFIG = """\
agent: 1
bios: ovmf
boot: order=scsi0;ide2
efidisk0: a:vm-1-disk-1,efitype=4m,pre-enrolled-keys=1
ide2: none,media=cdrom
machine: q35
name: dc01
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0
ostype: win11
rng0: source=/dev/urandom
scsi0: a:vm-1-disk-0,size=60G
scsihw: virtio-scsi-single
virtiofs0: share
"""


@functools.cache
def stranger():
    """Signs soundly, under an authority that winseed does not know."""
    above = catalogs.make_identity("Stranger Root", authority=True)
    return above, catalogs.make_identity("Stranger", issuer=above)


def sign(files, kind):
    members = [
        catalogs.member(hashlib.sha256(data).digest(), name, flat=True) for name, data in files
    ]
    listing = catalogs.trust_list(*sorted(members))
    if kind == "microsoft":
        return catalogs.make_catalog(listing, signer=publisher(), chain=(authority(),))
    if kind == "stranger":
        above, leaf = stranger()
        return catalogs.make_catalog(listing, signer=leaf, chain=(above,))
    if kind == "test":
        return catalogs.make_catalog(listing, signer=catalogs.self_signed())
    return catalogs.make_catalog(listing)


def make_disc(target, *, release="0.1.271", kinds=None, default="microsoft", drop=(), **options):
    """A disc signed by `default`, or as `kinds` says for paths that begin so."""
    tree = media.virtio_tree(release=release, drop=(*BULK, *drop))
    made = {}
    for path in tree:
        if not path.endswith(".cat"):
            continue
        folder = path.rpartition("/")[0]
        files = [
            (name.rpartition("/")[2], content)
            for name, (_, content) in tree.items()
            if name.rpartition("/")[0] == folder and name.endswith((".inf", ".sys", ".dll"))
        ]
        files += [
            (name.rpartition("/")[2], content)
            for name, (_, content) in tree.items()
            if name == f"{folder}/netkvmp.exe"
        ]
        kind = next((k for start, k in (kinds or {}).items() if path.startswith(start)), default)
        made[path] = sign(files, kind)
    return media.make_virtio_iso(
        target,
        release=release,
        drop=(*BULK, *drop),
        extra=made | options.pop("extra", {}),
        **options,
    )


def host(path, release="2022", **keys):
    return HostSpec.model_validate({"name": "srv", "release": release, **keys}).model_copy(
        update={"virtio_iso": path}
    )


def facts(spec):
    release = load_release(spec.release)
    machine = make_machine(spec, release)
    return machine, release, inspect_drivers(spec, machine, release, Shelf())


def choose(spec):
    return choose_drivers(*facts(spec))


def drivers(spec):
    _, release, found = facts(spec)
    return make_drivers(spec, release, found)


@pytest.fixture(scope="module")
def disc(tmp_path_factory):
    return make_disc(tmp_path_factory.mktemp("drivers") / "v.iso")


@pytest.mark.usefixtures("trusted")
def test_a_configuration_against_a_disc(disc):
    machine = load_machine(CONFIG, source="vm.conf")
    release = load_release("2022")
    found = inspect_drivers(host(disc), machine, release, Shelf())
    choice = choose_drivers(machine, release, found)
    matches = match_devices(make_devices(machine), choice.offers)
    assert {
        m.device.name: (m.offer.where, m.offer.version, m.offer.verdict.level.value)
        for m in matches
        if isinstance(m, Served)
    } == {
        name: (f"{folder.split('/')[0]}/2k22/amd64/{inf}.inf", "100.100.104.27100", "note")
        for name, folder, inf in (
            ("virtio-scsi", "vioscsi", "vioscsi"),
            ("virtio-net", "NetKVM", "netkvm"),
            ("virtio-serial", "vioserial", "vioser"),
            ("balloon", "Balloon", "balloon"),
            ("rng", "viorng", "viorng"),
            ("virtiofs", "viofs", "viofs"),
        )
    }
    assert not any(isinstance(match, Unserved) for match in matches)


@pytest.mark.usefixtures("trusted")
def test_attested_drivers_are_one_risk(disc):
    plan, risks = drivers(host(disc))
    (note,) = [risk for risk in risks if risk.id == "DS03"]
    names = [package.driver for package in plan.packages]
    assert names == ["vioscsi", "viostor", "NetKVM", "Balloon", "vioserial"]
    assert note.what.startswith(", ".join(names) + ": signed by Microsoft on the vendor's word")
    assert "code-signing-reqs" in note.source
    # what is only worth knowing stays out of the plan
    assert [risk.id for risk in risks] == ["DS03"]


def test_a_stranger_is_a_warning_with_his_name(tmp_path):
    path = make_disc(tmp_path / "v.iso", default="stranger")
    plan, risks = drivers(host(path))
    warned = [risk for risk in risks if risk.id == "DS02"]
    assert len(warned) == len(plan.packages) == 5
    assert all("Stranger Root" in risk.what for risk in warned)
    assert {package.signer for package in plan.packages} == {"other"}


# Server 2012 R2: the actual signature decides


@pytest.mark.parametrize(
    ("release", "kinds", "folder"),
    [
        ("0.1.271", {}, "2k12R2"),  # signed again by somebody: no reason to refuse it
        ("0.1.271", {"vioscsi/2k12R2": "test"}, "2k8R2"),
        ("0.1.271", {"viostor/2k12R2": "test"}, "2k8R2"),
        ("0.1.271", {"NetKVM/2k12R2": "test"}, "2k12R2"),  # nothing Windows starts from
        ("0.1.271", {"NetKVM/2k12R2": "unsigned"}, "2k12R2"),
        ("0.1.189", {}, "2k12R2"),
    ],
)
def test_2012_r2_takes_the_first_folder_it_would_load(tmp_path, release, kinds, folder):
    path = make_disc(tmp_path / "v.iso", release=release, kinds=kinds, default="stranger")
    assert choose(host(path, "2012r2", disk={"layout": "bios"})).folder.os == folder


def test_a_folder_without_storage_drivers_is_no_candidate(tmp_path):
    drop = ("vioscsi/2k12R2", "viostor/2k12R2")
    path = make_disc(tmp_path / "v.iso", default="stranger", drop=drop)
    assert choose(host(path, "2012r2", disk={"layout": "bios"})).folder.os == "2k8R2"


def test_2012_r2_without_any_folder_it_would_load(tmp_path):
    path = make_disc(tmp_path / "v.iso", default="test")
    spec = host(path, "2012r2", disk={"layout": "bios"})
    choice = choose(spec)
    assert [problem.where for problem in choice.rejected] == [
        f"{driver}/{folder}/amd64/{driver}.inf"
        for folder in ("2k12R2", "2k8R2")
        for driver in ("vioscsi", "viostor")
    ]
    with pytest.raises(WinseedError) as caught:
        drivers(spec)
    assert caught.value.code is ExitCode.MEDIA
    assert caught.value.problems == choice.rejected
    assert "2k12R2 (virtio-win 0.1.189 up to but not 0.1.217)" in caught.value.hint
    assert "2k8R2 (virtio-win 0.1.217 or later)" in caught.value.hint


def test_2012_r2_on_an_old_disc_with_its_folder_test_signed(tmp_path):
    # 2k8R2 is no way out before 0.1.217
    path = make_disc(
        tmp_path / "v.iso", release="0.1.189", kinds={"vioscsi/2k12R2": "test"}, default="stranger"
    )
    assert [p.where for p in choose(host(path, "2012r2", disk={"layout": "bios"})).rejected] == [
        "vioscsi/2k12R2/amd64/vioscsi.inf"
    ]


# What stops a build, and what does not


@pytest.mark.usefixtures("trusted")
def test_an_optional_driver_with_a_test_key_is_left_out(tmp_path):
    path = make_disc(tmp_path / "v.iso", kinds={"Balloon/2k22": "test"})
    plan, risks = drivers(host(path))
    assert "Balloon" not in {package.driver for package in plan.packages}
    assert plan.without_driver == ("balloon",)
    (left_out,) = [risk for risk in risks if risk.id == "DS01"]
    assert left_out.what.startswith("left out: Balloon/2k22/amd64/balloon.inf")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kind", ["test", "unsigned"])
def test_a_storage_driver_without_a_signature_stops_it(tmp_path, kind):
    path = make_disc(tmp_path / "v.iso", kinds={"viostor/2k22": kind})
    with pytest.raises(WinseedError) as caught:
        drivers(host(path))
    assert [problem.where for problem in caught.value.problems] == [
        "viostor/2k22/amd64/viostor.inf"
    ]


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("vioscsi/2k22/amd64/vioscsi.inf", 3),  # in a remark: the INF says the same
        ("NetKVM/2k22/amd64/netkvm.sys", 4711),
        ("viorng/2k22/amd64/viorngum.dll", -1),
        ("vioserial/2k22/amd64/vioser.cat", -5),
        ("vioscsi/2k22/amd64/vioscsi.cat", 200),
    ],
)
def test_one_changed_byte_stops_it(tmp_path, disc, name, at):
    image = inspect_image(disc)
    evil = bytearray(image.read(image.find(name)))
    evil[at] ^= 1
    path = make_disc(tmp_path / "v.iso", extra={name: bytes(evil)})
    with pytest.raises(WinseedError) as caught:
        drivers(host(path, machine={"rng": True}))
    assert caught.value.code is ExitCode.MEDIA
    where = {problem.where for problem in caught.value.problems}
    assert {one.rpartition("/")[0] for one in where} == {name.rpartition("/")[0]}


@pytest.mark.usefixtures("trusted")
def test_an_absent_storage_driver_is_told_by_its_device(tmp_path):
    path = make_disc(tmp_path / "v.iso", drop=("vioscsi",))
    with pytest.raises(WinseedError) as caught:
        drivers(host(path))
    (problem,) = caught.value.problems
    assert "no driver for virtio-scsi" in problem.what
    plan, _ = drivers(host(path, disk={"bus": "virtio"}))
    assert plan.without_driver == ()


@pytest.mark.usefixtures("trusted")
def test_2k25_packages_do_not_fit_2016(tmp_path, disc):
    # as on a disc whose folders somebody mixed up: the decoration is NTamd64.10.0...16299
    tree = media.virtio_tree()
    mixed = {
        name.replace("/2k25/", "/2k16/"): content
        for name, (_, content) in tree.items()
        if name.startswith("vioscsi/2k25/") and not name.endswith(".cat")
    }
    files = [(n.rpartition("/")[2], data) for n, data in mixed.items() if not n.endswith(".pdb")]
    mixed["vioscsi/2k16/amd64/vioscsi.cat"] = sign(files, "microsoft")
    path = make_disc(tmp_path / "v.iso", extra=mixed)
    with pytest.raises(WinseedError) as caught:
        drivers(host(path, "2016"))
    (problem,) = caught.value.problems
    assert "the INF is for another Windows" in problem.what
    assert drivers(host(disc, "2016"))[0].os == "2k16"


@pytest.mark.usefixtures("trusted")
def test_the_agent_is_carried(disc):
    plan, _ = drivers(host(disc))
    assert plan.agent.file.size == 100_000
    assert plan.balloon_service.path == "drivers/Balloon/blnsvr.exe"


# `winseed drivers`


@pytest.mark.usefixtures("trusted")
def test_the_table(disc, tmp_path, capsys):
    (tmp_path / "vm.conf").write_text(CONFIG)
    done = winseed(
        capsys, "drivers", "--for", tmp_path / "vm.conf", "--virtio-iso", disc, "--release", "2025"
    )
    assert done.code == 0, done.err
    assert "virtio-win 0.1.271, folder 2k25\n" in done.out
    (row,) = [line for line in done.out.splitlines() if line.startswith("virtio-scsi*")]
    assert row.split() == [
        "virtio-scsi*", "scsi0", "1af4:1004", "vioscsi", "vioscsi/2k25/amd64/vioscsi.inf",
        "100.100.104.27100", "attestation", "note",
    ]  # fmt: skip
    assert "DS03" in done.out
    assert "KB04" in done.out
    assert done.out.endswith("every device has a driver\n")


@pytest.mark.usefixtures("trusted")
def test_the_table_as_json(disc, tmp_path, capsys):
    (tmp_path / "vm.conf").write_text(CONFIG.replace("virtio-scsi-single", "pvscsi"))
    done = winseed(capsys, "drivers", "--for", tmp_path / "vm.conf", "--virtio-iso", disc, "--json")
    assert done.code == 3
    assert "pvscsi: not served by virtio-win" in done.err
    (machine,) = json.loads(done.out)["machines"]
    assert machine["sound"] is False
    assert (machine["release"], machine["release_assumed"]) == ("2022", True)
    by_name = {device["device"]: device for device in machine["devices"]}
    assert by_name["pvscsi"]["served_by"] is None
    assert by_name["pvscsi"]["boot_critical"] is True
    assert by_name["virtio-net"]["hardware_id"] == ("PCI\\VEN_1AF4&DEV_1000&SUBSYS_00011AF4&REV_00")
    assert by_name["virtio-net"]["signer"] == "attestation"


@pytest.mark.usefixtures("trusted")
def test_a_refused_storage_driver_still_gives_the_table(tmp_path, capsys):
    path = make_disc(tmp_path / "v.iso", kinds={"vioscsi/2k22": "test"})
    done = winseed(capsys, "drivers", "--virtio-iso", path, "--release", "2022")
    assert done.code == 3
    (row,) = [line for line in done.out.splitlines() if line.startswith("virtio-scsi*")]
    assert "NONE" in row
    assert "test certificate" in row
    assert "Windows starts from it" in done.out


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "no VM configuration"), (b"\xff\xfe", "not UTF-8"), (b"x" * (2 << 20), "too large")],
)
def test_files_that_are_no_configuration(tmp_path, capsys, content, word):
    (tmp_path / "vm.conf").write_bytes(content)
    done = winseed(capsys, "drivers", "--for", tmp_path / "vm.conf")
    assert done.code == 2
    assert word in done.err
    assert done.out == ""


def test_a_configuration_that_is_not_there(tmp_path, capsys):
    done = winseed(capsys, "drivers", "--for", tmp_path / "none.conf")
    assert done.code == 2
    assert "cannot read" in done.err


def test_signature_risks_of_packages_nobody_read():
    spec = HostSpec.model_validate({"name": "srv", "release": "2022"})
    _, release, layout = facts(spec)
    choice = choose_drivers(make_machine(spec, release), release, layout)
    assert choice.offers
    assert signature_risks(choice.offers) == ()
