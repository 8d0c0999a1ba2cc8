"""`winseed dc reinstall`, `add` and `new-forest` as a person calls them: what is refused, what is
asked, and that no secret shows. The way through stands in test_dc_run.py."""

import json

import pytest

from builder.errors import ExitCode
from tests.command import winseed
from tests.domain.stage import OUTSIDE, PARTNER, SPEC, Stage
from tests.domain.world import DSRM, SECRET
from tests.pve.clock import Clock
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights

pytestmark = pytest.mark.usefixtures("trusted")
SOURCES = 'credential_password_env = "PROMOTION"\ndsrm_password_env = "RESTORE"\n'


@pytest.fixture
def site(tmp_path, monkeypatch, capsys, discs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMOTION", SECRET)
    monkeypatch.setenv("RESTORE", DSRM)
    monkeypatch.setenv("WINSEED_ADMIN_PASSWORD", "Final-Secret-66")
    with FakeCluster(release="9.2", nodes=("pve1",), clock=Clock()) as pve:
        stage = Stage(pve, discs, tmp_path)

        def call(verb, *arguments, mode="replacement", keys=PARTNER + SOURCES):
            text = SPEC.format(
                windows=discs["windows-2022-volume"],
                virtio=discs["virtio"],
                mode=mode,
                keys=keys,
                dns='dns = ["192.0.2.12"]' if mode != "new-forest" else "",
                vmid="vmid = 101",
            )
            (tmp_path / "winseed.toml").write_text(text)
            made = pve.token(f"u{len(pve.requests)}@pve", rights("9.2") | {"Datastore.Allocate"})
            monkeypatch.setenv("WINSEED_PVE_TOKEN", f"{made.user}!{made.name}={made.value}")
            flags = ["--url", pve.url, "--ca", pve.ca_file]
            accepted = [part for row in sorted(stage.accepted) for part in ("--accept", row)]
            return winseed(capsys, "dc", verb, "dc1", *flags, *accepted, *arguments)

        yield call, stage


def untouched(stage):
    assert stage.pve.vms[101].running
    assert not stage.world.changed
    assert stage.world.installs == 0


def test_nobody_there_to_type_the_name(site):
    call, stage = site
    done = call("reinstall")
    assert done.code == ExitCode.UNSAFE
    assert done.out.startswith("case A: dc1 runs and replicates")
    assert "dc1.ad.example.com: stopped at confirm" in done.out
    assert "--yes dc1.ad.example.com" in done.out
    assert "nobody has typed the name; nothing was changed" in done.err
    untouched(stage)


def test_another_name(site):
    call, stage = site
    done = call("reinstall", "--yes", "dc1")
    assert done.code == ExitCode.UNSAFE
    assert "'dc1' was typed, not dc1.ad.example.com" in done.err
    untouched(stage)


def test_json_is_all_there_is_on_standard_output(site):
    call, stage = site
    done = call("reinstall", "--json")
    assert done.code == ExitCode.UNSAFE
    lines = done.out.splitlines()
    start = lines.index("{")
    events = [json.loads(line) for line in lines[:start]]
    result = json.loads("\n".join(lines[start:]))
    assert {event["event"] for event in events} == {"step"}
    assert result["ending"] == "stopped"
    assert result["case"] == "A"
    assert result["old_disk"] == "in place"
    assert result["next"] == "winseed dc reinstall dc1 --yes dc1.ad.example.com"
    untouched(stage)


def test_no_secret_is_shown(site):
    call, stage = site
    done = call("reinstall", "--json", "--yes", "dc9")
    texts = [done.out, done.err, *stage.texts()]
    for secret in (SECRET, DSRM, "Final-Secret-66"):
        assert not [text for text in texts if secret in text]


def test_without_a_source_for_a_secret_nothing_begins(site):
    call, stage = site
    done = call("reinstall", "--yes", "dc1.ad.example.com", keys=PARTNER)
    assert done.code == ExitCode.UNSAFE
    assert "no source for the restore mode password" in done.out + done.err
    untouched(stage)


@pytest.mark.parametrize(("verb", "mode"), [("add", "replacement"), ("reinstall", "additional")])
def test_the_verb_and_the_spec_must_mean_the_same(site, verb, mode):
    call, stage = site
    done = call(verb, mode=mode)
    assert done.code == ExitCode.SPEC
    assert f"dc.mode '{mode}'" in done.err
    untouched(stage)


def test_a_new_forest_never_takes_a_vm_that_has_disks(site):
    call, stage = site
    done = call("new-forest", mode="new-forest", keys=SOURCES.splitlines()[1])
    assert done.code == ExitCode.UNSAFE
    assert "has disks" in done.err
    untouched(stage)


@pytest.mark.parametrize("flag", ["--resume", "--undo"])
def test_nothing_to_go_on_with(site, flag):
    call, stage = site
    done = call("reinstall", flag)
    assert done.code == ExitCode.SPEC
    assert "nothing to go on with" in done.err
    untouched(stage)


def test_undo_of_what_was_never_begun(site):
    call, stage = site
    call("reinstall")
    done = call("reinstall", "--undo")
    assert done.code == 0, done.err
    assert "nothing to undo" in done.out
    untouched(stage)


def test_a_partner_outside_waits_for_a_person(site):
    call, stage = site
    done = call("reinstall", keys=OUTSIDE + SOURCES)
    assert done.code == ExitCode.UNSAFE
    assert "dc1.ad.example.com: waiting at preflight" in done.out
    assert "next: winseed dc reinstall dc1 --resume" in done.out
    assert (stage.home / "partner" / "preflight-partner.ps1").is_file()
    untouched(stage)
