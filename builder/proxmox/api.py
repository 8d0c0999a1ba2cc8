"""The transport to Proxmox VE: the only module that knows proxmoxer and requests.

A call goes out with the token, is answered, refused, or lost; each of these has its own
`PveError`. Nothing is repeated unless that is known to be safe. Answers leave as frozen values.

Rules: proxmoxer 2.3.0 waits 5 s by default, logs bodies at INFO (core.py:146), sends True as
"True" and turns what is no JSON into a dict of bytes (backends/https.py); pveproxy itself gives up
on a daemon after 30 s (pve-http-server, AnyEvent.pm:835).
"""

import contextlib
import functools
import hashlib
import http.client
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, assert_never
from urllib.parse import quote, urlsplit

import proxmoxer  # noqa: TID251 - this is its room
import requests  # noqa: TID251 - this is its room
from proxmoxer.core import ResourceException  # noqa: TID251 - this is its room
from requests.adapters import HTTPAdapter  # noqa: TID251 - this is its room
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import create_urllib3_context

from builder.errors import ExitCode, WinseedError
from builder.proxmox.connection import (
    PORT,
    CaFile,
    Clock,
    Connection,
    Pinned,
    SystemTrust,
)
from builder.proxmox.failures import (
    PveError,
    Trouble,
    make_malformed,
    make_refusal,
    make_silence,
    make_unreachable,
    make_untrusted,
)
from builder.values import Secret

Value = str | int | bool | Secret | tuple[str, ...] | None
Route = tuple[str | int, ...]
_T = TypeVar("_T")

LOGGERS = ("proxmoxer", "proxmoxer.core", "proxmoxer.backends.https")
TIMEOUT = (10.0, 40.0)  # seconds to connect, and between two bytes: longer than pveproxy's own 30
STREAM_TIMEOUT = (10.0, 600.0)  # an upload is answered when the node has read the whole of it
ATTEMPTS = 3
BLOCK = 256 * 1024
_NOT_SENT = ("NewConnectionError", "ConnectTimeoutError", "NameResolutionError", "ProxyError")
_UNTRUSTED = ("certificate verify failed", "fingerprints did not match", "doesn't match")


def inspect_fingerprint(url: str) -> str:
    """The SHA-256 of the certificate a server shows, unchecked. Raises PveError (UNREACHABLE)."""
    parts = urlsplit(url)
    server = (parts.hostname or "", parts.port or PORT)
    try:
        pem = ssl.get_server_certificate(server, timeout=TIMEOUT[0])
    except OSError as error:
        raise make_unreachable(f"{server[0]}:{server[1]}", _reason(error)) from None
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


