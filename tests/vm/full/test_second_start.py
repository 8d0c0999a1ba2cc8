"""The installed system, started directly: its drivers, its first boot, its agent channel."""

import pytest

from tests.vm.cases import CASES
from tests.vm.runs import run_case

pytestmark = pytest.mark.timeout(600)
BY_ID = {case.id: case for case in CASES}


@pytest.mark.parametrize("name", ["own-disc", "virtio-block"])
def test_the_installed_system_starts(lab, name):
    outcome = run_case(lab, BY_ID[name], name=f"second-start-{name}", second=True)
    assert outcome.result.installed, outcome.result.line
    assert outcome.second is not None
    assert outcome.second.word == "ready", outcome.second.line
    assert "winseed: phase=done ok=True" in outcome.second.com1
    rows = outcome.prediction.document["devices"]
    served = {row["device"].split()[0]: row["driver"] for row in rows}
    modules = {"virtio-scsi": "virtio_scsi", "virtio-blk": "virtio_blk", "virtio-net": "virtio_net",
               "virtio-serial": "virtio_console", "virtio-balloon": "virtio_balloon"}  # fmt: skip
    for device, driver in served.items():
        if device in modules:
            assert (driver != "none") == (modules[device] in outcome.second.log), device
