"""The HTTPS front of a node: what pveproxy does before and after a call.

Status codes, reason phrases and body limits are those of pve-http-server AnyEvent.pm: bodies up
to 512 KiB as a form or JSON, one path that takes multipart, reasons in the status line.
"""

import contextlib
import functools
import json
import re
import socket
import socketserver
import ssl
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.pve.calls import Uploaded, answer
from tests.pve.console import accept_key, serve_console
from tests.pve.faults import Dropped, Stalled
from tests.pve.schema import Value
from tests.pve.state import PveError
from tests.pve.upload import UploadReader

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

PREFIX = "/api2/json"
POST_LIMIT = 512 * 1024
UPLOAD = re.compile(r"/nodes/[^/]+/storage/[^/]+/upload")
FORM = "application/x-www-form-urlencoded"


@functools.cache
def _context(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


class FrontError(PveError):
    """Said by pveproxy itself: the body is the reason as plain text, not JSON."""


class Front(ThreadingHTTPServer):
    """One node's port; a thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, pve: "FakeCluster", node: str, address: tuple[str, int], pem: Path):
        self.pve = pve
        self.node = node
        self.context = _context(pem)
        self.open: set[socket.socket] = set()
        self.acceptor: threading.Thread | None = None
        self.stopped = False
        self.serving: list[threading.Thread] = []
        super().__init__(address, Exchange)

    def server_bind(self) -> None:
        """Without the look-up of its own name that http.server does: it may wait for a resolver."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.node, self.server_address[1]

    def accept(self) -> None:
        """Takes connections until the listening socket is shut down."""
        while True:
            try:
                request, address = self.socket.accept()
            except OSError:
                return
            if self.verify_request(request, address):
                self.process_request(request, address)
            else:
                self.shutdown_request(request)

    def stop(self) -> None:
        """Ends the listener and every connection."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        if self.acceptor:  # first it ends, then its descriptor may go to somebody else
            self.acceptor.join(timeout=5)
        self.stopped = True
        self.close_connections()
        self.server_close()
        for thread in self.serving:  # one that is left behind would be there when a test forks
            thread.join(timeout=2)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serves a connection in a thread that `stop` waits for."""
        self.serving = [thread for thread in self.serving if thread.is_alive()]
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self.serving.append(thread)
        thread.start()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self.pve.nodes[self.node].online  # a dead node's port: closed at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not self.stopped:
            self.pve.note_failure()

    def close_connections(self) -> None:
        for connection in self.open.copy():
            with contextlib.suppress(OSError):
                # not SSLSocket's own, which would pull TLS from under the thread that reads
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class Exchange(BaseHTTPRequestHandler):
    """One connection: TLS, then requests until either side closes."""

    protocol_version = "HTTP/1.1"
    server_version = "pve-api-daemon/3.0"
    sys_version = ""
    disable_nagle_algorithm = True
    server: Front
    request: ssl.SSLSocket

    def setup(self) -> None:
        self.request.settimeout(self.server.pve.idle_seconds)
        self.request = self.server.context.wrap_socket(
            self.request, server_side=True, do_handshake_on_connect=False
        )
        self.server.open.add(self.request)
        try:
            self.request.do_handshake()
        except OSError:
            self.secured = False  # the client refused the certificate, or spoke no TLS
            return
        self.secured = True
        self.request.settimeout(60)
        super().setup()

    def handle(self) -> None:
        if self.secured:
            with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
                super().handle()

    def finish(self) -> None:
        self.server.open.discard(self.request)
        if self.secured:
            with contextlib.suppress(OSError):
                super().finish()
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
        self.request.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name of the base class
        """Nothing: the cluster keeps its own list of requests."""

    def do_GET(self) -> None:
        self._exchange()

    def do_POST(self) -> None:
        self._exchange()

    def do_PUT(self) -> None:
        self._exchange()

    def do_DELETE(self) -> None:
        self._exchange()

    def _exchange(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.started, self.body_taken = time.monotonic(), False
        self.user: str | None = None
        self.called = urllib.parse.unquote(url.path).removeprefix(PREFIX)
        self.params: dict[str, Value] = _decode(url.query)
        try:
            self._judge(url.path)
        except PveError as error:
            self._refuse(error)
        except Stalled as stall:
            self._record(0)
            time.sleep(stall.seconds)
            self.close_connection = True
        except (Dropped, ConnectionError, TimeoutError, ssl.SSLError):
            self._record(0)
            self.close_connection = True

    def _judge(self, raw_path: str) -> None:
        pve = self.server.pve
        fault = pve.faults.choose(self.command, self.called)
        self.user = self._authenticate(self.called)
        upload = self._read_body(raw_path, self.params)
        if fault and fault.moment == "before":
            fault.strike()
        with pve.watch(self.command, self.called, self.server.node):
            result = self._answer(self.user, self.called, self.params, upload)
        if fault:
            fault.strike()
        if raw_path.endswith("/vncwebsocket") and self.headers.get("Upgrade") == "websocket":
            self._open_console(str(self.params["vncticket"]))
        else:
            self._respond(200, "OK", {"data": result})

    def _record(self, status: int) -> None:
        """Before the answer goes out: whoever has it may look at the list."""
        self.server.pve.record(
            node=self.server.node,
            user=self.user,
            method=self.command,
            path=self.called,
            params=self.params,
            status=status,
            seconds=time.monotonic() - self.started,
        )

    def _answer(
        self, user: str | None, path: str, params: dict[str, Value], upload: Uploaded | None
    ) -> Any:
        pve = self.server.pve
        with pve.guard:
            pve.advance_tasks()
            return answer(
                pve,
                user=user,
                contacted=self.server.node,
                method=self.command,
                path=path,
                params=params,
                upload=upload,
            )

    def _authenticate(self, path: str) -> str | None:
        if not self.path.startswith(PREFIX + "/"):
            raise FrontError(501, f"Method '{self.command} {self.path}' not implemented")
        pve = self.server.pve
        authorization = self.headers.get("Authorization")
        cookie = re.search(r"PVEAuthCookie=([^;]+)", self.headers.get("Cookie", ""))
        ticket = urllib.parse.unquote(cookie[1]) if cookie else None
        user = pve.access.who(authorization, ticket)
        if user is None and (authorization or ticket):
            pve.delay(3, "401")
            raise FrontError(401, "invalid token value!" if authorization else "invalid PVE ticket")
        if user is None and path != "/access/ticket":
            raise FrontError(401, "No ticket")
        if user and ticket and not authorization and self.command != "GET":
            guard = self.headers.get("CSRFPreventionToken")
            if guard != pve.access.guards[ticket]:
                raise FrontError(401, "Permission denied - invalid csrf token")
        return user

    def _read_body(self, path: str, params: dict[str, Value]) -> Uploaded | None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body_taken = True
        if not length:
            return None
        if self.command not in {"PUT", "POST"}:
            self._give_up(length)
            raise FrontError(501, f"Unexpected content for method '{self.command}'")
        kind, _, rest = self.headers.get("Content-Type", FORM).partition(";")
        if self.command == "POST" and UPLOAD.fullmatch(path.removeprefix(PREFIX)):
            return self._read_upload(kind, rest, length, params)
        if length > POST_LIMIT:
            self._give_up(length)
            raise FrontError(501, "for data too large")
        if kind not in {FORM, "application/json"}:
            self._give_up(length)
            raise FrontError(506, f"upload 'Content-Type '{kind}' not implemented")
        body = self.rfile.read(length).decode("utf-8")
        params.update(_decode(body) if kind == FORM else _from_json(body))
        return None

    def _read_upload(self, kind: str, rest: str, length: int, params: dict[str, Value]) -> Uploaded:
        pve = self.server.pve
        boundary = re.search(r"boundary\s*=\s*\"?([^\s;\"]+)", rest)
        self.close_connection = True  # never kept alive
        if kind != "multipart/form-data" or not boundary:
            raise FrontError(500, f"upload 'Content-Type '{kind}' not implemented")
        reader = UploadReader(boundary[1], length)
        self.request.settimeout(pve.idle_seconds)
        if length > pve.nodes[self.server.node].root_free:  # the file goes to /var/tmp first
            self._give_up(length)
            raise FrontError(500, "write to temporary file failed - No space left on device")
        left = length
        with pve.uploading(self.server.node):
            try:
                while left > 0:
                    chunk = self.rfile.read1(min(left, pve.upload_read_size))
                    if not chunk:
                        raise ConnectionResetError
                    left -= len(chunk)
                    reader.feed(pve.mangle_upload(chunk))
            except PveError as error:
                self._give_up(left)
                raise FrontError(error.status, error.reason) from None
        params.update(reader.params)
        algorithm = reader.params.get("checksum-algorithm", "sha256")
        lost = pve.upload_answer_seconds > pve.idle_seconds
        digest = reader.digest(algorithm) if algorithm in reader.known else ""
        sent = Uploaded(
            size=reader.size,
            sha256=reader.digest("sha256"),
            digest=digest,
            content=reader.content,
            lost=lost,
        )
        if lost:  # the backend works on, nobody waits for its answer
            user = self._authenticate(self.path.removeprefix(PREFIX))
            with contextlib.suppress(PveError):
                self._answer(user, self.path.removeprefix(PREFIX), params, sent)
            raise Dropped
        return sent

    def _give_up(self, left: int) -> None:
        """Closes after the answer; takes a little more, or a reset may overtake the answer."""
        self.close_connection = True
        self.request.settimeout(0.5)
        with contextlib.suppress(OSError):
            while 0 < left < 1_000_000:
                left -= len(self.rfile.read1(65536)) or left

    def _open_console(self, ticket: str) -> None:
        key = self.headers.get("Sec-WebSocket-Key")
        if not key or self.headers.get("Sec-WebSocket-Version") != "13":
            raise FrontError(500, "unsupported websocket-version")
        session = self.server.pve.consoles[ticket]
        fault = self.server.pve.faults.consoles.get("upgrade")
        if session.taken or fault == "cut":  # nobody listens at the port: no answer at all
            raise Dropped
        if fault == "stall":
            raise Stalled(1)
        if fault:
            self.wfile.write(fault)
            raise Dropped
        session.taken = True
        self.close_connection = True
        self._record(101)
        self.send_response(101, "Switching Protocols")
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_key(key))
        if protocol := self.headers.get("Sec-WebSocket-Protocol"):
            self.send_header("Sec-WebSocket-Protocol", protocol)
        self.end_headers()
        serve_console(self.server.pve, session, self.request)

    def _refuse(self, error: PveError) -> None:
        if not self.body_taken:
            self._give_up(int(self.headers.get("Content-Length") or 0))
        self.close_connection = True  # AnyEvent.pm response: no keep-alive from 400 on
        reason = error.reason.split("\n")[0]
        if "\r" in reason:  # the reason's second line would become a header
            self._respond(400, "Bad Request", "")
        elif any(ord(letter) > 255 for letter in reason):
            self._respond(596, "Broken pipe", "")
        elif isinstance(error, FrontError):
            self._respond(error.status, reason, error.reason)
        else:
            body: dict[str, Any] = {"data": None, "message": f"{error.reason}\n"}
            if error.errors:
                body["errors"] = error.errors
            self._respond(error.status, reason, body)

    def _respond(self, status: int, reason: str, body: dict[str, Any] | str) -> None:
        plain = isinstance(body, str)
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self._record(status)
        self.send_response(status, reason)
        if not plain:
            self.send_header("Content-Type", "application/json;charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=0")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


def _decode(text: str) -> dict[str, Value]:
    """A query string or form; a key given twice is a list."""
    params: dict[str, Value] = {}
    for key, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        old = params.get(key)
        if old is None:
            params[key] = value
        else:
            params[key] = [*old, value] if isinstance(old, list) else [old, value]
    return params


def _from_json(body: str) -> dict[str, Value]:
    found = json.loads(body)
    return {key: _text(value) for key, value in found.items() if value is not None}


def _text(value: Any) -> Value:
    if isinstance(value, list):
        return [str(item) for item in value]
    if isinstance(value, bool):
        return str(int(value))
    return str(value)


def serve(front: Front) -> threading.Thread:
    """Starts the thread that accepts connections; `stop` ends it without a poll's delay."""
    thread = threading.Thread(target=front.accept, name=f"pve-{front.node}", daemon=True)
    front.acceptor = thread
    thread.start()
    return thread
