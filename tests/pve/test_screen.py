"""Screenshots through a strict server: what is asked, what is refused, what ends in time."""

import dataclasses
import functools
import logging
import ssl
import struct
import time
from pathlib import Path

import pytest

from builder.proxmox.api import Api
from builder.proxmox.connection import (
    CaFile,
    Clock,
    Pinned,
    SystemTrust,
    load_token,
    make_connection,
)
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.rfb import make_response, read_screen
from builder.proxmox.screen import take_screenshot
from builder.proxmox.websocket import make_proxy, open_channel
from builder.values import Secret
from tests.pve.authority import the_authority
from tests.pve.conftest import rights

VM = "/nodes/pve1/qemu/101"
WIDTH, HEIGHT = 70, 50


def open_api(pve, token, *, trust=None):
    told = load_token(f"{token.user}!{token.name}={token.value}", source="test")
    trust = trust or CaFile(path=Path(pve.ca_file))
    clock = Clock(now=time.monotonic, pause=time.sleep, jitter=lambda: 0.0)
    return Api(make_connection(pve.url, told, trust), clock, timeout=(2.0, 2.0))


def pixel(x, y):
    """Red, green and blue that tell where they are."""
    return (x * 3 % 256, y * 5 % 256, (x + y) % 256)


def paint(width=WIDTH, height=HEIGHT):
    """What QEMU would send: blue, green, red, nothing."""
    points = ((x, y) for y in range(height) for x in range(width))
    return b"".join(bytes((*reversed(pixel(x, y)), 0)) for x, y in points)


@pytest.fixture
def token(pve, release):
    return pve.token("watcher@pve", rights(release))


@pytest.fixture
def api(pve, token):
    return open_api(pve, token)


@pytest.fixture
def vm(pve, client):
    made = pve.add_vm(101, config={"name": "a", "serial0": "socket"})
    assert client.task(client.post(f"{VM}/status/start")) == "OK"
    pve.guests[101].screen = lambda: (WIDTH, HEIGHT, paint())
    return made


def open_late(api, proxy):
    """Opens a channel that should not open."""
    with open_channel(api, "pve1", 101, proxy, until=api.clock.now() + 5):
        pytest.fail("it opened")


def refused(call):
    with pytest.raises(PveError) as caught:
        call()
    return caught.value


def test_every_pixel_comes(pve, api, vm):
    shot = take_screenshot(api, "pve1", 101)
    assert (shot.width, shot.height) == (WIDTH, HEIGHT)
    expected = b"".join(bytes(pixel(x, y)) for y in range(HEIGHT) for x in range(WIDTH))
    assert shot.pixels == expected
    (call,) = [seen for seen in pve.requests if seen.path == f"{VM}/vncproxy"]
    assert call.params == {"websocket": "1", "generate-password": "1"}


def test_large_pictures_come_in_many_frames(pve, api, vm):
    pve.guests[101].screen = lambda: (1280, 800, bytes((1, 2, 3, 0)) * (1280 * 800))
    shot = take_screenshot(api, "pve1", 101)
    assert shot.pixels == bytes((3, 2, 1)) * (1280 * 800)


def test_a_size_that_changes_between_two_messages(pve, api, vm):
    sizes = iter([(32, 16), (64, 40), (64, 40), (64, 40)])

    def screen():
        width, height = next(sizes)
        return width, height, paint(width, height)

    pve.guests[101].screen = screen
    shot = take_screenshot(api, "pve1", 101)
    assert (shot.width, shot.height) == (64, 40)
    assert shot.pixels[:6] == bytes((*pixel(0, 0), *pixel(1, 0)))


def test_the_answer_to_a_challenge():
    # openssl enc -des-ecb -K c2f2ea0000000000 -nopad, of sixteen zero bytes
    assert make_response(bytes(16), Secret("COW")).hex() == "ceea96bcc9fda78b" * 2
    longer = make_response(bytes(16), Secret("12345678 and more"))
    assert longer == make_response(bytes(16), Secret("12345678"))


def test_who_looks_already_keeps_looking(pve, api, vm):
    until = time.monotonic() + 5
    seen = []
    proxy = make_proxy(api, "pve1", 101, "vncproxy", {"websocket": True})
    with open_channel(api, "pve1", 101, proxy, until=until) as channel:

        class Wire:
            heard = b""

            def read(self, size):
                while len(self.heard) < size:
                    self.heard += channel.poll(until=until)
                found, self.heard = self.heard[:size], self.heard[size:]
                return found

            def send(self, content):
                channel.send(content, until=until)

        wire = Wire()
        seen.append(read_screen(wire, proxy.password))
        take_screenshot(api, "pve1", 101)
        wire.send(struct.pack(">BBHHHH", 3, 0, 0, 0, WIDTH, HEIGHT))
        assert wire.read(4) == struct.pack(">BxH", 0, 2)


