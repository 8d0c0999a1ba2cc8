"""The scripts of `winseed dc`: they parse, call what is documented, and hold no secret."""

import json
import re
from functools import cache

import pytest

from builder import resources
from builder.answer.render import render_guest_script
from builder.domain.scripts import (
    dc_scripts,
    load_dc_script,
    refuse_secret_text,
    refuse_unsafe_template,
    render_dc_script,
)
from builder.errors import ExitCode, WinseedError
from builder.guest.envelope import STDIN_LIMIT, make_envelope
from builder.values import Secret
from tests.command import ROOT
from tests.powershell import called, functions, nodes, option_keys, parse

TABLE = json.loads((resources.templates() / "tables" / "cmdlets.json").read_text("utf-8"))
COMMON = {"erroraction", "errorvariable", "warningaction", "verbose"}  # about_CommonParameters
FOLDER = resources.templates() / "scripts"


@cache
def texts() -> dict[str, str]:
    """Every PowerShell script of ours: of DCs, of the guest, and as rendered for expected discs."""
    found = {f"dc/{name}": render_dc_script(name) for name in dc_scripts()}
    for path in sorted((FOLDER / "guest").glob("*.ps1.j2")):
        name = path.name.removesuffix(".ps1.j2")
        found[f"guest/{name}"] = render_guest_script(name).replace("\r\n", "\n")
    for path in sorted((ROOT / "tests/golden/expected").glob("*/winseed/guest/*.ps1")):
        found["/".join(path.parts[-4:])] = path.read_text(encoding="utf-8-sig")
    return found


def used_parameters(text: str):
    """Cmdlet, parameter and line for everything a script calls, splatted tables looked into."""
    root = parse(text)
    for command in called(root):
        if not re.fullmatch(r"[A-Z][A-Za-z]+-[A-Za-z]+", command.name):
            continue
        yield command.name, None, command.line
        for parameter in command.parameters:
            yield command.name, parameter, command.line
        for variable in command.splats:
            made = re.findall(rf"^\${variable} = (Get-\w+) \$payload", text, re.MULTILINE)
            keys = {key for function in made for key in option_keys(root, function)}
            for body in re.findall(rf"\${variable} = @\{{(.*?)\}}", text, re.DOTALL):
                keys |= set(re.findall(r"(?:^|[;\n{])\s*(\w+) = ", body))
            if not made:
                keys |= set(re.findall(rf"\${variable}\.(\w+) = ", text))
            for key in keys:
                yield command.name, key, command.line


def unlisted(text: str) -> list[str]:
    found = []
    for name, parameter, line in used_parameters(text):
        row = TABLE["cmdlets"].get(name)
        if row is None:
            found.append(f"{line}: {name}")
        elif parameter is not None:
            known = {word.lower() for word in row["parameters"]} | COMMON
            if parameter.lower() not in known:
                found.append(f"{line}: {name} -{parameter}")
    return found


@pytest.mark.parametrize("name", sorted(texts()))
def test_every_cmdlet_and_parameter_is_listed_with_its_page(name):
    assert unlisted(texts()[name]) == []


def test_the_walk_sees_what_is_not_listed():
    assert unlisted("Get-ADDomain -Identity x -Server localhost") == []
    assert unlisted("Get-ADDomain -Credental $c | Frob-Nicate") == [
        "1: Get-ADDomain -Credental",
        "1: Frob-Nicate",
    ]
    assert unlisted("$o = @{ Server = 'x'; Sever = 1 }\nGet-ADDomain @o") == [
        "2: Get-ADDomain -Sever"
    ]
    assert unlisted("$r = @(foreach ($x in 1) { if ($x) { & { Nope-Nope } } })") == ["1: Nope-Nope"]


def test_every_row_of_the_table_is_used_and_has_a_source():
    used: dict[str, set[str]] = {}
    for text in texts().values():
        for name, parameter, _ in used_parameters(text):
            used.setdefault(name, set()).add((parameter or "").lower())
    for name, row in TABLE["cmdlets"].items():
        short, _, page = row["source"].partition(":")
        assert short in TABLE["sources"], name
        assert page.endswith(f"/{name}.md"), name
        listed = {word.lower() for word in row["parameters"]} - {"confirm", "whatif"}
        assert listed <= used.get(name, set()), name


def test_programs_of_a_domain_controller_are_listed():
    for name in dc_scripts():
        text = re.sub(r"#.*", "", render_dc_script(name))
        for program in re.findall(r"\b[\w-]+\.exe\b", text):
            assert program in TABLE["programs"], f"{name}: {program}"
    for program, source in TABLE["programs"].items():
        assert source.partition(":")[0] in TABLE["sources"], program


