"""Whether an installed Windows is what its plan says. Pure.

The last part of "settled" (docs/architecture.md): edition and build, a complete image, no restart
pending, the update policy, data disks, and a driver for every device that the plan gave one.
"""

import functools
import tomllib
from collections.abc import Iterator

from builder import resources
from builder.drivers import known_drivers
from builder.errors import ExitCode
from builder.guest.facts import DeviceFacts, GuestFacts
from builder.plan.model import ImageByIndex, Plan
from builder.proxmox.findings import Finding, fine, stop, warn
from builder.record import record
from builder.releases import load_release

COMPLETE = "IMAGE_STATE_COMPLETE"  # learn.microsoft.com, "Windows Setup States"
EVALUATION = "Eval"
NO_DRIVER = 28  # CM_PROB_FAILED_INSTALL: no driver is installed for the device
DISABLED = 22  # CM_PROB_DISABLED: somebody switched it off
FILE_SYSTEMS = frozenset({"NTFS", "REFS"})
MEMBERS = frozenset({1, 3, 4, 5})  # Win32_ComputerSystem DomainRole: in a domain
SERVERS = frozenset({2, 3})  # a server of its own, a member server


@record
class Undriven:
    """A device that may stay without a driver: the beginning of its hardware id, and why."""

    id: str
    reason: str


def judge_guest(plan: Plan, facts: GuestFacts, *, joined: bool = False) -> tuple[Finding, ...]:
    """Everything that was looked at. `joined`: it must be a member of a domain by now."""
    return (
        *_judge_system(plan, facts),
        *_judge_restart(facts),
        *_judge_role(facts, joined=joined),
        *_judge_policies(plan, facts),
        *_judge_drivers(plan, facts),
        *_judge_others(plan, facts),
        *_judge_disks(plan, facts),
    )


def _judge_system(plan: Plan, facts: GuestFacts) -> Iterator[Finding]:
    image = load_release(plan.release).image(plan.sku, plan.edition)
    if image is not None:
        # Core editions carry a suffix in some releases; evaluation ids end in Eval (FT51)
        found = facts.edition.removesuffix(EVALUATION)
        known = (image.edition_id, f"{image.edition_id}Cor", f"{image.edition_id}Core")
        same = facts.installation_type.casefold() == image.installation_type.casefold()
        yield _compare(
            "edition",
            f"{facts.edition}, {facts.installation_type}",
            f"{image.edition_id}, {image.installation_type}",
            same=same and found in known,
        )
    build = plan.image.build if isinstance(plan.image, ImageByIndex) else plan.build
    yield _compare("build", facts.build, str(build), same=facts.build == str(build))
    yield _compare(
        "computer name",
        facts.role.computer_name,
        plan.host,
        same=facts.role.computer_name.casefold() == plan.host.casefold(),
    )
    yield _compare("image state", facts.image_state, COMPLETE, same=facts.image_state == COMPLETE)


def _compare(subject: str, found: str, wanted: str, *, same: bool) -> Finding:
    if same:
        return fine(subject, found)
    return _wrong(subject, f"it is {found or 'unknown'}, planned was {wanted}", "")


def _judge_restart(facts: GuestFacts) -> Iterator[Finding]:
    if facts.pending:
        yield _wrong(
            "restart",
            f"Windows waits for a restart: {', '.join(facts.pending)}",
            "restart it once more, then resume",
        )
    else:
        yield fine("restart", "none is pending")
    if facts.renames:
        # many programs leave such a list behind and nothing waits for it
        yield warn(
            "restart", f"{len(facts.renames)} files are moved or deleted at the next start", ""
        )


def _judge_role(facts: GuestFacts, *, joined: bool) -> Iterator[Finding]:
    role = facts.role
    if role.controller:
        yield _wrong("role", f"it is a domain controller of {role.domain}", "")
    elif joined and role.domain_role not in MEMBERS:
        yield _wrong(
            "role",
            "it has not joined the domain",
            r"C:\Windows\debug\NetSetup.LOG says why; a blob serves once, for one computer name",
        )
    elif role.domain_role in SERVERS:
        where = "member of" if role.domain_role in MEMBERS else "workgroup"
        yield fine("role", f"{where} {role.domain}")
    else:
        yield _wrong("role", f"it is no server (DomainRole {role.domain_role})", "")


def _judge_policies(plan: Plan, facts: GuestFacts) -> Iterator[Finding]:
    found = {
        (value.subkey.casefold(), value.name.casefold()): value.value for value in facts.policies
    }
    wrong = [
        f"{value.name} is {found.get((value.subkey.casefold(), value.name.casefold()), 'not set')},"
        f" planned was {value.value}"
        for value in plan.updates.policies
        if found.get((value.subkey.casefold(), value.name.casefold())) != value.value
    ]
    if not wrong:
        yield fine("updates", f"{plan.updates.mode}, {len(plan.updates.policies)} values read back")
    elif facts.role.domain_role in MEMBERS:
        yield warn("updates", "; ".join(wrong), "group policy of the domain has the last word")
    else:
        yield _wrong("updates", "; ".join(wrong), "specialize sets them with reg add (FT13)")


