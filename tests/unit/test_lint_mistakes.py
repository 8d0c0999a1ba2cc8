"""Real mistakes, each made in a finished answer file of ours: the rule that is meant for it fires.

The table is `tests/lint/mistakes.toml`; the files are those that `tests/golden` expects.
"""

import base64
import tomllib
from pathlib import Path
from typing import Any

import pytest

from builder.answer.lint import Finding, Level, lint_answer

TESTS = Path(__file__).parent.parent
TABLE = tomllib.loads((TESTS / "lint" / "mistakes.toml").read_text(encoding="utf-8"))
MISTAKES: list[dict[str, Any]] = TABLE["mistake"]
SECRET = base64.b64encode("Given-Pass 1AdministratorPassword".encode("utf-16-le")).decode()
BASE, NAME, RELEASE = "network-static", "Autounattend.xml", "2022"
OTHER_RELEASE = "WS226"  # nothing is changed: the file is sound, for the release it was made for


def sound(mistake: dict[str, Any]) -> str:
    path = TESTS / "golden" / "expected" / mistake.get("base", BASE) / "autounattend.xml"
    text = path.read_text(encoding="utf-8")
    return text.replace("<Value>PASSWORD</Value>", f"<Value>{SECRET}</Value>")


def spoilt(mistake: dict[str, Any]) -> str:
    text = sound(mistake)
    if "old" in mistake:
        old, new = (mistake[key].replace("SECRET", SECRET) for key in ("old", "new"))
        assert old in text
        text = text.replace(old, new, -1 if mistake.get("all") else 1)
    for start, end in mistake.get("cuts", ()):
        at = text.index(start)
        text = text[:at] + text[text.index(end, at) :]
    return text


def judged(text: str, mistake: dict[str, Any], name: str) -> tuple[Finding, ...]:
    return lint_answer(text.encode(), name=name, release=mistake.get("release", RELEASE))


def test_there_are_sixty_and_more() -> None:
    assert len({mistake["what"] for mistake in MISTAKES}) == len(MISTAKES) >= 60
    keys = {"what", "source", "rule", "base", "release", "name", "old", "new", "all", "cuts"}
    assert all(mistake["source"] and set(mistake) <= keys for mistake in MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake["what"])
def test_the_mistake_is_seen(mistake: dict[str, Any]) -> None:
    if mistake["rule"] != OTHER_RELEASE:
        before = judged(sound(mistake), mistake, NAME)
        assert {finding.level for finding in before} <= {Level.ADVICE}
        assert mistake["rule"] not in {finding.id for finding in before}
    found = judged(spoilt(mistake), mistake, mistake.get("name", NAME))
    assert mistake["rule"] in {finding.id for finding in found}, [f"{f.id} {f.what}" for f in found]
