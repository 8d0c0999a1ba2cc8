"""Every row of the preflight table: what holds it, what breaks it, and what no flag overrides."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.domain.cases import Case, OldDc, OtherDc, choose_case
from builder.domain.facts import (
    DcFacts,
    MediaFacts,
    Roles,
    SecretFacts,
    Zone,
    load_clean,
    load_partner,
    load_target,
)
from builder.domain.findings import Level
from builder.domain.preflight import (
    Held,
    find_case,
    find_old,
    judge_preflight,
    preflight_document,
    preflight_lines,
)
from builder.guest.call import GuestError, GuestTrouble
from tests.domain.driver import Run
from tests.domain.plans import make_plan
from tests.domain.world import DN, DOMAIN, World

SEIZE = 'fsmo = "seize"\n'
TRANSFER = 'fsmo = "transfer"\n'


def facts_of(old: str = "dc", keys: str = "", mode: str = "replacement", **world) -> DcFacts:
    return Run(world=World(old=old, **world), plan=make_plan(mode, keys)).facts()


def with_partner(facts: DcFacts, **changes) -> DcFacts:
    return dataclasses.replace(facts, partner=dataclasses.replace(facts.partner, **changes))


def with_target(facts: DcFacts, **changes) -> DcFacts:
    return dataclasses.replace(facts, target=dataclasses.replace(facts.target, **changes))


def with_vm(facts: DcFacts, **changes) -> DcFacts:
    return dataclasses.replace(facts, vm=dataclasses.replace(facts.vm, **changes))


def level(facts: DcFacts, name: str, keys: str = "", mode: str = "replacement") -> set[Level]:
    found = judge_preflight(make_plan(mode, keys), facts).findings
    return {finding.level for finding in found if finding.id == name}


def test_a_healthy_domain_holds():
    found = judge_preflight(make_plan(), facts_of())
    assert found.held is Held.YES
    assert found.choice.case is Case.GRACEFUL
    assert found.blocking == ()
    assert preflight_lines(found)[-1] == "the preflight holds"
    assert preflight_document(found)["held"] is True


@pytest.mark.parametrize("old", ["dc", "dead", "cut off", "none"])
def test_the_case_follows_what_was_seen(old):
    wanted = {"dc": "A", "dead": "B", "cut off": "B", "none": "new"}[old]
    assert find_case(make_plan(), facts_of(old)).case.value == wanted


def replaced(facts: DcFacts, name: str, **changes) -> DcFacts:
    dcs = tuple(
        dataclasses.replace(dc, **changes) if dc.name.startswith(name) else dc
        for dc in facts.partner.controllers
    )
    return with_partner(facts, controllers=dcs)


# Each row: what is changed in a healthy domain, the finding, how much it weighs.
ROWS = {
    "no LDAP": (lambda f: replaced(f, "dc2", ldap=False), "other-dc", Level.HARD),
    "no RPC": (lambda f: replaced(f, "dc2", rpc=False), "other-dc", Level.HARD),
    "no SYSVOL": (lambda f: replaced(f, "dc2", sysvol=False), "other-dc", Level.HARD),
    "only an RODC": (lambda f: replaced(f, "dc2", read_only=True), "other-dc", Level.HARD),
    "no partner": (lambda f: dataclasses.replace(f, partner=None), "other-dc", Level.HARD),
    "another partner": (
        lambda f: with_partner(f, partner=f"dc9.{DOMAIN}"),
        "identity",
        Level.HARD,
    ),
    "another domain": (
        lambda f: with_partner(f, domain="other.example.com"),
        "identity",
        Level.HARD,
    ),
    "another NetBIOS": (lambda f: with_partner(f, netbios="OTHER"), "identity", Level.HARD),
    "read-only partner": (lambda f: with_partner(f, read_only=True), "identity", Level.HARD),
    "wrong VM": (lambda f: with_target(f, name="FILES01"), "identity", Level.HARD),
    "VM elsewhere": (lambda f: with_target(f, domain="x.example.com"), "identity", Level.HARD),
    "roles": (
        lambda f: with_partner(f, roles=dataclasses.replace(f.partner.roles, rid=f"DC1.{DOMAIN}")),
        "fsmo",
        Level.HARD,
    ),
    "RID master gone": (
        lambda f: with_partner(f, roles=dataclasses.replace(f.partner.roles, rid="dc8")),
        "masters",
        Level.STOP,
    ),
    "only catalog": (lambda f: with_partner(f, catalogs=(f"dc1.{DOMAIN}",)), "catalog", Level.STOP),
    "catalog elsewhere": (
        lambda f: replaced(f, "dc2", site="Branch"),
        "catalog",
        Level.WARN,
    ),
    "not drained": (
        lambda f: with_partner(
            f,
            links=tuple(
                dataclasses.replace(link, success="2026-11-21T13:00:00Z")
                for link in f.partner.links
            ),
        ),
        "drained",
        Level.STOP,
    ),
    "one partition not": (
        lambda f: with_partner(
            f,
            links=tuple(
                dataclasses.replace(link, result=8453) if link.partition == DN else link
                for link in f.partner.links
            ),
        ),
        "drained",
        Level.STOP,
    ),
    "no time": (lambda f: with_partner(f, time="yesterday"), "drained", Level.STOP),
    "FRS": (lambda f: with_partner(f, dfsr_flags=16), "sysvol", Level.HARD),
    "SYSVOL not told": (lambda f: with_partner(f, dfsr_flags=-1), "sysvol", Level.HARD),
    "low forest": (lambda f: with_partner(f, forest_level=2), "levels", Level.HARD),
    "low domain": (lambda f: with_partner(f, domain_level=2), "levels", Level.HARD),
    "zone alone": (
        lambda f: with_target(
            f, zones=(*f.target.zones, Zone(name="lab", kind="Primary", integrated=True))
        ),
        "last-dns",
        Level.STOP,
    ),
    "zone in a file": (
        lambda f: with_target(f, zones=(Zone(name=DOMAIN, kind="Primary", integrated=False),)),
        "last-dns",
        Level.STOP,
    ),
    "zones not told": (lambda f: with_partner(f, dns_told=False), "last-dns", Level.STOP),
    "authority by AD": (
        lambda f: with_partner(f, authorities=(f"DC1.{DOMAIN}",)),
        "authority",
        Level.HARD,
    ),
    "authority by role": (
        lambda f: with_target(f, features=("DNS", "ADCS-Cert-Authority")),
        "authority",
        Level.HARD,
    ),
    "DHCP": (lambda f: with_target(f, features=("DNS", "DHCP")), "other-roles", Level.STOP),
    "shares": (lambda f: with_target(f, shares=("profiles",)), "other-roles", Level.STOP),
    "tasks": (lambda f: with_target(f, tasks=("\\x",)), "other-roles", Level.STOP),
    "Entra": (lambda f: with_target(f, directory_sync=True), "other-roles", Level.STOP),
    "BitLocker": (lambda f: with_target(f, encrypted=("C:",)), "encryption", Level.STOP),
    "no backup": (lambda f: with_partner(f, backups=()), "backup", Level.STOP),
    "old backup": (
        lambda f: with_partner(
            f,
            backups=tuple(
                dataclasses.replace(b, time="2026-11-10T00:00:00Z") for b in f.partner.backups
            ),
        ),
        "backup",
        Level.STOP,
    ),
    "one backup": (
        lambda f: with_partner(f, backups=f.partner.backups[:1]),
        "backup",
        Level.WARN,
    ),
    "evaluation": (
        lambda f: dataclasses.replace(f, media=MediaFacts(evaluation=True)),
        "media",
        Level.HARD,
    ),
    "media unseen": (
        lambda f: dataclasses.replace(f, media=MediaFacts(evaluation=None)),
        "media",
        Level.HARD,
    ),
    "no vmgenid": (lambda f: with_vm(f, generation=None), "vm", Level.WARN),
    "replicated": (lambda f: with_vm(f, replicated=True), "vm-copies", Level.STOP),
    "perhaps replicated": (lambda f: with_vm(f, replicated=None), "vm-copies", Level.STOP),
    "snapshots": (lambda f: with_vm(f, snapshots=("before",)), "vm-copies", Level.STOP),
    "snapshots not told": (lambda f: with_vm(f, snapshots=None), "vm-copies", Level.STOP),
    "write-back": (lambda f: with_vm(f, caches=(("scsi1", "writeback"),)), "vm", Level.WARN),
    "time zone": (lambda f: with_vm(f, time_zone="Tokyo Standard Time"), "time-zone", Level.WARN),
    "no DSRM": (
        lambda f: dataclasses.replace(f, secrets=SecretFacts(restore_mode=False, credential=True)),
        "secrets",
        Level.HARD,
    ),
    "no credential": (
        lambda f: dataclasses.replace(f, secrets=SecretFacts(restore_mode=True, credential=False)),
        "secrets",
        Level.HARD,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_breaks(row):
    change, name, weight = ROWS[row]
    facts = facts_of()
    assert weight not in level(facts, name), "the healthy domain breaks it already"
    plan = make_plan()
    everything = {finding_id for _, finding_id, _ in ROWS.values()}
    judged = judge_preflight(plan, change(facts), everything)
    assert weight in {finding.level for finding in judged.findings if finding.id == name}
    hints = [f.hint for f in judged.findings if f.id == name and f.level is not Level.OK]
    assert all(hints)
    if weight is Level.HARD:
        assert judged.held is Held.NO, "a flag overrides it"
        assert "refused" in preflight_lines(judged)[-1]
    refused = judge_preflight(plan, change(facts))
    assert (refused.held is Held.NO) is (weight is not Level.WARN)


def test_six_things_that_no_flag_overrides():
    """The list of the design: nobody else alive, roles, FRS, evaluation, certification authority;
    the sixth, an old DC that still answers, is looked at when it is off."""
    hard = {name for _, name, weight in ROWS.values() if weight is Level.HARD}
    assert {"other-dc", "fsmo", "sysvol", "media", "authority"} <= hard


@pytest.mark.parametrize(
    ("old", "keys", "weight"),
    [
        ("dc", "", Level.HARD),
        ("dc", TRANSFER, Level.OK),
        ("dc", SEIZE, Level.HARD),
        ("dead", "", Level.HARD),
        ("dead", TRANSFER, Level.HARD),
        ("dead", SEIZE, Level.OK),
    ],
)
def test_a_decision_about_roles_must_fit_the_case(old, keys, weight):
    assert level(facts_of(old, keys, roles_on="dc1"), "fsmo", keys) == {weight}


def test_a_dead_dc_leaves_doubts_that_are_accepted_by_name():
    facts = facts_of("dead")
    judged = judge_preflight(make_plan(), facts)
    assert {finding.id for finding in judged.blocking} == {"drained", "last-dns"}
    taken = judge_preflight(make_plan(), facts, {"drained", "last-dns"})
    assert taken.held is Held.YES
    assert any(line.startswith("accepted ") for line in preflight_lines(taken))


def test_a_dc_that_was_rolled_back_counts_as_cut_off():
    assert find_old(make_plan(), with_target(facts_of(), not_writable=4)) is OldDc.CUT_OFF


def test_an_additional_dc_finds_its_name_free():
    assert level(facts_of("none"), "name", mode="additional") == set()
    assert level(facts_of("dead"), "name", mode="additional") == {Level.HARD}
    assert level(facts_of("none"), "name") == {Level.HARD}


def test_the_first_dc_of_a_release_needs_two_more_masters():
    facts = with_partner(
        facts_of(), roles=Roles(schema="x9", naming="dc2", pdc="dc2", rid="dc2", infrastructure="x")
    )
    assert level(facts, "masters") == set()
    older = replaced(facts, "dc2", system="Windows Server 2016 Standard")
    assert level(older, "masters") == {Level.WARN, Level.STOP}


def test_a_new_forest_asks_no_partner():
    facts = dataclasses.replace(facts_of("none"), partner=None, target=None, vm=None)
    judged = judge_preflight(make_plan("new-forest"), facts)
    assert judged.held is Held.YES
    assert judged.choice.case is Case.NEW


OTHERS = st.lists(
    st.builds(
        OtherDc,
        name=st.sampled_from(["dc1", "DC1.ad.example.com", "dc2", "dc3", "rodc"]),
        writable=st.booleans(),
        ldap=st.sampled_from([True, False, None]),
        rpc=st.sampled_from([True, False, None]),
        sysvol=st.sampled_from([True, False, None]),
    ),
    max_size=4,
)


@given(old=st.sampled_from(list(OldDc)), others=OTHERS)
def test_only_what_was_proven_counts(old, others):
    choice = choose_case(old, others, target="dc1")
    alive = [
        dc
        for dc in others
        if dc.writable
        and (dc.ldap, dc.rpc, dc.sysvol) == (True, True, True)
        and not dc.name.casefold().startswith("dc1")
    ]
    assert choice.reason
    if old is OldDc.ABSENT:
        assert choice.case is Case.NEW
    else:
        assert (choice.case is Case.LAST) is (not alive)


# --- answers that are none -------------------------------------------------------------------


def answers() -> dict[str, dict]:
    world = World()
    payload = {"target": "dc1", "fqdn": f"dc1.{DOMAIN}"}
    return {
        "partner": world.answer("preflight-partner", world.partner, payload),
        "target": world.answer("preflight-target", world.vm, payload),
        "clean": world.answer("verify-clean", world.partner, payload),
    }


LOADERS = {"partner": load_partner, "target": load_target, "clean": load_clean}


@pytest.mark.parametrize("name", LOADERS)
def test_an_answer_that_lacks_something_is_an_error(name):
    whole = answers()[name]
    LOADERS[name](whole)
    for key in whole:
        for wrong in (None, {"x": 1}, [1, None], 1.5):
            broken = {**whole, key: wrong}
            with pytest.raises(GuestError) as raised:
                LOADERS[name](broken)
            assert raised.value.trouble is GuestTrouble.MALFORMED
        rest = {other: value for other, value in whole.items() if other != key}
        with pytest.raises(GuestError):
            LOADERS[name](rest)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(values=st.dictionaries(st.sampled_from(sorted(answers()["partner"])), JSON))
def test_no_answer_breaks_the_reader(values):
    whole = answers()["partner"] | json.loads(json.dumps(values))
    try:
        facts = load_partner(whole)
    except GuestError:
        return
    world = dataclasses.replace(facts_of(), partner=facts)
    judged = judge_preflight(make_plan(), world)
    assert preflight_lines(judged)