class Api:
    """Calls to one server. Each thread has a connection of its own."""

    def __init__(
        self, connection: Connection, clock: Clock, *, timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        if isinstance(connection.trust, CaFile):
            _check_ca(connection.trust.path)
        self.connection = connection
        self.clock = clock
        self._timeout = timeout
        self._local = threading.local()
        # bodies hold passwords, and proxmoxer logs them
        for name in LOGGERS:
            logging.getLogger(name).disabled = True

    def get(self, route: Route, load: Callable[[Any], _T], /, **params: Value) -> _T:
        """Ask; asked again when the answer is lost. Raises PveError."""
        return self._call("GET", route, params, load, safe=True)

    def change(
        self, method: str, route: Route, params: Mapping[str, Value], load: Callable[[Any], _T],
        *, safe: bool = False,
    ) -> _T:  # fmt: skip
        """Send POST, PUT or DELETE; `safe`: doing it twice does no harm. Raises PveError.

        Trouble.UNKNOWN means that it may have happened: the caller has to look for the effect.
        """
        return self._call(method, route, params, load, safe=safe)

    def send(
        self, route: Route, chunks: Iterable[bytes], size: int, kind: str, load: Callable[[Any], _T]
    ) -> _T:
        """POST a body of `size` bytes and content type `kind` as it comes. Raises PveError."""
        call = f"POST {_shown(route)}"
        token = self.connection.token
        with self._session(requests.Session()) as session, self._translated(call, ()):
            response = session.post(
                f"https://{_bracketed(self.connection.host)}:{self.connection.port}"
                f"/api2/json{_quoted(route)}",
                data=_Body(chunks, size),
                headers={
                    "Authorization": f"PVEAPIToken={token}={token.secret.reveal()}",
                    "Content-Type": kind,
                },
                timeout=STREAM_TIMEOUT,
                verify=self._verify,
            )
            if response.status_code != 200:
                raise self._refusal(call, response.status_code, response.reason, None, ())
            return _loaded(call, response.json()["data"], load)

    def open_socket(self) -> socket.socket:
        """A TLS connection of the caller's own, to a server that is proved as for every call.

        It goes straight there: a proxy of the environment is not asked. Raises PveError.
        """
        trust = self.connection.trust
        try:
            context = self._context
        except OSError as error:
            raise make_untrusted(str(self.connection), _reason(error)) from None
        connection = HTTPSConnection(
            self.connection.host,
            self.connection.port,
            timeout=self._timeout[0],
            cert_reqs=context.verify_mode,
            ssl_context=context,
            assert_fingerprint=trust.fingerprint if isinstance(trust, Pinned) else None,
        )
        try:
            connection.connect()
        except (HTTPError, OSError) as error:
            connection.close()
            if any(text in str(error).lower() for text in _UNTRUSTED):
                raise make_untrusted(str(self.connection), _reason(error)) from None
            raise make_unreachable(str(self.connection), _reason(error)) from None
        assert connection.sock is not None  # noqa: S101 - for the type checker
        return connection.sock

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        """What `requests` takes, once for all sockets: a system's certificates take 0.7 MiB."""
        url = f"https://{_bracketed(self.connection.host)}:{self.connection.port}"
        session = requests.Session()
        verify = session.merge_environment_settings(url, {}, None, self._verify, None)["verify"]
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
        if verify:
            bundle = requests.utils.DEFAULT_CA_BUNDLE_PATH if verify is True else verify
            where = "capath" if Path(bundle).is_dir() else "cafile"
            context.load_verify_locations(**{where: bundle})
        return context

    def _call(
        self, method: str, route: Route, params: Mapping[str, Value], load: Callable[[Any], _T],
        *, safe: bool,
    ) -> _T:  # fmt: skip
        call = f"{method} {_shown(route)}"
        harmless = {Trouble.UNREACHABLE, Trouble.BUSY} | ({Trouble.UNKNOWN} if safe else set())
        for attempt in range(ATTEMPTS):
            try:
                return _loaded(call, self._once(method, route, params, call), load)
            except PveError as error:
                if error.trouble not in harmless or attempt == ATTEMPTS - 1:
                    raise
            self.clock.pause(2**attempt * (0.5 + self.clock.jitter() / 2))
        raise AssertionError  # the last attempt has returned or raised

    def _once(self, method: str, route: Route, params: Mapping[str, Value], call: str) -> Any:
        values = {key: _plain(value) for key, value in params.items() if value is not None}
        secrets = tuple(value.reveal() for value in params.values() if isinstance(value, Secret))
        resource, session = self._resource()
        if method != "GET":
            # on a connection kept from before, a server that hung up meanwhile would look like one
            # that took the call and did not answer
            session.close()
        with self._translated(call, secrets):
            answer = getattr(resource(_quoted(route).lstrip("/")), method.lower())(**values)
        if isinstance(answer, dict) and isinstance(answer.get("errors"), bytes):
            raise make_malformed(call, "it is not JSON")
        return answer

    @contextlib.contextmanager
    def _translated(self, call: str, secrets: tuple[str, ...]) -> Iterator[None]:
        """Turn what the libraries raise into PveError, without a word of what was sent."""
        server = str(self.connection)
        try:
            yield
        except ResourceException as error:
            raise self._refusal(
                call, error.status_code, error.content, error.errors, secrets
            ) from None
        except requests.exceptions.RequestException as error:
            reason, kinds = _reason(error), _kinds(error)
            if any(text in str(error).lower() for text in _UNTRUSTED):
                raise make_untrusted(server, reason) from None
            if any(kind in kinds for kind in _NOT_SENT) or "wrong version number" in reason.lower():
                raise make_unreachable(server, reason) from None
            if isinstance(error, requests.exceptions.TooManyRedirects | requests.JSONDecodeError):
                raise make_malformed(call, type(error).__name__) from None
            raise make_silence(call, reason) from None
        except OSError as error:  # so requests says that a CA file cannot be used
            raise make_untrusted(server, _reason(error)) from None
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise make_malformed(call, type(error).__name__) from None

    def _refusal(
        self, call: str, status: int, text: object, errors: object, secrets: tuple[str, ...]
    ) -> PveError:
        def masked(told: object) -> str:
            found = str(told or "")
            for secret in (*secrets, self.connection.token.secret.reveal()):
                found = found.replace(secret, "***") if secret else found
            return "".join(sign if sign.isprintable() else " " for sign in found)

        rows = errors if isinstance(errors, dict) else {}
        texts = {masked(key): masked(told) for key, told in rows.items() if isinstance(told, str)}
        return make_refusal(call, status, masked(text), texts)

    def _resource(self) -> tuple[Any, requests.Session]:
        """proxmoxer's root of this thread, and the session below it."""
        if not hasattr(self._local, "resource"):
            token = self.connection.token
            resource = proxmoxer.ProxmoxAPI(
                self.connection.host,
                port=self.connection.port,
                user=token.user,
                token_name=token.name,
                token_value=token.secret.reveal(),
                verify_ssl=self._verify,
                timeout=self._timeout,
            )
            # there is no public way to the session, and the pin belongs to its adapter
            session = self._session(resource._store["session"])  # noqa: SLF001
            self._local.resource, self._local.session = resource, session
        return self._local.resource, self._local.session

    @property
    def _verify(self) -> bool | str:
        match self.connection.trust:
            case CaFile(path=path):
                return str(path)
            case Pinned():
                return False  # the pin is stricter: _Adapter
            case SystemTrust():
                return True

    def _session(self, session: requests.Session) -> requests.Session:
        trust = self.connection.trust
        pin = trust.fingerprint if isinstance(trust, Pinned) else None
        session.mount("https://", _Adapter(pin))
        session.max_redirects = 0  # Proxmox VE never redirects; the token goes nowhere else
        session.hooks["response"].append(_tell_in_full)
        return session


class _Adapter(HTTPAdapter):
    """Connections to a server whose certificate has the SHA-256 `pin`, if there is one."""

    def __init__(self, pin: str | None) -> None:
        self._pin = pin
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> Any:
        if self._pin:
            options["assert_fingerprint"] = self._pin
        return super().init_poolmanager(*args, **options)

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        if self._pin:
            options["assert_fingerprint"] = self._pin
        return super().proxy_manager_for(*args, **options)


class _Body:
    """A body of known length that comes in pieces: what requests sends as a stream."""

    def __init__(self, chunks: Iterable[bytes], size: int) -> None:
        self._chunks, self._size = chunks, size

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)


