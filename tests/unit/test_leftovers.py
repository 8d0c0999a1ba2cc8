"""What runs leave behind: what may be removed, and everything that speaks against it."""

import dataclasses
from pathlib import Path

import pytest

from builder.install.by_hand_discs import LocalIso, choose_discs
from builder.install.journal import Answer, Journal, Kind, OldVm, Outcome, RunState, Standing
from builder.install.leftovers import (
    Record,
    judge_iso,
    judge_orphan,
    judge_unused,
    secrets_left,
)
from builder.proxmox.facts import Image, IsoFile, load_config
from builder.spec.load import load_site

UUID = "uuid=11111111-2222-3333-4444-555555555555"
NEW = "local-lvm:vm-101-disk-7"
OLD = "local-lvm:vm-101-disk-2"
DATA = "local-lvm:vm-101-disk-3"
VOLID = "local:iso/winseed-101-0000abcd.iso"
BEFORE = OldVm(
    settings=(("scsi0", f"{OLD},size=60G"), ("scsi1", DATA), ("smbios1", UUID)), running=True
)
RUN = RunState(
    run="0000abcd",
    kind=Kind.REINSTALL,
    host="app01",
    fingerprint="0123456789ab",
    nonce="",
    given=True,
    started=1000,
    node="pve1",
    vmid=101,
    old=BEFORE,
    volumes=(NEW,),
    unused=(OLD,),
    answer=Answer(path="dist/app01/answer.iso", size=4096, sha256="00", volid=VOLID),
    outcome=Outcome.ROLLED_BACK,
)


def recorded(state=RUN, *, name="journal.json", written=2000, steps=None):
    path = Path("dist") / state.host / name
    return Record(path=path, journal=Journal(path, state, steps or {}), written=written)


def config(**settings):
    settings = {"smbios1": UUID, "name": "app01", "scsi0": OLD} | settings
    return load_config(settings, "test")


def unused(volid=NEW, *records, vm=None, created=None):
    image = Image(volid=volid, vmid=101, size=1, created=created)
    vm = vm or config(unused0=volid)
    return judge_unused("unused0", volid, 101, "pve1", vm, records or (recorded(),), image)


def changed(**changes):
    return recorded(dataclasses.replace(RUN, **changes))


def test_the_new_disk_of_a_run_that_was_rolled_back_may_go():
    assert unused().removable


def test_it_is_known_by_its_mark_as_well():
    state = {"kind": Kind.DEPLOY, "old": None, "outcome": Outcome.UNDONE, "unused": ()}
    vm = config(description="winseed run 0000abcd", unused0=NEW)
    assert unused(NEW, changed(**state), vm=vm).removable
    assert not unused(NEW, changed(**state)).removable


@pytest.mark.parametrize(
    ("volid", "changes", "words"),
    [
        (OLD, {}, "nothing here destroys it"),
        (OLD, {"outcome": Outcome.SETTLED}, "reinstall app01 --accept"),
        (DATA, {}, "was in the VM before"),
        (DATA, {"outcome": Outcome.SETTLED}, "was in the VM before"),
        (NEW, {"outcome": Outcome.SETTLED}, "may hold files"),
        (NEW, {"outcome": Outcome.OPEN}, "--resume, or --undo"),
        (NEW, {"outcome": Outcome.KEPT, "next": "call the owner"}, "call the owner"),
    ],
)
def test_what_is_kept(volid, changes, words):
    found = unused(volid, changed(**changes))
    assert not found.removable
    assert words in found.what


def test_an_old_disk_whose_run_was_set_aside_is_kept():
    state = dataclasses.replace(RUN, outcome=Outcome.SETTLED)
    found = unused(OLD, recorded(state, name="journal-0000abcd.json"))
    assert (found.removable, "--accept" in found.what) == (False, False)


def test_another_vm_of_the_same_number_is_left_alone():
    other = config(smbios1=UUID.replace("1", "9"), unused0=NEW)
    assert not unused(vm=other).removable
    assert not unused(vm=config(smbios1="", unused0=NEW)).removable


def test_a_disk_that_was_made_after_the_run_is_somebody_elses():
    assert unused(created=1500).removable
    assert not unused(created=2000 + 3600).removable


def test_one_run_that_objects_is_enough():
    earlier = changed(run="1", started=1, outcome=Outcome.SETTLED)
    assert not unused(NEW, recorded(), earlier).removable
    later = changed(run="2", started=9000, unused=(NEW,), outcome=Outcome.SETTLED)
    found = unused(NEW, recorded(), later)
    assert (found.removable, found.run) == (False, "2")


def test_disks_that_no_run_knows_are_not_told():
    assert unused("local-lvm:vm-101-disk-9") is None


