"""`settle`: the last part of a run, on a Windows that somebody installed by hand."""

import dataclasses
import json
import logging

import pytest

from builder.build import deliver_host, iso_name
from builder.cli.passwords import gather_secrets
from builder.errors import ExitCode, WinseedError
from builder.install.by_hand import choose_vm, inspect_found, open_by_hand, refuse_unaccepted
from builder.install.by_hand_discs import inspect_discs, inspect_local_isos
from builder.install.jobs import deploy_host, resume_host
from builder.install.journal import Kind, Outcome
from builder.planning import plan_host
from builder.proxmox.inventory import inspect_guests
from tests.command import winseed
from tests.pve.browser import Client
from tests.pve.conftest import rights
from tests.pve.deploying import SPEC
from tests.pve.installed import apply_image, finish_first_boot, read_answers
from tests.pve.schema import RELEASES
from tests.pve.state import GIB
from tests.pve.test_deploy_start import images

HARDWARE = {
    "name": "app01",
    "ostype": "win11",
    "bios": "ovmf",
    "agent": "enabled=1",
    "scsihw": "virtio-scsi-single",
    "onboot": "1",
    "smbios1": "uuid=11111111-2222-3333-4444-555555555555",
    "efidisk0": "local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M",
    "scsi0": "local-lvm:vm-101-disk-1,discard=on,iothread=1,size=60G",
    "net0": "virtio=BC:24:11:AA:00:01,bridge=vmbr0",
    "boot": "order=scsi0;ide2",
}
CDS = {
    "ide2": "local:iso/windows.iso,media=cdrom",
    "ide0": "local:iso/virtio-win.iso,media=cdrom",
    "sata0": "local:iso/{answer},media=cdrom",
    "sata3": "local-lvm:vm-101-cloudinit,media=cdrom",
}
DISKS = """
[[host.data_disk]]
letter = "D"
size_gib = 10
slot = 1
"""
ACCOUNT = '[[host.account]]\nname = "ops"\npassword_env = "OPS"\n'


@pytest.fixture
def release(request):
    """The newest, unless a test asks for all: the calls that differ are few."""
    return getattr(request, "param", RELEASES[-1])


@pytest.fixture
def pve(windows_pve):
    return windows_pve


class ByHand:
    """A VM with a Windows from an ISO of `winseed iso`, and what `winseed settle` makes of it."""

    def __init__(self, site, pve, release, *, cds=CDS, upload="", marked=True, node="pve1"):
        self.site, self.pve = site, pve
        (host,) = site.site.hosts
        bare = host.model_copy(update={"account": ()})
        secrets = gather_secrets(bare, None, on_medium=False)
        plan = plan_host(
            bare, site=site.site.spec.name, shelf=site.shelf, secrets=secrets, version="0"
        )
        target = site.folder / "dist" / f"{iso_name(plan)}.iso"
        self.built = deliver_host(plan, target, epoch=1577836800)
        content = self.built.iso.read_bytes()
        name = upload or self.built.iso.name
        self.volid = pve.add_iso("local", name, size=len(content), content=content, node=node)
        drives = {slot: text.format(answer=name) for slot, text in cds.items()}
        self.vm = pve.add_vm(101, config={**HARDWARE, **drives})
        disk = pve.volume("local-lvm:vm-101-disk-1", "pve1")
        disk.windows = apply_image(read_answers(content), name="app01", medium="windows 2022")
        if marked:
            finish_first_boot(disk.windows)
        disk.windows.image_state = "IMAGE_STATE_COMPLETE"
        disk.stage = "ready"
        self.windows = disk.windows
        client = Client(pve, pve.token("admin@pve", rights(release)))
        client.task(client.post("/nodes/pve1/qemu/101/status/start"))
        site.clock.sleep(60)
        pve.advance_tasks()

    def open(self, case, *, vmid=0):
        api = self.site.api()
        host, guest = choose_vm(self.site.site.hosts, inspect_guests(api), vmid=vmid)
        refuse_unaccepted(case.folder)
        found = inspect_found(api, guest, host)
        local = inspect_local_isos(case.folder.parent, host.name)
        discs = inspect_discs(api, guest, found.config, host, local, fingerprint=found.marker.id)
        return open_by_hand(case, found, discs, local, self.site.entropy())

    def settle(self, *, administrator="", vmid=0):
        case = self.site.case(administrator=administrator)
        return deploy_host(self.site.shop(), case, self.open(case, vmid=vmid))

    def resume(self, **how):
        return resume_host(self.site.shop(), self.site.case(**how))

    @property
    def folder(self):
        return self.site.folder / "dist" / "app01"

    @property
    def node_isos(self):
        return set(self.pve.storages["local"].on("pve1"))


