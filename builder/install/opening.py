"""A run before its first effect: begun anew, or taken up from its journal."""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

from builder.build import write_host
from builder.errors import ExitCode, Problem, WinseedError
from builder.files import create_private_file
from builder.install.existing import Existing, cds_beside, load_old, order_again
from builder.install.hardware import load_slot, load_wanted
from builder.install.journal import Journal, Kind, OldVm, Outcome, RunState, begin_journal
from builder.install.order import LastingSecrets, Order, make_order, without_lasting_secrets
from builder.machine import CdDrive, Machine
from builder.media.attachment import load_secret_text
from builder.media.shelf import Shelf
from builder.plan.make import Secrets
from builder.plan.model import Plan
from builder.planning import plan_host
from builder.proxmox.checkup import HostCheckup
from builder.record import record
from builder.rehearsal.discs import windows_facts
from builder.rehearsal.model import Rehearsal, Verdict
from builder.rehearsal.plan import rehearse_plan
from builder.spec.model import HostSpec, ProxmoxSpec
from builder.values import DEFAULT_EPOCH, Secret


@record
class Entropy:
    """What enters from outside: hex digits of so many bytes, a new password, seconds since 1970."""

    token: Callable[[int], str]
    password: Callable[[], Secret]
    now: Callable[[], int]


@record
class Case:
    """One host of a call: its spec, its cluster, its folder, its media, its secrets.

    `administrator` is None when the final password is to be drawn.
    """

    host: HostSpec
    proxmox: ProxmoxSpec
    site: str
    folder: Path
    shelf: Shelf
    administrator: Secret | None
    accounts: dict[str, Secret]
    join_blob: Secret | None
    version: str


@record
class Opened:
    """A run that can go on: its journal's state, its order, and what the rehearsal said."""

    state: RunState
    order: Order
    one_time: Secret


def open_anew(case: Case, found: HostCheckup, entropy: Entropy, *, kind: Kind) -> Opened:
    """Decide everything about a new run; nothing is written. Raises WinseedError."""
    state = RunState(
        run=entropy.token(4),
        kind=kind,
        host=case.host.name,
        fingerprint="",
        nonce=entropy.token(8),
        given=case.administrator is not None,
        started=entropy.now(),
        node=found.node,
        vmid=found.vmid,
        drawn=not case.host.machine.vmid,
        windows=found.windows,
        virtio=found.virtio,
        adopted=OldVm(settings=found.adopt.settings, running=False) if found.adopt else None,
    )
    one_time, administrator = entropy.password(), case.administrator or entropy.password()
    plan = plan_run(case, one_time, state.nonce)
    order = order_run(case, plan, administrator, state)
    state = dataclasses.replace(state, fingerprint=plan.fingerprint)
    return Opened(state=state, order=order, one_time=one_time)


def open_again(case: Case, existing: Existing, found: HostCheckup, entropy: Entropy) -> Opened:
    """Decide everything about a new Windows on a VM that is there. Raises WinseedError."""
    opened = open_anew(case, found, entropy, kind=Kind.REINSTALL)
    old = OldVm(settings=existing.config.settings, running=existing.status.running)
    order = order_again(opened.order, case.host, case.proxmox, existing.config)
    state = dataclasses.replace(
        opened.state,
        adopted=None,
        old=old,
        drawn=False,
        cds=cds_beside(order.data_drives, order.install),
    )
    return dataclasses.replace(opened, state=state, order=order)


def begin(case: Case, opened: Opened) -> Journal:
    """Write what a new run needs before its first effect: the journal, then both passwords.

    In this order no password lies anywhere that no journal tells of.
    """
    state = opened.state
    journal = begin_journal(case.folder, state)
    try:
        if state.kind is not Kind.SETTLE:
            create_private_file(one_time_file(case.folder, state), _line(opened.one_time))
        if not state.given:
            password = opened.order.settlement.administrator
            create_private_file(administrator_file(case.folder, state), _line(password))
    except WinseedError:
        one_time_file(case.folder, state).unlink(missing_ok=True)
        journal.keep(dataclasses.replace(state, outcome=Outcome.UNDONE))
        raise
    return journal


def take_up(case: Case, journal: Journal) -> Opened:
    """The order of a run that was begun. Raises WinseedError when spec or media have changed."""
    state = journal.state
    administrator = final_password(case, state)
    # once it is rotated it is forgotten, and the plan shows it as *** all the same
    forgotten = journal.standing("forget-one-time") is not None
    one_time = administrator if forgotten else _read(one_time_file(case.folder, state), state)
    plan = plan_run(case, one_time, state.nonce)
    if plan.fingerprint != state.fingerprint:
        raise WinseedError(
            f"what {state.host} is to be has changed since its run began",
            code=ExitCode.SPEC,
            hint="put spec, media and winseed back as they were and --resume, or --undo",
        )
    order = order_run(case, plan, administrator, state)
    if state.old is not None:
        order = order_again(order, case.host, case.proxmox, load_old(state.old))
    return Opened(state=state, order=order, one_time=one_time)


