"""Secrets are looked for wherever a build leaves a trace, in every form they could take.

Only `autounattend.xml` on the ISO (mode 0600) may hold one, and the password file of a drawn one.
"""

import base64
import hashlib
import json
import stat
import subprocess
import time
from pathlib import Path

import pytest

from builder.media.image import inspect_image
from tests.command import clean_environment, command_line, process

ADMINISTRATOR = "Adm!n-Pässword-4711"
ACCOUNT = "Acc0unt&Secret'42"
VARIABLE = "V@riable<Secret>43"
KEY = "QWRTY-QWRTY-QWRTY-QWRTY-22222"
BLOB = base64.b64encode(b"the provisioning data of a machine account, and its password").decode()
SECRETS = {
    "administrator": ADMINISTRATOR,
    "account": ACCOUNT,
    "variable": VARIABLE,
    "key": KEY,
    "blob": BLOB,
}
SPEC = """
[defaults]
channel = "volume"
product_key = "QWRTY-QWRTY-QWRTY-QWRTY-22222"
offline_join_file = "join.blob"
[[host]]
name = "sec01"
[[host.account]]
name = "ops"
password_file = "ops.secret"
[[host.account]]
name = "dev"
password_env = "DEV_SECRET"
[[host]]
name = "sec02"
updates = {mode = "wsus", server = "http://LONG:8530"}
"""


def forms(secret: str) -> dict[str, bytes]:
    """The secret as it is, and as careless code would write it."""
    plain, wide = secret.encode(), secret.encode("utf-16-le")
    unattend = [
        (secret + name).encode("utf-16-le") for name in ("", "AdministratorPassword", "Password")
    ]
    found = {
        "plain": plain,
        "utf-16": wide,
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
    }
    found |= {f"base64 of {len(data)}": base64.b64encode(data) for data in (plain, *unattend)}
    found["json"] = json.dumps(secret)[1:-1].encode()
    found["xml"] = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").encode()
    for name in ("md5", "sha1", "sha256"):
        for data in (plain, wide):
            found[f"{name} of {len(data)}"] = hashlib.new(name, data).hexdigest().encode()
    return found


def traces(data: bytes, secrets=None) -> list[str]:
    folded = data.lower()
    return [
        f"{name} as {form}"
        for name, secret in (secrets or SECRETS).items()
        for form, wanted in forms(secret).items()
        if wanted.lower() in folded
    ]


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "site.toml").write_text(SPEC.replace("LONG", ".".join(["a" * 60] * 4)))
    (folder / "ops.secret").write_text(f"{ACCOUNT}\n")
    (folder / "join.blob").write_bytes(b"\xff\xfe" + f"{BLOB}\0".encode("utf-16-le"))
    (folder / "admin").write_text(f"{ADMINISTRATOR}\n")
    return folder


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def call(*arguments, site, scratch, **env):
    env = {"DEV_SECRET": VARIABLE, "TMPDIR": str(scratch), "HOME": str(scratch)} | env
    return process(*arguments, cwd=site.parent, env=env)


def written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_search_finds_what_it_looks_for():
    """Every form is found in what is known to hold it, so an empty result means something."""
    for secret in SECRETS.values():
        for form, data in forms(secret).items():
            assert traces(b"x" + data + b"y"), form
    assert traces(b"nothing of the kind") == []


@pytest.mark.parametrize("flags", [[], ["--json"], ["-v"], ["--dry-run"]], ids=" ".join)
def test_a_build_tells_no_secret(site, scratch, flags):
    out = site.parent / "out"
    done = call(
        *("--debug", "iso", "--spec", "site/site.toml", "--host", "sec01", "--secrets-on-medium"),
        *("-o", out, "--admin-password-file", "site/admin", *flags),
        site=site,
        scratch=scratch,
    )
    assert done.code == 0, done.err
    assert traces((done.out + done.err).encode()) == []
    assert written(scratch) == []
    for path in written(out):
        assert traces(path.name.encode()) == []
        if path.suffix != ".iso":
            assert traces(path.read_bytes()) == []


