"""Expected answer files: a case is one spec, run through the real command onto a real disc.

Leading lines `#! key = value` steer a case: `flags` of the command line, `media` to read
(`virtio`, `windows-2025-volume`), `scripts = true` to expect the scripts as well, and for refused
specs `exit` with the `problem` that must be told. `--regenerate` rewrites what is expected.
"""

import re
import shutil
import tomllib
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from builder import __version__
from builder.cli.iso import command as iso_command
from builder.media.image import inspect_image
from builder.spec.model import HostSpec, SiteSpec
from tests.command import PASSWORD, ROOT, winseed

HERE = Path(__file__).parent
EXPECTED = HERE / "expected"
TEMPLATES = ROOT / "answer_templates"
CASES = sorted((HERE / "cases").glob("*.toml"))
NAMESPACE = "{urn:schemas-microsoft-com:unattend}"
PASSWORDS = re.compile(r"(<(AdministratorPassword|Password)>\s*<Value>)[^<]+(</Value>)")
FINGERPRINT = re.compile(r"^(fingerprint +)[0-9a-f]{12}$", re.MULTILINE)


@pytest.fixture(autouse=True)
def account_password(monkeypatch):
    monkeypatch.setenv("GOLDEN_ACCOUNT", "From & environment 1")


@cache
def steering(case: Path) -> dict:
    lines = case.read_text(encoding="utf-8").splitlines()
    return tomllib.loads("\n".join(line[2:] for line in lines if line.startswith("#!")))


def arguments(case: Path, discs) -> list[str]:
    flags = ["--spec", str(case), *steering(case).get("flags", [])]
    for name in steering(case).get("media", []):
        flags += ["--virtio-iso" if name.startswith("virtio") else "--windows-iso", discs[name]]
    return flags


def named(cases, *, refused: bool):
    return [
        pytest.param(case, id=case.stem) for case in cases if ("exit" in steering(case)) == refused
    ]


def build(case: Path, discs, folder: Path, capsys) -> dict[str, str]:
    """The texts of the disc that the case makes, and the plan, with what passes masked."""
    password = folder / "administrator"
    password.write_text(f"{PASSWORD}\n")
    flags = arguments(case, discs)
    done = winseed(capsys, "iso", *flags, "-o", folder / "out", "--admin-password-file", password)
    assert done.code == 0, done.err
    assert done.err == ""
    (disc,) = (folder / "out").glob("*.iso")
    image = inspect_image(disc)
    (marker,) = [path for path in image.files if path.endswith(".id")]
    fingerprint = Path(marker).stem
    skipped = (".json", ".id")
    texts = {
        file.path: image.read(file)
        for file in image.files.values()
        if file.path == "autounattend.xml"
        or (
            file.path.startswith("winseed/")
            and not file.path.startswith("winseed/files/")
            and not file.path.endswith(skipped)
        )
    }
    key = tomllib.loads(case.read_text(encoding="utf-8")).get("defaults", {}).get("product_key")
    found = {path: masked(plain(path, data), fingerprint, key) for path, data in texts.items()}
    planned = winseed(capsys, "plan", *[flag for flag in flags if flag != "--secrets-on-medium"])
    assert planned.code == 0, planned.err
    assert planned.err == ""
    return found | {"plan.txt": FINGERPRINT.sub(r"\1FINGERPRINT", planned.out)}


def plain(path: str, data: bytes) -> str:
    """The text, whose form its reader in Windows needs was looked at."""
    if path.endswith(".xml"):
        assert data.startswith(b"<?xml")
        return data.decode()
    text = data.decode("utf-8-sig")
    assert data.startswith(b"\xef\xbb\xbf") == path.endswith(".ps1")
    assert text.endswith("\r\n")
    assert text.count("\r\n") == text.count("\n") == text.count("\r")
    return text.replace("\r\n", "\n")


def masked(text: str, fingerprint: str, key: str | None) -> str:
    text = PASSWORDS.sub(r"\1PASSWORD\3", text.replace(fingerprint, "FINGERPRINT"))
    if key and key not in {"auto", "none"}:
        text = text.replace(key, "GIVEN-KEY")
    return text.replace(f"winseed {__version__}", "winseed VERSION")


