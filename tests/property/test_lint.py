"""Any bytes, and any mutation of a good file, get findings in bounded time and nothing else."""

import time
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.answer.lint import Finding, lint_answer, load_rules

CASES = Path(__file__).parent.parent / "lint" / "cases"
GOOD = (CASES / "server-2022.xml").read_bytes()
SECONDS = 2

PIECES = [
    *(b"<", b">", b"</", b"/>", b"&", b"&amp;", b"&#0;", b"]]>", b"<![CDATA[", b"<!--", b"-->"),
    *(b"<!DOCTYPE a [", b'<!ENTITY a "b">', b"]>", b"&a;", b"{{ x }}", b"{% if x %}", b"\xff\xfe"),
    *(b"<?xml version='1.0' encoding='", b"utf-16", b"hex", b"' ?>", b"\0", b"\xc3\xa9", b"\n"),
    *(
        b"<unattend xmlns='urn:schemas-microsoft-com:unattend'>",
        b"</unattend>",
        b" wcm:action='add'",
    ),
    *(b"<settings pass='windowsPE'>", b"</settings>", b"</component>", b"99999999999999999999"),
    *(b"<component name='Microsoft-Windows-Setup'>", b"<UserData>", b"</UserData>", b"-1", b"1e9"),
]


def judged(text: bytes) -> tuple[Finding, ...]:
    started = time.process_time()
    findings = lint_answer(text, name="a.xml")
    assert time.process_time() - started < SECONDS
    rules = load_rules()
    lines = text.count(b"\n") + text.count(b"\r") + 1
    for finding in findings:
        assert finding.id in rules
        assert 1 <= finding.line <= lines
        assert finding.column >= 1
        assert finding.what.isprintable()
        assert len(finding.what) < 1000
    return findings


@given(st.binary(max_size=400))
@example(b"")
@example(b"\xfe\xff")
@example(b"<?xml version='1.0' encoding='undefined'?><a/>")
@settings(max_examples=150, deadline=None)
def test_any_bytes(text: bytes) -> None:
    judged(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
@settings(max_examples=200, deadline=None)
def test_any_pieces_of_xml(text: bytes) -> None:
    judged(text)


@given(
    st.lists(
        st.tuples(st.integers(0, len(GOOD)), st.integers(0, 60), st.sampled_from([b"", *PIECES])),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_damage_to_a_good_file(damage: list[tuple[int, int, bytes]]) -> None:
    text = GOOD
    for at, length, piece in damage:
        text = text[:at] + piece + text[at + length :]
    judged(text)


ELEMENTS = [
    line.strip()
    for line in GOOD.splitlines()
    if line.strip().endswith(b"/" + b">") or b"</" in line
]
LEAVES = [line for line in ELEMENTS if line.count(b"<") == 2]


@given(st.sampled_from(LEAVES), st.text(max_size=30).filter(lambda text: text.isprintable()))
@settings(max_examples=100, deadline=None)
def test_any_value_of_any_leaf(leaf: bytes, value: str) -> None:
    start, end = leaf.index(b">") + 1, leaf.rindex(b"<")
    safe = value.replace("&", "").replace("<", "").encode("utf-8", "ignore")
    findings = judged(GOOD.replace(leaf, leaf[:start] + safe + leaf[end:], 1))
    assert "WS001" not in {finding.id for finding in findings}


@given(st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_findings_stand_in_the_order_of_the_text(random: object) -> None:
    assert hasattr(random, "sample")
    lines = GOOD.splitlines()
    for at in random.sample(range(3, len(lines) - 3), 5):
        lines[at] = lines[at].replace(b"true", b"yes").replace(b"1", b"x")
    places = [(f.line, f.column) for f in judged(b"\n".join(lines))]
    assert places == sorted(places)
