"""Files of the user that travel on the medium: scripts, update packages, blobs."""

import hashlib
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.media.signatures import describe_start
from builder.record import record

LARGEST_TEXT = 1024 * 1024
# MS-CAB 2.1 (CFHEADER), the WIM header, MS-CFB 2.2: what packages begin with. Newer .msu are WIM.
STARTS = {
    ".msu": (b"MSCF", b"MSWIM\0\0\0"),
    ".cab": (b"MSCF",),
    ".msi": (b"\xd0\xcf\x11\xe0",),
}


@record
class Attachment:
    """A file that travels as it is: `name` on the medium, `path` here, size in bytes."""

    name: str
    path: Path
    size: int
    sha256: str


def inspect_attachment(path: Path) -> Attachment:
    """Size and SHA-256 of a file that is carried as it is; WinseedError (SPEC) if unreadable.

    A pipe or a device has no end that a medium could carry; an empty file is a failed download, and
    so is an update package that does not begin like one (MEDIA).
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise WinseedError(f"cannot carry {path}: it is not a file", code=ExitCode.SPEC)
    try:
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
            size = file.tell()
    except OSError as error:
        raise unreadable(path, error) from None
    if size == 0:
        raise WinseedError(f"cannot carry {path}: it is empty", code=ExitCode.SPEC)
    suffix = path.suffix.casefold()
    if suffix in STARTS and not start.startswith(STARTS[suffix]):
        raise WinseedError(
            f"{path} is no {suffix} file: it is {describe_start(start)}",
            code=ExitCode.MEDIA,
            hint="download it again and look at it",
        )
    return Attachment(name=path.name, path=path, size=size, sha256=digest.hexdigest())


def load_secret_text(path: Path) -> str:
    """The text of a file that holds a secret, without the line end; WinseedError (SPEC).

    UTF-8 with or without mark, or UTF-16 with one: djoin writes its blob in UTF-16.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(data) > LARGEST_TEXT:
        raise WinseedError(f"{path} is too large for a secret", code=ExitCode.SPEC)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding).rstrip("\r\n\0")
    except UnicodeDecodeError:
        raise WinseedError(f"{path} is not text in UTF-8 or UTF-16", code=ExitCode.SPEC) from None


def unreadable(path: Path, error: OSError) -> WinseedError:
    """The error for an input file that cannot be read."""
    return WinseedError(
        f"cannot read {path}: {error.strerror or error}",
        code=ExitCode.SPEC,
        hint="paths in the spec count from the folder of the spec",
    )
