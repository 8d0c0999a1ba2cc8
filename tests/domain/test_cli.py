"""`winseed dc`: the runbook is the default, and nothing is touched."""

import json

import pytest

from builder.errors import ExitCode
from tests.command import winseed
from tests.domain.plans import BODY, PARTNER

TEXT = BODY.format(mode="replacement", keys=PARTNER, dns='dns = ["192.0.2.12"]')


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "winseed.toml").write_text(TEXT)
    return lambda *arguments: winseed(capsys, "dc", *arguments)


def test_the_host_alone_prints_the_runbook(call, tmp_path):
    done = call("dc1")
    assert (done.code, done.err) == (0, "")
    assert done.out == call("plan", "dc1").out == call().out
    assert done.out.startswith("dc1.ad.example.com: replacement, Windows Server 2022\n")
    assert "1. Look before anything is touched" in done.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["winseed.toml"]


def test_one_case(call):
    done = call("plan", "dc1", "--case", "b")
    assert done.code == 0
    assert "Demote" not in done.out
    assert "only case" not in done.out


def test_json(call):
    document = json.loads(call("dc1", "--json").out)
    assert document["version"] == 1
    (book,) = document["runbooks"]
    assert book["fqdn"] == "dc1.ad.example.com"
    assert {"step", "commands", "checks", "recovery", "weight"} <= set(book["steps"][0])


def test_media_that_were_not_seen_are_told_after_the_runbook(call):
    (done) = call("dc1", "--channel", "eval")
    assert done.code == ExitCode.SPEC
    assert "never be converted" in done.err


def test_unseen_media_are_refused_with_the_runbook_all_the_same(call, tmp_path):
    (tmp_path / "winseed.toml").write_text(TEXT.replace('channel = "volume"\n', ""))
    done = call("dc1")
    assert done.code == ExitCode.UNSAFE
    assert "may be an evaluation" in done.err
    assert "1. Look before anything is touched" in done.out


def test_evaluation_media_are_refused(call, tmp_path, discs):
    (tmp_path / "winseed.toml").write_text(TEXT.replace('channel = "volume"\n', ""))
    done = call("dc1", "--windows-iso", discs["windows-2022-eval"])
    assert done.code == ExitCode.UNSAFE
    assert "on evaluation media" in done.err
    good = call("dc1", "--windows-iso", discs["windows-2022-volume"])
    assert (good.code, good.err) == (0, "")


def test_a_host_that_is_no_dc(call, tmp_path):
    (tmp_path / "winseed.toml").write_text('[[host]]\nname = "srv"\nchannel = "volume"\n')
    done = call("srv")
    assert (done.code, done.out) == (ExitCode.SPEC, "")
    assert 'role = "dc"' in done.err


def test_a_case_is_for_who_replaces(call, tmp_path):
    text = BODY.format(mode="additional", keys=PARTNER, dns='dns = ["192.0.2.12"]')
    (tmp_path / "winseed.toml").write_text(text)
    done = call("dc1", "--case", "a")
    assert done.code == ExitCode.SPEC
    assert "replaces no domain controller" in done.err


def test_a_host_that_is_not_there(call):
    done = call("dc9")
    assert done.code == ExitCode.SPEC
    assert "no host 'dc9'" in done.err


def test_help(call):
    assert "print the runbook" in call("--help").out
    assert "touches nothing" in call("plan", "--help").out
