"""Reading the tables of an image file with limits, and its contents by place."""

import errno
import io
import os
import stat
from pathlib import Path

# Tables of a real disc take 0.3 MiB (virtio-win, 1,674 files) to 3 MiB (Windows). The limits only
# keep a damaged length field from reading gigabytes or running for minutes.
TABLES_LIMIT = 32 << 20
TABLE_LIMIT = 1 << 20


class BrokenTablesError(Exception):
    """The tables contradict themselves or the size of the file."""


class TableReader(io.FileIO):
    """An image file, or a drive, opened for reading its tables; `size` is in bytes.

    Raises `OSError` for what cannot be opened and `BrokenTablesError` beyond the limits.
    """

    def __init__(self, path: Path) -> None:
        # A pipe would block in open().
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise OSError(errno.ENODEV, "neither a file nor a drive", str(path))
        super().__init__(path, "rb")
        self.size = self.seek(0, os.SEEK_END)
        self.left = TABLES_LIMIT
        self.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes; fewer at the end of the file."""
        if size is None or not 0 <= size <= TABLE_LIMIT:
            raise BrokenTablesError(f"a table of {size} bytes")
        self.left -= size
        if self.left < 0:
            raise BrokenTablesError(f"more than {TABLES_LIMIT} bytes of tables")
        return super().read(size) or b""

    def at(self, offset: int, size: int) -> bytes:
        """The bytes at a place."""
        self.seek(offset)
        return self.read(size)


def pread(descriptor: int, size: int, offset: int) -> bytes:
    """The bytes at a place, whatever pieces the system delivers; fewer at the end of the file."""
    parts = []
    while size:
        part = os.pread(descriptor, size, offset)
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)
