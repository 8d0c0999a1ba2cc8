"""The runbook: every step with its place, its cmdlets, its checks and its way back."""

import json
import re

import pytest

from builder import resources
from builder.domain.cases import Case
from builder.domain.plan import Mode
from builder.domain.results import Remedy, known_results, promotion_result
from builder.domain.runbook import (
    Place,
    Runbook,
    Weight,
    make_runbook,
    runbook_document,
    runbook_lines,
)
from builder.domain.scripts import dc_scripts, render_dc_script
from builder.domain.steps import IRREVERSIBLE, ON_PARTNER, OUTSIDE, Step
from tests.domain.plans import make_plan

TABLE = json.loads((resources.templates() / "tables" / "cmdlets.json").read_text("utf-8"))
RODC = 'site = "Branch"\ndelegated_admin = \'AD\\O\u2019Neil "x"\'\n'.replace('"x"', "")
FOREIGN = "partner = \"dc2.ad.example.com\"\ncredential_user = 'AD\\promoter'\n"


def books() -> dict[str, Runbook]:
    return {
        "replacement": make_runbook(make_plan()),
        "case A": make_runbook(make_plan(), Case.GRACEFUL),
        "case B": make_runbook(make_plan(), Case.DEAD),
        "seize": make_runbook(make_plan("replacement", 'fsmo = "seize"\n'), Case.DEAD),
        "back": make_runbook(make_plan("replacement", 'fsmo = "transfer"\nfsmo_back = true\n')),
        "foreign": make_runbook(make_plan(partner=FOREIGN)),
        "reuse": make_runbook(make_plan("replacement", "reuse_account = true\n")),
        "media": make_runbook(make_plan("replacement", "ifm_path = 'D:\\IFM'\n")),
        "additional": make_runbook(make_plan("additional")),
        "rodc": make_runbook(make_plan("rodc", RODC)),
        "forest": make_runbook(make_plan("new-forest")),
    }


BOOKS = books()


def commands(book: Runbook):
    return [(step.step, command) for step in book.steps for command in step.commands]


@pytest.mark.parametrize("name", BOOKS)
def test_every_step_says_what_it_is(name):
    book = BOOKS[name]
    assert book.steps
    for step in book.steps:
        assert step.title
        assert step.machine
        assert step.checks
        assert step.recovery
        assert step.cases
        assert (step.weight is Weight.IRREVERSIBLE) is (step.step in IRREVERSIBLE)
        assert step.outside is (step.step in OUTSIDE)
        if step.step in ON_PARTNER:
            assert step.place is Place.PARTNER
    text = "\n".join(runbook_lines(book))
    assert "{{" not in text
    assert "None" not in text
    assert "cannot be undone" in text


@pytest.mark.parametrize("name", BOOKS)
def test_every_cmdlet_is_one_that_the_scripts_call(name):
    """With its parameters; a runbook that shows something else than is run would be worthless."""
    scripts = "\n".join(map(render_dc_script, dc_scripts()))
    for _, command in commands(BOOKS[name]):
        found = re.match(r"([A-Z][a-z]+-[A-Za-z]+)\b", command)
        if not found:
            continue
        assert found[1] in scripts, command
        known = {parameter.lower() for parameter in TABLE["cmdlets"][found[1]]["parameters"]}
        for parameter in re.findall(r" -([A-Za-z]+)", re.sub(r"'[^']*'", "", command)):
            assert parameter.lower() in known, f"{command}: -{parameter}"


@pytest.mark.parametrize("name", BOOKS)
def test_a_runbook_holds_no_secret_and_no_place_for_one(name):
    for _, command in commands(BOOKS[name]):
        for parameter in (
            "Credential",
            "SafeModeAdministratorPassword",
            "LocalAdministratorPassword",
        ):
            value = re.search(rf"-{parameter} (\S+)", command)
            assert value is None or value[1].startswith("$"), command


def test_the_document_says_the_same():
    book = BOOKS["replacement"]
    document = json.loads(json.dumps(runbook_document(book)))
    assert [row["step"] for row in document["steps"]] == [s.step.value for s in book.steps]
    assert document["cases"] == ["A", "B"]
    assert document["partner_inside"] is True


