"""`status` and `clean`: what is there, what is named, what goes, and what must never go."""

import json

import pytest

from builder.errors import ExitCode
from builder.install.clean import removable, remove_leftovers
from builder.install.jobs import accept_host
from builder.install.journal import Outcome, locked
from builder.install.status import find_records, look_at_cluster, make_status
from builder.install.status_report import status_document, status_lines
from builder.proxmox.connection import load_token
from tests.command import winseed
from tests.pve.conftest import rights
from tests.pve.deploying import SPEC
from tests.pve.schema import RELEASES
from tests.pve.test_deploy_start import answer_isos, images
from tests.pve.test_reinstall import DATA, HOST, SYSTEM, add_old, reinstall, volid
from tests.pve.windows import WindowsGuest

UNKNOWN = "winseed-999-0000beef.iso"


@pytest.fixture
def release(request):
    """The newest, unless a test asks for all: the calls that differ are few."""
    return getattr(request, "param", RELEASES[-1])


@pytest.fixture
def pve(windows_pve):
    return windows_pve


class Guarded(WindowsGuest):
    """Setup in which the disk guard stops."""

    def _apply_image(self, now):
        self.write_serial("winseed: guard=stopped reason=disk-has-partitions\r\n")
        self.off = True


class Silent(WindowsGuest):
    """Setup that never gets anywhere."""

    def _apply_image(self, now):
        self._enter("dialog", float("inf"))


def look(site):
    records, broken = find_records(site.folder / "dist")
    view, notes = look_at_cluster(site.api(), records, node="pve1")
    return make_status(records, view, (*broken, *notes))


def clean(site):
    """Everything that may be removed, removed; and what could not be."""
    wanted = removable(look(site))
    done = list(remove_leftovers(site.api(), site.folder / "dist", wanted))
    return [one.leftover.volid for one in done if one.error is None], [
        one.error for one in done if one.error is not None
    ]


def roll_back(site, pve):
    """A reinstallation that fails after its power-on, and whose old disk is back."""
    pve.make_guest = lambda vm: Guarded(vm, pve)
    result = reinstall(site)
    if result.outcome is Outcome.KEPT:
        result = site.undo()
    assert result.outcome is Outcome.ROLLED_BACK, result
    return pve.vms[101]


def test_a_settled_host(make, pve):
    site = make()
    site.deploy()
    status = look(site)
    (run,) = status.runs
    assert (run.record.state.outcome, run.next) == (Outcome.SETTLED, "")
    assert (run.vm.running, run.vm.ours, run.vm.node) == (True, True, "pve1")
    (secret,) = run.secrets
    assert ".password" in secret
    assert (status.isos, status.disks, status.notes) == ((), (), ())
    text = "\n".join(status_lines(status))
    assert "app01: deploy settled, VM 100 on pve1" in text
    assert "installed" in text
    polls = [seen for seen in pve.requests if seen.path == "/cluster/resources"]
    before = len(polls)
    look(site)
    polls = [seen for seen in pve.requests if seen.path == "/cluster/resources"]
    assert len(polls) == before + 1


def test_an_open_run_keeps_its_iso(make, pve):
    pve.make_guest = lambda vm: Silent(vm, pve)
    site = make()
    assert site.deploy().outcome is Outcome.KEPT
    status = look(site)
    (run,) = status.runs
    assert run.next == "winseed deploy app01 --resume, or --undo"
    (iso,) = status.isos
    assert {iso.volid} == answer_isos(pve)
    assert not iso.removable
    told = " ".join(run.secrets)
    assert iso.volid in told
    assert "one-time-" in told
    assert clean(site) == ([], [])
    assert {iso.volid} == answer_isos(pve)
    site.undo()
    status = look(site)
    assert status.isos == ()
    (run,) = status.runs
    assert (run.secrets, run.next, run.vm) == ((), "", None)


