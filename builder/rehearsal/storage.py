"""Stage 4, storage: does Windows PE see the install disk. Whether the installed system does is
another question (`system.py`).

A package serves a device by its hardware ids, which are compared with those that QEMU shows
(`builder/devices.py`). Each way into Windows PE rests on belief, so the best verdict for a VirtIO
disk is a risk with the ids of the beliefs; a SATA or IDE disk is ok.
"""

from collections.abc import Iterable, Iterator

from builder.devices import ForeignDevice, InboxDevice, MachineDevice, VirtioDevice
from builder.errors import ExitCode
from builder.media.catalog import Level, judge_signature
from builder.record import record
from builder.rehearsal.letters import LetterModel, Reach
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown
from builder.rehearsal.ways import Offered, Way

KB = "Microsoft KB 2686316"
NO_DISK = "Setup finds no disk, and says so as a failure of DiskConfiguration"
KEPT_OUT = {"viogpudo": "dockur/windows install.sh keeps it out of Windows PE"}


@record
class Target:
    """The Windows to install: what an INF and a signature are judged for. `build` 0 if unknown."""

    build: int
    secure_boot: bool

    @property
    def version(self) -> tuple[int, int]:
        """(6, 3) is Server 2012 R2, (10, 0) every later one."""
        return (10, 0) if self.build >= 10240 else (6, 3)


@record
class Served:
    """The packages that fit a device, and why others do not."""

    offers: tuple[Offered, ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]


