"""`winseed handoff ipxe`: an HTTP tree that boots Windows PE and installs without WDS."""

import os
import re
import secrets as random_source
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.handoff_call import (
    handed,
    handoff_options,
    password_files,
    plan_hosts,
    render_plans,
    tell,
    tell_dry,
)
from builder.cli.main import make_console
from builder.cli.options import Call, source_date_epoch
from builder.errors import ExitCode, WinseedError
from builder.record import record

if TYPE_CHECKING:
    from builder.handoff.winpe import Login, NetworkKit
    from builder.plan.carrier import Carrier

VARIABLE = "WINSEED_SHARE_PASSWORD"
# cmd hands these to `net use` as they are: nothing in them is special in a batch file
PASSWORD = re.compile(r"[A-Za-z0-9_.+=-]{12,64}")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,30}[A-Za-z0-9])?")
ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[1-9][0-9]{0,4})?")
NEXT = "README.md says what to copy where; for a lab: `winseed serve {out} --expose-secrets`"


@click.command("ipxe")
@handoff_options
@click.option("--wimboot", type=Path, metavar="FILE", help="wimboot, a release of its project.")
@click.option(
    "--server",
    metavar="ADDRESS[:PORT]",
    help="Where Windows PE reaches the tree; the share has the same address.",
)
@click.option(
    "--way",
    type=click.Choice(["share", "http"]),
    default="share",
    help="Setup from an authenticated SMB share, or the image over HTTP alone.",
)
@click.option("--share", default="winseed", metavar="NAME", help="The SMB share.")
@click.option("--share-user", default="winseed", metavar="NAME", help="Who may read the share.")
@click.option("--subnet", metavar="CIDR", help="The boot network. Default: the server's /24.")
@click.option("--inject", is_flag=True, help="Put start files and drivers into a copy of boot.wim.")
@click.option(
    "--curl",
    type=Path,
    metavar="FILE",
    help="curl.exe for --way http. Default: that of the install image (Server 2019 and later).",
)
def command(
    call: Call,
    out: Path,
    admin_password_file: str | None,
    secrets_in_tree: bool,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write a tree for network boot by iPXE: HTTP files, answer files, server configuration.

    The password of the share's account comes from WINSEED_SHARE_PASSWORD, else one is drawn.
    """
    from builder.cli.passwords import gather_secrets, given_password
    from builder.handoff.ipxe import write_ipxe
    from builder.handoff.tree import draft_tree, refuse_foreign_folder
    from builder.handoff.walk import walk_network

    console = make_console()
    epoch = source_date_epoch()
    refuse_foreign_folder(out)
    network = NetworkFlags(**flags)
    carrier = _carrier(network)
    kit = _kit(network)
    if kit.login is not None:
        console.hide(kit.login.password.reveal())
    administrator = given_password(admin_password_file)
    plans = plan_hosts(
        call,
        console,
        carrier=carrier,
        secrets_of=lambda host: gather_secrets(host, administrator, on_medium=secrets_in_tree),
    )
    hosts = render_plans(call, plans, epoch=epoch)
    if dry_run:
        tell_dry(plans, out, as_json=as_json)
        return
    with password_files(plans, out) as passwords, draft_tree(out, epoch=epoch) as tree:
        write_ipxe(tree, hosts, kit)
    result = handed(
        "ipxe",
        tree,
        out,
        plans,
        passwords=passwords,
        rehearsals=[walk_network(host, kit) for host in hosts],
        next_step=NEXT.format(out=out),
    )
    tell(result, console, as_json=as_json)


@record
class NetworkFlags:
    """The flags of this kind, as they were given."""

    wimboot: Path | None
    server: str | None
    way: str
    share: str
    share_user: str
    subnet: str | None
    inject: bool
    curl: Path | None

    @property
    def address(self) -> str:
        """The server's address; WinseedError (SPEC) without one that Windows PE could use."""
        if self.server is None:
            raise WinseedError(
                "network boot needs --server ADDRESS",
                code=ExitCode.SPEC,
                hint="the name or IPv4 address at which Windows PE reaches the tree: 192.0.2.10",
            )
        if not ADDRESS.fullmatch(self.server):
            what = f"--server {self.server!r} is no name or IPv4 address"
            raise WinseedError(what, code=ExitCode.SPEC)
        return self.server


def _kit(flags: NetworkFlags) -> "NetworkKit":
    from builder import __version__
    from builder.handoff.boot_image import find_wimlib
    from builder.handoff.servers import find_subnet
    from builder.handoff.wimboot import WHERE, inspect_wimboot
    from builder.handoff.winpe import NetworkKit

    if flags.wimboot is None:
        raise WinseedError("network boot needs --wimboot FILE", code=ExitCode.SPEC, hint=WHERE)
    loader = inspect_wimboot(flags.wimboot)
    if flags.inject or (flags.way == "http" and flags.curl is None):
        find_wimlib()
    return NetworkKit(
        wimboot=loader,
        inject=flags.inject,
        login=_login(flags.share_user) if flags.way == "share" else None,
        curl=flags.curl,
        server=flags.address,
        subnet=find_subnet(flags.address, flags.subnet),
        version=__version__,
    )


def _carrier(flags: NetworkFlags) -> "Carrier":
    from builder.plan.carrier import AppliedImage, SetupShare

    for flag, name in (("--share", flags.share), ("--share-user", flags.share_user)):
        if not NAME.fullmatch(name):
            raise WinseedError(f"{flag} {name!r}: letters, digits, - and _", code=ExitCode.SPEC)
    if flags.way == "http":
        return AppliedImage(url=f"http://{flags.address}")
    host = flags.address.partition(":")[0]
    return SetupShare(server=host, share=flags.share, user=flags.share_user)


def _login(user: str) -> "Login":
    from builder.handoff.winpe import Login
    from builder.values import Secret

    text = os.environ.get(VARIABLE, "")
    if not text:
        letters = string.ascii_letters + string.digits
        text = "".join(random_source.choice(letters) for _ in range(24))
    if not PASSWORD.fullmatch(text):
        raise WinseedError(
            f"the password in {VARIABLE} cannot be used in Windows PE",
            code=ExitCode.SPEC,
            hint="12 to 64 letters, digits and any of _ . + = -",
        )
    return Login(user=user, password=Secret(text))
