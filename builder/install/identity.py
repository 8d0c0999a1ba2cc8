"""Whether the VM under a run's number is the run's own, where it is, and which of its disks are.

A VMID is given away anew once its VM is gone, and so are the names of its disks; a VM moves to
another node; and its owner attaches disks of his own to it.
"""

import re
from collections.abc import Iterator, Mapping

from builder.errors import ExitCode, Problem, WinseedError
from builder.install.journal import Journal, Kind, RunState, Standing
from builder.install.run import Trail
from builder.machine import Disk, Machine
from builder.proxmox.facts import VmConfig
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_guests, inspect_vmid_free

STATES = ("efidisk0", "tpmstate0")
UUID = re.compile(r"uuid=([0-9a-f-]{36})", re.IGNORECASE)
_ATTACH = "attach-"  # steps that attach a data disk end in its slot


def mark_of(state: RunState) -> str:
    """What the description of a VM says that a run has made or taken over."""
    return f"winseed run {state.run}"


def uuid_of(text: str | None) -> str:
    """The UUID of an smbios1 setting, "" without one."""
    found = UUID.search(text or "")
    return found[1].casefold() if found else ""


def is_same_vm(config: VmConfig, state: RunState) -> bool:
    """Whether a VM is the one of a run: its mark, or the identity that it has or had before."""
    if mark_of(state) in (config.setting("description") or ""):
        return True
    before = state.old or state.adopted
    known = {state.uuid, uuid_of(before.setting("smbios1")) if before else ""} - {""}
    return uuid_of(config.setting("smbios1")) in known


def refuse_other_vm(trail: Trail, config: VmConfig) -> None:
    """Raise WinseedError (UNSAFE) when the VM of the run's number is somebody else's by now."""
    if not is_same_vm(config, trail.state):
        raise WinseedError(
            f"VM {trail.state.vmid} on {trail.state.node} is not the one of this run any more",
            code=ExitCode.UNSAFE,
            hint="it is left alone; if its number was given away, move the host's folder aside",
        )


def find_config(trail: Trail) -> VmConfig | None:
    """The configuration of the run's VM, None when there is no such VM. Raises PveError."""
    try:
        return trail.config()
    except PveError as error:
        if error.trouble is Trouble.MISSING:
            return None
        raise


def find_again(trail: Trail) -> None:
    """Find the VM of a run that is taken up. Raises WinseedError when it is gone or another one."""
    locate(trail)
    state, journal = trail.state, trail.journal
    if state.kind is Kind.SETTLE or (state.old is None and not _is_made(journal)):
        return
    config = find_config(trail)
    if config is None:
        raise WinseedError(
            f"VM {state.vmid} is not there any more",
            code=ExitCode.UNSAFE,
            hint=f"{state.call} --undo ends the run: what else it has made is removed",
        )
    refuse_other_vm(trail, config)


def _is_made(journal: Journal) -> bool:
    return Standing.DONE in {journal.standing("create"), journal.standing("adopt")}


def locate(trail: Trail) -> bool:
    """Note the node where the VM of the run is by now; whether that is another one.

    Raises PveError, also for a VM that exists and is not shown to this token.
    """
    state = trail.state
    if not (state.created or state.adopted or state.old or state.powered):
        return False
    nodes = [guest.node for guest in inspect_guests(trail.api) if guest.vmid == state.vmid]
    if not nodes:
        _refuse_hidden(trail)
        return False
    if nodes[0] in {"", state.node}:
        return False
    trail.say(f"the VM is on {nodes[0]} now")
    trail.keep(node=nodes[0])
    return True


def _refuse_hidden(trail: Trail) -> None:
    if not inspect_vmid_free(trail.api, trail.state.vmid):
        raise PveError(
            f"VM {trail.state.vmid} is there, and this token may not see it",
            trouble=Trouble.FORBIDDEN,
            hint="`winseed doctor` prints the `pveum` lines that grant what is missing",
        )


def volid_of(text: str) -> str:
    """The volume of a drive's setting."""
    return text.partition(",")[0].removeprefix("file=").removeprefix("volume=")


def old_volumes(state: RunState) -> frozenset[str]:
    """The volids of every disk that was there before the run."""
    if state.old is None:
        return frozenset()
    return frozenset(volid_of(text) for _, text in state.old.settings if ":" in volid_of(text))


def disk_keys(machine: Machine, settings: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of every disk, with EFI variables and TPM state."""
    disks = tuple(str(drive.slot) for drive in machine.drives if isinstance(drive, Disk))
    return (*disks, *(key for key in STATES if key in settings))


def own_volumes(trail: Trail, config: VmConfig) -> tuple[str, ...]:
    """The disks of this run: those that it has noted, and those that are where it puts them.

    A run that was killed while a disk was made knows no more of it than its slot.
    """
    state, settings = trail.state, dict(config.settings)
    slots = {*state.slots, *_attached(trail)}
    found = [volid_of(settings[key]) for key in disk_keys(config.machine, settings) if key in slots]
    old = old_volumes(state)
    return tuple(dict.fromkeys((*state.volumes, *(one for one in found if one not in old))))


def _attached(trail: Trail) -> Iterator[str]:
    for name, _ in trail.journal.steps:
        if name.startswith(_ATTACH):
            yield name.removeprefix(_ATTACH)


def refuse_foreign_disks(trail: Trail, config: VmConfig) -> None:
    """Raise WinseedError (UNSAFE) when the VM has a disk that this run has not made.

    Destroying the VM would destroy it as well.
    """
    ours, settings = own_volumes(trail, config), dict(config.settings)
    unused = [key for key in settings if key.startswith("unused")]
    problems = tuple(
        Problem(where=key, what=f"{volid_of(settings[key])} is not of this run")
        for key in (*disk_keys(config.machine, settings), *unused)
        if volid_of(settings[key]) not in ours
    )
    if problems:
        raise WinseedError(
            f"VM {trail.state.vmid} has disks that this run has not made: it is not destroyed",
            code=ExitCode.UNSAFE,
            problems=problems,
            hint="detach them or move them to another VM, then --undo",
        )
