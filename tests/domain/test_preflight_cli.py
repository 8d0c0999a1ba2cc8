"""`winseed dc preflight` against a fake Proxmox VE with a domain in its VMs: it only reads."""

import json

import pytest

from builder.errors import ExitCode
from tests.command import winseed
from tests.domain.plans import BODY, PARTNER
from tests.domain.scene import Scene, open_scene
from tests.domain.world import DSRM, SECRET
from tests.pve.conftest import rights

CHANGING = {"POST", "PUT", "DELETE"}


@pytest.fixture
def site(tmp_path, monkeypatch, capsys, discs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMOTION", SECRET)
    monkeypatch.setenv("RESTORE", DSRM)
    cluster, world = open_scene()
    with cluster as pve:
        scene = Scene(pve, "9.2", world)

        def call(*arguments, mode="replacement", keys=PARTNER, token_rights=None):
            sources = 'credential_password_env = "PROMOTION"\ndsrm_password_env = "RESTORE"\n'
            text = BODY.format(mode=mode, keys=keys + sources, dns='dns = ["192.0.2.12"]')
            text = text.replace('channel = "volume"\n', "")
            (tmp_path / "winseed.toml").write_text(text)
            made = pve.token(f"u{len(pve.requests)}@pve", token_rights or rights("9.2"))
            monkeypatch.setenv("WINSEED_PVE_TOKEN", f"{made.user}!{made.name}={made.value}")
            flags = ["--url", pve.url, "--ca", pve.ca_file]
            flags += ["--windows-iso", discs["windows-2022-volume"]]
            return winseed(capsys, "dc", "preflight", "dc1", *flags, *arguments)

        yield call, scene, world


def calls_of(scene):
    return [
        (request.method, request.path)
        for request in scene.pve.requests
        if request.method in CHANGING and not request.path.endswith(("/ping", "/agent/exec"))
    ]


def test_a_healthy_domain_holds_and_is_not_touched(site):
    call, scene, world = site
    before = calls_of(scene)
    done = call()
    assert done.code == 0, done.err
    assert done.out.startswith("case A: dc1 runs and replicates; dc2.ad.example.com stays\n")
    assert done.out.endswith("the preflight holds\n")
    assert calls_of(scene) == before
    assert not world.changed
    assert {name for _, name, _ in scene.seen} == {"preflight-partner", "preflight-target"}


def test_undecided_roles_are_refused_whatever_is_accepted(site):
    call, _, world = site
    world.roles = dict.fromkeys(world.roles, "dc1")
    done = call("--accept", "fsmo")
    assert done.code == ExitCode.UNSAFE
    assert "never    fsmo" in done.out
    assert "must not be reinstalled" in done.err


def test_a_partner_that_is_silent_is_no_partner(site):
    call, scene, _ = site
    scene.pve.guests[102].off = True
    scene.plans.errors["dc/preflight-partner"] = ["no directory here"] * 9
    done = call("--accept", "other-dc", "--json")
    assert done.code == ExitCode.UNSAFE
    document = json.loads(done.out)
    assert document["held"] is False
    assert document["case"] == "C"
    assert "dc2.ad.example.com: " in done.err


def test_a_partner_outside_cannot_be_asked(site):
    call, _, _ = site
    done = call(keys=PARTNER.replace("partner_vmid = 102\n", ""))
    assert done.code == ExitCode.UNSAFE
    assert "outside this cluster" in done.err


def test_a_partner_that_is_no_vm_here(site):
    call, _, _ = site
    done = call(keys=PARTNER.replace("102", "199"))
    assert done.code == ExitCode.SPEC
    assert "no VM 199" in done.err


def test_the_wrong_partner_is_noticed(site):
    call, _, world = site
    world.partner.name = "dc7"
    done = call()
    assert done.code == ExitCode.UNSAFE
    assert "the partner's VM is dc7.ad.example.com, not dc2.ad.example.com" in done.out


def test_snapshots_are_seen(site):
    call, scene, _ = site
    scene.api.change(
        "POST", ("nodes", "pve1", "qemu", 101, "snapshot"), {"snapname": "before"}, str
    )
    scene.pve.clock.sleep(60)
    done = call()
    assert done.code == ExitCode.UNSAFE
    assert "snapshots of VM 101: before" in done.out
    assert call("--accept", "vm-copies").code == 0


def test_no_secret_is_asked_for_or_told(site):
    call, scene, _ = site
    done = call("--json")
    assert done.code == 0, done.err
    for text in (done.out, done.err, repr(scene.pve.requests)):
        assert SECRET not in text
        assert DSRM not in text


def test_without_the_right_it_says_which(site):
    call, _, _ = site
    few = rights("9.2") - {"VM.GuestAgent.Unrestricted"}
    done = call(token_rights=few)
    assert done.code == ExitCode.PROXMOX
    assert "VM.GuestAgent" in done.err
