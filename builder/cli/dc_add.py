"""`winseed dc add`: another domain controller of a domain, from nothing."""

from typing import Any

import click

from builder.cli.dc_running import allow_option, carry_change, change_options


@click.command("add")
@change_options
@allow_option
def command(ctx: click.Context, **given: Any) -> None:
    """Make a new domain controller of an existing domain, from nothing: VM, Windows, promotion.

    With mode "rodc" the account of a read-only DC is staged on the partner first. Exits with 7 when
    something is refused or a person has to do something on the partner.
    """
    carry_change(ctx, "add", **given)
