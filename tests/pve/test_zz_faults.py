"""Any sequence of faults ends well: settled, unmade, or kept with a next step.

A scenario is a list of lives (processes of winseed, each killed at some moment or not) and faults
of the cluster and the guest, all of them drawn. After every life the books are looked at with the
eyes of the fake cluster: no answer ISO that nobody names, no stray disk, no wiped disk, nothing
done twice, no secret in the open. At the end faults stop, and few resumes or one undo must do.
"""

import logging
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from builder.errors import ExitCode, WinseedError
from builder.install.fleet import Interrupted
from builder.install.jobs import accept_host, deploy_host
from builder.install.journal import Outcome
from builder.install.status import find_records, look_at_cluster, make_status
from builder.media.shelf import Shelf
from tests.pve.browser import Client
from tests.pve.clock import Clock
from tests.pve.conftest import rights
from tests.pve.deploying import SPEC
from tests.pve.direct import DirectSite, Killed, Life, QuietCluster, Wire, journal_moments
from tests.pve.installed import read_answers
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
from tests.pve.windows import Times, WindowsGuest

RESUMES = 4  # without any fault, these must be enough
QUICK = Times(setup=60, specialize=40, first_boot=30, boot=10)
DISK = '\n[[host.data_disk]]\nletter = "D"\nsize_gib = 10\nslot = 1\n'
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
SHELF = Shelf()


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


class Fickle(WindowsGuest):
    """A Windows whose agent is silent for a while once it has answered."""

    silence_planned = 0.0

    def advance(self, now):
        had = self.agent
        super().advance(now)
        if self.agent and not had and getattr(self.plans, "silence", 0):
            self.silence(self.plans.silence)
            self.plans.silence = 0


