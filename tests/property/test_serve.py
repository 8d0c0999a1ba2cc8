"""`winseed serve` for any request line: nothing outside the tree, and no range beyond a file."""

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from builder.serve import _relative, _span

PIECES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "boot",
        "secret",
        "%2e%2e",
        "%2f",
        "\\",
        "%00",
        "%0a",
        "?x",
        "#y",
        "//",
        "é",
    ]
)
TARGETS = st.lists(PIECES, max_size=6).map(lambda parts: "/" + "/".join(parts)) | st.text(
    max_size=60
)


@given(TARGETS)
def test_paths_stay_below_the_root(target):
    path = _relative(target)
    if path is None:
        return
    parts = path.split("/")
    assert all(part and not part.startswith(".") for part in parts)
    assert "\\" not in path
    assert "\0" not in path
    assert not path.startswith("/")


@given(st.lists(st.text("abcXYZ019-_$ ", min_size=1, max_size=8), min_size=1, max_size=5))
def test_plain_paths_arrive_as_they_are(parts):
    path = "/".join(parts)
    assert _relative("/" + quote(path)) == path


@given(st.text("bytes=0123456789-, ", max_size=30), st.integers(0, 10_000))
def test_ranges_lie_within_the_file(header, size):
    span = _span(header, size)
    if span is not None:
        first, last = span
        assert first >= 0
        assert last <= size - 1
        assert first <= last + 1


@given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 5000))
def test_ranges_are_what_was_asked_for(first, length, size):
    last = first + length
    expected = None if first >= size else (first, min(last, size - 1))
    assert _span(f"bytes={first}-{last}", size) == expected
