"""The documents say what the program does: each command runs, each key and flag is explained."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import click
import pytest

from builder.answer.lint import load_rules
from builder.cli.main import VERBS, winseed
from builder.errors import ExitCode, WinseedError
from builder.media.image import inspect_image
from builder.plan.beliefs import beliefs
from builder.spec.load import load_site
from builder.spec.model import HostSpec, SiteSpec
from tests.command import LAUNCH, PASSWORD, ROOT, authority, clean_environment, process
from tests.golden.test_golden import keys_in, keys_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
STARTER = (ROOT / "answer_templates" / "starter.toml").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a test cannot run: the network, a cluster, the system, and the tests themselves.
NOT_RUN = (
    "git ",
    "pipx ",
    "apt ",
    "winseed fetch",
    "winseed doctor",
    "winseed deploy",
    "winseed reinstall",
    "make test",
    "make lint",
    "make bench",
    "make golden",
)
PLACEHOLDERS = {"windows.iso": "windows-2025-eval", "virtio-win.iso": "virtio"}


def commands(text: str) -> list[str]:
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def documents() -> dict[str, str]:
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture
def checkout(tmp_path, discs):
    """A folder like a checkout whose `winseed` trusts the session's drivers."""
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, disc in PLACEHOLDERS.items():
        (tmp_path / name).symlink_to(discs[disc])
    (tmp_path / "admin.txt").write_text(f"{PASSWORD}\n")
    done = process("iso", "-o", tmp_path / "other.iso", cwd=tmp_path)
    assert done.code == 0, done.err
    image = inspect_image(tmp_path / "other.iso")
    answer = image.read(image.find("autounattend.xml"))
    (tmp_path / "autounattend.xml").write_bytes(answer)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(sys.executable)
    words = map(shlex.quote, (sys.executable, "-c", LAUNCH, authority().fingerprint))
    call = f'exec {" ".join(words)} "$@"'
    (binaries / "winseed").write_text(f"#!/bin/sh\n{call}\n")
    (binaries / "winseed").chmod(0o755)
    return tmp_path


def test_every_command_of_the_readme_runs(checkout):
    """In their order, in one folder, as a reader would; `make` from the Makefile itself."""
    env = clean_environment() | {"PATH": f"{checkout / '.venv/bin'}:{os.environ['PATH']}"}
    run = []
    for line in commands(README):
        if line.startswith(NOT_RUN):
            continue
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=checkout,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "error" not in done.stderr.lower(), line
        assert done.stdout or "--diff" in line, line
        run.append(line)
    assert {line.split()[0] for line in run} == {"make", "winseed"}
    assert any("VIRTIO_ISO" in line for line in run)


def test_every_block_of_commands_is_marked():
    for name, text in documents().items():
        for fence in re.findall(r"^```(\w*)\n\$ ", text, re.MULTILINE):
            assert fence == "console", name


def test_every_verb_stands_in_the_readme():
    for verb in VERBS:
        assert f"`winseed {verb}" in README, verb


def test_verbs_that_documents_name_exist():
    for name, text in documents().items():
        for verb in re.findall(r"(?:`|\$ )winseed ([a-z][a-z-]*)", text):
            assert verb in VERBS, f"{name}: winseed {verb}"


def every_command(context):
    """Every verb, and below a group of verbs each of its kinds."""
    for verb in VERBS:
        command = winseed.get_command(context, verb)
        yield verb, command
        if isinstance(command, click.Group):
            for kind in command.list_commands(context):
                yield f"{verb} {kind}", command.get_command(context, kind)


def flags_page() -> str:
    """docs/flags.md: every verb with all it takes, as the program itself describes it."""
    page = "# Verbs and flags\n\nMade by `pytest tests/unit/test_docs.py --regenerate`.\n"
    context = click.Context(winseed)
    for verb, command in every_command(context):
        about = " ".join((command.help or "").split())
        arguments = "".join(
            f" {option.metavar or (option.name or '').upper()}"
            for option in command.params
            if isinstance(option, click.Argument)
        )
        page += (
            f"\n## winseed {verb}{arguments}\n\n{about}\n\n| flag | variable | |\n|---|---|---|\n"
        )
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (verb, option.name)
                value = "" if option.is_flag else f" {option.metavar or 'TEXT'}"
                names = ", ".join(f"`{name}{value}`" for name in option.opts)
                variable = f"`{option.envvar}`" if option.envvar else ""
                text = " ".join(option.help.split()).replace("|", "\\|")
                page += f"| {names} | {variable} | {text} |\n"
    return page


def test_every_flag_is_explained(request):
    path = ROOT / "docs" / "flags.md"
    if request.config.getoption("regenerate"):
        path.write_text(flags_page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == flags_page(), "--regenerate rewrites it"


def test_flags_that_documents_name_exist():
    context = click.Context(winseed)
    known = {"--help", "--version", "--debug"}
    for _, command in every_command(context):
        for option in command.params:
            known |= {name for name in option.opts if name.startswith("--")}
    for name, text in documents().items():
        for line in commands(text):
            if line.startswith("winseed "):
                assert set(re.findall(r"(?<= )--[a-z-]+", line)) <= known, f"{name}: {line}"


def test_exit_codes_of_the_readme():
    rows = re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)
    assert [int(row) for row in rows] == sorted(ExitCode)


