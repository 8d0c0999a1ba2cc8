"""Options of the verbs that speak to Proxmox VE, and what becomes of them: an `Api`."""

import functools
import os
import random
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import Call
from builder.console import Console
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.proxmox.api import Api
    from builder.proxmox.connection import Token, Trust
    from builder.spec.model import ProxmoxSpec

VARIABLE = "WINSEED_PVE_TOKEN"


def proxmox_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a connection; the verb receives a function `connect(console, pause)`.

    It stands below `host_options`, whose `call` it needs.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, call: Call, **values: Any) -> Any:
        given = {key: values.pop(key) for key in ("url", "node", "ca", "fingerprint", "token_file")}
        insecure = values.pop("insecure")
        call = _with_flags(call, given)

        def connect(console: Console, pause: Callable[[float], None] = time.sleep) -> "Api":
            return _connect(call.site.proxmox, given, console, pause, insecure=insecure)

        return function(*args, call=call, connect=connect, **values)

    for option in reversed(_options()):
        wrapper = option(wrapper)
    return wrapper


def _options() -> list[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    def option(flag: str, variable: str, help_text: str, metavar: str) -> Any:
        return click.option(
            flag, envvar=variable, show_envvar=True, metavar=metavar, help=help_text
        )

    return [
        option("--url", "WINSEED_PVE_URL", "A node's address, https://pve1:8006.", "URL"),
        option("--node", "WINSEED_PVE_NODE", "The node, for hosts that name none.", "NAME"),
        option("--token-file", "WINSEED_PVE_TOKEN_FILE",
               f"File with the API token; - is standard input. Default: {VARIABLE}.", "FILE"),
        option("--ca", "WINSEED_PVE_CA", "CA of the node's certificate (PEM).", "FILE"),
        option("--fingerprint", "WINSEED_PVE_FINGERPRINT",
               "SHA-256 of the node's certificate, instead of a CA.", "SHA256"),
        click.option("--insecure", is_flag=True, help="Do not check the certificate; warns."),
    ]  # fmt: skip


def _with_flags(call: Call, given: dict[str, str | None]) -> Call:
    """The call with its flags in the place of the spec's keys, checked by the same rules."""
    import dataclasses

    from pydantic import ValidationError

    from builder.spec.model import ProxmoxSpec

    flags = {key: given[key] for key in ("url", "node", "fingerprint") if given[key]}
    kept = call.site.proxmox.model_dump(exclude={"ca_file"})
    try:
        checked = ProxmoxSpec.model_validate(kept | flags)
    except ValidationError as error:
        first = error.errors()[0]
        what = first["msg"].removeprefix("Value error, ")
        raise WinseedError(f"--{first['loc'][0]}: {what}", code=ExitCode.SPEC) from None
    spec = checked.model_copy(update={"ca_file": call.site.proxmox.ca_file})
    return dataclasses.replace(call, site=dataclasses.replace(call.site, proxmox=spec))


def _connect(
    spec: "ProxmoxSpec",
    given: dict[str, str | None],
    console: Console,
    pause: Callable[[float], None],
    *,
    insecure: bool,
) -> "Api":
    from builder.proxmox.api import Api
    from builder.proxmox.connection import Clock, make_connection

    if spec.url is None:
        raise WinseedError(
            "no address of Proxmox VE is given",
            code=ExitCode.SPEC,
            hint='set url in [proxmox], or give --url, as "https://pve1.example.com:8006"',
        )
    token = _token(given["token_file"], console)
    trust = _trust(spec, given, console, insecure=insecure)
    # chance spreads retries; nothing secret rests on it
    clock = Clock(now=time.monotonic, pause=pause, jitter=random.random)
    return Api(make_connection(spec.url, token, trust), clock)


def _token(file: str | None, console: Console) -> "Token":
    from builder.media.attachment import load_secret_text
    from builder.proxmox.connection import load_token

    if file == "-":
        text, source = sys.stdin.readline(), "standard input"
    elif file:
        text, source = load_secret_text(Path(file)).partition("\n")[0], file
        if Path(file).stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            console.warn(f"others can read the token in {file}: chmod 600 {file}")
    else:
        text, source = os.environ.get(VARIABLE, ""), VARIABLE
    if not text.strip():
        raise WinseedError(
            "no API token is given" if source == VARIABLE else f"{source} is empty",
            code=ExitCode.SPEC,
            hint=f"set {VARIABLE} to USER@REALM!NAME=SECRET, or give --token-file; "
            "docs/proxmox.md says how to make one",
        )
    token = load_token(text, source=source)
    console.hide(token.secret.reveal())
    return token


def _trust(
    spec: "ProxmoxSpec", given: dict[str, str | None], console: Console, *, insecure: bool
) -> "Trust":
    """What proves the server: a flag, else the spec (a pin is stricter than a CA), else the system.

    Without a check the first certificate shown is held on to, so that it cannot change under way.
    """
    from builder.proxmox.api import inspect_fingerprint
    from builder.proxmox.connection import CaFile, Pinned, SystemTrust

    if insecure + bool(given["ca"]) + bool(given["fingerprint"]) > 1:
        raise WinseedError(
            "--ca, --fingerprint and --insecure exclude each other", code=ExitCode.SPEC
        )
    if insecure:
        fingerprint = inspect_fingerprint(spec.url or "")
        console.warn(
            f"--insecure: anybody may have answered in the place of {spec.url}; "
            f"its certificate has the SHA-256 {fingerprint}: compare it with "
            "`pvenode cert info` on the node, then use it as --fingerprint"
        )
        return Pinned(fingerprint=fingerprint)
    if given["ca"]:
        return CaFile(path=Path(given["ca"]))
    if spec.fingerprint:
        return Pinned(fingerprint=spec.fingerprint)
    return CaFile(path=spec.ca_file) if spec.ca_file else SystemTrust()
