"""`winseed serve` over real sockets: what it gives, what it keeps, what it says."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from builder.errors import ExitCode, WinseedError
from builder.serve import TreeServer, load_tree
from tests.command import clean_environment, command_line, winseed

BIG = bytes(range(256)) * 4096
MAC = "bc-24-11-00-00-01"


def make_tree(folder: Path) -> Path:
    files = {
        "http/boot.ipxe": b"#!ipxe\n",
        f"http/boot/{MAC}.ipxe": b"#!ipxe\nkernel\n",
        "http/wimboot": b"MZ",
        "http/media/x/boot.wim": BIG,
        "http/secret/login.cmd": b"hidden",
        "http/.hidden": b"hidden",
        "http/private.txt": b"hidden",
        "http/empty": b"",
        "outside.txt": b"hidden",
        "share/hosts/a/autounattend.xml": b"hidden",
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name in ("http/secret/login.cmd", "http/private.txt"):
        (folder / name).chmod(0o600)
    (folder / "http/link").symlink_to(folder / "outside.txt")
    (folder / "http/folder-link").symlink_to(folder / "share")
    os.mkfifo(folder / "http/pipe")
    rows = [{"path": "wimboot", "size": 2}, {"path": "media/x/boot.wim", "size": len(BIG)}]
    host = {"host": "a1", "fingerprint": "0", "macs": [MAC], "fetches": rows}
    document = {"version": 1, "kind": "ipxe", "root": "http", "secret": "secret", "hosts": [host]}
    (folder / "handoff.json").write_text(json.dumps(document))
    return folder


@contextlib.contextmanager
def serving(folder: Path, *, expose_secrets: bool = False):
    told: list = []
    server = TreeServer(
        ("127.0.0.1", 0), load_tree(folder), expose_secrets=expose_secrets, tell=told.append
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1], told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(port: int, path: str, *, method: str = "GET", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.getheaders())
    finally:
        connection.close()


@pytest.fixture
def tree(tmp_path):
    return make_tree(tmp_path / "out")


def test_files_whole_and_in_parts(tree):
    with serving(tree) as (port, _):
        assert ask(port, "/boot.ipxe")[:2] == (200, b"#!ipxe\n")
        assert ask(port, "/media/x/boot.wim")[:2] == (200, BIG)
        assert ask(port, "/media/x/boot.wim?x=1")[0] == 200
        status, body, headers = ask(port, "/media/x/boot.wim", Range="bytes=1000-1999")
        assert (status, body) == (206, BIG[1000:2000])
        assert headers["Content-Range"] == f"bytes 1000-1999/{len(BIG)}"
        assert ask(port, "/media/x/boot.wim", Range="bytes=-5")[:2] == (206, BIG[-5:])
        at_end = f"bytes={len(BIG) - 3}-"
        assert ask(port, "/media/x/boot.wim", Range=at_end)[:2] == (206, BIG[-3:])
        assert ask(port, "/media/x/boot.wim", Range=f"bytes={len(BIG)}-")[:2] == (416, b"")
        assert ask(port, "/media/x/boot.wim", Range="bytes=-0")[0] == 416
        for ignored in ("bytes=5-1", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=a-b"):
            assert ask(port, "/wimboot", Range=ignored)[:2] == (200, b"MZ")
        assert ask(port, "/empty")[:2] == (200, b"")
        assert ask(port, "/empty", Range="bytes=0-")[0] == 416
        status, body, headers = ask(port, "/wimboot", method="HEAD")
        assert (status, body, headers["Content-Length"]) == (200, b"", "2")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/boot/",
        "/boot",
        "/media/x",
        "/missing",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/boot/../wimboot",
        "/boot/..%2f..%2foutside.txt",
        "//outside.txt",
        "/.hidden",
        "/link",
        "/folder-link/hosts/a/autounattend.xml",
        "/pipe",
        "/boot\\..\\wimboot",
        "/wimboot%00",
        "/wimboot%0a",
        "/" + "a" * 2000,
        "/" + "a/" * 400 + "b",
        "/secret/login.cmd",
        "/SECRET/login.cmd",
        "/secret%2flogin.cmd",
        "/private.txt",
        "http://127.0.0.1/secret/login.cmd",
    ],
)
def test_nothing_else_comes_out(tree, path):
    with serving(tree) as (port, _):
        status, body, _ = ask(port, path)
        assert status in {400, 404}
        assert b"hidden" not in body
        assert b"outside" not in body


def test_only_reading(tree):
    with serving(tree) as (port, _):
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
            assert ask(port, "/wimboot", method=method)[0] == 501
        assert (tree / "http/wimboot").read_bytes() == b"MZ"


def test_secrets_only_when_exposed(tree):
    with serving(tree, expose_secrets=True) as (port, _):
        assert ask(port, "/secret/login.cmd")[:2] == (200, b"hidden")
        assert ask(port, "/link")[0] == 404
        assert ask(port, "/../outside.txt")[0] == 404


def test_progress_is_told_by_host(tree):
    with serving(tree) as (port, told):
        ask(port, "/boot.ipxe")
        ask(port, f"/boot/{MAC}.ipxe")
        ask(port, "/wimboot")
        ask(port, "/media/x/boot.wim", Range="bytes=0-9")
        ask(port, "/missing")
    rows = [(one.host, one.path, one.status, one.sent, one.number, one.planned) for one in told]
    assert rows == [
        ("", "boot.ipxe", 200, 7, 0, 0),
        ("a1", f"boot/{MAC}.ipxe", 200, 14, 0, 2),
        ("a1", "wimboot", 200, 2, 1, 2),
        ("a1", "media/x/boot.wim", 206, 10, 2, 2),
        ("a1", "missing", 404, 0, 0, 2),
    ]


def test_a_slow_client_gets_everything(tree):
    """More than the buffers of both sides hold, read when the server has long been waiting."""
    large = bytes(range(251)) * 80_000
    (tree / "http/media/x/large.wim").write_bytes(large)
    with serving(tree) as (port, told), socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /media/x/large.wim HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        received = b""
        while data := client.recv(1 << 20):
            received += data
        assert received.partition(b"\r\n\r\n")[2] == large
    assert [one.sent for one in told] == [len(large)]


def test_a_client_that_goes_away_leaves_the_rest_served(tree):
    with serving(tree) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /media/x/boot.wim HTTP/1.1\r\nHost: x\r\n\r\n")
            client.recv(100)
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
            client.recv(100)
        assert ask(port, "/wimboot")[:2] == (200, b"MZ")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"kind": "wds"}', '{"kind": "ipxe"}'])
def test_only_trees_are_served(tmp_path, text):
    if text:
        (tmp_path / "handoff.json").write_text(text)
    with pytest.raises(WinseedError) as caught:
        load_tree(tmp_path)
    assert caught.value.code is ExitCode.SPEC


@pytest.mark.parametrize("address", ["8080", "localhost:80", "127.0.0.1:99999", "999.1.1.1:80", ""])
def test_addresses_that_are_none(tree, capsys, address):
    done = winseed(capsys, "serve", tree, "--listen", address)
    assert done.code == ExitCode.SPEC
    assert "is no ADDRESS:PORT" in done.err


def test_a_port_that_is_taken(tree, capsys):
    with serving(tree) as (port, _):
        done = winseed(capsys, "serve", tree, "--listen", f"127.0.0.1:{port}")
    assert done.code == ExitCode.SPEC
    assert "cannot listen" in done.err


def test_the_verb_says_where_and_ends_with_ctrl_c(tree):
    with subprocess.Popen(
        command_line("serve", tree, "--listen", "127.0.0.1:0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    ) as process:
        address = process.stdout.readline()
        port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/boot\.ipxe\n", address)[1])
        assert ask(port, f"/boot/{MAC}.ipxe")[0] == 200
        assert ask(port, "/media/x/boot.wim")[0] == 200
        assert ask(port, "/secret/login.cmd")[0] == 404
        # a request is told when it is answered, so a little after its answer
        lines = [process.stderr.readline().rstrip() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0
    lines.sort(key=lambda line: (" 404" in line, "2/2" in line))
    assert lines[0].startswith(f"a1 boot/{MAC}.ipxe 14 bytes")
    assert lines[1].startswith("a1 2/2 media/x/boot.wim 1.0 MB")
    assert lines[2] == "a1 secret/login.cmd 404"


def test_only_loopback_by_default_and_a_word_for_more(tree):
    from builder.cli.serve import command

    (listen,) = [option for option in command.params if option.name == "listen"]
    assert listen.default.startswith("127.0.0.1:")
    with subprocess.Popen(
        command_line("serve", tree, "--listen", "0.0.0.0:0", "--expose-secrets"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert "served to everybody who reaches 0.0.0.0" in err
    assert "this server is for a lab" in err