def _judge_drivers(plan: Plan, facts: GuestFacts) -> Iterator[Finding]:
    """Every device that a package of the plan is for."""
    ids = {driver.name: _prefixes(driver.pci) for driver in known_drivers()}
    for package in plan.drivers.packages:
        name = package.driver
        devices = [one for one in facts.devices if _is_any(one, ids.get(name, ()))]
        bad = [one for one in devices if one.problem or not one.inf]
        old = [one for one in devices if package.version and one.version != package.version]
        if not devices and package.boot:
            continue  # both kinds of disks have theirs along
        if not devices:
            yield warn(f"driver {name}", "Windows shows no device for it", "")
        elif bad:
            told = "; ".join(f"{_title(one)}: {_problem(one)}" for one in bad)
            yield _wrong(f"driver {name}", told, "first-boot.log and drivers.log say why")
        elif old:
            told = f"version {old[0].version or 'unknown'}, the plan has {package.version}"
            yield warn(f"driver {name}", told, "Windows chose another one, or updated it")
        else:
            yield fine(f"driver {name}", f"{_title(devices[0])}, {devices[0].version}")


def _judge_others(plan: Plan, facts: GuestFacts) -> Iterator[Finding]:
    """Devices that the plan has no package for."""
    ids = {driver.name: _prefixes(driver.pci) for driver in known_drivers()}
    planned = tuple(one for package in plan.drivers.packages for one in ids.get(package.driver, ()))
    allowed = tuple(row.id for row in load_undriven()) + tuple(
        prefix
        for driver in known_drivers()
        if driver.device in plan.drivers.without_driver
        or driver.name in plan.drivers.without_driver
        for prefix in ids[driver.name]
    )
    for device in facts.devices:
        if not device.problem or device.problem == DISABLED or _is_any(device, planned):
            continue
        if device.problem == NO_DRIVER and _is_any(device, allowed):
            continue
        subject, told = "devices", f"{_title(device)}: {_problem(device)}"
        if device.problem == NO_DRIVER and _is_any(device, ("PCI\\",)):
            yield _wrong(subject, told, "add it to the spec, or take it out of the VM")
        else:
            # what the firmware describes differs by release of QEMU; nothing depends on it (FT50)
            yield warn(subject, told, "")


def _judge_disks(plan: Plan, facts: GuestFacts) -> Iterator[Finding]:
    volumes = {volume.letter: volume for volume in facts.volumes}
    for disk in plan.disk.data_disks:
        volume = volumes.get(disk.letter.upper())
        subject = f"disk {disk.letter}:"
        if volume is None or not volume.fixed:
            yield _wrong(subject, "no disk has this letter", "data-disks.log says why")
        elif volume.filesystem.upper() not in FILE_SYSTEMS:
            yield _wrong(subject, f"its file system is {volume.filesystem or 'none'}", "")
        else:
            yield fine(subject, f"{volume.filesystem}, label {volume.label}")


@functools.cache
def load_undriven() -> tuple[Undriven, ...]:
    """The devices of `drivers/catalog.toml` that may stay without a driver."""
    with (resources.driver_tables() / "catalog.toml").open("rb") as file:
        rows = tomllib.load(file).get("undriven", [])
    return tuple(Undriven(id=str(row["id"]), reason=str(row["reason"])) for row in rows)


def _prefixes(pci: tuple[str, ...]) -> tuple[str, ...]:
    """Hardware ids as Windows writes them, for `1af4:1000`."""
    pairs = (one.upper().split(":") for one in pci)
    return tuple(f"PCI\\VEN_{vendor}&DEV_{device}" for vendor, device in pairs)


def _is_any(device: DeviceFacts, prefixes: tuple[str, ...]) -> bool:
    ids = (device.id, *device.hardware_ids)
    return any(one.upper().startswith(prefix.upper()) for one in ids for prefix in prefixes)


def _title(device: DeviceFacts) -> str:
    return device.name or device.id


def _problem(device: DeviceFacts) -> str:
    if device.problem == NO_DRIVER or not device.inf:
        return f"no driver ({device.hardware_ids[0] if device.hardware_ids else device.id})"
    return f"problem {device.problem} (Device Manager code) with {device.inf}"


def _wrong(subject: str, what: str, hint: str) -> Finding:
    return stop(subject, what, hint, code=ExitCode.UNSETTLED)
