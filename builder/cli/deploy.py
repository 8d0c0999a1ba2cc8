"""`winseed deploy`: create the VM, install Windows on it, prove it, clean up."""

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.installing import (
    VERSION,
    Relay,
    folder_of,
    make_cases,
    make_entropy,
    make_pause,
    make_workshop,
    open_runs,
    output_option,
    password_option,
    refuse_unverified,
    run_jobs,
    sizes_of,
    tell_document,
    tell_doubts,
)
from builder.cli.main import make_console
from builder.cli.options import Call, host_argument, host_options
from builder.console import Console
from builder.errors import ExitCode, WinseedError, combine_errors

if TYPE_CHECKING:
    from builder.install.opening import Case, Opened
    from builder.proxmox.api import Api
    from builder.proxmox.checkup import Checkup


@click.command("deploy")
@host_argument
@host_options
@proxmox_options
@output_option
@password_option
@click.option("-j", "--jobs", type=click.IntRange(1, 200), default=24, show_default=True,
              help="Hosts at a time; each node and storage has limits of its own.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with a run that was left or has failed.")
@click.option("--undo", is_flag=True, help="Destroy what a run has made, its VM included.")
@click.option("--unverified-media", is_flag=True, help="Install without a local Windows ISO.")
@click.option("--dry-run", is_flag=True, help="Check, plan and rehearse; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print events and result as JSON lines.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    call: Call,
    connect: Callable[..., Any],
    output: Path,
    admin_password_file: str | None,
    jobs: int,
    resume: bool,
    undo: bool,
    unverified_media: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install HOST: VM, answer ISO, Windows, proof, clean-up; nobody at the console.

    A run that fails before its VM is switched on is unmade. Afterwards the VM is kept, with
    evidence in its folder; --resume goes on, --undo destroys it. Exits with 6 when an installation
    does not settle, 7 when something is refused for safety.
    """
    if resume and undo:
        raise WinseedError("--resume and --undo exclude each other", code=ExitCode.SPEC)
    console, stop = make_console(), threading.Event()
    api = connect(console, make_pause(stop))
    relay = Relay()
    shop = make_workshop(api, relay)
    finish = functools.partial(
        run_jobs, ctx, relay=relay, workers=jobs, stop=stop, as_json=as_json, console=console
    )
    from builder.install.jobs import deploy_host, resume_host, undo_host

    if undo:
        names = [host.name for host in open_runs(call.site.hosts, output, console)]
        finish(
            [functools.partial(undo_host, shop, folder_of(output, name), name) for name in names]
        )
        return
    cases = make_cases(call, output, admin_password_file, console)
    if resume:
        names = [host.name for host in open_runs(call.site.hosts, output, console)]
        taken = [case for case in cases if case.host.name in names]
        finish([functools.partial(resume_host, shop, case) for case in taken])
        return
    opened, early = _open_all(api, cases, console, unverified=unverified_media)
    if dry_run:
        _show(opened, console, as_json=as_json)
        if early:
            raise combine_errors([error for _, error in early], len(cases))
        return
    finish(
        [functools.partial(deploy_host, shop, case, one) for case, one in opened],
        early=[_failed(case, error) for case, error in early],
    )


def _open_all(
    api: "Api", cases: list["Case"], console: Console, *, unverified: bool
) -> tuple[list[tuple["Case", "Opened"]], list[tuple["Case", WinseedError]]]:
    """Everything that can be known before anything changes: preflight, plan, rehearsal."""
    from builder.install.jobs import refuse_open
    from builder.install.journal import Kind
    from builder.install.opening import open_anew, refuse_stops, rehearse_order
    from builder.proxmox.checkup import refuse_checkup

    entropy = make_entropy(console)
    checkup = _checkup(api, cases)
    opened, failed = [], []
    for case, found in zip(cases, checkup.hosts, strict=True):
        try:
            refuse_open(case.folder)
            refuse_checkup(checkup, found)
            one = open_anew(case, found, entropy, kind=Kind.DEPLOY)
            refuse_unverified(one, allowed=unverified)
            rehearsal = rehearse_order(case, one)
            refuse_stops(rehearsal, case.host.name)
            tell_doubts(console, found, rehearsal)
        except WinseedError as error:
            failed.append((case, error))
        else:
            opened.append((case, one))
    return opened, failed


def _checkup(api: "Api", cases: list["Case"]) -> "Checkup":
    from builder.proxmox.checkup import inspect_checkup
    from builder.proxmox.wanted import make_wanted

    sizes = sizes_of([case.host for case in cases])
    wanted = [make_wanted(case.host, case.proxmox, site=case.site, sizes=sizes) for case in cases]
    return inspect_checkup(api, wanted)


def _show(opened: list[tuple["Case", "Opened"]], console: Console, *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "host": one.state.host,
                "node": one.state.node,
                "vmid": one.state.vmid,
                "windows": one.state.windows,
                "virtio": one.state.virtio,
                "plan": one.order.plan.fingerprint,
            }
            for _, one in opened
        ]
        tell_document({"version": VERSION, "dry_run": True, "hosts": rows}, console)
        return
    for _, one in opened:
        state = one.state
        verb = "take over" if state.adopted else "create"
        click.echo(f"{state.host}: would {verb} VM {state.vmid} on {state.node}")
        for key, value in one.order.settings.items():
            if value is not None:
                click.echo(f"  {key}: {int(value) if isinstance(value, bool) else value}")
        click.echo(f"  then ide2: {state.windows}, ide0: {state.virtio}, sata0: the answer ISO")
        for drive in one.order.data_drives:
            click.echo(f"  after the first boot {drive.slot}: {drive.setting}")


def _failed(case: "Case", error: WinseedError) -> Any:
    from builder.install.fleet import HostResult
    from builder.install.journal import Outcome

    return HostResult(
        host=case.host.name, node="", vmid=0, outcome=Outcome.UNDONE, seconds=0.0, error=error
    )
