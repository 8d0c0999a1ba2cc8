"""The order of a reinstallation, driven through a simulated domain and through every fault.

Whoever breaks the domain is caught by `World.violations`, which knows nothing of the code under
test: a DC that is replaced while it runs, a domain without a writable DC, two DCs of one name, an
old disk that boots after a change, a password rotated on a DC.
"""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.domain.cases import Case
from builder.domain.machine import (
    FRESH,
    PROVEN,
    BootOld,
    Finish,
    Halt,
    OldDisk,
    Perform,
    Policy,
    Wait,
    may_install,
    next_step,
    old_disk,
)
from builder.domain.state import DcState, Entry, Resumed, Standing, replay
from builder.domain.steps import IRREVERSIBLE, ON_PARTNER, OUTSIDE, READING, Step, order_steps
from builder.errors import ExitCode
from tests.domain.driver import CASES, Run
from tests.domain.plans import make_plan
from tests.domain.world import DSRM, LOCAL, SECRET, LostError, ScriptError, World

ACCEPTED = frozenset({"drained", "last-dns", "other-roles", "backup", "replication", "masters"})


def make_run(old: str = "dc", keys: str = "", mode: str = "", **world) -> Run:
    mode = mode or ("additional" if old == "none" else "replacement")
    return Run(world=World(old=old, **world), plan=make_plan(mode, keys), accepted=ACCEPTED)


def names(run: Run) -> list[str]:
    return [step.value for step in run.effects]


@pytest.mark.parametrize("old", ["dc", "dead", "cut off", "none"])
def test_undisturbed_it_finishes_in_one_call(old):
    run = make_run(old)
    action = run.call()
    assert isinstance(action, Finish), action
    assert run.world.violations == []
    assert run.state.case is CASES[old]
    vm = run.world.vm
    assert vm is not None
    assert vm.serves
    assert vm.rotated
    assert run.world.objects["dc1"] >= {"nTDSDSA", "computer", "server"}
    assert action.old is (OldDisk.NONE if old == "none" else OldDisk.KEEP_DETACHED)


def test_case_a_demotes_and_removes_the_member_account():
    run = make_run("dc")
    run.call()
    assert names(run)[1:9] == [
        *("demote", "power-off", "prove-off", "cleanup-metadata", "cleanup-dns"),
        *("verify-clean", "prove-off", "install"),
    ]


def test_roles_are_transferred_before_and_back_at_the_end():
    run = make_run("dc", 'fsmo = "transfer"\nfsmo_back = true\n', roles_on="dc1")
    assert isinstance(run.call(), Finish)
    assert names(run).index("move-roles") < names(run).index("demote")
    assert names(run).index("roles-back") > names(run).index("verify")
    assert set(run.world.roles.values()) == {"dc1"}


def test_roles_are_seized_from_a_dead_dc_only():
    run = make_run("dead", 'fsmo = "seize"\n', roles_on="dc1")
    assert isinstance(run.call(), Finish)
    assert set(run.world.roles.values()) == {"dc2"}
    alive = make_run("dc", 'fsmo = "seize"\n', roles_on="dc1")
    action = alive.call()
    assert isinstance(action, Halt)
    assert "transfer" in run.plan.fsmo.value or action.code is ExitCode.UNSAFE
    assert alive.effects == [Step.PREFLIGHT]


@pytest.mark.parametrize("old", ["dc", "dead"])
def test_undecided_roles_stop_before_anything(old):
    run = make_run(old, roles_on="dc1")
    action = run.call()
    assert isinstance(action, Halt)
    assert "RID master" in action.reason
    assert run.effects == [Step.PREFLIGHT]
    assert action.old is OldDisk.IN_PLACE


@pytest.mark.parametrize("old", ["dc", "dead", "cut off"])
def test_case_c_is_refused_whatever_is_accepted(old):
    run = make_run(old)
    run.accepted = frozenset({"other-dc", "fsmo", "identity", *ACCEPTED})
    run.world.partner.running = False
    for _ in range(3):
        action = run.call()
        assert isinstance(action, Halt)
        assert action.code is ExitCode.UNSAFE
    assert set(run.effects) == {Step.PREFLIGHT}


