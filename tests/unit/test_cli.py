"""The command: verbs, flags, what they print where, and their exit codes."""

import json
import os
import stat
import subprocess
import sys

import pytest

from builder.cli.main import VERBS, run
from builder.errors import ExitCode
from tests.command import PASSWORD, ROOT, clean_environment, command_line, process, winseed

TWO = '[[host]]\nname = "dc01"\n[[host]]\nname = "dc02"\nedition = "desktop"\n'


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """A call in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: winseed(capsys, *arguments)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def error(done, code):
    """The message of a failed call, which said nothing else."""
    assert done.code == code, done
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    return done.err


# The command itself


def test_help_lists_the_verbs_and_loads_none(call):
    done = call("--help")
    assert done.code == 0
    assert all(f"  {verb} " in done.out and text in done.out for verb, text in VERBS.items())
    heavy = {"pydantic", "pycdlib", "lxml", "jinja2", "rich", "cryptography", "requests"}
    code = (
        "import sys; from builder.cli.main import run; assert run(['--help']) == 0;"
        f"sys.exit(', '.join(sorted({heavy!r} & set(sys.modules))) or 0)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (loaded.returncode, loaded.stderr) == (0, "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(call, verb):
    done = call(verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: winseed {verb} ")


def test_version(call):
    done = call("--version")
    assert done.code == 0
    assert done.out.startswith("winseed, version ")


@pytest.mark.parametrize(
    "arguments", [["isso"], ["iso", "--no-such-flag"], ["inspect"], ["iso", "x"]]
)
def test_calls_that_make_no_sense(call, arguments):
    done = call(*arguments)
    assert (done.code, done.out) == (ExitCode.SPEC, "")
    assert "Usage: winseed" in done.err
    assert "Error: " in done.err


def test_an_error_has_a_traceback_with_debug_only(call):
    plain, debug = call("plan", "--edition", "x"), call("--debug", "plan", "--edition", "x")
    assert plain.code == debug.code == ExitCode.SPEC
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert debug.err.endswith(plain.err)


def test_a_closed_pipe_is_no_error(tmp_path):
    line = " ".join(f"'{part}'" for part in command_line("schema"))
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{line} | true"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


# iso


def test_iso_alone(call, tmp_path):
    """No spec, no media: under ten lines, one ISO, its manifest, and a private password."""
    done = call("iso")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert len(lines) < 10
    iso, manifest, password = sorted(
        (tmp_path / "dist").iterdir(),
        key=lambda path: [".iso", ".json", ".password"].index(path.suffix),
    )
    assert iso.name == "winsrv-2022-core.iso"
    assert manifest.name == "winsrv-2022-core.manifest.json"
    told = json.loads(manifest.read_text())
    assert password.name == f"winsrv-2022-core.{told['fingerprint']}.password"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (iso, manifest, password)] == [
        0o600,
        0o644,
        0o600,
    ]
    for part in ("ide2", "ide0", "sata0", str(password.relative_to(tmp_path)), "unverified"):
        assert part in done.out
    secret = password.read_text()
    assert len(secret) == 25
    assert secret.endswith("\n")
    assert secret.strip() not in done.out + manifest.read_text()


def test_iso_says_what_is_next(call):
    out = call("iso").out
    words = ("winseed settle", "eject", "delete", "must be changed at first logon", "FT06")
    for word in (*words, "virtio-win-0.1.271"):
        assert word in out


def test_iso_as_json(call, tmp_path):
    done = call("iso", "--json", "--edition", "desktop")
    document = json.loads(done.out)
    assert (document["version"], done.err) == (1, "")
    (built,) = document["built"]
    assert (built["host"], built["edition"], built["verified"]) == ("winsrv", "desktop", False)
    for key in ("iso", "manifest", "password_file"):
        assert (tmp_path / built[key]).exists()
    assert built["size"] == (tmp_path / built["iso"]).stat().st_size


def test_dry_run_writes_nothing(call, tmp_path):
    done = call("iso", "--dry-run", "-o", "elsewhere")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("would write elsewhere/winsrv-2022-core.iso: Windows Server 2022, ")
    document = json.loads(call("iso", "--dry-run", "--json", "-o", "x.iso").out)
    assert (document["version"], document["would_write"][0]["iso"]) == (1, "x.iso")
    assert names(tmp_path) == []


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_only_an_answer_disc_is_overwritten(call, tmp_path, discs, options):
    """`-o windows.iso` must not cost the media."""
    for name, content in (("windows.iso", discs["virtio"].read_bytes()), ("x.iso", b"precious")):
        (tmp_path / name).write_bytes(content)
        text = error(call("iso", "-o", name, *options), ExitCode.UNSAFE)
        assert f"{name} exists and is no answer ISO of winseed" in text
        assert (tmp_path / name).read_bytes() == content
    assert names(tmp_path) == ["windows.iso", "x.iso"]


def test_an_answer_disc_is_replaced(call, tmp_path):
    (tmp_path / "a.iso").touch()
    for edition in ("core", "desktop"):
        assert call("iso", "-o", "a.iso", "--edition", edition).code == 0
    assert json.loads((tmp_path / "a.manifest.json").read_text())["plan"]["edition"] == "desktop"


def test_output_is_a_folder_or_a_file(call, tmp_path):
    assert call("iso", "-o", "a/b").code == 0
    assert (tmp_path / "a" / "b" / "winsrv-2022-core.iso").exists()
    assert call("iso", "--output", "c/my.ISO").code == 0
    assert (tmp_path / "c" / "my.ISO").exists()
    assert (tmp_path / "c" / "my.manifest.json").exists()


def test_verbose_tells_the_stages(call):
    done = call("iso", "-v")
    assert done.code == 0
    assert [line.partition(" (")[0] for line in done.err.splitlines()] == [
        "read media and plan",
        "write and verify",
    ]


def test_all_hosts(call, tmp_path):
    (tmp_path / "winseed.toml").write_text(TWO)
    done = call("iso", "--all")
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 5
    isos = [name for name in names(tmp_path / "dist") if name.endswith(".iso")]
    assert isos == ["dc01-2022-core.iso", "dc02-2022-desktop.iso"]
    passwords = list((tmp_path / "dist").glob("*.password"))
    assert len({path.read_text() for path in passwords}) == 2


def test_one_host_of_many(call, tmp_path):
    (tmp_path / "site.toml").write_text(TWO)
    text = error(call("iso", "--spec", "site.toml"), ExitCode.SPEC)
    assert "site.toml describes 2 hosts" in text
    assert "--host (dc01, dc02), or all with --all" in text
    assert "exclude" in error(call("iso", "--host", "dc01", "--all"), ExitCode.SPEC)
    text = error(call("iso", "--spec", "site.toml", "--all", "-o", "x.iso"), ExitCode.SPEC)
    assert "x.iso is one file, but there are 2 hosts" in text
    assert call("iso", "--spec", "site.toml", "--host", "DC02").code == 0
    assert (tmp_path / "dist" / "dc02-2022-desktop.iso").exists()


def test_hosts_that_fail_do_not_stop_the_others(call, tmp_path):
    long = "http://" + ".".join(["a" * 60] * 4) + ":8530"
    (tmp_path / "winseed.toml").write_text(
        f'{TWO}[[host]]\nname = "bad"\nupdates = {{mode = "wsus", server = "{long}"}}\n'
    )
    done = call("iso", "--all")
    assert done.code == ExitCode.ANSWER
    assert len(list((tmp_path / "dist").glob("*.iso"))) == 2
    assert "2 answer ISOs" in done.out
    assert "command lines that Setup refuses" in done.err
    assert not list((tmp_path / "dist").glob("bad*"))


def test_every_host_s_problem_is_told(call, tmp_path):
    (tmp_path / "winseed.toml").write_text(
        'defaults.windows_iso = "missing.iso"\n[[host]]\nname = "a"\n[[host]]\nname = "b"\n'
        'virtio_iso = "absent.iso"\nwindows_iso = "gone.iso"\n'
    )
    text = error(call("iso", "--all"), ExitCode.MEDIA)
    assert "2 of 2 hosts failed" in text
    assert "missing.iso" in text
    assert "gone.iso" in text
    assert not (tmp_path / "dist").exists()


def test_environment_variables_outrank_the_spec(call, tmp_path, monkeypatch):
    (tmp_path / "site.toml").write_text('[defaults]\nedition = "core"\nrelease = "2016"\n')
    monkeypatch.setenv("WINSEED_SPEC", "site.toml")
    monkeypatch.setenv("WINSEED_EDITION", "desktop")
    monkeypatch.setenv("WINSEED_RELEASE", "2022")
    monkeypatch.setenv("WINSEED_HOST", "env01")
    done = call("iso", "--release", "2019", "--dry-run")
    assert "env01-2019-desktop.iso" in done.out
    monkeypatch.setenv("WINSEED_EDITION", "gui")
    assert "WINSEED_EDITION: must be" in error(call("iso"), ExitCode.SPEC)


def test_flags_of_the_media_count_from_here(call, tmp_path, discs):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "site.toml").write_text("[defaults]\n")
    (tmp_path / "w.iso").symlink_to(discs["windows-2019-eval"])
    done = call("iso", "--dry-run", "--spec", "deep/site.toml", "--windows-iso", "w.iso")
    assert "winsrv-2019-core.iso: Windows Server 2019" in done.out
    assert "no path" in error(call("iso", "--virtio-iso", "~nobody-of-this-name/v.iso"), 2)


@pytest.mark.parametrize("epoch", ["x", "-1", "1.5", "9" * 30, "²"])
def test_a_wrong_source_date_epoch(call, tmp_path, monkeypatch, epoch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert "SOURCE_DATE_EPOCH" in error(call("iso"), ExitCode.SPEC)
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (b"\xff\xfe", "is not UTF-8"),
        (b"[", "is not TOML"),
        (None, "there is no spec"),
        ("folder", "cannot read"),
        (b"\xef\xbb\xbf[defaults]\nx = 1\n", "unknown key"),
    ],
)
def test_specs_that_cannot_be_read(call, tmp_path, spec, what):
    path = tmp_path / "site.toml"
    if spec == "folder":
        path.mkdir()
    elif spec is not None:
        path.write_bytes(spec)
    assert what in error(call("iso", "--spec", path), ExitCode.SPEC)


def test_a_spec_too_large(call, tmp_path):
    with (tmp_path / "site.toml").open("wb") as file:
        file.truncate(17 * 1024 * 1024)
    assert "too large" in error(call("plan", "--spec", "site.toml"), ExitCode.SPEC)


# Passwords


def test_a_given_password_leaves_no_file(call, tmp_path, monkeypatch):
    (tmp_path / "admin").write_text(f"{PASSWORD}\nsecond line\n")
    done = call("iso", "--admin-password-file", "admin")
    assert done.code == 0
    assert "Administrator as given" in done.out
    assert not list((tmp_path / "dist").glob("*.password"))
    monkeypatch.setenv("WINSEED_ADMIN_PASSWORD", "From-Env-1")
    assert "Administrator as given" in call("iso").out


def test_ways_of_giving_a_password_give_the_same_disc(tmp_path):
    (tmp_path / "admin").write_bytes(f"\ufeff{PASSWORD}\r\n".encode())
    calls = {
        "file": (["--admin-password-file", "admin"], {}, None),
        "stdin": (["--admin-password-file", "-"], {}, f"{PASSWORD}\nmore\n"),
        "env": ([], {"WINSEED_ADMIN_PASSWORD": PASSWORD}, None),
        "both": (["--admin-password-file", "admin"], {"WINSEED_ADMIN_PASSWORD": "Other-1"}, None),
    }
    found = set()
    for name, (flags, env, stdin) in calls.items():
        done = process("iso", "-o", f"{name}.iso", *flags, cwd=tmp_path, env=env, stdin=stdin)
        assert (done.code, done.err) == (0, "")
        found.add((tmp_path / f"{name}.iso").read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "has 1 to 127"),
        (b"\nsecond\n", "has 1 to 127"),
        (b"a\0b\n", "U+0000"),
        (b"\xff\n", "not text"),
        (b"x" * 200, "has 1 to 127"),
        (b"aB1-x", "fewer than 6"),
        (b"only-small-letters", "three of"),
        (b"Xx1-administrator", "account name"),
        (None, "cannot read"),
    ],
)
def test_passwords_that_cannot_be_used(call, tmp_path, content, what):
    if content is not None:
        (tmp_path / "admin").write_bytes(content)
    text = error(call("iso", "--admin-password-file", "admin"), ExitCode.SPEC)
    assert what in text
    assert "xxx" not in text
    assert not (tmp_path / "dist").exists()


ENDLESS = {"empty": "it is empty", "pipe": "it is not a file", "device": "it is not a file"}


@pytest.mark.parametrize(("kind", "what"), ENDLESS.items(), ids=ENDLESS)
def test_scripts_that_cannot_be_carried(call, tmp_path, kind, what):
    script = tmp_path / "a.ps1"
    make = {"empty": script.touch, "pipe": lambda: os.mkfifo(script)}
    make.get(kind, lambda: script.symlink_to("/dev/zero"))()
    (tmp_path / "winseed.toml").write_text('defaults.first_boot = ["a.ps1"]\n')
    assert f"a.ps1: {what}" in error(call("plan"), ExitCode.SPEC)


def test_a_password_without_end(call):
    text = error(call("iso", "--admin-password-file", "/dev/zero"), ExitCode.SPEC)
    assert "too large" in text


@pytest.mark.parametrize("content", [b"\x00\xff" * 20, b"", b"\n", b"not base64!", b"QUJDR"])
def test_an_offline_join_blob_that_is_none(call, tmp_path, content):
    (tmp_path / "blob").write_bytes(content)
    (tmp_path / "winseed.toml").write_text('defaults.offline_join_file = "blob"\n')
    error(call("iso", "--secrets-on-medium"), ExitCode.SPEC)


# plan


def test_plan_writes_and_asks_nothing(call, tmp_path):
    (tmp_path / "winseed.toml").write_text(
        '[[host]]\nname = "a1"\n[[host.account]]\nname = "ops"\npassword_file = "absent"\n'
    )
    done = call("plan")
    assert (done.code, done.err) == (0, "")
    assert "one-time password ***" in done.out
    assert "ops (***)" in done.out
    assert names(tmp_path) == ["winseed.toml"]


def test_plan_as_json(call, tmp_path):
    (tmp_path / "winseed.toml").write_text(TWO)
    document = json.loads(call("plan", "--all", "--json").out)
    assert document["version"] == 1
    assert [plan["host"] for plan in document["plans"]] == ["dc01", "dc02"]
    assert document["plans"][0]["administrator"]["password"] == "***"


def test_plan_diff(call):
    assert call("iso", "--release", "2019").code == 0
    same = call("plan", "--release", "2019", "--diff", "dist/winsrv-2019-core.iso")
    assert (same.code, same.out) == (0, "")
    assert "was built from the same plan" in same.err
    other = call("plan", "--release", "2022", "--diff", "dist/winsrv-2019-core.manifest.json")
    assert "release: 2019 -> 2022\n" in other.out
    document = json.loads(
        call("plan", "--json", "--diff", "dist/winsrv-2019-core.iso", "--edition", "desktop").out
    )
    rows = {row["path"]: (row["then"], row["now"]) for row in document["differences"]}
    assert rows["edition"] == ("core", "desktop")
    assert rows["release"] == ("2019", "2022")


def test_plan_diff_with_what_is_no_answer_disc(call, tmp_path, discs):
    (tmp_path / "winseed.toml").write_text(TWO)
    assert "compares one host" in error(call("plan", "--all", "--diff", "x.iso"), ExitCode.SPEC)
    wrong = {
        discs["windows-2022-eval"]: "is no answer ISO",
        tmp_path / "absent.iso": "absent.iso",
        tmp_path / "absent.json": "cannot read",
        tmp_path / "winseed.toml": "winseed.toml",
    }
    for path, what in wrong.items():
        assert what in error(call("plan", "--host", "dc01", "--diff", path), ExitCode.MEDIA)
    for text in ("[]", "{}", "x", '{"version": 1}', "[" * 100_000):
        (tmp_path / "m.json").write_text(text)
        done = call("plan", "--host", "dc01", "--diff", "m.json")
        assert "not a manifest" in error(done, ExitCode.MEDIA)


# init, schema, inspect


def test_init(call, tmp_path):
    done = call("init")
    assert (done.code, done.err) == (0, "")
    text = (tmp_path / "winseed.toml").read_text()
    assert call("plan").code == 0
    assert "exists already" in error(call("init"), ExitCode.SPEC)
    (tmp_path / "winseed.toml").write_text("changed")
    assert call("init", "--force").code == 0
    assert (tmp_path / "winseed.toml").read_text() == text
    assert call("init", "--dry-run", "other.toml").out == text
    assert not (tmp_path / "other.toml").exists()
    assert json.loads(call("init", "other.toml", "--json").out) == {
        "version": 1,
        "spec": "other.toml",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_init_without_permission(call, tmp_path):
    tmp_path.chmod(0o500)
    error(call("init"), ExitCode.SPEC)


def test_schema_describes_a_spec(call):
    document = json.loads(call("schema").out)
    assert document["title"] == "winseed spec"
    assert "# The spec" in call("schema", "--markdown").out


def test_inspect_an_answer_disc(call):
    call("iso")
    done = call("inspect", "dist/winsrv-2022-core.iso")
    assert (done.code, done.err) == (0, "")
    assert "answer ISO of winseed" in done.out
    assert "autounattend.xml" in done.out
    document = json.loads(call("inspect", "--json", "dist/winsrv-2022-core.iso").out)
    assert document["version"] == 1
    assert document["discs"][0]["kind"] == "answer"
    assert document["discs"][0]["host"] == "winsrv"


def test_a_name_that_is_not_utf_8(call, tmp_path, discs):
    """Linux names are bytes: JSON must still be JSON, and name the same file."""
    name = os.fsdecode(b"bad\xff.iso")
    (tmp_path / name).write_bytes(discs["windows-2022-eval"].read_bytes())
    done = call("inspect", "--json", name)
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["discs"][0]["path"] == name


def test_a_file_in_the_way_of_a_folder(call, tmp_path):
    (tmp_path / "taken").touch()
    assert "in the way" in error(call("iso", "-o", "taken/"), ExitCode.SPEC)


def test_inspect_what_is_not_there(call):
    assert "absent.iso" in error(call("inspect", "absent.iso"), ExitCode.MEDIA)


def test_a_bug_is_told_without_a_traceback(call, monkeypatch):
    """The one place where a call of ours is made to fail: nothing else may raise."""

    def broken(*_arguments, **_options):
        raise ValueError(PASSWORD)

    monkeypatch.setattr("builder.cli.main.importlib.import_module", broken)
    done = call("schema")
    assert done.code == ExitCode.BUG
    assert "ValueError: this is a bug of winseed" in done.err
    assert PASSWORD not in done.err
    with pytest.raises(ValueError, match="Given"):
        run(["--debug", "schema"])
