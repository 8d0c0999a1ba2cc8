"""Every rule of `winseed lint`: a file that breaks it, the place it names, a file that is mended.

The table is `tests/lint/rules.toml`; positions are looked up in the text, not by the code.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from builder.answer.lint import AnswerKind, Finding, Level, Rule, lint_answer, load_rules

LINT = Path(__file__).parent.parent / "lint"
GOOD = (LINT / "cases" / "server-2022.xml").read_text(encoding="utf-8")
CASES: dict[str, Any] = tomllib.loads((LINT / "rules.toml").read_text(encoding="utf-8"))


def edited(edits: list[list[str]]) -> str:
    text = GOOD
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def padded(command: str, length: int) -> str:
    start = GOOD.index(command)
    begin = GOOD.rindex("<Path>", 0, start) + len("<Path>")
    end = GOOD.index("</Path>", start)
    return GOOD[:end] + " " + "x" * (length - (end - begin) - 1) + GOOD[end:]


def broken_text(case: dict[str, Any]) -> str:
    if "text" in case:
        return str(case["text"])
    if "pad" in case:
        return padded(*case["pad"])
    text = edited(case.get("edits", []))
    if "everywhere" in case:
        text = text.replace(*case["everywhere"])
    if "cut" in case:
        start, end = case["cut"]
        text = text[: text.index(start)] + text[text.index(end) + len(end) :]
    return text


def near_text(case: dict[str, Any]) -> str:
    if "near_pad" in case:
        return padded(*case["near_pad"])
    if "near_release" in case:
        return edited(case.get("edits", []))
    return edited(case.get("near", []))


def found(text: str, *, name: str, release: str | None, kind: str | None = None) -> list[Finding]:
    told = AnswerKind(kind) if kind else None
    return list(lint_answer(text.encode(), name=name, release=release, kind=told))


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(load_rules())


@pytest.mark.parametrize("rule", CASES)
def test_it_fires_and_points_at_the_place(rule: str) -> None:
    case = CASES[rule]
    text = broken_text(case)
    at = text.index(case["at"])
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    name = case.get("name", "Autounattend.xml")
    findings = found(text, name=name, release=case.get("release"), kind=case.get("kind"))
    findings = [finding for finding in findings if finding.id == rule]
    assert findings, "the rule does not fire"
    assert (findings[0].line, findings[0].column) == (line, column)
    assert findings[0].level is load_rules()[rule].level


@pytest.mark.parametrize("rule", CASES)
def test_it_is_quiet_on_the_mended_file(rule: str) -> None:
    case = CASES[rule]
    text = near_text(case)
    name = case.get("near_name", "Autounattend.xml")
    findings = found(
        text,
        name=name,
        release=case.get("near_release", case.get("release")),
        kind=case.get("near_kind"),
    )
    assert rule not in {finding.id for finding in findings}


def test_the_good_file_has_neither_errors_nor_warnings() -> None:
    findings = lint_answer(GOOD.encode(), name="Autounattend.xml", release="2022")
    assert {finding.level for finding in findings} == {Level.ADVICE}


@pytest.mark.parametrize("rule", load_rules().values(), ids=lambda rule: rule.id)
def test_every_rule_tells_effect_fix_and_source(rule: Rule) -> None:
    assert rule.title
    assert rule.source
    assert rule.effect.endswith((".", '".'))
    assert rule.fix.endswith(".")
    assert rule.mark in "FVRIB"
    if rule.mark == "R":
        assert "report" in rule.effect
    if rule.mark == "B":
        assert rule.level is not Level.ERROR
