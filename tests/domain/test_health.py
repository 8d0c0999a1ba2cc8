"""What the new server tells before its promotion and after, and what it means."""

import dataclasses

import pytest

from builder.domain.facts import CleanFacts, Link, OffFacts, load_off
from builder.domain.findings import Level
from builder.domain.health import (
    HealthFacts,
    HostFacts,
    SeenFacts,
    judge_clean,
    judge_health,
    judge_host,
    judge_off,
    load_health,
    load_host,
    load_result,
    load_seen,
)
from builder.guest.call import GuestError
from tests.domain.plans import make_plan
from tests.domain.world import DOMAIN, World

PLAN = make_plan()
FQDN = f"dc1.{DOMAIN}"


def world_after() -> World:
    world = World(old="none")
    world.seen_alive = True
    world.install()
    world.rotate()
    machine = world.vm
    assert machine is not None
    world._become(machine)
    world.restart()
    return world


def host_facts() -> HostFacts:
    world = World(old="none")
    world.seen_alive = True
    world.install()
    return load_host(world.answer("check-host", world.vm, {"paths": ["D:\\NTDS", "D:\\SYSVOL"]}))


def health_facts() -> HealthFacts:
    world = world_after()
    return load_health(world.answer("verify", world.vm, {}))


def seen_facts() -> SeenFacts:
    world = world_after()
    return load_seen(world.answer("verify-partner", world.partner, {"fqdn": FQDN}))


def hard(findings) -> set[str]:
    return {finding.id for finding in findings if finding.level is Level.HARD}


HOSTS = {
    "wrong name": ({"name": "WIN-X"}, "identity"),
    "a DC already": ({"role": 5}, "identity"),
    "evaluation": ({"edition": "ServerStandardEval"}, "media"),
    "pending": ({"pending": ("RebootPending",)}, "pending"),
    "disabled service": ({"role_service": "Disabled"}, "role-service"),
    "no media": ({"media": False}, "ifm"),
    "no clock": ({"offsets": ()}, "time"),
    "behind": ({"offsets": (0.1, -61.0, 0.2)}, "time"),
    "no domain": ({"locators": ()}, "dns"),
    "asks itself": ({"dns_servers": ("192.0.2.11", "192.0.2.12")}, "dns"),
    "loopback": ({"dns_servers": ("127.0.0.1",)}, "dns"),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_server_that_cannot_be_promoted(name):
    facts = host_facts()
    assert hard(judge_host(PLAN, facts)) == set()
    changes, row = HOSTS[name]
    found = judge_host(PLAN, dataclasses.replace(facts, **changes))
    assert hard(found) == {row}
    assert all(finding.hint for finding in found)


@pytest.mark.parametrize(
    "changes", [{"filesystem": ""}, {"filesystem": "ReFS"}, {"entries": 3}], ids=str
)
def test_a_place_that_will_not_do(changes):
    facts = host_facts()
    places = (dataclasses.replace(facts.places[0], **changes), *facts.places[1:])
    assert hard(judge_host(PLAN, dataclasses.replace(facts, places=places))) == {"paths"}


def test_a_new_forest_must_not_find_its_domain():
    forest = make_plan("new-forest")
    facts = dataclasses.replace(host_facts(), offsets=(), locators=())
    assert hard(judge_host(forest, facts)) == set()
    taken = dataclasses.replace(facts, locators=(f"dc9.{DOMAIN}",))
    assert hard(judge_host(forest, taken)) == {"dns"}


def test_offsets_are_numbers_or_nothing():
    world = World(old="none")
    world.seen_alive = True
    world.install()
    values = world.answer("check-host", world.vm, {"paths": []})
    with pytest.raises(GuestError):
        load_host({**values, "offsets": ["error: 0x800705B4"]})


SICK = Link(server="dc1", partner="x", partition="p", result=8524, failures=2, success="")
HEALTH = {
    "no DC": ({"role": 2}, "role"),
    "another domain": ({"domain": "WORKGROUP"}, "role"),
    "stopped": ({"services": (("NTDS", "Running"),)}, "services"),
    "no shares": ({"shares": ("C$",)}, "shares"),
    "no NETLOGON": ({"shares": ("SYSVOL",)}, "shares"),
    "first sync": ({"sysvol_state": 2}, "sysvol"),
    "Public": ({"profiles": ("Public",)}, "firewall"),
    "no catalog": ({"global_catalog": False}, "catalog"),
    "sick link": ({"links": (SICK,)}, "inbound"),
    "no link": ({"links": ()}, "inbound"),
}


@pytest.mark.parametrize("name", HEALTH)
def test_a_dc_that_is_not_well(name):
    facts = health_facts()
    assert hard(judge_health(PLAN, facts, seen_facts(), partners=1)) == set()
    changes, row = HEALTH[name]
    found = judge_health(PLAN, dataclasses.replace(facts, **changes), None, partners=1)
    assert row in hard(found)


def test_the_first_dc_replicates_with_nobody():
    facts = dataclasses.replace(health_facts(), links=(), sysvol_state=0)
    assert hard(judge_health(make_plan("new-forest"), facts, None, partners=0)) == set()


def test_a_broken_upstream_is_not_mended_here():
    facts = dataclasses.replace(health_facts(), shares=(), sysvol_events=(4614, 2213))
    hints = [f.hint for f in judge_health(PLAN, facts, None, partners=1) if f.id == "shares"]
    assert hints == [
        "its replication partner is broken (events 2213, 4012): mend that one, not this"
    ]


def without(facts: SeenFacts, start: str) -> SeenFacts:
    kept = tuple(record for record in facts.records if not record.startswith(start))
    return dataclasses.replace(facts, records=kept)


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (lambda f: dataclasses.replace(f, settings=()), "one"),
        (lambda f: dataclasses.replace(f, settings=("a", "b"), controllers=("a", "b")), "one"),
        (lambda f: dataclasses.replace(f, links=()), "outbound"),
        (lambda f: dataclasses.replace(f, links=(SICK,)), "outbound"),
        (lambda f: without(f, "CNAME"), "records"),
        (lambda f: without(f, f"A {FQDN}"), "records"),
        (lambda f: without(f, "SRV"), "records"),
        (lambda f: dataclasses.replace(f, settings=("another-guid",)), "records"),
    ],
)
def test_what_the_partner_does_not_see(change, row):
    found = judge_health(PLAN, health_facts(), change(seen_facts()), partners=1)
    assert hard(found) == {row}


