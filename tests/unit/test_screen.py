"""What a picture shows: rules about colours, which say UNKNOWN rather than too much."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.install.screen import ScreenKind, classify, is_frozen
from builder.proxmox.rfb import Screenshot

WIDTH, HEIGHT = 800, 600
PURPLE, WHITE, GREY = (44, 10, 82), (255, 255, 255), (168, 168, 168)


def shot(colour, *boxes, width=WIDTH, height=HEIGHT):
    """A plain picture with boxes: left, top, width, height and their colour."""
    rows = [bytearray(bytes(colour) * width) for _ in range(height)]
    for left, top, wide, high, inner in boxes:
        for row in rows[top : top + high]:
            row[3 * left : 3 * (left + wide)] = bytes(inner) * wide
    return Screenshot(width=width, height=height, pixels=b"".join(rows))


def letters(lines, colour=GREY):
    """Boxes that light as much as letters in rows of 80."""
    return [
        (left, 16 * line + down, 1, 1, colour)
        for line in range(lines)
        for left in range(0, 560, 3)
        for down in range(2, 13, 3)
    ]


def test_black():
    assert classify(shot((0, 0, 0))) is ScreenKind.BLACK
    assert classify(shot((0, 0, 0), (0, 0, 8, 2, GREY))) is ScreenKind.BLACK  # a cursor
    assert classify(shot((9, 9, 12))) is ScreenKind.BLACK


@pytest.mark.parametrize("lines", [1, 12, 37])
def test_text(lines):
    assert classify(shot((0, 0, 0), *letters(lines))) is ScreenKind.TEXT
    assert classify(shot((0, 0, 0), *letters(lines, WHITE))) is ScreenKind.TEXT


def test_text_with_some_colour():
    """The UEFI shell: its prompt is yellow."""
    picture = shot((0, 0, 0), *letters(5), *letters(1, (255, 255, 84)))
    assert classify(picture) is ScreenKind.TEXT


def test_a_logo_on_black_is_no_text():
    smooth = [(300 + step, 200, 1, 120, (step, step, step)) for step in range(20, 60)]
    for logo in ([(300, 200, 200, 120, (229, 112, 0))], smooth):
        assert classify(shot((0, 0, 0), *logo)) is ScreenKind.UNKNOWN
        assert classify(shot((0, 0, 0), *logo, *letters(1))) is ScreenKind.UNKNOWN


@pytest.mark.parametrize("blue", [(0, 120, 215), (32, 104, 180)])
def test_blue_screen(blue):
    assert classify(shot(blue, *letters(8, WHITE))) is ScreenKind.BLUE_SCREEN
    assert classify(shot((0, 0, 0), (0, 0, 400, 600, blue))) is ScreenKind.UNKNOWN


def test_windows_are_told_apart_by_what_changes():
    window = (150, 100, 500, 400, WHITE)
    still = shot(PURPLE, window)
    moved = shot(PURPLE, window, (200, 300, 40, 4, (0, 160, 0)))
    assert classify(still) is ScreenKind.UNKNOWN  # nobody knows from one picture
    assert classify(still, still) is ScreenKind.DIALOG
    assert classify(moved, still) is ScreenKind.PROGRESS
    assert classify(still, shot(PURPLE, width=1024, height=768)) is ScreenKind.PROGRESS


def test_a_message_box():
    box = shot(PURPLE, (200, 220, 400, 160, (240, 240, 240)))
    assert classify(box, box) is ScreenKind.DIALOG


def test_a_full_screen_of_light_is_no_window():
    for picture in (shot(WHITE), shot(PURPLE), shot((0, 90, 158), *letters(3, WHITE))):
        assert classify(picture, picture) is ScreenKind.UNKNOWN


def test_one_pixel_is_a_change():
    one = shot(PURPLE)
    assert is_frozen(one, shot(PURPLE))
    assert not is_frozen(one, shot(PURPLE, (5, 5, 1, 1, WHITE)))


def test_noise_is_unknown():
    pixels = random.Random(1).randbytes(3 * WIDTH * HEIGHT)
    noise = Screenshot(width=WIDTH, height=HEIGHT, pixels=pixels)
    assert classify(noise, noise) is ScreenKind.UNKNOWN


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 4), st.binary(min_size=3, max_size=3))
def test_every_size_is_told_something(width, height, colour):
    for wide, high in ((width, height), (height, width)):
        picture = shot(colour, width=wide, height=high)
        assert classify(picture) in ScreenKind
        assert classify(picture, picture) in ScreenKind
