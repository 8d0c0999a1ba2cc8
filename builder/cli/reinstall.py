"""`winseed reinstall`: a new Windows on a VM that is there; its old disk is kept."""

import dataclasses
import functools
import sys
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
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.install.existing import Existing
    from builder.install.opening import Case, Opened
    from builder.proxmox.api import Api


@click.command("reinstall")
@host_argument
@host_options
@proxmox_options
@output_option
@password_option
@click.option("--not-a-dc", is_flag=True, help="Nobody answers, and it is no domain controller.")
@click.option("--yes", metavar="NAME", help="The host's name: do not ask.")
@click.option("--resume", is_flag=True, help="Go on with a run that was left or has failed.")
@click.option("--undo", is_flag=True, help="Put the old disks back and boot them.")
@click.option("--accept", is_flag=True, help="Destroy the old disks of a settled reinstallation.")
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
    not_a_dc: bool,
    yes: str | None,
    resume: bool,
    undo: bool,
    accept: bool,
    unverified_media: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install HOST anew: fresh disk, EFI variables and TPM state; everything else comes back.

    The old system disk stays as unusedN until --accept. A run that fails puts it back and boots it,
    as long as nothing outside the VM has changed. Domain controllers are refused: `winseed dc`.
    """
    if resume + undo + accept > 1:
        what = "--resume, --undo and --accept exclude each other"
        raise WinseedError(what, code=ExitCode.SPEC)
    if len(call.site.hosts) > 1:
        what = "one host at a time is installed anew"
        raise WinseedError(what, code=ExitCode.SPEC, hint="choose it: winseed reinstall HOST")
    (host,) = call.site.hosts
    console, stop, relay = make_console(), threading.Event(), Relay()
    shop = make_workshop(connect(console, make_pause(stop)), relay)
    finish = functools.partial(
        run_jobs, ctx, relay=relay, workers=1, stop=stop, as_json=as_json, console=console
    )
    from builder.install.jobs import accept_host, deploy_host, resume_host, undo_host

    folder = folder_of(output, host.name)
    if undo:
        finish([functools.partial(undo_host, shop, folder, host.name)])
        return
    if accept:
        _refuse_unfinished(folder)
        confirm(host.name, yes, f"the old disks of {host.name} are destroyed for good")
        finish([functools.partial(accept_host, shop, folder, host.name)])
        return
    (case,) = make_cases(call, output, admin_password_file, console)
    if resume:
        finish([functools.partial(resume_host, shop, case)])
        return
    existing, opened = _open(shop.api, case, console, not_a_dc=not_a_dc)
    refuse_unverified(opened, allowed=unverified_media)
    if dry_run and as_json:
        tell_document(_plan_document(existing, opened), console)
        return
    for line in _plan_lines(existing, opened):
        click.echo(line, err=not dry_run)
    if dry_run:
        return
    confirm(host.name, yes, f"Windows is installed anew on VM {existing.guest.vmid}")
    finish([functools.partial(deploy_host, shop, case, opened)])


def _refuse_unfinished(folder: Path) -> None:
    """The old disk of a domain controller is kept until its domain is in order."""
    from builder.domain.change.standing import refuse_unfinished

    refuse_unfinished(folder)


def _open(
    api: "Api", case: "Case", console: Console, *, not_a_dc: bool
) -> tuple["Existing", "Opened"]:
    """Everything that can be known before anything changes."""
    from builder.install.existing import find_existing, refuse_controller, refuse_existing
    from builder.install.jobs import refuse_open
    from builder.install.opening import open_again, refuse_stops, rehearse_order
    from builder.proxmox.checkup import inspect_checkup, refuse_checkup
    from builder.proxmox.wanted import make_wanted

    refuse_open(case.folder)
    existing = find_existing(api, case.host)
    refuse_existing(existing)
    refuse_controller(api, existing, allowed=not_a_dc)
    wanted = make_wanted(case.host, case.proxmox, site=case.site, sizes=sizes_of([case.host]))
    wanted = dataclasses.replace(
        wanted, vmid=existing.guest.vmid, node=existing.guest.node, exists=True
    )
    checkup = inspect_checkup(api, [wanted])
    (found,) = checkup.hosts
    refuse_checkup(checkup, found)
    opened = open_again(case, existing, found, make_entropy(console))
    rehearsal = rehearse_order(case, opened)
    refuse_stops(rehearsal, case.host.name)
    tell_doubts(console, found, rehearsal)
    return existing, opened


def _plan_document(existing: "Existing", opened: "Opened") -> dict[str, Any]:
    order, state = opened.order, opened.state
    row = {
        "host": state.host,
        "node": state.node,
        "vmid": state.vmid,
        "running": existing.status.running,
        "new": {key: order.settings[key] for key in order.system_drives},
        "kept": {drive.slot: drive.kept for drive in order.data_drives if drive.kept},
        "renewed": {drive.slot: drive.setting for drive in order.data_drives if not drive.kept},
        "plan": order.plan.fingerprint,
    }
    return {"version": VERSION, "dry_run": True, "hosts": [row]}


def _plan_lines(existing: "Existing", opened: "Opened") -> list[str]:
    order, guest = opened.order, existing.guest
    state = "running" if existing.status.running else "off"
    lines = [f"{order.host}: VM {guest.vmid} on {guest.node}, {state}"]
    lines += [f"  {key}: {order.settings[key]} (new)" for key in order.system_drives]
    for drive in order.data_drives:
        how = "comes back after the first boot" if drive.kept else "new, after the first boot"
        lines.append(f"  {drive.slot}: {drive.kept or drive.setting} ({how})")
    return lines


def confirm(name: str, given: str | None, what: str) -> None:
    """Have the name typed, or taken from `--yes`. Raises WinseedError (UNSAFE) for another one."""
    typed = given
    if typed is None:
        if not sys.stdin.isatty():
            raise WinseedError(
                f"{what}: nobody has said yes",
                code=ExitCode.UNSAFE,
                hint=f"give --yes {name}",
            )
        typed = click.prompt(f"{what}.\nType {name} to go on", err=True)
    if str(typed).strip().casefold() != name.casefold():
        raise WinseedError(f"{typed!r} is not {name}: nothing was changed", code=ExitCode.UNSAFE)
