"""`winseed iso`: write the answer ISO of a host, or of every host."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.main import make_console
from builder.cli.options import Call, disc_options, shelf_of_call, source_date_epoch
from builder.console import Console
from builder.errors import ExitCode, Problem, WinseedError, combine_errors

if TYPE_CHECKING:
    from builder.media.shelf import Shelf

FOLDER = "dist"


@click.command("iso")
@disc_options
@click.option("-o", "--output", type=Path, help=f"ISO file, or folder. Default: {FOLDER}/.")
@click.option(
    "--admin-password-file",
    metavar="FILE",
    help="Administrator password, first line; - is standard input. Default: "
    "WINSEED_ADMIN_PASSWORD, else a random one-time password.",
)
@click.option("--secrets-on-medium", is_flag=True, help="Allow secrets that stay valid.")
@click.option("--dry-run", is_flag=True, help="Check and plan everything, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Tell the time of each stage.")
def command(
    call: Call,
    output: Path | None,
    admin_password_file: str | None,
    secrets_on_medium: bool,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Write the answer ISO: answer file, drivers, agent, scripts, manifest.

    The ISO becomes the third CD of the VM. Without media it names the drivers on the virtio-win
    CD and assumes evaluation media.
    """
    shelf = shelf_of_call()
    _order_drivers(call, shelf)

    from builder.fleet import Job, deliver_fleet, usable_cores
    from builder.report import iso_document, iso_lines, render_json

    console = make_console(quiet=not verbose)
    epoch = source_date_epoch()
    plans = _make_plans(call, shelf, admin_password_file, console, on_medium=secrets_on_medium)
    facts = [_windows_facts(host, shelf) for host in call.site.hosts]
    jobs = [
        Job(plan, target, windows)
        for (plan, target), windows in zip(_targets(plans, output), facts, strict=True)
    ]
    shelf.close()
    for job in jobs:
        _refuse_foreign(job.target)
    if dry_run:
        _show_dry_run([(job.plan, job.target) for job in jobs], as_json=as_json)
        return
    delivered: list[Any] = []
    failed: list[Any] = []
    with console.step("write and verify"), _watch(console, len(jobs)) as progress:
        for result in deliver_fleet(jobs, epoch=epoch, workers=usable_cores()):
            progress.advance(1)
            (failed if isinstance(result, WinseedError) else delivered).append(result)
    if as_json:
        click.echo(render_json(iso_document(delivered)), nl=False)
    elif delivered:
        click.echo("\n".join(iso_lines(delivered)))
    failed += [error for item in delivered if (error := _stopped(item))]
    if failed:
        raise combine_errors(failed, len(jobs))


def _order_drivers(call: Call, shelf: "Shelf") -> None:
    """Have the packages read while the rest of winseed is imported; all hosts mostly use the same.

    What is wrong with the discs is told when the host is planned.
    """
    from builder.planning import order_drivers

    with contextlib.suppress(WinseedError):
        order_drivers(call.site.hosts[0], shelf)


def _show_dry_run(jobs: list[tuple[Any, Path]], *, as_json: bool) -> None:
    """Render and judge everything, write nothing."""
    from builder.build import render_host
    from builder.report import dry_document, render_json

    for plan, _ in jobs:
        render_host(plan)
    if as_json:
        click.echo(render_json(dry_document(jobs)), nl=False)
        return
    for plan, target in jobs:
        click.echo(f"would write {target}: {plan.release_name}, {plan.fingerprint}")


def _refuse_foreign(target: Path) -> None:
    """An ISO is only ever replaced by its own kind: `-o windows.iso` must not cost the media."""
    from builder.manifest import inspect_manifest

    if not target.is_file() or target.stat().st_size == 0:
        return  # a folder in its place is told when it is written
    try:
        inspect_manifest(target)
    except WinseedError:
        raise WinseedError(
            f"{target} exists and is no answer ISO of winseed: it is not overwritten",
            code=ExitCode.UNSAFE,
            hint="choose another name with -o, or delete the file",
        ) from None


def _windows_facts(host: Any, shelf: Any) -> Any:
    """What the rehearsal asks of the Windows disc, read once however many hosts use it."""
    from builder.rehearsal.discs import windows_facts

    path = host.windows_iso
    return windows_facts(shelf.image(path), shelf.windows(path)) if path else None


def _stopped(item: Any) -> WinseedError | None:
    """The error for an ISO that is written but would not install."""
    from builder.rehearsal.model import Verdict

    stops = [step for step in item.rehearsal.steps if step.verdict is Verdict.STOP]
    if not stops:
        return None
    return WinseedError(
        f"{item.iso} is written, but Setup would not get through with it",
        code=item.rehearsal.exit_code,
        problems=tuple(Problem(where="", what=step.what, hint=step.fix) for step in stops),
        hint="`winseed rehearse` tells the whole walk",
    )


def _make_plans(
    call: Call, shelf: Any, password_file: str | None, console: Console, *, on_medium: bool
) -> list[Any]:
    """The plan of every host, or every host's problem at once."""
    from builder import __version__
    from builder.cli.passwords import gather_secrets, given_password
    from builder.planning import plan_host

    administrator = given_password(password_file)
    plans = []
    failed = []
    with console.step("read media and plan"):
        for host in call.site.hosts:
            try:
                secrets = gather_secrets(host, administrator, on_medium=on_medium)
                plan = plan_host(
                    host,
                    site=call.site.spec.name,
                    shelf=shelf,
                    secrets=secrets,
                    version=__version__,
                )
            except WinseedError as error:
                failed.append(error)
            else:
                console.hide(*plan.secrets)
                plans.append(plan)
    if failed:
        raise combine_errors(failed, len(call.site.hosts))
    return plans


def _targets(plans: list[Any], output: Path | None) -> Iterator[tuple[Any, Path]]:
    from builder.build import iso_name

    single = output is not None and output.suffix.lower() == ".iso"
    if single and len(plans) > 1:
        raise WinseedError(
            f"{output} is one file, but there are {len(plans)} hosts",
            code=ExitCode.SPEC,
            hint="give a folder with -o",
        )
    for plan in plans:
        folder = output or Path(FOLDER)
        yield plan, output if single and output else folder / f"{iso_name(plan)}.iso"


@contextlib.contextmanager
def _watch(console: Console, total: int) -> Iterator[Any]:
    """A bar for many hosts; one host is done before a bar could be read."""
    from builder.console import NoProgress

    if total < 2:
        yield NoProgress()
        return
    with console.counting(f"{total} hosts", total) as progress:
        yield progress
