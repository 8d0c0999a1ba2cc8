"""Small files beside an ISO: written whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from builder.errors import ExitCode, WinseedError


def write_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace `path` by `data`: temporary name, fsync, rename. WinseedError (SPEC) on failure.

    `private` files are readable by their owner only from the first byte on.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(draft).chmod(0o600 if private else 0o644)
            Path(draft).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(draft).unlink()
            raise
    except OSError as error:
        raise _unwritable(path, error) from None


def create_private_file(path: Path, data: bytes) -> None:
    """Create `path` with mode 0600; WinseedError (SPEC) when it exists or cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> WinseedError:
    return WinseedError(
        f"cannot write {path}: {error.strerror or error}",
        code=ExitCode.SPEC,
        hint="choose another place with -o, or free space there",
    )
