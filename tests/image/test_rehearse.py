"""`winseed rehearse` on discs written by other tools, on machines in Proxmox VE's own words."""

import json

import pytest

from builder.cli import main
from builder.media.image import inspect_image
from builder.rehearsal.discs import inspect_disc_facts
from tests import rehearsals as base
from tests.command import winseed
from tests.media import make_disc, make_virtio_iso, make_windows_iso

PLAIN = ["-input-charset", "iso8859-1", "-V", "ANSWER"]


@pytest.fixture(autouse=True)
def verb(monkeypatch):
    monkeypatch.setitem(main.VERBS, "rehearse", "walk what Setup will do")


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    path = tmp_path_factory.mktemp("conf") / "vm.conf"
    path.write_text(base.CONFIG)
    return path


def foreign(folder, options, name="autounattend.xml", text=base.ANSWER):
    files = {name: text.encode(), "scripts/agent.cmd": b"@echo off\r\n"}
    return make_disc(folder / "answer.iso", files, [*options, *PLAIN])


def document(capsys, *arguments):
    done = winseed(capsys, "rehearse", "--json", *arguments)
    loaded = json.loads(done.out)
    assert loaded["version"] == 1
    (found,) = loaded["rehearsals"]
    assert done.code == found["exit_code"]
    return found


def steps(found):
    return {
        step["id"]: (step["verdict"], step["what"], step["beliefs"])
        for stage in found["stages"]
        for step in stage["steps"]
    }


def test_our_own_disc_on_its_own_machine(capsys, discs, trusted):
    found = document(
        capsys,
        "--windows-iso", discs["windows-2022-volume"],
        "--virtio-iso", discs["virtio"],
    )  # fmt: skip
    assert found["counts"]["stop"] == 0
    walked = steps(found)
    assert walked["storage.disk"][0] == "risk"
    assert walked["storage.disk"][2] == ["FT01", "FT02", "FT03"]
    assert walked["image.choice"][0] == "ok"
    assert walked["discovery.winner"][0] == "ok"
    served = {row["device"]: row["driver"] for row in found["devices"]}
    assert served["virtio-scsi (scsi0)"] == "vioscsi"
    assert served["virtio-net (net0)"] == "NetKVM"
    assert [part["size_mib"] for part in found["disk"]["partitions"]] == [260, 16, 61162]


def test_an_iso_that_exists_tells_its_own_machine(capsys, discs, trusted, tmp_path):
    iso = tmp_path / "answer.iso"
    virtio = ("--virtio-iso", discs["virtio"])
    assert winseed(capsys, "iso", *virtio, "-o", iso).code == 0
    found = document(capsys, "--answer-iso", iso, *virtio)
    assert found["machine"] == "winsrv"
    assert found["counts"]["stop"] == 0 or "firmware.windows" in steps(found)
    assert steps(found)["storage.disk"][2] == ["FT01", "FT02", "FT03"]
    assert steps(found)["partitions.wipe"][2] == ["FT04"]
    # the agent is carried, and the virtio-win CD holds one as well
    assert steps(found)["first-boot.agent"][1].endswith(f"from {iso.name}")


def test_a_bad_release_is_told_by_the_disc_it_was_carried_from(capsys, discs, trusted, tmp_path):
    bad, good = tmp_path / "bad.iso", tmp_path / "good.iso"
    old, new = discs["virtio-0.1.285"], discs["virtio"]
    assert winseed(capsys, "iso", "--virtio-iso", old, "-o", bad).code == 0
    found = document(capsys, "--answer-iso", bad, "--virtio-iso", new)
    assert steps(found)["devices.known-bad"][1].startswith("KB")
    assert winseed(capsys, "iso", "--virtio-iso", new, "-o", good).code == 0
    found = document(capsys, "--answer-iso", good, "--virtio-iso", old)
    assert "devices.known-bad" not in steps(found)


def test_our_own_disc_on_another_machine(capsys, discs, trusted, tmp_path):
    other = tmp_path / "vm.conf"
    other.write_text(base.CONFIG.replace("scsihw: virtio-scsi-single", "scsihw: megasas"))
    found = document(
        capsys,
        "--windows-iso", discs["windows-2022-volume"],
        "--virtio-iso", discs["virtio"],
        "--for", other,
    )  # fmt: skip
    assert steps(found)["storage.disk"][0] == "stop"
    assert steps(found)["network.planned"][0] == "risk"
    assert found["exit_code"] == 3


def test_a_foreign_disc_on_a_configured_machine(capsys, discs, trusted, conf, tmp_path):
    iso = foreign(tmp_path, ["-J"])
    found = document(
        capsys,
        "--answer-iso", iso,
        "--for", conf,
        "--windows-iso", discs["windows-2022-volume"],
        "--virtio-iso", discs["virtio"],
        "--disk", "empty",
    )  # fmt: skip
    assert found["counts"]["stop"] == 0, [s for s in steps(found).items() if s[1][0] == "stop"]
    assert steps(found)["storage.disk"][2] == ["FT01"]
    assert steps(found)["network.mac"][0] == "ok"


