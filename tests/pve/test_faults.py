"""Any sequence of faults ends well: settled, unmade, or kept with a next step.

A scenario is a list of lives (processes of winseed, each killed at some moment or not) and faults
of the cluster and the guest, all of them drawn. After every life the books are looked at with the
eyes of the fake cluster: no answer ISO that nobody names, no stray disk, no wiped disk, nothing
done twice, no secret in the open. At the end faults stop, and few resumes or one undo must do.
"""

import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from builder.install.jobs import accept_host, deploy_host
from builder.install.journal import Outcome
from tests.pve.deploying import SPEC
from tests.pve.direct import journal_moments
from tests.pve.scene import DISK, Scene
from tests.pve.test_reinstall import (
    BASE,
    DATA,
    HOST,
    PLACES,
    SYSTEM,
    add_old,
    open_reinstall,
    volid,
)

ACCOUNT = '\n[[host.account]]\nname = "ops"\npassword_env = "OPS"\n'
MOMENTS = 150  # a run has so many changes and journal writes, before and after
SCRIPTS = ("rotate", "accounts", "data-disks", "scrub", "facts", "marker", "remove")
CHECKPOINTS = {
    "qmcreate": ("before", "disk:scsi0", "disks", "config", "after"),
    "qmstart": ("before", "checked", "after"),
    "imgcopy": ("before", "half", "after"),
    "imgdel": ("before", "after"),
    "qmconfig": ("before", "after"),
    "qmshutdown": ("before", "after"),
    "qmstop": ("before", "after"),
    "qmdestroy": ("before", "disk"),
}
ASKED = ("*/config", "*/status/current", "*/tasks/*", "*/content", "/cluster/*", "*/exec-status")


@dataclass(frozen=True, kw_only=True)
class CallFails:
    """A call, by its number among the changes or by its pattern."""

    call: int | str
    moment: str
    answer: int | str
    times: int = 1

    def plant(self, pve, _plans):
        reason = "no space left on device" if self.answer == 500 else "Connection timed out"
        how = {"moment": self.moment, "answer": self.answer, "reason": reason, "seconds": 0.0}
        if isinstance(self.call, int):
            pve.faults.fail_change(pve.faults.changes_seen + self.call, **how)
        else:
            pve.faults.fail(f"GET {self.call}", times=self.times, skip=7, **how)


@dataclass(frozen=True, kw_only=True)
class WorkerDies:
    kind: str
    at: str
    skip: int

    def plant(self, pve, _plans):
        pve.faults.kill_worker(self.kind, at=self.at, skip=self.skip)


@dataclass(frozen=True, kw_only=True)
class ScriptDies:
    """PowerShell is killed before or after the effect of a script, or the script fails."""

    script: str
    how: str

    def plant(self, _pve, plans):
        if self.how == "error":
            plans.errors.setdefault(self.script, []).append("it does not work today")
        else:
            plans.deaths.setdefault(self.script, []).append(self.how)


@dataclass(frozen=True, kw_only=True)
class AgentSilent:
    """The agent answers nothing for so many seconds from its first answer on."""

    seconds: float

    def plant(self, _pve, plans):
        plans.silence = self.seconds


@dataclass(frozen=True, kw_only=True)
class SlowTasks:
    """Tasks take their time, so that a process can die while they run."""

    seconds: float

    def plant(self, pve, _plans):
        for kind in CHECKPOINTS:
            pve.tasks.seconds[kind] = self.seconds


@dataclass(frozen=True, kw_only=True)
class Dies:
    """A life ends at a moment, by SIGKILL or Ctrl-C."""

    moment: int
    ctrl_c: bool = False


