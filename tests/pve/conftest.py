"""Clusters of both releases with a token that may do what an installation needs."""

import pytest

from tests.pve.browser import Client
from tests.pve.clock import Clock
from tests.pve.cluster import FakeCluster
from tests.pve.deploying import SPEC, Site
from tests.pve.schema import RELEASES
from tests.pve.windows import WindowsGuest

VM_RIGHTS = {"VM.Allocate", "VM.Audit", "VM.PowerMgmt", "VM.Console", "VM.Config.CDROM"}
VM_RIGHTS |= {"VM.Config.CPU", "VM.Config.Disk", "VM.Config.HWType", "VM.Config.Memory"}
VM_RIGHTS |= {"VM.Config.Network", "VM.Config.Options", "VM.Snapshot", "VM.Snapshot.Rollback"}
OTHERS = {"Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit", "SDN.Use"}
OTHERS |= {"Pool.Audit", "Sys.Audit"}
AGENT = {"8.4": {"VM.Monitor"}, "9.2": {"VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"}}


def rights(release: str) -> set[str]:
    """Privileges of an installer that may also look around."""
    return VM_RIGHTS | OTHERS | AGENT[release]


@pytest.fixture(params=RELEASES)
def release(request):
    return request.param


@pytest.fixture
def pve(release):
    with FakeCluster(release=release, nodes=("pve1", "pve2")) as cluster:
        cluster.add_iso("local", "win2025.iso", size=5_000_000_000)
        cluster.add_iso("local", "virtio-win.iso", size=700_000_256)
        yield cluster


@pytest.fixture
def clock():
    """Time that only pauses move."""
    return Clock()


@pytest.fixture
def make(pve, release, clock, discs, tmp_path, trusted):
    """Sites that are installed on the test's own cluster, whose clock must be `clock`."""

    def make(spec=SPEC, extra=frozenset({"Datastore.Allocate"}), **more):
        token = pve.token("installer@pve", rights(release) | set(extra))
        return Site(pve, token, discs, tmp_path, spec, clock=clock, **more)

    return make


@pytest.fixture
def windows_pve(release, clock):
    """A cluster in whose VMs Windows installs itself."""
    with FakeCluster(release=release, nodes=("pve1", "pve2"), clock=clock) as cluster:
        cluster.make_guest = lambda vm: WindowsGuest(vm, cluster)
        yield cluster


@pytest.fixture
def client(pve, release):
    return Client(pve, pve.token("installer@pve", rights(release)))
