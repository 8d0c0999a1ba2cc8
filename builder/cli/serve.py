"""`winseed serve`: serve a network-boot tree over HTTP in a lab."""

import contextlib
import ipaddress
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder.cli.main import make_console
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.serve import Served

LISTEN = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})")
DEFAULT = "127.0.0.1:8080"


@click.command("serve")
@click.argument("out", type=Path, metavar="OUT")
@click.option(
    "--listen",
    default=DEFAULT,
    show_default=True,
    metavar="ADDRESS:PORT",
    help="Where to listen. Port 0 takes a free one.",
)
@click.option(
    "--expose-secrets",
    is_flag=True,
    help="Serve passwords and answer files to everybody who can reach the address.",
)
def command(out: Path, listen: str, expose_secrets: bool) -> None:
    """Serve the tree that `winseed handoff ipxe` has written, until Ctrl-C.

    Every request is one line on stderr: the host, which of its files, how much of it. The address
    that is listened on is the first line of stdout.
    """
    from builder.serve import TreeServer, load_tree

    console = make_console()
    tree = load_tree(out)
    address = _address(listen)
    started: dict[str, float] = {}
    turn = threading.Lock()

    def tell(served: "Served") -> None:
        with turn:
            console.line(_line(served, started))

    try:
        server = TreeServer(address, tree, expose_secrets=expose_secrets, tell=tell)
    except OSError as error:
        raise WinseedError(
            f"cannot listen on {listen}: {error.strerror or error}",
            code=ExitCode.SPEC,
            hint="choose another with --listen ADDRESS:PORT",
        ) from None
    # Ctrl-C is how it ends, so it is no failure
    with server, contextlib.suppress(KeyboardInterrupt):
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        if expose_secrets:
            console.warn(
                f"passwords and answer files are served to everybody who reaches {shown}:{port}"
            )
        if not ipaddress.ip_address(address[0]).is_loopback:
            console.warn("this server is for a lab: no encryption, no accounts")
        click.echo(f"http://{shown}:{port}/boot.ipxe")
        server.serve_forever(poll_interval=0.2)
    # kept for good: a thread that still wrote while the interpreter ends would abort it
    turn.acquire()


def _address(text: str) -> tuple[str, int]:
    match = LISTEN.fullmatch(text)
    port = int(match[3]) if match else 0
    try:
        host = str(ipaddress.ip_address((match[1] or match[2]) if match else ""))
    except ValueError:
        host = ""
    if not host or port > 65535:
        raise WinseedError(
            f"--listen {text!r} is no ADDRESS:PORT",
            code=ExitCode.SPEC,
            hint=f"as {DEFAULT}, or [::1]:8080",
        )
    return host, port


def _line(served: "Served", started: dict[str, float]) -> str:
    """`dc01 5/12 media/.../boot.wim 500.0 MB (14 s since its boot script)`."""
    who = served.host or served.client
    now = time.monotonic()
    if served.path.startswith("boot/") and served.done:
        started[who] = now
    place = f"{served.number}/{served.planned} " if served.number else ""
    if not served.done:
        return f"{who} {place}{served.path} {served.status}"
    part = "" if served.sent == served.size else f" of {_size(served.size)}"
    since = f" ({now - started[who]:.0f} s)" if who in started else ""
    return f"{who} {place}{served.path} {_size(served.sent)}{part}{since}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count} bytes"
