"""Calls into Windows over a strict agent: run once whatever is lost, and told in full."""

import base64
import contextlib
import dataclasses
import functools
import json
import pickle
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.guest.call import GuestError, GuestTrouble, call_guest
from builder.guest.envelope import GuestScript, load_script, make_command, make_envelope
from builder.guest.facts import inspect_guest, inspect_logs, inspect_marker, inspect_role
from builder.proxmox import agent as verbs
from builder.proxmox.agent import GuestAgent
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.proxmox.failures import PveError, Trouble
from builder.values import Secret
from tests.pve import clock as fake_clock
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights
from tests.pve.installed import DONE, PANTHER, Account, Answers, Installed, WantedDisk
from tests.pve.powershell import Plans, execute
from tests.pve.state import GIB
from tests.pve.windows import WindowsGuest

PASSWORD = 'New-"Geheim"-\u00e4\u20ac-1'
OTHER = "Account-Password-2"
BLOB = "ARAIAMzMzMygCAAAAAAAAAAAAgABAAAA"
EXEC, STATUS = "POST */agent/exec", "GET */agent/exec-status"


@dataclasses.dataclass(kw_only=True)
class Scene:
    """A VM with an installed Windows, and an agent to talk to."""

    pve: FakeCluster
    clock: fake_clock.Clock
    windows: Installed
    plans: Plans
    agent: GuestAgent

    @property
    def guest(self):
        return self.pve.guests[101]

    def rotate(self, name="run-rotate-0", password=PASSWORD, timeout=600.0):
        return call_guest(
            self.agent,
            load_script("rotate"),
            id=name,
            payload={"password": Secret(password)},
            timeout=timeout,
        )

    def count(self, script):
        return sum(1 for name, _id in self.windows.effects if name == script)


class Ticking(fake_clock.Clock):
    """A clock whose pauses make the cluster move on, as a real one would."""

    def __init__(self):
        super().__init__()
        self.after = []  # seconds and what happens then

    def sleep(self, seconds):
        super().sleep(seconds)
        for event in [event for event in self.after if event[0] <= self.now]:
            self.after.remove(event)
            event[1]()


ANSWERS = Answers(
    fingerprint="0123456789ab",
    computer_name="APP01",
    password="One-Time-1",
    policies={},
    drivers=frozenset(),
    disks=(
        WantedDisk(letter="D", label="Daten", filesystem="NTFS", gib=1, slot=1),
        WantedDisk(letter="E", label="Logs", filesystem="REFS", gib=1, slot=2),
    ),
    image="2",
)


def make_scene(pve, release):
    clock = pve.clock
    plans = Plans()
    pve.make_guest = lambda vm: WindowsGuest(vm, pve, plans=plans)
    config = {
        "name": "app01",
        "boot": "order=scsi0",
        "scsihw": "virtio-scsi-single",
        "scsi0": "local-lvm:vm-101-disk-0,size=60G",
        "scsi1": "local-lvm:vm-101-disk-1,size=1G",
        "scsi2": "local-lvm:vm-101-disk-2,size=1G",
        "net0": "virtio=BC:24:11:00:00:01,bridge=vmbr0",
        "agent": "1",
    }
    pve.add_vm(101, config=config)
    windows = Installed(
        answers=ANSWERS,
        accounts=[Account(name="Administrateur", rid=500, password="One-Time-1")],
        image_state="IMAGE_STATE_COMPLETE",
        drivers={"NetKVM", "vioscsi", "vioserial"},
    )
    system = pve.volume("local-lvm:vm-101-disk-0")
    system.stage, system.windows = "ready", windows
    pve.volume("local-lvm:vm-101-disk-2").written = False
    made = pve.token("installer@pve", rights(release))
    token = load_token(f"{made.user}!{made.name}={made.value}", source="test")
    trust = CaFile(path=Path(pve.ca_file))
    passing = Clock(now=clock, pause=clock.sleep, jitter=lambda: 0.5)
    api = Api(make_connection(pve.url, token, trust), passing, timeout=(2.0, 2.0))
    api.change("POST", ("nodes", "pve1", "qemu", 101, "status", "start"), {}, str)
    clock.sleep(60)
    agent = GuestAgent(api=api, node="pve1", vmid=101)
    assert verbs.ping_agent(api, "pve1", 101)
    return Scene(pve=pve, clock=clock, windows=windows, plans=plans, agent=agent)


