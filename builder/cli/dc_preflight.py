"""`winseed dc preflight`: look at a domain and at the DC that is to go; changes nothing."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.dc_running import inspect_media
from builder.cli.main import make_console
from builder.cli.options import Call, disc_options, host_argument, shelf_of_call
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.domain.facts import SecretFacts
    from builder.spec.model import HostSpec


@click.command("preflight")
@host_argument
@disc_options
@proxmox_options
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="ROW",
    help="Take on a row that would stop it, as drained; some rows no flag overrides.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(
    call: Call, connect: Callable[..., Any], accepted: tuple[str, ...], as_json: bool
) -> None:
    """Ask the partner DC and the old one, through their guest agents, whether it may begin.

    Runs read-only PowerShell in both VMs and changes nothing. Exits with 7 when it is refused.
    """
    from builder.domain.plan import make_dc_plan
    from builder.domain.preflight import Held, judge_preflight, preflight_document, preflight_lines
    from builder.domain.runbook import VERSION
    from builder.domain.survey import inspect_dc
    from builder.planning import with_release
    from builder.report import render_json

    if len(call.site.hosts) != 1:
        raise WinseedError("a preflight is about one host", code=ExitCode.SPEC, hint="name it")
    console, shelf = make_console(), shelf_of_call()
    (host,) = call.site.hosts
    windows = shelf.windows(host.windows_iso) if host.windows_iso else None
    plan = make_dc_plan(with_release(host, windows), site=call.site.spec.name)
    survey = inspect_dc(
        connect(console),
        plan,
        media=inspect_media(host),
        secrets=_secrets(host),
        node_zone=host.dc.host_time_zone,
    )
    for note in survey.notes:
        console.warn(note)
    found = judge_preflight(plan, survey.facts, accepted)
    if as_json:
        document = {"version": VERSION, "host": plan.host, **preflight_document(found)}
        click.echo(render_json(document), nl=False)
    else:
        click.echo("\n".join(preflight_lines(found)))
    if found.held is Held.NO:
        raise WinseedError(
            f"{plan.fqdn} must not be reinstalled as it stands",
            code=ExitCode.UNSAFE,
            hint="mend what is named; rows marked `never` are not accepted by any flag",
        )


def _secrets(host: "HostSpec") -> "SecretFacts":
    """Whether there is a source for each password; a terminal can be asked."""
    from builder.domain.facts import SecretFacts

    dc, asked = host.dc, sys.stdin.isatty()

    def given(file: Any, variable: str | None) -> bool:
        return (file is not None and file.is_file()) or bool(variable and os.environ.get(variable))

    return SecretFacts(
        restore_mode=asked or given(dc.dsrm_password_file, dc.dsrm_password_env),
        credential=asked or given(dc.credential_password_file, dc.credential_password_env),
    )
