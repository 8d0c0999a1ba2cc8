"""The commands that a PowerShell script calls, as tree-sitter-powershell reads them."""

import dataclasses
import re

import pytest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Called:
    """A command with the parameters that are written out; `splats` are its `@variables`."""

    name: str
    parameters: tuple[str, ...]
    splats: tuple[str, ...]
    line: int


def parse(text: str):
    """The tree of a script; skips the test when the grammar is not there."""
    reason = "needs the Python packages tree-sitter and tree-sitter-powershell"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip("tree_sitter_powershell", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    return parser.parse(text.encode()).root_node


def nodes(root, kind: str):
    """Every node of a kind, in the order of the text."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node.type == kind:
            yield node
        pending.extend(reversed(node.children))


def functions(root) -> dict[str, object]:
    """The functions that a script defines, by name."""
    found = {}
    for node in nodes(root, "function_statement"):
        name = next(child for child in node.children if child.type == "function_name")
        found[name.text.decode()] = node
    return found


def called(root):
    """Every command of a script, its own functions and script blocks in variables left out."""
    own = {name.casefold() for name in functions(root)}
    for node in nodes(root, "command"):
        names = [child for child in node.children if child.type == "command_name"]
        names += [
            name
            for child in node.children
            if child.type == "command_name_expr"
            for name in child.children
            if name.type == "command_name"
        ]
        if not names or names[0].text.decode().casefold() in own:
            continue
        elements = [child for child in node.children if child.type == "command_elements"]
        direct = [part for element in elements for part in element.children]
        yield Called(
            name=names[0].text.decode(),
            parameters=tuple(
                part.text.decode().lstrip("-")
                for part in direct
                if part.type == "command_parameter"
            ),
            splats=tuple(
                found for part in direct for found in re.findall(r"^@(\w+)$", part.text.decode())
            ),
            line=node.start_point.row + 1,
        )


def option_keys(root, function: str) -> set[str]:
    """The keys of the option table that a function builds, those of functions it calls included."""
    node = functions(root)[function]
    text = node.text.decode()
    keys = set(re.findall(r"^\s+(\w+) = ", text, re.MULTILINE))
    keys |= set(re.findall(r"\$options\.(\w+) = ", text))
    for other in functions(root):
        if other != function and re.search(rf"\b{re.escape(other)}\b", text):
            keys |= option_keys(root, other)
    return keys
