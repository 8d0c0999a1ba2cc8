"""`winseed dc` from the first look to a proven domain controller, over a real HTTPS fake of the
cluster. Whoever breaks the domain is caught by the World, which knows nothing of our code."""

import dataclasses

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from builder.domain.cases import Case
from builder.domain.change import arriving
from builder.domain.change.install import is_rotated
from builder.domain.change.journal import load_dc_journal
from builder.domain.state import Standing
from builder.domain.steps import Step
from builder.errors import ExitCode, WinseedError
from builder.install import journal as install_journal
from builder.install.jobs import undo_host
from builder.install.journal import load_journal
from tests.command import winseed
from tests.domain.stage import OLD, OLD_DISKS, OUTSIDE, CrashError, Stage
from tests.domain.world import DSRM, SECRET
from tests.pve.clock import Clock
from tests.pve.cluster import FakeCluster

pytestmark = pytest.mark.usefixtures("trusted")
RELEASE = "9.2"
PHASES = (Phase.explicit, Phase.generate)  # an example takes seconds: it is not shrunk
PLACES = {"fqdn": "dc1.ad.example.com", "from": "dc1", "addresses": ["192.0.2.11"]}


@pytest.fixture
def pve():
    with FakeCluster(release=RELEASE, nodes=("pve1",), clock=Clock()) as cluster:
        yield cluster


@pytest.fixture
def trusted_here(trusted):
    """For examples that share the test's own fixtures."""
    return trusted


@pytest.fixture
def make(pve, discs, tmp_path):
    return lambda **how: Stage(pve, discs, tmp_path, **how)


def told(stage, outcome):
    state = load_dc_journal(stage.home)
    engine = load_journal(stage.home)
    return (
        outcome,
        state and state.entries[-4:],
        engine and (engine.state.failure, engine.state.outcome),
    )


@pytest.mark.parametrize(
    ("old", "case"), [("dc", Case.GRACEFUL), ("dead", Case.DEAD), ("cut off", Case.DEAD)]
)
def test_a_replacement_from_the_first_look_to_the_proof(make, old, case):
    stage = make(old=old)
    outcome = stage.call()
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    journal = load_dc_journal(stage.home)
    assert journal.state.case is case
    new = stage.world.vm
    assert new is not stage.original
    assert new.serves
    assert new.rotated
    config = stage.pve.vms[101].config
    unused = {text for key, text in config.items() if key.startswith("unused")}
    assert unused == OLD_DISKS
    assert config["onboot"] == "0"
    assert any("never be booted" in line for line in outcome.lines)


def test_another_domain_controller_from_nothing(make):
    stage = make(old="none", mode="additional")
    outcome = stage.call("add")
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    assert load_dc_journal(stage.home).state.case is Case.NEW
    assert stage.world.vm.serves
    assert load_journal(stage.home).state.created


def test_a_forest_from_nothing(make):
    stage = make(old="none", mode="new-forest")
    outcome = stage.call("new-forest")
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    assert stage.world.vm.serves
    assert not stage.shown[-1].blocking


def test_a_read_only_one_with_its_account_staged_first(make):
    stage = make(old="none", mode="rodc", keys='site = "HQ"\n')
    outcome = stage.call("add")
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    assert stage.world.vm.read_only


def test_roles_are_moved_and_come_back(make):
    stage = make(keys='fsmo = "transfer"\nfsmo_back = true\n', roles_on="dc1")
    stage.world.roles["schema"] = "dc2"
    outcome = stage.call()
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    held = {role for role, holder in stage.world.roles.items() if holder == "dc1"}
    assert held == {"naming", "pdc", "rid", "infrastructure"}, "what it held, and no more"


# --- what is refused ------------------------------------------------------------------------------


def untouched(stage, before):
    assert stage.world.installs == 0
    assert not stage.world.changed
    assert stage.pve.vms[101].config == before
    stage.check()