def test_only_the_console_right_is_needed(pve, vm):
    allowed = pve.token("eyes@pve", ["VM.Console"])
    assert take_screenshot(open_api(pve, allowed), "pve1", 101).width == WIDTH
    error = refused(
        lambda: take_screenshot(open_api(pve, pve.token("n@pve", ["VM.Audit"])), "pve1", 101)
    )
    assert error.trouble is Trouble.FORBIDDEN
    assert error.privileges == ("VM.Console",)


def test_a_stopped_vm_has_no_screen(pve, api, vm, client):
    client.task(client.post(f"{VM}/status/stop"))
    error = refused(lambda: take_screenshot(api, "pve1", 101))
    assert error.trouble is Trouble.UNKNOWN
    assert "does the VM run?" in error.hint


def test_an_old_node_takes_the_ticket_for_a_password(pve, api, vm, monkeypatch):
    """Before `generate-password` the ticket was the password, and DES reads its first 8 bytes."""
    old_password = pve.guests[101].set_vnc_password
    monkeypatch.setattr(
        pve.guests[101],
        "set_vnc_password",
        lambda password: old_password(next(iter(pve.consoles))),
    )
    assert take_screenshot(api, "pve1", 101).width == WIDTH


@pytest.mark.parametrize(
    "stage", ["upgrade", "version", "security", "challenge", "result", "init", "update", "pixels"]
)
def test_a_connection_that_breaks(pve, api, vm, stage):
    pve.faults.fail_console(stage, "cut")
    error = refused(lambda: take_screenshot(api, "pve1", 101))
    assert error.trouble is Trouble.UNKNOWN
    pve.faults.clear()
    assert take_screenshot(api, "pve1", 101).width == WIDTH


@pytest.mark.parametrize("stage", ["upgrade", "version", "result", "update", "pixels"])
def test_silence_ends(pve, api, vm, stage, monkeypatch):
    monkeypatch.setattr("builder.proxmox.screen.TIME", 0.3)
    pve.faults.fail_console(stage, "stall")
    began = time.monotonic()
    error = refused(lambda: take_screenshot(api, "pve1", 101))
    assert error.trouble is Trouble.UNKNOWN
    assert time.monotonic() - began < 3


WRONG = {
    "a web server": ("version", b"HTTP/1.1 400 Bad Request\r\n"),
    "no security": ("security", b"\x00\x00\x00\x00\x04gone"),
    "no password": ("security", b"\x01\x01"),
    "too wide": ("init", struct.pack(">HH", 5000, 100) + bytes(16) + struct.pack(">I", 0)),
    "no screen": ("init", struct.pack(">HH", 0, 100) + bytes(16) + struct.pack(">I", 0)),
    "a long name": ("init", struct.pack(">HH", 70, 50) + bytes(16) + struct.pack(">I", 1 << 31)),
    "an encoding": ("update", struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 7)),
    "outside": ("update", struct.pack(">BxHHHHHi", 0, 1, 8, 0, WIDTH, HEIGHT, 0)),
    "a message": ("update", b"\xc8"),
    "a long text": ("update", b"\x03\0\0\0" + struct.pack(">I", 1 << 31)),
    "never whole": ("update", struct.pack(">BxH", 0, 0) * 40),
    "ever larger": ("update", struct.pack(">BxHHHHHi", 0, 1, 0, 0, 9, 9, -223) * 40),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_rfb_is_refused(pve, api, vm, name):
    stage, content = WRONG[name]
    pve.faults.fail_console(stage, content)
    error = refused(lambda: take_screenshot(api, "pve1", 101))
    expected = Trouble.REFUSED if name == "no security" else Trouble.MALFORMED
    # after each change of size we ask again, and may see first that the server has hung up
    gone = {Trouble.UNKNOWN} if name == "ever larger" else set()
    assert error.trouble in {expected} | gone, error.what


def test_what_is_no_websocket_is_refused(pve, api, vm):
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Accept: bm8=\r\n\r\n",
        b"HTTP/1.1 403 Permission check failed (/vms/101, VM.Console)\r\nContent-Length: 0\r\n\r\n",
        b"\x00\x01garbage\r\n\r\n",
        b"HTTP/1.1 101 " + b"x" * 100_000,
    ):
        pve.faults.fail_console("upgrade", answer)
        error = refused(lambda: take_screenshot(api, "pve1", 101))
        assert (error.trouble is Trouble.FORBIDDEN) == (b" 403 " in answer)