@pytest.mark.parametrize("release", RELEASES, indirect=True)
def test_an_iso_that_could_not_be_deleted(make, pve, release):
    pve.make_guest = lambda vm: Silent(vm, pve)
    poor = make(extra=frozenset())
    poor.deploy()
    poor.undo()
    pve.add_iso("local", UNKNOWN, size=4096, node="pve1")
    status = look(poor)
    isos = {iso.volid: iso for iso in status.isos}
    unknown = isos.pop(f"local:iso/{UNKNOWN}")
    assert (unknown.removable, unknown.host) == (False, "")
    ((volid, iso),) = isos.items()
    assert (iso.removable, iso.host) == (True, "app01")
    gone, errors = clean(poor)
    assert (gone, [error.code for error in errors]) == ([], [ExitCode.PROXMOX])
    assert "Datastore.Allocate" in errors[0].hint
    rich = pve.token("owner@pve", rights(release) | {"Datastore.Allocate"})
    poor.token = load_token(f"{rich.user}!{rich.name}={rich.value}", source="test")
    assert clean(poor) == ([volid], [])
    assert answer_isos(pve) == {f"local:iso/{UNKNOWN}"}


@pytest.mark.parametrize("release", RELEASES, indirect=True)
def test_a_rolled_back_reinstallation(make, pve, release):
    vm = add_old(pve, release, "system first")
    before, store = dict(vm.config), images(pve)
    site = make(HOST)
    roll_back(site, pve)
    made = images(pve) - store
    assert made
    status = look(site)
    assert {disk.volid for disk in status.disks} == made
    assert all(disk.removable and disk.slot for disk in status.disks)
    gone, errors = clean(site)
    assert (set(gone), errors) == (made, [])
    assert images(pve) == store
    assert vm.config == before
    assert not set(site.journal().state.volumes) & made, "their volids may be given anew"
    assert look(site).disks == ()


def test_nothing_goes_while_somebody_works_on_the_host(make, pve, release):
    add_old(pve, release, "system first")
    site = make(HOST)
    store = images(pve)
    roll_back(site, pve)
    made = images(pve) - store
    wanted = removable(look(site))
    with locked(site.folder / "dist" / "app01"):
        done = list(remove_leftovers(site.api(), site.folder / "dist", wanted))
    assert [one.error.code for one in done] == [ExitCode.UNSAFE] * len(made)
    assert made <= images(pve)


def test_a_disk_that_is_used_meanwhile_is_kept(make, pve, release):
    vm = add_old(pve, release, "system first")
    site = make(HOST)
    roll_back(site, pve)
    wanted = removable(look(site))
    slots = {key: text for key, text in vm.config.items() if key.startswith("unused")}
    taken = next(key for key in slots)
    vm.config["scsi9"] = vm.config.pop(taken)
    # and the next one takes its number, as Proxmox VE does
    others = [key for key in slots if key != taken]
    if others:
        vm.config[taken] = vm.config.pop(others[-1])
    done = {one.leftover.volid: one.error for one in
            remove_leftovers(site.api(), site.folder / "dist", wanted)}  # fmt: skip
    assert done.pop(slots[taken]).code is ExitCode.UNSAFE
    assert set(done.values()) <= {None}
    assert slots[taken] in images(pve)
    assert not {text for key, text in slots.items() if key != taken} & images(pve)


def test_the_old_disks_of_a_reinstallation_need_its_own_verb(make, pve, release):
    add_old(pve, release, "system first")
    site = make(HOST)
    assert reinstall(site).outcome is Outcome.SETTLED
    status = look(site)
    (run,) = status.runs
    assert "winseed reinstall app01 --accept" in run.next
    assert volid(SYSTEM) in {disk.volid for disk in status.disks}
    assert not any(disk.removable for disk in status.disks)
    assert clean(site) == ([], [])
    assert volid(SYSTEM) in images(pve)
    assert accept_host(site.shop(), site.folder / "dist" / "app01", "app01").error is None
    assert look(site).disks == ()
    assert volid(DATA) in images(pve)


def test_a_data_disk_that_somebody_detached_is_named_and_kept(make, pve):
    site = make(SPEC + '[[host.data_disk]]\nletter = "D"\nsize_gib = 10\nslot = 1\n')
    assert site.deploy().outcome is Outcome.SETTLED
    vm = pve.vms[100]
    data = volid(vm.config.pop("scsi1"))
    vm.config["unused0"] = data
    (disk,) = look(site).disks
    assert (disk.volid, disk.slot, disk.removable) == (data, "unused0", False)
    del vm.config["unused0"]
    (disk,) = look(site).disks
    assert (disk.volid, disk.slot, disk.removable) == (data, "", False)
    assert clean(site) == ([], [])
    assert data in images(pve)


