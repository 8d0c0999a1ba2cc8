"""`winseed handoff wds`: a folder for Windows Deployment Services."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from builder.plan.make import Secrets
    from builder.spec.model import HostSpec

GROUP = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _-]{0,62}[A-Za-z0-9])?")
NEXT = "copy the folder to the WDS server; README.md tells the rest, CVE-2026-0386 included"


@click.command("wds")
@handoff_options
@click.option("--image-group", default="winseed", metavar="NAME", help="Image group on the server.")
@click.option("--inject", is_flag=True, help="Put the disk guard into a copy of boot.wim.")
def command(
    call: Call,
    out: Path,
    admin_password_file: str | None,
    secrets_in_tree: bool,
    dry_run: bool,
    as_json: bool,
    image_group: str,
    inject: bool,
) -> None:
    """Write a folder for Windows Deployment Services: answer files, drivers, import script.

    No secret is in it: the import script asks for them. --secrets-in-tree writes them as `winseed
    iso` would. Server 2025 is refused: WDS does not install it.
    """
    from builder import __version__
    from builder.cli.passwords import gather_secrets, given_password
    from builder.handoff.boot_image import find_wimlib
    from builder.handoff.tree import draft_tree, refuse_foreign_folder
    from builder.handoff.walk import walk_wds
    from builder.handoff.wds import WdsKit, boot_steps, render_client, write_wds
    from builder.plan.carrier import WdsServer

    console = make_console()
    epoch = source_date_epoch()
    refuse_foreign_folder(out)
    carrier = WdsServer(group=_checked(image_group), guarded=inject)
    if inject:
        find_wimlib()
    administrator = given_password(admin_password_file) if secrets_in_tree else None

    def secrets_of(host: "HostSpec") -> "Secrets":
        if secrets_in_tree:
            return gather_secrets(host, administrator, on_medium=True)
        return _marks(host)

    plans = plan_hosts(call, console, carrier=carrier, secrets_of=secrets_of)
    hosts = render_plans(call, plans, epoch=epoch)
    if dry_run:
        tell_dry(plans, out, as_json=as_json)
        return
    kit = WdsKit(version=__version__, secrets=secrets_in_tree)
    with password_files(plans, out) as passwords, draft_tree(out, epoch=epoch) as tree:
        write_wds(tree, hosts, kit)
    result = handed(
        "wds",
        tree,
        out,
        plans,
        passwords=passwords,
        rehearsals=[
            walk_wds(host, render_client(host.plan), boot_steps(host.plan)) for host in hosts
        ],
        next_step=NEXT,
        asked=not secrets_in_tree,
    )
    tell(result, console, as_json=as_json)


def _checked(group: str) -> str:
    if not GROUP.fullmatch(group):
        what = f"--image-group {group!r}: letters, digits, blanks, - and _"
        raise WinseedError(what, code=ExitCode.SPEC)
    return group


def _marks(host: "HostSpec") -> "Secrets":
    """A mark for every secret; the import script asks for what stands behind it."""
    from builder.plan.make import Secrets
    from builder.values import LaterSecret

    return Secrets(
        administrator=LaterSecret("__WINSEED_ADMINISTRATOR__"),
        given=True,
        nonce="",
        accounts={
            account.name: LaterSecret(f"__WINSEED_ACCOUNT_{number}__")
            for number, account in enumerate(host.account, start=1)
        },
        join_blob=LaterSecret("__WINSEED_JOIN__") if host.offline_join_file else None,
        on_medium=True,
        product_key=LaterSecret("__WINSEED_PRODUCT_KEY__"),
    )
