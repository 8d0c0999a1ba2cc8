"""The hash under which a catalog lists a file.

A PE file is listed under its Authenticode hash, which leaves out what signing changes: the checksum
field, the directory entry of the certificate table, and that table. Any other file, an INF above
all, is listed under the plain hash of its bytes.

Source: Microsoft, "Windows Authenticode Portable Executable Signature Format" (2008), chapter
"Calculating the PE Image Hash"; offsets: Microsoft, "PE Format", learn.microsoft.com.
"""

import hashlib
import struct

from builder.record import record

_CHECKSUM = 64  # in the optional header, the same for PE32 and PE32+
_DIRECTORIES = {0x10B: 96, 0x20B: 112}  # magic -> offset of the first data directory
_CERTIFICATE_TABLE = 4  # index of its data directory


@record
class PeLayout:
    """Where a PE file keeps what its Authenticode hash leaves out; offsets in bytes from the start.

    `directory` is None when the optional header ends before that entry. `table` and `table_size`
    are 0 when the file carries no signature of its own.
    """

    checksum: int
    directory: int | None
    table: int
    table_size: int


def inspect_pe(data: bytes) -> PeLayout | None:
    """Find the parts of a PE file that its hash leaves out; None when `data` is no PE file.

    A file whose headers are cut or whose certificate table points outside it counts as no PE file:
    its plain hash is taken, which no catalog of a sound package lists.
    """
    try:
        if data[:2] != b"MZ":
            return None
        (start,) = struct.unpack_from("<I", data, 0x3C)
        if data[start : start + 4] != b"PE\0\0":
            return None
        optional = start + 24
        (magic,) = struct.unpack_from("<H", data, optional)
        directories = _DIRECTORIES.get(magic)
        if directories is None:
            return None
        (count,) = struct.unpack_from("<I", data, optional + directories - 4)
        if count <= _CERTIFICATE_TABLE:
            return PeLayout(checksum=optional + _CHECKSUM, directory=None, table=0, table_size=0)
        directory = optional + directories + 8 * _CERTIFICATE_TABLE
        table, size = struct.unpack_from("<II", data, directory)
    except struct.error:
        return None
    if table == 0 or size == 0:
        return PeLayout(checksum=optional + _CHECKSUM, directory=directory, table=0, table_size=0)
    if table < directory + 8 or table + size > len(data):
        return None
    return PeLayout(
        checksum=optional + _CHECKSUM, directory=directory, table=table, table_size=size
    )


def catalog_digest(data: bytes, algorithm: str) -> bytes:
    """The hash under which a catalog lists a file with these bytes.

    `algorithm` is a name hashlib knows: `sha1` or `sha256`. What follows the certificate table is
    hashed too. An unsigned PE file whose length is no multiple of eight is hashed as if zeros
    filled it up, which is what signing adds (osslsigncode 2.9 does the same).
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    layout = inspect_pe(data)
    if layout is None:
        digest.update(data)
        return digest.digest()
    view = memoryview(data)
    digest.update(view[: layout.checksum])
    position = layout.checksum + 4
    if layout.directory is not None:
        digest.update(view[position : layout.directory])
        position = layout.directory + 8
    if layout.table:
        digest.update(view[position : layout.table])
        digest.update(view[layout.table + layout.table_size :])
    else:
        digest.update(view[position:])
        digest.update(bytes(-len(data) % 8))
    return digest.digest()
