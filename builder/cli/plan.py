"""`winseed plan`: print what would be built, or what differs from an existing ISO."""

from pathlib import Path
from typing import Any

import click

from builder.cli.main import make_console
from builder.cli.options import Call, disc_options, shelf_of_call
from builder.errors import ExitCode, WinseedError


@click.command("plan")
@disc_options
@click.option(
    "--diff",
    "other",
    type=Path,
    metavar="ISO",
    help="Compare with an answer ISO or its .manifest.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def command(call: Call, other: Path | None, as_json: bool) -> None:
    """Print every decision about a host; secrets show as ***. Writes nothing.

    Passwords are not read: a plan shows whether one is given, not which.
    """
    from builder.plan.model import plan_document
    from builder.report import VERSION, plan_lines, render_json

    plans = [_plan(call, host) for host in call.site.hosts]
    if other is not None:
        _print_difference(plans, other, as_json=as_json)
        return
    if as_json:
        documents = [plan_document(plan) for plan in plans]
        click.echo(render_json({"version": VERSION, "plans": documents}), nl=False)
        return
    click.echo("\n\n".join("\n".join(plan_lines(plan)) for plan in plans))


def _plan(call: Call, host: Any) -> Any:
    from builder import __version__
    from builder.cli.passwords import placeholder_secrets
    from builder.planning import plan_host

    return plan_host(
        host,
        site=call.site.spec.name,
        shelf=shelf_of_call(),
        secrets=placeholder_secrets(host),
        version=__version__,
    )


def _print_difference(plans: list[Any], other: Path, *, as_json: bool) -> None:
    from builder.difference import find_differences
    from builder.manifest import inspect_manifest
    from builder.plan.model import plan_document
    from builder.report import VERSION, render_json

    if len(plans) != 1:
        raise WinseedError("--diff compares one host", code=ExitCode.SPEC, hint="choose it: --host")
    manifest = inspect_manifest(other)
    differences = find_differences(manifest.plan, plan_document(plans[0]))
    if as_json:
        rows = [{"path": row.path, "then": row.then, "now": row.now} for row in differences]
        click.echo(render_json({"version": VERSION, "differences": rows}), nl=False)
        return
    for row in differences:
        click.echo(f"{row.path}: {row.then} -> {row.now}")
    if not differences:
        make_console().line(f"{other} was built from the same plan")