@pytest.mark.parametrize("name", dc_scripts())
def test_scripts_have_their_form(name):
    text = render_dc_script(name)
    root = parse(text)
    assert not root.has_error, name
    assert text.isascii()
    assert text.startswith(f"# winseed guest script: dc/{name}\n")
    assert "\nparam($payload, $values)\n" in text
    assert "Set-StrictMode -Version 2" in text
    assert len(re.findall(r"^\s*try \{", text, re.MULTILINE)) == len(
        re.findall(r"\} catch \{", text)
    )
    for forbidden in ("Invoke-Expression", "Restart-Computer", "Read-Host", "Write-Host", "$input"):
        assert forbidden not in text, name
    assert not re.search(r"\bSkipPreChecks\b|\bForceRemoval\b", text), name


def test_nothing_that_changes_a_domain_asks_back_or_restarts():
    for name in dc_scripts():
        for node in nodes(parse(render_dc_script(name)), "command"):
            text = node.text.decode()
            verb = re.match(r"(Move|Remove|Uninstall|Install|Add)-(AD\w+)", text)
            if verb:
                assert "-Confirm:$false" in text, f"{name}: {text}"
            if re.match(r"(Install|Uninstall)-ADDS", text):
                assert "NoRebootOnCompletion = $true" in render_dc_script(name), name


def test_what_removes_looks_once_more_whether_the_old_one_is_off():
    for name in ("cleanup-metadata", "cleanup-dns", "seize-roles"):
        text = render_dc_script(name)
        first = min(
            text.index(word)
            for word in (
                "Remove-ADObject",
                "Remove-DnsServerResourceRecord",
                "-OperationMasterRole",
            )
            if word in text
        )
        body = text.rindex("\nAssert-Dead $payload\n")
        assert body < text.rindex("Remove-Tree $") if "Remove-Tree $" in text else body < first


def test_a_forced_seizure_is_in_its_own_script_alone():
    for name in dc_scripts():
        forced = re.search(
            r"Move-ADDirectoryServerOperationMasterRole [^\n]*-Force", render_dc_script(name)
        )
        assert bool(forced) is (name == "seize-roles")


def test_the_staged_promotion_gives_nothing_that_the_account_has():
    """A parameter that stands on the staged account makes the call ambiguous."""
    root = parse(render_dc_script("promote-rodc"))
    assert "Get-StagedPromotion" in functions(root)
    keys = option_keys(root, "Get-StagedPromotion")
    assert keys.isdisjoint(
        {"SiteName", "InstallDns", "NoGlobalCatalog", "ReadOnlyReplica", "CreateDnsDelegation"}
    )
    assert "UseExistingAccount" in keys


def test_questions_change_nothing():
    for name in dc_scripts():
        text = render_dc_script(name)
        writes = re.search(
            r"^\s*[^#\n]*\b(Move-AD|Remove-|Set-AD|Set-Dns|Install-ADDS|Uninstall-|Install-Windows"
            r"|Add-ADDS)|::Delete\(",
            text,
            re.MULTILINE,
        )
        assert bool(writes) is not load_dc_script(name).question, name


def test_calls_fit_into_standard_input():
    payload = {"domain": "d" * 200, "password": Secret("p" * 127), "paths": ("x" * 200,) * 4}
    for name in dc_scripts():
        envelope = make_envelope(load_dc_script(name), "a1b2c3d4-promote", payload, record=True)
        assert len(envelope.reveal()) < STDIN_LIMIT * 3 // 4, name


@pytest.mark.parametrize(
    "source",
    [
        "$p = {{ plan.password | ps }}",
        "ConvertTo-SecureString -String 'Passw0rd!' -AsPlainText -Force",
        'ConvertTo-SecureString "Passw0rd!" -AsPlainText -Force',
        "$options = @{ SafeModeAdministratorPassword = 'x' }",
        "$Credential = 'CORP\\admin'",
    ],
)
def test_a_template_with_a_secret_is_refused(source):
    with pytest.raises(WinseedError) as raised:
        refuse_unsafe_template("x", source)
    assert raised.value.code is ExitCode.UNSAFE
    assert "Passw0rd" not in str(raised.value)


def test_a_secret_in_a_text_is_refused_without_being_told():
    with pytest.raises(WinseedError) as raised:
        refuse_secret_text("reg add /d Hunter-22 /f", [Secret("Hunter-22")])
    assert raised.value.code is ExitCode.UNSAFE
    assert "Hunter" not in str(raised.value)
    refuse_secret_text("Hunter-2", [Secret("Hunter-22"), Secret("")])


def test_an_unknown_script_is_our_bug():
    with pytest.raises(WinseedError) as raised:
        render_dc_script("directory")
    assert raised.value.code is ExitCode.BUG
