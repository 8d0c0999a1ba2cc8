"""A picture of a VM's screen, as the web console would show it. VM.Console is enough for it.

The web console's way: `vncproxy` gives a port, a ticket and a password, `vncwebsocket` leads there,
and QEMU's VNC server speaks RFB (proxmox/qemu-server at e6352be, src/PVE/API2/Qemu.pm). QEMU has
one VNC password, set anew by each `vncproxy` and valid for 30 s (src/PVE/CLI/qm.pm `vncproxy`).
"""

import struct
import zlib

from builder.proxmox.api import Api
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.rfb import Screenshot, read_screen
from builder.proxmox.websocket import Channel, make_proxy, open_channel

TIME = 10.0  # seconds from the ticket to the last pixel


def take_screenshot(api: Api, node: str, vmid: int) -> Screenshot:
    """A picture of a running VM's screen, in some 10 s at most.

    Raises PveError: FORBIDDEN without VM.Console, UNKNOWN when the VM does not run (there is
    nobody behind the console then) or nothing comes in time. The console may be reached through
    any node's server; the node of the VM itself spares it a hop by ssh. Nobody who looks at the
    screen is disturbed. A width that is no multiple of 16 has black columns at its right (ui/vnc.c
    rounds up).
    """
    # since qemu-server 9.1.8 there is always a password; before that only for those who ask
    params = {"websocket": True, "generate-password": True}
    proxy = make_proxy(api, node, vmid, "vncproxy", params)
    until = api.clock.now() + TIME
    with open_channel(api, node, vmid, proxy, until=until) as channel:
        return read_screen(_Wire(channel, vmid, until), proxy.password)


class _Wire:
    """A channel as a stream of bytes that ends at a moment."""

    def __init__(self, channel: Channel, vmid: int, until: float) -> None:
        self._channel, self._vmid, self._until = channel, vmid, until
        self._heard = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._heard) < size:
            block = self._channel.poll(until=self._until)
            if not block:
                raise PveError(
                    f"the screen of VM {self._vmid} did not come within {TIME:.0f} s",
                    trouble=Trouble.UNKNOWN,
                    hint="the node or QEMU is very busy, or the VM is paused: look at its console",
                )
            self._heard += block
        found = bytes(self._heard[:size])
        del self._heard[:size]
        return found

    def send(self, content: bytes) -> None:
        self._channel.send(content, until=self._until)


def render_png(screenshot: Screenshot) -> bytes:
    """The picture as PNG: eight bits a colour, no filter, one piece (W3C PNG, third edition).

    Written out here: the format is three chunks around a zlib stream, and the small library for it
    has had no release since 2022.
    """
    row = 3 * screenshot.width
    lines = b"".join(
        b"\x00" + screenshot.pixels[start : start + row]
        for start in range(0, row * screenshot.height, row)
    )
    head = struct.pack(">IIBBBBB", screenshot.width, screenshot.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
