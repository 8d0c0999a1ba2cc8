"""Quoting carries any text unharmed. The decoders follow the published rules, not our code.

PowerShell: about_Quoting_Rules, and the language specification's single-quote-character, which
counts U+2018 to U+201B as quotes. Arguments: learn.microsoft.com, "Parsing C command-line
arguments". Passwords: the unattend reference's PlainText.
"""

import base64

from hypothesis import given
from hypothesis import strategies as st

from builder.answer.render import encode_password, quote_argument, quote_powershell
from builder.values import Secret

SIGNS = "&^%!\"'<>$\\`\u2018\u2019\u201a\u201b\u201c\u201d\u201e |;()[]{}#@,"
TEXTS = st.text(
    st.one_of(st.sampled_from(SIGNS), st.characters(exclude_categories=["Cs", "Cc"])), max_size=80
)
QUOTE = {"'", "\u2018", "\u2019", "\u201a", "\u201b"}


def powershell_literal(source: str) -> str:
    """The value of a verbatim string literal that spans all of `source`."""
    assert source[0] in QUOTE
    value, at = "", 1
    while at < len(source):
        if source[at] not in QUOTE:
            value += source[at]
            at += 1
        elif at + 1 < len(source) and source[at + 1] in QUOTE:
            value += source[at + 1]  # of two quotes in a row the second is the value
            at += 2
        else:
            assert at == len(source) - 1, "the literal ends before the text does"
            return value
    raise AssertionError("the literal does not end")


def arguments(line: str) -> list[str]:
    """argv of a command line after the program name."""
    found, current, quoted, started, at = [], "", False, False, 0
    while at < len(line):
        slashes = 0
        while at < len(line) and line[at] == "\\":
            slashes, at = slashes + 1, at + 1
        if at < len(line) and line[at] == '"':
            current += "\\" * (slashes // 2)
            started = True
            if slashes % 2:
                current += '"'
            elif quoted and line[at + 1 : at + 2] == '"':
                current += '"'  # two quotes within quotes are one
                at += 1
            else:
                quoted = not quoted
            at += 1
            continue
        current += "\\" * slashes
        started = started or slashes > 0
        if at == len(line):
            break
        if line[at] in " \t" and not quoted:
            if started:
                found.append(current)
            current, started = "", False
        else:
            current, started = current + line[at], True
        at += 1
    assert not quoted, "a quote stays open"
    return [*found, current] if started else found


@given(TEXTS)
def test_powershell_literal(text):
    assert powershell_literal(quote_powershell(text)) == text


@given(TEXTS, TEXTS)
def test_argument(first, second):
    line = f"/d {quote_argument(first)} {quote_argument(second)} /f"
    assert arguments(line) == ["/d", first, second, "/f"]


@given(TEXTS, st.sampled_from(["AdministratorPassword", "Password"]))
def test_password(text, element):
    encoded = encode_password(Secret(text), element)
    decoded = base64.b64decode(encoded, validate=True).decode("utf-16-le")
    assert decoded == text + element
