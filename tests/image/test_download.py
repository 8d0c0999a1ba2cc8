"""Downloads from real servers on loopback that cut, lie, stall and redirect.

Judge of every byte: hashlib over the file the server gives out, and genisoimage's own disc.
"""

import contextlib
import datetime as dt
import fcntl
import functools
import gc
import hashlib
import http.server
import ipaddress
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from builder.cli import fetch
from builder.errors import ExitCode, WinseedError
from builder.media.download import Download, Surroundings, download

VOLUME = "virtio-win-0.1.271"
PROXIES = [f"{kind}_proxy" for kind in ("http", "https", "all", "no")]
BUNDLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"]

pytestmark = pytest.mark.skipif(not shutil.which("genisoimage"), reason="needs genisoimage")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in [*PROXIES, *map(str.upper, PROXIES), *BUNDLES]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def disc(tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("disc")
    (folder / "files").mkdir()
    (folder / "files" / "a.bin").write_bytes(random.Random(1).randbytes(700_000))
    command = ["genisoimage", "-quiet", "-V", VOLUME, "-o", "d.iso", "files"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "d.iso").read_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    """Plays the next answer of the server's script; the last one for ever."""

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        self.close_connection = True
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            answer(self)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def serving(*script, certificate=None):
    with Server(("127.0.0.1", 0), Handler) as server:
        server.script, server.seen = list(script), []
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            scheme = "https"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"{scheme}://127.0.0.1:{server.server_port}/{VOLUME}.iso"
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def give(data, *, cut=None, tag='"v1"', ranges=True, length=None, extra=None):
    """The file; `cut` ends the connection after so many bytes of the answer, `length` lies."""

    def answer(handler):
        headers = handler.headers
        found = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        start = int(found[1]) if found and ranges and headers["If-Range"] == tag else 0
        if start >= len(data):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(data)}")
        else:
            handler.send_response(206 if start else 200)
            if start:
                handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            handler.send_header("Content-Length", str((length or len(data)) - start))
        if tag:
            handler.send_header("ETag" if '"' in tag else "Last-Modified", tag)
        for name, value in (extra or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data[start:][:cut])

    return answer


