"""How a plan reaches the machine: on an answer ISO, over the network, or on a Hyper-V host.

The same plan rides on every carrier. What differs between them is decided here, once: where the
files lie that an installation reads, which passes of the answer file are read, and what cannot go
together.
"""

import dataclasses
import hashlib
from typing import assert_never

from builder.errors import ExitCode, Problem, WinseedError
from builder.media.windows import WindowsMedia
from builder.plan.hardware import DiskPlan
from builder.plan.packages import DriverPlan
from builder.record import record
from builder.values import Delivery, WdsBoot

STAGED = "winseed-medium"  # the folder at the root of the installed system that is staged
PE_PASSES = ("windowsPE", "offlineServicing")
SYSTEM_PASSES = ("specialize", "oobeSystem")


@record
class AnswerIso:
    """A CD in a drive of the VM."""


@record
class HyperVDisc:
    """The same CD in a Hyper-V machine of generation 2: Windows has every driver itself."""


@record
class SetupShare:
    """Setup runs from `\\\\server\\share\\media\\<media>`; the host's files lie beside it.

    `server` is a name or an address that Windows PE reaches, `user` may read the share.
    """

    server: str
    share: str
    user: str
    media: str = ""


@record
class AppliedImage:
    """No share: the start script fetches the image from `url` and applies it itself."""

    url: str
    media: str = ""
    image: str = ""


@record
class WdsServer:
    """Windows Deployment Services; `guarded` boot images hold the disk guard."""

    group: str
    guarded: bool = False
    boot: WdsBoot = WdsBoot.WORKS


Carrier = AnswerIso | HyperVDisc | SetupShare | AppliedImage | WdsServer


def settle_carrier(
    carrier: Carrier,
    host: str,
    *,
    windows: WindowsMedia | None,
    disk: DiskPlan,
    drivers: DriverPlan,
    wds_boot: WdsBoot,
) -> Carrier:
    """`carrier` with what the media say; WinseedError (SPEC, MEDIA, UNSAFE) for what cannot be."""
    match carrier:
        case AnswerIso() | HyperVDisc():
            return carrier
        case SetupShare():
            _refuse_bare(host, windows, drivers)
            return dataclasses.replace(carrier, media=media_folder(windows))
        case AppliedImage():
            _refuse_bare(host, windows, drivers)
            _refuse_unguarded(host, disk, drivers)
            image = _whole_image(windows)
            return dataclasses.replace(carrier, media=media_folder(windows), image=image)
        case WdsServer():
            _refuse_bare(host, windows, drivers)
            if wds_boot is WdsBoot.BLOCKED:
                raise WinseedError(
                    f"{host}: WDS does not install this release from the boot.wim of its media",
                    code=ExitCode.MEDIA,
                    hint="winseed handoff ipxe [windows/deployment/wds-boot-support.md]",
                )
            if disk.guard and not carrier.guarded:
                raise WinseedError(
                    "the boot image of the media has no disk guard: it would erase any disk",
                    code=ExitCode.UNSAFE,
                    hint="--inject puts the guard into a copy of boot.wim; or accept it with "
                    'disk.wipe = "existing"',
                )
            return dataclasses.replace(carrier, boot=wds_boot)
        case _:
            assert_never(carrier)


def media_folder(windows: WindowsMedia | None) -> str:
    """`26100-3f1a9c02`: the folder of a Windows disc in a tree; the same for the same disc."""
    if windows is None:
        return ""
    images = [(image.index, image.name, image.build, image.spbuild) for image in windows.images]
    text = repr((windows.volume_id, windows.size, images))
    build = windows.images[0].build if windows.images else 0
    return f"{build}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def answer_passes(carrier: Carrier) -> tuple[str, ...]:
    """The passes of the host's main answer file."""
    match carrier:
        case AnswerIso() | HyperVDisc() | SetupShare():
            return (*PE_PASSES, *SYSTEM_PASSES)
        case AppliedImage() | WdsServer():
            return SYSTEM_PASSES
        case _:
            assert_never(carrier)


def staged_folder(carrier: Carrier) -> str:
    """Where the medium lies below the root of the installed system; "" when it is a CD."""
    match carrier:
        case AnswerIso() | HyperVDisc():
            return ""
        case SetupShare() | AppliedImage() | WdsServer():
            return STAGED
        case _:
            assert_never(carrier)


def is_disc(carrier: Carrier) -> bool:
    """Whether the medium is a CD."""
    return isinstance(carrier, AnswerIso | HyperVDisc)


def on_boot_network(carrier: Carrier) -> bool:
    """Whether a machine that boots from the network gets the answer file before it logs on."""
    return isinstance(carrier, SetupShare | AppliedImage)


def carries_drivers(carrier: Carrier) -> bool:
    """Whether our scripts bring the packages; the WDS server does it itself, by driver group."""
    return not isinstance(carrier, WdsServer)


def _refuse_bare(host: str, windows: WindowsMedia | None, drivers: DriverPlan) -> None:
    problems = []
    if windows is None:
        problems.append(Problem(where=host, what="no Windows ISO: boot.wim comes from it"))
    if drivers.packages and not drivers.carried:
        problems.append(Problem(where=host, what="no virtio-win ISO: drivers travel in the tree"))
    if problems:
        raise WinseedError(
            "a network installation needs its media at hand",
            code=ExitCode.SPEC,
            problems=tuple(problems),
            hint="give --windows-iso and --virtio-iso",
        )


def _refuse_unguarded(host: str, disk: DiskPlan, drivers: DriverPlan) -> None:
    """The start script loads drivers by drvload and by nothing else."""
    if drivers.boot_packages and Delivery.DRVLOAD not in drivers.deliveries:
        raise WinseedError(
            f"{host}: without drvload the start script would see no disk",
            code=ExitCode.UNSAFE if disk.guard else ExitCode.SPEC,
            hint='add "drvload" to driver_delivery',
        )


def _whole_image(windows: WindowsMedia | None) -> str:
    if windows is None or windows.install_format == "swm":
        raise WinseedError(
            "a split install image cannot be applied over HTTP",
            code=ExitCode.MEDIA,
            hint="take media with install.wim or install.esd, or --way share",
        )
    return f"install.{windows.install_format}"
