"""The reader of a serial port: what is heard, what ends it, what never gets out of it."""

import logging
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.proxmox import serial
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.proxmox.failures import Trouble
from builder.proxmox.serial import LineSplitter, SerialReader
from tests.pve.conftest import rights

VM = "/nodes/pve1/qemu/101"
QUICK = (0.01,) * 30


def open_api(pve, token, now=time.monotonic):
    told = load_token(f"{token.user}!{token.name}={token.value}", source="test")
    clock = Clock(now=now, pause=lambda _: time.sleep(0.001), jitter=lambda: 0.0)
    trust = CaFile(path=Path(pve.ca_file))
    return Api(make_connection(pve.url, told, trust), clock, timeout=(2.0, 2.0))


@pytest.fixture
def token(pve, release):
    return pve.token("watcher@pve", rights(release))


@pytest.fixture
def api(pve, token):
    return open_api(pve, token)


@pytest.fixture(autouse=True)
def short_beat(monkeypatch):
    monkeypatch.setattr(serial, "BEAT", 0.05)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        assert "serial port" not in thread.name


@pytest.fixture
def vm(pve, client):
    made = pve.add_vm(101, config={"name": "a", "serial0": "socket"})
    assert client.task(client.post(f"{VM}/status/start")) == "OK"
    return made


