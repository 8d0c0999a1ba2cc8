"""A host on a quiet cluster, and an eye on what must never happen to it.

`live` is one process of winseed; after each the books are looked at, by what the fake cluster has.
"""

import random
import re

from builder.errors import ExitCode, WinseedError
from builder.install.fleet import Interrupted
from builder.install.journal import Outcome
from builder.install.status import find_records, look_at_cluster, make_status
from builder.media.shelf import Shelf
from tests.pve.browser import Client
from tests.pve.clock import Clock
from tests.pve.conftest import rights
from tests.pve.direct import DirectSite, Killed, Life, QuietCluster, Wire
from tests.pve.installed import read_answers
from tests.pve.powershell import Plans
from tests.pve.windows import Times, WindowsGuest

RESUMES = 4  # without any fault, these must be enough
QUICK = Times(setup=60, specialize=40, first_boot=30, boot=10)
DISK = '\n[[host.data_disk]]\nletter = "D"\nsize_gib = 10\nslot = 1\n'
SHELF = Shelf()


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

    def live(self, verb, death=None):
        """One process; its result, None when it was killed. `death`: a moment or its words."""
        if isinstance(death, str):
            life = Life(at=death)
        else:
            end = Interrupted if death and death.ctrl_c else Killed
            life = Life(death.moment if death else None, end)
        self.site.life = life
        result = None
        try:
            result = verb()
        except (Killed, Interrupted):  # the second before there is a run
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
            # what a death has cut off is run again as ID.2, and that alone
            calls = {(name, re.sub(r"\.\d+$", "", id_)) for name, id_ in windows.effects}
            assert len(calls) == len({name for name, _ in calls}), f"twice: {windows.effects}"
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
