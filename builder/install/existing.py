"""A VM that is to be installed anew: what it is, whether that may be done, and what it becomes."""

import dataclasses
from collections.abc import Iterator, Mapping

from builder.errors import ExitCode, Problem, WinseedError
from builder.guest.facts import inspect_role
from builder.install.hardware import choose_cds, load_slot, make_data_drive, make_system_drives
from builder.install.identity import STATES, disk_keys, volid_of
from builder.install.journal import OldVm
from builder.install.order import DataDrive, Order
from builder.machine import DRIVES, Machine, Slot, install_slot
from builder.proxmox.agent import GuestAgent, ping_agent
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest, VmConfig, VmStatus, load_config
from builder.proxmox.inventory import (
    inspect_config,
    inspect_guests,
    inspect_replicated,
    inspect_snapshots,
    inspect_status,
)
from builder.record import record
from builder.spec.model import HostSpec, ProxmoxSpec

ROLE_TIME = 60.0  # seconds


@record
class Existing:
    """A VM as it is. `config` has what is pending; `pending`: keys that wait for a cold start."""

    guest: Guest
    config: VmConfig
    pending: tuple[str, ...]
    status: VmStatus
    snapshots: tuple[str, ...]
    replicated: bool

    @property
    def settings(self) -> Mapping[str, str]:
        """Every setting as it is written."""
        return dict(self.config.settings)


def find_existing(api: Api, host: HostSpec) -> Existing:
    """The VM of `host`: by its VMID, else the only one of its name. Raises WinseedError."""
    guests = [guest for guest in inspect_guests(api) if guest.kind == "qemu"]
    vmid, name = host.machine.vmid, host.name.casefold()
    found = [guest for guest in guests if guest.vmid == vmid or (not vmid and _named(guest, name))]
    if len(found) != 1:
        told = ", ".join(f"{guest.vmid} on {guest.node}" for guest in found) or "none"
        raise WinseedError(
            f"no single VM is {host.name}: {told}",
            code=ExitCode.SPEC,
            hint="set machine.vmid; `winseed deploy` makes a new VM",
        )
    (guest,) = found
    if guest.name.casefold() != name:
        raise WinseedError(
            f"VM {vmid} is called {guest.name or 'nothing'}, not {host.name}",
            code=ExitCode.UNSAFE,
            hint="set machine.vmid to the VM that is meant",
        )
    return inspect_existing(api, guest)


def inspect_existing(api: Api, guest: Guest) -> Existing:
    """Everything there is to know of a VM before its disks are taken out. Raises PveError."""
    config = inspect_config(api, guest.node, guest.vmid)
    current = dict(inspect_config(api, guest.node, guest.vmid, current=True).settings)
    wanted = dict(config.settings)
    keys = sorted({*current, *wanted} - {"digest"})
    return Existing(
        guest=guest,
        config=config,
        pending=tuple(key for key in keys if current.get(key) != wanted.get(key)),
        status=inspect_status(api, guest.node, guest.vmid),
        snapshots=inspect_snapshots(api, guest.node, guest.vmid),
        replicated=guest.vmid in inspect_replicated(api),
    )


def refuse_existing(existing: Existing) -> None:
    """Raise WinseedError (UNSAFE) with every reason why this VM cannot be installed anew."""
    problems = tuple(_problems(existing))
    if problems:
        guest = existing.guest
        raise WinseedError(
            f"VM {guest.vmid} ({guest.name}) cannot be installed anew as it is",
            code=ExitCode.UNSAFE,
            problems=problems,
            hint="nothing was changed",
        )


def _problems(existing: Existing) -> Iterator[Problem]:
    settings, guest = existing.settings, existing.guest
    if guest.template or settings.get("template") == "1":
        yield Problem(where="template", what="it is a template")
    if settings.get("protection") == "1":
        yield Problem(where="protection", what="it is protected", hint="qm set VMID --protection 0")
    if existing.status.ha_managed:
        yield Problem(
            where="ha", what="HA looks after it and would start it again",
            hint=f"ha-manager set vm:{guest.vmid} --state ignored",
        )  # fmt: skip
    if existing.snapshots:
        yield Problem(
            where="snapshots", what=f"it has {', '.join(existing.snapshots)}",
            hint="a snapshot holds the old disks: delete them first",
        )  # fmt: skip
    if existing.replicated:
        yield Problem(
            where="replication", what="its disks are replicated", hint="remove the job first"
        )
    if existing.status.lock or guest.lock:
        lock = existing.status.lock or guest.lock
        yield Problem(where="lock", what=f"it is locked ({lock})", hint="wait until that is done")
    if existing.pending:
        yield Problem(
            where="pending", what=f"changes wait for a cold start: {', '.join(existing.pending)}",
            hint="shut it down and start it once, or revert them",
        )  # fmt: skip
    if not existing.config.machine.disks:
        yield Problem(where="disks", what="it has none", hint="`winseed deploy` takes it over")