@pytest.fixture
def pve(release):
    with FakeCluster(release=release, nodes=("pve1", "pve2"), clock=Ticking()) as cluster:
        yield cluster


@pytest.fixture
def scene(pve, release):
    return make_scene(pve, release)


def test_a_password_reaches_the_account_with_rid_500(scene):
    result = scene.rotate()
    assert (result.code, result.values["account"]) == (0, "Administrateur")
    assert scene.windows.administrator.password == PASSWORD


@pytest.mark.parametrize("call", [EXEC, STATUS])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("answer", ["drop", 596, 595])
def test_a_lost_answer_runs_nothing_twice(scene, call, moment, answer):
    fault = scene.pve.faults.fail(call, moment=moment, answer=answer, times=2)
    assert scene.rotate().code == 0
    assert fault.hits == 2
    assert scene.count("rotate") == 1


def test_a_slow_answer_of_the_agent_may_have_had_its_effect(scene):
    reason = "VM 101 qmp command 'guest-exec' failed - got timeout"
    scene.pve.faults.fail(EXEC, moment="after", answer=500, reason=reason)
    assert scene.rotate().code == 0
    assert scene.count("rotate") == 1


@pytest.mark.parametrize("at", [0.1, 2, 20])
def test_an_agent_that_is_away_for_a_while(scene, at):
    scene.plans.seconds["rotate"] = 15
    scene.clock.after.append((scene.clock.now + at, lambda: scene.guest.silence(90)))
    assert scene.rotate().code == 0
    assert scene.count("rotate") == 1


def test_an_agent_that_was_started_anew_knows_no_program(scene):
    scene.plans.seconds["rotate"] = 15
    vm = scene.pve.vms[101]
    scene.clock.after.append((scene.clock.now + 1, lambda: scene.pve.forget_programs(vm)))
    assert scene.rotate().code == 0
    assert scene.count("rotate") == 1


def test_a_restart_in_the_middle_is_followed_by_another_run(scene):
    scene.plans.seconds["rotate"] = 30
    restart = scene.guest.power_on
    scene.clock.after.append((scene.clock.now + 10, lambda: restart(scene.clock.now)))
    assert scene.rotate().code == 0
    assert [call for _name, call in scene.windows.effects] == ["run-rotate-0", "run-rotate-0.2"]
    assert scene.windows.started == {"run-rotate-0", "run-rotate-0.2"}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_script_is_run_again(scene, moment):
    scene.plans.deaths["rotate"] = [moment]
    assert scene.rotate().code == 0
    assert scene.windows.administrator.password == PASSWORD
    assert scene.count("rotate") == (1 if moment == "before" else 2)
    assert scene.rotate().code == 0, "from another terminal: the same answer, no further run"
    assert scene.count("rotate") == (1 if moment == "before" else 2)


def test_a_script_that_never_survives_is_given_up(scene):
    scene.plans.deaths["rotate"] = ["before"] * 9
    with pytest.raises(GuestError) as caught:
        scene.rotate()
    assert caught.value.trouble is GuestTrouble.INTERRUPTED
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.trouble, copy.script, copy.what) == (
        GuestTrouble.INTERRUPTED,
        "rotate",
        caught.value.what,
    )


def test_a_question_without_a_word_is_given_up(scene):
    scene.plans.deaths["role"] = ["before"] * 9
    with pytest.raises(GuestError, match="1073807364 and no answer") as caught:
        inspect_role(scene.agent, timeout=600)
    assert caught.value.trouble is GuestTrouble.WORDLESS


