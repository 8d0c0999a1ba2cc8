"""`winseed dc new-forest`: the first domain controller of a forest, from nothing."""

from typing import Any

import click

from builder.cli.dc_running import carry_change, change_options


@click.command("new-forest")
@change_options
def command(ctx: click.Context, **given: Any) -> None:
    """Make the first domain controller of a new forest, from nothing: VM, Windows, promotion.

    Its local Administrator becomes that of the domain, with the password that was set before the
    promotion. Exits with 7 when something is refused.
    """
    carry_change(ctx, "new-forest", **given)
