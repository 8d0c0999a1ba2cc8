"""The prompt of the CD and the watch over an installation, against a strict server and a clock."""

import collections
import threading
from pathlib import Path

import pytest

from builder.errors import ExitCode, WinseedError
from builder.install.events import EventKind
from builder.install.patience import Allowance, load_patience, make_patience
from builder.install.phases import Marker, Phase
from builder.install.poll import AgentSlots, StatePoll, inspect_target
from builder.install.prompt import RESETS, pass_prompt
from builder.install.stalls import NotSettled
from builder.install.target import Target
from builder.install.watch import Witnesses, watch_install
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.vm import start_vm
from tests.pve import clock as fake
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights
from tests.pve.windows import MIB, Times, WindowsGuest

ID = "0123abcd"
LINES = {
    "setup": ("phase=winpe id=0123abcd", "guard=passed", "phase=winpe done"),
    "specialize": ("phase=specialize id=0123abcd", "phase=specialize done"),
    "first boot": ("phase=first-boot id=0123abcd", "step=agent ok=True result=0 seconds=9"),
    "ready": ("phase=done ok=True failed=",),
}  # fmt: skip
CONFIG = {
    "name": "dc01",
    "agent": "enabled=1",
    "scsihw": "virtio-scsi-single",
    "scsi0": "local-lvm:vm-101-disk-0,size=60G",
    "ide2": "local:iso/win2025.iso,media=cdrom",
    "boot": "order=scsi0;ide2",
    "serial0": "socket",
}


class Windows(WindowsGuest):
    """Windows with our scripts: COM1 is what `lines` holds, if it has a port."""

    def __init__(self, vm, pve, times=None, *, port=True):
        super().__init__(vm, pve, times)
        self.lines, self.port = collections.deque(), port
        self.pressed = []

    def _enter(self, phase, until):
        super()._enter(phase, until)
        if self.port:
            self.lines.extend(f"winseed: {line}" for line in LINES.get(phase, ()))

    def press(self, key):
        self.pressed.append(self.phase)
        super().press(key)

    def _leave(self, now):
        if self.phase == "setup":
            self._applied()
        super()._leave(now)

    def _applied(self):
        pass


class Deaf(Windows):
    """A loader that no key reaches, the first `times` times."""

    left = 99

    def press(self, key):
        if self.phase == "prompt" and Deaf.left:
            self.pressed.append("deaf")
            return
        super().press(key)

    def _next_device(self, now):
        was = self.phase
        super()._next_device(now)
        if was == "prompt" and Deaf.left:
            Deaf.left -= 1


class Run:
    """A VM that was switched on, and everything a watch of it needs."""

    def __init__(self, pve, release, clock):
        self.pve, self.clock, self.events = pve, clock, []
        token = pve.token("installer@pve", rights(release))
        told = load_token(f"{token.user}!{token.name}={token.value}", source="test")
        times = Clock(now=clock, pause=self.pause, jitter=lambda: 0.5)
        connection = make_connection(pve.url, told, CaFile(path=Path(pve.ca_file)))
        self.api = Api(connection, times, timeout=(2.0, 2.0))
        self.vm = pve.add_vm(101, config=CONFIG, written=False)
        self.make = Windows
        self.made = []
        self.at = []  # (moment, what happens then)
        pve.make_guest = self._guest
        self.marker = Marker(id=ID, ok=True, failed=())
        self.looks = []

    def _guest(self, vm):
        made = self.make(vm, self.pve)
        self.made.append(made)
        return made

    @property
    def guest(self):
        return self.made[-1]

    def pause(self, seconds):
        self.clock.sleep(seconds)
        for moment, change in list(self.at):
            if self.clock() >= moment:
                self.at.remove((moment, change))
                change()

    def later(self, seconds, change):
        self.at.append((self.clock() + seconds, change))

    def start(self):
        wait_for_task(self.api, start_vm(self.api, "pve1", 101), timeout=60)

    def target(self, **what):
        usual = {
            "api": self.api, "node": "pve1", "vmid": 101, "host": "dc01", "install_cd": "ide2",
            "install_disk": "scsi0", "fingerprint": ID,
        }  # fmt: skip
        return Target(**(usual | what))

    def prompt(self):
        return pass_prompt(self.target(), self.events.append, look=self.look)

    def look(self, target):
        self.looks.append(self.clock())
        return f"screen of {target.vmid}: a blue window"

    def serial(self):
        lines = tuple(line for made in self.made for line in made.lines)
        for made in self.made:
            made.lines.clear()
        return lines

    def read_marker(self, target):
        assert target.node == self.vm.node
        return self.marker if self.guest.phase == "ready" else None

    def watch(self, *, patience=None, **witnesses):
        usual = {"read_marker": self.read_marker, "serial": self.serial, "look": self.look}
        return watch_install(
            self.target(),
            self.events.append,
            poll=StatePoll(self.api),
            witnesses=Witnesses(**(usual | witnesses)),
            slots=AgentSlots(),
            patience=patience,
        )

    def unsettled(self, **what):
        with pytest.raises(NotSettled) as caught:
            self.watch(**what)
        return caught.value

    def calls(self, part):
        return [seen for seen in self.pve.requests if part in seen.path]

    def texts(self, kind):
        return [event.text for event in self.events if event.kind is kind]

    def phases(self):
        return [event.phase for event in self.events if event.kind is EventKind.STEP]


