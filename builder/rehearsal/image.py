"""Stage 7, the image: which one of install.wim is taken, and whether key and language fit it.

Sources: unattended setup reference, OSImage InstallFrom MetaData and UserData ProductKey;
learn.microsoft.com, "Windows Setup Edition Configuration and Product ID Files (EI.cfg and PID.txt)"
and "KMS client activation keys"; reports are named at their rules.
"""

from collections.abc import Iterator

from builder.answer.rules.answer import load_tables
from builder.errors import ExitCode
from builder.media.wim import WimImage
from builder.media.windows import WindowsMedia
from builder.rehearsal.answer_file import AnswerFile, Selection
from builder.rehearsal.facts import Facts
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown
from builder.releases import load_release, release_of_build

INDEX, NAME = "/IMAGE/INDEX", "/IMAGE/NAME"
EVALUATION = "Eval"
NEW_SETUP = 26040
REFERENCE = "unattended setup reference, Microsoft-Windows-Setup ImageInstall"
KEYS = "learn.microsoft.com/windows-server/get-started/kms-client-activation-keys"


def find_image(answer: AnswerFile, media: WindowsMedia | None) -> WimImage | None:
    """The image of `media` that the answer file selects; None when none or several fit."""
    if media is None:
        return None
    fitting = media.images
    for one in answer.selections:
        fitting = tuple(image for image in fitting if _selected(image, one))
    return fitting[0] if len(fitting) == 1 else None


def _selected(image: WimImage, one: Selection) -> bool:
    """INDEX by number; NAME without regard to case, as bin456789/reinstall compares."""
    value = one.value.strip().casefold()
    if one.key == INDEX:
        return value == str(image.index)
    if one.key == NAME:
        return value in {image.name.casefold(), image.display_name.casefold()}
    return True


def rehearse_image(facts: Facts, answer: AnswerFile) -> Stage:
    """Image, key, language, and the Setup that installs them."""
    media = facts.windows
    image = find_image(answer, media)
    steps = list(_selection(answer, media, image))
    steps += _key(answer, media, image)
    steps += _language(answer, media, image)
    if media is not None:
        steps += _setup_build(media, image)
        steps += _release(facts, image)
    return Stage(key="image", title="Windows image, key and language", steps=tuple(steps))


def _selection(
    answer: AnswerFile, media: WindowsMedia | None, image: WimImage | None
) -> Iterator[Step]:
    told = ", ".join(f"{one.key} {one.value}" for one in answer.selections) or "nothing"
    if media is None:
        step = unknown("image.choice", f"selected is {told}", fix="give --windows-iso")
        if any(one.key == NAME for one in answer.selections):
            step = risk(
                "image.choice",
                f"selected is {told}, and the media were not read",
                fix="give --windows-iso",
                beliefs=("FT06",),
            )
        yield step
        return
    held = "; ".join(f"{one.index} {one.name}" for one in media.images)
    if image is not None and not answer.selections:
        yield passed("image.choice", f"the media hold one image: {image.name}")
    elif image is not None:
        by_display = [
            one
            for one in answer.selections
            if one.key == NAME and one.value.casefold() != image.name.casefold()
        ]
        shown = image.display_name or image.name
        if by_display:
            yield risk(
                "image.choice",
                f"{told} is the display name of image {image.index}, not its NAME ({image.name})",
                fix="select by /IMAGE/INDEX",
                source="two public projects for Server 2025 select so",
            )
        else:
            yield passed(
                "image.choice",
                f"{told} is image {image.index}: {shown}, build {image.build}",
                source=REFERENCE,
            )
    elif not answer.selections:
        yield stop(
            "image.choice",
            f"no image is selected, and the media hold {len(media.images)}: Setup asks",
            why=held,
            code=ExitCode.ANSWER,
            fix="select one by /IMAGE/INDEX",
            source=f"{REFERENCE}; 41 of 396 public files",
        )
    else:
        yield stop(
            "image.choice",
            f"{told} is no image of these media",
            why=f"they hold {held}",
            code=ExitCode.ANSWER,
            fix="select one that they hold",
            source=f"{REFERENCE}; bin456789/reinstall#86",
        )


