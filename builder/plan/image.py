"""Which image of the media, which channel, which product key.

Rules: learn.microsoft.com, "Windows Setup Edition Configuration and Product ID Files (EI.cfg and
PID.txt)" and "KMS client activation keys"; what the media themselves say outranks both.
"""

from typing import assert_never

from builder.errors import ExitCode, WinseedError
from builder.media.wim import WimImage
from builder.media.windows import WindowsMedia
from builder.plan.model import (
    GivenKey,
    ImageByIndex,
    ImageByName,
    ImageChoice,
    KeyChoice,
    KmsClientKey,
    NoKey,
)
from builder.releases import Release, ReleaseImage
from builder.spec.model import HostSpec
from builder.values import Channel, Secret

EVALUATION = "Eval"
CHANNELS = {
    "eval": Channel.EVALUATION,
    "evaluation": Channel.EVALUATION,
    "volume": Channel.VOLUME,
    "retail": Channel.RETAIL,
    "oem": Channel.RETAIL,
}


def choose_image(host: HostSpec, release: Release, media: WindowsMedia | None) -> ImageChoice:
    """The image of the wanted edition: by index from the media, else by its public name.

    Raises WinseedError (MEDIA) when the media hold another release or lack the edition.
    """
    if media is None:
        known = release.image(host.sku, host.edition)
        if known is None or not known.name:
            raise WinseedError(
                f"{release.name} {host.sku.value} cannot be named without its media",
                code=ExitCode.SPEC,
                hint="give --windows-iso",
            )
        return ImageByName(name=known.name)
    image = chosen_image(host, release, media)
    return ImageByIndex(
        index=image.index,
        name=image.name,
        display_name=image.display_name,
        build=image.build,
        languages=image.languages,
    )


def chosen_image(host: HostSpec, release: Release, media: WindowsMedia) -> WimImage:
    """The one image of `media` that is the wanted edition of `release` for amd64."""
    known = release.image(host.sku, host.edition)
    fitting = [image for image in media.images if known is not None and _fits(image, known)]
    right = [image for image in fitting if image.build == release.build]
    if len(right) == 1:
        return right[0]
    wanted = f"{release.name} {host.sku.value} {host.edition.value} (amd64)"
    held = "; ".join(
        f"{image.index}: {image.display_name or image.name} ({image.architecture}, {image.build})"
        for image in media.images
    )
    if right:
        what = f"{media.path.name} holds more than one image of {wanted}"
        hint = "winseed cannot tell them apart; use media with one image per edition"
    elif fitting:
        what = (
            f"{media.path.name} is build {fitting[0].build}, not {release.name} ({release.build})"
        )
        hint = "correct the release, or leave it out: it is read from the media"
    else:
        what = f"{media.path.name} has no {wanted}"
        hint = "choose an edition that it holds, or other media"
    raise WinseedError(f"{what}; it holds {held or 'no image'}", code=ExitCode.MEDIA, hint=hint)


def choose_channel(
    host: HostSpec, release: Release, media: WindowsMedia | None
) -> tuple[Channel, str]:
    """The channel, and the sentence of the assumption it rests on ("" when it was read)."""
    if media is None:
        if host.channel is None and host.product_key not in {"auto", "none"}:
            # a key goes into the answer file, and evaluation images refuse every key
            return Channel.VOLUME, "the channel is assumed to be volume: a product key was given"
        if host.channel is None:
            return (
                Channel.EVALUATION,
                "the channel is assumed to be evaluation: no media were given",
            )
        return host.channel, ""
    image = chosen_image(host, release, media)
    if image.edition_id.endswith(EVALUATION):
        if host.channel not in (None, Channel.EVALUATION):
            raise WinseedError(
                f"{media.path.name} is evaluation media ({image.edition_id}), the spec says "
                f"{host.channel.value}",
                code=ExitCode.MEDIA,
                hint="leave channel out, or give volume or retail media",
            )
        return Channel.EVALUATION, ""
    if host.channel is Channel.EVALUATION:
        raise WinseedError(
            f"{media.path.name} is not evaluation media: its image is {image.edition_id}",
            code=ExitCode.MEDIA,
            hint="leave channel out: it is read from the media",
        )
    if host.channel is not None:
        return host.channel, ""
    written = media.ei_cfg.channel.casefold() if media.ei_cfg else ""
    if media.ei_cfg and media.ei_cfg.volume_license:
        return Channel.VOLUME, ""
    if written in CHANNELS:
        return CHANNELS[written], ""
    return Channel.VOLUME, "the channel is assumed to be volume: the media have no ei.cfg"


def choose_key(
    host: HostSpec, release: Release, channel: Channel, media: WindowsMedia | None
) -> KeyChoice:
    """The product key of the answer file; never an empty element."""
    if host.product_key == "none":
        if release.needs_key and channel is not Channel.EVALUATION:
            raise WinseedError(
                f"{release.name} is reported to stop when {channel.value} media get no product key",
                code=ExitCode.SPEC,
                hint='set product_key = "auto" or to your key [bin456789/reinstall trans.sh:7882]',
            )
        return NoKey(reason="the spec says so")
    if host.product_key != "auto":
        if channel is Channel.EVALUATION:
            raise WinseedError(
                "evaluation media refuse a product key",
                code=ExitCode.SPEC,
                hint='set product_key = "none", or use volume or retail media',
            )
        return GivenKey(key=Secret(host.product_key))
    match channel:
        case Channel.EVALUATION:
            known = "evaluation media" if media else "the media are unknown"
            return NoKey(reason=f"{known}: evaluation images refuse keys")
        case Channel.VOLUME:
            image = release.image(host.sku, host.edition)
            if image is None:
                raise WinseedError(
                    f"{release.name} has no {host.sku.value} edition", code=ExitCode.SPEC
                )
            return KmsClientKey(key=image.kms_key)
        case Channel.RETAIL:
            raise WinseedError(
                "retail media need your product key; no KMS client key fits them",
                code=ExitCode.SPEC,
                hint='set product_key to your key, or to "none" to enter it after installation',
            )
        case _:
            assert_never(channel)


def _fits(image: WimImage, known: ReleaseImage) -> bool:
    """Evaluation ids end in Eval; Azure Core is ServerTurbine or ServerTurbineCor."""
    edition_id = image.edition_id.removesuffix(EVALUATION)
    same = edition_id in (known.edition_id, f"{known.edition_id}Cor", f"{known.edition_id}Core")
    return (
        same
        and image.installation_type.casefold() == known.installation_type.casefold()
        and image.architecture == "amd64"
    )