def test_every_belief_stands_in_the_field_test():
    text = documents()["field-test.md"]
    ids = set(re.findall(r"\bFT\d+\b", text))
    assert set(beliefs()) == ids
    for name, row in beliefs().items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        assert row["way_out"][:30] in line


def test_every_lint_rule_stands_in_its_page():
    text = documents()["lint-rules.md"]
    assert [name for name in load_rules() if name not in text] == []


def test_the_spec_page_holds_every_key():
    text = documents()["spec.md"]
    cells = set(re.findall(r"^\| `([a-z_0-9]+)` ", text, re.MULTILINE))
    for key in [*keys_of(SiteSpec), *keys_of(HostSpec)]:
        assert key.rpartition(".")[2] in cells, key


def test_links_of_the_documents_lead_somewhere():
    for name, text in documents().items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if not link.startswith(("http://", "https://")):
                assert (folder / link).exists(), f"{name}: {link}"


# The starter spec


def uncommented(keys: set[int] | None = None) -> str:
    """The starter with the commented keys at these lines switched on (None: all), tables too."""
    lines = []
    for number, line in enumerate(STARTER.splitlines()):
        on = keys is None or number in keys
        off = on and re.match(r"# (\[\[|[a-z_0-9]+ = )", line)
        lines.append(line.removeprefix("# ") if off else line)
    return "\n".join(lines)


def commented() -> list[tuple[int, str, int | None]]:
    """Line, key, and the line of its commented table head."""
    found, head = [], None
    for number, line in enumerate(STARTER.splitlines()):
        if re.match(r"(# )?\[", line):
            head = number if line.startswith("# [[") else None
        match = re.match(r"# ([a-z_0-9]+) = ", line)
        if match:
            found.append((number, match[1], head))
    return found


def load(text: str):
    return load_site(text, source="starter", folder=ROOT, overrides={})


def test_the_starter_loads_and_changes_nothing():
    (starter,), (plain,) = load(STARTER).hosts, load(None).hosts
    assert starter == plain


def test_the_starter_holds_every_key():
    document = tomllib.loads(uncommented())
    site = set(keys_in(document["site"]))
    host = {key for table in (document["defaults"], *document["host"]) for key in keys_in(table)}
    assert site == set(keys_of(SiteSpec))
    assert host == set(keys_of(HostSpec))


# Keys that another key must go with: what the message must say then.
CROSS_RULES = {
    "server": "no effect with mode manual",
    "status_server": "no effect with mode manual",
    "target_group": "no effect with mode manual",
    "openssh_package": "has no effect without ssh",
    "gateways": "a gateway without addresses",
    "letter": "is missing",
    "label": "is missing",
    "filesystem": "is missing",
    "allocation_unit": "is missing",
    "size_gib": "is missing",
    "slot": "is missing",
    "on_reinstall": "is missing",
    "name": "password_file or from password_env",
    "full_name": "is missing",
    "description": "is missing",
    "groups": "is missing",
    "password_file": "is missing",
    "password_env": "is missing",
}


@pytest.mark.parametrize(("line", "key", "head"), commented(), ids=str)
def test_each_key_of_the_starter_alone(line, key, head):
    """Switched on alone it loads, or says what it goes with."""
    try:
        load(uncommented({line} if head is None else {line, head}))
    except WinseedError as error:
        told = " ".join(problem.what for problem in error.problems)
        assert key in CROSS_RULES, told
        assert CROSS_RULES[key] in told


def test_defaults_of_the_starter_are_those_of_the_program():
    """A key that shows its default must show the real one."""
    (plain,) = load(None).hosts
    examples = {
        *("release", "channel", "windows_iso", "virtio_iso", "workgroup", "offline_join_file"),
        *("driver_delivery", "dns_suffixes", "first_boot", "ui_language", "system_locale"),
        *("user_locale", "input", "server", "status_server", "target_group", "packages"),
        *("openssh_package", "memory_mib"),
        *("domain", "netbios", "site", "ifm_path", "replication_source", "partner"),
        *("forest_level", "domain_level", "delegated_admin", "credential_user"),
        *("credential_password_file", "credential_password_env", "dsrm_password_file"),
        *("dsrm_password_env", "host_time_zone"),
    }
    for line, key, head in commented():
        if head is None and key not in examples:
            assert load(uncommented({line})).hosts == (plain,), key


@pytest.mark.parametrize(("arguments", "named"), [([], False), (["HOST=dc01"], True)])
def test_make_takes_no_host_from_the_shell(checkout, arguments, named):
    """tcsh exports HOST: the server would be called like the machine it is built on."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is missing: apt install make")
    done = subprocess.run(
        [make, "-n", "iso", *arguments],
        cwd=checkout,
        env=clean_environment() | {"HOST": "workstation"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "workstation" not in done.stdout
    assert ('--host "dc01"' in done.stdout) is named
