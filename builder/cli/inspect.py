"""`winseed inspect`: what is on a disc."""

from pathlib import Path
from typing import Any

import click


@click.command("inspect")
@click.argument("discs", nargs=-1, required=True, type=Path, metavar="DISC...")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def command(discs: tuple[Path, ...], as_json: bool) -> None:
    """Show a Windows ISO, a virtio-win ISO, an answer ISO or any other disc.

    Windows: images, edition, channel, language, build, ways to boot. virtio-win: release, drivers
    per Windows, signatures. Nothing is extracted.
    """
    from builder.inspection import disc_document, disc_lines, inspect_disc

    facts: list[Any] = [inspect_disc(path) for path in discs]
    if as_json:
        from builder.report import VERSION, render_json

        document = {"version": VERSION, "discs": [disc_document(disc) for disc in facts]}
        click.echo(render_json(document), nl=False)
        return
    click.echo("\n\n".join("\n".join(disc_lines(disc)) for disc in facts))