def test_an_rodc_is_not_replicated_from():
    rodc = make_plan("rodc", 'site = "HQ"\n')
    seen = without(dataclasses.replace(seen_facts(), links=()), "SRV")
    assert hard(judge_health(rodc, health_facts(), seen, partners=1)) == set()


def test_off_means_that_every_place_was_asked():
    places = (FQDN, "192.0.2.11")
    assert hard(judge_off(PLAN, OffFacts(asked=places, answers=()))) == set()
    assert hard(judge_off(PLAN, OffFacts(asked=places[:1], answers=()))) == {"target-off"}
    assert hard(judge_off(PLAN, OffFacts(asked=places, answers=(f"{FQDN}:389",)))) == {"target-off"}
    with pytest.raises(GuestError):
        load_off({"asked": places, "answers": None})


CLEAN = CleanFacts(
    accounts=(),
    servers=(),
    settings=(),
    members=(),
    records=(),
    roles=(),
    dns_told=True,
    partner=f"DC2.{DOMAIN}",
    writable=True,
    sysvol=True,
)


@pytest.mark.parametrize("kind", ["accounts", "servers", "settings", "members", "records", "roles"])
def test_anything_left_is_not_clean(kind):
    assert hard(judge_clean(PLAN, CLEAN)) == set()
    assert hard(judge_clean(PLAN, dataclasses.replace(CLEAN, **{kind: ("x",)}))) == {"clean"}


def test_a_partner_that_is_none_proves_nothing():
    assert hard(judge_clean(PLAN, dataclasses.replace(CLEAN, writable=False))) == {"other-dc"}
    assert hard(judge_clean(PLAN, dataclasses.replace(CLEAN, sysvol=False))) == {"other-dc"}
    assert hard(judge_clean(PLAN, dataclasses.replace(CLEAN, partner="dc9"))) == {"identity"}
    unread = judge_clean(PLAN, dataclasses.replace(CLEAN, dns_told=False))
    assert hard(unread) == set()
    assert any(finding.level is Level.WARN for finding in unread)


def test_a_result_has_its_four_parts():
    values = {"result": 3, "status": "Success", "message": "", "reboot": True}
    assert load_result("dc/promote-additional", values).result == 3
    for key in values:
        with pytest.raises(GuestError):
            load_result("dc/demote", {k: v for k, v in values.items() if k != key})