class Scene:
    """A cluster, a host, and what has happened so far."""

    def __init__(self, release, folder, discs, spec):
        self.clock = Clock()
        self.pve = QuietCluster(release=release, nodes=("pve1", "pve2"), clock=self.clock)
        self.pve.__enter__()
        from tests.pve.powershell import Plans

        self.plans = Plans()
        self.pve.make_guest = lambda vm: Fickle(vm, self.pve, QUICK, self.plans)
        token = self.pve.token("installer@pve", rights(release) | {"Datastore.Allocate"})
        self.site = DirectSite(self.pve, token, discs, folder, spec, clock=self.clock)
        self.site.shelf = SHELF
        self.site.chance = random.Random(7)
        self.folder = folder / "dist" / "app01"
        self.before: set[str] = set()
        self.story: list[str] = []
        self.results: list[object] = []

    def start(self, vmid):
        """Somebody switches a VM on."""
        client = Client(self.pve, self.pve.token("root2@pve", rights(self.pve.release)))
        client.session.mount("https://", Wire(self.pve, Life()))
        client.task(client.post(f"/nodes/pve1/qemu/{vmid}/status/start"))
        self.clock.sleep(60)
        self.pve.advance_tasks()

    def live(self, verb, death):
        """One process; its result, None when it was killed."""
        self.site.life = life = Life(
            death.moment if death else None,
            Interrupted if death and death.ctrl_c else Killed,
        )
        result = None
        try:
            result = verb()
        except Killed:
            self.story.append(f"killed {life.died}")
        except WinseedError as error:
            self.story.append(f"refused: {error.what}")
        finally:
            self.site.life = Life()
        if result is not None:
            told = f": {result.error.what}" if result.error else ""
            self.story.append(f"{result.outcome.value}{told}{' (Ctrl-C)' * result.interrupted}")
            self.results.append(result)
            self.check_told(result)
        self.check_books()
        return result

    @property
    def outcome(self):
        journal = self.site.journal()
        return journal.state.outcome if journal else None

    @property
    def store(self):
        return self.pve.storages["local-lvm"].on("pve1")

    def readable_isos(self):
        return {
            volume.volid
            for node in ("pve1", "pve2")
            for volume in self.pve.storages["local"].on(node).values()
            if volume.content and read_answers(volume.content)
        }

    def status(self):
        records, notes = find_records(self.folder.parent)
        view, more = look_at_cluster(self.site.api(), records, node="pve1")
        assert view is not None, more
        return make_status(records, view, notes)

    def check_told(self, result):
        """What is left is told to whoever made the call."""
        assert result.code is not ExitCode.BUG, result.error
        if result.outcome in {Outcome.OPEN, Outcome.KEPT}:
            for iso in self.readable_isos():
                assert any(iso in line for line in result.notes), (iso, result.notes)
            assert any("next: " in line for line in result.notes)

    def check_books(self):
        status = None
        for volume in self.store.values():
            assert not volume.wiped, f"{volume.volid} was wiped"
        isos = self.readable_isos()
        if isos:
            status = status or self.status()
            named = [line for run in status.runs for line in run.secrets]
            assert all(any(iso in line for line in named) for iso in isos), (isos, named)
        used = {
            value.partition(",")[0]
            for vm in self.pve.vms.values()
            for key, value in vm.config.items()
            if not key.startswith("unused")
        }
        stray = set(self.store) - used - self.before
        if stray:
            status = status or self.status()
            journal = self.site.journal()
            known = {disk.volid for disk in status.disks}
            known |= {*journal.state.volumes, *journal.state.unused} if journal else set()
            assert stray <= known, f"nobody names {stray - known}"
        self.check_effects()
        self.check_secrets()

    def check_effects(self):
        for guest in self.pve.guests.values():
            windows = guest.windows
            if windows is None:
                continue
            ids = [id_ for _, id_ in windows.effects]
            assert len(ids) == len(set(ids)), f"done twice: {windows.effects}"
            names = [account.name for account in windows.accounts]
            assert len(names) == len(set(names))

    def check_secrets(self):
        texts = [repr(self.site.events), "\n".join(self.story)]
        for result in self.results:
            error = result.error
            texts.append(f"{result!r} {error!r} {error and (error.what, error.problems)}")
        if self.folder.is_dir():
            texts += [path.read_text() for path in self.folder.glob("journal*.json")]
        for seen in self.pve.requests:
            texts += [str(v) for k, v in seen.params.items() if k != "input-data"]
        for secret in ("Drawn-Pass-", "Of-ops-1!", self.site.token.secret.reveal()):
            assert not any(secret in text for text in texts), f"{secret} is in the open"

    def finish(self, end):
        """Without faults from here on: bounded."""
        self.pve.faults.clear()
        self.plans.deaths.clear()
        self.plans.errors.clear()
        self.pve.tasks.seconds.clear()
        self.clock.sleep(100)
        self.story.append("no more faults")
        for _ in range(RESUMES if end == "resume" else 0):
            if self.outcome in {Outcome.OPEN, Outcome.KEPT}:
                self.live(self.site.resume, None)
        if self.outcome in {Outcome.OPEN, Outcome.KEPT}:
            result = self.live(self.site.undo, None)
            told = result.error and (result.error.what, result.error.problems, result.error.hint)
            if self.outcome in {Outcome.OPEN, Outcome.KEPT}:
                assert result.error.hint, told
                # what only root can mend: a VM that its dead task has left locked
                assert any(vm.lock for vm in self.pve.vms.values()), told
                self.pve.vms.clear()
                for name in set(self.store) - self.before:
                    del self.store[name]
                self.live(self.site.undo, None)
        assert self.outcome in {
            None,
            Outcome.SETTLED,
            Outcome.UNDONE,
            Outcome.ROLLED_BACK,
        }, self.outcome

    def check_settled(self):
        vm = next(iter(self.pve.vms.values()))
        windows = self.pve.guests[vm.vmid].windows
        assert not self.readable_isos()
        assert not [n for n in self.pve.storages["local"].on("pve1") if "winseed-" in n]
        cds = [vm.config[slot] for slot in self.site.journal().state.cds]
        assert cds == ["none,media=cdrom"] * 3
        assert windows.letters["D"]
        (password,) = self.folder.glob("*.password")
        assert windows.administrator.password == password.read_text().strip()
        assert not (self.folder / "answer.iso").exists()
        return vm, windows

    def check_unmade(self):
        assert not self.readable_isos()
        assert not list(self.folder.glob("*.password"))
        assert not (self.folder / "answer.iso").exists()


@pytest.fixture
def fast_folder():
    """Memory where there is any: journals are synced to the disk at each write."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        yield Path(made)


scenario = settings(
    max_examples=700,
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
def test_a_deployment_ends_well(
    discs, trusted, fast_folder, caplog, release, planted, lives, end
):
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
