"""`winseed dc`: domain controllers; without a verb of its own it prints the runbook."""

import importlib
from typing import Any

import click

VERBS = {
    "plan": "print the runbook: what is done where, and what cannot be undone",
    "preflight": "ask the partner DC and the old one whether it may begin; reads only",
    "reinstall": "replace a domain controller: same name and address, a new Windows",
    "add": "another domain controller of a domain, from nothing",
    "new-forest": "the first domain controller of a new forest, from nothing",
}
DEFAULT = "plan"


class DcVerbs(click.Group):
    """The verbs, each in `builder/cli/dc_<verb>.py` as a command named `command`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The verbs, the harmless one first."""
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb that is called, and no other."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"builder.cli.dc_{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is no verb is the host of a runbook."""
        if not args or (args[0] not in VERBS and args[0] not in {"-h", "--help"}):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, so that help imports none of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group("dc", cls=DcVerbs)
def command(**_: Any) -> None:
    """Domain controllers: a change in Active Directory with an installation in the middle.

    `winseed dc HOST` is `winseed dc plan HOST`: it prints the runbook and touches nothing.
    """
