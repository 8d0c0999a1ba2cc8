"""The whole run against a strict server and a Windows that installs itself."""

import logging

import pytest

from builder.errors import ExitCode
from builder.install.journal import Outcome, Standing
from tests.pve.deploying import SPEC
from tests.pve.test_deploy_start import answer_isos, images
from tests.pve.windows import WindowsGuest

DISKS = """
[[host.data_disk]]
letter = "D"
size_gib = 10
slot = 1
"""


@pytest.fixture
def pve(windows_pve):
    return windows_pve


def windows(pve, vmid=100):
    return pve.guests[vmid].windows


def told(result):
    error = result.error
    return (result, error and (error.what, error.problems, error.hint))


def test_a_host_is_settled(make, pve):
    site = make(SPEC + DISKS)
    result = site.deploy()
    assert result.outcome is Outcome.SETTLED, told(result)
    assert result.code is ExitCode.DONE
    config = pve.vms[100].config
    assert [config[slot] for slot in ("ide2", "ide0", "sata0")] == ["none,media=cdrom"] * 3
    assert not answer_isos(pve)
    assert pve.vms[100].starts == 2
    assert config["scsi1"].partition(",")[0] in images(pve)
    (password,) = (site.folder / "dist" / "app01").glob("*.password")
    assert password.stat().st_mode & 0o777 == 0o600
    assert windows(pve).administrator.password == password.read_text().strip()
    assert str(password) in str(result.notes)
    assert windows(pve).letters["D"]
    assert not list((site.folder / "dist" / "app01").glob("*.iso"))


def test_windows_may_take_its_time_to_find_a_disk_that_was_plugged_in(make, pve):
    class Slow(WindowsGuest):
        looks = 0

        def disk_in_slot(self, slot):
            self.looks += 1
            return super().disk_in_slot(slot) if self.looks > 2 else None

    pve.make_guest = lambda vm: Slow(vm, pve)
    site = make(SPEC + DISKS)
    result = site.deploy()
    assert result.outcome is Outcome.SETTLED, told(result)
    assert windows(pve).letters["D"]
    ran = [name for name, _ in windows(pve).effects]
    assert ran.count("data-disks") == 3


def test_a_given_password_and_accounts(make, pve):
    site = make(SPEC + '[[host.account]]\nname = "ops"\npassword_env = "OPS"\n')
    shop, case = site.shop(), site.case(administrator="Final-Given-1!")
    from builder.install.jobs import deploy_host

    result = deploy_host(shop, case, site.open(case, shop.api))
    assert result.outcome is Outcome.SETTLED, told(result)
    accounts = {account.name: account.password for account in windows(pve).accounts}
    assert accounts == {"Administrator": "Final-Given-1!", "ops": "Of-ops-1!"}
    assert not list(case.folder.glob("*.password"))


def test_no_secret_is_left_anywhere(make, pve, caplog):
    site = make(SPEC + '[[host.account]]\nname = "ops"\npassword_env = "OPS"\n', serial=True)
    with caplog.at_level(logging.DEBUG):
        result = site.deploy()
    assert result.outcome is Outcome.SETTLED, told(result)
    folder = site.folder / "dist" / "app01"
    final = next(folder.glob("*.password")).read_text().strip()
    secrets = ["Drawn-Pass-", "Of-ops-1!", site.token.secret.reveal(), final]
    texts = [caplog.text, repr(result), repr(site.events)]
    texts += [
        path.read_text(errors="replace")
        for path in folder.rglob("*.*")
        if path.suffix != ".password"
    ]
    for secret in secrets:
        assert not any(secret in text for text in texts), secret
    for seen in pve.requests:
        for key, value in seen.params.items():
            if key != "input-data":
                assert not any(secret in str(value) for secret in secrets), (seen.path, key)
    for volume in pve.storages["local"].on("pve1").values():
        assert b"Drawn-Pass" not in (volume.content or b"")


def test_a_failed_step_of_the_first_boot_is_named(make, pve):
    class Failing(WindowsGuest):
        def _finish_boot(self, phase):
            if self.windows and phase == "first boot":
                self.windows.failed_steps = ["settings"]
            super()._finish_boot(phase)

    pve.make_guest = lambda vm: Failing(vm, pve)
    site = make()
    result = site.deploy()
    assert result.outcome is Outcome.KEPT
    assert result.code is ExitCode.UNSETTLED
    assert [problem.where for problem in result.error.problems] == ["settings"]
    assert not answer_isos(pve), "the answer ISO is of no more use"


def test_windows_that_is_not_as_planned_is_not_settled(make, pve):
    class Other(WindowsGuest):
        def _finish_boot(self, phase):
            super()._finish_boot(phase)
            if self.windows:
                self.windows.build = 17763

    pve.make_guest = lambda vm: Other(vm, pve)
    site = make()
    result = site.deploy()
    assert result.outcome is Outcome.KEPT
    assert "build" in str(result.error.problems)
    assert site.journal().standing("start-again") is Standing.DONE


def test_the_agent_is_not_asked_before_its_phase(make, pve):
    site = make()
    site.deploy()
    first = next(n for n, seen in enumerate(pve.requests) if "/agent/" in seen.path)
    assert any(event.phase == "specialize" for event in site.events)
    asked = [seen for seen in pve.requests if "/agent/" in seen.path]
    assert first > 5
    refused = [seen for seen in asked if seen.status == 500]
    assert len(refused) <= 8, "each of them blocks a worker of the node for 3 s"