def test_a_journal_that_cannot_be_read_is_told(make, pve):
    site = make()
    site.deploy()
    broken = site.folder / "dist" / "app02"
    broken.mkdir()
    (broken / "journal.json").write_text("{}")
    status = look(site)
    assert len(status.runs) == 1
    (note,) = status.notes
    assert str(broken) in note


def test_runs_before_are_listed_too(make, pve):
    site = make()
    site.deploy()
    pve.vms.clear()
    pve.storages["local-lvm"].on("pve1").clear()
    site.deploy()
    first, second = look(site).runs
    assert (first.record.current, second.record.current) == (False, True)
    assert not first.vm.ours
    assert second.vm.ours


def test_a_storage_that_cannot_be_read_is_told(make, pve):
    site = make()
    site.deploy()
    pve.storages["local-lvm"].active = False
    status = look(site)
    assert any("local-lvm" in note for note in status.notes)


# the verbs themselves


@pytest.fixture
def call(make, pve, release, tmp_path, monkeypatch, capsys):
    """The command line in the folder of a site, with its token and without any spec."""
    token = pve.token("caller@pve", rights(release) | {"Datastore.Allocate"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINSEED_PVE_TOKEN", f"{token.user}!{token.name}={token.value}")
    reach = ("--url", pve.url.removesuffix("/api2/json"), "--ca", pve.ca_file)
    return lambda verb, *more, away=False: winseed(capsys, verb, *(() if away else reach), *more)


def test_status_without_spec_and_cluster(call, make):
    site = make()
    site.deploy()
    done = call("status", away=True)
    assert (done.code, done.err) == (0, "")
    assert "app01: deploy settled" in done.out
    assert "note: Proxmox VE was not looked at" in done.out
    document = json.loads(call("status", "--json", away=True).out)
    assert (document["version"], document["asked"]) == (1, False)


def test_status_of_nothing(call):
    done = call("status")
    assert (done.code, done.err) == (0, "")
    assert "no run" in done.out


def test_status_with_a_cluster_that_is_away(call, make):
    make().deploy()
    done = call("status", "--url", "https://127.0.0.1:9", "--ca", "missing.pem", away=True)
    assert done.code == 0
    assert "app01: deploy settled" in done.out
    assert "was not looked at" in done.out


def test_status_as_json(call, make):
    site = make()
    site.deploy()
    done = call("status", "--json")
    document = json.loads(done.out)
    assert document == json.loads(json.dumps(status_document(look(site)))) | {
        "runs": document["runs"],
        "domain_changes": [],
    }
    (run,) = document["runs"]
    assert (run["host"], run["outcome"], run["vm"]["running"]) == ("app01", "settled", True)


def test_clean_asks(call, make, pve, release):
    add_old(pve, release, "system first")
    site = make(HOST)
    store = images(pve)
    roll_back(site, pve)
    made = images(pve) - store
    done = call("clean")
    assert done.code == ExitCode.UNSAFE
    assert "--yes" in done.err
    done = call("clean", "--dry-run")
    assert (done.code, "would remove" in done.out) == (0, True)
    assert images(pve) - store == made
    assert all(volume in done.out for volume in made)
    done = call("clean", "--yes", "--json")
    document = json.loads(done.out)
    assert done.code == 0, done.err
    assert set(document["removed"]) == made
    assert document["errors"] == []
    assert images(pve) == store
    done = call("clean")
    assert (done.code, done.out) == (0, "there is nothing to remove\n")


def test_a_spec_with_mistakes_stops_nobody(call, make, tmp_path):
    make().deploy()
    (tmp_path / "winseed.toml").write_text("[nonsense]\n")
    done = call("status")
    assert done.code == 0
    assert "app01: deploy settled" in done.out
    assert "it is not used" in done.err
    assert call("status", "--spec", "winseed.toml").code == ExitCode.SPEC
