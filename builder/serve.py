"""A small HTTP server for a network-boot tree in a lab: the standard library's, read-only.

`http.server` speaks the protocol; here stands what is served and to whom. Ranges: RFC 9110
section 14, one range at a time, which is what iPXE and curl ask for.
"""

import http.server
import ipaddress
import json
import os
import re
import socket
import stat
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from builder.errors import ExitCode, WinseedError
from builder.names import printable
from builder.record import record

MANIFEST = "handoff.json"
CHUNK = 1 << 18
IDLE = 60  # seconds until a silent connection is closed
LONGEST_PATH = 1024
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


@record
class Served:
    """One answered request: `sent` bytes of a file of `size`; `done` tells that all went out."""

    client: str
    host: str
    path: str
    status: int
    sent: int
    size: int
    number: int  # which of the host's planned files this is, from 1; 0 when it is none
    planned: int

    @property
    def done(self) -> bool:
        """Whether the request got what it asked for."""
        return self.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT} and self.sent > 0


@record
class ServedTree:
    """The root on disk, and which host fetches what; `secret` is the folder of the passwords."""

    root: Path
    secret: str
    fetches: Mapping[str, tuple[str, ...]]  # host -> paths in their order
    scripts: Mapping[str, str]  # path of a boot script -> host


def load_tree(folder: Path) -> ServedTree:
    """The network-boot tree at `folder`; WinseedError (SPEC) when it is none."""
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
        if document["kind"] != "ipxe":
            raise _no_tree(folder, f"a hand-off of the kind {document['kind']!r} is not served")
        root = (folder / str(document["root"])).resolve(strict=True)
        fetches = {
            str(row["host"]): tuple(str(one["path"]) for one in row["fetches"])
            for row in document["hosts"]
        }
        scripts = {
            f"boot/{name}.ipxe": str(row["host"])
            for row in document["hosts"]
            for name in (str(row["host"]).lower(), *map(str, row["macs"]))
        }
        return ServedTree(
            root=root, secret=str(document["secret"]), fetches=fetches, scripts=scripts
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _no_tree(folder, "there is no network-boot tree in it") from None


class TreeServer(http.server.ThreadingHTTPServer):
    """Serves one tree; `tell` is called for every request, from the thread that answers it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        tree: ServedTree,
        *,
        expose_secrets: bool,
        tell: Callable[[Served], None],
    ) -> None:
        self.tree = tree
        self.expose_secrets = expose_secrets
        self.tell = tell
        self._hosts: dict[str, str] = {}  # client -> the host whose script it fetched last
        self._lock = threading.Lock()
        self.address_family = (
            socket.AF_INET6 if ipaddress.ip_address(address[0]).version == 6 else socket.AF_INET
        )
        super().__init__(address, TreeRequest)

    def host_of(self, client: str, path: str) -> str:
        """The host behind `client`, learnt from the boot script it fetched; "" when unknown."""
        with self._lock:
            named = self.tree.scripts.get(path)
            if named is not None:
                self._hosts[client] = named
            return self._hosts.get(client, "")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; nothing is printed here."""


class TreeRequest(http.server.BaseHTTPRequestHandler):
    """One connection. GET and HEAD of regular files below the root, and nothing else."""

    server: TreeServer
    protocol_version = "HTTP/1.1"
    server_version = "winseed"
    sys_version = ""
    timeout = IDLE

    def do_GET(self) -> None:
        """Send a file or a range of it."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Send the headers of a file."""
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: the server tells what was served."""

    def version_string(self) -> str:
        """The name alone."""
        return self.server_version

    def _answer(self, *, body: bool) -> None:
        path = _relative(self.path)
        file = None if path is None else self._open(path)
        if path is None or file is None:
            self._refuse(path or "?", HTTPStatus.NOT_FOUND)
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            span = _span(self.headers.get("Range", ""), size)
            if span is None:
                self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                self._tell(path, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, size)
                return
            first, last = span
            partial = (first, last) != (0, size - 1) and size > 0
            status = HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Cache-Control", "no-store")
            if partial:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            sent = self._send(file, first, last) if body else 0
            self._tell(path, status, sent, size)

    def _open(self, path: str) -> BinaryIO | None:
        tree = self.server.tree
        secret = path.partition("/")[0].casefold() == tree.secret.casefold()
        if secret and not self.server.expose_secrets:
            return None
        return _open_below(tree.root, path, private=self.server.expose_secrets)

    def _send(self, file: BinaryIO, first: int, last: int) -> int:
        sent = 0
        try:
            while first + sent <= last:
                count = min(CHUNK, last - first - sent + 1)
                # the socket's own: with a timeout the descriptor does not block, and a plain
                # sendfile(2) fails as soon as the client is slower than this machine
                done = self.connection.sendfile(file, first + sent, count)
                if done == 0:
                    break
                sent += done
        except OSError:  # the client went away
            self.close_connection = True
        return sent

    def _refuse(self, path: str, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self._tell(path, status, 0, 0)

    def _tell(self, path: str, status: int, sent: int, size: int) -> None:
        client = str(self.client_address[0])
        host = self.server.host_of(client, path)
        planned = self.server.tree.fetches.get(host, ())
        number = planned.index(path) + 1 if path in planned else 0
        self.server.tell(
            Served(
                client=client,
                host=host,
                path=printable(path),
                status=int(status),
                sent=sent,
                size=size,
                number=number,
                planned=len(planned),
            )
        )


def _relative(target: str) -> str | None:
    """The path below the root that a request names; None for anything that is not plain."""
    text = urllib.parse.urlsplit(target).path if not target.startswith("//") else ""
    path = urllib.parse.unquote(text, errors="replace").removeprefix("/")
    parts = path.split("/")
    odd = any(part in {"", ".", ".."} or part.startswith(".") for part in parts)
    if odd or len(path) > LONGEST_PATH or "\\" in path or not path.isprintable():
        return None
    return path


def _open_below(root: Path, path: str, *, private: bool) -> BinaryIO | None:
    """A regular file, opened folder by folder so that no link is followed on the way."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    folders = path.split("/")
    name = folders.pop()
    fd = -1
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for folder in folders:
            inner = os.open(folder, flags | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
        file = os.open(name, flags, dir_fd=fd)
    except OSError:
        return None
    finally:
        if fd >= 0:
            os.close(fd)
    facts = os.fstat(file)
    # a file that only its owner may read is a secret wherever it lies
    hidden = not facts.st_mode & stat.S_IROTH and not private
    if not stat.S_ISREG(facts.st_mode) or hidden:
        os.close(file)
        return None
    return os.fdopen(file, "rb", buffering=0)


def _span(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte; the whole file without a range we understand, None for one beyond it."""
    whole = (0, size - 1)
    match = RANGE.fullmatch(header.strip())
    if match is None or match[0] == "bytes=-":
        return whole
    if not match[1]:
        length = int(match[2])
        return (max(0, size - length), size - 1) if length and size else None
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return whole  # RFC 9110 14.1.1: an invalid range is ignored
    return (first, last) if first < size else None


def _no_tree(folder: Path, why: str) -> WinseedError:
    return WinseedError(
        f"{printable(folder)}: {why}",
        code=ExitCode.SPEC,
        hint="`winseed handoff ipxe` makes one",
    )
