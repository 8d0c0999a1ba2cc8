"""Screen and serial port of a real QEMU, through the strict server.

QEMU's own VNC server and its own screendump judge the screenshots, netpbm and pngcheck the PNG.
The machine is a boot sector: it writes a line to COM1 every half second, and at a key it shows
the colours of VGA's mode 13h.
"""

import json
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from builder.install.screen import ScreenKind, classify
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.rfb import read_screen
from builder.proxmox.screen import render_png, take_screenshot
from builder.proxmox.serial import SerialReader
from builder.proxmox.websocket import make_proxy, open_channel
from tests.pve.cluster import FakeCluster
from tests.pve.guest import Guest

LINE = "winseed: phase=winpe"
PROGRAM = bytes.fromhex(
    "31c08ed8be0000"  # again: si = the text (put in below)
    "ac84c07412"  # next letter; at the end go on
    "88c3bafd03eca82074f8"  # until the port is free
    "88d8baf803eeebe9"  # write it
    "b90900fbf4e2fc"  # nine ticks
    "b401cd1674d9"  # no key: again
    "30e4cd16b81300cd10"  # a key: mode 13h
    "b800a08ec031ffb900fa30c0"
    "aafec0e2fb"  # every colour of the palette, until the screen is full
    "ebbd"  # again
)


def boot_sector() -> bytes:
    code = bytearray(PROGRAM)
    struct.pack_into("<H", code, 5, 0x7C00 + len(code))
    return (bytes(code) + f"{LINE}\r\n\0".encode()).ljust(510, b"\0") + b"\x55\xaa"