def test_the_last_one_is_refused_whatever_is_accepted(make):
    stage = make()
    before = dict(stage.pve.vms[101].config)
    stage.world.partner.half_made = True  # it answers its agent, and is no DC that works
    stage.accepted = frozenset(finding.id for finding in every_row(stage))
    outcome = stage.call()
    assert outcome.code is ExitCode.UNSAFE
    assert outcome.next
    assert stage.shown[-1].choice.case is Case.LAST
    untouched(stage, before)
    assert stage.pve.vms[101].running


def every_row(stage):
    stage.call()
    return stage.shown[-1].findings


def test_a_silent_partner_is_no_partner(make):
    stage = make()
    before = dict(stage.pve.vms[101].config)
    stage.pve.stop_from_inside(stage.pve.vms[102])
    outcome = stage.call()
    assert (outcome.code, outcome.ending) == (ExitCode.UNSAFE, "stopped")
    assert "did not answer" in outcome.reason
    untouched(stage, before)


def test_roles_without_a_decision_are_refused(make):
    stage = make(roles_on="dc1")
    before = dict(stage.pve.vms[101].config)
    stage.accepted |= {"fsmo"}
    outcome = stage.call()
    assert outcome.code is ExitCode.UNSAFE
    assert "RID master" in outcome.reason
    untouched(stage, before)


@pytest.mark.parametrize("yes", ["dc1", "dc2.ad.example.com", None])
def test_without_the_full_name_nothing_happens(make, yes):
    stage = make()
    before = dict(stage.pve.vms[101].config)
    outcome = stage.call(yes=yes)
    assert outcome.code is ExitCode.UNSAFE
    assert "nothing was changed" in outcome.next + outcome.reason
    untouched(stage, before)


def test_what_the_installation_refuses_is_refused_before_the_domain_is_touched(make):
    stage = make()
    stage.pve.vms[101].config["protection"] = "1"
    before = dict(stage.pve.vms[101].config)
    outcome = stage.call()
    assert outcome.code is ExitCode.UNSAFE
    assert "it is protected" in outcome.reason
    untouched(stage, before)


def test_a_new_one_never_takes_the_vm_of_another(make):
    stage = make(mode="additional")
    before = dict(stage.pve.vms[101].config)
    outcome = stage.call("add")
    assert outcome.code is ExitCode.UNSAFE
    untouched(stage, before)


# --- a person at the partner ----------------------------------------------------------------------


def test_without_leave_the_partner_is_a_persons_business(make):
    stage = make(old="dead")
    first = stage.call(allow=False)
    assert (first.ending, first.step) == ("waiting", Step.CLEAN_METADATA)
    assert any("Remove-ADObject" in line for line in first.lines)
    assert not stage.world.changed
    again = stage.call(again=True, allow=False)
    assert (again.ending, again.step) == ("waiting", Step.CLEAN_METADATA), "nobody has done it"
    stage.sync()
    stage.world.answer("cleanup-metadata", stage.world.partner, PLACES)
    second = stage.call(again=True, allow=False)
    assert (second.ending, second.step) == ("waiting", Step.CLEAN_DNS)
    assert stage.world.installs == 0
    stage.world.answer("cleanup-dns", stage.world.partner, PLACES)
    last = stage.call(again=True, allow=False)
    assert last.ending == "finished", told(stage, last)
    stage.check()


@pytest.mark.parametrize("old", ["dead", "dc"])
def test_a_partner_outside_is_asked_by_a_person(make, old):
    stage = make(old=old, partner=OUTSIDE)
    before = dict(stage.pve.vms[101].config)
    outcome, ran = stage.call(), []
    assert (outcome.ending, outcome.step) == ("waiting", Step.PREFLIGHT)
    assert any("preflight-partner.ps1" in line for line in outcome.lines)
    assert stage.pve.vms[101].config == before
    for _ in range(20):
        if outcome.ending == "finished":
            break
        assert outcome.ending == "waiting", told(stage, outcome)
        ran += stage.person()
        outcome = stage.call(again=True)
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    assert stage.world.vm.serves
    assert {"preflight-partner", "prove-off", "cleanup-metadata", "cleanup-dns"} <= set(ran)
    assert not any("/qemu/102/agent" in seen.path for seen in stage.pve.requests)


