"""A VM that somebody installed by hand from one of our answer ISOs: the last part of a run alone.

Everything is looked at before anything changes: whose Windows it is, that it is no domain
controller, that it is what the spec describes, and which of its discs is the answer ISO.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from builder.errors import ExitCode, Problem, WinseedError
from builder.guest.facts import GuestFacts, inspect_guest, inspect_marker
from builder.guest.judge import judge_guest
from builder.install.by_hand_discs import Discs, LocalIso
from builder.install.deploy import secrets_left, verb_of
from builder.install.evidence import gather_evidence
from builder.install.identity import uuid_of, volid_of
from builder.install.journal import Journal, Kind, Outcome, RunState, load_journal
from builder.install.opening import Case, Entropy, Opened, final_password, order_run, plan_run
from builder.install.order import DataDrive, Order
from builder.install.phases import Marker, Phase
from builder.install.run import Run
from builder.install.settle import settle
from builder.install.witness import Witness, watch_windows
from builder.plan.model import Plan, plan_document
from builder.proxmox.agent import GuestAgent, ping_agent
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest, VmConfig
from builder.proxmox.findings import Level
from builder.proxmox.inventory import inspect_config
from builder.record import record
from builder.spec.model import HostSpec
from builder.values import Secret

LOOK_TIME = 120.0  # seconds for each question in the guest
HIDDEN = Secret("***")  # nobody knows what was on the ISO, and nothing needs it
IDENTITY = frozenset({"edition", "build", "computer name"})
TOLD = ("host", "release", "edition", "sku")  # of a manifest: what flags may have changed


@record
class Found:
    """An installed Windows in its VM, as it is before anything changes."""

    guest: Guest
    config: VmConfig
    marker: Marker
    facts: GuestFacts


def refuse_unaccepted(folder: Path) -> None:
    """Raise WinseedError (UNSAFE) while the last run still keeps the old disks of a VM."""
    journal = load_journal(folder)
    if journal is not None and journal.state.unused:
        host = journal.state.host
        raise WinseedError(
            f"{host} was installed anew by winseed, and its old disks are kept",
            code=ExitCode.UNSAFE,
            hint=f"that run has settled it already; winseed reinstall {host} --accept ends it",
        )


def choose_vm(
    hosts: Sequence[HostSpec], guests: Iterable[Guest], *, vmid: int = 0
) -> tuple[HostSpec, Guest]:
    """The host and its VM. With `vmid`: the host of that VMID, of that VM's name, or the only one.

    Raises WinseedError (SPEC) when there is not exactly one of each.
    """
    vms = [guest for guest in guests if guest.kind == "qemu"]
    if not vmid:
        (host,) = hosts
        return host, _vm_of(host, vms)
    guest = next((one for one in vms if one.vmid == vmid), None)
    if guest is None:
        raise WinseedError(
            f"there is no VM {vmid}, or this token may not see it", code=ExitCode.SPEC
        )
    found = [host for host in hosts if host.machine.vmid == vmid]
    found = found or [host for host in hosts if host.name.casefold() == guest.name.casefold()]
    if not found and len(hosts) == 1 and not hosts[0].machine.vmid:
        found = list(hosts)  # what Windows calls itself decides, see `refuse_stranger`
    if len(found) != 1:
        raise WinseedError(
            f"no host of the spec is VM {vmid} ({guest.name or 'without a name'})",
            code=ExitCode.SPEC,
            hint="name the host as well: winseed settle VMID --host NAME",
        )
    return found[0], guest


def _vm_of(host: HostSpec, vms: Sequence[Guest]) -> Guest:
    vmid, name = host.machine.vmid, host.name.casefold()
    found = [one for one in vms if one.vmid == vmid or (not vmid and one.name.casefold() == name)]
    if len(found) != 1:
        told = ", ".join(f"{one.vmid} on {one.node}" for one in found) or "none"
        raise WinseedError(
            f"no single VM is {host.name}: {told}",
            code=ExitCode.SPEC,
            hint="give its VMID: winseed settle VMID --host NAME",
        )
    return found[0]


def inspect_found(api: Api, guest: Guest, host: HostSpec) -> Found:
    """Ask the guest who it is. Raises WinseedError (UNSAFE, UNSETTLED) for what is no case of ours.

    Nothing is changed; a VM that is off or silent is not started.
    """
    agent = GuestAgent(api=api, node=guest.node, vmid=guest.vmid)
    if guest.template or guest.lock:
        what = "a template" if guest.template else f"locked ({guest.lock})"
        raise WinseedError(f"VM {guest.vmid} is {what}", code=ExitCode.UNSAFE)
    if not ping_agent(api, guest.node, guest.vmid):
        raise WinseedError(
            f"nobody answers in VM {guest.vmid} ({guest.name})",
            code=ExitCode.UNSETTLED,
            hint="start it, wait until Windows has signed on to its guest agent, and try again",
        )
    marker = inspect_marker(agent, timeout=LOOK_TIME)
    facts = inspect_guest(agent, id="settle-look", timeout=LOOK_TIME)
    refuse_stranger(guest, host, marker, facts)
    if marker is None:
        raise WinseedError(
            f"the Windows in VM {guest.vmid} bears no mark of winseed",
            code=ExitCode.UNSAFE,
            hint="either its first boot has not ended: try again in some minutes; or it was not "
            "installed from an answer ISO of winseed",
        )
    config = inspect_config(api, guest.node, guest.vmid)
    return Found(guest=guest, config=config, marker=marker, facts=facts)


def refuse_stranger(guest: Guest, host: HostSpec, marker: Marker | None, facts: GuestFacts) -> None:
    """Raise WinseedError (UNSAFE) for a domain controller, or another computer than the host."""
    role = facts.role
    if role.controller:
        raise WinseedError(
            f"{role.computer_name} in VM {guest.vmid} is a domain controller of {role.domain}: "
            "nothing is rotated there",
            code=ExitCode.UNSAFE,
            hint="its Administrator is the domain's; `winseed dc` looks after domain controllers",
        )
    if role.computer_name.casefold() != host.name.casefold():
        mark = f", installed by build {marker.id}" if marker else ""
        raise WinseedError(
            f"the Windows in VM {guest.vmid} calls itself {role.computer_name}{mark}: "
            f"it is not {host.name}",
            code=ExitCode.UNSAFE,
            hint="name the host that it is",
        )


def open_by_hand(
    case: Case, found: Found, discs: Discs, local: Sequence[LocalIso], entropy: Entropy
) -> Opened:
    """Decide everything about the run; nothing is written. Raises WinseedError."""
    guest = found.guest
    state = RunState(
        run=entropy.token(4),
        kind=Kind.SETTLE,
        host=case.host.name,
        fingerprint=found.marker.id,
        nonce="",
        given=case.administrator is not None,
        started=entropy.now(),
        node=guest.node,
        vmid=guest.vmid,
        cds=discs.slots,
        answer=dataclasses.replace(discs.answer, node=guest.node) if discs.answer else None,
        doubtful=discs.doubtful,
        powered=True,
        phase=Phase.FIRST_BOOT.value,
        uuid=uuid_of(found.config.setting("smbios1")),
    )
    plan = plan_run(case, HIDDEN, "")
    _refuse_other_build(plan, found.marker, local)
    _refuse_other_windows(plan, found)
    administrator = case.administrator or entropy.password()
    order = _order(case, plan, administrator, state, found.config, begun=frozenset())
    return Opened(state=state, order=order, one_time=HIDDEN)


def take_up_by_hand(api: Api, case: Case, journal: Journal) -> Opened:
    """The order of a run that was begun. Raises WinseedError."""
    state = journal.state
    administrator = final_password(case, state)
    config = inspect_config(api, state.node, state.vmid)
    begun = frozenset(name for name, _ in journal.steps)
    order = _order(case, plan_run(case, HIDDEN, ""), administrator, state, config, begun=begun)
    return Opened(state=state, order=order, one_time=HIDDEN)


def settle_by_hand(run: Run, witness: Witness) -> None:
    """Marker twice, then what every run ends with. Raises WinseedError; nothing is undone."""
    try:
        watch_windows(run, witness)
        settle(run)
    except WinseedError as error:
        run.keep(outcome=Outcome.KEPT, failure=error.what, next=f"{verb_of(run.state)} --resume")
        for path in gather_evidence(run, witness):
            run.say(f"kept {path}")
        for line in secrets_left(run):
            run.say(line)
        raise
    if run.state.doubtful:
        discs = ", ".join(run.state.doubtful)
        run.keep(next=f"delete the answer ISO by hand; it may be {discs}")


def _order(
    case: Case,
    plan: Plan,
    administrator: Secret,
    state: RunState,
    config: VmConfig,
    *,
    begun: frozenset[str],
) -> Order:
    """The order of the spec, with the disks that are there left where they are."""
    order = order_run(case, plan, administrator, state)
    settings = dict(config.settings)
    drives = []
    for drive in order.data_drives:
        text = settings.get(drive.slot, "")
        ours = f"attach-{drive.slot}" in begun
        kept = DataDrive(slot=drive.slot, setting=text, kept=volid_of(text))
        drives.append(kept if text and not ours else drive)
    onboot = order.settlement.onboot or settings.get("onboot") == "1"
    disk = config.machine.boot_disk
    return dataclasses.replace(
        order,
        install=str(disk.slot) if disk else order.install,
        data_drives=tuple(drives),
        settlement=dataclasses.replace(order.settlement, onboot=onboot),
    )


def _refuse_other_build(plan: Plan, marker: Marker, local: Sequence[LocalIso]) -> None:
    """Raise WinseedError (SPEC) when the manifest of this very build says something else."""
    document = plan_document(plan)
    problems = tuple(
        Problem(where=key, what=f"the ISO was built for {iso.plan.get(key)}, asked is {asked}")
        for iso in local
        if iso.fingerprint == marker.id
        for key, asked in ((key, document[key]) for key in TOLD)
        if iso.plan.get(key) != asked
    )
    if problems:
        raise WinseedError(
            f"{plan.host} was installed from another build than the one that is asked for",
            code=ExitCode.SPEC,
            problems=problems,
            hint="give the same spec and flags as to `winseed iso`",
        )


def _refuse_other_windows(plan: Plan, found: Found) -> None:
    """Raise WinseedError (UNSAFE) when the Windows is not the one that the spec describes."""
    findings = judge_guest(plan, found.facts)
    wrong = [one for one in findings if one.level is Level.STOP and one.subject in IDENTITY]
    if wrong:
        raise WinseedError(
            f"the Windows in VM {found.guest.vmid} is not what the spec says of {plan.host}",
            code=ExitCode.UNSAFE,
            problems=tuple(Problem(where=one.subject, what=one.what) for one in wrong),
            hint="give the same spec and flags as to `winseed iso`; nothing was changed",
        )


def found_lines(opened: Opened, discs: Discs, folder: Path) -> list[str]:
    """What settling would do, for people."""
    state, order = opened.state, opened.order
    lines = [
        f"{state.host}: VM {state.vmid} on {state.node}, installed by build {state.fingerprint}"
    ]
    password = "the given password" if state.given else f"a new password, kept in {folder}"
    lines.append(f"  Administrator (RID 500): {password}")
    lines += [f"  account {account.name}" for account in order.settlement.accounts]
    if order.settlement.join_blob is not None:
        lines.append("  joins the domain by its offline blob")
    for drive in order.data_drives:
        lines.append(f"  {drive.slot}: {'is there, ' if drive.kept else ''}{drive.setting}")
    lines += [f"  {slot}: {volid} is taken out" for slot, volid in discs.media]
    if discs.answer is not None:
        lines.append(f"  {discs.answer.volid} is deleted")
    lines += [f"  {volid} may be the answer ISO: delete it by hand" for volid in discs.doubtful]
    lines.append("  then one shutdown and start, and the verdict")
    return lines
