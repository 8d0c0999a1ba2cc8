"""Files -> ISO image: the only place that writes images.

ISO 9660 level 4 (ISO 9660:1999) plus Joliet: `$OEM$`, `$WinPEDriver$` and lower case are legal in
both trees. The same files, label and epoch give the same bytes under any clock, time zone, umask,
hash seed and working directory. An image gets its name only after it was read back and compared.
"""

import contextlib
import hashlib
import io
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, BinaryIO, assert_never, cast

import pycdlib.dates
import pycdlib.headervd
import pycdlib.pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from builder.console import NoProgress, Progress
from builder.errors import ExitCode, Problem, WinseedError
from builder.files import draft, prepare_folder, refuse_full, target_errors
from builder.media.image import Extent, inspect_image
from builder.names import check_names, folders_of, printable
from builder.record import record

CHUNK = 1 << 20  # bytes read at once
SECTOR = 2048
NOBODY = NoProgress()
LARGEST_FILE = 0xFFFFF800  # more needs several directory records: clalancette/pycdlib#173
LATEST_EPOCH = 0xFFFFFFFF  # the year byte of ECMA-119 9.1.5 ends in 2155
LABEL = re.compile(r"[A-Z0-9_]{1,16}")  # d-characters of ECMA-119 7.4.1; 16 is Joliet's limit


@record
class InlineFile:
    """Bytes at hand: a rendered answer file or script. `repr` hides them: they may hold secrets."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)


@record
class SourceFile:
    """Bytes that lie in another file: ranges of a disc image, or a whole file as one range.

    `sha256` (hex) is what they must hash to, where somebody has hashed them before; it saves
    reading them twice.
    """

    path: Path
    extents: tuple[Extent, ...]
    sha256: str | None = None

    @property
    def size(self) -> int:
        """Length in bytes."""
        return sum(extent.length for extent in self.extents)


Content = InlineFile | SourceFile


@record
class WrittenFile:
    """One file as it was read back from the image: posix path, bytes, hex digest."""

    path: str
    size: int
    sha256: str


@record
class Artifact:
    """A finished image; `files` sorted by path."""

    path: Path
    size: int
    files: tuple[WrittenFile, ...]


def compute_sha256(content: Content) -> str:
    """Hash the bytes of `content`, whatever `content.sha256` says; hex. MEDIA if unreadable."""
    digest = hashlib.sha256()
    for offset in range(0, content.size, CHUNK):
        digest.update(_read(content, offset, min(CHUNK, content.size - offset)))
    return digest.hexdigest()


def write_disc(
    target: Path,
    files: Mapping[str, Content],
    *,
    label: str,
    epoch: int,
    progress: Progress = NOBODY,
) -> Artifact:
    """Write `files` (posix path -> content) as an ISO image at `target`, mode 0600.

    `label` has 1-16 of `A-Z0-9_`; every date on the disc is `epoch` (seconds, UTC; 0 leaves the
    volume dates unset). `progress` advances to the sum of the sizes of `files`. Contents of one
    size and hash share one extent. An older image at `target` stays until the new one is whole.

    Raises WinseedError: SPEC for names, label, an unwritable target or a full disk, MEDIA for a
    source that is missing, too short or not what its hash says.
    """
    _refuse_call(files, label=label, epoch=epoch)
    with target_errors(target), _layout_errors(), _pinned_clock(epoch):
        prepare_folder(target)
        streams = _make_streams(files, progress)
        disc = _compose(streams, label)
        size = disc.pvd.space_size * SECTOR
        refuse_full(target.parent, size)
        with draft(target) as (fd, readable):
            with os.fdopen(os.dup(fd), "wb", buffering=CHUNK) as stream:
                disc.write_fp(stream, blocksize=CHUNK)
            written = _read_back(readable, streams)
    return Artifact(path=target, size=size, files=written)


def _refuse_call(files: Mapping[str, Content], *, label: str, epoch: int) -> None:
    problems = list(check_names(files))
    if not LABEL.fullmatch(label):
        what = f"{label!a} is no volume label, expected 1-16 characters of A-Z, 0-9 and _"
        problems.append(Problem(where="label", what=what))
    if not 0 <= epoch <= LATEST_EPOCH:
        what = f"{epoch} is no date of a disc, expected 0-{LATEST_EPOCH}"
        problems.append(Problem(where="epoch", what=what))
    for path, content in files.items():
        if content.size > LARGEST_FILE:
            what = f"has {content.size} bytes, at most {LARGEST_FILE} are allowed"
            problems.append(Problem(where=printable(path), what=what))
    if problems:
        raise WinseedError("no disc holds this", code=ExitCode.SPEC, problems=tuple(problems))


def _read(content: Content, offset: int, size: int) -> bytes:
    """Exactly `size` bytes of `content`."""
    match content:
        case InlineFile(data=data):
            return data[offset : offset + size]
        case SourceFile(path=path):
            try:
                with io.FileIO(path, opener=_open_now) as source:
                    return b"".join(_pieces(source, content, offset, size))
            except (OSError, ValueError) as error:
                reason = (isinstance(error, OSError) and error.strerror) or error
                what = f"cannot read {printable(path)}: {reason}"
                raise WinseedError(what, code=ExitCode.MEDIA, hint="check the source") from error
        case _:
            assert_never(content)


def _open_now(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer


def _pieces(source: io.FileIO, content: SourceFile, offset: int, size: int) -> Iterator[bytes]:
    for extent in content.extents:
        part = min(extent.length - offset, size)
        if part > 0:
            source.seek(extent.offset + offset)
            piece = source.read(part)
            if len(piece) < part:
                where = extent.offset + offset
                raise ValueError(f"it ends early: expected {part} bytes at {where}")
            yield piece
            size -= part
        offset = max(offset - extent.length, 0)


class _Stream(io.RawIOBase):
    """One content as pycdlib copies it, its hash, and every path it gets."""

    def __init__(self, content: Content, sha256: str, progress: Progress) -> None:
        super().__init__()
        self.content = content
        self.sha256 = sha256
        self.paths: list[str] = []
        self._progress = progress
        self._at = 0

    def seek(self, offset: int, _whence: int = os.SEEK_SET, /) -> int:
        """Go to `offset`: pycdlib seeks to the beginning, once."""
        self._at = offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, never fewer than asked for: pycdlib would end the file in silence."""
        chunk = _read(self.content, self._at, size)
        self._at += size
        self._progress.advance(size * len(self.paths))
        return chunk


