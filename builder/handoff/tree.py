"""A folder of files, whole or not at all: equal contents are one file with several names.

The same files give the same folder: names, bytes, modes and times. A folder is only ever replaced
by its own kind.
"""

import contextlib
import fcntl
import hashlib
import os
import queue
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from builder.disc import Content, InlineFile, SourceFile
from builder.errors import ExitCode, WinseedError
from builder.files import refuse_full, target_errors
from builder.media.tables import pread
from builder.names import check_names, printable
from builder.record import record

SUMS = "SHA256SUMS"
MANIFEST = "handoff.json"
CHUNK = 1 << 20
LARGE = 32 << 20  # bytes from which a second thread pays
PUBLIC, PRIVATE = 0o644, 0o600


@record
class Placed:
    """A file of the tree: its size in bytes, hex digest, and whether only its owner reads it."""

    path: str
    size: int
    sha256: str
    private: bool


class Tree:
    """A folder that is being filled. Paths are posix, relative to its root."""

    def __init__(self, root: Path, *, epoch: int) -> None:
        self.root = root
        self.epoch = epoch
        self.placed: dict[str, Placed] = {}
        self.foreign: set[str] = set()
        self._folders: set[Path] = set()
        self._first: dict[tuple[str, bool], str] = {}
        self._sources: dict[tuple[Path, tuple[object, ...], bool], str] = {}

    def add_foreign(self, path: str, content: Content) -> Placed:
        """Put a file of a Windows disc at `path`: Windows can read its name, whatever our rules."""
        self.foreign.add(path)
        return self.add(path, content)

    def add(self, path: str, content: Content, *, private: bool = False) -> Placed:
        """Put `content` at `path`. MEDIA when a source is not what its hash says."""
        if path in self.placed:
            raise ValueError(path)  # two writers want the same name: a bug
        match content:
            case InlineFile(data=data):
                return self._add_bytes(path, data, private=private)
            case SourceFile():
                return self._add_source(path, content, private=private)

    def add_text(self, path: str, data: bytes, *, private: bool = False) -> Placed:
        """Put `data` at `path`."""
        return self._add_bytes(path, data, private=private)

    def link(self, path: str, known: str) -> Placed:
        """Give the file at `known` a further name."""
        first = self.placed[known]
        target = self._open_place(path)
        os.link(self.root / known, target)
        return self._note(path, first.size, first.sha256, private=first.private)

    def adopt(self, path: str, *, private: bool = False) -> Placed:
        """Take in a file that a tool has written at `path` below the root."""
        target = self.root / path
        digest, size = _hash_file(target)
        target.chmod(PRIVATE if private else PUBLIC)
        os.utime(target, (self.epoch, self.epoch))
        return self._note(path, size, digest, private=private)

    def place(self, path: str) -> Path:
        """The file for `path`, its folder made, for a tool that writes it; then `adopt` it."""
        return self._open_place(path)

    def _add_bytes(self, path: str, data: bytes, *, private: bool) -> Placed:
        digest = hashlib.sha256(data).hexdigest()
        known = self._first.get((digest, private))
        if known is not None:
            return self.link(path, known)
        target = self._open_place(path)
        with _create(target, private=private) as fd:
            _write(fd, data)
        os.utime(target, (self.epoch, self.epoch))
        return self._note(path, len(data), digest, private=private)

    def _add_source(self, path: str, content: SourceFile, *, private: bool) -> Placed:
        key = (content.path, content.extents, private)
        known = self._sources.get(key)
        if known is None and content.sha256:
            known = self._first.get((content.sha256.lower(), private))
        if known is not None:
            return self.link(path, known)
        refuse_full(self.root, content.size)
        target = self._open_place(path)
        with _create(target, private=private) as fd:
            digest = _copy(content, fd)
        if content.sha256 and content.sha256.lower() != digest:
            raise WinseedError(
                f"{printable(content.path)} has changed while it was read ({path})",
                code=ExitCode.MEDIA,
                hint="compare the checksum of the disc and try again",
            )
        os.utime(target, (self.epoch, self.epoch))
        self._sources[key] = path
        return self._note(path, content.size, digest, private=private)

    def _note(self, path: str, size: int, digest: str, *, private: bool) -> Placed:
        self._first.setdefault((digest, private), path)
        placed = Placed(path=path, size=size, sha256=digest, private=private)
        self.placed[path] = placed
        return placed

    def _open_place(self, path: str) -> Path:
        target = self.root / path
        if target.parent not in self._folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(target.parent)
        return target