def test_on_the_disc_they_are_in_the_answer_file_only(site, scratch):
    done = call(
        *("iso", "--spec", "site/site.toml", "--host", "sec01", "--secrets-on-medium"),
        *("-o", "out", "--admin-password-file", "site/admin"),
        site=site,
        scratch=scratch,
    )
    assert done.code == 0, done.err
    iso = site.parent / "out" / "sec01-2022-core.iso"
    assert stat.S_IMODE(iso.stat().st_mode) == 0o600
    image = inspect_image(iso)
    holders = {
        path
        for path in image.files
        if traces(image.read(image.files[path])) or traces(path.encode())
    }
    assert {image.files[path].path for path in holders} == {"autounattend.xml"}
    answer = image.find("autounattend.xml")
    data = image.read(answer)
    assert {text.partition(" ")[0] for text in traces(data)} == set(SECRETS)
    assert not [text for text in traces(data) if text.endswith("plain")
                and text.split()[0] in {"administrator", "account", "variable"}]  # fmt: skip
    rest = bytearray(iso.read_bytes())
    for extent in answer.extents:
        rest[extent.offset : extent.offset + extent.length] = bytes(extent.length)
    assert traces(bytes(rest)) == []
    manifest = json.loads((iso.with_suffix(".manifest.json")).read_text())
    hashed = {row["path"]: row["sha256"] for row in manifest["files"]}
    assert hashed["autounattend.xml"] is None
    assert all(value for path, value in hashed.items() if path != "autounattend.xml")
    assert hashlib.sha256(data).hexdigest().encode() not in bytes(rest)


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=" ".join)
def test_a_plan_tells_no_secret(site, scratch, flags):
    done = call(
        *("plan", "--spec", "site/site.toml", "--host", "sec01", *flags),
        site=site,
        scratch=scratch,
        WINSEED_ADMIN_PASSWORD=ADMINISTRATOR,
    )
    assert done.code == 0, done.err
    assert traces((done.out + done.err).encode()) == []
    assert "***" in done.out


FAILURES = {
    "the answer file is refused": (["--host", "sec02"], {}, 4),
    "one of all fails": (["--all"], {}, 4),
    "a folder stands in the way": (["--host", "sec01", "-o", "site.iso"], {}, 2),
    "no consent": (["--host", "sec01"], {"consent": False}, 7),
    "the medium is not there": (["--host", "sec01", "--windows-iso", "absent.iso"], {}, 3),
    "evaluation media refuse the key": (["--host", "sec01", "--channel", "eval"], {}, 2),
    "a wrong password": (["--host", "sec01"], {"admin": f"{ADMINISTRATOR}\x01"}, 2),
    "a wrong variable": (["--host", "sec01"], {"variable": f"{VARIABLE}\x01"}, 2),
    "a wrong blob": (["--host", "sec01"], {"blob": BLOB.encode() + b"\xff\xfe\xff"}, 2),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_tells_no_secret_and_leaves_none(site, scratch, failure):
    flags, changes, code = FAILURES[failure]
    (site.parent / "site.iso").mkdir()
    (site / "admin").write_text(changes.get("admin", f"{ADMINISTRATOR}\n"))
    if "blob" in changes:
        (site / "join.blob").write_bytes(changes["blob"])
    consent = ["--secrets-on-medium"] if changes.get("consent", True) else []
    flags = flags if "-o" in flags else [*flags, "-o", "out"]
    done = call(
        *("--debug", "iso", "--spec", "site/site.toml", "-v", *consent),
        *("--admin-password-file", "site/admin", *flags),
        site=site,
        scratch=scratch,
        **({"DEV_SECRET": changes["variable"]} if "variable" in changes else {}),
    )
    assert done.code == code, done.err
    assert traces((done.out + done.err).encode()) == []
    assert written(scratch) == []
    left = [path for name in ("out", "site.iso") for path in written(site.parent / name)]
    assert [path for path in left if "sec02" in path.name] == []
    assert [path for path in left if path.suffix != ".iso" and traces(path.read_bytes())] == []


def test_a_drawn_password_lies_in_its_file_only(site, scratch):
    spec = site / "plain.toml"
    spec.write_text('[[host]]\nname = "own01"\n')
    done = call(
        *("--debug", "iso", "--spec", spec, "-o", "out", "-v", "--json"), site=site, scratch=scratch
    )
    assert done.code == 0, done.err
    (built,) = json.loads(done.out)["built"]
    file = site.parent / built["password_file"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    drawn = {"drawn": file.read_text().strip()}
    assert len(drawn["drawn"]) == 24
    assert traces((done.out + done.err).encode(), drawn) == []
    manifest = site.parent / built["manifest"]
    assert traces(manifest.read_bytes(), drawn) == []
    image = inspect_image(site.parent / built["iso"])
    holders = [f.path for f in image.files.values() if traces(image.read(f), drawn)]
    assert holders == ["autounattend.xml"]


def test_no_secret_in_the_arguments_of_any_process(site, scratch):
    """Looked at in /proc while it waits for the password on standard input, and while it builds."""
    command = command_line(
        *("iso", "--spec", "site/site.toml", "--host", "sec01", "--secrets-on-medium"),
        *("-o", "out", "--admin-password-file", "-"),
    )
    process_of = subprocess.Popen(
        command,
        cwd=site.parent,
        env=clean_environment() | {"DEV_SECRET": VARIABLE, "TMPDIR": str(scratch)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process_of.stdin.write(f"{ADMINISTRATOR}\n".encode())
    process_of.stdin.close()
    seen = set()
    while process_of.poll() is None:
        try:
            seen.add(Path(f"/proc/{process_of.pid}/cmdline").read_bytes())
        except OSError:
            break
        time.sleep(0.005)
    out, err = process_of.stdout.read(), process_of.stderr.read()
    process_of.stdout.close()
    process_of.stderr.close()
    assert process_of.wait(60) == 0, err
    assert any(b"--admin-password-file" in line for line in seen)
    assert traces(b"".join(seen) + out + err) == []