def test_two_terminals_at_a_time(scene):
    scene.plans.seconds["rotate"] = 40
    results = []

    def call():
        results.append(scene.rotate().code)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0]
    assert scene.count("rotate") == 1


def test_what_a_script_says_of_its_failure_stays(scene):
    scene.plans.errors["rotate"] = [f"'{PASSWORD}' is refused by the policy"]
    first = scene.rotate()
    assert (first.code, first.message) == (1, "line 7: '***' is refused by the policy")
    assert scene.rotate() == first, "the same id has the same answer"
    assert scene.windows.administrator.password == "One-Time-1"
    assert scene.rotate("run-rotate-1").code == 0


def test_time_is_up_and_the_script_goes_on(scene):
    scene.plans.seconds["rotate"] = 300
    with pytest.raises(GuestError, match="no result in time") as caught:
        scene.rotate(timeout=60)
    assert caught.value.trouble is GuestTrouble.SILENT
    assert scene.rotate(timeout=600).code == 0
    assert scene.count("rotate") == 1


def test_every_call_takes_its_turn(scene):
    turns = []

    @contextlib.contextmanager
    def turn():
        turns.append("in")
        yield
        turns.append("out")

    agent = dataclasses.replace(scene.agent, turn=turn)
    assert not inspect_role(agent, timeout=60).controller
    assert turns == ["in", "out"] * 2


def test_a_vm_that_is_off_is_told_at_once(scene):
    scene.pve.stop_from_inside(scene.pve.vms[101])
    with pytest.raises(PveError) as caught:
        scene.rotate()
    assert caught.value.trouble is Trouble.STOPPED


def test_a_missing_right_is_told_at_once(scene):
    scene.pve.faults.fail(EXEC, answer=403, reason="Permission check failed (/vms/101, VM.Monitor)")
    with pytest.raises(PveError) as caught:
        scene.rotate()
    assert caught.value.trouble is Trouble.FORBIDDEN


def test_accounts_groups_and_join(scene):
    account = {
        "name": "ops",
        "FullName": "Operations",
        "Description": "",
        "groups": ("S-1-5-32-544",),
        "password": Secret(OTHER),
    }
    result = call_guest(
        scene.agent,
        load_script("accounts"),
        id="run-accounts-0",
        payload={"accounts": (account,)},
        timeout=60,
    )
    assert result.values["accounts"] == [{"name": "ops", "created": True}]
    (made,) = [account for account in scene.windows.accounts if account.name == "ops"]
    assert (made.password, made.groups) == (OTHER, {"S-1-5-32-544"})
    result = call_guest(
        scene.agent,
        load_script("join"),
        id="run-join-0",
        payload={"blob": Secret("QUJD")},
        timeout=60,
    )
    assert result.values["joined"] is True
    assert scene.windows.pending == ["domain"]


def test_a_domain_controller_is_left_alone(scene):
    scene.windows.domain_role = 5
    result = scene.rotate()
    assert (result.code, "domain controller" in result.message) == (1, True)
    assert scene.windows.administrator.password == "One-Time-1"
    assert inspect_role(scene.agent, timeout=60).controller


def test_data_disks_are_formatted_when_empty_only(scene):
    payload = {}
    script = load_script("data-disks")
    result = call_guest(scene.agent, script, id="run-disks-0", payload=payload, timeout=60)
    assert result.code == 0
    assert scene.windows.letters == {"D": ("NTFS", "kept", GIB), "E": ("REFS", "Logs", GIB)}
    volumes = inspect_guest(scene.agent, id="facts", timeout=60).volumes
    assert {volume.letter for volume in volumes if volume.fixed} == {"C", "D", "E"}


def test_scrub_tells_what_would_not_go(scene):
    scene.windows.files |= {PANTHER: b"secret", "C:\\Windows\\Panther\\a-unattend.xml": b"secret"}
    scene.windows.stubborn.add(PANTHER)
    result = call_guest(scene.agent, load_script("scrub"), id="run-scrub-0", payload={}, timeout=60)
    assert (result.code, PANTHER in result.message) == (1, True)
    assert "C:\\Windows\\Panther\\a-unattend.xml" not in scene.windows.files