def test_a_partner_that_is_alone_and_sick_is_case_c():
    run = make_run("dead")
    run.world.partner.restarted = False  # it answers, and shares no SYSVOL
    action = run.call()
    assert isinstance(action, Halt)
    assert "proven alive" in action.reason


def test_the_wrong_name_typed_ends_it():
    run = make_run("dc")
    run.typed = "dc2.ad.example.com"
    action = run.call()
    assert isinstance(action, Halt)
    assert action.code is ExitCode.UNSAFE
    assert run.effects == [Step.PREFLIGHT]
    run.typed = "DC1.ad.example.com"
    assert isinstance(run.call(), Finish)


def test_without_leave_the_partner_is_not_touched():
    run = make_run("dead")
    run.policy = Policy(allow_partner=False)
    action = run.call()
    assert isinstance(action, Wait)
    assert action.step is Step.CLEAN_METADATA
    assert "allow partner-changes" in action.next
    again = run.call()
    assert isinstance(again, Wait)
    assert "dc1" in run.world.objects
    assert not ON_PARTNER & set(run.effects)
    seen = []
    while isinstance(again, Wait):
        seen.append(again.step)
        run.person(again.step)
        again = run.call()
    assert isinstance(again, Finish)
    assert seen == [Step.CLEAN_METADATA, Step.CLEAN_DNS]
    assert run.world.violations == []


def test_a_partner_outside_is_waited_for_even_with_leave():
    keys = "partner = \"dc2.ad.example.com\"\ncredential_user = 'AD\\promoter'\n"
    run = Run(world=World(old="dead"), plan=make_plan(partner=keys), accepted=ACCEPTED)
    action = run.call()
    assert isinstance(action, Wait)
    assert "outside this cluster" in action.reason


def test_what_a_person_was_asked_for_counts_as_done_for_the_old_disk():
    """Nobody knows when they did it: the old DC must not come back."""
    run = make_run("dead")
    run.policy = Policy(allow_partner=False)
    run.call()
    run.person(Step.CLEAN_METADATA)
    run.policy = Policy(undo=True)
    action = run.call()
    assert isinstance(action, Halt)
    assert action.old is OldDisk.KEEP_DETACHED
    assert run.world.vm is not None
    assert not run.world.vm.running
    assert run.world.violations == []


def test_before_the_first_change_the_old_one_is_started_again():
    run = make_run("cut off")
    run.faults = [None, None, lambda world: setattr(world.partner, "agent", False)]
    action = run.call()
    assert isinstance(action, Halt)
    assert action.step is Step.PROVE_OFF
    assert action.old is OldDisk.BOOT
    run.policy = Policy(undo=True)
    assert isinstance(run.call(), BootOld)
    assert run.world.vm is not None
    assert run.world.vm.running
    assert run.world.violations == []
    assert run.state == DcState(plan=run.plan)


def test_something_that_answers_in_its_place_stops_it():
    run = make_run("dead")
    run.faults = [None, None, lambda world: setattr(world.vm, "running", True)]
    action = run.call()
    assert isinstance(action, Halt)
    assert action.step is Step.PROVE_OFF
    assert "389" in action.reason
    assert action.code is ExitCode.UNSAFE


def test_that_it_is_off_is_the_last_thing_that_is_looked_at():
    """Somebody starts the old DC while its metadata are removed."""
    run = make_run("dead")
    run.faults = [None] * 5 + [lambda world: setattr(world.vm, "running", True)]
    action = run.call()
    assert isinstance(action, Halt)
    assert action.step is Step.PROVE_OFF
    assert Step.INSTALL not in run.effects


def bring_back(world: World) -> None:
    """A DC that was cut off replicates the old objects back."""
    world.objects.setdefault("dc1", set()).update({"computer", "server", "nTDSDSA"})


