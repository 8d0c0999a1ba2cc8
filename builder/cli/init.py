"""`winseed init`: write a commented starter spec."""

from pathlib import Path

import click

from builder.cli.options import SPEC_NAME
from builder.errors import ExitCode, WinseedError


@click.command("init")
@click.argument("path", type=Path, default=Path(SPEC_NAME))
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--dry-run", is_flag=True, help="Print the spec instead of writing it.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(path: Path, force: bool, dry_run: bool, as_json: bool) -> None:
    """Write a spec that holds every key with its default and a comment."""
    from builder import resources
    from builder.files import write_file
    from builder.report import VERSION, render_json

    text = (resources.templates() / "starter.toml").read_text(encoding="utf-8")
    if dry_run:
        click.echo(text, nl=False)
        return
    if path.exists() and not force:
        raise WinseedError(
            f"{path} exists already",
            code=ExitCode.SPEC,
            hint="choose another name, or replace it with --force",
        )
    write_file(path, text.encode())
    if as_json:
        click.echo(render_json({"version": VERSION, "spec": str(path)}), nl=False)
    else:
        click.echo(f"{path}: change the host's name, then run `winseed plan`")