def serve(device: VirtioDevice, offered: Iterable[Offered], target: Target) -> Served:
    """The packages among `offered` that drive `device` on `target`."""
    fitting, refusals, warnings = [], [], []
    for one in offered:
        if not any(hardware in one.driver.ids for hardware in device.shown.hardware_ids):
            continue
        refusal, warning = _judge(one, target, boot=device.boot_critical)
        if warning:
            warnings.append(warning)
        if refusal:
            refusals.append(refusal)
        else:
            fitting.append(one)
    return Served(
        offers=tuple(fitting),
        refusals=tuple(dict.fromkeys(refusals)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _judge(one: Offered, target: Target, *, boot: bool) -> tuple[str, str]:
    """Why Windows would not take the package, and what else to say about it."""
    driver = one.driver
    if driver.missing:
        return f"{driver.path} names {', '.join(driver.missing)}, which the disc has not", ""
    major, minor = target.version
    fits = driver.inf is None or not target.build
    fits = fits or driver.inf.supports(build=target.build, major=major, minor=minor)  # type: ignore[union-attr]
    if not fits:
        return f"{driver.path} is for another Windows than build {target.build}", ""
    if driver.signer is None or not target.build:
        return "", ""
    verdict = judge_signature(
        driver.signer,
        release_build=target.build,
        secure_boot=target.secure_boot,
        boot_critical=boot,
    )
    text = f"{driver.path}: {verdict.text}"
    if verdict.level in {Level.REFUSE, Level.LEAVE_OUT}:
        return text, ""
    return "", text if verdict.level is Level.WARN else ""


def reach_of(offers: Iterable[Offered], model: LetterModel) -> Reach:
    """In how many assignments at least one of the packages is found."""
    offers = tuple(offers)
    if any(not one.pairs for one in offers):
        return Reach(hits=model.total, total=model.total)
    return model.reach(pair for one in offers for pair in one.pairs)


def rehearse_storage(
    devices: tuple[MachineDevice, ...],
    winpe: tuple[Offered, ...],
    model: LetterModel,
    target: Target,
    *,
    unread: bool,
) -> Stage:
    """What Windows PE sees: the disk, and which drivers it must not get."""
    steps: list[Step] = []
    critical = [one for one in devices if _is_install_disk(one)]
    for device in critical:
        match device:
            case VirtioDevice():
                steps += _virtio(device, winpe, model, target, unread=unread)
            case ForeignDevice():
                what = f"the install disk hangs on {device.qemu}, for which nobody brings a driver"
                steps.append(
                    stop("storage.disk", what, code=ExitCode.MEDIA, why=NO_DISK, fix=device.note)
                )
            case InboxDevice():
                what = f"the install disk hangs on {device.qemu}, which Windows drives by itself"
                steps.append(passed("storage.disk", what))
    if not critical:
        steps.append(passed("storage.disk", "the install disk is on SATA or IDE: no driver needed"))
    steps += _mixed_versions(winpe)
    steps += _kept_out(winpe)
    return Stage(key="storage", title="Windows PE sees the disk", steps=tuple(steps))


def _is_install_disk(device: MachineDevice) -> bool:
    return not isinstance(device, InboxDevice) and device.boot_critical


def _virtio(
    device: VirtioDevice,
    winpe: tuple[Offered, ...],
    model: LetterModel,
    target: Target,
    *,
    unread: bool,
) -> Iterator[Step]:
    served = serve(device, winpe, target)
    name = f"{device.name} ({device.shown.device}, {', '.join(device.places)})"
    if not served.offers:
        yield _no_driver(name, served, winpe, unread=unread)
        return
    together = reach_of(served.offers, model)
    ways = {way: reach_of(_by(served.offers, way), model) for way in ways_of(served.offers)}
    told = "; ".join(f"{way.value} in {reach} assignments" for way, reach in ways.items())
    beliefs = sorted({belief for one in served.offers for belief in one.beliefs})
    if together.never:
        yield stop(
            "storage.letters",
            f"no letter under which a driver for {name} is asked for can be its disc's: {told}",
            code=ExitCode.MEDIA,
            why=NO_DISK,
            fix="name the folder on the letters C: to J:",
            source="cschneegans/unattend-generator#400; hashicorp/packer#7950",
        )
    elif not together.always:
        yield risk(
            "storage.letters",
            f"the driver for {name} is found in {together} assignments only",
            why=f"{NO_DISK}, for instance with {together.miss}; {told}",
            fix="name the folder on the letters C: to J:, or carry the driver in $WinPEDriver$",
            source="cschneegans/unattend-generator#400; hashicorp/packer#7950",
            beliefs=beliefs,
        )
    else:
        yield risk(
            "storage.disk",
            f"the driver for {name} is found under every assignment, "
            + (f"by {len(ways)} ways that rest" if len(ways) > 1 else "by one way that rests")
            + " on belief",
            why=told,
            source=KB,
            beliefs=beliefs,
        )
    for warning in served.warnings:
        yield risk("storage.signature", warning)


def _no_driver(name: str, served: Served, winpe: tuple[Offered, ...], *, unread: bool) -> Step:
    if served.refusals:
        return stop(
            "storage.disk",
            f"the driver for {name} is not taken: {served.refusals[0]}",
            code=ExitCode.MEDIA,
            why=NO_DISK,
            fix="take the folder for this Windows, from a virtio-win that signs for it",
            source="virtio-win/virtio-win-pkg-scripts#61, #116",
        )
    if unread:
        what = f"no disc that was read brings a driver for {name}"
        return unknown("storage.disk", what, fix="give every disc")
    others = sorted({one.driver.driver for one in winpe})
    only = f"; only {', '.join(others)} is loaded" if others else ""
    return stop(
        "storage.disk",
        f"nothing brings a driver for {name}{only}",
        code=ExitCode.MEDIA,
        why=NO_DISK,
        fix="add the driver of this bus, or attach the disk by another one",
        source="cschneegans/unattend-generator#400",
    )


def ways_of(offers: Iterable[Offered]) -> tuple[Way, ...]:
    """The ways among them, each once."""
    return tuple(dict.fromkeys(one.way for one in offers))


def _by(offers: Iterable[Offered], way: Way) -> Iterator[Offered]:
    return (one for one in offers if one.way is way)


def _mixed_versions(winpe: tuple[Offered, ...]) -> Iterator[Step]:
    """Two versions of one driver: the first one loaded wins, others may be marked bad (KB)."""
    by_driver: dict[str, dict[str, str]] = {}
    for one in winpe:
        if one.driver.version:
            versions = by_driver.setdefault(one.driver.driver.casefold(), {})
            versions.setdefault(one.driver.version, one.slot)
    for driver, versions in by_driver.items():
        if len(versions) > 1:
            told = ", ".join(f"{version} in {slot}" for version, slot in versions.items())
            yield risk(
                "storage.versions",
                f"Windows PE is offered {len(versions)} versions of {driver}: {told}",
                fix="keep one of the discs",
                source=KB,
            )


def _kept_out(winpe: tuple[Offered, ...]) -> Iterator[Step]:
    for driver in sorted({one.driver.driver.casefold() for one in winpe} & set(KEPT_OUT)):
        yield risk(
            "storage.kept-out",
            f"{driver} is loaded into Windows PE",
            fix="leave it to offlineServicing",
            source=KEPT_OUT[driver],
        )