def changes(pve):
    """Calls that change a VM or a storage; what is said to the agent is no such call."""
    return [
        seen
        for seen in pve.requests
        if seen.method in {"POST", "PUT", "DELETE"}
        and "/agent/" not in seen.path
        and not seen.path.endswith("/status/start")
    ]


def refusal(call):
    with pytest.raises(WinseedError) as caught:
        call()
    return caught.value


def told(result):
    error = result.error
    return (result, error and (error.what, error.problems, error.hint))


@pytest.mark.parametrize("release", RELEASES, indirect=True)
def test_a_vm_is_settled(make, pve, release):
    by_hand = ByHand(make(SPEC + DISKS + ACCOUNT), pve, release)
    one_time = by_hand.built.password.read_text().strip()
    assert by_hand.windows.administrator.password == one_time
    result = by_hand.settle()
    assert result.outcome is Outcome.SETTLED, told(result)
    config = by_hand.vm.config
    assert [config[slot] for slot in ("ide2", "ide0", "sata0")] == ["none,media=cdrom"] * 3
    assert config["sata3"].startswith("local-lvm:vm-101-cloudinit"), "no disc of the installation"
    assert by_hand.volid not in by_hand.node_isos
    assert {"local:iso/windows.iso", "local:iso/virtio-win.iso"} <= by_hand.node_isos
    (password,) = by_hand.folder.glob("*.password")
    assert password.stat().st_mode & 0o777 == 0o600
    accounts = {one.name: one.password for one in by_hand.windows.accounts}
    assert accounts == {"Administrator": password.read_text().strip(), "ops": "Of-ops-1!"}
    assert config["scsi1"].partition(",")[0] in images(pve)
    assert by_hand.windows.letters["D"]
    assert by_hand.vm.starts == 2
    assert config["onboot"] == "1", "as it was: the spec says nothing of it"
    journal = by_hand.site.journal()
    assert journal.state.kind is Kind.SETTLE
    assert one_time not in journal.path.read_text() + repr(result)
    for path in (by_hand.built.iso, by_hand.built.password):
        assert f"delete {path}: it is used up" in result.notes
    again = by_hand.settle(administrator="Another-Given-1!")
    assert again.outcome is Outcome.SETTLED, told(again)


def test_a_given_password_and_a_vmid(make, pve, release):
    by_hand = ByHand(make(SPEC + "machine = {{ vmid = 101 }}\n"), pve, release)
    result = by_hand.settle(administrator="Final-Given-1!", vmid=101)
    assert result.outcome is Outcome.SETTLED, told(result)
    assert by_hand.windows.administrator.password == "Final-Given-1!"
    assert not list(by_hand.folder.glob("*.password"))


def test_a_data_disk_that_is_there_is_left_alone(make, pve, release):
    disk = {"scsi1": "local-lvm:vm-101-disk-2,iothread=1,size=10G"}
    by_hand = ByHand(make(SPEC + DISKS), pve, release, cds=CDS | disk)
    pve.volume("local-lvm:vm-101-disk-2", "pve1").size = 10 * GIB
    result = by_hand.settle()
    assert result.outcome is Outcome.SETTLED, told(result)
    assert by_hand.vm.config["scsi1"] == disk["scsi1"]
    assert not [seen for seen in changes(pve) if "scsi1" in seen.params], "it is not even set again"
    assert by_hand.windows.letters["D"]


def test_an_iso_under_another_name_is_told_and_kept(make, pve, release):
    by_hand = ByHand(make(), pve, release, upload="my-answers.iso")
    result = by_hand.settle()
    assert result.outcome is Outcome.SETTLED, told(result)
    assert by_hand.vm.config["sata0"] == "none,media=cdrom"
    assert by_hand.volid in by_hand.node_isos
    (note,) = [note for note in result.notes if note.startswith("next: ")]
    assert by_hand.volid in note
    assert "windows.iso" not in note


