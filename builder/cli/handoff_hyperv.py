"""`winseed handoff hyperv`: answer ISOs and scripts for Hyper-V."""

from pathlib import Path

import click

from builder.cli.handoff_call import (
    disc_of,
    handed,
    handoff_options,
    password_files,
    plan_hosts,
    tell,
    tell_dry,
)
from builder.cli.main import make_console
from builder.cli.options import Call, source_date_epoch

NEXT = "copy the folder to the Hyper-V host and run New-HOST.ps1; README.md tells how"


@click.command("hyperv")
@handoff_options
def command(
    call: Call,
    out: Path,
    admin_password_file: str | None,
    secrets_in_tree: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write answer ISOs without virtio, and a script for each machine of generation 2."""
    from builder import __version__
    from builder.build import render_host
    from builder.cli.passwords import gather_secrets, given_password
    from builder.handoff.hyperv import refuse_generation_1, write_hyperv
    from builder.handoff.tree import draft_tree, refuse_foreign_folder
    from builder.handoff.walk import walk_hyperv
    from builder.plan.carrier import HyperVDisc
    from builder.rehearsal.discs import windows_facts

    console = make_console()
    epoch = source_date_epoch()
    refuse_foreign_folder(out)
    administrator = given_password(admin_password_file)
    plans = plan_hosts(
        call,
        console,
        carrier=HyperVDisc(),
        secrets_of=lambda host: gather_secrets(host, administrator, on_medium=secrets_in_tree),
    )
    refuse_generation_1(plans)
    if dry_run:
        for plan in plans:
            render_host(plan)
        tell_dry(plans, out, as_json=as_json)
        return
    walks = []
    with password_files(plans, out) as passwords, draft_tree(out, epoch=epoch) as tree:
        discs = write_hyperv(tree, plans, version=__version__)
        for host, plan in zip(call.site.hosts, plans, strict=True):
            disc = disc_of(host)
            windows = windows_facts(disc.image, disc.windows) if disc else None
            walks.append(walk_hyperv(plan, discs[plan.host], windows))
    result = handed(
        "hyperv", tree, out, plans, passwords=passwords, rehearsals=walks, next_step=NEXT
    )
    tell(result, console, as_json=as_json)
