"""Copies of large files: blocks shared where the file system can do that, holes kept as holes."""

import enum
import errno
import fcntl
import os
from collections.abc import Callable, Iterator

from builder.media.tables import pread

FICLONE = 0x40049409  # _IOW(0x94, 9, int): ioctl_ficlone(2)
STEP = 16 << 20  # how much is copied between two reports of progress
BUFFER = 1 << 20
# What file systems and kernels answer that cannot do it: copy_file_range(2), ioctl_ficlone(2)
UNABLE = {
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EXDEV,
}


class Copied(enum.Enum):
    """How a copy was made."""

    SHARED = "shared"  # a reflink: both files own the same blocks until one is written
    WRITTEN = "written"


def copy_content(
    source: int, target: int, *, reserve: Callable[[int], None], advance: Callable[[int], None]
) -> Copied:
    """Make the empty file `target` the same as `source`, both descriptors; OSError on failure.

    `reserve` is told the bytes of disk space that are needed before any is taken, `advance` the
    bytes that are done.
    """
    status = os.fstat(source)
    if _share(source, target):
        advance(status.st_size)
        return Copied.SHARED
    reserve(min(status.st_size, status.st_blocks * 512))
    os.ftruncate(target, status.st_size)
    done = 0
    for start, end in _stretches(source, status.st_size):
        advance(start - done)
        _copy_stretch(source, target, start, end, advance=advance)
        done = end
    advance(status.st_size - done)
    return Copied.WRITTEN


def _share(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in UNABLE:
            return False
        raise
    return True


def _stretches(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """From where to where there is content (lseek(2), SEEK_DATA); all of it if nobody knows."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            if error.errno not in UNABLE:
                raise
            start, end = end, size
        yield start, end


def _copy_stretch(
    source: int, target: int, start: int, end: int, *, advance: Callable[[int], None]
) -> None:
    by_kernel = True
    while start < end:
        count = min(STEP, end - start)
        copied = _kernel_copy(source, target, start, count) if by_kernel else 0
        if not copied:
            by_kernel = False
            copied = _plain_copy(source, target, start, min(BUFFER, count))
        start += copied
        advance(copied)


def _kernel_copy(source: int, target: int, at: int, count: int) -> int:
    """Bytes that the kernel copied; 0 when it cannot."""
    try:
        return os.copy_file_range(source, target, count, at, at)
    except OSError as error:
        if error.errno in UNABLE:
            return 0
        raise


def _plain_copy(source: int, target: int, at: int, count: int) -> int:
    content = pread(source, count, at)
    if not content:
        raise OSError(errno.EIO, "the file became shorter while it was copied")
    written = 0
    while written < len(content):
        written += os.pwrite(target, content[written:], at + written)
    return written
