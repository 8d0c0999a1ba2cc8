"""`winseed doctor`: whether an installation can start on a cluster; changes nothing there."""

from collections.abc import Callable
from typing import Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.installing import sizes_of
from builder.cli.main import make_console
from builder.cli.options import Call, host_options
from builder.errors import ExitCode, WinseedError


@click.command("doctor")
@host_options
@proxmox_options
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(call: Call, connect: Callable[..., Any], as_json: bool) -> None:
    """Check a cluster for what the installation of a host needs; changes nothing there.

    Looks at version, token and rights, storages and free space, the Windows and virtio-win ISOs,
    VMID, name, MAC addresses, bridges. Prints the `pveum` lines that grant missing rights. Exits
    with 5 when Proxmox VE refuses or cannot be reached, 7 when something would be overwritten or
    another disc installed, 3 when an ISO is missing, 2 when the spec has to change.
    """
    from builder.proxmox.checkup import checkup_document, checkup_lines, inspect_checkup
    from builder.proxmox.wanted import make_wanted
    from builder.report import render_json

    sizes = sizes_of(call.site.hosts)
    wanted = [
        make_wanted(host, call.site.proxmox, site=call.site.spec.name, sizes=sizes)
        for host in call.site.hosts
    ]
    checkup = inspect_checkup(connect(make_console()), wanted)
    if as_json:
        click.echo(render_json(checkup_document(checkup)), nl=False)
    else:
        click.echo("\n".join(checkup_lines(checkup)))
    if checkup.code is not ExitCode.DONE:
        raise WinseedError(
            "an installation cannot start",
            code=checkup.code,
            hint="the lines that begin with `stop` say why and what to do",
        )
