"""`winseed schema`: the JSON Schema of the spec, for editors."""

import click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of a spec file.

    Editors complete and check winseed.toml with it: `winseed schema > winseed.schema.json`.
    """
    from builder.report import render_json
    from builder.spec.load import spec_schema

    click.echo(render_json(spec_schema()), nl=False)
