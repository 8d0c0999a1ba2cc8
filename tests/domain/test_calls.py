"""The scripts behind the agent of a fake Proxmox VE: what they are given, and what is lost."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.domain.calls import (
    call_dc,
    inspect_clean,
    inspect_off,
    inspect_partner,
    inspect_target,
    make_payload,
    script_of,
)
from builder.domain.cases import Case
from builder.domain.health import load_result
from builder.domain.plan import Mode
from builder.domain.preflight import find_case
from builder.domain.scripts import dc_scripts, render_dc_script
from builder.domain.steps import Step
from builder.guest.call import GuestError, GuestTrouble
from tests.domain.driver import Run
from tests.domain.plans import make_plan
from tests.domain.scene import MODES, SECRETS, Scene, open_scene, plan_of
from tests.domain.world import DSRM, LOCAL, SECRET, LostError, ScriptError
from tests.powershell import functions, parse


def keys_read(script: str) -> set[str]:
    """The keys of the payload that a script reaches: its own text and the functions it calls."""
    text = render_dc_script(script)
    found = {name: node.text.decode() for name, node in functions(parse(text)).items()}
    body = text
    for part in found.values():
        body = body.replace(part, "")
    reached = body
    for _ in found:
        for name, part in found.items():
            if re.search(rf"\b{name}\b", reached) and part not in reached:
                reached += part
    return set(re.findall(r"\$payload\['(\w+)'\]", reached))


@pytest.mark.parametrize("script", dc_scripts())
def test_a_script_is_given_what_it_reads_and_nothing_else(script):
    assert set(make_payload(script, plan_of(script), SECRETS)) == keys_read(script)


def test_every_step_in_windows_has_its_script():
    for mode, keys in MODES.items():
        plan = make_plan(mode, keys)
        for step in Step:
            name = script_of(step, plan)
            assert name == "" or name in dc_scripts(), step
    assert {step for step in Step if not script_of(step, make_plan())} == {
        *(Step.PREFLIGHT, Step.CONFIRM, Step.POWER_OFF, Step.INSTALL, Step.ROTATE),
        *(Step.REBOOT, Step.REPORT),
    }


def test_roles_go_back_the_way_they_came():
    there = make_payload("transfer-roles", make_plan(), SECRETS)
    back = make_payload("transfer-roles", make_plan(), SECRETS, back=("RIDMaster",))
    assert (there["from"], there["to"]) == (back["to"], back["from"]) == ("dc1", "dc2")
    assert (there["roles"], back["roles"]) == ((), ("RIDMaster",))


def test_secrets_do_not_print():
    for script in dc_scripts():
        shown = repr(make_payload(script, plan_of(script), SECRETS)) + repr(SECRETS)
        assert not any(secret in shown for secret in (SECRET, DSRM, LOCAL)), script


# --- behind the agent ------------------------------------------------------------------------


@pytest.fixture(params=["8.4", "9.2"])
def scene(request):
    cluster, world = open_scene(request.param)
    with cluster as pve:
        yield Scene(pve, request.param, world)


def test_the_preflight_asks_both_and_finds_the_case(scene):
    plan = make_plan()
    partner = inspect_partner(scene.agent(102), plan)
    target = inspect_target(scene.agent(101), plan)
    facts = Run(world=scene.world, plan=plan).facts()
    assert (partner, target) == (facts.partner, facts.target)
    assert find_case(plan, facts).case is Case.GRACEFUL
    assert [name for _, name, _ in scene.seen] == ["preflight-partner", "preflight-target"]


def test_the_old_one_is_seen_until_it_is_off(scene):
    plan = make_plan()
    assert inspect_off(scene.agent(102), plan).answers
    scene.world.power_off()
    assert inspect_off(scene.agent(102), plan).answers == ()
    assert inspect_clean(scene.agent(102), plan).settings


@pytest.mark.parametrize("death", ["before", "after"])
def test_a_promotion_whose_answer_is_lost_is_not_made_twice(scene, death):
    plan, world = make_plan(), scene.world
    world.power_off()
    payload = {"fqdn": plan.fqdn, "from": plan.host, "addresses": list(plan.addresses)}
    for script in ("cleanup-metadata", "cleanup-dns"):
        world.answer(script, world.partner, payload)
    world.seen_alive = True
    world.install("dc1")
    world.rotate()
    scene.plans.deaths["dc/promote-additional"] = [death]
    values = call_dc(
        scene.agent(101),
        "promote-additional",
        id="a1b2c3d4-promote-1",
        payload=make_payload("promote-additional", plan, SECRETS),
    )
    result = load_result("dc/promote-additional", values)
    assert result.result in {2, 4}
    assert world.violations == []
    assert world.objects["dc1"] >= {"nTDSDSA"}
    again = call_dc(
        scene.agent(101),
        "promote-additional",
        id="a1b2c3d4-promote-1",
        payload=make_payload("promote-additional", plan, SECRETS),
    )
    assert again == values
    made = [name for _, name, _ in scene.seen if name == "promote-additional"]
    assert len(made) == (1 if death == "before" else 2)


def test_no_secret_leaves_standard_input(scene):
    """Neither the node's records but for input-data, nor the messages of what fails."""
    plan = make_plan()
    scene.plans.errors["dc/demote"] = [f"the password {SECRET} is wrong"]
    with pytest.raises(GuestError) as raised:
        call_dc(
            scene.agent(101),
            "demote",
            id="a1b2c3d4-demote-1",
            payload=make_payload("demote", plan, SECRETS),
        )
    assert raised.value.trouble is GuestTrouble.FAILED
    assert SECRET not in str(raised.value)
    assert "***" in str(raised.value)
    for request in scene.pve.requests:
        shown = {key: value for key, value in request.params.items() if key != "input-data"}
        assert not any(secret in repr(shown) for secret in (SECRET, DSRM, LOCAL))


