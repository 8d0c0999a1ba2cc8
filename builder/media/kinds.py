"""Which kind of disc this is, to say so when the wrong one was given."""

from builder.errors import ExitCode, WinseedError
from builder.media.image import DiscImage

WINDOWS_MARKS = ("sources/install.wim", "sources/install.esd", "sources/install.swm")
LINUX_MARKS = ("casper", "isolinux", "dists", ".disk", "live", "images/pxeboot", "liveos")


def looks_like_windows(image: DiscImage) -> bool:
    """Whether the disc is Windows Setup's: an install image, or Setup's own boot image."""
    marks = (*WINDOWS_MARKS, "sources/boot.wim")
    return any(image.find(mark) for mark in marks)


def looks_like_virtio(image: DiscImage) -> bool:
    """Whether the disc is a virtio-win one: by its storage drivers, whatever its volume id.

    Repackaged discs have other volume ids, and a Windows disc with drivers added to it is a
    Windows disc.
    """
    if looks_like_windows(image):
        return False
    drivers = ("vioscsi", "viostor", "netkvm")
    files = (file.path.casefold() for driver in drivers for file in image.under(driver))
    return any(path.endswith(".inf") for path in files)


def wrong_disc(image: DiscImage, expected: str, flag: str) -> WinseedError:
    """The error for a disc given as `flag` that is not the expected kind."""
    hint = f"give {expected} as {flag}"
    if looks_like_windows(image):
        found, hint = "this is a Windows disc", "give it as --windows-iso"
    elif looks_like_virtio(image):
        found, hint = "this is a virtio-win disc", "give it as --virtio-iso"
    elif any(image.find(mark) or image.under(mark) for mark in LINUX_MARKS):
        found = "this seems to be a Linux disc"
    else:
        found = "this is another disc"
    names = sorted({file.path.partition("/")[0] for file in image.files.values()}, key=str.casefold)
    content = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    what = (
        f"{image.path}: not {expected}: {found}"
        f" (volume id {image.volume_id!r}; top level: {content or 'empty'})"
    )
    return WinseedError(what, code=ExitCode.MEDIA, hint=hint)
