"""`winseed settle`: the last part of a run, on a VM that was installed by hand."""

import dataclasses
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.installing import (
    Relay,
    folder_of,
    make_cases,
    make_entropy,
    make_pause,
    make_workshop,
    output_option,
    password_option,
    run_jobs,
)
from builder.cli.main import make_console
from builder.cli.options import Call, host_options
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.install.by_hand_discs import Discs
    from builder.install.opening import Case, Entropy, Opened
    from builder.proxmox.api import Api
    from builder.proxmox.facts import Guest


def vm_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """A VMID or a host's name; the verb receives `vmid` (0: none). Stands above `host_options`."""

    @functools.wraps(function)
    def wrapper(*args: Any, named: str | None, **values: Any) -> Any:
        vmid = 0
        if named is not None and named.isascii() and named.isdigit():
            # a computer name is never all digits; the host is found by its VM
            vmid, named = int(named), None
            values["every"] = values["every"] or not values["host"]
        return function(*args, named=named, vmid=vmid, **values)

    return click.argument("named", metavar="[VMID|HOST]", required=False)(wrapper)


@click.command("settle")
@vm_argument
@host_options
@proxmox_options
@output_option
@password_option
@click.option("--resume", is_flag=True, help="Go on with a run that was left or has failed.")
@click.option("--dry-run", is_flag=True, help="Look at everything; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print events and result as JSON lines.")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    vmid: int,
    call: Call,
    connect: Callable[..., Any],
    output: Path,
    admin_password_file: str | None,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Settle a VM that was installed by hand from an answer ISO of `winseed iso`.

    New Administrator password, accounts, join, data disks, scrub, no disc in any drive, answer ISO
    deleted, one restart, verdict. A domain controller, a Windows without our mark, and one that is
    not what the spec says are refused.
    """
    from builder.install.by_hand import choose_vm
    from builder.install.jobs import deploy_host, resume_host
    from builder.proxmox.inventory import inspect_guests

    if not vmid and len(call.site.hosts) > 1:
        what = "one host at a time is settled"
        raise WinseedError(what, code=ExitCode.SPEC, hint="choose it: winseed settle HOST")
    console, stop, relay = make_console(), threading.Event(), Relay()
    api = connect(console, make_pause(stop))
    host, guest = choose_vm(call.site.hosts, inspect_guests(api), vmid=vmid)
    call = dataclasses.replace(call, site=dataclasses.replace(call.site, hosts=(host,)))
    (case,) = make_cases(call, output, admin_password_file, console)
    shop = make_workshop(api, relay)
    if resume:
        job = functools.partial(resume_host, shop, case)
    else:
        opened, discs = _open(api, case, guest, make_entropy(console))
        if dry_run:
            _show(opened, discs, folder_of(output, host.name), as_json=as_json)
            return
        job = functools.partial(deploy_host, shop, case, opened)
    run_jobs(ctx, [job], relay=relay, workers=1, stop=stop, as_json=as_json, console=console)


def _open(api: "Api", case: "Case", guest: "Guest", entropy: "Entropy") -> tuple["Opened", "Discs"]:
    """Everything that can be known before anything changes."""
    from builder.install.by_hand import inspect_found, open_by_hand, refuse_unaccepted
    from builder.install.by_hand_discs import inspect_discs, inspect_local_isos
    from builder.install.jobs import refuse_open

    refuse_open(case.folder)
    refuse_unaccepted(case.folder)
    found = inspect_found(api, guest, case.host)
    local = inspect_local_isos(case.folder.parent, case.host.name)
    discs = inspect_discs(api, guest, found.config, case.host, local, fingerprint=found.marker.id)
    return open_by_hand(case, found, discs, local, entropy), discs


def _show(opened: "Opened", discs: "Discs", folder: Path, *, as_json: bool) -> None:
    from builder.install.by_hand import found_lines
    from builder.report import render_json

    if not as_json:
        click.echo("\n".join(found_lines(opened, discs, folder)))
        return
    state = opened.state
    document = {
        "version": 1,
        "dry_run": True,
        "host": state.host,
        "node": state.node,
        "vmid": state.vmid,
        "build": state.fingerprint,
        "emptied": dict(discs.media),
        "deleted": discs.answer.volid if discs.answer else None,
        "doubtful": list(discs.doubtful),
        "data_disks": {drive.slot: drive.setting for drive in opened.order.data_drives},
    }
    click.echo(render_json(document), nl=False)