def test_the_marker_and_its_lists_of_one(scene):
    assert inspect_marker(scene.agent, timeout=60) is None
    told = {"version": 1, "id": "0123456789ab", "ok": False, "failed": "agent", "steps": []}
    scene.windows.files[DONE] = json.dumps(told).encode()
    marker = inspect_marker(scene.agent, timeout=60)
    assert (marker.id, marker.ok, marker.failed) == ("0123456789ab", False, ("agent",))
    assert marker.image_state == "IMAGE_STATE_COMPLETE"
    scene.windows.files[DONE] = b"\x00\x00\x00"
    with pytest.raises(GuestError) as caught:
        inspect_marker(scene.agent, timeout=60)
    assert caught.value.trouble is GuestTrouble.MALFORMED


def test_facts(scene):
    scene.windows.policies = {("AU", "NoAutoUpdate"): "1"}
    facts = inspect_guest(scene.agent, id="facts", timeout=60)
    assert (facts.edition, facts.installation_type, facts.build) == (
        *("ServerStandard", "Server Core"),
        "20348",
    )
    assert [(one.subkey, one.name, one.value) for one in facts.policies] == [
        ("AU", "NoAutoUpdate", "1")
    ]
    problems = {device.name: device.problem for device in facts.devices}
    assert problems["NetKVM"] == 0
    assert problems["Balloon"] == problems["SMBus"] == 28


def test_logs_come_back_without_secrets(scene):
    wide = "Kennwort: One-Time-1 \u00fc".encode("utf-16-le")
    scene.windows.files["C:\\Windows\\Panther\\setupact.log"] = b"x" * 50_000 + b"One-Time-1 end"
    scene.windows.files["C:\\Windows\\debug\\NetSetup.log"] = wide
    logs = inspect_logs(scene.agent, timeout=60, limit=100, secrets=("One-Time-1",))
    tails = {log.path.rpartition("\\")[2]: log for log in logs}
    assert tails["setupact.log"].tail.endswith("xxx*** end")
    assert (tails["setupact.log"].size, len(tails["setupact.log"].tail)) == (50_014, 93)
    assert tails["NetSetup.log"].tail == "Kennwort: *** \u00fc"


def test_results_are_taken_away_in_the_end(scene):
    scene.rotate()
    assert scene.windows.results
    call_guest(scene.agent, load_script("remove"), id="run-remove-0", payload={}, timeout=60)
    assert not scene.windows.results
    assert not scene.windows.started


def test_no_secret_but_on_standard_input(scene, caplog):
    """Planted secrets, in clear and as base64 of any alignment."""
    caplog.set_level("DEBUG")
    account = {"name": "ops", "FullName": "", "Description": "", "groups": (), "password": OTHER}
    payloads = {
        "rotate": {"password": Secret(PASSWORD)},
        "accounts": {"accounts": ({**account, "password": Secret(OTHER)},)},
        "join": {"blob": Secret(BLOB)},
    }
    scene.plans.errors["join"] = [f"{BLOB} is no blob"]
    results = [
        call_guest(scene.agent, load_script(name), id=f"run-{name}", payload=payload, timeout=60)
        for name, payload in payloads.items()
    ]
    planted = [
        form
        for secret in (PASSWORD, OTHER, BLOB)
        for form in (
            secret,
            *(base64.b64encode(b" " * n + secret.encode()).decode()[4:-4] for n in range(3)),
        )
    ]
    seen = [(request.path, {**request.params, "input-data": ""}) for request in scene.pve.requests]
    kept = scene.windows.results.values()
    texts = [repr(seen), " ".join(make_command()), repr(results), *kept, caplog.text]
    texts += [load_script(name).text for name in payloads]
    assert not [(secret, text) for secret in planted for text in texts if secret in text]
    assert any(OTHER in account.password for account in scene.windows.accounts), "it did arrive"


