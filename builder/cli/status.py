"""`winseed status`: every run, how it stands, and what it has left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.installing import output_option
from builder.cli.main import make_console
from builder.cli.options import Call, site_options
from builder.console import Console
from builder.errors import WinseedError

if TYPE_CHECKING:
    from builder.install.status import Status
    from builder.proxmox.api import Api


@click.command("status")
@site_options
@proxmox_options
@output_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(call: Call, connect: Callable[..., Any], output: Path, as_json: bool) -> None:
    """Show every host with a run: phase, outcome, next step, where secrets lie.

    With Proxmox VE at hand it shows the state of each VM, too, and finds stale answer ISOs and
    disks of ours that no drive uses. Changes nothing. No spec is needed: the journals tell.
    """
    from builder.domain.change.standing import change_lines, change_row, find_changes
    from builder.install.status_report import status_document, status_lines
    from builder.report import render_json

    console = make_console()
    status = inspect_status_of(connect, output, console, node=call.site.proxmox.node or "")
    changes, broken = find_changes(output)
    for text in broken:
        console.warn(text)
    if as_json:
        rows = [change_row(change) for change in changes]
        document = {**status_document(status), "domain_changes": rows}
        click.echo(render_json(document), nl=False)
        return
    for line in [*status_lines(status), *(one for each in changes for one in change_lines(each))]:
        click.echo(console.masked(line))


def inspect_status_of(
    connect: Callable[..., Any], output: Path, console: Console, *, node: str
) -> "Status":
    """Journals first; the cluster where it can be asked."""
    from builder.install.status import find_records, look_at_cluster, make_status

    records, broken = find_records(output)
    api = connect_or_note(connect, console)
    if isinstance(api, str):
        return make_status(records, None, (*broken, api))
    view, notes = look_at_cluster(api, records, node=node)
    return make_status(records, view, (*broken, *notes))


def connect_or_note(connect: Callable[..., Any], console: Console) -> "Api | str":
    """The cluster, or why nobody can ask it."""
    try:
        api: Api = connect(console)
    except WinseedError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return f"Proxmox VE was not looked at: {error.what}{hint}"
    return api