@pytest.fixture
def clock():
    return fake.Clock()


@pytest.fixture
def pve(release, clock):
    with FakeCluster(release=release, nodes=("pve1", "pve2"), clock=clock) as cluster:
        cluster.add_iso("local", "win2025.iso", size=5_000_000_000)
        yield cluster


@pytest.fixture
def run(pve, release, clock):
    Deaf.left = 99
    return Run(pve, release, clock)


# The prompt


def test_a_key_while_the_loader_asks_and_none_after(run):
    run.start()
    run.prompt()
    assert run.guest.phase == "setup"
    assert set(run.guest.pressed) <= {"firmware", "prompt"}
    run.clock.sleep(100)
    run.prompt()  # Windows PE has begun: nothing is pressed
    assert set(run.guest.pressed) <= {"firmware", "prompt"}
    assert run.calls("/status/reset") == []


def test_a_missed_prompt_is_reset_and_asked_again(run):
    run.make, Deaf.left = Deaf, 2
    run.start()
    run.prompt()
    assert run.guest.phase == "setup"
    assert len(run.calls("/status/reset")) == 2
    assert len(run.texts(EventKind.WARNING)) == 2


def test_after_three_resets_it_is_given_up(run):
    run.make = Deaf
    run.start()
    with pytest.raises(NotSettled) as caught:
        run.prompt()
    error = caught.value
    assert error.code is ExitCode.UNSETTLED
    assert len(run.calls("/status/reset")) == RESETS == 3
    assert "Press any key" in str(error.problems[0]) + str(error.problems[1])
    assert "screen of 101: a blue window" in [problem.what for problem in error.problems]
    # no key when nothing asked for one any more: twenty seconds for each boot
    assert len(run.vm.keys) <= 4 * 30


def test_no_reset_while_the_cd_is_read_slowly(run):
    run.make = Slow
    run.start()
    run.prompt()
    assert run.calls("/status/reset") == []
    assert run.clock() > 1000 + 60


class Slow(Windows):
    """boot.wim comes by 100 KiB a second."""

    def advance(self, now):
        super().advance(now)
        if self.phase == "setup":
            begun = self._until - self.times.setup
            self.vm.read_bytes["ide2"] = 2 * MIB + int((now - begun) * 100 * 1024)


def test_a_disk_that_is_written_is_never_reset(run):
    run.start()
    run.vm.written_bytes["scsi0"] = 2 * MIB
    run.prompt()
    assert run.vm.keys == []
    assert run.calls("/status/reset") == []


