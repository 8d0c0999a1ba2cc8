"""Whatever a VNC server says, a picture or a PveError comes of it; a PNG holds every pixel."""

import struct
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.rfb import Screenshot, read_screen
from builder.proxmox.screen import render_png
from builder.values import Secret

GREETING = b"RFB 003.008\n" + b"\x01\x02" + bytes(16) + bytes(4)
EDGES = st.sampled_from([0, 1, 7, 4096, 4097, 65535])


class Tape:
    """Plays what a server says, then nothing."""

    def __init__(self, content):
        self.content, self.said = content, b""

    def read(self, size):
        if len(self.content) < size:
            raise PveError("nothing more", trouble=Trouble.UNKNOWN)
        found, self.content = self.content[:size], self.content[size:]
        return found

    def send(self, content):
        self.said += content


def screen(width, height):
    return struct.pack(">HH", width, height) + bytes(16) + struct.pack(">I", 0)


numbers = st.integers(0, 0xFFFF) | EDGES
rectangles = st.builds(
    lambda x, y, width, height, kind, content: struct.pack(">HHHHi", x, y, width, height, kind)
    + content,
    numbers, numbers, numbers, numbers, st.sampled_from([0, -223, 1, 5]), st.binary(max_size=64),
)  # fmt: skip
updates = st.lists(rectangles, max_size=4).map(
    lambda many: struct.pack(">BxH", 0, len(many)) + b"".join(many)
)
messages = updates | st.binary(max_size=40) | st.just(b"\x02")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_beginning(content):
    play(content)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), st.lists(messages, max_size=5))
def test_any_messages(width, height, many):
    play(GREETING + screen(width, height) + b"".join(many))


def play(content):
    told = ""
    try:
        shot = read_screen(Tape(content), Secret("Abcdefg1"))
    except PveError as error:
        told = error.what + error.hint
    else:
        assert len(shot.pixels) == 3 * shot.width * shot.height
    assert told.isprintable()
    assert "Abcdefg1" not in told


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.tuples(*[st.integers(0, 39)] * 2)))
def test_a_picture_in_parts(width, height, cuts):
    """Overlapping parts, in any order, as long as all of it comes; nothing outside is painted."""
    parts = [
        (min(x, width - 1), min(y, height - 1), width - min(x, width - 1), 1) for x, y in cuts
    ] + [(0, 0, width, height)]
    content = struct.pack(">BxH", 0, len(parts))
    for x, y, wide, high in parts:
        pixels = b"".join(
            bytes((2, y + row, x + column, 0)) for row in range(high) for column in range(wide)
        )
        content += struct.pack(">HHHHi", x, y, wide, high, 0) + pixels
    tape = Tape(GREETING + screen(width, height) + content)
    shot = read_screen(tape, Secret("x"))
    assert shot.pixels == b"".join(bytes((x, y, 2)) for y in range(height) for x in range(width))
    assert tape.content == b""
    assert tape.said.endswith(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_png(width, height, data):
    pixels = data.draw(st.binary(min_size=3 * width * height, max_size=3 * width * height))
    png = render_png(Screenshot(width=width, height=height, pixels=pixels))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    rest, found = png[8:], {}
    while rest:
        size = int.from_bytes(rest[:4])
        name, content, check = rest[4:8], rest[8 : 8 + size], rest[8 + size : 12 + size]
        assert int.from_bytes(check) == zlib.crc32(name + content)
        found[name], rest = content, rest[12 + size :]
    assert list(found) == [b"IHDR", b"IDAT", b"IEND"]
    assert found[b"IHDR"] == struct.pack(">II", width, height) + b"\x08\x02\0\0\0"
    lines = zlib.decompress(found[b"IDAT"])
    row = 3 * width + 1
    assert {lines[start] for start in range(0, len(lines), row)} == {0}
    assert b"".join(lines[at + 1 : at + row] for at in range(0, len(lines), row)) == pixels
