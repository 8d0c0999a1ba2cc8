"""The scripts that run through the guest agent: their texts, their command line, their envelope."""

import base64
import json
import re
import time

import pytest

from builder.answer.render import render_guest_script
from builder.errors import ExitCode, WinseedError
from builder.guest.envelope import (
    QUESTIONS,
    Standing,
    load_answer,
    load_script,
    make_command,
    make_envelope,
)
from builder.values import Secret
from tests.command import ROOT
from tests.pve.powershell import DATA, PAYLOADS, open_envelope
from tests.unit.test_scripts import FORBIDDEN, broken

PROTOCOL = ("bootstrap", "call")
NAMES = (*PROTOCOL, *PAYLOADS)
# learn.microsoft.com, CreateProcessW: lpCommandLine
COMMAND_LINE = 32767
ALIASES = r"(?<![-\w$.'])(gwmi|gci|gi|gp|sp|ri|rm|del|dir|ls|cat|type|cd|echo|select|where|foreach"
ALIASES += r"|sort|sleep|kill|ps|cls|iex|icm|sc|gc|%|\?)\s+[-$\w'\"{]"


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_the_ones_that_were_looked_at(name, request):
    """What runs in Windows changes only together with what the fake guest knows."""
    path = DATA / f"{name}.ps1"
    text = render_guest_script(name)
    if request.config.getoption("regenerate"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="ascii")
    assert text == path.read_text(encoding="ascii"), "--regenerate rewrites it: look at it"


