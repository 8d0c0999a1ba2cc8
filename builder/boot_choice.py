"""A Windows disc that starts the other of its two EFI boot images: in place, or as a copy."""

import enum
import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from builder.console import Progress
from builder.errors import ExitCode, WinseedError
from builder.files import draft, prepare_folder, refuse_full, target_errors
from builder.media.noprompt import (
    BootChoice,
    BootPointer,
    check_choice,
    inspect_pointer,
    restore,
    write_choice,
)
from builder.media.tables import pread
from builder.record import record
from builder.reflink import Copied, copy_content

STEP = 4 << 20
WatchBytes = Callable[[str, int], AbstractContextManager[Progress]]


class Written(enum.Enum):
    """What became of the file."""

    NOTHING = "nothing"  # it made that choice already, or it was a dry run
    IN_PLACE = "in-place"
    COPY_SHARED = "copy-shared"
    COPY_WRITTEN = "copy-written"


@record
class Change:
    """What is to be done: `pointer` as it is now, the choice to come, the file to hold it."""

    pointer: BootPointer
    choice: BootChoice
    target: Path

    @property
    def in_place(self) -> bool:
        """Whether the disc itself is written, and no copy."""
        return self.target == self.pointer.path


def make_change(path: Path, choice: BootChoice, target: Path | None) -> Change:
    """Look at a disc and decide; `target` None is in place. WinseedError for what cannot be.

    MEDIA for a disc that is not understood, SPEC for a target that is the disc itself.
    """
    if target is not None and _same(path, target):
        what = f"{target} is the disc itself"
        raise WinseedError(what, code=ExitCode.SPEC, hint="change it with --in-place")
    pointer = inspect_pointer(path)
    if choice is BootChoice.PROMPT and pointer.foreign:
        what = f"{path}: made without the prompt by another tool; where it pointed is not known"
        hint = "the file was not touched; take the disc as Microsoft gives it out"
        raise WinseedError(what, code=ExitCode.MEDIA, hint=hint)
    return Change(pointer=pointer, choice=choice, target=target or path)


def write_change(change: Change, *, watch: WatchBytes, force: bool) -> Written:
    """Do it; afterwards the target is whole and right, or as it was before.

    Raises WinseedError: SPEC when the target cannot be written, UNSAFE when another file is there
    and `force` is not given, MEDIA when what was written does not read back.
    """
    if change.in_place:
        return _write_in_place(change)
    if change.target.exists() and not force:
        if _holds(change, watch):
            return Written.NOTHING
        what = f"{change.target} is there already, and is not what this call would write"
        hint = "name another file with -o, or replace this one with --force"
        raise WinseedError(what, code=ExitCode.UNSAFE, hint=hint)
    return _write_copy(change, watch)


def _same(path: Path, target: Path) -> bool:
    try:
        return path.samefile(target)
    except OSError:
        return False


def _write_in_place(change: Change) -> Written:
    pointer = change.pointer
    if pointer.choice is change.choice:
        return Written.NOTHING
    with target_errors(pointer.path):
        descriptor = os.open(pointer.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(descriptor, pointer.path)
            write_choice(descriptor, pointer, change.choice)
            try:
                check_choice(pointer, pointer.path, change.choice)
            except WinseedError:
                restore(descriptor, pointer)
                raise
        finally:
            os.close(descriptor)
    return Written.IN_PLACE


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        what = f"{path} is in use by another program"
        raise WinseedError(what, code=ExitCode.UNSAFE, hint="try again when it has ended") from None
    except OSError:
        return  # some network file systems cannot lock


def _write_copy(change: Change, watch: WatchBytes) -> Written:
    pointer, target = change.pointer, change.target
    with target_errors(target):
        prepare_folder(target)
        source = _open_disc(pointer.path)
        try:
            started = _state(source)
            with draft(target, mode=0o644) as (descriptor, name):
                with watch(f"copying {pointer.path.name}", pointer.size) as progress:
                    copied = copy_content(
                        source,
                        descriptor,
                        reserve=lambda needed: refuse_full(target.parent, needed),
                        advance=progress.advance,
                    )
                if _state(source) != started:
                    what = f"{pointer.path}: changed while it was copied"
                    hint = "let nobody else write to it"
                    raise WinseedError(what, code=ExitCode.MEDIA, hint=hint)
                write_choice(descriptor, pointer, change.choice)
                check_choice(pointer, name, change.choice)
        finally:
            os.close(source)
    return Written.COPY_SHARED if copied is Copied.SHARED else Written.COPY_WRITTEN


def _open_disc(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        what = f"{path}: cannot be read: {error.strerror}"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="check the path") from error


def _state(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _holds(change: Change, watch: WatchBytes) -> bool:
    """Whether the target is what would be written, to the last byte."""
    pointer = change.pointer
    with target_errors(change.target):
        if not change.target.is_file() or change.target.stat().st_size != pointer.size:
            return False
        source, target = _open_disc(pointer.path), _open_disc(change.target)
        try:
            with watch(f"comparing {change.target.name}", pointer.size) as progress:
                for at in range(0, pointer.size, STEP):
                    wanted = _patched(pread(source, STEP, at), at, change)
                    if wanted != pread(target, STEP, at):
                        return False
                    progress.advance(len(wanted))
        finally:
            os.close(source)
            os.close(target)
    return True


def _patched(content: bytes, at: int, change: Change) -> bytes:
    """`content`, found at byte `at` of the disc, with the six bytes if they lie in it.

    They never lie across two pieces: an entry begins at a multiple of 32 bytes.
    """
    place = change.pointer.offset - at
    six = change.pointer.bytes_for(change.choice)
    if not 0 <= place < len(content):
        return content
    return content[:place] + six + content[place + len(six) :]
