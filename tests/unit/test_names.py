"""Names that Windows, ISO 9660 and Joliet can all carry."""

import pytest

from builder.names import check_names


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("", "empty"),
        ("/a", "empty"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("a/../b", "'..'"),
        ("./a", "'.'"),
        *((f"a{char}b", "illegal on Windows") for char in '<>:"|?*\\;\t\n\0\x7f'),
        ("a./b", "dot or a space"),
        ("a ", "dot or a space"),
        ("...", "dot or a space"),
        *(
            (name, "reserves for a device")
            for name in ("CON", "con.txt", "x/Nul", "aux.tar.gz", "COM1", "lpt9.x", "PRN .a")
        ),
        ("\xe4.txt", "outside ASCII"),
        ("\u212a", "outside ASCII"),
        ("\ud800", "outside ASCII"),
        ("n" * 65, "64 characters"),
        ("/".join(["n" * 40] * 6), "longer than 240"),
    ],
)
def test_names_that_no_disc_for_windows_can_carry(path, what):
    (problem,) = [problem for problem in check_names([path]) if what in problem.what]
    assert problem.where.isascii()
    assert problem.where.isprintable() or not problem.where


@pytest.mark.parametrize(
    "path",
    [
        "n" * 64,
        "con1",
        "comx",
        "a.con",
        "console",
        "$OEM$/$1",
        ".a",
        "a b",
        "/".join(["n" * 39] * 6),
    ],
)
def test_names_that_are_fine(path):
    assert check_names([path]) == ()


def test_names_that_collide():
    found = check_names(["a/B", "A/b", "c", "C", "d", "d/e", "twice", "twice", "x/Y/z", "x/y"])
    assert {(problem.where, problem.what) for problem in found} == {
        ("A/b", "differs from a/B in case only"),
        ("A", "differs from a in case only"),
        ("C", "differs from c in case only"),
        ("d", "is a file and a folder"),
        ("twice", "occurs 2 times"),
        ("x/Y", "differs from x/y in case only"),
    }
