"""The console of a VM behind vncwebsocket: RFB 3.8 with VNC authentication, or termproxy's text.

WebSocket rules of pve-http-server AnyEvent.pm websocket_proxy: version 13, unfragmented and masked
frames from the client, binary frames of at most 128 KiB back. RFB as QEMU's ui/vnc.c speaks it:
one password for all, an exclusive client throws the others out, a new size is told to those who
know DesktopSize. termproxy as in pve-xtermjs main.rs: a login line, `OK`, then what `qm terminal`
prints; its clients send `0:length:text`, `1:columns:rows:` or `2`. QEMU's serial socket serves one
client at a time, and what a guest writes while nobody listens is lost.

A test plants what comes instead at a stage with `faults.fail_console`: `upgrade` (server.py),
`version`, `security`, `challenge`, `result`, `init`, `update`, `pixels`, `welcome`.
"""

import base64
import contextlib
import hashlib
import os
import queue
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster
    from tests.pve.guest import Guest

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
RFB = b"RFB 003.008\n"
MOST = 128 * 1024  # bytes in a frame, either way
LOGIN_SECONDS = 10
DESKTOP_SIZE = -223
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
    serial: str = "serial0"
    taken: bool = False
    typed: bytes = b""
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
        for start in range(0, len(content), MOST):
            self._send_frame(content[start : start + MOST])

    def _send_frame(self, content: bytes) -> None:
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
        if size > MOST:
            raise Gone
        whole = self._take(offset + 4 + size)
        mask, payload = whole[offset : offset + 4], whole[offset + 4 :]
        self._raw = self._raw[offset + 4 + size :]
        if first & 0x0F == 8:
            raise Gone
        if first & 0x0F not in {1, 2}:
            return b""
        return bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))


