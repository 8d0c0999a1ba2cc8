"""Fetch one file over HTTP(S): resumed, measured, checked, and only then given its name.

While it comes in it is `.<name>.part` beside its target, with the server's validator in
`.<name>.part.txt`. Both stay after a failure that another try may mend and go with any other.
Resuming follows RFC 9110, 13.1.5 (If-Range), 14.2 (Range) and 15.5.17 (416).
"""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import http.client
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin

import requests
import urllib3

from builder.console import Progress
from builder.errors import ExitCode, WinseedError
from builder.record import record

PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|script|\?xml)\b", re.IGNORECASE)
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d{1,18})")
_error = functools.partial(WinseedError, code=ExitCode.MEDIA)
CA_HINT = "name the CA file of your proxy or mirror in REQUESTS_CA_BUNDLE (or SSL_CERT_FILE)"


@record
class Download:
    """A file in place: `size` in bytes, `sha256` in hex, `verified` when it was known before."""

    path: Path
    size: int
    sha256: str
    verified: bool
    resumed: bool


@record
class Surroundings:
    """What a download needs of the outside, and its patience in seconds, bytes and numbers.

    `now` counts seconds from anywhere, `jitter` gives 0 to 1. Proxy, CA file and netrc come from
    the environment, as requests reads it; `ca_file` counts where it names none.
    """

    progress_for: Callable[[str, int], contextlib.AbstractContextManager[Progress]]
    note: Callable[[str], None]
    pause: Callable[[float], None]
    now: Callable[[], float]
    jitter: Callable[[], float]
    ca_file: str = ""
    attempts: int = 6  # in a row without getting on
    connections: int = 200
    redirects: int = 5
    timeout: tuple[float, float] = (15, 60)  # to connect, between two bytes
    slowest: int = 1024  # bytes a second, over `slow_for` seconds
    slow_for: float = 60
    largest: int = 8 << 30
    longest_pause: float = 60


class _TransientError(Exception):
    """Something another attempt may get past; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Leave redirects to us: requests would read their bodies to the end, however long."""


@dataclasses.dataclass(kw_only=True)
class _Part:
    """The unfinished file: `size` bytes of `total` (0: not known)."""

    url: str
    source: str  # hash of the address, which may hold a secret
    target: Path
    expected: int
    path: Path
    notes: Path
    file: io.FileIO
    size: int = 0
    total: int = 0
    validator: str = ""
    resumed: bool = False

    def __str__(self) -> str:
        total = _megabytes(self.total) if self.total else "?"
        return f"{_megabytes(self.size)} of {total} are kept in {self.path}"

    def recall(self) -> None:
        """Take up what an earlier run left, if it left enough to go on from."""
        try:
            source, self.validator, total = self.notes.read_text(encoding="utf-8").splitlines()
            self.total = int(total)
        except (OSError, ValueError):
            source = ""
        if source != self.source or not self.validator or not self.size <= self.total:
            self.restart()
        self.resumed = 0 < self.size == self.total

    def remember(self) -> None:
        with _open_own(self.notes) as file:
            file.truncate(0)
            file.write(f"{self.source}\n{self.validator}\n{self.total}\n".encode())

    def restart(self) -> None:
        self.file.truncate(0)
        self.size, self.total, self.validator, self.resumed = 0, 0, "", False

    def append(self, chunk: bytes) -> None:
        while chunk:
            written = os.pwrite(self.file.fileno(), chunk, self.size)
            self.size, chunk = self.size + written, chunk[written:]

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    expected_sha256: str | None,
    expected_size: int | None,
    check: Callable[[Path], None],
    around: Surroundings,
    force: bool = False,
) -> Download:
    """Fetch `url` to the file `target`; `force`: even where one is.

    `check` sees the complete file before it gets its name, and raises WinseedError. Raises
    WinseedError: UNSAFE when another file took the name meanwhile, else MEDIA. What came in stays
    for a later run, also after KeyboardInterrupt.
    """
    with _open_part(url, target, expected_size or 0) as part:
        try:
            _fill(part, around)
        except KeyboardInterrupt:
            around.note(f"{part}: the same command goes on from there")
            raise
        digest = _prove(part, expected_sha256, check)
        if target.exists() and not force:
            raise WinseedError(f"{target} exists", code=ExitCode.UNSAFE, hint="use -o or --force")
        os.fsync(part.file.fileno())
        part.path.replace(target)
        part.discard()
    return Download(path=target, size=part.size, sha256=digest,
                    verified=bool(expected_sha256), resumed=part.resumed)  # fmt: skip