def test_a_last_look_before_each_reset(run):
    """Windows PE may begin just then."""
    run.make = Deaf

    def tell(event):
        if event.kind is EventKind.WARNING:
            run.vm.written_bytes["scsi0"] = 2 * MIB

    run.start()
    pass_prompt(run.target(), tell)
    assert run.calls("/status/reset") == []


class Greedy(Deaf):
    """A loader that reads 4 MiB each time."""

    def _next_device(self, now):
        super()._next_device(now)
        if self.phase == "prompt":
            self.vm.read_bytes["ide2"] += 2 * MIB


def test_what_loaders_read_does_not_add_up(run):
    run.make = Greedy
    run.start()
    with pytest.raises(NotSettled) as caught:
        run.prompt()
    assert run.vm.read_bytes["ide2"] == 4 * 4 * MIB
    assert caught.value.stall.phase is Phase.PROMPT


def test_keys_that_the_monitor_loses_do_no_harm(run):
    run.start()
    run.pve.faults.fail("PUT */sendkey", answer=500, reason="got EOF", times=5)
    run.prompt()
    assert run.guest.phase == "setup"


def test_a_reset_whose_answer_is_lost_is_not_the_end(run):
    run.make, Deaf.left = Deaf, 2
    run.pve.faults.fail("POST */status/reset", moment="after", answer=596)
    run.pve.faults.fail("POST */status/reset", moment="before", answer=596, skip=1)
    run.start()
    run.prompt()
    assert run.guest.phase == "setup"


def test_the_prompt_waits_for_an_api_that_is_away(run):
    run.start()
    run.pve.faults.fail("GET */status/current", answer=599, times=20)
    run.prompt()
    # the prompt was missed meanwhile, so keys went nowhere until the reset
    assert run.guest.phase == "setup"
    assert set(run.guest.pressed) <= {"firmware", "prompt", "no bootable device"}
    assert len(run.calls("/status/reset")) == 1


def test_a_missing_right_is_told_at_once(run, pve, release):
    run.start()
    token = pve.token("less@pve", rights(release) - {"VM.Console"})
    told = load_token(f"{token.user}!{token.name}={token.value}", source="test")
    api = Api(
        make_connection(pve.url, told, CaFile(path=Path(pve.ca_file))), run.api.clock
    )  # fmt: skip
    with pytest.raises(PveError) as caught:
        pass_prompt(run.target(api=api), run.events.append)
    assert caught.value.trouble is Trouble.FORBIDDEN


def test_a_vm_that_is_off_gets_no_keys(run):
    with pytest.raises(NotSettled, match="the VM is off"):
        run.prompt()
    assert run.vm.keys == []


def test_a_vm_that_moved_is_followed_to_its_prompt(run):
    run.start()
    run.vm.node = "pve2"
    assert run.prompt().node == "pve2"
    assert run.guest.phase == "setup"


# The watch


def test_an_installation_with_com1(run):
    run.start()
    run.prompt()
    done = run.watch()
    assert done.progress.phase is Phase.MARKED
    assert done.progress.marker == run.marker
    assert run.phases()[1:] == ["winpe", "specialize", "first-boot", "agent", "marked"]
    assert "step=agent ok=True result=0 seconds=9" in run.texts(EventKind.SERIAL)
    # the agent was asked only when the first boot had begun
    assert run.pve.delays["agent"] <= 6
    assert max(event.written for event in run.events) == 9000 * MIB


def test_an_installation_without_com1(run):
    run.make = lambda vm, pve: Windows(vm, pve, port=False)
    run.start()
    run.prompt()
    began = run.clock()
    done = run.watch(serial=lambda: ())
    assert done.progress.phase is Phase.MARKED
    assert run.phases()[1:] == ["winpe", "apply", "specialize", "agent", "marked"]
    asked = len(run.calls("/agent/ping"))
    assert asked <= 3
    assert run.clock() - began < 1500


def test_counters_are_asked_every_15_to_30_seconds(run):
    run.start()
    run.prompt()
    began, before = run.clock(), len(run.calls("/status/current"))
    run.watch()
    asked = len(run.calls("/status/current")) - before
    assert 15 <= (run.clock() - began) / asked <= 30