def test_an_iso_that_lies_on_the_storage_only_is_deleted(make, pve, release):
    cds = {key: text for key, text in CDS.items() if key != "sata0"}
    by_hand = ByHand(make(), pve, release, cds=cds)
    assert by_hand.settle().outcome is Outcome.SETTLED
    assert by_hand.volid not in by_hand.node_isos


def test_the_next_build_of_the_same_name_is_kept(make, pve, release):
    cds = {key: text for key, text in CDS.items() if key != "sata0"}
    by_hand = ByHand(make(), pve, release, cds=cds)
    manifest = by_hand.built.manifest
    manifest.write_text(manifest.read_text().replace(by_hand.built.plan.fingerprint, "0" * 12))
    assert by_hand.settle().outcome is Outcome.SETTLED
    assert by_hand.volid in by_hand.node_isos, "it may not have been used yet"


def test_a_name_of_ours_proves_the_vm_and_nothing_else(make, pve, release):
    by_hand = ByHand(make(), pve, release, upload="winseed-102-0000abcd.iso")
    assert by_hand.settle().outcome is Outcome.SETTLED
    assert by_hand.volid in by_hand.node_isos


@pytest.mark.parametrize("role", [4, 5])
def test_a_domain_controller_is_refused(make, pve, release, role):
    by_hand = ByHand(make(), pve, release)
    by_hand.windows.domain_role = role
    before, password = dict(by_hand.vm.config), by_hand.windows.administrator.password
    error = refusal(by_hand.settle)
    assert error.code is ExitCode.UNSAFE
    assert "winseed dc" in error.hint
    assert by_hand.windows.administrator.password == password
    assert by_hand.vm.config == before
    assert not changes(pve)
    assert by_hand.site.journal() is None


def test_a_windows_without_our_mark_is_refused(make, pve, release):
    by_hand = ByHand(make(), pve, release, marked=False)
    error = refusal(by_hand.settle)
    assert error.code is ExitCode.UNSAFE
    assert "no mark" in error.what
    assert not changes(pve)
    assert not by_hand.folder.exists()


def test_another_computer_is_refused(make, pve, release):
    by_hand = ByHand(make(), pve, release)
    by_hand.windows.computer_name = "DB07"
    error = refusal(by_hand.settle)
    assert (error.code, "DB07" in error.what) == (ExitCode.UNSAFE, True)
    assert not changes(pve)


@pytest.mark.parametrize("change", ["build", "edition"])
def test_another_windows_than_the_spec_says_is_refused(make, pve, release, change):
    by_hand = ByHand(make(), pve, release)
    if change == "build":
        by_hand.windows.build = 17763
    else:
        by_hand.windows.installation_type = "Server"
    error = refusal(by_hand.settle)
    assert error.code is ExitCode.UNSAFE
    assert [problem.where for problem in error.problems] == [change]
    assert not changes(pve)


def test_other_flags_than_those_of_the_build_are_refused(make, pve, release):
    by_hand = ByHand(make(), pve, release)
    (host,) = by_hand.site.site.hosts
    other = host.model_copy(update={"edition": type(host.edition).DESKTOP})
    case = dataclasses.replace(by_hand.site.case(), host=other)
    error = refusal(lambda: by_hand.open(case))
    assert error.code is ExitCode.SPEC
    assert [problem.where for problem in error.problems] == ["edition"]


@pytest.mark.parametrize("state", ["off", "locked"])
def test_a_vm_that_does_not_answer_is_refused(make, pve, release, state):
    by_hand = ByHand(make(), pve, release)
    if state == "off":
        by_hand.vm.running = False
    else:
        by_hand.vm.config["lock"] = "backup"
    error = refusal(by_hand.settle)
    assert error.code in {ExitCode.UNSETTLED, ExitCode.UNSAFE}
    assert not changes(pve)


