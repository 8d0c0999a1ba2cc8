"""Files -> ISO image: the only place that writes images.

ISO 9660 level 4 (ISO 9660:1999) plus Joliet: `$OEM$`, `$WinPEDriver$` and lower case are legal in
both trees, and Windows reads the Joliet one. The same files, label and epoch give the same bytes
under any clock, time zone, umask, hash seed and working directory. An image stands under its final
name only after it was written, read back and compared as a whole.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import io
import os
import re
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from builder.console import NoProgress, Progress
from builder.errors import ExitCode, Problem, WinseedError
from builder.media.image import DiscFile, DiscImage, Extent, inspect_image

if TYPE_CHECKING:
    from pycdlib import PyCdlib

CHUNK = 1 << 20  # bytes read at once, everywhere
SECTOR = 2048
LARGEST_FILE = 0xFFFFF800  # more needs several directory records: clalancette/pycdlib#173
LONGEST_PATH = 240  # Joliet as xorriso(1) bounds it (`joliet_long_paths`); Windows: 260 with drive
LONGEST_NAME = 64  # UTF-16 units; Joliet Recommended Specification, "Joliet directory identifiers"
LATEST_EPOCH = 0xFFFFFFFF  # the year byte of ECMA-119 9.1.5 ends in 2155
SOURCES_OPEN = 64
LABEL = re.compile(r"[A-Z0-9_]{1,16}")  # d-characters of ECMA-119 7.4.1; 16 is Joliet's limit
# "Naming Files, Paths, and Namespaces" (learn.microsoft.com); `;` parts off the ISO 9660 version
ILLEGAL = re.compile(r'[<>:"|?*\\;\x00-\x1f\x7f]')
RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9]) *(\..*)?", re.I | re.S)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InlineFile:
    """Bytes at hand: a rendered answer file or script. Not shown by `repr`: they may hold secrets."""

    data: bytes = dataclasses.field(repr=False)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """Bytes that lie in another file: ranges of a disc image, or a whole file as one range.

    `sha256` is what the bytes must hash to (hex), where somebody has hashed them before. Contents
    of one size and hash are one content.
    """

    path: Path
    extents: tuple[Extent, ...]
    sha256: str | None = None

    @property
    def size(self) -> int:
        """Length in bytes."""
        return sum(extent.length for extent in self.extents)


Content = InlineFile | SourceFile


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """One file as it was read back from the image: posix path, bytes, hex digest."""

    path: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished image; `files` sorted by path."""

    path: Path
    size: int
    files: tuple[WrittenFile, ...]


def compute_sha256(content: Content) -> str:
    """Hash the bytes of `content`, whatever `content.sha256` says; hex. MEDIA if unreadable."""
    digest = hashlib.sha256()
    with _Sources() as sources:
        for offset in range(0, content.size, CHUNK):
            digest.update(sources.read(content, offset, min(CHUNK, content.size - offset)))
    return digest.hexdigest()


def check_names(paths: Iterable[str]) -> tuple[Problem, ...]:
    """Everything that would keep Windows or ISO 9660 from carrying these posix paths, all at once.

    pycdlib writes most of it without a word. Names are ASCII: the ISO 9660 tree has no agreed
    character set beyond it, and both trees have to say the same.
    """
    given = Counter(paths)
    problems = [
        Problem(where=_shown(path), what=what) for path in given for what in _name_faults(path)
    ]
    problems += [
        Problem(where=_shown(path), what=f"occurs {count} times")
        for path, count in given.items()
        if count > 1
    ]
    spellings: dict[str, dict[str, None]] = {}
    folders = {folder: None for path in given for folder in _folders(path)}
    for path in (*given, *folders):
        spellings.setdefault(path.casefold(), {})[path] = None
    for first, *others in spellings.values():
        problems += [
            Problem(where=_shown(other), what=f"differs from {_shown(first)} in case only")
            for other in others
        ]
    problems += [
        Problem(where=_shown(path), what="is a file and a folder")
        for path in given
        if path in folders
    ]
    return tuple(problems)