def test_answers_of_the_agent_itself(scene):
    api = scene.agent.api
    assert verbs.inspect_host_name(api, "pve1", 101) == "WIN-RANDOM"
    (card,) = verbs.inspect_interfaces(api, "pve1", 101)
    assert (card.name, card.mac, card.addresses) == (
        *("Ethernet", "BC:24:11:00:00:01"),
        ("10.0.0.5/24",),
    )
    scene.windows.files["C:\\a"] = b"\x00\xff"
    assert verbs.read_file(api, "pve1", 101, "C:\\a").content == b"\x00\xff"
    with pytest.raises(PveError):
        verbs.read_file(api, "pve1", 101, "C:\\b")


def test_a_result_is_told_once(scene):
    api, envelope = scene.agent.api, make_envelope(load_script("role"), "x", {}, record=False)
    pid = verbs.start_command(api, "pve1", 101, make_command(), stdin=envelope)
    result = verbs.take_result(api, "pve1", 101, pid)
    assert (result.exitcode, result.complete) == (0, True)
    assert "G\xfcnther" in result.out
    with pytest.raises(PveError, match="Invalid parameter") as caught:
        verbs.take_result(api, "pve1", 101, pid)
    assert caught.value.trouble is Trouble.REFUSED


ROTATE = load_script("rotate")
GOOD = make_envelope(ROTATE, "x", {"password": Secret("a")}, record=True).reveal().encode()


@pytest.mark.parametrize(
    ("command", "stdin", "why"),
    [
        (("powershell.exe", "-Command", "whoami"), GOOD, "command line"),
        ((*make_command()[:-1], base64.b64encode(b"e\0x\0").decode()), GOOD, "bootstrap"),
        (make_command(), GOOD.replace(b"{", "\u00e4{".encode()), "ASCII"),
        (make_command(), GOOD + b" " * 70_000, "64 KiB"),
        (
            make_command(),
            make_envelope(
                GuestScript(name="rotate", text="whoami", question=False), "x", {}, record=True
            )
            .reveal()
            .encode(),
            "unknown script",
        ),
        (
            make_command(),
            make_envelope(ROTATE, "x", {"password": "a"}, record=True).reveal().encode(),
            "not named as one",
        ),
        (make_command(), make_envelope(ROTATE, "x", {}, record=True).reveal().encode(), "rotate"),
    ],
)
def test_the_fake_runs_nothing_else(scene, command, stdin, why):
    with pytest.raises(AssertionError, match=why):
        execute(scene.guest, list(command), stdin)


FAULT = st.tuples(
    st.sampled_from([EXEC, STATUS]),
    st.sampled_from(["before", "after"]),
    st.sampled_from(["drop", 595, 596, 599]),
    st.integers(0, 3),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=st.lists(FAULT, max_size=6),
    deaths=st.lists(st.sampled_from(["before", "after"]), max_size=2),
    seconds=st.sampled_from([0, 5, 60]),
    away=st.lists(st.tuples(st.floats(0, 120), st.floats(1, 60)), max_size=3),
)
def test_whatever_happens_a_run_has_its_effect_and_no_id_two(faults, deaths, seconds, away):
    with FakeCluster(release="9.2", clock=Ticking()) as pve:
        scene = make_scene(pve, "9.2")
        scene.plans.deaths["rotate"] = list(deaths)
        scene.plans.seconds["rotate"] = seconds
        for call, moment, answer, skip in faults:
            pve.faults.fail(call, moment=moment, answer=answer, skip=skip)
        for at, length in away:
            away_now = functools.partial(scene.guest.silence, length)
            scene.clock.after.append((scene.clock.now + at, away_now))
        assert scene.rotate(timeout=3600).code == 0
        assert scene.windows.administrator.password == PASSWORD
        ids = [call for _name, call in scene.windows.effects]
        assert len(ids) == len(set(ids)), ids
        assert len(ids) <= 1 + len(deaths)
