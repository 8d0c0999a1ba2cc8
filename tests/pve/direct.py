"""A cluster without sockets: the same front end, called as a function, and a process that dies.

For tests that need hundreds of runs. Requests are those that requests would send, and pass through
`server.Exchange` as bytes; only TCP and TLS are left out. `Life` is a process of winseed: it ends,
as by SIGKILL, at any moment that is chosen: before or after a change of the cluster or the journal.
"""

import contextlib
import http.client
import io
from fnmatch import fnmatchcase
from types import SimpleNamespace
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

from builder.install import journal
from builder.proxmox.api import Api
from builder.proxmox.connection import Clock, Connection, SystemTrust, make_connection
from tests.pve.cluster import FakeCluster
from tests.pve.deploying import Site
from tests.pve.server import Exchange


class Killed(BaseException):
    """SIGKILL: nothing that is not on disk is left."""


class Life:
    """A process that ends at a moment, by `end`; never when neither `moment` nor `at` is given.

    Moments are counted from 0: before and after each write of the journal and each change that is
    sent. `at` is a pattern for the words of one, as `after the journal said eject: done`. `died`
    tells which it was.
    """

    def __init__(
        self, moment: int | None = None, end: type[BaseException] = Killed, *, at: str = ""
    ):
        self.moment, self.end, self.at = moment, end, at
        self.seen = 0
        self.died = ""

    def tick(self, what: str) -> None:
        if self.seen == self.moment or (self.at and fnmatchcase(what, self.at)):
            self.died = what
        self.seen += 1
        if self.died and self.end is Killed:
            raise Killed

    def pause(self) -> None:
        """Ctrl-C is noticed in pauses only."""
        if self.died:
            raise self.end


class QuietCluster(FakeCluster):
    """Nodes that listen nowhere."""

    @property
    def port(self) -> int:
        return 8006

    def _listen(self) -> None:
        for node in self.nodes.values():
            node.fingerprint = "AA:" * 31 + "AA"


class Wire(HTTPAdapter):
    """What carries a request to the node of its address and brings the answer."""

    def __init__(self, pve: FakeCluster, life: Life):
        super().__init__()
        self.pve, self.life = pve, life

    def send(self, request, **_options):
        url = urlsplit(request.url)
        what = f"{request.method} {url.path.removeprefix('/api2/json')}"
        changes = request.method != "GET"
        if changes:
            self.life.tick(f"before {what}")
        said = self._exchange(request, url)
        if changes:
            self.life.tick(f"after {what}")
        if not said:
            lost = http.client.RemoteDisconnected("no answer")
            raise requests.exceptions.ConnectionError(lost) from lost
        return self.build_response(request, _parse(said, request.method))

    def _exchange(self, request, url) -> bytes:
        body = request.body or b""
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else b"".join(body)
        path = url.path + (f"?{url.query}" if url.query else "")
        head = f"{request.method} {path} HTTP/1.1\r\n"
        head += "".join(f"{key}: {_text(value)}\r\n" for key, value in request.headers.items())
        node = next(n.name for n in self.pve.nodes.values() if n.address == url.hostname)
        exchange = Exchange.__new__(Exchange)
        exchange.server = SimpleNamespace(pve=self.pve, node=node)
        exchange.request = SimpleNamespace(settimeout=lambda _seconds: None)
        exchange.client_address = ("127.0.0.1", 1)
        exchange.rfile = io.BufferedReader(io.BytesIO(head.encode() + b"\r\n" + body))
        exchange.wfile = io.BytesIO()
        exchange.handle_one_request()
        return exchange.wfile.getvalue()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _parse(said: bytes, method: str) -> HTTPResponse:
    answer = http.client.HTTPResponse(SimpleNamespace(makefile=lambda _mode: io.BytesIO(said)))
    answer._method = method
    answer.begin()
    return HTTPResponse(
        body=io.BytesIO(answer.read()),
        headers=dict(answer.getheaders()),
        status=answer.status,
        reason=answer.reason,
        preload_content=False,
    )


class DirectApi(Api):
    """An Api whose sessions end in a `Wire`."""

    def __init__(self, pve: FakeCluster, life: Life, connection: Connection, clock: Clock):
        super().__init__(connection, clock)
        self._pve, self._life = pve, life

    def _session(self, session: requests.Session) -> requests.Session:
        session = super()._session(session)
        session.trust_env = False  # no look for proxies at each call
        session.mount("https://", Wire(self._pve, self._life))
        return session


class DirectSite(Site):
    """A site on a quiet cluster; `life` is the process that works for it now."""

    life = Life()

    def api(self) -> Api:
        life = self.life

        def pause(seconds: float) -> None:
            life.pause()
            self.clock.sleep(seconds)

        clock = Clock(now=self.clock, pause=pause, jitter=self.chance.random)
        connection = make_connection(self.pve.url, self.token, SystemTrust())
        return DirectApi(self.pve, life, connection, clock)


@contextlib.contextmanager
def journal_moments(site: DirectSite, patch):
    """Lets a life end around a write of the journal, and leave an unfinished file."""
    write = journal.Journal._write

    def dying(self, state, steps):
        name = next(reversed(steps), "")
        try:
            site.life.tick(f"before the journal says {name}")
        except Killed:
            (self.path.parent / f".{self.path.name}.abc.part").write_bytes(b'{"version": 1, ')
            raise
        write(self, state, steps)
        site.life.tick(f"after the journal said {name}: {steps[name].value}" if name else "")

    with patch.context() as patched:
        patched.setattr(journal.Journal, "_write", dying)
        yield