def test_what_comes_back_into_the_directory_stops_it():
    run = make_run("dead")
    run.faults = [None] * 5 + [bring_back]
    action = run.call()
    assert isinstance(action, Halt)
    assert action.step is Step.VERIFY_CLEAN
    assert "NTDS Settings of dc1 left" in action.reason
    assert Step.INSTALL not in run.effects
    assert action.old is OldDisk.KEEP_DETACHED


def test_a_restart_that_windows_asks_for_is_made_and_not_for_ever():
    run = make_run("none")
    run.world.result["promote"] = [15]
    assert isinstance(run.call(), Finish)
    assert run.effects.count(Step.PROMOTE) == 2
    stubborn = make_run("none")
    stubborn.world.result["promote"] = [15] * 9
    action = stubborn.call()
    assert isinstance(action, Halt)
    assert "15" in action.reason
    assert stubborn.effects.count(Step.PROMOTE) == 3


@pytest.mark.parametrize("code", [77, 25, 40, 89])
def test_a_result_that_made_nothing_is_mended_and_tried_again(code):
    run = make_run("none")
    run.world.result["promote"] = [code]
    action = run.call()
    assert isinstance(action, Halt)
    assert f"ended with {code}" in action.reason
    assert isinstance(run.call(), Finish)
    assert run.effects.count(Step.INSTALL) == 1


@pytest.mark.parametrize("code", [53, 54, 56, -1, 0])
@pytest.mark.parametrize("old", ["dc", "none"])
def test_a_half_made_dc_is_cleaned_up_before_the_next_try(code, old):
    run = make_run(old)
    run.world.result["promote"] = [code]
    action = run.call()
    assert isinstance(action, Halt)
    assert run.state.failure is not None
    final = run.call()
    assert isinstance(final, Finish), final
    assert run.world.violations == []
    assert run.effects.count(Step.INSTALL) == 2
    if code in {53, 54, 56}:
        assert run.effects.count(Step.CLEAN_METADATA) == (2 if old == "dc" else 1)


def test_a_look_at_the_world_gets_old():
    run = make_run("dead")
    run.faults = [None, None, None, "before"]  # dies before the metadata are removed
    assert run.call() is None
    run.now += FRESH + 1
    assert isinstance(run.call(), Finish)
    assert run.effects.count(Step.PROVE_OFF) == 3  # before, old, and last of all
    slow = make_run("dc")
    slow.faults = [None, "before"]
    assert slow.call() is None
    assert slow.state.standing(Step.DEMOTE) is Standing.INTENDED
    early = make_run("dc")
    early.faults = ["after"]
    assert early.call() is None
    assert early.state.standing(Step.PREFLIGHT) is Standing.INTENDED
    assert isinstance(early.call(), Finish)
    assert early.effects.count(Step.PREFLIGHT) == 2


def test_an_old_confirmation_is_asked_for_again():
    plan = make_plan()
    entries = [
        Entry(step=Step.PREFLIGHT, standing=Standing.DONE, at=0, case=Case.DEAD, held=True),
        Entry(step=Step.CONFIRM, standing=Standing.DONE, at=0, typed=plan.fqdn),
    ]
    action = next_step(replay(plan, entries), Policy(allow_partner=True), 10)
    assert action == Perform(step=Step.POWER_OFF)
    later = next_step(replay(plan, entries), Policy(allow_partner=True), FRESH + 1)
    assert later == Perform(step=Step.PREFLIGHT)


def test_another_case_needs_another_confirmation():
    plan = make_plan()
    entries = [
        Entry(step=Step.PREFLIGHT, standing=Standing.DONE, at=0, case=Case.GRACEFUL, held=True),
        Entry(step=Step.CONFIRM, standing=Standing.DONE, at=0, typed=plan.fqdn),
        Entry(step=Step.PREFLIGHT, standing=Standing.DONE, at=5, case=Case.DEAD, held=True),
    ]
    state = replay(plan, entries)
    assert not state.confirmed
    assert not may_install(state)


