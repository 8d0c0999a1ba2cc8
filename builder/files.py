"""Files written whole or not at all, and private ones private from the first byte on."""

import contextlib
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.names import printable


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, readable by all; WinseedError (SPEC) on failure."""
    with target_errors(path):
        prepare_folder(path)
        with draft(path, mode=0o644) as (fd, _), os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)


def create_private_file(path: Path, data: bytes) -> None:
    """Create `path` with mode 0600; WinseedError (SPEC) when it exists or cannot be written."""
    with target_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def target_errors(target: Path) -> Iterator[None]:
    """Turn what the file system raises into an error (SPEC) that names the target."""
    try:
        yield
    except OSError as error:
        what = f"cannot write {printable(target)}: {error.strerror or error}"
        hint = "make room there, or choose another output folder"
        if isinstance(error, FileExistsError | NotADirectoryError):
            hint = "something of that name is in the way: choose another output folder"
        raise WinseedError(what, code=ExitCode.SPEC, hint=hint) from error


def prepare_folder(target: Path) -> None:
    """Make the folder of `target`, refuse what is no file, clear away what killed runs left."""
    if "\0" in str(target) or (target.exists() and not target.is_file()):
        what = f"{printable(target)} cannot be replaced: expected the name of a file"
        raise WinseedError(what, code=ExitCode.SPEC)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-z_]+\.part")
    for path in target.parent.iterdir():
        if unfinished.fullmatch(path.name):
            _remove_stale(path)


def _remove_stale(path: Path) -> None:
    """Remove an unfinished image unless the lock on it shows that its writer lives."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)


def refuse_full(folder: Path, needed: int) -> None:
    """WinseedError (SPEC) when `folder` has not `needed` bytes to give."""
    space = os.statvfs(folder)
    available = space.f_bavail * space.f_frsize
    if space.f_blocks and available < needed:  # some network file systems do not tell
        what = f"not enough space in {folder}: {needed:,} bytes needed, {available:,} available"
        raise WinseedError(what, code=ExitCode.SPEC, hint="free some or choose another folder")


@contextlib.contextmanager
def draft(target: Path, *, mode: int = 0o600) -> Iterator[tuple[int, Path]]:
    """An empty file of `mode` and where to read it; becomes `target` if the block ends well.

    It has no name where the file system can do that, so that a killed run leaves nothing behind
    (open(2), O_TMPFILE); else a dot name and a lock.
    """
    name: Path | None = None
    try:
        Path("/proc/self/fd").stat()  # the only way back to a name
        fd = os.open(target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (AttributeError, OSError):  # not on this system, not on this file system
        fd, made = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
        name = Path(made)
    try:
        os.fchmod(fd, mode)  # whatever the umask took away
        with contextlib.suppress(OSError):  # where nothing can be locked, nothing is cleared away
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd, name or Path(f"/proc/self/fd/{fd}")
        os.fsync(fd)
        if name is None:
            name = target.with_name(f".{target.name}.{os.fstat(fd).st_ino:x}.part")
            # a descriptor makes this linkat(2), which follows the link in /proc
            os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, follow_symlinks=True)
        name.replace(target)
        _sync_folder(target.parent)
    finally:
        os.close(fd)
        if name is not None:
            name.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems cannot; the bytes are safe
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
