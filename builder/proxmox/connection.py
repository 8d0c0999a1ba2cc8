"""Where Proxmox VE is, who asks, and what proves that it is Proxmox VE that answers."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from builder.errors import ExitCode, WinseedError
from builder.record import record
from builder.values import Secret

PORT = 8006
TOKEN = re.compile(
    r"(?:PVEAPIToken=)?(?P<user>[^\s:/!=]+@[A-Za-z][A-Za-z0-9._-]+)!(?P<name>[A-Za-z][A-Za-z0-9._-]+)"
    r"=(?P<secret>[!-~]+)"
)


@record
class Token:
    """An API token of `user`; prints without its secret."""

    user: str
    name: str
    secret: Secret

    def __str__(self) -> str:
        return f"{self.user}!{self.name}"


@record
class SystemTrust:
    """The certificate is signed by an authority that this system trusts."""


@record
class CaFile:
    """The certificate is signed by the authority in `path` (PEM)."""

    path: Path


@record
class Pinned:
    """The certificate has this SHA-256, `AA:BB:...`, whoever signed it and whatever it names."""

    fingerprint: str


Trust = SystemTrust | CaFile | Pinned


@record
class Connection:
    """Where, as whom, and what proves the server. `host` may be an address, IPv6 without []."""

    host: str
    port: int
    token: Token
    trust: Trust

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@record
class Clock:
    """Time and chance: seconds from anywhere, a pause in seconds, 0 to 1."""

    now: Callable[[], float]
    pause: Callable[[float], None]
    jitter: Callable[[], float]


def load_token(text: str, *, source: str) -> Token:
    """`USER@REALM!NAME=SECRET`, as Proxmox VE shows it once. WinseedError (SPEC) tells no part."""
    match = TOKEN.fullmatch(text.strip())
    if match is None:
        raise WinseedError(
            f"{source} holds no API token",
            code=ExitCode.SPEC,
            hint="a token reads USER@REALM!NAME=SECRET; `pveum user token add` shows it once",
        )
    return Token(user=match["user"], name=match["name"], secret=Secret(match["secret"]))


def make_connection(url: str, token: Token, trust: Trust) -> Connection:
    """The connection to `https://host:port`."""
    parts = urlsplit(url)
    return Connection(host=parts.hostname or "", port=parts.port or PORT, token=token, trust=trust)