def wait_for(condition, seconds=8.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_heard(pve):
    return lambda: pve.guests[101].listeners != []


def texts(lines):
    return [line.text for line in lines]


# What is heard


def test_lines_come_with_their_time(pve, token, vm):
    moments = iter(range(1_000_000))
    api = open_api(pve, token, now=lambda: next(moments) / 1000)
    with SerialReader(api, "pve1", 101) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: phase=winpe id=1\r\nwinse")
        pve.guests[101].write_serial("ed: disk found\r\nnothing of ours\r\n")
        wait_for(lambda: len(reader.lines()) == 3)
        assert reader.trouble is None
        assert reader.listening
    first, second, third = reader.lines()
    assert (first.text, second.text) == ("winseed: phase=winpe id=1", "winseed: disk found")
    assert first.at < second.at < third.at
    assert texts(reader.markers()) == [first.text, second.text]
    (session,) = [one for one in pve.consoles.values() if one.kind == "term"]
    assert session.typed.strip(b"2") == b""  # nothing is ever typed
    assert not reader.listening


def test_the_last_lines_are_kept_and_every_marker(pve, api, vm):
    with SerialReader(api, "pve1", 101) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: phase=specialize\r\n")
        pve.guests[101].write_serial("".join(f"noise {number}\r\n" for number in range(1000)))
        wait_for(lambda: reader.lines()[-1:] and reader.lines()[-1].text == "noise 999")
        assert texts(reader.lines()) == [f"noise {number}" for number in range(800, 1000)]
        assert texts(reader.markers()) == ["winseed: phase=specialize"]


def test_a_line_without_an_end_comes_when_the_port_closes(pve, api, vm, client):
    with SerialReader(api, "pve1", 101, waits=QUICK) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: half")
        time.sleep(0.1)
        client.task(client.post(f"{VM}/status/stop"))
        wait_for(lambda: texts(reader.lines()) == ["winseed: half"])


def test_a_great_flood_takes_no_great_room(pve, api, vm):
    with SerialReader(api, "pve1", 101) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("x" * 2_000_000 + "\r\nwinseed: end\r\n")
        wait_for(reader.markers)
    assert len(reader.lines()) == serial.LINES
    assert max(len(line.text) for line in reader.lines()) == serial.LONGEST_LINE


# What happens to a port


def test_a_vm_that_stops_and_starts_is_found_again(pve, api, vm, client):
    with SerialReader(api, "pve1", 101, waits=QUICK * 10) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: one\r\n")
        wait_for(reader.lines)
        client.task(client.post(f"{VM}/status/stop"))
        wait_for(lambda: reader.trouble is not None)
        client.task(client.post(f"{VM}/status/start"))
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: two\r\n")
        wait_for(lambda: len(reader.lines()) == 2)
        assert reader.trouble is None
    assert texts(reader.lines()) == ["winseed: one", "winseed: two"]


def test_a_reader_may_come_before_the_vm_runs(pve, api, vm, client):
    client.task(client.post(f"{VM}/status/stop"))
    with SerialReader(api, "pve1", 101, waits=QUICK * 10) as reader:
        wait_for(lambda: reader.trouble is not None)
        client.task(client.post(f"{VM}/status/start"))
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: here\r\n")
        wait_for(reader.lines)
    assert texts(reader.lines()) == ["winseed: here"]  # not what the node says of a stopped VM


def test_tries_are_counted(pve, api, vm, client):
    client.task(client.post(f"{VM}/status/stop"))
    with SerialReader(api, "pve1", 101, waits=(0.01,) * 4) as reader:
        wait_for(lambda: not reader.listening)
    assert len([one for one in pve.requests if one.path.endswith("/termproxy")]) == 5
    assert reader.trouble


def test_tries_are_counted_however_long_it_takes(pve, token, vm, client, monkeypatch):
    """Even where every connection looks like a good one."""
    monkeypatch.setattr(serial, "STEADY", 0.0)
    monkeypatch.setattr(serial, "CONNECTIONS", 6)
    client.task(client.post(f"{VM}/status/stop"))
    with SerialReader(open_api(pve, token), "pve1", 101, waits=(0.01,)) as reader:
        wait_for(lambda: not reader.listening)
    assert len([one for one in pve.requests if one.path.endswith("/termproxy")]) == 6


def test_another_client_has_the_port(pve, api, vm):
    with SerialReader(api, "pve1", 101) as first:
        wait_for(is_heard(pve))
        with SerialReader(api, "pve1", 101) as second:
            wait_for(lambda: len(pve.guests[101].listeners) == 2)
            pve.guests[101].write_serial("winseed: one\r\n")
            wait_for(first.lines)
            first.close()
            wait_for(lambda: len(pve.guests[101].listeners) == 1)
            pve.guests[101].write_serial("winseed: two\r\n")
            wait_for(second.lines)
    assert (texts(first.lines()), texts(second.lines())) == (["winseed: one"], ["winseed: two"])


def test_signs_of_life_keep_it_open(pve, api, vm, monkeypatch):
    monkeypatch.setattr(serial, "PING", 0.05)
    with SerialReader(api, "pve1", 101):
        wait_for(lambda: any(one.typed.count(b"2") > 2 for one in pve.consoles.values()))


# What ends it


def test_without_the_right_it_ends_at_once(pve, vm):
    poor = open_api(pve, pve.token("n@pve", ["VM.Audit"]))
    with SerialReader(poor, "pve1", 101, waits=QUICK) as reader:
        wait_for(lambda: not reader.listening)
    assert reader.trouble.trouble is Trouble.FORBIDDEN
    assert reader.trouble.privileges == ("VM.Console",)
    assert len([one for one in pve.requests if one.path.endswith("/termproxy")]) == 1


def test_only_the_console_right_is_needed(pve, vm):
    with SerialReader(open_api(pve, pve.token("e@pve", ["VM.Console"])), "pve1", 101) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: seen\n")
        wait_for(reader.lines)


def test_a_vm_without_a_port_is_told(pve, api, client):
    pve.add_vm(101, config={"name": "a"})
    client.task(client.post(f"{VM}/status/start"))
    with SerialReader(api, "pve1", 101, waits=QUICK) as reader:
        wait_for(lambda: not reader.listening)
    assert reader.trouble.trouble is Trouble.MISSING
    assert "serial0' is not configured" in reader.trouble.what
    assert reader.lines() == ()


def test_a_node_that_takes_no_tokens_is_told(pve, api, vm):
    """qemu-server before 8.4.8 and 9.1.8: termproxy hangs up instead of `OK`."""
    pve.termproxy_takes_tokens = False
    with SerialReader(api, "pve1", 101, waits=QUICK) as reader:
        wait_for(lambda: not reader.listening)
    assert reader.trouble.trouble is Trouble.REFUSED
    assert "9.1.8" in reader.trouble.hint
    assert len([one for one in pve.requests if one.path.endswith("/termproxy")]) == 3


@pytest.mark.parametrize("answer", ["cut", b"NO", b"HTTP/1.1 500\r\n"])
@pytest.mark.parametrize("stage", ["welcome", "upgrade"])
def test_what_breaks_is_tried_again(pve, api, vm, stage, answer):
    pve.faults.fail_console(stage, answer)
    with SerialReader(api, "pve1", 101, waits=(0.5,) * 30) as reader:
        wait_for(lambda: reader.trouble is not None)
        pve.faults.clear()
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: at last\r\n")
        wait_for(reader.lines)


def test_calls_that_fail_are_tried_again(pve, api, vm):
    for answer in ("drop", "stall", 596, 500):
        pve.faults.fail("POST */termproxy", answer=answer)
    with SerialReader(api, "pve1", 101, waits=QUICK) as reader:
        wait_for(is_heard(pve))
        pve.guests[101].write_serial("winseed: at last\r\n")
        wait_for(reader.lines)


def test_closing_does_not_wait_for_silence(pve, api, vm):
    pve.faults.fail_console("welcome", "stall")
    reader = SerialReader(api, "pve1", 101)
    with reader:
        wait_for(lambda: pve.consoles and next(iter(pve.consoles.values())).taken)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    reader.close()  # twice does no harm


def test_a_reader_that_was_never_opened_closes(api):
    SerialReader(api, "pve1", 101).close()


def test_nothing_gets_out_of_the_thread(pve, api, vm, monkeypatch):
    def explode(*_args, **_named):
        raise RuntimeError("a bug, with a s3cret")

    monkeypatch.setattr(serial, "open_channel", explode)
    with SerialReader(api, "pve1", 101, waits=(0.01,)) as reader:
        wait_for(lambda: not reader.listening)
    assert "RuntimeError" in reader.trouble.what
    assert "s3cret" not in reader.trouble.what


def test_no_secret_is_told(pve, api, token, vm, caplog):
    caplog.set_level(logging.DEBUG)
    told = []
    for stage in ("welcome", "upgrade"):
        pve.faults.clear()
        pve.faults.fail_console(stage, "cut")
        with SerialReader(api, "pve1", 101, waits=(0.01,)) as reader:
            wait_for(lambda: not reader.listening)
        told += [
            reader.trouble.what,
            reader.trouble.hint,
            repr(vars(reader)),
            *texts(reader.lines()),
        ]
    told.append(caplog.text)
    for secret in (token.value, *pve.consoles):
        assert not [text for text in told if secret in text]


# Lines


@pytest.fixture(scope="module")
def short_line():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serial, "LONGEST_LINE", 7)
        yield


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\r\nc\rd\n", ["a", "b", "c", "d"]),
        (b"\x1b[2J\x1b[01;01HBdsDxe: loading \x1b[0mBoot0001\r\n", ["BdsDxe: loading Boot0001"]),
        (b"\x1b(B\x1b=winseed: x\n", ["winseed: x"]),
        (b"\n\r\n \n", []),
        (b"Gr\x94\xe1e\n", [r"Gr\x94\xe1e"]),
        ("Größe\n".encode(), ["Größe"]),
        (b"a\x00\x07b\n", ["a  b"]),
    ],
)
def test_lines(content, expected):
    assert LineSplitter().feed(content) == expected
    apart = LineSplitter()
    assert [line for byte in content for line in apart.feed(bytes([byte]))] == expected


@given(st.lists(st.text("ab\r\n\x1b[0m", max_size=30).map(str.encode) | st.binary(max_size=9)))
def test_no_line_is_lost_or_made_by_where_it_is_cut(short_line, pieces):
    whole, apart = LineSplitter(), LineSplitter()
    content = b"".join(pieces)
    expected = whole.feed(content) + whole.flush()
    found = [line for piece in pieces for line in apart.feed(piece)] + apart.flush()
    assert found == expected
    assert all(line.isprintable() and line for line in found)