def unmeasured(data, **headers):
    """A file without a length, as HTTP/1.0 servers give it."""

    def answer(handler):
        handler.send_response(200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def refuse(status, **headers):
    def answer(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


class Outside:
    """The surroundings of a test: time passes at once, what was said is kept."""

    def __init__(self, interrupt_after=None, **patience):
        self.pauses, self.notes, self.counted = [], [], 0
        self.interrupt_after = interrupt_after
        self.around = Surroundings(
            progress_for=self.progress, note=self.notes.append, pause=self.pauses.append,
            now=time.monotonic, jitter=lambda: 1.0, **{"timeout": (5, 5), **patience},
        )  # fmt: skip

    @contextlib.contextmanager
    def progress(self, _label, _total):
        self.counted = 0
        yield self

    def advance(self, count):
        self.counted += count
        if self.interrupt_after is not None and self.counted > self.interrupt_after:
            raise KeyboardInterrupt


def fetched(url, target, data, outside=None, **how) -> Download:
    how = {"sha256": hashlib.sha256(data).hexdigest(), "size": None, "force": False} | how
    return download(
        url, target, expected_sha256=how["sha256"], expected_size=how["size"],
        check=functools.partial(fetch.check_volume, volume_id=VOLUME),
        around=(outside or Outside()).around, force=how["force"],
    )  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def error_of(call, *args, **kwargs) -> WinseedError:
    with pytest.raises(WinseedError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_a_whole_file(disc, tmp_path):
    outside = Outside()
    with serving(give(disc)) as server:
        done = fetched(server.url, tmp_path / "d.iso", disc, outside, size=len(disc))
    assert (tmp_path / "d.iso").read_bytes() == disc
    assert (done.size, done.sha256) == (len(disc), hashlib.sha256(disc).hexdigest())
    assert done.verified
    assert not done.resumed
    assert outside.counted == len(disc)
    assert names(tmp_path) == ["d.iso"]
    assert (tmp_path / "d.iso").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("tag", ['"v1"', "Mon, 01 Sep 2025 10:00:00 GMT"])
@pytest.mark.parametrize("cut", [1, 2048, 100_000, 600_001])
def test_a_broken_connection_goes_on_where_it_stopped(disc, tmp_path, cut, tag):
    outside = Outside()
    with serving(give(disc, cut=cut, tag=tag), give(disc, tag=tag)) as server:
        done = fetched(server.url, tmp_path / "d.iso", disc, outside)
    assert done.resumed
    assert (tmp_path / "d.iso").read_bytes() == disc
    assert server.seen[1][1]["Range"] == f"bytes={cut}-"
    assert server.seen[1][1]["If-Range"] == tag
    assert outside.pauses == [1]


def test_many_breaks_are_no_reason_to_stop_while_it_gets_on(disc, tmp_path):
    outside = Outside(attempts=2)
    with serving(give(disc, cut=70_000)) as server:
        fetched(server.url, tmp_path / "d.iso", disc, outside)
    assert len(server.seen) == -(-len(disc) // 70_000)
    assert (tmp_path / "d.iso").read_bytes() == disc


def test_patience_ends_when_nothing_more_comes(disc, tmp_path):
    outside = Outside(attempts=4)
    with serving(give(disc, cut=0)) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, outside)
    assert error.code is ExitCode.MEDIA
    assert outside.pauses == [1, 2, 4]
    assert names(tmp_path) == []


def test_a_later_run_goes_on(disc, tmp_path):
    target = tmp_path / "d.iso"
    with serving(give(disc, cut=300_000), refuse(503)) as server:
        error = error_of(fetched, server.url, target, disc, Outside(attempts=3))
        assert "goes on from there" in error.hint
        assert (tmp_path / ".d.iso.part").stat().st_size == 300_000
        server.script[:] = [give(disc)]
        assert fetched(server.url, target, disc).resumed
    assert server.seen[-1][1]["Range"] == "bytes=300000-"
    assert target.read_bytes() == disc
    assert names(tmp_path) == ["d.iso"]


def test_an_interrupted_run_keeps_its_part_and_says_so(disc, tmp_path):
    outside = Outside(interrupt_after=200_000)
    with serving(give(disc)) as server:
        with pytest.raises(KeyboardInterrupt):
            fetched(server.url, tmp_path / "d.iso", disc, outside)
        assert "goes on from there" in outside.notes[-1]
        kept = (tmp_path / ".d.iso.part").read_bytes()
        assert kept == disc[: len(kept)]
        assert fetched(server.url, tmp_path / "d.iso", disc).resumed
    assert (tmp_path / "d.iso").read_bytes() == disc


def test_another_file_on_the_server_is_fetched_from_its_start(disc, tmp_path):
    old = bytes(len(disc))
    with serving(give(old, cut=300_000, tag='"old"'), give(disc, tag='"new"')) as server:
        done = fetched(server.url, tmp_path / "d.iso", disc)
    assert not done.resumed
    assert (tmp_path / "d.iso").read_bytes() == disc


@pytest.mark.parametrize(
    "wrong",
    ["bytes 0-9/10", "bytes 300000-{last}/9999999", "bytes 299999-{last}/{size}", "nonsense", ""],
)
def test_a_wrong_range_is_not_appended(disc, tmp_path, wrong):
    value = wrong.format(last=len(disc) - 1, size=len(disc))
    lie = refuse(206, Content_Range=value)
    with serving(give(disc, cut=300_000), lie, give(disc)) as server:
        fetched(server.url, tmp_path / "d.iso", disc)
    assert "Range" not in server.seen[2][1]
    assert (tmp_path / "d.iso").read_bytes() == disc


@pytest.mark.parametrize(("ranges", "tag"), [(False, '"v1"'), (True, 'W/"v1"'), (True, "")])
def test_a_server_that_cannot_resume(disc, tmp_path, ranges, tag):
    cut = give(disc, cut=300_000, ranges=ranges, tag=tag)
    with serving(cut, give(disc, ranges=ranges, tag=tag)) as server:
        done = fetched(server.url, tmp_path / "d.iso", disc)
    assert not done.resumed
    assert (tmp_path / "d.iso").read_bytes() == disc


def test_a_part_of_unknown_origin_is_not_trusted(disc, tmp_path):
    (tmp_path / ".d.iso.part").write_bytes(b"x" * 5000)
    with serving(give(disc)) as server:
        (tmp_path / ".d.iso.part.txt").write_text(f'other\n"v1"\n{len(disc)}\n')
        assert not fetched(server.url, tmp_path / "d.iso", disc).resumed
    assert (tmp_path / "d.iso").read_bytes() == disc


def test_a_length_too_long_is_found_out(disc, tmp_path):
    with serving(give(disc, length=len(disc) + 500)) as server:
        fetched(server.url, tmp_path / "d.iso", disc)
    assert len(server.seen) == 2
    assert (tmp_path / "d.iso").read_bytes() == disc


def test_a_length_too_short_is_found_out(disc, tmp_path):
    with serving(give(disc, length=len(disc) - 4096)) as server:
        for known in (hashlib.sha256(disc).hexdigest(), None):
            error = error_of(fetched, server.url, tmp_path / "d.iso", disc, sha256=known)
            assert error.code is ExitCode.MEDIA
            assert names(tmp_path) == []


@pytest.mark.parametrize("answer", [give, unmeasured])
@pytest.mark.parametrize("change", [-2048, 2048])
def test_a_file_of_another_size_than_the_release_has(disc, tmp_path, answer, change):
    with serving(answer(disc)) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, size=len(disc) + change)
    assert str(len(disc) + change) in error.what
    assert not (tmp_path / "d.iso").exists()


def test_no_length_at_all(disc, tmp_path):
    with serving(unmeasured(disc)) as server:
        fetched(server.url, tmp_path / "d.iso", disc)
        assert (tmp_path / "d.iso").read_bytes() == disc
        error = error_of(
            fetched, server.url, tmp_path / "e.iso", disc, Outside(largest=len(disc) - 1)
        )
    assert "more than" in error.what
    assert names(tmp_path) == ["d.iso"]


def test_wrong_bytes_are_deleted(disc, tmp_path):
    wrong = disc[:400_000] + bytes([disc[400_000] ^ 1]) + disc[400_001:]
    with serving(give(wrong)) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc)
    assert hashlib.sha256(wrong).hexdigest() in error.what
    assert hashlib.sha256(disc).hexdigest() in error.what
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 304])
def test_refusals_are_final(disc, tmp_path, status):
    outside = Outside()
    with serving(refuse(status)) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, outside)
    assert f"HTTP {status}" in error.what
    assert len(server.seen) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_an_overloaded_server_is_asked_again(disc, tmp_path, status):
    outside = Outside()
    with serving(refuse(status), refuse(status), give(disc)) as server:
        fetched(server.url, tmp_path / "d.iso", disc, outside)
    assert outside.pauses == [1, 2]
    assert (tmp_path / "d.iso").read_bytes() == disc


