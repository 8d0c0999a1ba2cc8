"""Random calls with random faults: the fake keeps its own books in order, whatever it is asked."""

import contextlib

import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pve.browser import Client
from tests.pve.clock import Clock
from tests.pve.cluster import FakeCluster
from tests.pve.guest import Guest
from tests.pve.schema import RELEASES
from tests.pve.test_create import PATH, WINDOWS

VM = f"{PATH}/101"
ISO = "local:iso/virtio-win.iso,media=cdrom"
CHANGES = [
    {"sata0": ISO},
    {"sata0": "none,media=cdrom"},
    {"ide0": "none,media=cdrom"},
    {"scsi0": "local-lvm:20"},
    {"scsi1": "local-lvm:10"},
    {"delete": "scsi0"},
    {"delete": "scsi1,sata0"},
    {"delete": "unused0"},
    {"delete": "efidisk0,tpmstate0"},
    {"delete": "scsi1", "force": "1"},
    {"boot": "order=scsi0;ide2"},
    {"cores": "8"},
    {"revert": "cores,boot"},
    {"efidisk0": "local-lvm:1,efitype=4m"},
]
STEPS = st.one_of(
    st.sampled_from([("config", change) for change in CHANGES]),
    st.sampled_from([("power", word) for word in ("start", "stop", "reset", "shutdown", "reboot")]),
    st.sampled_from([("sleep", 3), ("sleep", 60), ("create", None), ("destroy", None)]),
)
FAULTS = st.none() | st.tuples(
    st.integers(0, 6), st.sampled_from(["before", "after"]), st.sampled_from(["drop", 596])
)
DEATHS = st.none() | st.sampled_from(
    [("qmcreate", "disk:scsi0"), ("qmcreate", "disks"), ("qmstart", "checked"), ("qmstop", "after")]
)


class Awake(Guest):
    def __init__(self, vm):
        super().__init__(vm)
        self.agent = True


def step(client, clock, kind, what):
    if kind == "config":
        client.put(f"{VM}/config", **what)
    elif kind == "power":
        client.post(f"{VM}/status/{what}")
    elif kind == "sleep":
        clock.sleep(what)
    elif kind == "create":
        client.post(PATH, **WINDOWS)
    else:
        client.delete(VM)


def check_books(pve):
    """Every image of a living VM is named by it, a lock, or a death; every name has an image."""
    images = set(pve.storages["local-lvm"].on("pve1"))
    for vm in pve.vms.values():
        named = {value.partition(",")[0] for value in vm.named()}
        named = {volid for volid in named if volid.startswith("local-lvm:vm-")}
        assert named <= images, named - images
        locked = vm.lock is not None
        assert locked or images <= named, images - named
        unused = [value for key, value in vm.config.items() if key.startswith("unused")]
        attached = {value.partition(",")[0] for value in vm.drives().values()}
        assert len(set(unused)) == len(unused)
        assert not attached & set(unused)
        if not vm.running and not locked:
            assert not vm.pending_delete
    assert pve.vms or not images


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(RELEASES), st.lists(STEPS, max_size=12), FAULTS, DEATHS)
def test_images_and_names_agree_after_any_sequence(release, steps, fault, death):
    clock = Clock()
    with FakeCluster(release=release, clock=clock) as pve:
        pve.make_guest = Awake
        pve.add_iso("local", "win2025.iso", size=5_000_000_000)
        pve.add_iso("local", "virtio-win.iso", size=700_000_256)
        client = Client(pve, pve.token("all@pve", pve.schema.privileges))
        if fault:
            pve.faults.fail_change(fault[0], moment=fault[1], answer=fault[2])
        if death:
            pve.faults.kill_worker(death[0], at=death[1])
        for kind, what in [("create", None), *steps]:
            with contextlib.suppress(requests.exceptions.RequestException):
                step(client, clock, kind, what)
            check_books(pve)
        client.session.close()
