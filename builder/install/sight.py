"""Screen and serial port of a VM, as the watch uses them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from builder.files import draft, prepare_folder, target_errors
from builder.install.screen import classify
from builder.install.target import Target
from builder.install.witness import Lines
from builder.proxmox.screen import render_png, take_screenshot
from builder.proxmox.serial import SerialLine, SerialReader

SCREEN = "screen.png"
BETWEEN = 2.0  # seconds from one picture to the next


@contextlib.contextmanager
def read_serial(target: Target) -> Iterator[Lines]:
    """COM1 of a VM while the block runs; nothing comes when it cannot be read."""
    with SerialReader(target.api, target.node, target.vmid) as reader:
        yield _News(reader).take


class _News:
    """The lines of a reader that were not taken before, our own markers above all.

    A reader keeps the last 200 lines and the last 200 markers, however much comes in between.
    """

    def __init__(self, reader: SerialReader) -> None:
        self._reader = reader
        self._taken: dict[int, SerialLine] = {}

    def take(self) -> tuple[str, ...]:
        kept = {id(line): line for line in (*self._reader.markers(), *self._reader.lines())}
        fresh = [line for key, line in kept.items() if key not in self._taken]
        self._taken = kept
        return tuple(line.text for line in sorted(fresh, key=lambda line: line.at))


def look_at_screen(target: Target, folder: Path) -> str | None:
    """Keep a picture of the screen in `folder`, readable by its owner, and say what it shows.

    Two pictures are taken: a screen that stands still tells more than one that moves. Raises
    PveError when there is none to be had.
    """
    before = take_screenshot(target.api, target.node, target.vmid)
    target.api.clock.pause(BETWEEN)
    screenshot = take_screenshot(target.api, target.node, target.vmid)
    path = folder / SCREEN
    with target_errors(path):
        prepare_folder(path)
        with draft(path) as (fd, _), os.fdopen(os.dup(fd), "wb") as file:
            file.write(render_png(screenshot))
    return f"the screen shows {classify(screenshot, before).value}: {path}"