class Qemu(Guest):
    """A guest that is one."""

    def __init__(self, vm, folder: Path):
        super().__init__(vm)
        self.folder = folder
        floppy = folder / "floppy.img"
        floppy.write_bytes(boot_sector().ljust(65536, b"\0"))
        self.process = subprocess.Popen(
            [
                "qemu-system-x86_64", "-machine", "pc,accel=tcg", "-m", "16", "-nodefaults",
                "-vga", "std", "-drive", f"file={floppy},format=raw,if=floppy",
                "-vnc", f"unix:{folder}/vnc,password=on",
                "-serial", f"unix:{folder}/serial,server=on,wait=off",
                "-qmp", f"unix:{folder}/qmp,server=on,wait=off",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.qmp = socket.socket(socket.AF_UNIX)
        self.qmp.settimeout(10)
        for _ in range(100):
            if (folder / "qmp").exists() and (folder / "vnc").exists():
                break
            time.sleep(0.05)
        self.qmp.connect(str(folder / "qmp"))
        self.reader = self.qmp.makefile()
        self.reader.readline()
        self.do("qmp_capabilities")

    def do(self, name, **arguments):
        self.qmp.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.reader.readline())
            if "event" not in answer:
                assert "error" not in answer, answer
                return answer["return"]

    def set_vnc_password(self, password):
        self.do("set_password", protocol="vnc", password=password)
        self.do("expire_password", protocol="vnc", time="+30")

    def socket_of(self, kind):
        return self.folder / kind

    def dump(self):
        """The picture as QEMU itself writes it: width, height, RGB."""
        path = self.folder / "dump.ppm"
        self.do("screendump", filename=str(path))
        kind, width, height, depth, pixels = path.read_bytes().split(maxsplit=4)
        if len(pixels) != 3 * int(width) * int(height):  # a first pixel that looks like a blank
            pixels = path.read_bytes()[-3 * int(width) * int(height) :]
        assert (kind, depth) == (b"P6", b"255")
        return int(width), int(height), pixels

    def press(self, key):
        self.do("send-key", keys=[{"type": "qcode", "data": key}])

    def end(self):
        self.reader.close()
        self.qmp.close()
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def site(tmp_path):
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("qemu-system-x86_64 is missing: apt install qemu-system-x86")
    with FakeCluster(release="9.2") as pve:
        token = pve.token("eyes@pve", {"VM.Console"})
        vm = pve.add_vm(101, config={"name": "a", "serial0": "socket"})
        pve.guests[101] = guest = Qemu(vm, tmp_path)
        told = load_token(f"{token.user}!{token.name}={token.value}", source="test")
        clock = Clock(now=time.monotonic, pause=time.sleep, jitter=lambda: 0.0)
        trust = CaFile(path=Path(pve.ca_file))
        try:
            yield pve, Api(make_connection(pve.url, told, trust), clock), guest
        finally:
            pve.guests.pop(101, None)
            guest.end()


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def show_colours(guest):
    guest.press("ret")
    wait_for(lambda: len(set(guest.dump()[2])) > 12 and guest.dump() == guest.dump())


def test_the_picture_is_the_one_qemu_draws(site, tmp_path):
    _, api, guest = site
    with SerialReader(api, "pve1", 101) as reader:
        wait_for(reader.markers)
    guest.do("stop")  # or its cursor blinks between the two
    text = take_screenshot(api, "pve1", 101)
    assert (text.width, text.height, text.pixels) == guest.dump()
    assert classify(text) is ScreenKind.TEXT
    assert len(set(text.pixels)) < 12
    guest.do("cont")
    show_colours(guest)
    guest.do("stop")
    colours = take_screenshot(api, "pve1", 101)
    assert (colours.width, colours.height, colours.pixels) == guest.dump()
    assert (colours.width, colours.height) != (text.width, text.height)
    assert colours.pixels[::3] != colours.pixels[2::3]  # red is not blue
    assert classify(colours, text) is ScreenKind.UNKNOWN
    read_back(render_png(colours), colours, tmp_path)


def read_back(png, shot, folder):
    for tool, package in (("pngtopnm", "netpbm"), ("pngcheck", "pngcheck")):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is missing: apt install {package}")
    file = folder / "shot.png"
    file.write_bytes(png)
    judged = subprocess.run(["pngcheck", str(file)], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout
    assert f"{shot.width}x{shot.height}, 24-bit RGB" in judged.stdout
    ppm = subprocess.run(["pngtopnm", str(file)], capture_output=True, check=True).stdout
    assert ppm == f"P6\n{shot.width} {shot.height}\n255\n".encode() + shot.pixels


def test_a_screen_that_changes_its_size_while_we_look(site):
    _, api, guest = site
    with SerialReader(api, "pve1", 101) as reader:
        wait_for(reader.markers)
    until = time.monotonic() + 20
    proxy = make_proxy(api, "pve1", 101, "vncproxy", {"websocket": True})
    sizes = []
    with open_channel(api, "pve1", 101, proxy, until=until) as channel:

        class Wire:
            heard = b""

            def read(self, size):
                while len(self.heard) < size:
                    self.heard += channel.poll(until=until)
                found, self.heard = self.heard[:size], self.heard[size:]
                return found

            def send(self, content):
                if content[0] == 3 and not sizes:
                    sizes.append(struct.unpack(">HH", content[6:]))
                    show_colours(guest)
                    guest.do("stop")
                channel.send(content, until=until)

        shot = read_screen(Wire(), proxy.password)
    assert (shot.width, shot.height, shot.pixels) == guest.dump()
    assert sizes != [(shot.width, shot.height)]


def test_qemu_refuses_another_password(site, monkeypatch):
    _, api, guest = site
    right = guest.set_vnc_password
    monkeypatch.setattr(guest, "set_vnc_password", lambda _: right("another1"))
    with pytest.raises(PveError) as caught:
        take_screenshot(api, "pve1", 101)
    assert caught.value.trouble is Trouble.REFUSED
    assert "Authentication failed" in caught.value.what


def test_the_serial_port_has_one_listener(site):
    pve, api, guest = site
    with SerialReader(api, "pve1", 101) as first:
        wait_for(first.markers)
        with SerialReader(api, "pve1", 101) as second:
            count = len(first.markers())
            wait_for(lambda: len(first.markers()) > count + 1)
            assert second.lines() == ()
            first.close()
            wait_for(lambda: len(second.markers()) > 2)
            assert {line.text for line in second.markers()[1:]} == {LINE}
            guest.do("quit")
            pve.guests.pop(101)
            wait_for(lambda: second.trouble is not None)
            assert second.markers()