def test_an_answer_of_before_proves_nothing(make):
    stage = make(old="dead", partner=OUTSIDE)
    stage.call()
    stage.person()
    stage.clock.sleep(1000)
    outcome = stage.call(again=True)
    assert (outcome.ending, outcome.step) == ("waiting", Step.PREFLIGHT)
    assert "16 minutes old" in outcome.reason
    stage.person()
    stage.world.partner.half_made = True  # and now it is no DC any more
    assert stage.call(again=True).step is Step.PROVE_OFF
    answer = (stage.home / "partner" / "preflight-partner.json").read_text()
    (stage.home / "partner" / "prove-off.json").write_text(answer)
    outcome = stage.call(again=True)
    assert "another question" in outcome.reason
    assert stage.world.installs == 0
    stage.check()


def walk(stage, calls=20):
    """A person does what is asked, until something else is said."""
    outcome = stage.call()
    for _ in range(calls):
        if outcome.ending != "waiting":
            return outcome
        stage.person()
        outcome = stage.call(again=True)
    return outcome


def test_what_dns_and_ldap_show_from_here_counts_as_well(make):
    stage = make(old="dead", partner=OUTSIDE)
    stage.root = {"dnsHostName": "dc2.ad.example.com", "defaultNamingContext": "dc=ad,dc=example"}
    stage.locators = frozenset({"dc1.ad.example.com", "dc2.ad.example.com"})
    outcome = walk(stage)
    assert (outcome.ending, outcome.step) == ("stopped", Step.VERIFY_CLEAN)
    assert "still tells dc1.ad.example.com" in outcome.reason
    assert "is a DC of dc=ad,dc=example, not of ad.example.com" in outcome.reason
    assert stage.world.installs == 0
    stage.check()


def test_going_back_while_nothing_but_its_being_off_has_changed(make):
    stage = make(old="cut off")
    stage.pve.faults.fail("*/qemu/102/agent/exec", skip=1, times=50)
    stopped = stage.call()
    assert stopped.step is Step.PROVE_OFF, told(stage, stopped)
    assert not stage.pve.vms[101].running
    assert stage.pve.vms[101].config["onboot"] == "0"
    stage.pve.faults.clear()
    undone = stage.call(undo=True)
    assert undone.ending == "undone"
    stage.clock.sleep(60)
    stage.pve.advance_tasks()
    assert stage.pve.vms[101].running
    assert stage.pve.vms[101].config["onboot"] == "1"
    stage.check()


def test_no_way_back_once_the_domain_may_have_changed(make):
    stage = make(old="dead")
    stage.call(allow=False)
    outcome = stage.call(undo=True)
    assert outcome.code is ExitCode.UNSAFE
    assert "never booted" in outcome.reason
    assert not stage.pve.vms[101].running
    stage.check()


# --- whatever breaks ------------------------------------------------------------------------------


def finish(stage, verb="reinstall", calls=25):
    """Call again until it is done; how often it took."""
    outcome = stage.call(verb)
    for number in range(calls):
        if outcome is not None and outcome.ending == "finished":
            return number
        if outcome is not None:
            assert outcome.next, outcome
            assert outcome.reason, outcome
        stage.check()
        stage.mend()
        begun = load_dc_journal(stage.home)
        outcome = stage.call(verb, again=begun is not None)
    raise AssertionError(told(stage, outcome))


class Crashes:
    """Power is lost once at each place: before and after each line of the journal."""

    def __init__(self, moment):
        self.moment, self.seen = moment, set()

    def __call__(self, moment, entry):
        place = (type(entry).__name__, getattr(entry, "step", None), getattr(entry, "standing", 0))
        if moment == self.moment and place not in self.seen:
            self.seen.add(place)
            raise CrashError


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("old", "moment"), [("dc", "before"), ("dead", "after")])
def test_power_loss_at_every_line_of_the_journal(make, old, moment):
    stage = make(old=old, keys='fsmo = "transfer"\n' if old == "dc" else "")
    stage.strike = Crashes(moment)
    count = finish(stage, calls=120)
    stage.check()
    assert count > 20
    assert stage.world.installs == 1
    assert stage.world.vm.serves