@pytest.mark.parametrize("script", ["rotate", "scrub"])
def test_a_failed_step_is_kept_and_taken_up(make, pve, release, script):
    by_hand = ByHand(make(), pve, release)
    pve.guests[101].plans.errors[script] = ["not now"]
    result = by_hand.settle()
    assert (result.outcome, result.code) == (Outcome.KEPT, ExitCode.UNSETTLED), told(result)
    assert any(by_hand.volid in note for note in result.notes), "where a password still lies"
    assert "next: winseed settle app01 --resume" in result.notes
    (password,) = by_hand.folder.glob("*.password")
    assert password.name.startswith("administrator-"), "the one on the ISO is not ours to keep"
    result = by_hand.resume()
    assert result.outcome is Outcome.SETTLED, told(result)
    assert by_hand.windows.administrator.password == password.read_text().strip()
    assert by_hand.volid not in by_hand.node_isos


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(3))
def test_a_lost_answer_makes_nothing_twice(make, pve, release, number, moment):
    by_hand = ByHand(make(SPEC + DISKS), pve, release)
    pve.faults.fail_change(pve.faults.changes_seen + number, moment=moment, answer="drop")
    result = by_hand.settle()
    assert result.outcome is Outcome.SETTLED, told(result)
    assert by_hand.vm.starts == 2
    assert len([volid for volid in images(pve) if "-disk-" in volid]) == 3
    rotations = [name for name, _ in by_hand.windows.effects if name == "rotate"]
    assert len(rotations) == 1


def test_no_secret_is_left_anywhere(make, pve, release, caplog):
    by_hand = ByHand(make(SPEC + ACCOUNT, serial=True), pve, release)
    one_time = by_hand.built.password.read_text().strip()
    with caplog.at_level(logging.DEBUG):
        result = by_hand.settle()
    assert result.outcome is Outcome.SETTLED, told(result)
    final = next(by_hand.folder.glob("*.password")).read_text().strip()
    secrets = [one_time, final, "Of-ops-1!", by_hand.site.token.secret.reveal()]
    texts = [caplog.text, repr(result), repr(by_hand.site.events)]
    texts += [path.read_text() for path in by_hand.folder.glob("*.json")]
    texts += [str(value) for seen in pve.requests for key, value in seen.params.items()
              if key != "input-data"]  # fmt: skip
    for secret in secrets:
        assert not any(secret in text for text in texts), secret


# the verb itself


@pytest.fixture
def call(make, pve, release, tmp_path, monkeypatch, capsys, discs):
    """The command line in the folder of a site whose spec names the cluster."""
    text = SPEC.format(windows=discs["windows-2022-volume"], virtio=discs["virtio"])
    url = pve.url.removesuffix("/api2/json")
    text = text.replace("https://127.0.0.1:8006", url)
    text = text.replace('node = "pve1"', f'node = "pve1"\nca_file = "{pve.ca_file}"')
    (tmp_path / "winseed.toml").write_text(text + '\n[[host]]\nname = "app02"\n')
    token = pve.token("caller@pve", rights(release) | {"Datastore.Allocate"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINSEED_PVE_TOKEN", f"{token.user}!{token.name}={token.value}")
    return lambda *arguments: winseed(capsys, "settle", *arguments)


@pytest.mark.parametrize("release", RELEASES, indirect=True)
@pytest.mark.parametrize("name", ["101", "app01"])
def test_a_dry_run(call, make, pve, release, name):
    by_hand = ByHand(make(), pve, release)
    done = call(name, "--dry-run", "--json")
    assert (done.code, done.err) == (0, ""), done
    document = json.loads(done.out)
    assert (document["host"], document["vmid"]) == ("app01", 101)
    assert document["build"] == by_hand.built.plan.fingerprint
    assert set(document["emptied"]) == {"ide2", "ide0", "sata0"}
    assert document["deleted"] == by_hand.volid
    lines = call(name, "--dry-run").out
    assert f"{by_hand.volid} is deleted" in lines
    assert not changes(pve)
    assert by_hand.site.journal() is None


def test_a_vmid_that_no_host_has(call, make, pve, release):
    by_hand = ByHand(make(), pve, release)
    by_hand.vm.config["name"] = "somebody"
    done = call("101", "--dry-run")
    assert done.code == ExitCode.SPEC
    assert "--host NAME" in done.err
    assert call("101", "--host", "app01", "--dry-run").code == 0
    assert call("101", "--host", "app02", "--dry-run").code == ExitCode.UNSAFE
    assert call("102", "--dry-run").code == ExitCode.SPEC
    assert call("--dry-run").code == ExitCode.SPEC


def test_nothing_to_take_up(call, make, pve, release):
    ByHand(make(), pve, release)
    done = call("app01", "--resume")
    assert done.code == ExitCode.SPEC
    assert "no run" in done.err
