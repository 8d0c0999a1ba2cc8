"""The manifest of an answer ISO that exists: beside it, or on it."""

import json
from pathlib import Path
from typing import Any

from builder.errors import ExitCode, WinseedError
from builder.record import record

PATH = "winseed/manifest.json"
LARGEST = 64 * 1024 * 1024


@record
class Manifest:
    """What a medium says of itself; `plan` as JSON values, secrets as `***`."""

    fingerprint: str
    host: str
    winseed: str
    plan: dict[str, Any]
    files: tuple[tuple[str, int, str | None], ...]


def inspect_manifest(path: Path) -> Manifest:
    """Read the manifest of an answer ISO, or a `.manifest.json`; WinseedError (MEDIA) if none."""
    if path.suffix.lower() == ".json":
        try:
            return load_manifest(path.read_bytes(), name=str(path))
        except OSError as error:
            raise WinseedError(
                f"cannot read {path}: {error.strerror}", code=ExitCode.MEDIA
            ) from None
    from builder.media.image import inspect_image  # noqa: PLC0415 - pycdlib, for discs only

    image = inspect_image(path)
    file = image.find(PATH)
    if file is None:
        raise WinseedError(
            f"{path} is no answer ISO of winseed: it has no {PATH}",
            code=ExitCode.MEDIA,
            hint=f"its volume id is {image.volume_id!r}",
        )
    return load_manifest(image.read(file, 0, LARGEST), name=f"{PATH} of {path}")


def load_manifest(data: bytes, *, name: str) -> Manifest:
    """The manifest in `data`; WinseedError (MEDIA) when it is not one."""
    try:
        document = json.loads(data)
        return Manifest(
            fingerprint=str(document["fingerprint"]),
            host=str(document["host"]),
            winseed=str(document["winseed"]),
            plan=dict(document["plan"]),
            files=tuple(
                (str(row["path"]), int(row["size"]), row["sha256"]) for row in document["files"]
            ),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        raise WinseedError(f"{name} is not a manifest of winseed", code=ExitCode.MEDIA) from None