@pytest.mark.parametrize(
    ("after", "pause"),
    [
        ("7", 7),
        ("99999999", 60),
        ("9" * 5000, 60),
        ("soon", 1),
        ("-5", 1),
        ("{date:%a, %d %b %Y %H:%M:%S GMT}", 20),
    ],
)
def test_retry_after_is_honoured_and_capped(disc, tmp_path, after, pause):
    date = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    outside = Outside()
    with serving(refuse(429, Retry_After=after.format(date=date)), give(disc)) as server:
        fetched(server.url, tmp_path / "d.iso", disc, outside)
    assert outside.pauses == [pytest.approx(pause, abs=2 if pause == 20 else 0)]


def test_redirects_are_followed_but_not_for_ever(disc, tmp_path):
    moved = (refuse(status, Location=f"/{status}") for status in (301, 302, 303, 307, 308))
    with serving(*moved, give(disc, cut=9), refuse(302, Location="/x"), give(disc)) as server:
        fetched(server.url, tmp_path / "d.iso", disc)
    assert [path for path, _ in server.seen[-2:]] == [f"/{VOLUME}.iso", "/x"]
    with serving(refuse(302, Location="/again")) as server:
        error = error_of(fetched, server.url, tmp_path / "e.iso", disc)
    assert "redirected" in error.what
    assert len(server.seen) == 6