def test_reusing_the_account_skips_what_could_not_be_removed():
    plan = make_plan("replacement", "reuse_account = true\n")
    order = order_steps(plan, Case.DEAD)
    assert Step.CLEAN_METADATA not in order
    assert Step.VERIFY_CLEAN not in order
    assert order.index(Step.PROVE_OFF) < order.index(Step.INSTALL)


@pytest.mark.parametrize(
    ("mode", "case"),
    [
        *((mode, Case.NEW) for mode in ("replacement", "additional", "rodc", "new-forest")),
        *((mode, case) for mode in ("replacement", "rodc") for case in (Case.GRACEFUL, Case.DEAD)),
    ],
)
def test_every_order_looks_first_and_installs_before_it_promotes(mode, case):
    keys = 'site = "HQ"\n' if mode == "rodc" else ""
    order = order_steps(make_plan(mode, keys), case)
    assert order[:2] == (Step.PREFLIGHT, Step.CONFIRM)
    assert order[-1] is Step.REPORT
    assert len(set(order)) == len(order)
    rank = {step: number for number, step in enumerate(order)}
    assert rank[Step.ROTATE] < rank[Step.PROMOTE]
    assert rank[Step.INSTALL] < rank[Step.TEST] < rank[Step.PROMOTE] < rank[Step.REBOOT]
    if case is not Case.NEW:
        assert rank[Step.POWER_OFF] < rank[Step.PROVE_OFF] < rank[Step.CLEAN_METADATA]
        assert rank[Step.VERIFY_CLEAN] < rank[Step.INSTALL]
    assert order_steps(make_plan(mode, keys), Case.LAST) == ()


def test_steps_have_one_nature():
    assert not READING & OUTSIDE
    assert not READING & IRREVERSIBLE
    assert ON_PARTNER <= OUTSIDE
    assert Step.INSTALL not in READING


# --- every fault ----------------------------------------------------------------------------


def lose_partner(world: World) -> None:
    world.partner.agent = False


def find_partner(world: World) -> None:
    world.partner.agent = True


def kill_partner(world: World) -> None:
    world.partner.running = False


def lose_guest(world: World) -> None:
    if world.vm:
        world.vm.agent = False


def find_guest(world: World) -> None:
    if world.vm:
        world.vm.agent = True


def start_somebody(world: World) -> None:
    """A person starts the VM that was switched off."""
    if world.vm and world.vm.role != "server":
        world.vm.running = True


FAULTS = st.one_of(
    *(st.none(), st.sampled_from(["before", "after"])),
    st.sampled_from(
        [
            *(lose_partner, find_partner, kill_partner, lose_guest, find_guest, start_somebody),
            bring_back,
        ]
    ),
)
CODES = st.lists(st.sampled_from([4, 15, 53, 54, 77, 86, 25, -1, 3]), max_size=3)


@st.composite
def troubles(draw):
    return {
        "old": draw(st.sampled_from(["dc", "dead", "cut off", "none"])),
        "keys": draw(st.sampled_from(["", 'fsmo = "transfer"\n', 'fsmo = "seize"\n'])),
        "roles_on": draw(st.sampled_from(["dc1", "dc2"])),
        "others": draw(st.integers(1, 2)),
        "faults": draw(st.lists(FAULTS, max_size=30)),
        "promote": draw(CODES),
        "demote": draw(CODES),
        "policies": draw(
            st.lists(
                st.builds(Policy, allow_partner=st.booleans(), undo=st.booleans()),
                min_size=1,
                max_size=6,
            )
        ),
        "pauses": draw(st.lists(st.integers(0, 3 * FRESH), min_size=6, max_size=6)),
        "helpful": draw(st.booleans()),
    }