ACCIDENTS = ["crash", "ctrl-c", "partner lost", "agent away", "agent lost", "restart"]
ACCIDENTS += ["new one off", "answers lost", "calls lost"]


class Misfortune:
    """Accidents by the number of the line that is written when they happen."""

    def __init__(self, stage, accidents):
        self.stage, self.accidents, self.count = stage, dict(accidents), 0

    def __call__(self, moment, _entry):
        self.count += 1
        accident = self.accidents.pop(self.count, "")
        if accident:
            self.stage.befall(accident)


@pytest.mark.timeout(900)
@settings(
    max_examples=6,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=PHASES,
)
@given(
    old=st.sampled_from(["dc", "dead", "cut off", "none"]),
    accidents=st.lists(
        st.tuples(st.integers(1, 90), st.sampled_from(ACCIDENTS)), min_size=1, max_size=4
    ),
    tested=st.lists(st.sampled_from([1, 15, 77]), max_size=2),
    promoted=st.lists(st.sampled_from([1, 4, 15, 53, 77, 199]), max_size=3),
)
def test_nothing_that_breaks_breaks_the_domain(
    discs, tmp_path_factory, trusted_here, old, accidents, tested, promoted
):
    verb, mode = ("add", "additional") if old == "none" else ("reinstall", "replacement")
    with FakeCluster(release=RELEASE, nodes=("pve1",), clock=Clock()) as pve:
        stage = Stage(pve, discs, tmp_path_factory.mktemp("run"), old=old, mode=mode)
        stage.world.result = {"test-promotion": tested, "promote": promoted}
        stage.strike = Misfortune(stage, accidents)
        finish(stage, verb)
        stage.check()
        assert stage.world.vm.serves


@pytest.mark.parametrize("code", [15, 53, 77])
def test_what_a_promotion_may_return(make, code):
    stage = make()
    stage.world.result["promote"] = [code, 4]
    first = stage.call()
    if code == 15:
        assert first.ending == "finished", told(stage, first)
    else:
        assert first.step is Step.PROMOTE
        assert str(code) in first.reason
        assert first.next
        finish(stage_again(stage))
    stage.check()
    assert stage.world.vm.serves
    assert stage.world.installs == (2 if code == 53 else 1)


def stage_again(stage):
    """The next call of `finish` takes up what is there."""
    call = stage.call
    stage.call = lambda verb, **how: call(verb, **{"again": True, **how})
    return stage


@pytest.mark.parametrize("death", ["before", "after"])
def test_powershell_dies_in_the_middle_of_a_promotion(make, death):
    stage = make(old="none", mode="additional")
    stage.plans.deaths["dc/promote-additional"] = [death]
    outcome = stage.call("add")
    assert outcome.ending == "finished", told(stage, outcome)
    stage.check()
    assert stage.world.installs == 1


def test_the_agent_is_away_for_the_whole_promotion(make):
    stage = make(old="none", mode="additional")
    stage.plans.seconds["dc/promote-additional"] = 6 * 3600.0
    outcome = stage.call("add")
    assert (outcome.ending, outcome.step) == ("failed", Step.PROMOTE), told(stage, outcome)
    assert "its end is not known" in outcome.lines[0]
    assert "--resume" in outcome.next
    assert finish(stage_again(stage), "add") == 0
    stage.check()
    promoted = [name for name, _ in stage.disks[-1].effects if "promote" in name]
    assert promoted == ["dc/promote-additional"], "its result was waited for, not made anew"


def test_a_dc_that_cannot_be_demoted_may_be_replaced_as_a_dead_one(make):
    stage = make()
    stage.world.result["demote"] = [54, 54]
    first = stage.call()
    assert first.step is Step.DEMOTE
    assert "case B, in a new run" in first.next
    stage.pve.stop_from_inside(stage.pve.vms[101])
    second = stage.call()
    assert second.ending == "finished", told(stage, second)
    assert load_dc_journal(stage.home).record.spoiled
    stage.check()