def test_the_body_of_a_redirect_is_not_read(disc, tmp_path):
    def endless(handler):
        handler.send_response(302)
        handler.send_header("Location", "/x")
        handler.end_headers()
        handler.server.written = 0
        with contextlib.suppress(OSError):
            while handler.server.written < 64 << 20:
                handler.server.written += handler.wfile.write(bytes(1 << 20))

    with serving(endless, give(disc)) as server:
        fetched(server.url, tmp_path / "d.iso", disc)
        assert server.written < 64 << 20


@pytest.mark.parametrize(
    "location", ["http://[", "file:///etc/passwd", "gopher://x/", "//", "http://a b/"]
)
def test_redirects_to_nowhere(disc, tmp_path, location):
    with serving(refuse(302, Location=location)) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, Outside(attempts=1))
    assert error.code is ExitCode.MEDIA
    assert names(tmp_path) == []


@pytest.mark.parametrize("start", [b"<!DOCTYPE html><title>Login", b"\xef\xbb\xbf\n <HTML>"])
def test_a_web_page_is_no_disc(disc, tmp_path, start):
    with serving(give(start + b"x" * 5000)) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, sha256=None)
    assert "web page" in error.what
    assert names(tmp_path) == []


def test_only_the_right_disc_passes_without_a_known_sum(disc, tmp_path):
    other = disc.replace(VOLUME.encode(), b"virtio-win-0.1.285")
    for wrong in (other, b"no disc" * 9999, b"x", b""):
        with serving(give(wrong)) as server:
            error = error_of(
                fetched, server.url, tmp_path / "d.iso", disc, Outside(attempts=1), sha256=None
            )
        assert error.code is ExitCode.MEDIA
        assert names(tmp_path) == []
    with serving(give(disc)) as server:
        assert not fetched(server.url, tmp_path / "d.iso", disc, sha256=None).verified


def test_packed_content_is_refused(disc, tmp_path):
    with serving(give(disc, extra={"Content-Encoding": "gzip"})) as server:
        assert "packs" in error_of(fetched, server.url, tmp_path / "d.iso", disc).what
    assert server.seen[0][1]["Accept-Encoding"] == "identity"


def test_a_trickle_and_a_silence_end(disc, tmp_path):
    def trickle(handler):
        give(disc, cut=50_000)(handler)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                handler.wfile.write(b"x")
                time.sleep(0.02)

    slow = Outside(attempts=1, slow_for=0.2, slowest=100_000)
    with serving(trickle) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, slow)
    assert "slower than" in error.what
    silent = Outside(attempts=1, timeout=(1, 0.2))
    with serving(lambda _: time.sleep(0.6)) as server:
        error = error_of(fetched, server.url, tmp_path / "e.iso", disc, silent)
    assert "timed out" in error.what