def _open_own(path: Path) -> io.FileIO:
    """Open a file of ours, made if need be; a link that somebody planted is not followed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return io.FileIO(os.open(path, flags, 0o666), "r+")


@contextlib.contextmanager
def _open_part(url: str, target: Path, expected: int) -> Iterator[_Part]:
    """The part file of `target`, locked; an empty one is not left behind."""
    source = hashlib.sha256(url.encode(errors="surrogateescape")).hexdigest()
    path, notes = (target.with_name(f".{target.name}.part{end}") for end in ("", ".txt"))
    try:
        with _open_own(path) as file:
            _lock(file, path)
            part = _Part(
                url=url, source=source, target=target, expected=expected, path=path, notes=notes,
                file=file, size=path.stat().st_size,
            )  # fmt: skip
            part.recall()
            try:
                yield part
            finally:
                if not part.size:
                    part.discard()
    except OSError as error:
        hint = f"check {target.parent}: is it there, writable, not full? A part stays for later"
        raise _error(f"{target}: {error.strerror or error}", hint=hint) from error


def _lock(file: io.FileIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.path.samestat(os.fstat(file.fileno()), path.stat())  # not published meanwhile
    except OSError as error:  # a share without locks is no reason to stop
        ours = error.errno not in {errno.EWOULDBLOCK, errno.ENOENT}
    if not ours:
        raise _error(f"another winseed is downloading to {path}", hint="wait until it is done")


def _fill(part: _Part, around: Surroundings) -> None:
    """Connect until the part is complete or patience ends; getting on restores patience."""
    best, failures = part.size, 0
    for _ in range(around.connections):
        try:
            if not part.size or part.size != part.total:
                _receive(part, around)
        except _TransientError as broken:
            if part.size - best >= around.slowest * around.slow_for:
                best, failures = part.size, 0
            failures += 1
            if failures >= around.attempts:
                raise _given_up(part, str(broken)) from broken
            wait = min(2 ** (failures - 1), around.longest_pause) * (0.5 + around.jitter() / 2)
            wait = max(wait, min(broken.wait, around.longest_pause))
            around.note(f"{broken}; trying again in {wait:.0f} s ({part})")
            around.pause(wait)
        else:
            return
    raise _given_up(part, f"broken {around.connections} times")


def _receive(part: _Part, around: Surroundings) -> None:
    """One connection: what it brings is in the part, however it ends."""
    with (
        _Session() as session,
        contextlib.closing(_request(part, session, around)) as response,
    ):
        if not _settle(part, response):
            return
        _check_total(part, around)
        with around.progress_for(part.target.name, part.total) as bar:
            bar.advance(part.size)
            _copy(part, response, bar, around)
    part.total = part.total or part.size  # no length was announced: the end is the end
    if part.size != part.total or not part.size:
        raise _TransientError(f"the connection ended after {part.size} of {part.total} bytes")


def _copy(part: _Part, response: requests.Response, bar: Progress, around: Surroundings) -> None:
    mark, since = part.size, around.now()
    most = part.total or around.largest
    while chunk := _read(response):
        if not part.size and PAGE.match(chunk):
            raise _refusal(part.url, "a web page, not a disc", "see it with a browser: a portal?")
        if part.size + len(chunk) > most:
            part.restart()
            raise _refusal(part.url, f"more than the {most} bytes expected")
        part.append(chunk)
        bar.advance(len(chunk))
        if around.now() - since >= around.slow_for:
            if part.size - mark < around.slowest * around.slow_for:
                raise _TransientError(f"slower than {around.slowest} bytes a second")
            mark, since = part.size, around.now()


def _read(response: requests.Response) -> bytes:
    # read1 gives what is there; read would sit on a trickle until a whole chunk has come
    try:
        return bytes(response.raw.read1(1 << 18, decode_content=False))
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise _TransientError(_innermost(error)) from error


def _request(part: _Part, session: _Session, around: Surroundings) -> requests.Response:
    """Ask for the rest of the part, or for all of it, through a few redirects."""
    session.verify = around.ca_file or True
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "winseed"})
    if part.size and part.validator:
        session.headers.update({"Range": f"bytes={part.size}-", "If-Range": part.validator})
    url, location = part.url, ""
    for _ in range(around.redirects + 1):
        response = _get(session, url, location, around)
        if not response.is_redirect:
            return response
        response.close()
        url, location = response.url, response.headers["Location"]
    raise _refusal(part.url, f"redirected more than {around.redirects} times")


def _get(session: _Session, url: str, location: str, around: Surroundings) -> requests.Response:
    try:
        onward = urljoin(url, location)
        if url.lower().startswith("https:") and not onward.lower().startswith("https:"):
            raise _refusal(url, "it redirects from https to an address that is not encrypted")
        return session.get(onward, stream=True, allow_redirects=False, timeout=around.timeout)
    except ValueError as error:
        raise _refusal(url, f"it cannot be used: {_innermost(error)}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = _innermost(error)
        if "certificate verify failed" in str(error).lower():
            raise _refusal(url, f"its certificate is not trusted: {reason}", CA_HINT) from error
        raise _TransientError(reason) from error
    except OSError as error:  # so requests says that the CA file is not there
        raise _refusal(url, str(error), CA_HINT) from error


def _settle(part: _Part, response: requests.Response) -> bool:
    """Make the part fit the answer; True when there is a body to append."""
    status, headers = response.status_code, response.headers
    if status in {206, 416}:
        return _settle_range(part, response)
    meaning = f"HTTP {status} {http.client.responses.get(status, '')}"
    if status == 429 or status >= 500:
        raise _TransientError(meaning, _retry_after(headers))
    if status != 200:
        raise _refusal(part.url, meaning)
    if headers.get("Content-Encoding", "identity") != "identity":
        raise _refusal(part.url, "the server packs it (Content-Encoding)")
    part.restart()
    length = headers.get("Content-Length", "")
    measured = re.fullmatch(r"\d{1,18}", length) and "Transfer-Encoding" not in headers
    part.total = int(length) if measured else part.expected
    tag = headers.get("ETag", "")
    part.validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    part.remember()
    return True


def _settle_range(part: _Part, response: requests.Response) -> bool:
    """An answer about a range: go on only where the part ends, and in the same file."""
    found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start, total = (found[1], int(found[2])) if found else (None, 0)
    tag = response.headers.get("ETag", part.validator)
    same_file = tag == part.validator or not part.validator.startswith('"')
    if response.status_code == 416 and 0 < part.size == total:
        part.total, part.resumed = part.size, True  # the length announced at first was wrong
        return False
    if start == str(part.size) and 0 < part.size < total == part.total and same_file:
        part.resumed = True
        return True
    part.restart()
    raise _TransientError("the server cannot go on from there, starting over")


def _check_total(part: _Part, around: Surroundings) -> None:
    """Refuse a file of the wrong length, or one that has no room, before it comes in."""
    limit = part.expected or around.largest
    if part.total > limit or 0 < part.total < part.expected:
        raise _refusal(part.url, f"the file has {part.total} bytes, expected {limit}")
    room = os.statvfs(part.path.parent)
    free, missing = room.f_bavail * room.f_frsize, part.total - part.size
    if missing > free:
        what = f"{part.path.parent} has {_megabytes(free)} free, {_megabytes(missing)} are needed"
        raise _error(what, hint="make room, or name another folder with -o")


def _prove(part: _Part, sha256: str | None, check: Callable[[Path], None]) -> str:
    """The sum of a file that is what was asked for; anything else is deleted."""
    part.file.seek(0)
    digest = hashlib.file_digest(part.file, "sha256").hexdigest()
    try:
        if sha256 not in {None, digest}:
            raise _refusal(part.url, f"sha256 {digest}, expected {sha256}")
        check(part.path)
    except WinseedError:
        part.discard()
        raise
    return digest


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds the server asks for; a date counts from the server's own (RFC 9110, 10.2.3)."""
    text, date = headers.get("Retry-After", ""), headers.get("Date", "")
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        return (parsedate_to_datetime(text) - parsedate_to_datetime(date)).total_seconds()
    return 0


def _refusal(url: str, problem: str, hint: str = "") -> WinseedError:
    """An error about `url`, shown without what may be secret: user, password, query."""
    shown = re.sub(r"(?<=//)[^/]*@|[?#].*|[^ -~]", "", url)
    hint = hint or "check --release, or name a mirror with --from"
    return _error(f"{shown}: {problem}", hint=hint)


def _given_up(part: _Part, reason: str) -> WinseedError:
    hint = "check the network and the proxy (HTTPS_PROXY), or name a mirror with --from"
    kept = f"{part}, the same command goes on from there; " if part.size and part.validator else ""
    return _refusal(part.url, f"given up: {reason}", kept + hint)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _innermost(error: BaseException) -> str:
    """The cause at the bottom: the layers above it quote addresses, which may hold a secret."""
    causes = (getattr(error, "reason", None), *error.args, error.__cause__)
    inner = next((cause for cause in causes if isinstance(cause, BaseException)), None)
    if inner:
        return _innermost(inner)
    text = "".join(filter(str.isprintable, str(getattr(error, "strerror", None) or error)))
    return type(error).__name__ if not text or "://" in text or "url: " in text else text[:200]
