"""Kept bytecode of templates: used when it fits, ignored when it does not, never an obstacle."""

import sys

import jinja2
import pytest

from builder.answer.bytecode import TemplateBytecode


@pytest.fixture(autouse=True)
def bytecode_is_written(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "render.py"
    path.write_text("# first")
    return path


def environment(source, text, *, variant="xml=False"):
    """An environment that counts what it compiles."""

    class Counting(jinja2.Environment):
        compiled = 0

        def compile(self, *args, **options):
            self.compiled += 1
            return super().compile(*args, **options)

    cache = TemplateBytecode(source, variant=variant)
    return Counting(loader=jinja2.DictLoader({"a/b.cmd.j2": text}), bytecode_cache=cache)


def render(given):
    return given.get_template("a/b.cmd.j2").render(x=1), given.compiled


def test_second_run_compiles_nothing(source):
    assert render(environment(source, "v{{ x }}")) == ("v1", 1)
    assert [path.parent.name for path in source.parent.rglob("*.pyc")] == ["__pycache__"]
    assert render(environment(source, "v{{ x }}")) == ("v1", 0)


def test_changed_template_source_or_variant_is_compiled_again(source):
    render(environment(source, "v{{ x }}"))
    assert render(environment(source, "w{{ x }}")) == ("w1", 1)
    source.write_text("# second")
    assert render(environment(source, "w{{ x }}")) == ("w1", 1)
    assert render(environment(source, "w{{ x }}", variant="xml=True")) == ("w1", 1)


@pytest.mark.parametrize("kept", [0, 10, 70, 90, 140, -1])
def test_file_cut_short_is_ignored(source, kept):
    render(environment(source, "v{{ x }}"))
    path = next(source.parent.rglob("*.pyc"))
    path.write_bytes(path.read_bytes()[:kept])
    assert render(environment(source, "v{{ x }}")) == ("v1", 1)


def test_folder_that_cannot_be_written_is_no_error(source):
    (source.parent / "__pycache__").write_text("no folder")
    assert render(environment(source, "v{{ x }}")) == ("v1", 1)
    assert render(environment(source, "v{{ x }}")) == ("v1", 1)


def test_bytecode_can_be_refused(source, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    render(environment(source, "v{{ x }}"))
    assert not list(source.parent.rglob("*.pyc"))
