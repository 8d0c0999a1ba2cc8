"""The console: a picture through vncwebsocket, text of the serial port through termproxy."""

import base64
import os
import socket
import ssl
import struct
import urllib.parse

import pytest

from tests.pve.browser import Client
from tests.pve.conftest import rights
from tests.pve.console import vnc_response

VM = "/nodes/pve1/qemu/101"


class Socket:
    """A bare WebSocket client over TLS."""

    def __init__(self, pve, client, found):
        context = ssl.create_default_context(cafile=pve.ca_file)
        plain = socket.create_connection(("127.0.0.1", pve.port), timeout=5)
        self.tls = context.wrap_socket(plain, server_hostname="127.0.0.1")
        query = urllib.parse.urlencode({"port": found["port"], "vncticket": found["ticket"]})
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET /api2/json{VM}/vncwebsocket?{query} HTTP/1.1",
            "Host: pve1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: binary",
            f"Sec-WebSocket-Key: {key}",
            f"Authorization: {client.session.headers['Authorization']}",
        ]
        self.tls.sendall("\r\n".join([*lines, "", ""]).encode())
        self.raw = self.plain = b""
        while b"\r\n\r\n" not in self.raw:
            self.raw += self.tls.recv(4096)
        head, _, self.raw = self.raw.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])

    def send(self, content):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(content))
        self.tls.sendall(struct.pack(">BB", 0x82, 0x80 | len(content)) + mask + masked)

    def take(self, size):
        while len(self.raw) < size:
            more = self.tls.recv(65536)
            if not more:
                raise EOFError
            self.raw += more
        found, self.raw = self.raw[:size], self.raw[size:]
        return found

    def read(self, size):
        while len(self.plain) < size:
            length = self.take(2)[1]
            if length > 125:
                length = int.from_bytes(self.take(2 if length == 126 else 8))
            self.plain += self.take(length)
        found, self.plain = self.plain[:size], self.plain[size:]
        return found


@pytest.fixture
def vm(pve, client):
    made = pve.add_vm(101, config={"name": "a", "serial0": "socket"})
    assert client.task(client.post(f"{VM}/status/start")) == "OK"
    return made


def proxy(client, kind, **sent):
    return client.post(f"{VM}/{kind}", **sent).json()["data"]


def test_a_picture_of_the_screen(pve, client, vm):
    found = proxy(client, "vncproxy", websocket=1, **{"generate-password": 1})
    console = Socket(pve, client, found)
    assert console.status == 101
    assert console.read(12) == b"RFB 003.008\n"
    console.send(b"RFB 003.008\n")
    assert console.read(2) == b"\x01\x02"
    console.send(b"\x02")
    console.send(vnc_response(console.read(16), found["password"]))
    assert console.read(4) == bytes(4)
    console.send(b"\x01")
    width, height = struct.unpack(">HH", console.read(4))
    console.read(16)
    assert console.read(int.from_bytes(console.read(4))) == b"QEMU (101)"
    console.send(struct.pack(">BxHi", 2, 1, 0))
    console.send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
    assert console.read(4) == struct.pack(">BxH", 0, 2)  # two halves
    for top in (0, height // 2):
        assert console.read(12) == struct.pack(">HHHHi", 0, top, width, height // 2, 0)
        assert len(console.read(width * height * 2)) == width * height * 2
    console.tls.close()


def test_the_response_is_des_with_the_bits_of_the_key_reversed():
    # openssl enc -des-ecb -K c2f2ea0000000000 -nopad, of sixteen zero bytes
    assert vnc_response(bytes(16), "COW").hex() == "ceea96bcc9fda78b" * 2


def test_a_wrong_password_ends_it(pve, client, vm):
    found = proxy(client, "vncproxy", websocket=1, **{"generate-password": 1})
    console = Socket(pve, client, found)
    console.read(12)
    console.send(b"RFB 003.008\n")
    console.read(2)
    console.send(b"\x02")
    console.send(vnc_response(console.read(16), "wrong"))
    assert console.read(4) == b"\x00\x00\x00\x01"
    console.tls.close()


def test_serial_text_is_heard_only_while_listening(pve, client, vm):
    pve.guests[101].write_serial("lost\n")
    found = proxy(client, "termproxy", serial="serial0")
    console = Socket(pve, client, found)
    console.send(f"{found['user']}:{found['ticket']}\n".encode())
    assert console.read(2) == b"OK"
    assert console.read(47) == b"starting serial terminal on interface serial0\r\n"
    pve.guests[101].write_serial("winseed: disk found\n")
    assert console.read(20) == b"winseed: disk found\n"
    console.tls.close()


def test_a_ticket_of_somebody_else_opens_nothing(pve, client, vm, release):
    found = proxy(client, "vncproxy", websocket=1)
    stranger = Client(pve, pve.token("s@pve", rights(release)))
    console = Socket(pve, stranger, found)
    assert console.status == 401
    console.tls.close()
    refused = Client(pve, pve.token("n@pve", ["VM.Audit"])).post(f"{VM}/vncproxy", websocket=1)
    assert refused.status_code == 403
