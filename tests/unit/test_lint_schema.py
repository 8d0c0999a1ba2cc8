"""The vocabulary: every documented setting in every documented pass is known and in its place."""

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from builder import resources
from builder.answer.lint import find_release, lint_answer
from builder.answer.rules.answer import load_tables, nearest_name
from builder.answer.schema import PASSES, Component, Setting, ValueType, load_schema
from builder.errors import ExitCode, WinseedError

SCHEMA = load_schema()
SAMPLES = {ValueType.BOOLEAN: "true", ValueType.INTEGER: "1", ValueType.STRING: "x"}
# about names, passes and types; other rules judge the values themselves
VOCABULARY = {f"WS{number}" for number in (101, 102, 103, 104, 105, 106, 107, 108, 110, 112, 119)}


def sample(setting: Setting) -> str:
    if setting.enum:
        return setting.enum[0]
    if setting.type is ValueType.INTEGER and setting.range:
        return str(setting.range[0])
    return SAMPLES[setting.type]


def rendered(children: dict[str, Setting], passes: str) -> str:
    parts = []
    done = set()
    for name, setting in children.items():
        if passes not in setting.passes or setting.path in done:
            continue
        done.add(setting.path)
        inner = escape(sample(setting)) if setting.is_leaf else rendered(setting.children, passes)
        parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)


def file_of(component: Component, passes: str) -> bytes:
    return f"""<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="{passes}">
      <component name="{component.name}" processorArchitecture="amd64"
       publicKeyToken="31bf3856ad364e35" language="neutral">{rendered(component.children, passes)}
      </component></settings></unattend>""".encode()


def test_its_size() -> None:
    components = [SCHEMA.component(name) for name in SCHEMA.names]
    settings = sum(len(component.settings) for component in components if component)
    assert (len(components), settings) == (82, 1103)  # 1,123 with wcm:keyValue and text entries


@pytest.mark.parametrize("name", sorted(SCHEMA.names))
def test_every_setting_is_known_where_it_belongs(name: str) -> None:
    component = SCHEMA.component(name)
    assert component is not None
    for passes in PASSES:
        text = file_of(component, passes)
        if passes in component.passes and b"></component>" not in text.replace(b"\n", b""):
            found = {(f.id, f.what) for f in lint_answer(text, name="a.xml")}
            assert not {pair for pair in found if pair[0] in VOCABULARY}


@pytest.mark.parametrize("name", sorted(SCHEMA.names))
def test_every_other_pass_is_told(name: str) -> None:
    component = SCHEMA.component(name)
    assert component is not None
    for passes in set(PASSES) - component.passes:
        rules = {f.id for f in lint_answer(file_of(component, passes), name="a.xml")}
        assert rules & {"WS105", "WS106"}


@pytest.mark.parametrize(
    ("name", "path", "passes", "doc"),
    [
        (
            "Microsoft-Windows-Setup",
            "UserData/AcceptEula",
            {"windowsPE"},
            "microsoft-windows-setup-userdata-accepteula",
        ),
        (
            "Microsoft-Windows-Shell-Setup",
            "AutoLogon/LogonCount",
            {"specialize", "auditSystem", "oobeSystem"},
            "microsoft-windows-shell-setup-autologon-logoncount",
        ),
        (
            "Microsoft-Windows-Deployment",
            "RunSynchronous/RunSynchronousCommand/Path",
            {"specialize", "auditUser"},
            "microsoft-windows-deployment-runsynchronous-runsynchronouscommand-path",
        ),
    ],
)
def test_facts_from_the_reference(name: str, path: str, passes: set[str], doc: str) -> None:
    component = SCHEMA.component(name)
    assert component is not None
    assert component.settings[path].passes == passes
    assert component.settings[path].doc.endswith("/" + doc)


def test_releases_agree_with_the_release_files() -> None:
    tables = load_tables()
    for file in (resources.templates() / "releases").glob("*.toml"):
        facts = tomllib.loads(file.read_text(encoding="utf-8"))
        release = tables.releases[facts["id"]]
        assert (release.name, release.build) == (facts["name"], facts["build"])
        for image in facts["image"]:
            assert image["name"] in {"", *tables.image_names}
            assert image["kms_key"] in {"", *tables.kms_keys}


@pytest.mark.parametrize("text", ["2022", "Windows Server 2022", "windows-2022"])
def test_releases_by_many_names(text: str) -> None:
    assert find_release(text).build == 20348
    assert find_release("2012 R2").build == 9600


def test_an_unknown_release_is_refused() -> None:
    with pytest.raises(WinseedError) as caught:
        lint_answer(b"<a/>", name="a.xml", release="2003")
    assert caught.value.code is ExitCode.SPEC
    assert "2022" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("Microsoft-Windows-Shel-Setup", "Microsoft-Windows-Shell-Setup"),
        ("Microsoft-Windows-Stepu", "Microsoft-Windows-Setup"),
        ("Microsoft-Windows-Stxyz", ""),
        ("Contoso", ""),
        ("", ""),
    ],
)
def test_near_names(text: str, near: str) -> None:
    assert nearest_name(text, SCHEMA.names) == near


KNOWN_GOOD = Path(__file__).parent.parent / "lint" / "known-good.toml"


def test_the_list_of_known_good_files_is_complete() -> None:
    files = tomllib.loads(KNOWN_GOOD.read_text(encoding="utf-8"))["file"]
    assert len({row["sha256"] for row in files}) == len(files)
    assert sum(not row.get("weak") for row in files) >= 25
    for row in files:
        assert set(row) - {"weak"} == {"repository", "path", "commit", "sha256", "evidence"}
        assert (len(row["commit"]), len(row["sha256"])) == (40, 64)
        assert row["repository"].count("/") == 1
        assert len(row["evidence"]) > 20
