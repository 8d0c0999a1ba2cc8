"""Everything that a preflight judges, asked of Proxmox VE and of both guests. Changes nothing.

What does not answer is left out and said; what is forbidden is an error, because nobody could tell
it from silence otherwise.
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from builder.domain.calls import inspect_partner, inspect_target
from builder.domain.facts import DcFacts, MediaFacts, SecretFacts, VmFacts
from builder.domain.plan import DcPlan
from builder.errors import ExitCode, WinseedError
from builder.guest.call import GuestError
from builder.proxmox.agent import GuestAgent
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest, VmConfig
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import (
    inspect_config,
    inspect_guests,
    inspect_replicated,
    inspect_snapshots,
    inspect_status,
)
from builder.record import record

_Answer = TypeVar("_Answer")
_SILENT = frozenset({Trouble.AGENT, Trouble.STOPPED, Trouble.UNKNOWN})
_DRIVE = re.compile(r"(?:ide|sata|scsi|virtio)[0-9]+")


@record
class Survey:
    """The facts, and what did not answer."""

    facts: DcFacts
    notes: tuple[str, ...]


def inspect_dc(
    api: Api, plan: DcPlan, *, media: MediaFacts, secrets: SecretFacts, node_zone: str | None
) -> Survey:
    """Ask the partner, the old DC and its VM. `node_zone`: the node's time zone, if known.

    Raises PveError when Proxmox VE refuses, WinseedError (UNSAFE, SPEC) when it is not clear which
    VM is meant.
    """
    guests = inspect_guests(api)
    notes: list[str] = []
    partner = None
    if plan.partner is not None and plan.partner.inside:
        agent = GuestAgent(api=api, node=_node_of(guests, plan), vmid=plan.partner.vmid)
        partner = _answer(lambda: inspect_partner(agent, plan), plan.partner.name, notes)
    elif plan.partner is not None:
        notes.append(f"{plan.partner.name} is outside this cluster: it was not asked")
    old = find_vm(guests, plan)
    target, vm = None, None
    if old is not None and inspect_config(api, old.node, old.vmid).machine.disks:
        # a VM without a disk is waiting for its first Windows
        vm = inspect_vm(api, old.node, old.vmid, node_zone=node_zone)
        if vm.running:
            agent = GuestAgent(api=api, node=old.node, vmid=old.vmid)
            target = _answer(lambda: inspect_target(agent, plan), plan.fqdn, notes)
        else:
            notes.append(f"VM {old.vmid} ({plan.fqdn}) is off")
    facts = DcFacts(partner=partner, target=target, vm=vm, media=media, secrets=secrets)
    return Survey(facts=facts, notes=tuple(notes))


def find_vm(guests: Iterable[Guest], plan: DcPlan) -> Guest | None:
    """The VM of the old DC: by its VMID, else the one of its name; None when there is none."""
    vms = [guest for guest in guests if guest.kind == "qemu" and not guest.template]
    if plan.vmid:
        return next((guest for guest in vms if guest.vmid == plan.vmid), None)
    named = [guest for guest in vms if guest.name.casefold() == plan.host.casefold()]
    if len(named) > 1:
        told = ", ".join(f"{guest.vmid} on {guest.node}" for guest in named)
        raise WinseedError(
            f"more than one VM is called {plan.host}: {told}",
            code=ExitCode.UNSAFE,
            hint="say which one with machine.vmid",
        )
    return named[0] if named else None


def inspect_vm(api: Api, node: str, vmid: int, *, node_zone: str | None = None) -> VmFacts:
    """What the cluster knows of a DC's VM. Raises PveError."""
    config = inspect_config(api, node, vmid)
    return VmFacts(
        vmid=vmid,
        running=inspect_status(api, node, vmid).running,
        generation=config.setting("vmgenid"),
        replicated=vmid in inspect_replicated(api),
        snapshots=inspect_snapshots(api, node, vmid),
        caches=tuple(_caches(config)),
        time_zone=node_zone,
    )


def _caches(config: VmConfig) -> Iterable[tuple[str, str]]:
    for key, value in config.settings:
        if _DRIVE.fullmatch(key) and "media=cdrom" not in value:
            found = re.search(r"(?:^|,)cache=([a-z]+)", value)
            yield key, found[1] if found else "none"


def _node_of(guests: Iterable[Guest], plan: DcPlan) -> str:
    wanted = plan.partner
    if wanted is None:
        raise AssertionError("a plan without a partner has no node of it")
    found = next((guest for guest in guests if guest.vmid == wanted.vmid), None)
    if found is None or found.kind != "qemu":
        raise WinseedError(
            f"there is no VM {wanted.vmid} for {wanted.name}, or the token may not see it",
            code=ExitCode.SPEC,
            hint="correct dc.partner_vmid, or grant VM.Audit on it",
        )
    return found.node


def _answer(ask: Callable[[], _Answer], name: str, notes: list[str]) -> _Answer | None:
    try:
        return ask()
    except GuestError as error:
        notes.append(f"{name}: {error.what}")
    except PveError as error:
        if error.trouble not in _SILENT:
            raise
        notes.append(f"{name}: {error.what}")
    return None
