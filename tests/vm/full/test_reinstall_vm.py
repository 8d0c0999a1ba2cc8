"""`winseed reinstall` with nothing faked but the API, on a VM that `winseed deploy` has made."""

import pytest

from builder.install.jobs import accept_host
from builder.install.journal import Outcome
from tests.pve.test_reinstall import reinstall
from tests.vm.deploying import CDS, calls_in, kept, on_data_disk, open_site, password_in
from tests.vm.lab import fingerprint

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def site(lab, tmp_path_factory):
    with open_site(lab, "reinstall", tmp_path_factory.mktemp("site")) as site:
        result = site.deploy()
        assert result.outcome is Outcome.SETTLED, site.told(result)
        on_data_disk(site.machine, "echo not to be lost > /mnt/d/accounts")
        yield site


def test_a_new_windows_the_old_disk_untouched_the_data_back(site):
    before, old, password = site.config, site.machine, site.password
    result = reinstall(site)
    assert result.outcome is Outcome.SETTLED, site.told(result)
    assert before["scsi0"].partition(",")[0] in site.unused
    assert {path: fingerprint(path) for path in old.after} == old.after, "and the data disk"
    changed = {key for key in before if site.config.get(key) != before[key]}
    assert changed == {"scsi0", "efidisk0", "tpmstate0"}
    assert [site.config[slot] for slot in CDS] == ["none,media=cdrom"] * 3
    assert not site.answer_isos()
    first = kept(site.pve.machines[-2])
    assert "stage=storage disks: sda\n" in first, "Setup saw the new disk only"
    assert "data disk D: kept sdb" in first
    assert "rotate" in calls_in(first)
    assert b"not to be lost" in on_data_disk(site.machine, "cat /mnt/d/accounts")["out-data"]
    assert password_in(site.machine) == site.password != password

    accepted = accept_host(site.shop(), site.folder / "dist/app01", "app01")
    assert accepted.error is None, site.told(accepted)
    assert site.unused == []
    assert site.pve.volume(before["scsi0"].partition(",")[0]) is None
    assert site.pve.volume(before["scsi1"].partition(",")[0]) is not None
