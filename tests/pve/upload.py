"""The multipart reader of pveproxy (pve-http-server AnyEvent.pm file_upload_multipart).

It knows four fields in one order, `content`, `checksum-algorithm`, `checksum`, `filename`, looks
for them in what the socket has given so far, and takes everything behind the file's first header
line for the rest of its headers only if that is there already: a read that ends between
`Content-Disposition` and the blank line puts the remaining header bytes into the file.
"""

import hashlib
import re

from tests.pve.state import KEPT, Died

FIELDS = ("content", "checksum-algorithm", "checksum")
DIGESTS = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512"}


class UploadReader:
    """Takes the body piece by piece; `done` once the closing boundary was seen."""

    def __init__(self, boundary: str, length: int):
        mark = re.escape(boundary.encode("latin-1"))
        self._delimiter = b"--" + mark + rb"\r?\n"
        self._file = re.compile(
            self._delimiter + rb'Content-Disposition: (.*?); name="(.*?)"; filename="([^"]+)"',
            re.DOTALL,
        )
        self._close = re.compile(rb"(?:\r?\n)?--" + mark + rb"--", re.DOTALL)
        self._kept_back = len(boundary) + 8
        self._length = length
        self._received = 0
        self._buffer = b""
        self._phase = "start"
        self._hashes = {name: hashlib.new(name) for name in ("sha256",)}
        self.params: dict[str, str] = {}
        self.size = 0
        self.content: bytes | None = b""
        self.known = DIGESTS
        self.done = False

    def feed(self, chunk: bytes) -> None:
        """Takes one read; Died with the sentence of the real reader when it gives up."""
        self._received += len(chunk)
        self._buffer += chunk
        if self._phase == "start":
            found = re.search(self._delimiter, self._buffer)
            if found:
                self._buffer = self._buffer[found.start() :]
                self._phase = "fields"
        if self._phase == "fields":
            self._read_fields()
        if self._phase == "file":
            self._read_file()
        if self._received >= self._length and not self.done:
            raise Died("upload failed")

    def digest(self, algorithm: str) -> str:
        """Checksum of the file by an algorithm of the schema's list."""
        return self._hashes[algorithm].hexdigest()

    def _read_fields(self) -> None:
        for name in FIELDS:
            pattern = (
                rb"^"
                + self._delimiter
                + rb'.*?Content-Disposition: (.*?); name="'
                + name.encode()
                + rb'"(.*?'
                + self._delimiter
                + rb")"
            )
            found = re.search(pattern, self._buffer, re.DOTALL)
            if not found:
                continue
            _assert_form_data(found[1])
            rest = _after_headers(found[2] + self._buffer[found.end() :])
            value, start = _until(self._delimiter, rest)
            self.params[name] = value.decode("latin-1").strip()
            self._buffer = rest[start:]
        found = self._file.match(self._buffer)
        if found:
            _assert_form_data(found[1])
            if found[2] != b"filename":
                field = found[2].decode("latin-1")
                raise Died(f"wrong field name '{field}' for file upload, expected 'filename'")
            self.params["filename"] = found[3].decode("latin-1").strip()
            algorithm = self.params.get("checksum-algorithm", "")
            if algorithm in DIGESTS:
                self._hashes[algorithm] = hashlib.new(algorithm)
            self._buffer = _after_headers(self._buffer[found.end() :])
            self._phase = "file"

    def _read_file(self) -> None:
        found = self._close.search(self._buffer)
        if found:
            data, self._buffer, self.done = self._buffer[: found.start()], b"", True
        else:
            keep = max(0, len(self._buffer) - self._kept_back)
            data, self._buffer = self._buffer[:keep], self._buffer[keep:]
        for known in self._hashes.values():
            known.update(data)
        self.size += len(data)
        if self.content is not None:
            self.content = self.content + data if self.size <= KEPT else None


def _after_headers(text: bytes) -> bytes:
    """What stands behind the next blank line; all of it when there is none yet."""
    found = re.search(rb"\r?\n\r?\n", text)
    return text[found.end() :] if found else text


def _until(pattern: bytes, text: bytes) -> tuple[bytes, int]:
    found = re.search(pattern, text)
    return (text[: found.start()], found.start()) if found else (b"", 0)


def _assert_form_data(disposition: bytes) -> None:
    if disposition != b"form-data":
        text = disposition.decode("latin-1")
        raise Died(f"wrong Content-Disposition '{text}' in multipart, expected 'form-data'")
