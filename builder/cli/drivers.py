"""`winseed drivers`: which driver serves each device of a machine."""

from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import Call, disc_options, read_vm_config, shelf_of_call
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.machine import Machine
    from builder.spec.model import HostSpec


@click.command("drivers")
@disc_options
@click.option(
    "--for",
    "machine_file",
    metavar="MACHINE",
    help="Text of `qm config VMID`; - is standard input. Default: the VM that the spec asks for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def command(call: Call, machine_file: str | None, as_json: bool) -> None:
    """Show which driver of virtio-win serves each device, before anything is switched on.

    With --virtio-iso the INF files and signatures of that disc decide; without it, what is known of
    the release. Exits with 3 when there is no driver for the disk that Windows starts from.
    """
    from builder.driver_report import report_document, report_lines
    from builder.report import VERSION, render_json

    if machine_file is None:
        reports = [_for_host(host) for host in call.site.hosts]
    elif len(call.site.hosts) == 1:
        reports = [_for_machine(call.site.hosts[0], machine_file)]
    else:
        raise WinseedError("--for and --all exclude each other", code=ExitCode.SPEC)
    if as_json:
        documents = [report_document(report) for report in reports]
        click.echo(render_json({"version": VERSION, "machines": documents}), nl=False)
    else:
        click.echo("\n\n".join("\n".join(report_lines(report)) for report in reports))
    problems = [problem for report in reports for problem in report.problems]
    if problems:
        raise WinseedError(
            "Windows could not be installed with these drivers",
            code=ExitCode.MEDIA,
            problems=tuple(problems),
            hint="change the machine, or take another virtio-win",
        )


def _for_host(host: "HostSpec") -> Any:
    from builder.machine import make_machine
    from builder.planning import with_release
    from builder.releases import load_release

    assumed = host.release is None and host.windows_iso is None
    host = with_release(host, _windows(host))
    machine = make_machine(host, load_release(host.release or ""))
    return _report(host, machine, source="the spec", assumed=assumed)


def _for_machine(host: "HostSpec", path: str) -> Any:
    from builder.planning import with_release
    from builder.vm_config import load_machine

    text, source = read_vm_config(path)
    machine = load_machine(text, source=source)
    assumed = host.release is None and host.windows_iso is None
    if assumed:
        host = host.model_copy(update={"release": _likely_release(machine)})
    else:
        host = with_release(host, _windows(host))
    return _report(host, machine, source=source, assumed=assumed)


def _report(host: "HostSpec", machine: "Machine", *, source: str, assumed: bool) -> Any:
    from builder.driver_report import make_report
    from builder.plan.drivers import choose_drivers
    from builder.planning import inspect_drivers
    from builder.releases import load_release

    release = load_release(host.release or "")
    facts = inspect_drivers(host, machine, release, shelf_of_call())
    choice = choose_drivers(machine, release, facts)
    return make_report(machine, release, choice, source=source, assumed=assumed)


def _likely_release(machine: "Machine") -> str:
    """The release that `ostype` speaks of: the default if it is among them, else the newest."""
    from builder.releases import load_release, release_ids
    from builder.spec.checks import DEFAULT_RELEASE

    likely = [name for name in release_ids() if load_release(name).ostype == machine.ostype]
    return DEFAULT_RELEASE if DEFAULT_RELEASE in likely or not likely else likely[-1]


def _windows(host: "HostSpec") -> Any:
    return shelf_of_call().windows(host.windows_iso) if host.windows_iso else None
