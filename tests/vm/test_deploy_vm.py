"""`winseed deploy` with nothing faked but the API: QEMU, OVMF, discs, agent. Then a reinstallation
that fails, and the old Windows is there again.
"""

import pytest

from builder.errors import ExitCode
from builder.install.journal import Outcome
from tests.pve.test_reinstall import reinstall
from tests.vm.cases import make_disk
from tests.vm.deploying import (
    CDS,
    VMID,
    calls_in,
    kept,
    on_data_disk,
    open_site,
    password_in,
)

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def site(lab, tmp_path_factory):
    with open_site(lab, "deploy", tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def installed(site):
    """A VM that `winseed deploy` has settled: its result, its two starts."""
    result = site.deploy()
    assert result.outcome is Outcome.SETTLED, site.told(result)
    first, second = site.pve.machines
    return result, first, second


def test_a_vm_is_made_prompted_installed_and_settled(site, installed):
    result, first, _ = installed
    assert result.code is ExitCode.DONE
    assert set(site.pve.vms[VMID].keys) == {"ret"}
    log = kept(first)
    assert "index=1 name=Windows Server 2022 SERVERSTANDARDCORE" in log
    starts = [line.partition("starts as ")[2] for line in log.splitlines() if "starts as" in line]
    assert starts == ["setup firmware=uefi secure-boot=yes", "system firmware=uefi secure-boot=yes"]
    assert site.config["boot"] == "order=scsi0;ide2"
    assert [site.config[slot] for slot in CDS] == ["none,media=cdrom"] * 3
    assert not site.answer_isos()


def test_the_guest_has_the_password_that_was_drawn_last(site, installed):
    _, first, second = installed
    assert password_in(second) == site.password
    assert not list((site.folder / "dist/app01").glob("one-time-*"))
    assert calls_in(kept(first))[0] == "rotate"
    assert calls_in(kept(first))[-1] == "scrub"
    log = second.log()
    assert calls_in(log) == ["facts", "remove"]
    assert "state=ready" in log
    assert log.count("empty") == 3, "the discs are gone for the guest as well"
    left = second.agent.run("find", "/mnt/windows", "-name", "*nattend*")["out-data"]
    assert left == b""


def test_the_data_disk_came_after_setup(installed):
    _, first, second = installed
    log = kept(first)
    assert "stage=storage disks: sda\n" in log
    assert "data disk D: formatted sdb" in log
    written = on_data_disk(second, "echo not to be lost > /mnt/d/accounts")
    assert written["exitcode"] == 0, written


def test_a_reinstallation_that_fails_brings_the_old_disk_back(site, installed, tmp_path):
    """The new disk is not empty, as a thick volume may be: the guard refuses it."""
    before, old, password = site.config, site.machine, site.password
    site.pve.spoil = lambda path: make_disk(path, "data", tmp_path)
    try:
        result = reinstall(site)
    finally:
        site.pve.spoil = None
    assert result.outcome is Outcome.ROLLED_BACK, site.told(result)
    assert result.code is ExitCode.UNSAFE
    assert "guard" in result.error.what
    assert site.config == before
    assert not site.answer_isos()
    said = (site.folder / "dist/app01/serial.txt").read_text()
    assert "winseed: guard=stopped" in said, "the evidence has what COM1 said"
    failed, back = site.pve.machines[-2:]
    assert "result=powered-off" in kept(failed)
    assert failed.before == failed.after, "the guard has erased nothing"
    assert back.before == old.after, "the old disk boots as it was left"
    back.wait_for("result=ready", seconds=600)
    assert "state=ready" in back.log()
    assert back.agent.answers()
    assert password_in(back) == password