def _make_streams(files: Mapping[str, Content], progress: Progress) -> tuple[_Stream, ...]:
    """One stream for each distinct content, in the order of their first paths."""
    streams: dict[tuple[int, str], _Stream] = {}
    digests: dict[Content, str] = {}
    for path in sorted(files):
        content = files[path]
        if content not in digests:
            known = content.sha256 if isinstance(content, SourceFile) else None
            digests[content] = known.lower() if known else compute_sha256(content)
        key = (content.size, digests[content])
        streams.setdefault(key, _Stream(content, key[1], progress)).paths.append(path)
    return tuple(streams.values())


def _compose(streams: Iterable[_Stream], label: str) -> pycdlib.PyCdlib:
    """Lay the disc out in memory; no content is read yet."""
    disc = pycdlib.PyCdlib()
    disc.new(interchange_level=4, joliet=3, vol_ident=label, app_ident_str="WINSEED")
    paths = [path for stream in streams for path in stream.paths]
    for folder in sorted({folder for path in paths for folder in folders_of(path)}):
        disc.add_directory(iso_path=f"/{folder}", joliet_path=f"/{folder}")
    for stream in streams:
        first, *others = (f"/{path}" for path in stream.paths)
        size = stream.content.size
        disc.add_fp(cast("BinaryIO", stream), size, iso_path=first, joliet_path=first)
        for other in others:
            disc.add_hard_link(iso_old_path=first, iso_new_path=other)
            disc.add_hard_link(iso_old_path=first, joliet_new_path=other)
    disc.force_consistency()
    return disc


class _Clock(threading.local):
    """`time` as pycdlib sees it: `epoch`, in UTC, where it is set; the real thing elsewhere."""

    epoch: float | None = None

    def __getattr__(self, name: str) -> Any:
        if self.epoch is not None and name == "time":
            return lambda: self.epoch
        return getattr(time, "gmtime" if self.epoch is not None and name == "localtime" else name)


_CLOCK = _Clock()


@contextlib.contextmanager
def _pinned_clock(epoch: int) -> Iterator[None]:
    """Give pycdlib a clock per thread: it asks `time` for every date, and takes none from us."""
    for module in (pycdlib.dates, pycdlib.headervd, pycdlib.pycdlib):
        vars(module)["time"] = _CLOCK
    _CLOCK.epoch = float(epoch)
    try:
        yield
    finally:
        _CLOCK.epoch = None


def _read_back(path: Path, streams: Iterable[_Stream]) -> tuple[WrittenFile, ...]:
    """Compare every file of the image with what went in."""
    expected = {name: stream for stream in streams for name in stream.paths}
    try:
        found = {file.path: file for file in inspect_image(path).files.values()}
    except WinseedError as error:
        raise _unlike(error.what) from error
    if odd := sorted(found.keys() ^ expected.keys()):
        raise _unlike(f"{len(odd)} names differ, the first is {odd[0]}")
    written: list[WrittenFile] = []
    digests: dict[tuple[Extent, ...], str] = {}
    for name, stream in sorted(expected.items(), key=lambda item: item[0]):
        size, extents = found[name].size, found[name].extents
        if extents not in digests:
            digests[extents] = compute_sha256(SourceFile(path=path, extents=extents))
        if size != stream.content.size or digests[extents] != stream.sha256:
            raise _blame(stream)
        written.append(WrittenFile(path=name, size=size, sha256=digests[extents]))
    return tuple(written)


def _blame(stream: _Stream) -> WinseedError:
    """A content differs: the source's fault if it does not hash to what was promised."""
    content = stream.content
    if isinstance(content, SourceFile) and compute_sha256(content) != stream.sha256:
        what = f"{content.path} does not hold what was found there before ({stream.paths[0]})"
        hint = "check the source, and do not change it while the disc is written"
        return WinseedError(what, code=ExitCode.MEDIA, hint=hint)
    return _unlike(f"{stream.paths[0]} differs")


def _unlike(what: str) -> WinseedError:
    hint = "check disk and memory of this machine; if they are sound, please report it"
    what = f"the image does not read back as written: {what}"
    return WinseedError(what, code=ExitCode.BUG, hint=hint)


@contextlib.contextmanager
def _layout_errors() -> Iterator[None]:
    """Turn what pycdlib raises into our error."""
    try:
        yield
    except PyCdlibException as error:
        what = f"the image cannot be laid out: {error}"
        raise WinseedError(what, code=ExitCode.BUG, hint="please report this") from error
