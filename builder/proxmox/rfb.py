"""One picture of a screen by RFB 3.8, the protocol of VNC: asked for once, whole, uncompressed.

RFC 6143, section numbers below; the server is QEMU's (ui/vnc.c) behind `qm vncproxy`. We never take
part: nothing is typed, no pointer moves, and the screen stays shared, for QEMU throws everybody
else out when a client wants it alone (`protocol_client_init`).
"""

import struct
from typing import Protocol

from builder.proxmox.failures import PveError, Trouble
from builder.record import record
from builder.values import Secret

VERSION = b"RFB 003.008\n"
VNC_AUTHENTICATION = 2  # 7.2.2
LARGEST = 4096  # pixels on either side
RAW, DESKTOP_SIZE = 0, -223  # 7.7.1, 7.8.2
# 7.4: 32 bits a pixel, depth 24, little endian, true colour, red at bit 16, green at 8, blue at 0
PIXELS = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
ROUNDS = 32  # updates until the picture is whole; one is usual, two when the size changes
_TEXT_LIMIT = 1024 * 1024


class Wire(Protocol):
    """Bytes both ways; both raise PveError when they do not pass in time."""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""

    def send(self, content: bytes) -> None:
        """All of them."""


@record
class Screenshot:
    """A picture: `pixels` are red, green and blue, a byte each, row by row from the top left."""

    width: int
    height: int
    pixels: bytes


def read_screen(wire: Wire, password: Secret) -> Screenshot:
    """Introduce ourselves and take one picture. Raises PveError (REFUSED, MALFORMED)."""
    version = wire.read(12)
    if not version.startswith(b"RFB 003."):
        raise _malformed(f"it starts with {version!r}")
    wire.send(VERSION)
    _authenticate(wire, password)
    wire.send(b"\x01")  # 7.3.1: shared
    size = _read_size(wire.read(4))
    wire.read(16)  # its own pixel format
    wire.read(_bounded(wire))  # its name
    wire.send(struct.pack(">B3x", 0) + PIXELS)
    wire.send(struct.pack(">BxHii", 2, 2, RAW, DESKTOP_SIZE))
    canvas = _Canvas(*size)
    for _ in range(ROUNDS):
        # 7.5.3, not incremental: a server may answer in parts, and starts anew in another size
        wire.send(struct.pack(">BBHHHH", 3, 0, 0, 0, canvas.width, canvas.height))
        canvas = _read_update(wire, canvas)
        if canvas.whole:
            return canvas.show()
    raise _malformed("its picture is never whole")


def make_response(challenge: bytes, password: Secret) -> bytes:
    """What VNC authentication wants to see (7.2.2): DES of the challenge, the password as the key.

    The bits of each byte of the key go in backwards: so does every VNC, QEMU's among them, though
    the RFC does not say so. Raises PveError where OpenSSL has no DES (FIPS).
    """
    # late: nobody else needs it; DES moved house in cryptography 43
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers import Cipher, modes  # noqa: PLC0415

    try:
        from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES  # noqa: PLC0415
    except ImportError:
        from cryptography.hazmat.primitives.ciphers.algorithms import TripleDES  # noqa: PLC0415
    text = password.reveal().encode("latin-1", "replace")[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in text)
    try:
        # three times the same key is DES: weak, but TLS is around it
        cipher = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305
    except UnsupportedAlgorithm:
        raise PveError(
            "VNC authentication needs DES, which this machine's OpenSSL does not offer",
            trouble=Trouble.REFUSED,
            hint="without it there are no screenshots, and everything else works",
        ) from None
    return cipher.update(challenge) + cipher.finalize()


class _Canvas:
    """The picture while it comes, and which of its pixels have come."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._pixels = bytearray(4 * width * height)
        self._seen = bytearray(width * height)

    @property
    def whole(self) -> bool:
        return 0 not in self._seen

    def paint(self, x: int, y: int, line: bytes) -> None:
        """Put four bytes a pixel into a row."""
        start, width = y * self.width + x, len(line) // 4
        self._pixels[4 * start : 4 * (start + width)] = line
        self._seen[start : start + width] = b"\x01" * width

    def show(self) -> Screenshot:
        pixels = bytearray(3 * self.width * self.height)
        for colour in range(3):  # they come as blue, green, red and nothing
            pixels[colour::3] = self._pixels[2 - colour :: 4]
        return Screenshot(width=self.width, height=self.height, pixels=bytes(pixels))


def _authenticate(wire: Wire, password: Secret) -> None:
    count = wire.read(1)[0]
    if count == 0:
        raise _refused(wire, password)
    if VNC_AUTHENTICATION not in wire.read(count):
        raise _malformed("it offers no VNC authentication")
    wire.send(bytes([VNC_AUTHENTICATION]))
    wire.send(make_response(wire.read(16), password))
    if wire.read(4) != bytes(4):
        raise _refused(wire, password)


def _read_update(wire: Wire, canvas: _Canvas) -> _Canvas:
    """Read messages up to the next update of the picture (7.6)."""
    while True:
        kind = wire.read(1)[0]
        if kind == 0:
            return _read_rectangles(wire, canvas)
        if kind == 1:  # colours of a palette that we did not ask for
            wire.read(6 * struct.unpack(">3xH", wire.read(5))[0])
        elif kind == 3:  # somebody's clipboard
            wire.read(3)
            wire.read(_bounded(wire))
        elif kind != 2:  # a bell
            raise _malformed(f"it sends a message {kind}")


def _read_rectangles(wire: Wire, canvas: _Canvas) -> _Canvas:
    (count,) = struct.unpack(">xH", wire.read(3))
    resized = None
    for _ in range(count):
        x, y, width, height, encoding = struct.unpack(">HHHHi", wire.read(12))
        if encoding == DESKTOP_SIZE:  # the last one of an update (7.8.2)
            resized = _read_size(struct.pack(">HH", width, height))
        elif encoding != RAW:
            raise _malformed(f"it sends encoding {encoding}, which was not asked for")
        elif x + width > canvas.width or y + height > canvas.height:
            raise _malformed("a part of the picture lies outside of it")
        else:
            for row in range(y, y + height):
                canvas.paint(x, row, wire.read(4 * width))
    return _Canvas(*resized) if resized else canvas


def _read_size(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">HH", content)
    if not (0 < width <= LARGEST and 0 < height <= LARGEST):
        raise _malformed(f"its screen is said to have {width} x {height} pixels")
    return width, height


def _bounded(wire: Wire) -> int:
    (size,) = struct.unpack(">I", wire.read(4))
    if size > _TEXT_LIMIT:
        raise _malformed(f"a text of it is said to have {size} bytes")
    return int(size)


def _refused(wire: Wire, password: Secret) -> PveError:
    told = wire.read(min(_bounded(wire), 500)).decode("latin-1")
    told = "".join(filter(str.isprintable, told)).replace(password.reveal(), "***")
    return PveError(
        f"the console refuses us: {told or 'no reason is told'}",
        trouble=Trouble.REFUSED,
        hint="its password serves for 30 s and for the latest who asked: try again",
    )


def _malformed(reason: str) -> PveError:
    return PveError(
        f"the console speaks no RFB that we know: {reason}",
        trouble=Trouble.MALFORMED,
        hint="the VM's display has to be QEMU's own, as `vga: std` or `virtio`",
    )