def check_installs(run: Run) -> None:
    """From the journal alone: what stood there when a disk was replaced."""
    proofs: dict[Step, Entry] = {}
    changed = False
    for entry in run.entries:
        if not isinstance(entry, Entry):
            if isinstance(entry, Resumed):
                continue
            proofs, changed = (
                ({}, False) if type(entry).__name__ == "OldStarted" else (proofs, changed)
            )
            continue
        if entry.step is Step.INSTALL and entry.standing is Standing.INTENDED:
            held = proofs[Step.PREFLIGHT]
            assert held.held
            assert held.case in {Case.NEW, Case.GRACEFUL, Case.DEAD}
            assert proofs[Step.CONFIRM].typed.casefold() == run.plan.fqdn
            clean = proofs[Step.VERIFY_CLEAN]
            assert entry.at - clean.at <= PROVEN
            if held.case is not Case.NEW:
                assert entry.at - proofs[Step.PROVE_OFF].at <= PROVEN
        if entry.standing is Standing.DONE:
            proofs[entry.step] = entry
        elif entry.standing is Standing.FAILED:
            proofs.pop(entry.step, None)


@settings(max_examples=150)
@given(trouble=troubles())
def test_through_every_fault_nothing_is_broken(trouble):
    if trouble["old"] == "none":
        trouble |= {"keys": "", "roles_on": "dc2"}
    run = make_run(
        trouble["old"], trouble["keys"], roles_on=trouble["roles_on"], others=trouble["others"]
    )
    run.faults = list(trouble["faults"])
    run.world.result = {"promote": trouble["promote"], "demote": trouble["demote"]}
    for policy, pause in zip(trouble["policies"], trouble["pauses"], strict=False):
        run.policy = policy
        action = run.call()
        said_something(run, action)
        if isinstance(action, Wait) and trouble["helpful"]:
            help_out(run, action.step)
        run.now += pause
    assert run.world.violations == []
    check_installs(run)
    finish(run)


def said_something(run: Run, action) -> None:
    if action is None:
        return  # killed: the journal speaks at the next call
    assert isinstance(action, Halt | Wait | Finish | BootOld)
    if isinstance(action, Halt | Wait):
        assert action.reason
        assert action.next
        assert action.old is old_disk(run.state) or isinstance(action, Wait)
        for secret in (SECRET, DSRM, LOCAL):
            assert secret not in repr(action)
    assert SECRET not in repr(run.entries)
    assert DSRM not in repr(run.entries)
    assert LOCAL not in repr(run.entries)


def help_out(run: Run, step: Step) -> None:
    with contextlib.suppress(LostError, ScriptError):
        run.person(step)


def finish(run: Run) -> None:
    """Without further faults it comes to an end: done, or a refusal that says what is missing."""
    run.faults = []
    run.world.result = {}
    run.policy = Policy(allow_partner=True)
    find_partner(run.world)
    find_guest(run.world)
    for _ in range(4):
        action = run.call()
        said_something(run, action)
    assert run.world.violations == []
    check_installs(run)
    if isinstance(action, Finish):
        vm = run.world.vm
        assert vm is not None
        assert vm.serves
        assert not any(kept.running for kept in run.world.kept)
        return
    assert isinstance(action, Halt)
    lost = not run.world.partner.running
    undecided = any(holder == "dc1" for holder in run.world.roles.values())
    other_case = "case" in action.reason
    awake = run.world.vm is not None and run.world.vm.running
    back = "nTDSDSA" in run.world.objects.get("dc1", ())
    assert lost or undecided or other_case or awake or back, action


def test_the_world_notices_what_it_must():
    """The oracle can fail: each of its rules, broken on purpose."""
    careless = World(old="dc")
    careless.install()
    assert "a running DC was replaced" in careless.violations
    assert "installed although the directory still has a DC of that name" in careless.violations
    lonely = World(old="dead")
    lonely.partner.running = False
    lonely.install()
    assert "installed although no other writable DC lives" in lonely.violations
    holder = World(old="dead", roles_on="dc1")
    holder.install()
    assert "a role holder was replaced" in holder.violations
    zombie = World(old="dead")
    zombie.changed = True
    zombie.start_old()
    assert zombie.violations == ["an old DC was started although the domain had changed"]
    rotated = World(old="dc")
    rotated.rotate()
    assert rotated.violations == ["a password was rotated on a domain controller"]