def _key(answer: AnswerFile, media: WindowsMedia | None, image: WimImage | None) -> Iterator[Step]:
    key = answer.product_key
    if key is not None and key.key is None:
        yield stop(
            "image.key",
            "the Key element is empty: evaluation media stop at it",
            code=ExitCode.ANSWER,
            fix="leave the element out",
            source="OpenNebula/one-apps#225",
        )
        return
    if image is None or media is None:
        yield unknown("image.key", "whether key and image fit", fix="give --windows-iso")
        return
    if key is None or key.key is None:
        yield _no_key(media, image)
        return
    known = load_tables().kms_keys.get(key.key.reveal().upper())
    edition = image.edition_id.removesuffix(EVALUATION)
    evaluation = image.edition_id.endswith(EVALUATION)
    if evaluation:
        yield stop(
            "image.key",
            f"{image.edition_id} is an evaluation image and refuses product keys",
            code=ExitCode.ANSWER,
            fix="leave the key out",
            source=KEYS,
        )
    elif known is None:
        yield unknown("image.key", "a key of your own: whether it is for this edition", source=KEYS)
    elif not edition.startswith(known.edition_id) or known.release != _release_id(image):
        yield stop(
            "image.key",
            f"the KMS client key is for {known.edition_id} of {known.release or 'another release'},"
            f" the image is {image.edition_id}, build {image.build}",
            why='Setup says "No images are available"',
            code=ExitCode.ANSWER,
            fix="take the key of the edition",
            source=f"{KEYS}; rgl/windows-vagrant README:61-66",
        )
    else:
        yield passed("image.key", f"the KMS client key of {image.edition_id}", source=KEYS)


def _release_id(image: WimImage) -> str:
    release = release_of_build(image.build)
    return release.id if release else ""


def _no_key(media: WindowsMedia, image: WimImage) -> Step:
    release = release_of_build(image.build)
    evaluation = image.edition_id.endswith(EVALUATION)
    if evaluation:
        return passed("image.key", "no key, and an evaluation image wants none", source=KEYS)
    if release is not None and release.needs_key and media.ei_cfg is None:
        return stop(
            "image.key",
            f"{release.name} without a key and without ei.cfg stops: "
            '"Windows cannot read the <ProductKey> setting"',
            code=ExitCode.ANSWER,
            fix="give the KMS client key of the edition",
            source="bin456789/reinstall trans.sh:7882-7904",
        )
    if media.ei_cfg is None and not media.has_pid_txt:
        return risk(
            "image.key",
            "no key, and the media have no ei.cfg: Setup may ask for one",
            fix="give the KMS client key of the edition",
            source="learn.microsoft.com, EI.cfg and PID.txt",
        )
    return passed("image.key", "no key; ei.cfg or PID.txt of the media decides")


def _language(
    answer: AnswerFile, media: WindowsMedia | None, image: WimImage | None
) -> Iterator[Step]:
    wanted = answer.setup_language or answer.ui_language
    if not answer.has_winpe_languages or not wanted:
        yield stop(
            "image.language",
            "no language for Setup (International-Core-WinPE SetupUILanguage): it asks",
            code=ExitCode.ANSWER,
            fix="give SetupUILanguage/UILanguage and UILanguage in windowsPE",
            source="cschneegans/unattend-generator#64, #88, #170",
        )
        return
    held = (image.languages if image else ()) or (media.languages if media else ())
    if not held:
        yield unknown("image.language", f"Setup speaks {wanted}", fix="give --windows-iso")
    elif wanted.casefold() not in {language.casefold() for language in held}:
        yield stop(
            "image.language",
            f"Setup is to speak {wanted}; the media have {', '.join(held)}",
            code=ExitCode.ANSWER,
            fix="name a language of the media",
            source="cschneegans/unattend-generator#64, #88, #170",
        )
    else:
        yield passed("image.language", f"Setup and Windows speak {wanted}, as the media do")


def _setup_build(media: WindowsMedia, image: WimImage | None) -> Iterator[Step]:
    """boot.wim and install.wim of different releases: a silent failure of remastered media."""
    if image is None or media.boot_build is None:
        return
    if media.boot_build != image.build:
        yield risk(
            "image.setup",
            f"Setup is build {media.boot_build}, the image is build {image.build}",
            fix="take unchanged media",
            source="netboot.xyz#108; MicrosoftDocs/windows-itpro-docs#10937",
        )


def _release(facts: Facts, image: WimImage | None) -> Iterator[Step]:
    planned = facts.planned
    if planned is not None and image is not None and image.build != planned.build:
        name = load_release(planned.release).name
        yield stop(
            "image.release",
            f"the answer ISO was made for {name}, the image is build {image.build}",
            code=ExitCode.MEDIA,
            fix="mount the media it was made for, or build it anew",
        )