def test_other_messages_are_passed_over(pve, api, vm):
    """A bell, colours of a palette, somebody's clipboard: before the picture."""
    before = b"\x02" + b"\x01\0" + struct.pack(">HH", 0, 2) + bytes(12)
    before += b"\x03\0\0\0" + struct.pack(">I", 5) + b"hello"
    pve.faults.fail_console("update", before + struct.pack(">BxHHHHHi", 0, 1, 0, 0, 70, 50, 0))
    pve.faults.fail_console("pixels", paint())
    shot = take_screenshot(api, "pve1", 101)
    assert shot.pixels[-3:] == bytes(pixel(WIDTH - 1, HEIGHT - 1))


def test_a_wrong_password(pve, api, vm):
    pve.guests[101].set_vnc_password = lambda password: None
    error = refused(lambda: take_screenshot(api, "pve1", 101))
    assert error.trouble is Trouble.REFUSED
    assert "Authentication failed" in error.what
    assert error.what.isprintable()


def test_a_port_serves_one_client(pve, api, vm):
    until = time.monotonic() + 5
    proxy = make_proxy(api, "pve1", 101, "vncproxy", {"websocket": True})
    with open_channel(api, "pve1", 101, proxy, until=until):
        error = refused(lambda: open_late(api, proxy))
    assert error.trouble is Trouble.UNKNOWN


def test_a_ticket_that_is_not_taken(pve, api, vm, release):
    proxy = make_proxy(api, "pve1", 101, "vncproxy", {"websocket": True})
    stranger = open_api(pve, pve.token("s@pve", rights(release)))
    error = refused(lambda: open_late(stranger, proxy))
    assert error.trouble is Trouble.REFUSED  # not the token: that one was good a moment ago


# Trust


def test_the_server_is_proved_before_the_token_is_sent(pve, token, vm):
    _, pin = the_authority().certify("pve1", "127.0.0.1")
    good = open_api(pve, token, trust=Pinned(fingerprint=pin))
    assert take_screenshot(good, "pve1", 101).width == WIDTH
    proxy = make_proxy(good, "pve1", 101, "vncproxy", {"websocket": True})
    before = len(pve.requests)
    for trust in (Pinned(fingerprint=":".join(["AB"] * 32)), SystemTrust()):
        wrong = open_api(pve, token, trust=trust)
        error = refused(functools.partial(open_late, wrong, proxy))
        assert error.trouble is Trouble.UNTRUSTED
    assert len(pve.requests) == before


def test_a_certificate_for_another_name_or_of_nobody(pve, token, vm, tmp_path, monkeypatch):
    good = open_api(pve, token)
    proxy = make_proxy(good, "pve1", 101, "vncproxy", {"websocket": True})
    own = tmp_path / "ca.pem"
    own.write_bytes(Path(pve.ca_file).read_bytes())
    lost = open_api(pve, token, trust=CaFile(path=own))
    own.unlink()
    assert refused(lambda: open_late(lost, proxy)).trouble is Trouble.UNTRUSTED
    pem, _ = the_authority().certify("elsewhere", "127.0.0.77")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    for front in pve._fronts:
        monkeypatch.setattr(front, "context", context)
    named = dataclasses.replace(good.connection, host="127.0.0.1")
    other = Api(named, good.clock, timeout=(2.0, 2.0))
    assert refused(lambda: open_late(other, proxy)).trouble is Trouble.UNTRUSTED


def test_a_server_that_is_gone(pve, api, vm):
    proxy = make_proxy(api, "pve1", 101, "vncproxy", {"websocket": True})
    pve.nodes["pve1"].online = False
    error = refused(lambda: open_late(api, proxy))
    assert error.trouble is Trouble.UNREACHABLE


# Secrets


def test_no_secret_is_told(pve, token, vm, caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "builder.proxmox.websocket.frames"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    told = []
    for stage in ("upgrade", "version", "challenge", "result", "pixels"):
        pve.faults.clear()
        pve.faults.fail_console(stage, "cut")
        error = refused(lambda: take_screenshot(open_api(pve, token), "pve1", 101))
        told += [error.what, error.hint, repr(error), repr(error.__context__)]
    proxy = make_proxy(open_api(pve, token), "pve1", 101, "vncproxy", {"websocket": True})
    told += [repr(proxy), caplog.text]
    secrets = [token.value, *pve.consoles, *(one.password for one in pve.consoles.values())]
    secrets += [ticket.partition("PVEVNC:")[2] for ticket in pve.consoles]
    for secret in filter(None, secrets):
        assert not [text for text in told if secret in text]


def test_a_server_that_quotes_the_request(pve, api, token, vm):
    answer = f"HTTP/1.1 400 no {token.value}\r\nContent-Length: 0\r\n\r\n"
    pve.faults.fail_console("upgrade", answer.encode())
    assert token.value not in refused(lambda: take_screenshot(api, "pve1", 101)).what