def test_without_joliet_windows_sees_a_name_that_is_cut(capsys, conf, tmp_path):
    iso = foreign(tmp_path, ["-r"])  # Rock Ridge keeps the name for Linux only
    assert inspect_image(iso).find("autounattend.xml") is not None
    found = document(capsys, "--answer-iso", iso, "--for", conf)
    assert steps(found)["discovery.name"][0] == "stop"
    assert found["exit_code"] == 4


@pytest.mark.parametrize("options", [["-J"], ["-J", "-r"], ["-iso-level", "4"], ["-udf", "-r"]])
def test_the_long_name_is_seen(options, tmp_path):
    _, facts = inspect_disc_facts(foreign(tmp_path, options))
    assert "autounattend.xml" in facts.shown
    assert facts.answers["autounattend.xml"] == base.ANSWER.encode()


def test_a_stale_answer_file_on_a_further_disc(capsys, discs, conf, tmp_path):
    iso = foreign(tmp_path, ["-J"])
    (tmp_path / "old").mkdir()
    old = foreign(tmp_path / "old", ["-J"], text=base.ANSWER.replace("srv01", "old01"))
    old = old.rename(old.with_name("old.iso"))
    found = document(capsys, "--answer-iso", iso, "--for", conf, "--disc", old, "--disk", "empty")
    assert steps(found)["discovery.winner"][0] == "stop"
    assert "old.iso" in steps(found)["discovery.winner"][1]


def test_which_boot_image_the_windows_disc_has(discs, tmp_path):
    _, facts = inspect_disc_facts(discs["windows-2022-volume"])
    assert facts.prompts is True
    assert facts.boots == {"bios", "efi"}
    _, bios = inspect_disc_facts(make_windows_iso(tmp_path / "bios.iso", efi=False))
    assert bios.boots == {"bios"}


@pytest.mark.parametrize(
    ("signed", "step", "verdict"),
    [(True, "storage.signature", "risk"), (False, "storage.disk", "stop")],
)
def test_signatures_count(signed, step, verdict, capsys, discs, conf, tmp_path):
    """The session's authority is not trusted here; random bytes are no catalog at all."""
    virtio = discs["virtio"] if signed else make_virtio_iso(tmp_path / "virtio-win.iso")
    found = document(
        capsys,
        "--answer-iso", foreign(tmp_path, ["-J"]),
        "--for", conf,
        "--windows-iso", discs["windows-2022-volume"],
        "--virtio-iso", virtio,
        "--disk", "empty",
    )  # fmt: skip
    assert steps(found)[step][0] == verdict
    assert found["exit_code"] == (0 if signed else 3)


def test_text_ends_with_the_count(capsys, discs):
    done = winseed(capsys, "rehearse", "--windows-iso", discs["windows-2022-eval"])
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("rehearsed: ")
    assert " 0 stops" in done.out.splitlines()[-1]


SPEC = """
[[host]]
name = "dc01"
[host.disk]
bus = "{bus}"
layout = "{layout}"
[[host.nic]]
addresses = ["192.0.2.10/24"]
gateways = ["192.0.2.1"]
dns = ["192.0.2.53"]
[[host.data_disk]]
letter = "D"
size_gib = 100
slot = 3
"""


@pytest.mark.parametrize("release", ["2012r2", "2016", "2019", "2022", "2025"])
@pytest.mark.parametrize(
    ("bus", "layout"), [("scsi", "uefi"), ("virtio", "uefi"), ("sata", "bios")]
)
def test_nothing_stops_what_a_spec_asks_for(release, bus, layout, capsys, tmp_path):
    if (release, layout) == ("2025", "bios"):
        layout = "uefi"  # a plan for BIOS is refused
    spec = tmp_path / "site.toml"
    spec.write_text(SPEC.format(bus=bus, layout=layout))
    found = document(capsys, "--spec", spec, "--release", release)
    assert [step for step in steps(found).items() if step[1][0] == "stop"] == []
    assert steps(found)["storage.disk"][0] == ("ok" if bus == "sata" else "risk")
    assert steps(found)["network.mac"][0] == "ok"
    used = document(capsys, "--spec", spec, "--release", release, "--disk", "used")
    assert used["exit_code"] == 7


def test_a_foreign_disc_without_a_machine_is_refused(capsys, tmp_path):
    done = winseed(capsys, "rehearse", "--answer-iso", foreign(tmp_path, ["-J"]))
    assert done.code == 2
    assert "--for" in done.err


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"nonsense\n"])
def test_a_machine_that_is_none_is_refused(content, capsys, tmp_path):
    path = tmp_path / "vm.conf"
    path.write_bytes(content)
    assert winseed(capsys, "rehearse", "--for", path).code == 2
    assert winseed(capsys, "rehearse", "--for", tmp_path / "absent.conf").code == 2