@contextlib.contextmanager
def draft_tree(target: Path, *, epoch: int) -> Iterator[Tree]:
    """A tree that becomes the folder `target` if the block ends well, checksums included.

    Raises WinseedError: UNSAFE when `target` holds something else, SPEC when it cannot be written.
    """
    refuse_foreign_folder(target)
    with target_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        folder = Path(tempfile.mkdtemp(".part", f".{target.name}.", target.parent))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tree = Tree(folder, epoch=epoch)
            yield tree
            _close(tree)
            _swap(folder, target)
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(target: Path) -> None:
    """Clear away what killed runs have left; the lock on it shows that its writer lives."""
    unfinished = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-z_]+\.part")
    for path in target.parent.iterdir():
        if not unfinished.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
            continue
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)


def refuse_foreign_folder(target: Path) -> None:
    """WinseedError (UNSAFE) when `target` holds anything but an older hand-off.

    SPEC for a path that is no folder's own name: what is written takes its place as a whole.
    """
    if not target.name or ".." in target.parts:
        raise WinseedError(
            f"{printable(target)} has no name of its own",
            code=ExitCode.SPEC,
            hint="name the folder that is to be written: out",
        )
    if not os.path.lexists(target):
        return
    if target.is_dir() and (not any(target.iterdir()) or (target / MANIFEST).is_file()):
        return
    raise WinseedError(
        f"{printable(target)} exists and is no hand-off of winseed: it is not overwritten",
        code=ExitCode.UNSAFE,
        hint="choose another folder",
    )


def _close(tree: Tree) -> None:
    """Checksums of everything that is no secret, in the form of sha256sum(1); then times."""
    faults = check_names(path for path in tree.placed if path not in tree.foreign)
    if faults:
        raise WinseedError(
            "the tree holds names that Windows cannot read", code=ExitCode.SPEC, problems=faults
        )
    lines = [
        f"{file.sha256}  {path}\n" for path, file in sorted(tree.placed.items()) if not file.private
    ]
    tree.add_text(SUMS, "".join(lines).encode())
    folders = {folder for path in tree.placed for folder in PurePosixPath(path).parents}
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        place = tree.root / folder
        place.chmod(0o755)
        os.utime(place, (tree.epoch, tree.epoch))


def _swap(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`; what was there before goes when this has worked."""
    if not os.path.lexists(target):
        folder.rename(target)
        return
    old = Path(tempfile.mkdtemp(".old", f".{target.name}.", target.parent))
    target.rename(old / "tree")
    try:
        folder.rename(target)
    except BaseException:
        (old / "tree").rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _create(path: Path, *, private: bool) -> Iterator[int]:
    mode = PRIVATE if private else PUBLIC
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)  # whatever the umask took away
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _copy(content: SourceFile, fd: int) -> str:
    """Write the bytes of `content` to `fd`; their hex digest."""
    digest = hashlib.sha256()
    try:
        source = os.open(content.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WinseedError(
            f"cannot read {printable(content.path)}: {error.strerror}", code=ExitCode.MEDIA
        ) from None
    try:
        with _hashing(digest, content.size) as update:
            for data in _chunks(content, source):
                update(data)
                _write(fd, data)
    finally:
        os.close(source)
    return digest.hexdigest()


def _chunks(content: SourceFile, source: int) -> Iterator[bytes]:
    for extent in content.extents:
        done = 0
        while done < extent.length:
            data = pread(source, min(CHUNK, extent.length - done), extent.offset + done)
            if not data:
                raise WinseedError(
                    f"{printable(content.path)} is cut short",
                    code=ExitCode.MEDIA,
                    hint="compare the checksum of the disc",
                )
            yield data
            done += len(data)


@contextlib.contextmanager
def _hashing(digest: "hashlib._Hash", size: int) -> Iterator[Callable[[bytes], None]]:
    """`digest.update`; for a large file in a thread of its own, as it takes as long as writing."""
    if size < LARGE:
        yield digest.update
        return
    waiting: queue.Queue[bytes] = queue.Queue(maxsize=8)

    def work() -> None:
        while data := waiting.get():
            digest.update(data)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield waiting.put
    finally:
        waiting.put(b"")
        thread.join()


def _hash_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