def test_nobody_there(disc, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = error_of(fetched, f"http://127.0.0.1:{port}/x", tmp_path / "d.iso", disc)
    assert "Connection refused" in error.what
    assert "HTTPS_PROXY" in error.hint


GARBAGE = [
    b"", b"\0" * 70000, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 999999 \xff\r\n\r\n", b"SSH-2.0-x\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"F" * 99999,
    b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n\r\nab",
    b'HTTP/1.1 200 OK\r\nETag: "a\r\n b\x85\x1b"\r\nContent-Length: 9\r\n\r\nabc',
    b"HTTP/1.1 302 \r\nLocation: \xff\x00\x1b[2J\r\n\r\n", b"HTTP/1.1 416 \r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"HTTP/1.1 503 \r\nRetry-After:\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("reply", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_garbage_is_an_error_of_ours(disc, tmp_path, reply):
    def answer(handler):
        handler.wfile.write(reply)

    with serving(answer) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, Outside(attempts=3))
    assert error.code is ExitCode.MEDIA
    assert error.what.isprintable()
    assert not (tmp_path / "d.iso").exists()
    del error
    gc.collect()  # urllib3 drops the socket of an answer whose lengths differ


def test_secrets_of_the_address_stay_secret(disc, tmp_path):
    outside = Outside(attempts=2)
    with serving(refuse(503), refuse(404)) as server:
        url = server.url.replace("//", "//bob:hunter22@") + "?token=geheim77"
        error = error_of(fetched, url, tmp_path / "d.iso", disc, outside)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = f"http://bob:hunter22@127.0.0.1:{port}/x?token=geheim77"
    lost = error_of(fetched, gone, tmp_path / "d.iso", disc, outside)
    odd = error_of(fetched, "http://bob:hunter22@/x", tmp_path / "d.iso", disc, outside)
    said = " ".join(
        [odd.what, odd.hint, error.what, error.hint, lost.what, lost.hint, *outside.notes]
    )
    assert "hunter22" not in said
    assert "geheim77" not in said


def test_a_proxy_is_used(disc, tmp_path, monkeypatch):
    with serving(give(disc)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        fetched("http://mirror.invalid/d.iso", tmp_path / "d.iso", disc)
    assert proxy.seen[0][0] == "http://mirror.invalid/d.iso"


def test_existing_files_are_not_touched(disc, tmp_path):
    target = tmp_path / "d.iso"
    target.write_bytes(b"mine")
    with serving(give(disc)) as server:
        assert error_of(fetched, server.url, target, disc).code is ExitCode.UNSAFE
        assert target.read_bytes() == b"mine"
        fetched(server.url, target, disc, force=True)
    assert target.read_bytes() == disc
    assert len(server.seen) == 1  # the refused download was complete and was taken up


def test_two_at_once_and_planted_links(disc, tmp_path):
    part = tmp_path / ".d.iso.part"
    with serving(give(disc)) as server:
        with part.open("wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert "another winseed" in error_of(fetched, server.url, tmp_path / "d.iso", disc).what
        part.unlink()
        (tmp_path / "victim").write_bytes(b"mine")
        part.symlink_to(tmp_path / "victim")
        assert error_of(fetched, server.url, tmp_path / "d.iso", disc).code is ExitCode.MEDIA
        gone = error_of(fetched, server.url, tmp_path / "no" / "d.iso", disc)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert "No such file" in gone.what


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "winseed-test", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount (package mount)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(disc, small_disk):
    with serving(give(disc)) as server:
        error = error_of(fetched, server.url, small_disk / "d.iso", disc)
        assert re.search(r"0\.4 MB free, 1\.1 MB are needed", error.what)
        assert names(small_disk) == []
        server.script[:] = [unmeasured(disc)]
        error = error_of(fetched, server.url, small_disk / "d.iso", disc)
    assert "No space left on device" in error.what
    assert not (small_disk / "d.iso").exists()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A key and a self-signed certificate for 127.0.0.1, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "winseed test")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(key.private_bytes(pem, *plain) + signed.public_bytes(pem))
    return path


def test_an_unknown_ca_is_named_with_its_way_out(disc, tmp_path, certificate):
    outside = Outside()
    with serving(give(disc), certificate=certificate) as server:
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, outside)
    assert "certificate is not trusted" in error.what
    assert "REQUESTS_CA_BUNDLE" in error.hint
    assert outside.pauses == []
    assert names(tmp_path) == []


def test_a_ca_file_from_the_environment(disc, tmp_path, certificate, monkeypatch):
    with serving(give(disc), certificate=certificate) as server:
        fetched(server.url, tmp_path / "a.iso", disc, Outside(ca_file=str(certificate)))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        fetched(server.url, tmp_path / "b.iso", disc, Outside(ca_file="/nowhere"))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        error = error_of(fetched, server.url, tmp_path / "c.iso", disc)
    assert (tmp_path / "a.iso").read_bytes() == (tmp_path / "b.iso").read_bytes() == disc
    assert "/nowhere/ca.pem" in error.what
    assert "REQUESTS_CA_BUNDLE" in error.hint


def test_https_does_not_lead_to_http(disc, tmp_path, certificate):
    trusting = Outside(ca_file=str(certificate))
    with (
        serving(give(disc)) as plain,
        serving(refuse(302, Location=plain.url), certificate=certificate) as server,
    ):
        error = error_of(fetched, server.url, tmp_path / "d.iso", disc, trusting)
        assert "not encrypted" in error.what
        assert plain.seen == []
        plain.script[:] = [refuse(302, Location=server.url)]
        server.script[:] = [give(disc)]
        fetched(plain.url, tmp_path / "d.iso", disc, trusting)
    assert (tmp_path / "d.iso").read_bytes() == disc


def called(*arguments):
    fetch.command.main(args=["virtio-win", *map(str, arguments)], standalone_mode=False)


def test_the_verb_prints_json(disc, tmp_path, capsys):
    with serving(give(disc, cut=5000), give(disc)) as server:
        source = server.url.replace("0.1.271.iso", "9.9.9.iso")
        error = error_of(called, "--from", source, "-o", tmp_path, "--json")
        assert VOLUME in error.what
        server.script[:] = [give(disc.replace(VOLUME.encode(), b"virtio-win-9.9.999"))]
        source = server.url.replace("0.1.271.iso", "9.9.999.iso")
        called("--from", source, "-o", tmp_path, "--json")
    printed = capsys.readouterr()
    got = (tmp_path / "virtio-win-9.9.999.iso").read_bytes()
    assert json.loads(printed.out) == {
        "version": 1, "path": str(tmp_path / "virtio-win-9.9.999.iso"), "release": "9.9.999",
        "size": len(disc), "sha256": hashlib.sha256(got).hexdigest(), "verified": False,
        "resumed": False,
    }  # fmt: skip
    assert "no SHA-256 is known" in printed.err


def test_the_verb_leaves_other_files_alone(disc, tmp_path):
    target = tmp_path / "d.iso"
    target.write_bytes(disc)
    known = fetch.DriverDisc(release="1", revision=1, sha256=hashlib.sha256(disc).hexdigest())
    other = fetch.DriverDisc(release="1", revision=1, sha256="0" * 64)
    found = fetch.find_existing(target, known, force=False)
    assert found is not None
    assert found.verified
    assert error_of(fetch.find_existing, target, other, force=False).code is ExitCode.UNSAFE
    assert fetch.find_existing(target, other, force=True) is None
    assert error_of(called, "-o", target).code is ExitCode.UNSAFE
    assert error_of(called, "--from", "ftp://x/virtio-win-0.1.271.iso").code is ExitCode.SPEC
    assert error_of(called, "--from", "http://x/stable/virtio-win.iso").code is ExitCode.SPEC
    assert error_of(called, "--release", "latest").code is ExitCode.SPEC


def test_releases_and_addresses():
    archive = "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/archive-virtio/"
    named = {
        (None, None): "virtio-win-0.1.271-1/virtio-win-0.1.271.iso",
        ("0.1.262", None): "virtio-win-0.1.262-2/virtio-win-0.1.262.iso",
        ("0.1.217", None): "virtio-win-0.1.217-2/virtio-win-0.1.217.iso",
        ("0.1.262-1", None): "virtio-win-0.1.262-1/virtio-win-0.1.262.iso",
        ("0.1.999", None): "virtio-win-0.1.999-1/virtio-win-0.1.999.iso",
        (None, "https://m/virtio-win-0.1.217-1/virtio-win.iso"): (
            "virtio-win-0.1.217-1/virtio-win-0.1.217.iso"
        ),
    }
    for (release, source), path in named.items():
        assert fetch.choose_disc(release, source).url == archive + path
    assert fetch.choose_disc("0.1.262-1", None).sha256 is None
    assert len({disc.sha256 for disc in fetch.load_discs() if disc.sha256}) == 9
    for disc in fetch.load_discs():
        assert disc.sha256 is None or re.fullmatch("[0-9a-f]{64}", disc.sha256)
        assert disc.size is None or disc.size % 2048 == 0
