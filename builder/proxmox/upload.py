"""An ISO onto a storage, byte for byte, in constant memory.

pveproxy reads the parts in one order only, and writes bytes of a part's header into the file when
a network read ends inside that header (pve-http-server at 5c9e4ea, AnyEvent.pm
`file_upload_multipart`). So everything before the file, and the file's first bytes, go in one
piece, the file's part has no header beyond the one that is needed, and the sum goes along: the node
then refuses a damaged file instead of keeping it (pve-storage at 0c56bad, Status.pm `upload`).
"""

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from builder.console import NoProgress, Progress
from builder.errors import ExitCode, WinseedError
from builder.proxmox.api import BLOCK, Api
from builder.proxmox.facts import IsoFile
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_isos
from builder.proxmox.tasks import (
    Failed,
    Running,
    Succeeded,
    Upid,
    inspect_recent_tasks,
    load_upid,
    wait_for_task,
)
from builder.record import record

# others are replaced or cut off by the server without a word (Storage.pm,
# normalize_content_filename), and a name that is not unique overwrites another's ISO
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,246}\.iso")
FIRST = 16 * 1024  # bytes: what one TLS record carries
COPY_TIME = 1800.0  # seconds a node may take to copy a file to its storage
KIND = "imgcopy"


@record
class Upload:
    """A file to send: `size` in bytes, `sha256` in hex, `name` on the storage."""

    node: str
    storage: str
    name: str
    path: Path
    size: int
    sha256: str

    @property
    def volid(self) -> str:
        """What the file is called there."""
        return f"{self.storage}:iso/{self.name}"


def inspect_upload(path: Path, *, node: str, storage: str, name: str) -> Upload:
    """Measure and sum the file at `path`. Raises WinseedError (SPEC)."""
    if not NAME.fullmatch(name):
        raise WinseedError(
            f"{name!r} is no name for an ISO on a storage",
            code=ExitCode.SPEC,
            hint="letters, digits, dots, hyphens and underscores, ending in .iso",
        )
    with _opened(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return Upload(node=node, storage=storage, name=name, path=path, size=size, sha256=digest)


def upload_iso(api: Api, upload: Upload, *, progress: Progress | None = None) -> IsoFile:
    """Send an ISO and wait until it lies on its storage, whole. Raises PveError.

    Give an `api` of the target node itself: another one stores the file first and copies it by
    scp. Sent again once if it arrived damaged or if the answer was lost and nothing came of it;
    the name must be ours alone, for a file of that name is overwritten.
    """
    before = {upid.text for upid, _ in inspect_recent_tasks(api, KIND)}
    there = _find(api, upload) is not None
    for again in (True, False):
        try:
            wait_for_task(
                api, send_upload(api, upload, progress or NoProgress()), timeout=COPY_TIME
            )
            return _find(api, upload) or _gone(upload)
        except PveError as error:
            found = None
            if error.trouble is Trouble.UNKNOWN:
                found = _look(api, upload, before, there=there)
            elif error.trouble is not Trouble.TASK or "checksum mismatch" not in error.what:
                raise
            if found is not None:
                return found
            if not again:
                raise
    raise AssertionError  # the second turn has returned or raised


def wait_for_copies(api: Api) -> None:
    """Wait for every upload that is still copied to its storage: one may be ours. Raises PveError.

    Its name tells nothing of the file (UPID of `imgcopy` without an id, Status.pm `upload`).
    """
    for upid, task in inspect_recent_tasks(api, KIND):
        if isinstance(task, Running):
            with contextlib.suppress(PveError):
                wait_for_task(api, upid, timeout=COPY_TIME)


def send_upload(api: Api, upload: Upload, progress: Progress) -> Upid:
    """Send the file once; the task then checks its sum and copies it. Raises PveError."""
    boundary = f"winseed-{upload.sha256}"  # no file holds its own sum
    head, tail = render_frame(upload, boundary)
    route = ("nodes", upload.node, "storage", upload.storage, "upload")
    return api.send(
        route,
        _chunks(upload, head, tail, progress),
        len(head) + upload.size + len(tail),
        f"multipart/form-data; boundary={boundary}",
        load_upid,
    )


def render_frame(upload: Upload, boundary: str) -> tuple[bytes, bytes]:
    """What stands before and behind the file: the fields in the one order pveproxy reads."""
    fields = {"content": "iso", "checksum-algorithm": "sha256", "checksum": upload.sha256}
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="filename"; '
    head += f'filename="{upload.name}"\r\n\r\n'
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _chunks(upload: Upload, head: bytes, tail: bytes, progress: Progress) -> Iterator[bytes]:
    left = upload.size
    with _opened(upload.path) as file:
        size = FIRST - len(head)
        while left:
            block = file.read(min(size, left))
            if not block:
                raise WinseedError(
                    f"{upload.path} has become shorter while it was sent",
                    code=ExitCode.SPEC,
                    hint="leave the file alone until it is uploaded",
                )
            left -= len(block)
            yield head + block
            progress.advance(len(block))
            head, size = b"", BLOCK
    yield head + tail


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        what = f"cannot read {path}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from None


def _look(api: Api, upload: Upload, before: set[str], *, there: bool) -> IsoFile | None:
    """What became of an upload whose answer was lost: the file, or None if it has to be sent again.

    A task has no name that tells whose file it copies, so every new one is waited for. It compares
    the sum before it copies: a file of the right size that was not `there` is the right file.
    """
    copied = False
    for upid, task in inspect_recent_tasks(api, KIND):
        if upid.text in before:
            continue
        match task:
            case Running():
                with contextlib.suppress(PveError):
                    wait_for_task(api, upid, timeout=COPY_TIME)
                    copied = True
            case Succeeded():
                copied = True
            case Failed():
                pass
    found = _find(api, upload)
    return found if copied or not there else None


def _find(api: Api, upload: Upload) -> IsoFile | None:
    for file in inspect_isos(api, upload.node, upload.storage):
        if file.volid == upload.volid and file.size == upload.size:
            return file
    return None


def _gone(upload: Upload) -> IsoFile:
    raise PveError(
        f"{upload.volid} was uploaded and is not there with its {upload.size} bytes",
        trouble=Trouble.MISSING,
        hint="does somebody else clean this storage up?",
    )
