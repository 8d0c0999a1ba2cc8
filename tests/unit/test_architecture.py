"""The rooms of the house (docs/architecture.md): who may import whom, how large they are."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import ROOT

PACKAGE = ROOT / "builder"
FILES = sorted(PACKAGE.rglob("*.py"))
EMPTY_WORDS = {"manager", "handler", "helper", "util", "utils", "misc"}
FIELD_WORDS = {"process", "data", "info"}  # data disk, UserData, SignerInfo: no names of modules
FILE_LIMIT, FUNCTION_LIMIT = 400, 60
OVERDUE: set[str] = set()  # larger than that, and to be cut
# state by nature: a terminal, a reader's position, a tree while it is read
FOREIGN = {"proxy_manager_for"}  # names that a library's base class prescribes
LIVING = {"Console", "_Bar", "Element", "Answer", "_Part", "_Ruler"}

# A room, and what it must not know of. Readers have no opinions, plans no effects, writers no spec.
WALLS = {
    "media": ("plan", "answer", "cli", "build", "disc", "report", "fleet", "spec", "drivers"),
    "spec": ("media", "plan", "answer", "cli", "build", "disc", "report", "files"),
    "plan": ("answer", "cli", "build", "disc", "report", "files", "fleet", "console"),
    "answer": ("cli", "build", "report", "spec", "files", "fleet"),
    "disc": ("plan", "spec", "answer", "cli", "build", "report"),
    "report": ("cli", "spec", "answer"),
    "drivers": ("plan", "answer", "cli", "build", "disc", "report"),
    "domain": ("cli", "build", "disc", "report"),
    "values": ("spec", "plan", "media", "answer", "cli", "releases", "tables"),
    "errors": ("spec", "plan", "media", "answer", "cli", "values", "console"),
    "handoff": ("cli", "spec", "fleet", "proxmox"),
    "files": ("plan", "spec", "media", "answer", "cli", "build"),
}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported, wherever in the file; those for type checkers alone left out."""
    guarded = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def trees() -> dict[str, ast.Module]:
    return {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


@pytest.mark.parametrize("room", WALLS)
def test_walls_between_rooms(room):
    checked = 0
    for module, tree in trees().items():
        if module == f"builder.{room}" or module.startswith(f"builder.{room}."):
            checked += 1
            for name in imports(tree):
                for other in WALLS[room]:
                    wall = f"builder.{other}"
                    assert name != wall, f"{module} imports {name}"
                    assert not name.startswith(f"{wall}."), f"{module} imports {name}"
    assert checked


def test_only_the_command_line_imports_the_command_line():
    for module, tree in trees().items():
        if not module.startswith("builder.cli"):
            assert not [name for name in imports(tree) if name.startswith("builder.cli")], module


def test_no_circles():
    """Imports at the head of a file form no circle."""
    graph: dict[str, set[str]] = {}
    known = trees()
    for module, tree in known.items():
        head = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
        found = imports(ast.Module(body=head, type_ignores=[]))
        graph[module] = {name for name in found if name in known and name != module}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_nothing_prints_but_the_command_line_and_the_console():
    for module, tree in trees().items():
        if module.startswith("builder.cli") or module == "builder.console":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in {"print", "click.echo", "input", "sys.exit", "exit"}, module


def test_no_release_knowledge_in_code():
    """Release ids stand in data; code compares what a release can do."""
    pattern = re.compile(r"(==|!=|in|not in) \(?['\"](2012r2|2016|2019|2022|2025)['\"]")
    for path in FILES:
        assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_sizes_of_rooms():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        overdue = path.relative_to(ROOT).as_posix() in OVERDUE
        assert (len(text.splitlines()) > FILE_LIMIT) <= overdue, path
        for node in ast.walk(trees()[module_of(path)]):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                overdue = node.name in OVERDUE
                assert (length > FUNCTION_LIMIT) <= overdue, f"{path}: {node.name}, {length} lines"


def test_names_say_what_things_are():
    for path in FILES:
        assert not (EMPTY_WORDS | FIELD_WORDS) & set(path.stem.split("_")), path
        for node in ast.walk(trees()[module_of(path)]):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in FOREIGN:
                words = set(re.findall(r"[A-Z]?[a-z]+", node.name))
                assert not EMPTY_WORDS & {word.lower() for word in words}, f"{path}: {node.name}"


def test_frozen_keyword_only_values():
    """A dataclass is a value; what lives is named above."""
    for path in FILES:
        for node in ast.walk(trees()[module_of(path)]):
            if not isinstance(node, ast.ClassDef) or node.name in LIVING:
                continue
            for decorator in node.decorator_list:
                text = ast.unparse(decorator)
                if text.partition("(")[0] in {"dataclass", "dataclasses.dataclass"}:
                    assert "frozen=True" in text, f"{path}: {node.name}"


def test_nothing_here_names_another_machine():
    """No path of a developer's machine in anything that is published."""
    pattern = re.compile(r"/work/|\.\./shared|/root/|/home/[a-z]")
    folders = ("builder", "answer_templates", "drivers", "docs", "tests")
    for path in [
        ROOT / "README.md",
        ROOT / "Makefile",
        *(p for f in folders for p in (ROOT / f).rglob("*")),
    ]:
        if path.suffix in {".py", ".md", ".toml", ".j2", ".json", ".txt", ".xml", ".cmd", ".ps1"}:
            if path == Path(__file__):
                continue
            found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
            assert found is None, f"{path}: {found}"