class Guarded(Windows):
    """The guard finds something after ten seconds, tells it and powers off."""

    words = (
        "guard=stopped reason=installed-system drive=C",
        "nothing was erased, the VM powers off",
    )

    def _enter(self, phase, until):
        super()._enter(phase, until)
        if phase == "setup":
            self.stop_at = self.pve.clock() + 40
            if self.port:
                self.lines.extend(f"winseed: {line}" for line in self.words)

    def advance(self, now):
        super().advance(now)
        self.off = self.phase == "setup" and now >= self.stop_at


def test_the_guard_ends_it_at_once(run):
    run.make = Guarded
    run.start()
    run.prompt()
    error = run.unsettled()
    assert error.code is ExitCode.UNSAFE
    assert "installed-system drive=C" in error.what
    assert run.calls("/agent/") == []


def test_without_com1_a_vm_that_powers_off_is_likely_the_guard(run):
    run.make = lambda vm, pve: Guarded(vm, pve, port=False)
    run.start()
    run.prompt()
    error = run.unsettled()
    assert error.code is ExitCode.UNSETTLED
    assert "the VM is off (Windows PE" in error.what
    assert "disk guard" in error.problems[0].what
    assert run.clock() < 1000 + 200


class Dialog(Windows):
    """Setup waits for a click."""

    def advance(self, now):
        super().advance(min(now, self._until - 290) if self.phase == "setup" else now)


def test_a_dialog_is_told_and_then_given_up(run):
    run.make = lambda vm, pve: Dialog(vm, pve, port=False)
    run.start()
    run.prompt()
    error = run.unsettled()
    assert "nothing has moved for 1" in error.what
    assert "no answer file" in error.problems[0].what
    assert len(run.texts(EventKind.STALL)) == 1
    assert len(run.looks) == 2  # when it was told and when it was given up: the same picture twice
    assert error.stall.phase is Phase.WINPE
    silence = load_patience().of("winpe").silence
    assert silence <= run.clock() - 1000 <= silence + 120


class Failing(Windows):
    def _enter(self, phase, until):
        super()._enter(phase, until)
        if phase == "first boot":
            self.lines.extend(
                ["winseed: phase=failed id=0123abcd", "winseed: log=C:\\x", "winseed: boom"]
            )


def test_a_fatal_error_of_setup_brings_its_log(run):
    run.make = Failing
    run.start()
    run.prompt()
    error = run.unsettled()
    assert "Windows Setup has failed" in error.what
    assert "COM1: boom" in [problem.what for problem in error.problems]


def test_another_build_in_the_vm(run):
    run.start()
    run.prompt()
    run.marker = Marker(id="ffff", ok=True, failed=())
    assert "the VM runs build ffff" in run.unsettled().what


def test_the_overall_limit(run):
    run.start()
    run.prompt()
    run.marker = None
    error = run.unsettled(patience=make_patience(overall=1200))
    assert "not done after 20 min" in error.what
    assert 1200 <= run.clock() - 1000 <= 1300


def test_the_api_may_be_away_for_minutes(run):
    run.start()
    run.prompt()
    run.later(50, lambda: run.pve.faults.fail("GET *", answer=595, times=40))
    run.watch()
    away = [text for text in run.texts(EventKind.WARNING) if "goes on" in text]
    back = [text for text in run.texts(EventKind.NOTE) if "answers again" in text]
    assert (len(away), len(back)) == (1, 1)


def test_an_api_that_stays_away_ends_at_the_overall_limit(run):
    run.start()
    run.prompt()
    run.later(50, lambda: run.pve.faults.fail("GET *", answer="drop", times=10**6))
    error = run.unsettled(patience=make_patience(overall=2000))
    assert "Proxmox VE does not answer for" in error.what
    assert run.clock() - 1000 < 2400
    # ever more seldom: at most one round in two minutes at the end
    assert len([seen for seen in run.pve.requests if seen.status == 0]) < 120