def test_a_change_that_was_given_up_is_never_undone_by_booting_the_old_disk(make):
    stage = make()
    stage.world.result["demote"] = [54]
    stage.call()
    stage.pve.stop_from_inside(stage.pve.vms[101])
    stage.pve.faults.fail("*/qemu/102/agent/exec", skip=1, times=50)
    stage.call()
    stage.pve.faults.clear()
    outcome = stage.call(undo=True)
    assert outcome.code is ExitCode.UNSAFE
    assert not stage.pve.vms[101].running
    stage.check()


def test_an_unfinished_change_is_not_begun_anew(make):
    stage = make(old="dead")
    stage.call(allow=False)
    with pytest.raises(WinseedError) as caught:
        stage.call()
    assert caught.value.code is ExitCode.UNSAFE
    assert "--resume" in caught.value.hint


def test_what_it_is_to_be_may_not_change_under_way(make):
    stage = make(old="dead")
    stage.call(allow=False)
    (host,) = stage.site.hosts
    moved = host.dc.model_copy(update={"domain": "other.example.com"})
    stage.site = dataclasses.replace(stage.site, hosts=(host.model_copy(update={"dc": moved}),))
    with pytest.raises(WinseedError) as caught:
        stage.call(again=True)
    assert caught.value.code is ExitCode.SPEC
    assert "domain" in str(caught.value.problems)


def test_an_empty_vm_is_taken_for_a_new_dc(make):
    stage = make(old="none", mode="additional", vmid=101)
    empty = {key: text for key, text in OLD.items() if "vm-101-disk" not in text and key != "boot"}
    stage.pve.add_vm(101, config=empty)
    outcome = stage.call("add")
    assert outcome.ending == "finished", told(stage, outcome)
    assert load_journal(stage.home).state.vmid == 101
    stage.check()


def test_the_plain_verbs_leave_the_old_disk_alone_too(make):
    stage = make(old="dead")
    stage.plans.errors["facts"] = ["no"] * 9
    stage.call()
    assert load_journal(stage.home).state.outside
    result = undo_host(stage.shop(), stage.home, "dc1")
    assert result.code is ExitCode.UNSAFE
    assert "winseed dc reinstall dc1 --resume" in result.error.hint
    stage.check()


def test_status_tells_how_a_change_stands(make, capsys):
    stage = make(old="dead")
    stage.call(allow=False)
    done = winseed(capsys, "status", "-o", stage.home.parent)
    assert "dc1.ad.example.com: dc reinstall, at cleanup-metadata" in done.out
    assert "the old disk may never be booted again" in done.out
    assert "next: winseed dc reinstall dc1 --resume" in done.out
    stage.call(again=True)
    done = winseed(capsys, "status", "-o", stage.home.parent)
    assert "dc1.ad.example.com: dc reinstall, finished" in done.out


def test_to_add_is_not_to_replace(make):
    stage = make(mode="rodc", keys='site = "HQ"\n')
    before = dict(stage.pve.vms[101].config)
    outcome = stage.call("add")
    assert outcome.code is ExitCode.UNSAFE
    assert "`winseed dc reinstall` replaces it" in outcome.reason
    untouched(stage, before)


def test_a_vm_that_is_called_otherwise_is_somebody_elses(make):
    stage = make(old="dead")
    stage.pve.vms[101].config["name"] = "files"
    before = dict(stage.pve.vms[101].config)
    outcome = stage.call()
    assert outcome.code is ExitCode.UNSAFE
    assert "is called files, not dc1" in outcome.reason
    untouched(stage, before)


def test_no_reason_holds_a_secret(make):
    stage = make()
    run = stage.run()
    reason = f"Windows said: {SECRET}, and {DSRM}"
    run.write(Step.TEST, Standing.FAILED, result=77, reason=reason)
    assert run.state.failure.reason == "Windows said: ***, and ***"
    stage.check()


def test_a_password_that_was_not_changed_promotes_nothing(make):
    stage = make(old="none", mode="additional")
    stage.plans.errors["scrub"] = ["not now"]
    assert stage.call("add").step is Step.INSTALL
    journal = load_journal(stage.home)
    journal.mark("rotate", install_journal.Standing.UNDONE)
    run = stage.run("add", again=True)
    assert not is_rotated(run)
    assert arriving.rotate(run).standing is Standing.FAILED