def test_a_case_is_only_what_belongs_to_it():
    graceful = {step.step for step in BOOKS["case A"].steps}
    dead = {step.step for step in BOOKS["case B"].steps}
    assert graceful - dead == {Step.DEMOTE}
    assert Step.SEIZE_ROLES in {step.step for step in BOOKS["seize"].steps}
    marked = {step.step for step in BOOKS["replacement"].steps if len(step.cases) == 1}
    assert marked == {Step.DEMOTE}
    text = "\n".join(runbook_lines(BOOKS["replacement"]))
    assert "Demote dc1 in good order [irreversible; only case A]" in text
    assert "case C" in text
    assert "case C" not in "\n".join(runbook_lines(BOOKS["forest"]))


def test_a_foreign_partner_is_worked_on_by_hand():
    by_hand = {step.step for step in BOOKS["foreign"].steps if step.by_hand}
    assert by_hand >= {Step.CLEAN_METADATA, Step.CLEAN_DNS, Step.PROVE_OFF, Step.VERIFY_CLEAN}
    assert not any(step.by_hand for step in BOOKS["replacement"].steps)


@pytest.mark.parametrize(
    ("name", "cmdlet", "there", "absent"),
    [
        (
            "replacement",
            "Install-ADDSDomainController",
            ["-CreateDnsDelegation:$false", "-InstallDns:$true", "-ReplicationSourceDC"],
            ["-SkipPreChecks", "-AllowDomainControllerReinstall", "-UseExistingAccount"],
        ),
        ("reuse", "Install-ADDSDomainController", ["-AllowDomainControllerReinstall"], []),
        ("media", "Install-ADDSDomainController", ["-InstallationMediaPath 'D:\\IFM'"], []),
        (
            "rodc",
            "Install-ADDSDomainController",
            ["-UseExistingAccount"],
            ["-SiteName", "-InstallDns", "-CreateDnsDelegation", "-ReadOnlyReplica"],
        ),
        (
            "forest",
            "Install-ADDSForest",
            ["-ForestMode WinThreshold", "-DomainMode WinThreshold", "-DomainNetbiosName AD"],
            ["-Credential", "-ReplicationSourceDC"],
        ),
    ],
)
def test_the_promotion_has_what_its_kind_takes(name, cmdlet, there, absent):
    calls = [command for _, command in commands(BOOKS[name]) if command.startswith(cmdlet)]
    assert len(calls) == 1
    for part in there:
        assert part in calls[0]
    for part in absent:
        assert part not in calls[0]
    tests = [c for _, c in commands(BOOKS[name]) if c.startswith("Test-ADDS") and "Uninst" not in c]
    assert calls[0].partition(" ")[2].removesuffix(" -Confirm:$false") == tests[0].partition(" ")[2]


def test_odd_names_are_quoted():
    (stage,) = [c for step, c in commands(BOOKS["rodc"]) if step is Step.STAGE]
    assert "'AD\\O\u2019\u2019Neil" in stage


def test_results_are_complete():
    results = known_results()
    assert {result.code for result in results if result.success} == {1, 2, 3, 4}
    for result in results:
        assert result.meaning
        assert result.success or result.next
    assert {11, 13, 15, 19, 20, 24, 25, 38, 40, 53, 54, 56, 64, 65, 68, 72, 77, 86, 87} <= {
        result.code for result in results
    }


@pytest.mark.parametrize("code", [0, -1, 5, 101, 255])
def test_what_is_not_documented_is_no_success(code):
    result = promotion_result(code)
    assert not result.success
    assert result.remedy is Remedy.REBUILD
    assert result.next


def test_modes_and_cases():
    assert BOOKS["rodc"].cases == (Case.NEW, Case.GRACEFUL, Case.DEAD)
    assert BOOKS["forest"].plan.mode is Mode.NEW_FOREST
    assert BOOKS["forest"].cases == (Case.NEW,)