def test_a_disk_that_nothing_names():
    image = Image(volid=NEW, vmid=101, size=1, created=None)
    found = judge_orphan(image, "pve1", frozenset({OLD}), (recorded(),), seen=True)
    assert not found.removable
    assert "qm disk rescan --vmid 101" in found.what
    assert judge_orphan(image, "pve1", frozenset({NEW}), (recorded(),), seen=True) is None
    other = dataclasses.replace(image, vmid=102)
    assert judge_orphan(other, "pve1", frozenset(), (recorded(),), seen=True) is None
    state = dataclasses.replace(image, volid="local-lvm:vm-101-state-before")
    assert judge_orphan(state, "pve1", frozenset(), (recorded(),), seen=True) is None
    gone = judge_orphan(image, "pve1", frozenset(), (recorded(),), seen=False)
    assert "no VM 101" in gone.what


def iso(volid=VOLID, *, size=4096, node="pve1", shared=False, state=RUN, vms=()):
    found = IsoFile(volid=volid, size=size)
    return judge_iso(found, node, (recorded(state),), vms, shared=shared)


def test_the_iso_of_a_run_that_has_ended_may_go():
    assert iso().removable
    assert iso(node="pve2", shared=True).removable


@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.KEPT])
def test_the_iso_of_an_open_run_is_kept(outcome):
    found = iso(state=dataclasses.replace(RUN, outcome=outcome))
    assert (found.removable, "run is open" in found.what) == (False, True)


@pytest.mark.parametrize(
    "how",
    [
        {"volid": "local:iso/winseed-101-0000ffff.iso"},
        {"volid": "other:iso/winseed-101-0000abcd.iso"},
        {"node": "pve2"},
        {"size": 4097},
        {"vms": (config(sata0=f"{VOLID},media=cdrom"),)},
    ],
)
def test_an_iso_in_doubt_is_told_and_kept(how):
    assert iso(**how).removable is False


def test_an_overwritten_iso_may_go_whatever_its_size():
    assert iso(size=99, state=dataclasses.replace(RUN, neutral=True)).removable


def test_other_isos_are_not_told():
    assert iso("local:iso/windows.iso") is None
    assert iso("local:iso/winseed-old.iso") is None


def test_an_iso_that_was_uploaded_by_hand_is_only_told():
    volid = "local:iso/app01-2022-core.iso"
    answer = dataclasses.replace(RUN.answer, volid=volid)
    state = dataclasses.replace(
        RUN, kind=Kind.SETTLE, answer=answer, outcome=Outcome.SETTLED, unused=()
    )
    found = iso(volid, state=state)
    assert (found.removable, found.host) == (False, "app01")


def test_where_secrets_lie(tmp_path):
    def lines(**steps):
        journal = Journal(tmp_path / "journal.json", RUN, steps)
        return secrets_left(journal, tmp_path)

    assert lines() == []
    assert VOLID in "".join(lines(upload=Standing.INTENDED))
    assert lines(upload=Standing.UNDONE) == []
    assert lines(**{"upload": Standing.DONE, "delete-answer": Standing.DONE}) == []
    (tmp_path / "answer.iso").touch()
    (tmp_path / "one-time-0000abcd.password").touch()
    assert len(lines()) == 2


HOST = load_site(None, source="test", folder=Path(), overrides={}).hosts[0]
MEDIA = (("ide2", "local:iso/w.iso"), ("sata0", "local:iso/app01-2022-core.iso"))
ISOS = (
    IsoFile(volid="local:iso/app01-2022-core.iso", size=77),
    IsoFile(volid="local:iso/w.iso", size=5000),
)
LOCAL = LocalIso(path=Path("dist/app01-2022-core.iso"), size=77, fingerprint="f" * 12, plan={})


def chosen(media=MEDIA, isos=ISOS, local=LOCAL, fingerprint="f" * 12):
    found = choose_discs(media, isos, HOST, (local,), vmid=101, fingerprint=fingerprint)
    return found.answer.volid if found.answer else None, found.doubtful


def test_the_answer_iso_is_proven_by_name_and_size():
    assert chosen() == (MEDIA[1][1], ())
    assert chosen(fingerprint="e" * 12) == (MEDIA[1][1], ()), "it is in the drive"
    assert chosen(media=MEDIA[:1], fingerprint="e" * 12) == (None, ("local:iso/w.iso",))
    assert chosen(media=MEDIA[:1]) == (MEDIA[1][1], ())


def test_what_is_not_proven_is_only_told():
    other = dataclasses.replace(LOCAL, size=78)
    assert chosen(local=other) == (None, (MEDIA[1][1], "local:iso/w.iso"))
    gone = dataclasses.replace(LOCAL, size=None)
    assert chosen(local=gone)[0] is None


def test_our_own_names_count_for_their_vm():
    def named(vmid):
        volid = f"local:iso/winseed-{vmid}-0000abcd.iso"
        return chosen(media=(("sata0", volid),), isos=(IsoFile(volid=volid, size=1),))

    assert named(101) == ("local:iso/winseed-101-0000abcd.iso", ())
    assert named(102) == (None, ("local:iso/winseed-102-0000abcd.iso",))
    volid = "local:iso/winseed-101-0000abcd.iso"
    lying = chosen(media=(), isos=(IsoFile(volid=volid, size=1),))
    assert lying == (None, ()), "outside the drives `winseed clean` looks after it"
