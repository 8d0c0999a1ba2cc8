"""`winseed rehearse`: what Setup will do with these discs on this machine."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import Call, disc_options, read_vm_config, shelf_of_call
from builder.errors import ExitCode, WinseedError
from builder.values import DEFAULT_EPOCH

if TYPE_CHECKING:
    from builder.rehearsal.model import Rehearsal
    from builder.rehearsal.sources import Configuration
    from builder.spec.model import HostSpec


@click.command("rehearse")
@disc_options
@click.option(
    "--for",
    "machine_file",
    metavar="MACHINE",
    help="Text of `qm config VMID`; - is standard input. Default: the VM that the spec asks for.",
)
@click.option(
    "--answer-iso",
    type=Path,
    metavar="ISO",
    help="An answer ISO, winseed's or any other. Default: the one that the spec would make.",
)
@click.option(
    "--disc", "discs", multiple=True, type=Path, metavar="ISO", help="A further disc in the VM."
)
@click.option(
    "--disk",
    type=click.Choice(["empty", "used", "unknown"]),
    help="What the install disk holds. Default: empty for a planned VM, unknown with --for.",
)
@click.option("--html", type=Path, metavar="FILE", help="Write one self-contained page.")
@click.option("--json", "as_json", is_flag=True, help="Print the rehearsal as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    call: Call,
    machine_file: str | None,
    answer_iso: Path | None,
    discs: tuple[Path, ...],
    disk: str | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Walk what Windows Setup will do, from the firmware to the first boot.

    Reads the discs and the VM; nothing is started. Exits with 0 when nothing stops Setup, 3 for a
    disc or driver, 4 for the answer file, 7 when a disk would be erased that should not be.
    """
    from builder.rehearsal.report import rehearsal_document, rehearsal_lines
    from builder.report import VERSION, render_json

    hosts = call.site.hosts
    if len(hosts) > 1 and (machine_file or answer_iso or html):
        what = "--for, --answer-iso and --html take one host"
        raise WinseedError(what, code=ExitCode.SPEC, hint="choose it: --host")
    configuration = _configuration(machine_file)
    walked = [
        _rehearse(call, host, answer_iso, discs, configuration=configuration, disk=disk)
        for host in hosts
    ]
    if html is not None:
        _write_page(walked[0], html)
    if as_json:
        documents = [rehearsal_document(one) for one in walked]
        click.echo(render_json({"version": VERSION, "rehearsals": documents}), nl=False)
    else:
        click.echo("\n\n".join("\n".join(rehearsal_lines(one)) for one in walked))
    ctx.exit(max(one.exit_code for one in walked))


def _rehearse(
    call: Call,
    host: "HostSpec",
    answer_iso: Path | None,
    discs: tuple[Path, ...],
    *,
    configuration: "Configuration | None",
    disk: str | None,
) -> "Rehearsal":
    from builder.rehearsal.facts import Content
    from builder.rehearsal.make import rehearse
    from builder.rehearsal.sources import gather_facts

    media = [path for path in (host.windows_iso, host.virtio_iso, *discs) if path is not None]
    content = Content(disk) if disk else None
    if answer_iso is not None:
        gathered = gather_facts(
            answer_iso, media, configuration=configuration, machine=None, content=content
        )
        return rehearse(gathered.facts)
    with tempfile.TemporaryDirectory(prefix="winseed-") as folder:
        path, plan = _build(call, host, Path(folder))
        if configuration is None and not discs:
            return _planned(plan, path, host, content)
        gathered = gather_facts(
            path, media, configuration=configuration, machine=None, content=content
        )
        return rehearse(gathered.facts)


def _build(call: Call, host: "HostSpec", folder: Path) -> tuple[Path, Any]:
    """The answer ISO that the spec would make, with a password that nobody uses."""
    from builder import __version__
    from builder.build import iso_name, write_host
    from builder.cli.passwords import placeholder_secrets
    from builder.planning import plan_host

    plan = plan_host(
        host,
        site=call.site.spec.name,
        shelf=shelf_of_call(),
        secrets=placeholder_secrets(host),
        version=__version__,
    )
    path = folder / f"{iso_name(plan)}.iso"
    write_host(plan, path, epoch=DEFAULT_EPOCH)
    return path, plan


def _planned(plan: Any, path: Path, host: "HostSpec", content: Any) -> "Rehearsal":
    """On the planned VM, with what is known of a virtio-win that was not given."""
    from builder.rehearsal.discs import windows_facts
    from builder.rehearsal.plan import rehearse_plan

    windows = None
    if host.windows_iso is not None:
        shelf = shelf_of_call()
        windows = windows_facts(shelf.image(host.windows_iso), shelf.windows(host.windows_iso))
    return rehearse_plan(plan, path, windows=windows, content=content)


def _write_page(rehearsal: "Rehearsal", path: Path) -> None:
    from builder import __version__
    from builder.answer.render import render_page
    from builder.files import write_file
    from builder.rehearsal.drawing import page_values

    write_file(path, render_page("rehearsal.html.j2", page_values(rehearsal, version=__version__)))


def _configuration(path: str | None) -> "Configuration | None":
    from builder.rehearsal.sources import Configuration

    if path is None:
        return None
    text, source = read_vm_config(path)
    return Configuration(text=text, source=source)