def _name_faults(path: str) -> Iterator[str]:
    if not path.isascii():
        yield "has characters outside ASCII"
    if len(path) > LONGEST_PATH:
        yield f"has {len(path)} characters, at most {LONGEST_PATH} are allowed"
    if path.startswith("/"):
        yield "begins with a slash, expected a path relative to the root of the disc"
    for name in dict.fromkeys(path.removeprefix("/").split("/")):
        if not name:
            yield "has an empty component"
            continue
        if name in (".", ".."):
            yield f"has the component {name!r}"
            continue
        if illegal := "".join(dict.fromkeys(ILLEGAL.findall(name))):
            yield f"has characters that are illegal on Windows or a CD: {ascii(illegal)}"
        if name[-1] in ". ":
            yield f"has a component that ends in a dot or a space: {ascii(name)}"
        if RESERVED.fullmatch(name):
            yield f"has a component that Windows reserves for a device: {ascii(name)}"
        if (units := len(name.encode("utf-16-le", "surrogatepass")) // 2) > LONGEST_NAME:
            yield f"has a component of {units} characters, Joliet allows {LONGEST_NAME}"


def _folders(path: str) -> Iterator[str]:
    """Every folder above `path`, outermost first."""
    cut = path.find("/")
    while cut > 0:
        yield path[:cut]
        cut = path.find("/", cut + 1)


def _shown(path: str) -> str:
    return path if path.isascii() and path.isprintable() else ascii(path)[1:-1]


def write_disc(
    target: Path,
    files: Mapping[str, Content],
    *,
    label: str,
    epoch: int,
    progress: Progress = NoProgress(),  # noqa: B008  it keeps nothing
) -> Artifact:
    """Write `files` (posix path -> content) as an ISO image at `target`, mode 0600.

    `label` has at most 16 of `A-Z0-9_`; every date on the disc is `epoch` (seconds, UTC; 0 leaves
    the volume dates unset). `progress` advances to the sum of the sizes of `files`. Equal contents
    share one extent. An older image at `target` stays until the new one is whole.

    Raises WinseedError: SPEC for names, label, an unwritable target or a full disk, MEDIA for a
    source that is missing, too short or not what its hash says.
    """
    _refuse_call(files, label=label, epoch=epoch)
    target = Path(target)
    with _target_errors(target), _Sources() as sources:
        _refuse_sources(files)
        _prepare_folder(target)
        streams = _make_streams(files, sources, progress)
        with _pinned_clock(epoch):
            disc = _compose(streams, label)
            size = disc.pvd.space_size * SECTOR
            _refuse_full(target, size)
            with _draft(target) as draft:
                with os.fdopen(os.dup(draft.fd), "r+b", buffering=CHUNK) as stream:
                    disc.write_fp(stream, blocksize=CHUNK)
                os.fsync(draft.fd)
                written = _read_back(draft.readable, streams)
                draft.publish()
    return Artifact(path=target, size=size, files=written)


def _refuse_call(files: Mapping[str, Content], *, label: str, epoch: int) -> None:
    problems = list(check_names(files))
    if not LABEL.fullmatch(label):
        what = f"{ascii(label)} is no volume label, expected 1-16 of A-Z, 0-9 and _"
        problems.append(Problem(where="label", what=what))
    if not 0 <= epoch <= LATEST_EPOCH:
        what = f"{epoch} is no date of a disc, expected seconds from 0 to {LATEST_EPOCH}"
        problems.append(Problem(where="epoch", what=what))
    problems += [
        Problem(where=path, what=f"has {content.size} bytes, at most {LARGEST_FILE} are allowed")
        for path, content in files.items()
        if content.size > LARGEST_FILE
    ]
    if problems:
        raise WinseedError("the disc cannot be laid out", code=ExitCode.SPEC, problems=(*problems,))


def _refuse_sources(files: Mapping[str, Content]) -> None:
    """Find every source that is missing or too short before anything is written."""
    ends: dict[Path, int] = {}
    for content in files.values():
        if isinstance(content, SourceFile):
            furthest = max((part.offset + part.length for part in content.extents), default=0)
            ends[content.path] = max(ends.get(content.path, 0), furthest)
    problems = tuple(
        Problem(where=str(path), what=what)
        for path, end in ends.items()
        if (what := _source_fault(path, end))
    )
    if problems:
        raise WinseedError("a source cannot be read", code=ExitCode.MEDIA, problems=problems)


def _source_fault(path: Path, end: int) -> str:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        return _reason(error)
    if stat.S_ISBLK(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_size < end:
        return f"is shorter than expected: {status.st_size} bytes, {end} are needed"
    return ""


class _Sources(contextlib.AbstractContextManager["_Sources"]):
    """The files that contents lie in, each opened once however many ranges are read."""

    def __init__(self) -> None:
        self._opened: dict[Path, int] = {}

    def __exit__(self, *_: object) -> None:
        while self._opened:
            os.close(self._opened.popitem()[1])

    def read(self, content: Content, offset: int, size: int) -> bytes:
        """Exactly `size` bytes of `content`, which has them."""
        match content:
            case InlineFile(data=data):
                return data[offset : offset + size]
            case SourceFile():
                return b"".join(self._pieces(content, offset, size))
            case _:
                assert_never(content)

    def _pieces(self, content: SourceFile, offset: int, size: int) -> Iterator[bytes]:
        for extent in content.extents:
            part = min(extent.length - offset, size)
            if part > 0:
                yield self._range(content.path, extent.offset + offset, part)
                size -= part
            offset = max(offset - extent.length, 0)

    def _range(self, path: Path, offset: int, size: int) -> bytes:
        try:
            fd = self._opened.get(path)
            if fd is None:
                if len(self._opened) == SOURCES_OPEN:
                    os.close(self._opened.pop(next(iter(self._opened))))
                fd = self._opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            piece = os.pread(fd, size, offset)
            while len(piece) < size and (
                more := os.pread(fd, size - len(piece), offset + len(piece))
            ):
                piece += more
        except (OSError, ValueError) as error:
            raise WinseedError(
                f"cannot read {path}: {_reason(error)}", code=ExitCode.MEDIA
            ) from error
        if len(piece) < size:
            raise WinseedError(
                f"{path} ends early: expected {size} bytes at offset {offset}, found {len(piece)}",
                code=ExitCode.MEDIA,
                hint="do not change the source while the disc is written",
            )
        return piece


class _Stream(io.RawIOBase):
    """One content as pycdlib copies it, and every path it gets."""

    def __init__(self, content: Content, sources: _Sources, progress: Progress) -> None:
        super().__init__()
        self.content = content
        self.paths: list[str] = []
        self._sources = sources
        self._progress = progress
        self._at = 0
        known = content.sha256 if isinstance(content, SourceFile) else None
        self._known = known.lower() if known is not None else None
        self._digest = hashlib.sha256()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Start over: pycdlib seeks once, to the beginning."""
        assert offset == whence == 0  # noqa: S101  a contract of two lines above `_compose`
        self._at = 0
        self._digest = hashlib.sha256()
        return 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, never fewer than asked for: pycdlib would end the file in silence."""
        chunk = self._sources.read(self.content, self._at, size)
        self._at += size
        if self._known is None:
            self._digest.update(chunk)
        self._progress.advance(size * len(self.paths))
        return chunk

    @property
    def sha256(self) -> str:
        """What the content has to hash to; once it was copied."""
        return self._known if self._known is not None else self._digest.hexdigest()


def _make_streams(
    files: Mapping[str, Content], sources: _Sources, progress: Progress
) -> tuple[_Stream, ...]:
    """One stream for each distinct content, in the order of their first paths."""
    streams: dict[object, _Stream] = {}
    for path in sorted(files):
        content = files[path]
        key: object = content
        if isinstance(content, SourceFile) and content.sha256 is not None:
            key = (content.size, content.sha256.lower())
        stream = streams.setdefault(key, _Stream(content, sources, progress))
        stream.paths.append(path)
    return (*streams.values(),)


def _compose(streams: Iterable[_Stream], label: str) -> "PyCdlib":
    """Lay the disc out in memory; nothing is read yet."""
    from pycdlib import PyCdlib  # noqa: PLC0415  50 ms that no other verb pays

    disc = PyCdlib()
    disc.new(interchange_level=4, joliet=3, vol_ident=label, app_ident_str="WINSEED")
    for folder in sorted(
        {above for stream in streams for path in stream.paths for above in _folders(path)}
    ):
        disc.add_directory(iso_path=f"/{folder}", joliet_path=f"/{folder}")
    for stream in streams:
        first, *others = (f"/{path}" for path in stream.paths)
        disc.add_fp(stream, stream.content.size, iso_path=first, joliet_path=first)
        for other in others:
            disc.add_hard_link(iso_old_path=first, iso_new_path=other)
            disc.add_hard_link(iso_old_path=first, joliet_new_path=other)
    disc.force_consistency()
    return disc


class _Clock(threading.local):
    """`time` as pycdlib sees it: `epoch` in UTC where it is set, the real thing elsewhere."""

    epoch: int | None = None

    def time(self) -> float:
        return time.time() if self.epoch is None else float(self.epoch)  # noqa: TID251

    def localtime(self, seconds: float | None = None) -> time.struct_time:
        return time.localtime(seconds) if self.epoch is None else time.gmtime(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_CLOCK = _Clock()


@contextlib.contextmanager
def _pinned_clock(epoch: int) -> Iterator[None]:
    """Give pycdlib a clock of this thread: it asks `time` for every date and takes none."""
    from pycdlib import dates, headervd, pycdlib, utils  # noqa: PLC0415

    for module in (dates, headervd, pycdlib, utils):
        module.time = _CLOCK  # type: ignore[assignment]
    _CLOCK.epoch = epoch
    try:
        yield
    finally:
        _CLOCK.epoch = None


def _prepare_folder(target: Path) -> None:
    """Make the folder of `target`, refuse what cannot be replaced, clear what killed runs left."""
    if target.exists() and not target.is_file():
        what = f"{target} is a {'folder' if target.is_dir() else 'device'}, expected a file name"
        raise WinseedError(what, code=ExitCode.SPEC)
    target.parent.mkdir(parents=True, exist_ok=True)
    left = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-z_]+\.part")
    for name in os.listdir(target.parent):
        if left.fullmatch(name):
            _remove_stale(target.parent / name)


def _remove_stale(path: Path) -> None:
    """Remove an unfinished image unless the lock on it shows that its writer lives."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(fd)


def _refuse_full(target: Path, needed: int) -> None:
    space = os.statvfs(target.parent)
    available = space.f_bavail * space.f_frsize
    if space.f_blocks and available < needed:  # some network file systems do not tell
        raise WinseedError(
            f"not enough space in {target.parent}: {_mib(needed)} needed, {_mib(available)} available",
            code=ExitCode.SPEC,
            hint="free some space or choose another output folder",
        )


class _Draft:
    """The image while it is written: without a name where the file system can do that, so that a
    killed run leaves nothing behind (O_TMPFILE of open(2)), else under a dot name by the target.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path: Path | None = None
        self.fd = -1

    @property
    def readable(self) -> Path:
        """Where the bytes can be opened a second time."""
        return self.path or Path(f"/proc/self/fd/{self.fd}")

    def open(self) -> None:
        """Take an empty file of mode 0600, locked to show that its writer lives."""
        try:
            self.fd = os.open(self.target.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except (AttributeError, OSError):  # not this system, not this file system
            self._open_named()
        if not self.readable.exists():  # no /proc here, so no way to a name either
            os.close(self.fd)
            self._open_named()
        os.fchmod(self.fd, 0o600)  # whatever the umask took away
        self._lock()

    def _open_named(self) -> None:
        prefix, folder = f".{self.target.name}.", self.target.parent
        self.fd, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=folder)
        self.path = Path(name)

    def _lock(self) -> None:
        with contextlib.suppress(OSError):  # without locks nobody takes it for stale either
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def publish(self) -> None:
        """Put the image in the place of the target, in one step."""
        folder = os.open(self.target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self.path is None:
                nameless, inode = self.readable, os.fstat(self.fd).st_ino
                self.path = self.target.with_name(f".{self.target.name}.{inode:x}.part")
                # a folder descriptor makes this linkat(2), which follows the link in /proc
                os.link(nameless, self.path, src_dir_fd=folder, follow_symlinks=True)
            self.path.replace(self.target)
            self.path = None
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Drop what was not published."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        if self.fd >= 0:
            os.close(self.fd)


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[_Draft]:
    draft = _Draft(target)
    try:
        draft.open()
        yield draft
    finally:
        draft.close()


def _read_back(path: Path, streams: Iterable[_Stream]) -> tuple[WrittenFile, ...]:
    """Compare every file of the image with what went in."""
    expected = {name: stream for stream in streams for name in stream.paths}
    image = inspect_image(path)
    found = {file.path: file for file in image.files.values()}
    if found.keys() != expected.keys():
        odd = sorted(found.keys() ^ expected.keys())
        raise _unlike(f"{len(odd)} names differ, the first is {odd[0]}")
    written = []
    digests: dict[object, str] = {}
    for name, stream in sorted(expected.items()):
        file = found[name]
        key = (file.extents, file.size)
        if key not in digests:
            digests[key] = _hash_file(image, file)
        if file.size != stream.content.size or digests[key] != stream.sha256:
            _blame_source(stream)
            raise _unlike(f"{name} differs")
        written.append(WrittenFile(path=name, size=file.size, sha256=digests[key]))
    return tuple(written)


def _hash_file(image: DiscImage, file: DiscFile) -> str:
    digest = hashlib.sha256()
    for offset in range(0, file.size, CHUNK):
        digest.update(image.read(file, offset, min(CHUNK, file.size - offset)))
    return digest.hexdigest()


def _blame_source(stream: _Stream) -> None:
    """A source that no longer hashes to what was promised is the medium's fault."""
    content = stream.content
    if isinstance(content, SourceFile) and compute_sha256(content) != stream.sha256:
        raise WinseedError(
            f"{content.path} does not hold what was found there before ({stream.paths[0]})",
            code=ExitCode.MEDIA,
            hint="do not change a source while the disc is made; check the medium",
        )


def _unlike(what: str) -> WinseedError:
    return WinseedError(
        f"the image does not read back as written: {what}",
        code=ExitCode.BUG,
        hint="check the disk and the memory of this machine; if they are sound, please report it",
    )


@contextlib.contextmanager
def _target_errors(target: Path) -> Iterator[None]:
    """Turn what the file system or pycdlib raises into errors that name the target."""
    from pycdlib.pycdlibexception import PyCdlibException  # noqa: PLC0415

    try:
        yield
    except (OSError, ValueError) as error:
        hint = "choose another output folder with -o"
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space or choose another output folder"
        what = f"cannot write {target}: {_reason(error)}"
        raise WinseedError(what, code=ExitCode.SPEC, hint=hint) from error
    except PyCdlibException as error:
        what = f"the image cannot be laid out: {error}"
        raise WinseedError(what, code=ExitCode.BUG, hint="please report this") from error


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
