"""What a future domain controller asks of its media, beyond the spec's own rules."""

from collections.abc import Iterator

from builder.domain.tables import dc_release
from builder.errors import ExitCode, WinseedError
from builder.media.windows import WindowsMedia
from builder.plan.beliefs import make_risk
from builder.plan.image import chosen_image
from builder.plan.model import Risk
from builder.releases import Release
from builder.spec.model import HostSpec
from builder.values import Bus, Channel


def make_dc_risks(
    host: HostSpec, release: Release, channel: Channel, windows: WindowsMedia | None
) -> tuple[Risk, ...]:
    """The risks of a host with role = "dc", none for others.

    Raises WinseedError (UNSAFE) for evaluation media, and for media that were not seen: a DC on an
    evaluation image can never be converted (MicrosoftDocs/windowsserverdocs, get-started,
    Supported-Upgrade-Paths.md), only replaced.
    """
    if host.role != "dc":
        return ()
    if channel is Channel.EVALUATION:
        unseen = windows is None
        raise WinseedError(
            f"{host.name} would be a domain controller on "
            + ("media that may be an evaluation" if unseen else "evaluation media"),
            code=ExitCode.UNSAFE,
            hint='give --windows-iso, or set channel = "volume" or "retail"'
            if unseen
            else "an evaluation DC can never be converted: give volume or retail media",
        )
    return tuple(map(make_risk, _applying(host, release, windows)))


def _applying(host: HostSpec, release: Release, windows: WindowsMedia | None) -> Iterator[str]:
    revision = chosen_image(host, release, windows).spbuild if windows else 0
    if revision < dc_release(release.id).firewall_revision:
        yield "FT40"
    if host.disk.bus is Bus.VIRTIO:
        yield "FT41"
    if host.dc.host_time_zone != host.locale.time_zone:
        yield "FT42"
