"""What a picture of the screen shows, as far as plain rules tell. Pure; unsure is UNKNOWN.

Nobody has held these rules against every Windows (FT32): they see shares of colours, not words. So
they help a person to understand a stall, and decide nothing.
"""

import collections
import enum
from collections.abc import Callable

from builder.proxmox.rfb import Screenshot

DARK, LIGHT = 16, 0xE0  # of 255: at most, at least, in every colour
# a stop screen's background. The first is 2012 R2's as xenserver/xenrt exec/xenrt/lib/xenserver/
# guest.py `isBSODBlue` looks for it (and for 50 %); the second is common knowledge of Windows 10
BLUES = ((32, 104, 180), (0, 120, 215))
NEAR = 12
GRID = 200  # points looked at on each side


class ScreenKind(enum.Enum):
    """What is on the screen. The value is how to say it."""

    BLACK = "a black screen"
    # firmware, "Press any key", the boot manager, a console; since 2025 a stop screen as well
    TEXT = "light text on black"
    BLUE_SCREEN = "a blue screen, probably a stop error"
    DIALOG = "a window that does not change: perhaps a dialog that waits for somebody"
    PROGRESS = "a window that changes"
    UNKNOWN = "something else"


def classify(shot: Screenshot, before: Screenshot | None = None) -> ScreenKind:
    """What `shot` shows. Windows are told apart with the help of a picture from a minute before."""
    lit = len(shot.pixels.translate(None, bytes(range(DARK + 1)))) / len(shot.pixels)
    points = _points(shot, ALL, ALL)
    if lit <= 0.001:
        return ScreenKind.BLACK
    if _share(points, _is_dark) >= 0.8 and _is_text(shot):
        return ScreenKind.TEXT
    if _share(points, _is_stop_blue) >= 0.7:
        return ScreenKind.BLUE_SCREEN
    if before is not None and _has_window(shot):
        return ScreenKind.DIALOG if is_frozen(shot, before) else ScreenKind.PROGRESS
    return ScreenKind.UNKNOWN


def is_frozen(shot: Screenshot, before: Screenshot) -> bool:
    """Whether nothing has changed: not one pixel, though Setup shows dots that move."""
    return shot == before


_Point = tuple[int, int, int]
_Part = tuple[float, float]  # from, to, as shares of a side
ALL = (0.0, 1.0)


def _points(shot: Screenshot, across: _Part, down: _Part) -> list[_Point]:
    """Pixels on a grid in a part of the picture."""
    pixels, found = shot.pixels, []
    for y in _steps(shot.height, down):
        for x in _steps(shot.width, across):
            at = 3 * (y * shot.width + x)
            found.append((pixels[at], pixels[at + 1], pixels[at + 2]))
    return found


def _steps(size: int, part: _Part) -> range:
    start = int(size * part[0])
    return range(start, max(int(size * part[1]), start + 1), max(size // GRID, 1))


def _share(points: list[_Point], fits: Callable[[_Point], bool]) -> float:
    return sum(map(fits, points)) / len(points)


def _is_dark(point: _Point) -> bool:
    return max(point) <= DARK


def _is_light(point: _Point) -> bool:
    return min(point) >= LIGHT


def _is_stop_blue(point: _Point) -> bool:
    return any(
        all(abs(have - want) <= NEAR for have, want in zip(point, blue, strict=True))
        for blue in BLUES
    )


def _is_text(shot: Screenshot) -> bool:
    """Whether there are no more than the 16 colours of a console, and mostly its greys.

    Letters of VGA and of UEFI are not smoothed; logos, pictures and windows are.
    """
    red, green, blue = (shot.pixels[colour::3] for colour in range(3))
    counts = collections.Counter(zip(red, green, blue, strict=True))
    lit = {point: count for point, count in counts.items() if not _is_dark(point)}
    grey = sum(count for point, count in lit.items() if max(point) - min(point) <= NEAR)
    return len(counts) <= 16 and grey >= 0.5 * sum(lit.values())


def _has_window(shot: Screenshot) -> bool:
    """Whether something light stands in the middle, and nothing light in the four corners."""
    corners = [
        point
        for across in ((0.0, 0.1), (0.9, 1.0))
        for down in ((0.0, 0.1), (0.9, 1.0))
        for point in _points(shot, across, down)
    ]
    middle = _points(shot, (0.25, 0.75), (0.25, 0.75))
    return _share(middle, _is_light) >= 0.15 and _share(corners, _is_light) <= 0.02
