"""`winseed schema`: the JSON Schema of the spec, for editors."""

import click


@click.command("schema")
@click.option("--markdown", is_flag=True, help="Print the reference of all keys instead.")
def command(markdown: bool) -> None:
    """Print the JSON Schema of a spec file.

    Editors complete and check winseed.toml with it: `winseed schema > winseed.schema.json`.
    """
    from builder.report import render_json
    from builder.spec.load import spec_schema
    from builder.spec.reference import render_reference

    if markdown:
        click.echo(render_reference(), nl=False)
        return
    click.echo(render_json(spec_schema()), nl=False)
