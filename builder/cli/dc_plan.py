"""`winseed dc plan`: print the runbook of a domain controller; nothing is touched."""

from typing import Any

import click

from builder.cli.options import Call, disc_options, host_argument, shelf_of_call
from builder.errors import WinseedError

CASES = {"a": "A", "b": "B"}


@click.command("plan")
@host_argument
@disc_options
@click.option(
    "--case",
    "case",
    type=click.Choice(list(CASES), case_sensitive=False),
    help="The old DC runs and replicates (a), or is dead (b). Default: both.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the runbook as JSON.")
def command(call: Call, case: str | None, as_json: bool) -> None:
    """Print what would be done, where, with which cmdlets, and what cannot be undone.

    Asks nothing and touches nothing: neither Proxmox VE nor a domain. Exits with 7 when the media
    are an evaluation or were not seen.
    """
    from builder.domain.runbook import VERSION, runbook_document, runbook_lines
    from builder.report import render_json

    found = [_runbook(host, call.site.spec.name, case) for host in call.site.hosts]
    if as_json:
        documents = [runbook_document(runbook) for runbook, _ in found]
        click.echo(render_json({"version": VERSION, "runbooks": documents}), nl=False)
    else:
        click.echo("\n\n".join("\n".join(runbook_lines(runbook)) for runbook, _ in found))
    for _, refusal in found:
        if refusal is not None:
            raise refusal


def _runbook(host: Any, site: str, case: str | None) -> tuple[Any, WinseedError | None]:
    """The runbook, and why its media would be refused."""
    from builder import __version__
    from builder.cli.passwords import placeholder_secrets
    from builder.domain.cases import Case
    from builder.domain.plan import make_dc_plan
    from builder.domain.runbook import make_runbook
    from builder.errors import ExitCode
    from builder.planning import plan_host, with_release

    shelf = shelf_of_call()
    windows = shelf.windows(host.windows_iso) if host.windows_iso else None
    plan = make_dc_plan(with_release(host, windows), site=site)
    refusal = None
    try:
        plan_host(
            host,
            shelf=shelf,
            site=site,
            secrets=placeholder_secrets(host),
            version=__version__,
        )
    except WinseedError as error:
        if error.code is not ExitCode.UNSAFE:
            raise
        refusal = error
    chosen = Case(CASES[case]) if case else None
    if chosen is not None and plan.mode.value not in {"replacement", "rodc"}:
        raise WinseedError(
            f"{plan.host} replaces no domain controller: there is no case to choose",
            code=ExitCode.SPEC,
            hint="leave --case out",
        )
    return make_runbook(plan, chosen), refusal