def final_password(case: Case, state: RunState) -> Secret:
    """The password that a run was begun with. Raises WinseedError (SPEC) when it is not at hand."""
    if not state.given:
        return _read(administrator_file(case.folder, state), state)
    if case.administrator is None:
        raise WinseedError(
            f"the run on {state.host} was begun with a given Administrator password",
            code=ExitCode.SPEC,
            hint="give it again: --admin-password-file, or WINSEED_ADMIN_PASSWORD",
        )
    return case.administrator


def one_time_file(folder: Path, state: RunState) -> Path:
    """Where the password that lies on the answer ISO is kept until it is rotated."""
    return folder / f"one-time-{state.run}.password"


def administrator_file(folder: Path, state: RunState) -> Path:
    """Where the Administrator's final password lies, if it was drawn."""
    return folder / f"administrator-{state.run}.password"


def rehearse_order(case: Case, opened: Opened) -> Rehearsal:
    """Walk Setup on the VM as it will be. Raises WinseedError when nothing can be rehearsed."""
    path = case.host.windows_iso
    windows = None
    if path is not None:
        windows = windows_facts(case.shelf.image(path), case.shelf.windows(path))
    with tempfile.TemporaryDirectory(prefix="winseed-") as folder:
        iso = Path(folder) / "answer.iso"
        write_host(opened.order.plan, iso, epoch=DEFAULT_EPOCH)
        return rehearse_plan(
            opened.order.plan, iso, windows=windows, machine=_machine_during_setup(opened)
        )


def refuse_stops(rehearsal: Rehearsal, host: str) -> None:
    """Raise WinseedError with every reason why Setup would not get through."""
    stops = [step for step in rehearsal.steps if step.verdict is Verdict.STOP]
    if stops:
        raise WinseedError(
            f"Setup would not get through on {host}",
            code=rehearsal.exit_code,
            problems=tuple(Problem(where="", what=step.what, hint=step.fix) for step in stops),
            hint="`winseed rehearse` tells the whole walk",
        )


def _machine_during_setup(opened: Opened) -> Machine:
    """The ordered VM, with what a VM that is taken over has besides, and three empty CD drives."""
    machine, adopted = opened.order.machine, opened.state.adopted
    if adopted is not None:
        ours = {*opened.state.cds, "description", "digest"}
        rest = {key: text for key, text in adopted.settings if key not in ours}
        machine = load_wanted({**rest, **opened.order.settings})
    cds = tuple(CdDrive(slot=load_slot(slot), volume=None) for slot in opened.state.cds)
    boot = (opened.order.install, opened.state.cds[0])
    return dataclasses.replace(machine, drives=(*machine.drives, *cds), boot=boot)


def plan_run(case: Case, one_time: Secret, nonce: str) -> Plan:
    """The plan of a run's answer ISO, without secrets that stay valid. Raises WinseedError."""
    secrets = Secrets(
        administrator=one_time,
        given=False,
        nonce=nonce,
        accounts={},
        join_blob=None,
        on_medium=False,
    )
    return plan_host(
        without_lasting_secrets(case.host),
        site=case.site,
        shelf=case.shelf,
        secrets=secrets,
        version=case.version,
    )


def order_run(case: Case, plan: Plan, administrator: Secret, state: RunState) -> Order:
    """What a run is to make of its host."""
    lasting = LastingSecrets(
        administrator=administrator, accounts=case.accounts, join_blob=case.join_blob
    )
    return make_order(
        case.host,
        case.proxmox,
        plan,
        lasting,
        site=case.site,
        windows=state.windows,
        virtio=state.virtio,
    )


def _line(secret: Secret) -> bytes:
    return secret.reveal().encode() + b"\n"


def _read(path: Path, state: RunState) -> Secret:
    try:
        return Secret(load_secret_text(path).partition("\n")[0])
    except WinseedError as error:
        raise WinseedError(
            f"the run on {state.host} needs {path.name}: {error.what}",
            code=ExitCode.SPEC,
            hint="bring the file back, or end the run with --undo",
        ) from None


def is_open(journal: Journal | None) -> bool:
    """Whether a run is there that has not ended."""
    return journal is not None and journal.state.outcome in {Outcome.OPEN, Outcome.KEPT}
