"""`winseed clean`: remove what `winseed status` found, after asking."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.installing import output_option
from builder.cli.main import make_console
from builder.cli.options import Call, site_options
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.install.clean import Cleaned, Leftover


@click.command("clean")
@site_options
@proxmox_options
@output_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    call: Call,
    connect: Callable[..., Any],
    output: Path,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove stale answer ISOs and the unused disks of runs that were undone or rolled back.

    Only what a journal names as made by a run that has ended; never a disk that a drive uses, that
    stood in a VM before, or that belonged to a settled VM. The old disks of a reinstallation go by
    `winseed reinstall HOST --accept`. What is in doubt is kept, and `winseed status` says why.
    """
    from builder.install.clean import removable, remove_leftovers
    from builder.install.status import find_records, inspect_cluster_view, make_status
    from builder.install.status_report import leftover_line

    console = make_console()
    api = connect(console)
    records, broken = find_records(output)
    view = inspect_cluster_view(api, records, node=call.site.proxmox.node or "")
    status = make_status(records, view, broken)
    for note in status.notes:
        console.warn(note)
    wanted = removable(status)
    for leftover in wanted:
        click.echo(leftover_line(leftover), err=as_json)
    if not dry_run and wanted:
        _ask(len(wanted), yes=yes)
    cleaned = [] if dry_run else list(remove_leftovers(api, output, wanted))
    _tell(wanted, cleaned, dry_run=dry_run, as_json=as_json)
    failed = [one.error for one in cleaned if one.error is not None]
    for error in failed:
        console.error(error)
    ctx.exit(max((error.code for error in failed), default=ExitCode.DONE))


def _ask(count: int, *, yes: bool) -> None:
    """Have `yes` typed. Raises WinseedError (UNSAFE) for anything else."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise WinseedError(
            "nobody has said yes: nothing was removed", code=ExitCode.UNSAFE, hint="give --yes"
        )
    typed = click.prompt(f"{count} to remove for good.\nType yes to go on", err=True)
    if str(typed).strip().casefold() != "yes":
        raise WinseedError("nobody has said yes: nothing was removed", code=ExitCode.UNSAFE)


def _tell(
    wanted: tuple["Leftover", ...], cleaned: list["Cleaned"], *, dry_run: bool, as_json: bool
) -> None:
    from builder.install.status_report import VERSION, leftover_row
    from builder.report import render_json

    gone = [one.leftover for one in cleaned if one.error is None]
    if as_json:
        document = {
            "version": VERSION,
            "dry_run": dry_run,
            "found": [leftover_row(one) for one in wanted],
            "removed": [one.volid for one in gone],
            "errors": [
                {"volid": one.leftover.volid, "what": one.error.what, "hint": one.error.hint}
                for one in cleaned
                if one.error is not None
            ],
        }
        click.echo(render_json(document), nl=False)
    elif not wanted:
        click.echo("there is nothing to remove")
    elif dry_run:
        click.echo(f"would remove {len(wanted)}")
    else:
        click.echo(f"removed {len(gone)} of {len(wanted)}")
