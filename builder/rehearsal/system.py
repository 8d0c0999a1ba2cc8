"""Stage 8, the drivers of the installed system, device by device.

What DriverPaths and `$WinPEDriver$` bring is in the installed system as well, what `drvload` brings
is not (Microsoft KB 2686316); offlineServicing adds its own. Windows needs the driver of its disk
to start; the others may come later, at the first boot.
"""

from builder.devices import ForeignDevice, InboxDevice, MachineDevice, VirtioDevice
from builder.errors import ExitCode
from builder.rehearsal.letters import LetterModel
from builder.rehearsal.model import DeviceRow, Stage, Step, Verdict, passed, risk, stop, unknown
from builder.rehearsal.storage import KB, Served, Target, reach_of, serve, ways_of
from builder.rehearsal.ways import Offered, Way


def rehearse_devices(
    devices: tuple[MachineDevice, ...],
    ways: tuple[tuple[Offered, ...], tuple[Offered, ...]],
    model: LetterModel,
    target: Target,
    *,
    unread: bool,
    steps_later: bool,
) -> tuple[Stage, tuple[DeviceRow, ...]]:
    """Which driver each device gets; `steps_later`: the first boot adds what is missing."""
    winpe, offline = ways
    kept = tuple(one for one in winpe if one.way in {Way.DRIVER_PATHS, Way.WINPE_DRIVER})
    rows, steps = [], []
    for device in devices:
        if isinstance(device, VirtioDevice):
            row, step = _installed(
                device,
                (serve(device, winpe, target), serve(device, (*kept, *offline), target)),
                model,
                unread=unread,
                steps_later=steps_later,
            )
            rows.append(row)
            steps.append(step)
        else:
            rows.append(_other_row(device))
    foreign = [one for one in devices if isinstance(one, ForeignDevice) and not one.boot_critical]
    steps += [
        risk("devices.foreign", f"{one.name} ({', '.join(one.places)}): {one.note}")
        for one in foreign
    ]
    if not steps:
        steps.append(passed("devices.inbox", "no device needs a driver of virtio-win"))
    return Stage(key="devices", title="Drivers of the installed system", steps=tuple(steps)), tuple(
        rows
    )


def _other_row(device: InboxDevice | ForeignDevice) -> DeviceRow:
    inbox = isinstance(device, InboxDevice)
    return DeviceRow(
        device=f"{device.name} ({', '.join(device.places)})",
        pci=device.shown.device if device.shown else "",
        driver="Windows' own" if inbox else "none",
        package="",
        winpe=None,
        system=Verdict.OK if inbox else Verdict.RISK,
        note=device.note,
    )


def _installed(
    device: VirtioDevice,
    served: tuple[Served, Served],
    model: LetterModel,
    *,
    unread: bool,
    steps_later: bool,
) -> tuple[DeviceRow, Step]:
    winpe, system = served
    step = _system_step(device, system, winpe, model, unread=unread, steps_later=steps_later)
    shown = next(iter((*system.offers, *winpe.offers)), None)
    seen = None
    if device.boot_critical:
        reach = reach_of(winpe.offers, model)
        seen = Verdict.RISK if winpe.offers and not reach.never else Verdict.STOP
        seen = Verdict.NOT_CHECKED if unread and not winpe.offers and not winpe.refusals else seen
    row = DeviceRow(
        device=f"{device.name} ({', '.join(device.places)})",
        pci=device.shown.device,
        driver=shown.driver.driver if shown else "none",
        package=f"{shown.slot}: {shown.driver.path}" if shown else "",
        winpe=seen,
        system=step.verdict,
        note=next(iter(system.warnings), device.note),
    )
    return row, step


def _system_step(
    device: VirtioDevice,
    system: Served,
    winpe: Served,
    model: LetterModel,
    *,
    unread: bool,
    steps_later: bool,
) -> Step:
    name = f"{device.name} ({device.shown.device})"
    key = f"devices.{device.name}"
    if not system.offers:
        return _without(device, name, system, winpe, unread=unread, steps_later=steps_later)
    reach = reach_of(system.offers, model)
    beliefs = sorted({belief for one in system.offers for belief in one.beliefs})
    copied = any(one.copied for one in system.offers)
    where = "under every assignment" if reach.always or copied else f"in {reach} assignments"
    driver = system.offers[0].driver
    how = ", ".join(way.value for way in ways_of(system.offers))
    later = "; first boot adds what is missing" if steps_later else ""
    if reach.never and not copied and device.boot_critical:
        return stop(
            f"{key}.letters",
            f"{name}: no letter that is named can be the disc's, and Windows needs it to start",
            code=ExitCode.MEDIA,
            fix="name the folder on the letters C: to J:",
        )
    return risk(
        key if reach.always or copied else f"{key}.letters",
        f"{name}: {driver.driver} {driver.version}".rstrip() + f", by {how}, {where}{later}",
        source=KB,
        beliefs=beliefs,
    )


def _without(
    device: VirtioDevice,
    name: str,
    system: Served,
    winpe: Served,
    *,
    unread: bool,
    steps_later: bool,
) -> Step:
    key = f"devices.{device.name}.missing"
    if device.boot_critical and winpe.offers:
        return stop(
            key,
            f"{name}: only drvload brings the driver, so the installed system does not have it and "
            "does not start",
            code=ExitCode.MEDIA,
            fix="name the package in offlineServicing as well (PnpCustomizationsNonWinPE)",
            source=KB,
        )
    if system.refusals:
        what = f"{name}: {system.refusals[0]}"
    elif unread:
        what = f"{name}: no driver on the discs that were read"
        return unknown(key, what, fix="give every disc")
    else:
        what = f"{name}: nothing puts a driver into the installed system"
    if device.boot_critical:
        return stop(key, what, code=ExitCode.MEDIA, fix="carry its package")
    later = " before first boot" if steps_later else ""
    return risk(key, f"{what}{later}", fix="name its package in offlineServicing")
