"""What is seen of a domain from here. The messages are laid out by hand from RFC 1035, 2782 and
4511; servers on loopback answer with them."""

import contextlib
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.domain.change import outlook
from builder.domain.change.outlook import (
    inspect_locators,
    inspect_port,
    inspect_root,
    load_root,
    load_targets,
    make_query,
    make_search,
)

NAME = b"\x05_ldap\x04_tcp\x02dc\x06_msdcs\x02ad\x07example\x03com\0"
QUESTION = NAME + b"\0\x21\0\1"
HEAD = b"\x57\x53\x81\x80\0\1\0\2\0\0\0\0"
# the owner is a pointer to the question, the second target ends in a pointer into it
FIRST = b"\3DC2\2ad\7example\3com\0"
SECOND = b"\3dc1\xc0\x21"
RECORD = b"\xc0\x0c\0\x21\0\1\0\0\2\x58"


def record(target: bytes) -> bytes:
    content = b"\0\0\0\x64\1\x85" + target
    return RECORD + struct.pack(">H", len(content)) + content


ANSWER = HEAD + QUESTION + record(FIRST) + record(SECOND)


def test_the_question():
    assert make_query("_ldap._tcp.dc._msdcs.ad.example.com")[12:] == QUESTION
    assert make_query("a.b")[:12] == b"\x57\x53\1\0\0\1\0\0\0\0\0\0"


def test_the_targets():
    assert load_targets(ANSWER) == {"dc2.ad.example.com", "dc1.ad.example.com"}
    nobody = HEAD.replace(b"\x81\x80\0\1\0\2", b"\x81\x83\0\1\0\0") + QUESTION
    assert load_targets(nobody) == frozenset(), "NXDOMAIN is an answer"
    failed = nobody.replace(b"\x81\x83", b"\x81\x82")
    assert load_targets(failed) is None, "SERVFAIL is none"
    assert load_targets(ANSWER.replace(b"\x57\x53", b"\0\1", 1)) is None, "of another question"


def attribute(name: bytes, value: bytes) -> bytes:
    inner = b"\x04" + bytes([len(value)]) + value
    body = b"\x04" + bytes([len(name)]) + name + b"\x31" + bytes([len(inner)]) + inner
    return b"\x30" + bytes([len(body)]) + body


def entry(*attributes: bytes) -> bytes:
    listed = b"".join(attributes)
    body = b"\x04\0\x30\x84" + struct.pack(">I", len(listed)) + listed
    inner = b"\2\1\1\x64\x84" + struct.pack(">I", len(body)) + body
    return b"\x30\x84" + struct.pack(">I", len(inner)) + inner


ROOT = entry(
    attribute(b"dnsHostName", b"DC2.ad.example.com"),
    attribute(b"defaultNamingContext", b"DC=ad,DC=example,DC=com"),
)


def test_the_root():
    assert load_root(ROOT) == {
        "dnsHostName": "dc2.ad.example.com",
        "defaultNamingContext": "dc=ad,dc=example,dc=com",
    }
    assert load_root(b"\x30\x0c\2\1\1\x65\7\x0a\1\x35\4\0\4\0") is None, "a refusal is no entry"


def test_the_search_is_the_one_of_the_rfc():
    asked = make_search()
    assert asked[:6] == b"\x30" + bytes([len(asked) - 2]) + b"\2\1\1\x63"
    assert b"\x87\x0bobjectClass" in asked
    assert asked.count(b"\x04") >= 4


@given(st.binary(max_size=200), st.sampled_from([ANSWER, ROOT]), st.integers(0, 120))
def test_nothing_that_answers_is_more_than_an_answer(noise, good, cut):
    for text in (noise, good[:cut] + noise, good[:cut]):
        targets, root = load_targets(text), load_root(text)
        assert targets is None or all(isinstance(name, str) for name in targets)
        assert root is None or all(isinstance(value, str) for value in root.values())


@pytest.fixture
def ports(monkeypatch):
    """A DNS and an LDAP server on loopback, on ports of their own."""
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.bind(("127.0.0.1", 0))
    ldap = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(outlook, "DNS_PORT", dns.getsockname()[1])
    monkeypatch.setattr(outlook, "LDAP_PORT", ldap.getsockname()[1])

    def serve_dns():
        asked, who = dns.recvfrom(512)
        if asked:
            assert asked[12:] == QUESTION
            dns.sendto(ANSWER, who)

    def serve_ldap():
        link, _ = ldap.accept()
        with link:
            if link.recv(512):
                link.sendall(ROOT)

    threads = [threading.Thread(target=work, daemon=True) for work in (serve_dns, serve_ldap)]
    for thread in threads:
        thread.start()
    yield ldap.getsockname()[1]
    # a thread that is left behind would be there when a later test forks
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
        waker.sendto(b"", dns.getsockname())
    with contextlib.suppress(OSError), socket.create_connection(ldap.getsockname(), timeout=5):
        pass
    for thread in threads:
        thread.join(timeout=10)
    dns.close()
    ldap.close()


def test_over_the_wire(ports):
    assert inspect_locators("127.0.0.1", "ad.example.com") == load_targets(ANSWER)
    assert inspect_root("127.0.0.1") == load_root(ROOT)


def test_silence(ports):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert not inspect_port("127.0.0.1", free)
    assert inspect_port("127.0.0.1", ports)
    assert inspect_root("no-such-host.invalid") is None