def refuse_controller(api: Api, existing: Existing, *, allowed: bool) -> None:
    """Raise WinseedError (UNSAFE) for a domain controller, or when nobody says it is none.

    `allowed`: the user has said that it is none. What Windows says counts more than that.
    """
    guest = existing.guest
    agent = GuestAgent(api=api, node=guest.node, vmid=guest.vmid)
    if not existing.status.running or not ping_agent(api, guest.node, guest.vmid):
        if allowed:
            return
        raise WinseedError(
            f"nobody answers in VM {guest.vmid} ({guest.name}): it may be a domain controller",
            code=ExitCode.UNSAFE,
            hint="start it with its guest agent; `--not-a-dc` if you know that it is none; "
            "`winseed dc` for a domain controller",
        )
    role = inspect_role(agent, timeout=ROLE_TIME)
    if role.controller:
        raise WinseedError(
            f"{guest.name} is a domain controller of {role.domain}",
            code=ExitCode.UNSAFE,
            hint=f"winseed dc reinstall {guest.name}: it looks after the directory as well",
        )


def load_old(old: OldVm) -> VmConfig:
    """The configuration that a journal remembers. Raises WinseedError for one that is none."""
    return load_config(dict(old.settings), "the journal")


def order_again(order: Order, host: HostSpec, proxmox: ProxmoxSpec, config: VmConfig) -> Order:
    """`order` for a VM that is there: fresh system drives, and its other disks afterwards.

    Raises WinseedError (SPEC) where the VM is not what the answer ISO is made for.
    """
    machine = config.machine
    drives = _data_drives(host, proxmox, config)
    install = _install_slot(host, machine, {drive.slot for drive in drives})
    fresh = make_system_drives(host, proxmox)
    fresh = {install if key not in STATES else key: text for key, text in fresh.items()}
    found = dataclasses.replace(machine, drives=(), boot=())
    wanted = dataclasses.replace(order.machine, drives=(), boot=())
    _refuse_other_hardware(wanted, found)
    slot = str(install_slot(host.disk.bus))
    disk = next(one for one in order.machine.drives if str(one.slot) == slot)
    return dataclasses.replace(
        order,
        settings=fresh,
        machine=dataclasses.replace(
            found,
            drives=(dataclasses.replace(disk, slot=load_slot(install)),),
            firmware=order.machine.firmware,
            tpm=order.machine.tpm,
        ),
        system_drives=tuple(fresh),
        install=install,
        data_drives=drives,
    )


def cds_beside(drives: tuple[DataDrive, ...], install: str) -> tuple[str, str, str]:
    """CD slots that leave those of disks alone."""
    return choose_cds(frozenset({install, *(drive.slot for drive in drives)}))


def _data_drives(host: HostSpec, proxmox: ProxmoxSpec, config: VmConfig) -> tuple[DataDrive, ...]:
    """Every disk but the system's: kept as it was written, or renewed as the spec says."""
    settings, machine = dict(config.settings), config.machine
    system = machine.boot_disk
    made: dict[str, DataDrive] = {}
    for key in disk_keys(machine, settings):
        if key not in STATES and (system is None or key != str(system.slot)):
            text = settings[key]
            made[key] = DataDrive(slot=key, setting=text, kept=volid_of(text))
    for disk in host.data_disk:
        slot, fresh = make_data_drive(host, proxmox, disk)
        if slot not in made or disk.on_reinstall == "fresh":
            made[slot] = DataDrive(slot=slot, setting=fresh)
    return tuple(made.values())


def _install_slot(host: HostSpec, machine: Machine, taken: set[str]) -> str:
    """Where the system disk was, if that is the right bus; else the first free slot there."""
    wanted, system = install_slot(host.disk.bus), machine.boot_disk
    if system is not None and system.slot.bus is wanted.bus:
        return str(system.slot)
    slots = (Slot(bus=wanted.bus, number=number) for number in range(DRIVES[wanted.bus]))
    free = [str(slot) for slot in slots if str(slot) not in taken]
    return str(wanted) if str(wanted) in free else free[0]


def _refuse_other_hardware(wanted: Machine, found: Machine) -> None:
    pairs = {
        "machine": (wanted.chipset.value, found.chipset.value),
        "bios": (type(wanted.firmware).__name__, type(found.firmware).__name__),
        "scsihw": (wanted.scsi.value, found.scsi.value),
        "agent": (wanted.agent.value, found.agent.value),
        "network": (_macs(wanted), _macs(found)),
    }
    problems = tuple(
        Problem(where=where, what=f"the VM has {is_now or 'none'}, the spec {asked or 'none'}")
        for where, (asked, is_now) in pairs.items()
        if asked != is_now
    )
    if problems:
        raise WinseedError(
            f"{wanted.name}: the VM that is there is not the one that the spec describes",
            code=ExitCode.SPEC,
            problems=problems,
            hint="change one of them; a reinstallation changes disks only",
        )


def _macs(machine: Machine) -> str:
    return ", ".join(f"{nic.model}={(nic.mac or '').upper()}" for nic in machine.nics)


def _named(guest: Guest, name: str) -> bool:
    return guest.name.casefold() == name