def test_a_dc_that_refuses_says_why(scene):
    with pytest.raises(GuestError) as raised:
        call_dc(
            scene.agent(102),
            "cleanup-metadata",
            id="a1b2c3d4-clean-1",
            payload=make_payload("cleanup-metadata", make_plan(), SECRETS),
        )
    assert "it is not off" in str(raised.value)
    assert "dc1" in scene.world.objects


CHANGES = ("dc/demote", "dc/cleanup-metadata", "dc/cleanup-dns", "dc/promote-additional")
DEATHS = st.lists(st.sampled_from(["before", "after", ""]), max_size=2)


@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(deaths=st.fixed_dictionaries({}, optional=dict.fromkeys(CHANGES, DEATHS)))
def test_a_whole_replacement_through_the_agent(deaths):
    """The machine, its loaders and the calls together; PowerShell dies where it may."""
    cluster, world = open_scene()
    with cluster as pve:
        scene = Scene(pve, "9.2", world)
        scene.plans.deaths = {name: list(how) for name, how in deaths.items()}
        plan = make_plan()
        numbers: dict[str, int] = {}

        def ask(script, machine, payload):
            if machine is None or not machine.running:
                raise LostError(script)
            vmid = 102 if machine is world.partner else 101
            numbers[script] = numbers.get(script, 0) + 1
            given_ = make_payload(script, plan, SECRETS)
            try:
                return call_dc(
                    scene.agent(vmid), script, id=f"run-{script}-{numbers[script]}", payload=given_
                )
            except GuestError as error:
                raise ScriptError(str(error)) from None

        run = Run(world=world, plan=plan, accepted=frozenset({"last-dns"}), ask=ask)
        for _ in range(6):
            action = run.call()
            if type(action).__name__ == "Finish":
                break
        assert type(action).__name__ == "Finish", action
        assert world.violations == []
        assert world.vm is not None
        assert world.vm.serves
        assert plan.mode is Mode.REPLACEMENT