def _check_ca(path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # SSLError as well
        reason = getattr(error, "strerror", None) if not isinstance(error, ssl.SSLError) else None
        raise WinseedError(
            f"the CA file {path} cannot be used: {reason or 'it holds no certificate'}",
            code=ExitCode.SPEC,
            hint="copy /etc/pve/pve-root-ca.pem of a node there",
        ) from None


def _tell_in_full(response: requests.Response, *_args: Any, **_options: Any) -> None:
    """Put the whole text of an error where proxmoxer looks: it reads the reason phrase alone.

    `message` is in the body since pve-http-server 5.2.0; the reason phrase is its first line.
    """
    if response.status_code >= 400:
        with contextlib.suppress(ValueError, AttributeError):
            message = json.loads(response.content).get("message")
            if isinstance(message, str) and message.strip():
                response.reason = message.strip()


def _plain(value: Value) -> str | int | list[str]:
    match value:
        case bool():
            return int(value)
        case Secret():
            return value.reveal()
        case tuple():
            return list(value)
        case str() | int():
            return value
        case None:
            raise AssertionError  # left out before
        case _:
            assert_never(value)


def _loaded(call: str, answer: Any, load: Callable[[Any], _T]) -> _T:
    try:
        return load(answer)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise make_malformed(call, type(error).__name__) from None


def _quoted(route: Route) -> str:
    return "".join(f"/{quote(str(part), safe=':@')}" for part in route)


def _shown(route: Route) -> str:
    return "".join(f"/{part}" for part in route)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    for cause in (getattr(error, "reason", None), *error.args):
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _kinds(error: BaseException) -> set[str]:
    return {type(cause).__name__ for cause in _causes(error)}


def _reason(error: BaseException) -> str:
    """The cause at the bottom, in a few words; the layers above quote addresses."""
    inner = list(_causes(error))[-1]
    if isinstance(inner, socket.gaierror):
        return "there is no such name"
    if isinstance(inner, TimeoutError) or "timeout" in type(inner).__name__.lower():
        return "it does not answer in time"
    if isinstance(inner, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "the server hung up"
    text = str(getattr(inner, "strerror", None) or inner)
    text = "".join(filter(str.isprintable, text.partition(" (_ssl.c")[0]))
    return text[:200] or type(inner).__name__