class Stage:
    """Where a planted fault strikes."""

    def __init__(self, pve: "FakeCluster", stream: Stream):
        self._pve = pve
        self._stream = stream

    def send(self, name: str, content: bytes) -> None:
        """Sends what belongs to a stage, or what was planted for it."""
        fault = self._pve.faults.consoles.get(name)
        while fault == "stall":
            self._stream.poll(0.1)
        if fault == "cut":
            self._stream.send(content[: len(content) // 2])
            raise Gone
        self._stream.send(fault if isinstance(fault, bytes) else content)


def serve_console(pve: "FakeCluster", session: Session, connection: ssl.SSLSocket) -> None:
    """Speaks with one client until it leaves or the VM stops."""
    stream = Stream(connection)
    try:
        if session.kind == "vnc":
            guest = _guest_behind(pve, session)
            if path := guest.socket_of("vnc"):
                pump(stream, path, lambda: pve.guests.get(session.vmid) is guest)
            else:
                Screen(pve, session, guest, stream).speak()
        else:
            _speak_terminal(pve, session, stream)
    except (Gone, OSError):
        return


def _guest_behind(pve: "FakeCluster", session: Session) -> "Guest":
    """The guest, with the password of this session."""
    with pve.guard:
        guest = pve.guests.get(session.vmid)
        if guest is None:
            raise Gone  # `qm vncproxy` cannot set a password: it ends without a word
        guest.set_vnc_password(session.password)
        return guest


def pump(stream: Stream, path: Path, alive: Callable[[], bool]) -> None:
    """Both ways between a client and the socket of a real QEMU."""
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(str(path))
        far.settimeout(0.01)
        while alive():
            with contextlib.suppress(TimeoutError):
                content = far.recv(65536)
                if not content:
                    raise Gone
                stream.send(content)
                continue
            if content := stream.poll(0.01):
                far.sendall(content)


class Screen:
    """QEMU's VNC server for one client."""

    def __init__(self, pve: "FakeCluster", session: Session, guest: "Guest", stream: Stream):
        self.pve = pve
        self.session = session
        self.guest = guest
        self.stream = stream
        self.stage = Stage(pve, stream)
        self.stop = threading.Event()
        self.size = (0, 0)
        self.encodings: tuple[int, ...] = ()

    def speak(self) -> None:
        self.stage.send("version", RFB)
        if self.stream.read(12) != RFB:
            raise Gone
        self.stage.send("security", b"\x01\x02")
        if self.stream.read(1) != b"\x02":
            self._reject()
        challenge = os.urandom(16)
        self.stage.send("challenge", challenge)
        if self.stream.read(16) != vnc_response(challenge, self.guest.vnc_password):
            self._reject()
        self.stage.send("result", struct.pack(">I", 0))
        if self.stream.read(1) == b"\0":
            for viewer in self.guest.viewers:
                viewer.set()
        self.guest.viewers.append(self.stop)
        try:
            self._initialize()
            while self.pve.guests.get(self.session.vmid) is self.guest and not self.stop.is_set():
                self._answer()
        finally:
            self.guest.viewers.remove(self.stop)

    def _reject(self) -> NoReturn:
        text = b"Authentication failed\0"  # sizeof(err)
        self.stream.send(struct.pack(">II", 1, len(text)) + text)
        raise Gone

    def _initialize(self) -> None:
        width, height, _ = self._picture()
        self.size = (width, height)
        name = f"QEMU ({self.session.vmid})".encode()
        head = struct.pack(">HH", width, height) + PIXELS
        self.stage.send("init", head + struct.pack(">I", len(name)) + name)

    def _picture(self) -> tuple[int, int, bytes]:
        with self.pve.guard:
            return self.guest.screen()

    def _answer(self) -> None:
        kind = self.stream.read(1)[0]
        if self.stop.is_set():
            raise Gone
        if kind == 0:
            if self.stream.read(19)[3:] != PIXELS:
                raise Gone  # QEMU would convert
        elif kind == 2:
            count = struct.unpack(">xH", self.stream.read(3))[0]
            self.encodings = struct.unpack(f">{count}i", self.stream.read(4 * count))
        elif kind == 3:
            self._update(self.stream.read(9))
        elif kind in {4, 5, 6}:
            raise Gone  # keys, a pointer, a clipboard: a spectator sends none
        else:
            raise Gone

    def _update(self, request: bytes) -> None:
        width, height, pixels = self._picture()
        if self.size != (width, height):
            if DESKTOP_SIZE not in self.encodings:
                raise Gone
            self.size = (width, height)
            head = struct.pack(">BxHHHHHi", 0, 1, 0, 0, width, height, DESKTOP_SIZE)
            self.stage.send("update", head)
            return
        if struct.unpack(">BHHHH", request) != (0, 0, 0, width, height):
            raise Gone
        middle = 4 * width * (height // 2)
        upper = struct.pack(">HHHHi", 0, 0, width, height // 2, 0)
        lower = struct.pack(">HHHHi", 0, height // 2, width, height - height // 2, 0)
        self.stage.send("update", struct.pack(">BxH", 0, 2) + upper)
        self.stage.send("pixels", pixels[:middle] + lower + pixels[middle:])


def _speak_terminal(pve: "FakeCluster", session: Session, stream: Stream) -> None:
    login = b""
    ends = time.monotonic() + LOGIN_SECONDS
    while b"\n" not in login:
        login += stream.poll(0.05)
        if time.monotonic() > ends:
            raise Gone
    line, _, session.typed = login.partition(b"\n")
    if line.decode("latin-1") != f"{session.user}:{session.ticket}":
        raise Gone
    if "!" in session.user and not pve.termproxy_takes_tokens:
        raise Gone
    Stage(pve, stream).send("welcome", b"OK")
    with pve.guard:
        guest = pve.guests.get(session.vmid)
        configured = pve.vms[session.vmid].config.get(session.serial)
    for missing, told in (
        (configured is None, f"serial interface '{session.serial}' is not configured"),
        (configured != "socket", f"wrong serial type on interface '{session.serial}'"),
        (guest is None, f"VM {session.vmid} not running"),
    ):
        if missing:
            stream.send(f"{told}\r\n".encode())
            raise Gone
    assert guest is not None
    started = f"starting serial terminal on interface {session.serial}\r\n".encode()
    if path := guest.socket_of("serial"):
        stream.send(started)
        pump(stream, path, lambda: pve.guests.get(session.vmid) is guest)
        return
    guest.listeners.append(session.heard)
    stream.send(started)
    try:
        while pve.guests.get(session.vmid) is guest:
            session.typed += stream.poll(0.02)
            while not session.heard.empty():
                stream.send(session.heard.get())
    finally:
        guest.listeners.remove(session.heard)
