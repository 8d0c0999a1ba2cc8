"""The console of a VM behind vncwebsocket: RFB 3.8 with VNC authentication, or termproxy's text.

WebSocket rules of pve-http-server AnyEvent.pm websocket_proxy: version 13, one unfragmented and
masked frame at a time from the client, binary frames back. What a guest writes to its serial port
while nobody listens is lost, as with QEMU's socket.
"""

import base64
import hashlib
import os
import queue
import ssl
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
RFB = b"RFB 003.008\n"
# 32 bits a pixel, depth 24, little endian, true colour, red at bit 16
PIXELS = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)


@dataclass(kw_only=True)
class Session:
    """What vncproxy or termproxy has promised: a port that waits for one client."""

    kind: str
    user: str
    vmid: int
    ticket: str
    port: int
    password: str
    heard: "queue.Queue[bytes]" = field(default_factory=queue.Queue)


class Gone(Exception):  # noqa: N818 - an event
    """The client closed, or broke the rules of the protocol."""


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept of a client's key."""
    return base64.b64encode(hashlib.sha1(f"{key}{MAGIC}".encode()).digest()).decode()


def vnc_response(challenge: bytes, password: str) -> bytes:
    """DES of the challenge; RFB takes the bits of each byte of the key backwards."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password.encode()[:8].ljust(8, b"\0"))
    cipher = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return cipher.update(challenge) + cipher.finalize()


class Stream:
    """Bytes inside the frames of a WebSocket, server side."""

    def __init__(self, connection: ssl.SSLSocket):
        self._connection = connection
        self._raw = b""
        self._plain = b""

    def send(self, content: bytes) -> None:
        size = len(content)
        if size < 126:
            head = struct.pack(">BB", 0x82, size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x82, 126, size)
        else:
            head = struct.pack(">BBQ", 0x82, 127, size)
        self._connection.sendall(head + content)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of the payload."""
        while len(self._plain) < size:
            self._plain += self._frame()
        found, self._plain = self._plain[:size], self._plain[size:]
        return found

    def poll(self, seconds: float) -> bytes:
        """What has come within a time; nothing is an answer too."""
        self._connection.settimeout(seconds)
        try:
            found, self._plain = self._plain + self._frame(), b""
        except TimeoutError:
            return b""
        else:
            return found

    def _take(self, size: int) -> bytes:
        while len(self._raw) < size:
            more = self._connection.recv(65536)
            if not more:
                raise Gone
            self._raw += more
        return self._raw[:size]

    def _frame(self) -> bytes:
        first, second = self._take(2)
        if not first & 0x80 or first & 0x70 or not second & 0x80:
            raise Gone  # fragmented, with reserved bits, or unmasked
        size, offset = second & 0x7F, 2
        if size == 126:
            size, offset = struct.unpack(">H", self._take(4)[2:])[0], 4
        elif size == 127:
            size, offset = struct.unpack(">Q", self._take(10)[2:])[0], 10
        whole = self._take(offset + 4 + size)
        mask, payload = whole[offset : offset + 4], whole[offset + 4 :]
        self._raw = self._raw[offset + 4 + size :]
        if first & 0x0F == 8:
            raise Gone
        if first & 0x0F not in {1, 2}:
            return b""
        return bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))


def serve_console(pve: "FakeCluster", session: Session, connection: ssl.SSLSocket) -> None:
    """Speaks with one client until it leaves or the VM stops."""
    stream = Stream(connection)
    try:
        if session.kind == "vnc":
            _speak_rfb(pve, session, stream)
        else:
            _speak_terminal(pve, session, stream)
    except (Gone, OSError):
        return


def _speak_rfb(pve: "FakeCluster", session: Session, stream: Stream) -> None:
    stream.send(RFB)
    if stream.read(12) != RFB:
        raise Gone
    stream.send(b"\x01\x02")
    if stream.read(1) != b"\x02":
        raise Gone
    challenge = os.urandom(16)
    stream.send(challenge)
    if stream.read(16) != vnc_response(challenge, session.password):
        text = b"Authentication failed"
        stream.send(struct.pack(">II", 1, len(text)) + text)
        raise Gone
    stream.send(struct.pack(">I", 0))
    stream.read(1)
    width, height, _ = _screen(pve, session)
    name = f"QEMU ({session.vmid})".encode()
    stream.send(struct.pack(">HH", width, height) + PIXELS + struct.pack(">I", len(name)) + name)
    while session.vmid in pve.guests:
        _answer_rfb(pve, session, stream)


def _answer_rfb(pve: "FakeCluster", session: Session, stream: Stream) -> None:
    kind = stream.read(1)[0]
    if kind == 0:
        stream.read(19)
    elif kind == 2:
        stream.read(4 * struct.unpack(">xH", stream.read(3))[0])
    elif kind == 3:
        stream.read(9)
        width, height, pixels = _screen(pve, session)
        head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, width, height, 0)
        stream.send(head + pixels)
    elif kind == 4:
        stream.read(7)
    elif kind == 5:
        stream.read(5)
    elif kind == 6:
        stream.read(struct.unpack(">3xI", stream.read(7))[0])
    else:
        raise Gone


def _screen(pve: "FakeCluster", session: Session) -> tuple[int, int, bytes]:
    with pve.guard:
        guest = pve.guests.get(session.vmid)
        if guest is None:
            raise Gone
        return guest.screen()


def _speak_terminal(pve: "FakeCluster", session: Session, stream: Stream) -> None:
    login = b""
    while not login.endswith(b"\n"):
        login += stream.read(1)
    if login.decode("latin-1").strip() != f"{session.user}:{session.ticket}":
        raise Gone
    with pve.guard:
        guest = pve.guests.get(session.vmid)
        if guest is None:
            raise Gone
        guest.listeners.append(session.heard)
    stream.send(b"OK")
    try:
        while session.vmid in pve.guests:
            stream.poll(0.02)  # typed text and window sizes: nobody reads them here
            while not session.heard.empty():
                stream.send(session.heard.get())
    finally:
        guest.listeners.remove(session.heard)
