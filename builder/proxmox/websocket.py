"""Bytes through a WebSocket of a node: the way to the console that a call has promised.

websockets speaks RFC 6455 without touching the network (its sans-I/O layer): so every wait ends at
a moment of ours, no thread runs behind it, a message has a limit, and no redirect is followed with
the token. pveproxy takes unfragmented, masked frames and passes on what comes in frames of at most
128 KiB (proxmox/pve-http-server at 5c9e4ea, AnyEvent.pm `websocket_proxy`).
"""

import collections
import contextlib
import logging
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import State
from websockets.uri import WebSocketURI

from builder.proxmox.api import Api, Value
from builder.proxmox.failures import PveError, Trouble, make_refusal
from builder.record import record
from builder.values import Secret

LARGEST = 1024 * 1024  # bytes of a message; pveproxy makes none above 128 KiB
BLOCK = 64 * 1024
_CALL_TIMES = (5.0, 15.0)  # seconds to connect and for an answer of vncproxy or termproxy
_MUTE = logging.getLogger(f"{__name__}.frames")
_MUTE.disabled = True  # the library would log the headers, and the token in them


@record
class Proxy:
    """A port on the node that waits 10 s for one client, and what that one has to show."""

    port: int
    user: str
    ticket: Secret
    password: Secret


def make_proxy(api: Api, node: str, vmid: int, kind: str, params: Mapping[str, Value]) -> Proxy:
    """Call `vncproxy` or `termproxy` (VM.Console). Raises PveError.

    Since qemu-server 8.4.8 and 9.1.8 the ticket of vncproxy is `password:ticket`; both parts come
    back as they were given. Before that the password could be the ticket itself.
    """
    route = ("nodes", node, "qemu", vmid, kind)
    # a connection for this call alone: a fleet's readers would keep one each for nothing
    hurried = Api(api.connection, api.clock, timeout=_CALL_TIMES)
    return hurried.change("POST", route, params, _load_proxy)


def _load_proxy(answer: Any) -> Proxy:
    ticket = str(answer["ticket"])
    return Proxy(
        port=int(answer["port"]),
        user=str(answer["user"]),
        ticket=Secret(ticket),
        password=Secret(str(answer.get("password") or ticket)),
    )


class Channel:
    """Bytes both ways, without frames. `until` is a moment of the clock."""

    def __init__(
        self, api: Api, call: str, connection: socket.socket, protocol: ClientProtocol, ticket: str
    ) -> None:
        self._clock = api.clock
        self._server = str(api.connection)
        self._secrets = (api.connection.token.secret.reveal(), ticket)
        self._call = call
        self._socket = connection
        self._protocol = protocol
        self._heard: collections.deque[bytes] = collections.deque()
        self._over = False

    def shake_hands(self, token: str, *, until: float) -> None:
        """Become a WebSocket. Raises PveError."""
        request = self._protocol.connect()
        request.headers["Authorization"] = token
        self._protocol.send_request(request)
        self._flush(until)
        while self._protocol.state is State.CONNECTING and not self._protocol.handshake_exc:
            if self._over:
                raise self._ended("the server hung up")
            if not self._fill(until):
                raise self._ended("it does not answer in time")
        if self._protocol.handshake_exc:
            raise self._refusal(self._protocol.handshake_exc)

    def send(self, content: bytes, *, until: float) -> None:
        """Send one message. Raises PveError."""
        try:
            self._protocol.send_binary(content)
        except WebSocketException:
            raise self._ended("the server hung up") from None
        self._flush(until)

    def poll(self, *, until: float) -> bytes:
        """The next bytes; none of them: nothing came by then. Raises PveError at the end."""
        while not self._heard:
            if self._over:
                raise self._ended("the server hung up")
            if not self._fill(until):
                return b""
        return self._heard.popleft()

    def close(self) -> None:
        """Say good-bye and close, without waiting for an answer."""
        with contextlib.suppress(OSError, WebSocketException, PveError):
            self._protocol.send_close()
            self._flush(self._clock.now() + 1)
        with contextlib.suppress(OSError):
            self._socket.close()

    def _fill(self, until: float) -> bool:
        """Whether anything came by `until`: bytes, or the end."""
        left = until - self._clock.now()
        if left <= 0:
            return False
        try:
            self._socket.settimeout(left)
            block = self._socket.recv(BLOCK)
        except TimeoutError:
            return False
        except OSError:
            block = b""
        if block:
            self._protocol.receive_data(block)
        else:
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES and event.data:
                self._heard.append(bytes(event.data))
        # what breaks the rules is told good-bye by the library, and ends here
        self._over = not block or self._protocol.close_expected()
        if not self._over:
            self._flush(until)
        return True

    def _flush(self, until: float) -> None:
        try:
            for piece in self._protocol.data_to_send():
                if piece:
                    self._socket.settimeout(max(until - self._clock.now(), 0.1))
                    self._socket.sendall(piece)
        except TimeoutError:
            raise self._ended("it does not read in time") from None
        except OSError:
            raise self._ended("the server hung up") from None

    def _refusal(self, error: Exception) -> PveError:
        if not isinstance(error, InvalidStatus):
            return self._ended(f"this is no WebSocket, {type(error).__name__}")
        status, told = error.response.status_code, error.response.reason_phrase
        for secret in self._secrets:
            told = told.replace(secret, "***")
        told = "".join(filter(str.isprintable, told))
        refusal = make_refusal(self._call, status, told)
        if refusal.trouble is not Trouble.TOKEN:
            return refusal
        # 401 is said of the ticket as well, and the token was good a moment ago
        return PveError(f"{self._call}: {told}", trouble=Trouble.REFUSED, hint="try again")

    def _ended(self, reason: str) -> PveError:
        return PveError(
            f"{self._call}: the console of {self._server} is gone ({reason})",
            trouble=Trouble.UNKNOWN,
            hint="does the VM run? a console needs the node itself, not a balancer in front of it",
        )


@contextlib.contextmanager
def open_channel(
    api: Api, node: str, vmid: int, proxy: Proxy, *, until: float
) -> Iterator[Channel]:
    """A channel to what waits behind `proxy`, closed in the end. Raises PveError."""
    path = f"/nodes/{quote(node)}/qemu/{vmid}/vncwebsocket"
    token = api.connection.token
    ticket = proxy.ticket.reveal()
    connection = api.open_socket()
    uri = WebSocketURI(
        secure=True,
        host=api.connection.host,
        port=api.connection.port,
        path=f"/api2/json{path}",
        query=urlencode({"port": proxy.port, "vncticket": ticket}),
    )
    protocol = ClientProtocol(uri, max_size=LARGEST, logger=_MUTE)
    channel = Channel(api, f"GET {path}", connection, protocol, ticket)
    try:
        channel.shake_hands(f"PVEAPIToken={token}={token.secret.reveal()}", until=until)
        yield channel
    finally:
        channel.close()
