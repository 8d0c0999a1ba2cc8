"""What the machine that runs winseed sees of a domain by itself: ports, DNS, the root of LDAP.

It proves nothing alone, because a firewall looks like silence: silence is told, what contradicts
stops. DNS over UDP is RFC 1035 and 2782; the root DSE is read without signing in (RFC 4511, 4512),
which Active Directory allows by default (MS-ADTS 3.1.1.3.2).
"""

import socket
import struct
from collections.abc import Callable, Iterator

from builder.record import record

TIME = 4.0  # seconds
SRV, LARGEST = 33, 4096
LDAP_PORT, DNS_PORT = 389, 53
ATTRIBUTES = ("dnsHostName", "defaultNamingContext", "isSynchronized")
SEQUENCE, SET, OCTETS, INTEGER, ENUMERATED, BOOLEAN = 0x30, 0x31, 0x04, 0x02, 0x0A, 0x01
SEARCH, ENTRY, PRESENT = 0x63, 0x64, 0x87


@record
class Outlook:
    """How to look. `answers`: whether a TCP port does; `locators`: the targets of the domain's DC
    locator at a DNS server, None when it does not answer; `root`: attributes of a DC's root DSE,
    lower case, None when it does not answer."""

    answers: Callable[[str, int], bool]
    locators: Callable[[str, str], frozenset[str] | None]
    root: Callable[[str], dict[str, str] | None]


def look_out() -> Outlook:
    """The real thing."""
    return Outlook(answers=inspect_port, locators=inspect_locators, root=inspect_root)


def inspect_port(place: str, port: int) -> bool:
    """Whether a TCP port answers."""
    try:
        with socket.create_connection((place, port), timeout=TIME):
            return True
    except OSError:
        return False


def inspect_locators(server: str, domain: str) -> frozenset[str] | None:
    """The domain controllers that a DNS server tells, lower case, without a dot at the end."""
    query = make_query(f"_ldap._tcp.dc._msdcs.{domain}")
    try:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as link:
            link.settimeout(TIME)
            link.connect((server, DNS_PORT))
            link.send(query)
            return load_targets(link.recv(LARGEST))
    except OSError:
        return None


def inspect_root(place: str) -> dict[str, str] | None:
    """The root DSE of a domain controller."""
    try:
        with socket.create_connection((place, LDAP_PORT), timeout=TIME) as link:
            link.sendall(make_search())
            return load_root(link.recv(LARGEST))
    except OSError:
        return None


def make_query(name: str) -> bytes:
    """A question for SRV records, recursion desired."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">6H", 0x5753, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, SRV, 1)


def load_targets(answer: bytes) -> frozenset[str] | None:
    """The targets of the SRV records in an answer; None when it is none or says no."""
    try:
        number, flags, questions, records = struct.unpack_from(">4H", answer)
        if number != 0x5753 or not flags & 0x8000 or flags & 0x000F not in {0, 3}:
            return None
        at = 12
        for _ in range(questions):
            at = _skip_name(answer, at) + 4
        found = set()
        for _ in range(records):
            at = _skip_name(answer, at)
            kind, _class, _ttl, size = struct.unpack_from(">HHIH", answer, at)
            at += 10
            if kind == SRV:
                found.add(".".join(_labels(answer, at + 6)).casefold())
            at += size
    except (struct.error, IndexError, ValueError):
        return None
    return frozenset(found)


def _skip_name(text: bytes, at: int) -> int:
    while text[at]:
        if text[at] >= 0xC0:
            return at + 2
        at += text[at] + 1
    return at + 1


def _labels(text: bytes, at: int) -> Iterator[str]:
    for _ in range(128):  # a name that points to itself ends here
        size = text[at]
        if size == 0:
            return
        if size >= 0xC0:
            at = (size & 0x3F) << 8 | text[at + 1]
            continue
        yield text[at + 1 : at + 1 + size].decode("ascii", "replace")
        at += size + 1
    raise ValueError


def make_search() -> bytes:
    """A search of the base object "", as the root DSE wants it."""
    asked = b"".join(_tlv(OCTETS, name.encode()) for name in ATTRIBUTES)
    search = (
        _tlv(OCTETS, b"") + _tlv(ENUMERATED, b"\0") + _tlv(ENUMERATED, b"\0")
        + _tlv(INTEGER, b"\0") + _tlv(INTEGER, b"\x04") + _tlv(BOOLEAN, b"\0")
        + _tlv(PRESENT, b"objectClass") + _tlv(SEQUENCE, asked)
    )  # fmt: skip
    return _tlv(SEQUENCE, _tlv(INTEGER, b"\1") + _tlv(SEARCH, search))


def load_root(answer: bytes) -> dict[str, str] | None:
    """The attributes of the entry in an answer, None when it holds none."""
    try:
        message = next(_read(answer))[1]
        parts = list(_read(message))
        if len(parts) < 2 or parts[1][0] != ENTRY:
            return None
        _name, (_, attributes) = list(_read(parts[1][1]))[:2]
        found = {}
        for _, attribute in _read(attributes):
            (_, name), (_, values) = list(_read(attribute))[:2]
            value = next(_read(values), (0, b""))[1]
            found[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace").casefold()
    except (IndexError, ValueError, StopIteration):
        return None
    return found


def _tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else b"\x82" + struct.pack(">H", size)
    return bytes([tag]) + length + content


def _read(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element."""
    at = 0
    while at < len(text):
        tag, size = text[at], text[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(text[at : at + count], "big")
            at += count
        if at + size > len(text):
            raise ValueError
        yield tag, text[at : at + size]
        at += size
