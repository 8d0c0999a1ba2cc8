"""The scripts that a person runs on a partner outside: readable, listed, without a secret."""

import json
import re

import pytest

from builder import resources
from builder.domain.change.by_hand import AwaitedError, take_answer, write_question
from builder.guest.call import GuestError
from tests.domain.plans import make_plan
from tests.domain.stage import literal
from tests.powershell import called, parse

TABLE = json.loads((resources.templates() / "tables" / "cmdlets.json").read_text("utf-8"))
QUESTIONS = ["preflight-partner", "prove-off", "verify-clean", "verify-partner"]
CHANGES = ["transfer-roles", "seize-roles", "cleanup-metadata", "cleanup-dns", "stage-rodc"]
NOW = 1_700_000_000


@pytest.mark.parametrize("script", QUESTIONS + CHANGES)
def test_a_question_is_powershell_of_listed_cmdlets(tmp_path, script):
    plan = make_plan("rodc", 'site = "HQ"\n') if script == "stage-rodc" else make_plan()
    path = write_question(tmp_path, plan, script, "run-step-0.0")
    text = path.read_text(encoding="utf-8-sig")
    root = parse(text)
    assert not root.has_error
    cmdlets = {one.name for one in called(root) if re.fullmatch(r"[A-Z]\w+-[A-Z]\w+", one.name)}
    own = set(re.findall(r"^\s*function (\S+?)[ (]", text, re.MULTILINE))
    assert cmdlets - own <= set(TABLE["cmdlets"])
    payload = json.loads(literal(text, "DeserializeObject("))
    assert payload.get("site", "HQ") == "HQ"
    assert not {"password", "dsrm_password", "local_password"} & set(payload)
    assert ("only reads" in text) is (script in QUESTIONS)
    assert literal(text, "nonce = ") == "run-step-0.0"


def answer(folder, **told):
    path = folder / "partner" / "prove-off.json"
    path.parent.mkdir(exist_ok=True)
    full = {"version": 1, "nonce": "n", "code": 0, "message": "", "values": {"a": 1}, "time": NOW}
    path.write_text(json.dumps(full | told))


def take(folder):
    return take_answer(folder, make_plan(), "prove-off", "n", now=NOW)


def test_an_answer_is_taken(tmp_path):
    answer(tmp_path, time=NOW - 800)
    assert take(tmp_path) == {"a": 1}


@pytest.mark.parametrize(
    "told",
    [{"nonce": "m"}, {"time": NOW - 901}, {"time": NOW + 901}, {"time": "now"}, {"values": 7}],
)
def test_another_one_is_not(tmp_path, told):
    answer(tmp_path, **told)
    with pytest.raises(AwaitedError) as caught:
        take(tmp_path)
    assert (tmp_path / "partner" / "prove-off.ps1").is_file()
    assert "prove-off.ps1" in caught.value.lines[0]


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\x00"])
def test_what_is_no_json_is_no_answer(tmp_path, text):
    answer(tmp_path)
    (tmp_path / "partner" / "prove-off.json").write_text(text)
    with pytest.raises(AwaitedError, match="is none"):
        take(tmp_path)


def test_a_script_that_failed_there_is_a_failure_here(tmp_path):
    answer(tmp_path, code=1, message="access is denied")
    with pytest.raises(GuestError, match="access is denied"):
        take(tmp_path)