def chosen(case: Path, texts: dict[str, str]) -> dict[str, str]:
    scripts = steering(case).get("scripts", False)
    return {path: text for path, text in texts.items() if scripts or "/" not in path}


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("case", named(CASES, refused=False))
def test_expected(case, discs, tmp_path, capsys, request):
    texts = chosen(case, build(case, discs, tmp_path, capsys))
    folder = EXPECTED / case.stem
    if request.config.getoption("regenerate") or not folder.exists():
        written = folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8", newline="")
        assert written or request.config.getoption("regenerate"), f"wrote {folder}: look at it"
    stored = {
        path.relative_to(folder).as_posix(): path.read_bytes().decode()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert sorted(texts) == sorted(stored)
    for path, text in texts.items():
        assert text == stored[path], path


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("case", named(CASES, refused=True))
def test_refused(case, discs, tmp_path, capsys):
    """The command says what is wrong, with its own exit code, and writes nothing at all."""
    password = tmp_path / "administrator"
    password.write_text(f"{PASSWORD}\n")
    out = tmp_path / "out"
    flags = arguments(case, discs)
    done = winseed(capsys, "iso", *flags, "-o", out, "--admin-password-file", password)
    assert done.code == steering(case)["exit"], done.err
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert steering(case)["problem"] in done.err
    assert not out.exists()


def test_every_expectation_has_its_case():
    stems = {case.stem for case in CASES if "exit" not in steering(case)}
    assert {folder.name for folder in EXPECTED.iterdir()} <= stems


def test_every_release_edition_and_layout_has_a_case():
    wanted = {
        f"{release}-{edition}-{layout}"
        for release in ("2012r2", "2016", "2019", "2022", "2025")
        for edition in ("core", "desktop")
        for layout in ("uefi", "bios")
        if (release, layout) != ("2025", "bios")
    }
    assert wanted <= {case.stem for case in CASES}


def rendered_components() -> set[tuple[str, str]]:
    found = set()
    for path in EXPECTED.glob("*/autounattend.xml"):
        for settings in ET.parse(path).getroot().iter(f"{NAMESPACE}settings"):
            for component in settings.iter(f"{NAMESPACE}component"):
                assert len(component) > 0, (path, component.get("name"))
                found.add((settings.get("pass").lower(), component.get("name")))
    return found


def test_every_component_is_rendered_somewhere():
    found = rendered_components()
    for template in sorted((TEMPLATES / "components").glob("*-*.xml.j2")):
        names = re.findall(r'call component\("([^"]+)"\)', template.read_text())
        pass_name = template.name.partition("-")[0]
        assert names, template.name
        assert {(pass_name, name) for name in names} <= found, template.name


def test_every_script_is_rendered_somewhere():
    found = {
        path.name.lower().replace("-", "")
        for path in EXPECTED.glob("*/winseed/**/*")
        if path.is_file() and path.stat().st_size > 0
    }
    for template in sorted((TEMPLATES / "scripts").glob("*.j2")):
        assert template.stem.replace("-", "") in found, template.name


def keys_of(model: type[BaseModel], prefix: str = ""):
    for name, field in model.model_fields.items():
        inner = list(tables_in(field.annotation))
        if inner:
            yield from keys_of(inner[0], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def tables_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from tables_in(part)


def keys_in(table: dict, prefix: str = ""):
    for name, value in table.items():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from keys_in(part, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"


def test_every_spec_key_is_in_some_case():
    site: set[str] = set()
    host: set[str] = set()
    for case in CASES:
        if "exit" in steering(case):
            continue
        document = tomllib.loads(case.read_text(encoding="utf-8"))
        site |= set(keys_in(document.get("site", {})))
        for table in [document.get("defaults", {}), *document.get("host", [])]:
            host |= set(keys_in(table))
    assert sorted(set(keys_of(SiteSpec)) - site) == []
    assert sorted(set(keys_of(HostSpec)) - host) == []


def test_every_option_of_iso_is_used_somewhere():
    used = " ".join(
        (ROOT / "tests" / name).read_text() for name in ("unit/test_cli.py", "image/test_iso.py")
    )
    flags = {flag for case in CASES for flag in steering(case).get("flags", [])}
    for option in iso_command.params:
        assert any(name in flags or f'"{name}"' in used for name in option.opts), option.name
