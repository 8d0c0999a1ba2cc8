"""Whatever stands in a spec, the answer is hosts or an error with a place, never a crash."""

import datetime as dt
import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.cli.main import run
from builder.errors import ExitCode, WinseedError
from builder.spec.load import Override, Site, load_site, spec_schema
from builder.spec.model import HostSpec, SiteSpec

FOLDER = Path("/spec")


def toml_value(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in quoted)
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        rows = (f"{toml_value(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{{', '.join(rows)}}}"
    if isinstance(value, dt.date | dt.time | dt.datetime):
        return value.isoformat()
    return repr(value)


def toml(document: dict) -> str:
    return "\n".join(f"{toml_value(key)} = {toml_value(value)}" for key, value in document.items())


def load(text, **options) -> Site:
    return load_site(
        text, source="site.toml", folder=FOLDER, **({"overrides": {}, "host": None} | options)
    )


def check_outcome(text, **options) -> Site | WinseedError:
    """The site, or an error that holds to its form."""
    try:
        site = load(text, **options)
    except WinseedError as error:
        outcome = error
    else:
        assert site.hosts
        assert all(isinstance(host, HostSpec) for host in site.hosts)
        return site
    assert outcome.code is ExitCode.SPEC
    assert outcome.what
    assert all(problem.what and problem.where for problem in outcome.problems)
    return outcome


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = st.one_of(
    texts,
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.sampled_from(
        ["auto", "none", "core", "10.0.0.1", "10.0.0.1/24", "::1/64", "bios", "2025", "C:", "~x"]
    ),
)


def keys_of(model) -> list[str]:
    return list(model.model_fields)


def values_for(keys: list[str], inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(st.one_of(st.sampled_from(keys), texts), inner, max_size=6)


every_key = sorted(
    set(keys_of(HostSpec)).union(
        *(table["properties"] for table in spec_schema()["$defs"].values() if "properties" in table)
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), values_for(every_key, inner)),
    max_leaves=8,
)
host_tables = values_for(keys_of(HostSpec), values)
documents = st.one_of(
    values_for(["site", "defaults", "host"], values),
    st.fixed_dictionaries(
        {},
        optional={
            "site": st.one_of(values, values_for(keys_of(SiteSpec), scalars)),
            "defaults": st.one_of(host_tables, values),
            "host": st.one_of(st.lists(host_tables, max_size=3), values),
        },
    ),
)


@given(texts)
@example("[" * 5000)
@example("host = [[]]")
@example("a" * 3 + " = " + "[" * 2000)
@example("x = " + "{a=" * 2000)
@example("[[host]]\nname = 1979-05-27T07:32:00Z")
@example("x = 1" + "0" * 5000)
@example("defaults.owner = 0x" + "f" * 5000)
@example("defaults.disk.size_gib = 0x" + "f" * 5000)
def test_any_text(text):
    check_outcome(text)


@settings(max_examples=300)
@given(documents, st.one_of(st.none(), texts))
def test_any_document(document, wanted):
    text = toml(document)
    tomllib.loads(text)
    check_outcome(text, host=wanted)


@given(st.dictionaries(st.sampled_from(["release", "edition", "sku", "channel"]), texts))
def test_any_override(given_values):
    overrides = {
        key: Override(value=value, source=f"--{key}") for key, value in given_values.items()
    }
    outcome = check_outcome(None, overrides=overrides)
    if isinstance(outcome, WinseedError):
        flags = {f"--{key}" for key in given_values}
        assert {problem.where for problem in outcome.problems} <= flags | {"defaults.disk.layout"}


@settings(max_examples=60)
@given(st.binary(max_size=60))
@example(b"\xff\xfe[\0d\0")
@example(b"\xef\xbb\xbf[defaults]\n")
@example(b"[defaults]\nowner = '\xed\xa0\x80'\n")
@example(b"\0")
def test_any_bytes_through_the_command(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "site.toml"
    path.write_bytes(data)
    assert run(["plan", "--spec", str(path)]) in {ExitCode.DONE, ExitCode.SPEC}


WRONG = st.sampled_from([[], {}, "\0", "x" * 500, -1, 1.5, 10**20, "\u2028", "nonsense", [[]]])


@given(st.sampled_from(keys_of(HostSpec)), WRONG, st.booleans())
def test_a_refused_value_names_its_path(key, value, in_defaults):
    """One strange value in an otherwise sound spec: each problem lies at that key or below it."""
    if in_defaults and key != "name":
        document, where = {"defaults": {key: value}, "host": [{"name": "a1"}]}, f"defaults.{key}"
    else:
        document, where = {"host": [{"name": "a1"} | {key: value}]}, f"host[0].{key}"
    outcome = check_outcome(toml(document))
    if isinstance(outcome, WinseedError):
        assert outcome.problems
        assert all(problem.where.startswith(where) for problem in outcome.problems)


@pytest.mark.parametrize("key", ["product_key"])
@given(value=st.text("BCDFGHJKMPQRTVWXY2346789-", min_size=8, max_size=40))
def test_a_wrong_key_is_never_shown(key, value):
    outcome = check_outcome(toml({"defaults": {key: value}}))
    if isinstance(outcome, WinseedError):
        told = " ".join([outcome.what, outcome.hint, *map(str, outcome.problems)])
        assert value not in told
