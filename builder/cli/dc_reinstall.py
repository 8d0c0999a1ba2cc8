"""`winseed dc reinstall`: a domain controller goes, a new one takes its name and address."""

from typing import Any

import click

from builder.cli.dc_running import allow_option, carry_change, change_options


@click.command("reinstall")
@change_options
@allow_option
def command(ctx: click.Context, **given: Any) -> None:
    """Replace a domain controller: same name, same address, a new Windows.

    Preflight, confirmation, demotion or power-off, clean-up of the directory, installation with the
    old disk kept, promotion, proof. Each step is written down before and after; --resume goes on
    wherever a call ended. Exits with 7 when something is refused or a person has to do something.
    """
    carry_change(ctx, "reinstall", **given)
