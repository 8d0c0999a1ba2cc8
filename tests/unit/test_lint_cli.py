"""`winseed lint` as it is called: inputs, output forms, exit codes."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from builder.answer.lint import load_rules
from builder.cli.lint import command
from builder.errors import ExitCode, WinseedError

ROOT = Path(__file__).parent.parent.parent
GOOD = ROOT / "tests" / "lint" / "cases" / "server-2022.xml"
BAD_TEXT = GOOD.read_text(encoding="utf-8").replace("<AcceptEula>true", "<AcceptEula>no")


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "Autounattend.xml"
    path.write_text(BAD_TEXT, encoding="utf-8")
    return path


def test_a_good_file_ends_with_zero() -> None:
    result = run(GOOD, "--release", "2022")
    assert result.exit_code == 0
    assert result.output.endswith("1 file: 0 errors, 0 warnings, 4 advice\n")


def test_an_error_ends_with_four_and_names_its_place(bad: Path) -> None:
    result = run(bad, "--level", "error")
    line = BAD_TEXT[: BAD_TEXT.index("<AcceptEula>")].count("\n") + 1
    assert result.exit_code == ExitCode.ANSWER
    assert (
        f"{bad}:{line}:9: error WS108: UserData/AcceptEula is neither true nor false"
        in result.output
    )


def test_ignored_rules_do_not_count(bad: Path) -> None:
    result = run(bad, "--ignore", "WS108", "--ignore", "ws302")
    assert result.exit_code == 0


def test_json(bad: Path) -> None:
    told = json.loads(run(bad, GOOD, "--json").output)
    assert told["version"] == 1
    assert [file["name"] for file in told["files"]] == [str(bad), str(GOOD)]
    assert told["count"]["error"] == 2
    first = next(f for f in told["files"][0]["findings"] if f["id"] == "WS108")
    assert first["level"] == "error"
    assert set(first) == {
        *("id", "level", "name", "line", "column", "path", "what", "effect", "fix", "source")
    }
    assert first["path"].endswith("/component[@name='Microsoft-Windows-Setup']/UserData/AcceptEula")


def test_sarif_has_what_the_standard_requires(bad: Path) -> None:
    """OASIS SARIF 2.1.0: required properties of 3.13, 3.14, 3.18, 3.19, 3.27, 3.29 and 3.49."""
    result = run(bad, "--sarif")
    assert result.exit_code == ExitCode.ANSWER
    log: dict[str, Any] = json.loads(result.output)
    assert log["version"] == "2.1.0"
    (part,) = log["runs"]
    driver = part["tool"]["driver"]
    assert driver["name"] == "winseed"
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", driver["version"])
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids)) == len(load_rules())
    for found in part["results"]:
        assert ids[found["ruleIndex"]] == found["ruleId"]
        assert found["level"] in {"error", "warning", "note"}
        assert found["message"]["text"]
        (place,) = found["locations"]
        physical = place["physicalLocation"]
        assert " " not in physical["artifactLocation"]["uri"]
        assert physical["region"]["startLine"] >= 1
        assert physical["region"]["startColumn"] >= 1
    assert {"error", "note"} <= {found["level"] for found in part["results"]}


def test_a_folder_gives_its_answer_files_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "my-answers.XML").write_bytes(GOOD.read_bytes())
    (tmp_path / "autounattend.xml").write_bytes(b"")
    (tmp_path / "pom.xml").write_text("<project/>", encoding="utf-8")
    told = json.loads(run(tmp_path, "--json").output)
    assert [Path(file["name"]).name for file in told["files"]] == [
        "my-answers.XML",
        "autounattend.xml",
    ]


def test_a_disc(tmp_path: Path, bad: Path) -> None:
    if not any((Path(folder) / "xorriso").exists() for folder in os.get_exec_path()):
        pytest.skip("needs the Debian package xorriso")
    disc = tmp_path / "answers.iso"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-J", "-o", str(disc), str(bad)],
        check=True,
        capture_output=True,
    )
    told = json.loads(run(disc, "--json").output)
    assert [file["name"] for file in told["files"]] == [f"{disc}/Autounattend.xml"]
    assert told["count"]["error"] == 2


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "nothing to judge"),
        (["/nowhere/a.xml"], "cannot be read"),
        ([str(GOOD), "--release", "2003"], "unknown release"),
        ([str(GOOD), "--ignore", "WS000"], "there is no rule"),
        (["--explain", "nonsense"], "there is no rule"),
        ([str(GOOD), "--json", "--sarif"], "--json and --sarif"),
    ],
)
def test_wrong_calls(arguments: list[str], what: str) -> None:
    with pytest.raises(WinseedError) as caught:
        run(*arguments)
    assert caught.value.code is ExitCode.SPEC
    assert what in caught.value.what


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(WinseedError, match="no answer file"):
        run(tmp_path)


def test_names_cannot_command_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\udc80.xml"
    path.write_text(BAD_TEXT, encoding="utf-8")
    result = run(path)
    assert "\x1b" not in result.output


def test_explain_and_rules() -> None:
    explained = run("--explain", "ws303").output
    assert explained.startswith("WS303 (error): empty Key")
    assert "OpenNebula/one-apps#225" in explained
    assert len(run("--rules").output.splitlines()) == len(load_rules())


def test_the_page_of_rules_is_current() -> None:
    page = (ROOT / "docs" / "lint-rules.md").read_text(encoding="utf-8")
    assert page == run("--rules-page").output, "winseed lint --rules-page > docs/lint-rules.md"


SECRET = "Tr0ub4dor-and-3"
HOLDERS = [
    f"<UserAccounts><AdministratorPassword><Value>{SECRET}</Value></AdministratorPassword></UserAccounts>",
    f"<UserAccounts><AdministratorPassword>{SECRET}</AdministratorPassword></UserAccounts>",
    f"<AutoLogon><Password><PlainText>{SECRET}</PlainText></Password></AutoLogon>",
    f"<AutoLogon><Password><Value>{SECRET}<x/></Value></Password></AutoLogon>",
    f"<AutoLogon>{SECRET}</AutoLogon>",
    f"<ProductKey>{SECRET}</ProductKey>",
    f"<FirstLogonCommands><SynchronousCommand><CommandLine>net user a {SECRET} /add</CommandLine>"
    "</SynchronousCommand></FirstLogonCommands>",
    f"<Passwords>{SECRET}</Passwords>",
]


@pytest.mark.parametrize("body", HOLDERS)
@pytest.mark.parametrize("form", ["--json", "--sarif", "--level=advice"])
def test_no_secret_is_ever_repeated(tmp_path: Path, body: str, form: str) -> None:
    path = tmp_path / "Autounattend.xml"
    path.write_text(
        f"""<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="oobeSystem">
        <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64"
        publicKeyToken="{SECRET}" language="neutral">{body}</component></settings></unattend>""",
        encoding="utf-8",
    )
    result = run(path, form)
    assert "WS012" in result.output
    assert SECRET not in result.output