def test_every_template_is_known():
    folder = ROOT / "answer_templates" / "scripts" / "guest"
    parts = {
        part
        for path in folder.iterdir()
        for part in re.findall(r'include "scripts/guest/([a-z_]+)', path.read_text("ascii"))
    }
    found = {path.name.removesuffix(".ps1.j2") for path in folder.iterdir()}
    assert found == set(NAMES) | parts
    assert {path.stem for path in DATA.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_powershell_parses(name):
    reason = "needs the Python packages tree-sitter and tree-sitter-powershell"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip("tree_sitter_powershell", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    root = parser.parse(render_guest_script(name).encode()).root_node
    assert not root.has_error, broken(root)


@pytest.mark.parametrize("name", NAMES)
def test_powershell_keeps_to_version_4(name):
    text = render_guest_script(name)
    assert text.isascii()
    for line in text.splitlines():
        bare = re.sub(r"'[^']*'", "''", line.split("# ")[0])
        for why, pattern in FORBIDDEN.items():
            assert not re.search(pattern, bare), f"{why}: {line}"
        assert not re.search(ALIASES, re.sub(r'"[^"]*"', '""', bare)), line


@pytest.mark.parametrize("name", NAMES)
def test_every_try_ends(name):
    """The grammar takes a misspelt `catch` for a command."""
    text = render_guest_script(name)
    ends = re.findall(r"\} (catch|finally) \{", text)
    assert len(re.findall(r"\btry \{", text)) <= len(ends)
    assert not re.findall(r"\} (?!catch|finally|else)[a-z]+ \{", text)


@pytest.mark.parametrize("name", PAYLOADS)
def test_scripts_take_what_they_are_given(name):
    text = load_script(name).text
    assert text.startswith(f"# winseed guest script: {name}\n")
    assert "\nparam($payload, $values)\n" in text
    assert set(re.findall(r"\$payload\['(\w+)'\]", text)) == PAYLOADS[name]
    assert "{{" not in text
    assert "Write-Output" not in text, "only $values leaves a script"


@pytest.mark.parametrize("name", ["rotate", "accounts", "join"])
def test_no_cmdlet_gets_a_secret(name):
    """Module logging (event 4103) writes down the parameters of cmdlets."""
    text = load_script(name).text
    own = set(re.findall(r"^function ([\w-]+)", text, re.MULTILINE))
    lines = [line for line in text.splitlines() if re.search(r"\['(password|blob)'\]", line)]
    assert lines
    for line in lines:
        assert set(re.findall(r"\b[A-Z]\w+-[A-Z]\w+", line)) <= own, line


def test_ids_are_names_of_files():
    for call in ("", "-a", "a b", "a/b", "..", "A", "a" * 65, "a\u00e4"):
        with pytest.raises(WinseedError) as caught:
            make_envelope(load_script("role"), call, {}, record=False)
        assert caught.value.code is ExitCode.BUG


@pytest.mark.parametrize("name", PROTOCOL)
def test_the_protocol_is_strict(name):
    text = render_guest_script(name)
    assert "Set-StrictMode -Version 2\n" in text
    assert "$ErrorActionPreference = 'Stop'\n" in text
    assert "$ProgressPreference = 'SilentlyContinue'\n" in text
    assert "$input" not in text.casefold(), "PowerShell would read standard input itself"


def test_the_command_line():
    command = make_command()
    assert command[:4] == ("powershell.exe", "-NoLogo", "-NoProfile", "-NonInteractive")
    assert command[-2] == "-EncodedCommand"
    assert sum(len(part) + 3 for part in command) < COMMAND_LINE / 8
    assert all(part.isascii() and " " not in part for part in command)


def test_an_envelope_holds_its_call_and_shows_nothing():
    secret = Secret('p"\u00e4\u20ac')
    envelope = make_envelope(load_script("rotate"), "a-0", {"password": secret}, record=True)
    assert repr(envelope) == "***"
    opened = open_envelope(list(make_command()), envelope.reveal().encode("ascii"))
    assert (opened.id, opened.record, opened.script) == ("a-0", True, "rotate")
    assert opened.values == {"password": 'p"\u00e4\u20ac'}
    assert opened.secrets == ['p"\u00e4\u20ac']
    assert secret.reveal() not in envelope.reveal()


def test_an_envelope_that_the_agent_would_not_take():
    blob = Secret("A" * 60_000)
    with pytest.raises(WinseedError, match="65536 characters") as caught:
        make_envelope(load_script("join"), "a-0", {"blob": blob}, record=True)
    assert caught.value.code is ExitCode.SPEC
    assert "AAAA" not in str(caught.value)


def test_room_for_accounts_and_blobs():
    """A site with forty local accounts, and a blob of 16 KiB, still fit."""
    account = {
        "name": "n" * 20,
        "FullName": "Full name of somebody",
        "Description": "what it is for",
        "groups": ("S-1-5-32-544", "S-1-5-32-545"),
        "password": Secret("p" * 60),
    }
    make_envelope(load_script("accounts"), "a-0", {"accounts": (account,) * 40}, record=True)
    make_envelope(load_script("join"), "a-0", {"blob": Secret("A" * 16384)}, record=True)


def told(text: str) -> str:
    return "winseed-result: " + base64.b64encode(text.encode()).decode()


def test_an_answer_among_other_output():
    told_text = json.dumps({"state": "done", "code": 0, "message": "", "values": {"a": "\u00fc"}})
    answer = load_answer(f"noise\xe4\r\n{told(told_text)}\r\nmore")
    assert (answer.standing, answer.code, answer.values) == (Standing.DONE, 0, {"a": "\u00fc"})
    assert load_answer(told('{"state":"running"}')).standing is Standing.RUNNING
    assert load_answer(told('{"state":"interrupted"}')).standing is Standing.INTERRUPTED


@pytest.mark.parametrize(
    "out",
    [
        "",
        "winseed-result: ",
        "winseed-result: !!!!",
        "winseed-result: YWJj",
        told("[]"),
        told('{"state":"other"}'),
        told('{"state":"done"}'),
        told('{"state":"done","code":"x","message":"","values":{}}'),
        told('{"state":"done","code":0,"message":"","values":{}}')[:-9],
        "winseed-result: " + base64.b64encode(b"\xff\xfe").decode(),
    ],
)
def test_no_answer(out):
    assert load_answer(out) is None


def test_a_long_output_without_an_answer_takes_no_time():
    began = time.perf_counter()
    assert load_answer("winseed-result: " + "A" * 1_000_000 + "!") is None
    assert time.perf_counter() - began < 2


def test_questions_change_nothing():
    """What is not kept may run twice, so it must only look; `remove` may be repeated."""
    verbs = re.compile(
        r"\b(Set|New(?!-Object)|Remove|Add|Start|Stop|Put|Invoke|Restart)-[A-Z]|\.Set|schtasks"
    )
    for name in QUESTIONS - {"remove"}:
        assert not verbs.search(load_script(name).text), name
