"""`winseed handoff`: the same installation over the network, by WDS, or on Hyper-V."""

import importlib
from typing import Any

import click

KINDS = {
    "ipxe": "an HTTP tree for network boot by iPXE and wimboot",
    "wds": "answer files, drivers and an import script for Windows Deployment Services",
    "hyperv": "answer ISOs and scripts for Hyper-V machines of generation 2",
}


class Kinds(click.Group):
    """The kinds, each in `builder/cli/handoff_<kind>.py` as a command named `command`."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The kinds, first choice first."""
        return list(KINDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the kind that is called, and no other."""
        if cmd_name not in KINDS:
            return None
        module = importlib.import_module(f"builder.cli.handoff_{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the kinds from the table, so that help imports none of them."""
        with formatter.section("Kinds"):
            formatter.write_dl(list(KINDS.items()))


@click.group("handoff", cls=Kinds)
def command(**_: Any) -> None:
    """Deliver the same plan without an answer ISO on Proxmox VE.

    All kinds take the spec and media flags of `winseed iso`.
    """