def test_a_vm_that_moves_is_followed(run):
    run.start()
    run.prompt()

    def move():
        run.vm.node = "pve2"
        disks = run.pve.storages["local-lvm"]
        disks.on("pve2").update(disks.on("pve1"))

    run.later(100, move)
    done = run.watch()
    assert done.target.node == "pve2"
    assert {seen.status for seen in run.calls("/status/current")} == {200}  # the list told first
    assert any("pve2" in text for text in run.texts(EventKind.NOTE))


def test_a_vm_that_is_gone(run):
    run.start()
    run.prompt()

    def destroy():
        run.pve.vms.clear()
        run.pve.guests.clear()

    run.later(100, destroy)
    assert "not there any more" in run.unsettled().what
    assert run.clock() - 1000 < 500


def test_rights_that_are_taken_away_end_it(run):
    run.start()
    run.prompt()
    refused = {"answer": 403, "reason": "Permission check failed (/vms/101, VM.GuestAgent.Audit)"}
    run.pve.faults.fail("POST */agent/ping", **refused)
    with pytest.raises(PveError) as caught:
        run.watch()
    assert caught.value.trouble is Trouble.FORBIDDEN


def test_nothing_depends_on_com1_the_screen_or_one_marker(run):
    run.start()
    run.prompt()
    left = [
        WinseedError("no marker yet", code=ExitCode.UNSETTLED),
        PveError("gone", trouble=Trouble.UNKNOWN),
        PveError("gone", trouble=Trouble.AGENT),
    ]

    def broken(*_):
        raise OSError("no console")

    def read_marker(target):
        if left:
            raise left.pop()
        return run.read_marker(target)

    done = run.watch(serial=broken, look=broken, read_marker=read_marker)
    assert done.progress.phase is Phase.MARKED
    assert "the marker cannot be read: no marker yet" in run.texts(EventKind.WARNING)


def test_a_resumed_watch_knows_its_phase(run):
    run.start()
    run.prompt()
    run.clock.sleep(600)
    inspect_target(run.target())
    run.guest.lines.clear()
    done = watch_install(
        run.target(), run.events.append, poll=StatePoll(run.api),
        witnesses=Witnesses(read_marker=run.read_marker), slots=AgentSlots(),
        phase=Phase.FIRST_BOOT,
    )  # fmt: skip
    assert done.progress.phase is Phase.MARKED
    assert run.clock() < 1000 + 800


def test_a_phase_has_its_own_limit(run):
    run.start()
    run.prompt()
    short = make_patience(allowances={"specialize": Allowance(silence=9999, limit=60)})
    error = run.unsettled(patience=short)
    assert "this phase lasts" in error.what
    assert error.stall.phase is Phase.SPECIALIZE


# What watches share


def test_one_list_for_many(run):
    poll = StatePoll(run.api)
    threads = [threading.Thread(target=lambda: poll.find(101)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(run.calls("/cluster/resources")) == 1
    run.clock.sleep(9)
    assert poll.find(101).node == "pve1"
    assert len(run.calls("/cluster/resources")) == 1
    run.clock.sleep(2)
    assert poll.find(102) is None
    assert len(run.calls("/cluster/resources")) == 2
    run.pve.faults.fail("GET */cluster/resources", answer=403, reason="no", times=99)
    run.clock.sleep(11)
    for _ in range(5):
        with pytest.raises(PveError):
            poll.find(101)
    assert len(run.calls("/cluster/resources")) == 3


def test_agents_of_a_node_have_two_turns():
    slots, entered = AgentSlots(), threading.Event()

    def third():
        with slots.at("a"):
            entered.set()

    waiting = threading.Thread(target=third)
    with slots.at("a"), slots.at("b"), slots.at("b"):
        with slots.at("a"):
            waiting.start()
            assert not entered.wait(0.2)
        assert entered.wait(10)
    waiting.join(10)


def test_times_of_the_fake_are_used():
    """The tables above rest on them."""
    assert (Times().firmware, Times().prompt, Times().setup) == (3.0, 5.0, 300.0)