calls = st.builds(
    CallFails,
    call=st.integers(0, 40) | st.sampled_from(ASKED),
    moment=st.sampled_from(["before", "after"]),
    answer=st.sampled_from(["drop", "stall", 500, 595, 596, 599]),
    times=st.integers(1, 4),
)
workers = st.sampled_from([(kind, at) for kind, ats in CHECKPOINTS.items() for at in ats]).flatmap(
    lambda one: st.builds(
        WorkerDies, kind=st.just(one[0]), at=st.just(one[1]), skip=st.integers(0, 1)
    )
)
scripts = st.builds(
    ScriptDies,
    script=st.sampled_from(SCRIPTS),
    how=st.sampled_from(["before", "after", "error"]),
)
faults = st.lists(
    calls
    | workers
    | scripts
    | st.builds(AgentSilent, seconds=st.sampled_from([20.0, 200.0, 2000.0]))
    | st.builds(SlowTasks, seconds=st.sampled_from([2.0, 30.0])),
    max_size=3,
)
deaths = st.lists(
    st.none() | st.builds(Dies, moment=st.integers(0, MOMENTS), ctrl_c=st.booleans()), max_size=3
)
ends = st.sampled_from(["resume", "resume", "undo"])


@pytest.fixture
def fast_folder():
    """Memory where there is any: journals are synced to the disk at each write."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        yield Path(made)


scenario = settings(
    derandomize=True,  # the same lives at every run: a failure is a change's own
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)


def play(scene, begin, planted, lives, end, patch):
    try:
        with journal_moments(scene.site, patch):
            for fault in planted:
                fault.plant(scene.pve, scene.plans)
            scene.live(begin, lives[0] if lives else None)
            for death in lives[1:]:
                if scene.outcome in {Outcome.OPEN, Outcome.KEPT}:
                    scene.live(scene.site.resume, death)
            scene.finish(end)
    finally:
        note("\n".join(["what happened:", *(f"  {line}" for line in scene.story)]))


@scenario
@given(release=st.sampled_from(["8.4", "9.2"]), planted=faults, lives=deaths, end=ends)
def test_a_deployment_ends_well(discs, trusted, fast_folder, caplog, release, planted, lives, end):
    folder = Path(tempfile.mkdtemp(dir=fast_folder))
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        scene = Scene(release, folder, discs, SPEC + DISK + ACCOUNT)
        play(scene, scene.site.deploy, planted, lives, end, pytest.MonkeyPatch)
    assert "Drawn-Pass-" not in caplog.text
    if scene.outcome is Outcome.SETTLED:
        vm, windows = scene.check_settled()
        assert vm.starts == 2
        assert [one.name for one in windows.accounts] == ["Administrator", "ops"]
        assert len([name for name in scene.store if "vm-100-" in name]) == 4
    else:
        scene.check_unmade() if scene.outcome else None
        assert not scene.pve.vms
    shutil.rmtree(folder)


@scenario
@given(
    release=st.sampled_from(["8.4", "9.2"]),
    place=st.sampled_from(sorted(PLACES)),
    planted=faults,
    lives=deaths,
    end=ends,
)
def test_a_reinstallation_ends_well(
    discs, trusted, fast_folder, release, place, planted, lives, end
):
    folder = Path(tempfile.mkdtemp(dir=fast_folder))
    scene = Scene(release, folder, discs, HOST + ACCOUNT)
    vm = add_old(scene.pve, release, place, running=False)
    scene.start(101)
    scene.before = set(scene.store)
    before, starts = dict(vm.config), vm.starts

    def begin():
        shop, case, opened = open_reinstall(scene.site)
        return deploy_host(shop, case, opened)

    play(scene, begin, planted, lives, end, pytest.MonkeyPatch)
    assert scene.before <= set(scene.store), "an old disk is gone"
    now = {key: text for key, text in vm.config.items() if not key.startswith("unused")}
    data = next(key for key, text in before.items() if volid(text) == volid(DATA))
    if scene.outcome is Outcome.SETTLED:
        assert volid(vm.config[data]) == volid(DATA)
        assert vm.starts == starts + 2
        done = accept_host(scene.site.shop(), scene.folder, "app01")
        assert done.error is None, done.error
        kept = {volid(text) for text in vm.config.values()}
        assert {name for name in scene.store if "vm-101-" in name} <= kept
        assert volid(SYSTEM) not in scene.store
    else:
        assert now == before, "it is not as it was"
        assert vm.running
        scene.check_unmade() if scene.outcome else None
    assert BASE["smbios1"] == vm.config["smbios1"]
    shutil.rmtree(folder)
