"""The installation in the middle: the deploy engine, with the old disk kept detached for good.

It is reached only after the machine has seen every proof. A VM with disks is installed anew, with
`outside` set from the first moment: whatever happens, nothing boots the old disk again (design
decision 10). A host without a VM is deployed.
"""

import dataclasses

from builder.domain.change.run import DcRun, target_vm
from builder.domain.plan import Mode
from builder.errors import ExitCode, WinseedError
from builder.install.existing import Existing, inspect_existing, refuse_existing
from builder.install.jobs import carry_out, make_trail, refuse_open
from builder.install.journal import Journal, Kind, Outcome, Standing
from builder.install.opening import (
    Opened,
    begin,
    is_open,
    open_again,
    open_anew,
    refuse_stops,
    rehearse_order,
    take_up,
)
from builder.install.power_steps import is_running, stop_now
from builder.install.witness import INSTALLED
from builder.proxmox.checkup import HostCheckup, inspect_checkup, refuse_checkup
from builder.proxmox.wanted import Wanted, files_of, make_wanted

REPLACING = frozenset({Mode.REPLACEMENT, Mode.RODC})


def open_install(run: DcRun) -> Opened:
    """Decide everything about the installation; nothing is written. Raises WinseedError."""
    case = run.case
    if run.engine() is None:
        refuse_open(case.folder)
    existing = _existing(run)
    if existing is None:
        found = _checkup(run, _wanted(run))
        opened = open_anew(case, found, run.entropy, kind=Kind.DEPLOY)
    else:
        refuse_existing(existing)
        guest = existing.guest
        wanted = dataclasses.replace(_wanted(run), vmid=guest.vmid, node=guest.node, exists=True)
        opened = open_again(case, existing, _checkup(run, wanted), run.entropy)
        kept = dataclasses.replace(opened.state, outside=True)
        opened = dataclasses.replace(opened, state=kept)
    refuse_stops(rehearse_order(case, opened), case.host.name)
    verb = f"dc {run.journal.record.verb}"
    return dataclasses.replace(opened, state=dataclasses.replace(opened.state, verb=verb))


def install(run: DcRun) -> None:
    """Begin an installation and take it to its end. Raises WinseedError, and is looked for then."""
    opened = open_install(run)
    kept = run.journal.record
    run.journal.keep(dataclasses.replace(kept, installs=(*kept.installs, opened.state.run)))
    carry_out(run.shop, run.case, opened, begin(run.case, opened))


def go_on(run: DcRun) -> bool:
    """Go on with an installation that was begun. False when it has to be begun anew.

    Raises WinseedError while it does not get through.
    """
    journal = run.engine()
    if journal is None or journal.state.outcome is Outcome.UNDONE:
        return False
    if journal.state.outcome is Outcome.SETTLED:
        return True
    if not is_open(journal):
        return False
    if _spent(journal):
        trail = make_trail(run.shop, journal, run.case.folder)
        if is_running(trail):
            stop_now(trail)
        run.say("install anew, the last try has failed for good")
        return False
    carry_out(run.shop, run.case, take_up(run.case, journal), journal)
    return True


def is_rotated(run: DcRun) -> bool:
    """Whether the password of the answer ISO was changed, and Windows took it."""
    journal = run.engine()
    return journal is not None and journal.standing("rotate") is Standing.DONE


def _spent(journal: Journal) -> bool:
    """Whether Setup has failed for good: its answer ISO is gone and Windows is not there."""
    state = journal.state
    begun = state.outcome is Outcome.KEPT and state.neutral
    return begun and journal.standing(INSTALLED) is not Standing.DONE


def _existing(run: DcRun) -> Existing | None:
    """The VM that is installed anew; None for one that has no disk, which is taken over.

    Raises WinseedError (UNSAFE) for a VM with disks where no DC is to be replaced.
    """
    ours = run.engine() is not None or any(
        (run.case.folder / f"journal-{install}.json").exists()
        for install in run.journal.record.installs
    )
    guest = target_vm(run)
    if guest is None:
        return None
    existing = inspect_existing(run.api, guest)
    if not existing.config.machine.disks:
        return None
    if run.plan.mode not in REPLACING and not ours:
        raise WinseedError(
            f"VM {guest.vmid} is {run.plan.host} already, and has disks",
            code=ExitCode.UNSAFE,
            hint="a new domain controller gets a new VM; to replace one: mode replacement and "
            f"winseed dc reinstall {run.plan.host}",
        )
    return existing


def _wanted(run: DcRun) -> Wanted:
    case = run.case
    try:
        sizes = {path: path.stat().st_size for path in files_of(case.host)}
    except OSError as error:
        what = f"cannot read {error.filename}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from None
    return make_wanted(case.host, case.proxmox, site=case.site, sizes=sizes)


def _checkup(run: DcRun, wanted: Wanted) -> HostCheckup:
    checkup = inspect_checkup(run.api, [wanted])
    (found,) = checkup.hosts
    refuse_checkup(checkup, found)
    return found
