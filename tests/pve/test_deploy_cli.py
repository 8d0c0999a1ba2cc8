"""`winseed deploy` and `reinstall` as commands: output, exit codes, questions, Ctrl-C, SIGKILL."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest

from builder.cli import connection, deploy, reinstall
from builder.errors import ExitCode
from builder.install.journal import Outcome, load_journal
from tests.command import clean_environment, command_line, winseed
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights
from tests.pve.test_deploy_start import answer_isos, images
from tests.pve.test_reinstall import add_old, volid
from tests.pve.windows import Times, WindowsGuest

SPEC = """
[proxmox]
url = "{url}"
node = "pve1"
ca_file = "{ca}"

[defaults]
release = "2022"
edition = "core"
channel = "volume"
windows_iso = "{windows}"
virtio_iso = "{virtio}"

[[host]]
name = "app01"
"""
SECOND = '\n[[host]]\nname = "app02"\n'
EXISTING = 'machine = { vmid = 101 }\n\n[[host.nic]]\nmac = "BC:24:11:AA:00:01"\n'
QUICK = Times(setup=60, specialize=40, first_boot=30, boot=10)
SECRETS = re.compile(r"Of-ops-1!|Final-Given-1!")


@pytest.fixture
def release():
    """The newest: what differs by release is tested elsewhere."""
    return "9.2"


@pytest.fixture
def pve(release, clock):
    with FakeCluster(release=release, nodes=("pve1", "pve2"), clock=clock) as cluster:
        cluster.make_guest = lambda vm: WindowsGuest(vm, cluster, QUICK)
        yield cluster


class Desk:
    """Where somebody types: a folder with a spec, and `winseed` on a clock that moves in pauses."""

    def __init__(self, pve, discs, folder, capsys):
        self.pve, self.folder, self.capsys = pve, folder, capsys
        self.discs = {"windows": discs["windows-2022-volume"], "virtio": discs["virtio"]}
        for name, key in (("windows.iso", "windows"), ("virtio-win.iso", "virtio")):
            pve.add_iso("local", name, size=self.discs[key].stat().st_size)
        token = pve.token("installer@pve", rights(pve.release) | {"Datastore.Allocate"})
        self.token = f"{token.user}!{token.name}={token.value}"
        self.write()

    def write(self, more=""):
        text = SPEC.format(url=self.pve.url, ca=self.pve.ca_file, **self.discs) + more
        (self.folder / "winseed.toml").write_text(text)

    def __call__(self, *arguments):
        done = winseed(self.capsys, *arguments)
        assert "Traceback" not in done.out + done.err
        assert done.code != ExitCode.BUG, done.err
        assert self.token.partition("=")[2] not in done.out + done.err
        assert not SECRETS.search(done.out + done.err)
        for path in self.folder.glob("dist/*/*.password"):
            assert path.read_text().strip() not in done.out + done.err
        return done

    def outcome(self, host="app01"):
        journal = load_journal(self.folder / "dist" / host)
        return journal.state.outcome if journal else None


@pytest.fixture
def desk(pve, discs, trusted, tmp_path, monkeypatch, capsys, clock):
    def pause(seconds):
        clock.sleep(seconds)

    monkeypatch.chdir(tmp_path)
    made = Desk(pve, discs, tmp_path, capsys)
    monkeypatch.setenv("WINSEED_PVE_TOKEN", made.token)
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=clock, sleep=pause))
    for verb in (deploy, reinstall):
        monkeypatch.setattr(verb, "make_pause", lambda _stop: pause)
    return made


def changes(pve):
    return [seen for seen in pve.requests if seen.method != "GET"]


def test_a_dry_run_changes_nothing(desk, pve):
    done = desk("deploy", "--dry-run")
    assert done.code == ExitCode.DONE, done.err
    assert "app01: would create VM 100 on pve1" in done.out
    assert "scsi0: local-lvm:60" in done.out
    assert not changes(pve)
    assert not (desk.folder / "dist").exists()


def test_a_dry_run_as_json(desk, pve):
    done = desk("deploy", "--dry-run", "--json")
    (line,) = done.out.splitlines()
    told = json.loads(line)
    assert told["dry_run"] is True
    assert told["hosts"][0]["vmid"] == 100
    assert not changes(pve)


def test_plain_lines_and_a_summary(desk, pve):
    done = desk("deploy")
    assert done.code == ExitCode.DONE, done.err
    first, second = done.out.splitlines()
    assert first.startswith("app01  VM 100 on pve1")
    assert "settled" in first
    assert second.strip().startswith("Administrator's password: ")
    assert "rotate" in done.err
    assert desk.outcome() is Outcome.SETTLED


def test_each_line_of_json_is_an_event_and_the_last_is_the_result(desk):
    done = desk("deploy", "--json")
    assert done.code == ExitCode.DONE, done.err
    *events, result = [json.loads(line) for line in done.out.splitlines()]
    assert {event["host"] for event in events} == {"app01"}
    assert all(event["version"] == 1 and event["time"] for event in events)
    assert [event["phase"] for event in events].index("create") < len(events) - 1
    (row,) = result["results"]
    assert result["version"] == 1
    assert (row["host"], row["vmid"], row["outcome"], row["code"]) == ("app01", 100, "settled", 0)
    assert row["error"] is None


def test_media_that_nobody_has_looked_into(desk, pve):
    text = (desk.folder / "winseed.toml").read_text()
    text = re.sub(r'windows_iso = ".*"\n', "", text)
    text += 'machine = { windows_volid = "local:iso/windows.iso" }\n'
    (desk.folder / "winseed.toml").write_text(text)
    done = desk("deploy")
    assert done.code == ExitCode.UNSAFE, done.err
    assert "--unverified-media" in done.err
    assert not changes(pve)
    done = desk("deploy", "--dry-run", "--unverified-media")
    assert done.code == ExitCode.DONE, done.err


def test_one_bad_host_of_two(desk, pve):
    desk.write(SECOND + "machine = { vmid = 105 }\n")
    pve.add_vm(105, config={"name": "app02", "scsi0": "local-lvm:vm-105-disk-0,size=10G"})
    before = dict(pve.vms[105].config)
    done = desk("deploy", "--all", "-j", "2")
    assert done.code == ExitCode.UNSAFE, done.err
    rows = [line for line in done.out.splitlines() if line.startswith("app")]
    assert re.match("app01 .* settled", rows[0])
    assert re.match("app02 .* failed", rows[1])
    assert "winseed reinstall" in done.err
    assert pve.vms[105].config == before


def test_two_hosts_without_all_are_refused(desk, pve):
    desk.write(SECOND)
    done = desk("deploy")
    assert done.code == ExitCode.SPEC
    assert "--all" in done.err
    assert not changes(pve)


def test_a_failure_tells_how_to_go_on_and_resume_does(desk, pve):
    class Broken(WindowsGuest):
        def _finish_boot(self, phase):
            super()._finish_boot(phase)
            if self.windows:
                self.windows.build = 17763

    pve.make_guest = lambda vm: Broken(vm, pve, QUICK)
    done = desk("deploy")
    assert done.code == ExitCode.UNSETTLED, done.err
    assert "next: winseed deploy app01 --resume, or --undo" in done.out
    assert "build" in done.err
    again = desk("deploy")
    assert again.code == ExitCode.UNSAFE
    assert "unfinished run" in again.err
    for vmid, guest in pve.guests.items():
        assert guest.windows, vmid
        guest.windows.build = 20348
    done = desk("deploy", "--resume")
    assert done.code == ExitCode.DONE, done.err
    assert desk.outcome() is Outcome.SETTLED
    done = desk("deploy", "--resume")
    assert done.code == ExitCode.SPEC
    assert "nothing to go on with" in done.err


def test_resume_of_many_takes_up_only_the_open_ones(desk, pve):
    desk.write(SECOND)
    assert desk("deploy", "app01").code == ExitCode.DONE
    pve.faults.kill_worker("qmstart", at="before", times=1)
    pve.faults.fail("DELETE */qemu/*", answer=500, reason="not now", times=9)
    assert desk("deploy", "app02").code == ExitCode.PROXMOX
    pve.faults.clear()
    done = desk("deploy", "--all", "--resume")
    assert done.code == ExitCode.DONE, done.err
    assert [line.split()[0] for line in done.out.splitlines() if line[0] != " "] == ["app02"]
    done = desk("deploy", "--all", "--undo")
    assert done.code == ExitCode.SPEC
    assert "has an open run" in done.err


def test_undo(desk, pve):
    pve.make_guest = lambda vm: WindowsGuest(vm, pve, Times(setup=1e9))
    done = desk("deploy")
    assert done.code == ExitCode.UNSETTLED, done.err
    (answer,) = answer_isos(pve)
    assert answer in done.out, "a run that was only waited for may go on, so its ISO stays"
    done = desk("deploy", "--undo")
    assert done.code == ExitCode.DONE, done.err
    assert "undone" in done.out
    assert not pve.vms
    assert not images(pve)
    assert not answer_isos(pve)


def test_what_excludes_each_other(desk):
    assert desk("deploy", "--resume", "--undo").code == ExitCode.SPEC
    assert desk("reinstall", "--resume", "--accept").code == ExitCode.SPEC
    assert desk("deploy", "-j", "0").code == ExitCode.SPEC
    assert desk("deploy", "nobody").code == ExitCode.SPEC


@pytest.mark.parametrize("option", ["--resume", "--undo"])
def test_nothing_to_go_on_with(desk, option):
    for verb in ("deploy", "reinstall"):
        done = desk(verb, option)
        assert done.code == ExitCode.SPEC
        assert "nothing to go on with" in done.err


def test_a_journal_that_is_none(desk):
    folder = desk.folder / "dist" / "app01"
    folder.mkdir(parents=True)
    for content in ("", "{}", '{"version": 2, "state": {}, "steps": {}}', "\0" * 9):
        (folder / "journal.json").write_text(content)
        for arguments in (("deploy",), ("deploy", "--resume"), ("reinstall", "--undo")):
            done = desk(*arguments)
            assert done.code == ExitCode.SPEC, done.err
            assert "journal" in done.err


def test_a_token_that_ends_in_the_middle(desk, pve):
    account = pve.access.accounts["installer@pve!winseed"]

    class Expiring(WindowsGuest):
        def press(self, key):
            super().press(key)
            account.enabled = self.vm.keys.count("ret") > 1  # the first key ends it

    pve.make_guest = lambda vm: Expiring(vm, pve, QUICK)
    done = desk("deploy")
    assert done.code == ExitCode.PROXMOX
    assert "does not accept the token" in done.err
    (answer,) = answer_isos(pve)
    assert answer in done.out
    account.enabled = True
    done = desk("deploy", "--resume")
    assert done.code == ExitCode.DONE, done.err


def test_help_says_what_happens(desk):
    for verb, words in (
        ("deploy", ("--resume", "--undo", "--all", "--dry-run", "--unverified-media", "-j")),
        ("reinstall", ("--accept", "--yes NAME", "--not-a-dc", "--undo", "winseed dc")),
    ):
        done = desk(verb, "--help")
        assert done.code == ExitCode.DONE
        assert all(word in done.out for word in words)


@pytest.fixture
def old(desk, pve, release):
    """A VM that is there, with a running Windows and a data disk."""
    desk.write(EXISTING)
    return add_old(pve, release, "system first")


def test_reinstall_asks_for_the_name(desk, pve, old, monkeypatch):
    before = dict(old.config)
    done = desk("reinstall")
    assert done.code == ExitCode.UNSAFE
    assert "--yes app01" in done.err
    done = desk("reinstall", "--yes", "app02")
    assert done.code == ExitCode.UNSAFE
    assert old.config == before
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *_args, **_more: "wrong")
    assert desk("reinstall").code == ExitCode.UNSAFE
    assert old.config == before
    monkeypatch.setattr("click.prompt", lambda *_args, **_more: "APP01 ")
    done = desk("reinstall")
    assert done.code == ExitCode.DONE, done.err
    assert "--accept" in done.out


def test_reinstall_then_accept(desk, pve, old):
    done = desk("reinstall", "--dry-run", "--json")
    told = json.loads(done.out)
    assert told["hosts"][0]["kept"] == {"scsi1": "local-lvm:vm-101-disk-3"}
    done = desk("reinstall", "--json", "--yes", "app01")
    assert done.code == ExitCode.DONE, done.err
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows[-1]["results"][0]["outcome"] == "settled"
    unused = {text for key, text in old.config.items() if key.startswith("unused")}
    assert len(unused) == 3
    assert desk("reinstall", "--accept").code == ExitCode.UNSAFE
    assert unused <= images(pve)
    done = desk("reinstall", "--accept", "--yes", "app01")
    assert done.code == ExitCode.DONE, done.err
    assert not unused & images(pve)
    assert volid(old.config["scsi1"]) in images(pve)


def test_accept_before_it_is_settled(desk, pve, old):
    pve.make_guest = lambda vm: WindowsGuest(vm, pve, Times(setup=1e9))
    assert desk("reinstall", "--yes", "app01").code == ExitCode.UNSETTLED
    made = images(pve)
    done = desk("reinstall", "--accept", "--yes", "app01")
    assert done.code == ExitCode.UNSAFE
    assert images(pve) == made
    done = desk("reinstall", "--undo")
    assert done.code == ExitCode.DONE, done.err
    assert "rolled back" in done.out


def test_reinstall_takes_one_host(desk):
    desk.write(SECOND)
    assert desk("reinstall", "--all", "--yes", "app01").code == ExitCode.SPEC


class Shell:
    """`winseed` in processes of its own, on real time."""

    def __init__(self, pve, discs, folder, capsys):
        self.desk = Desk(pve, discs, folder, capsys)
        self.pve, self.folder = pve, folder

    @contextlib.contextmanager
    def running(self, *arguments):
        child = subprocess.Popen(
            command_line(*arguments, trusted=True),
            cwd=self.folder,
            env=clean_environment() | {"WINSEED_PVE_TOKEN": self.desk.token},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield child
        finally:
            child.kill()
            child.communicate()

    def wait_for(self, holds, what):
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end, f"never: {what}"
            time.sleep(0.02)

    def end(self, child):
        out, err = child.communicate(timeout=90)
        assert "Traceback" not in out + err
        return child.returncode, out, err


@pytest.fixture
def shell(release, discs, tmp_path, capsys):
    with FakeCluster(release=release, nodes=("pve1", "pve2")) as cluster:
        cluster.make_guest = lambda vm: WindowsGuest(vm, cluster, Times(setup=1e6))
        yield Shell(cluster, discs, tmp_path, capsys)


def test_sigkill_then_resume_then_ctrl_c_then_undo(shell):
    pve = shell.pve
    pve.tasks.seconds["qmcreate"] = 2.0
    with shell.running("deploy") as child:
        shell.wait_for(lambda: pve.vms, "the create")
        child.send_signal(signal.SIGKILL)
    assert shell.desk.outcome() is Outcome.OPEN
    with shell.running("deploy", "--resume", "--json") as child:
        shell.wait_for(lambda: pve.vms[100].keys, "a key at the prompt")
        child.send_signal(signal.SIGINT)
        code, out, _ = shell.end(child)
    assert code == ExitCode.INTERRUPTED
    (row,) = json.loads(out.splitlines()[-1])["results"]
    assert row["interrupted"] is True
    (answer,) = answer_isos(pve)
    assert any(answer in note for note in row["notes"]), "where the one-time password lies"
    assert any("--resume" in note for note in row["notes"])
    assert list(pve.vms) == [100]
    assert pve.vms[100].starts == 1
    assert pve.vms[100].running, "Ctrl-C stops the watching and nothing else"
    with shell.running("deploy", "--undo") as child:
        code, out, err = shell.end(child)
    assert code == ExitCode.DONE, err
    assert "undone" in out
    assert not pve.vms
    assert not images(pve)
    assert not answer_isos(pve)
    shutil.rmtree(shell.folder / "dist")


def test_a_reader_that_goes_away_ends_no_installation(shell):
    with shell.running("deploy", "--json") as child:
        child.stdout.readline()
        child.stdout.close()
        shell.wait_for(lambda: shell.pve.vms and shell.pve.vms[100].keys, "a key at the prompt")
        child.send_signal(signal.SIGINT)
        child.wait(timeout=60)
        assert "Traceback" not in child.stderr.read()
        child.stdout = None
    assert shell.desk.outcome() is Outcome.OPEN
    assert shell.pve.vms[100].running


def test_a_second_process_waits_for_nobody(shell):
    with shell.running("deploy") as child:
        shell.wait_for(lambda: shell.pve.vms, "the create")
        with shell.running("deploy", "--undo") as other:
            code, _, err = shell.end(other)
        assert code == ExitCode.UNSAFE
        assert "another winseed works on" in err
        child.send_signal(signal.SIGINT)
        code, _, _ = shell.end(child)
    assert code == ExitCode.INTERRUPTED
