"""Addresses, remote desktop, and joining a domain.

Sources: unattended setup reference, Microsoft-Windows-TCPIP, Microsoft-Windows-DNS-Client,
Microsoft-Windows-UnattendedJoin; manufacture/desktop/enable-remote-desktop-by-using-an-answer-file.
"""

import ipaddress
import re
from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import Answer, is_false, is_placeholder, is_true, shown
from builder.answer.rules.commands import all_commands
from builder.answer.rules.table import Finding

TCPIP = "Microsoft-Windows-TCPIP"
DNS = "Microsoft-Windows-DNS-Client"
JOIN = "Microsoft-Windows-UnattendedJoin"
RDP = "Microsoft-Windows-TerminalServices-LocalSessionManager"
FIREWALL = "Networking-MPSSVC-Svc"
REMOTE_DESKTOP = frozenset(("remote desktop", "@firewallapi.dll,-28752"))
MAC_LIKE = re.compile(r"([0-9A-Fa-f]{2}[:.-]?){5}[0-9A-Fa-f]{2}")
MAC = re.compile(r"([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}")
DN = re.compile(r"\s*(OU|CN|DC)\s*=", re.IGNORECASE)
FIREWALL_COMMAND = re.compile(
    r"advfirewall|Enable-NetFirewallRule|Set-NetFirewall|New-NetFirewallRule|firewall",
    re.IGNORECASE,
)


def judge_addresses(answer: Answer) -> Iterator[Finding]:
    """Static addresses, routes and name servers."""
    for interface in answer.found(TCPIP, "Interfaces/Interface"):
        yield from _judge_identifier(answer, interface)
        yield from _judge_static(answer, interface)
        for holder in interface.every("Routes"):
            for route in holder.every("Route"):
                yield from _judge_route(answer, route)
    for interface in answer.found(DNS, "Interfaces/Interface"):
        yield from _judge_identifier(answer, interface)
        for server in _servers(interface):
            text = server.text.strip()
            if not is_placeholder(text) and _address(text) is None:
                yield answer.finding("WS613", server, "the name server is no IP address")


def _judge_static(answer: Answer, interface: Element) -> Iterator[Finding]:
    static = [
        address
        for holder in interface.every("UnicastIpAddresses")
        for address in holder.every("IpAddress")
    ]
    for address in static:
        text = address.text.strip()
        if not is_placeholder(text) and not _is_interface(text):
            yield answer.finding("WS601", address, "no address with prefix length")
    dhcp = interface.value("Ipv4Settings/DhcpEnabled")
    fixed = any("." in address.text for address in static)
    if fixed and not is_false(dhcp) and not is_placeholder(dhcp):
        what = "a static IPv4 address without DhcpEnabled=false"
        yield answer.finding("WS603", interface, what)


def _servers(interface: Element) -> Iterator[Element]:
    for holder in interface.every("DNSServerSearchOrder"):
        yield from holder.every("IpAddress")


def _judge_identifier(answer: Answer, interface: Element) -> Iterator[Finding]:
    identifier = interface.child("Identifier")
    text = identifier.text.strip() if identifier is not None else ""
    if identifier is not None and MAC_LIKE.fullmatch(text) and not MAC.fullmatch(text):
        what = f"the MAC address {shown(text)} is not written with hyphens"
        yield answer.finding("WS604", identifier, what)


def _judge_route(answer: Answer, route: Element) -> Iterator[Finding]:
    prefix, hop = route.value("Prefix"), route.value("NextHopAddress")
    if is_placeholder(prefix) or is_placeholder(hop):
        return
    bits = prefix.isascii() and prefix.isdigit() and len(prefix) < 4 and int(prefix) <= 128
    if prefix and not bits and not _is_network(prefix):
        yield answer.finding("WS602", route, f"the prefix is {shown(prefix)}")
    if hop and _address(hop) is None:
        yield answer.finding("WS602", route, f"the next hop is {shown(hop)}")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_interface(text: str) -> bool:
    """An address with prefix; IPv6 prefixes up to 64 by the reference, 128 in practice."""
    address, slash, bits = text.partition("/")
    known = _address(address)
    if known is None or not slash:
        return False
    most = 32 if known.version == 4 else 128
    return bits.isascii() and bits.isdigit() and len(bits) < 4 and int(bits) <= most


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return "/" in text


def judge_remote_desktop(answer: Answer) -> Iterator[Finding]:
    """Remote desktop that no firewall rule lets through."""
    for switch in answer.found(RDP, "fDenyTSConnections"):
        if not is_false(switch.text):
            continue
        groups = answer.found(FIREWALL, "FirewallGroups/FirewallGroup/Group")
        if any(group.text.strip().lower() in REMOTE_DESKTOP for group in groups):
            continue
        if any(FIREWALL_COMMAND.search(line.text) for line in all_commands(answer)):
            continue
        if any(
            is_false(profile.text)
            for kind in ("Domain", "Private", "Public")
            for profile in answer.found(FIREWALL, f"{kind}Profile_EnableFirewall")
        ):
            continue
        yield answer.finding("WS606", switch, "remote desktop is on, its firewall group is not")


def judge_join(answer: Answer) -> Iterator[Finding]:
    """Joining a domain or a workgroup."""
    for join in answer.found(JOIN, "Identification"):
        if join.child("JoinDomain") and join.child("JoinWorkgroup"):
            yield answer.finding("WS607", join, "both JoinDomain and JoinWorkgroup")
        unsecure = is_true(join.value("UnsecureJoin"))
        credentials = join.child("Credentials")
        if unsecure and credentials is not None:
            yield answer.finding("WS608", credentials, "Credentials beside UnsecureJoin=true")
        password = join.child("MachinePassword")
        if password is not None and not unsecure:
            yield answer.finding("WS609", password, "MachinePassword without UnsecureJoin=true")
        if credentials is not None:
            user, domain = credentials.value("Username"), credentials.value("Domain")
            if domain and ("@" in user or "\\" in user) and not is_placeholder(user):
                what = "Username already names a domain, and Domain stands beside it"
                yield answer.finding("WS610", credentials, what)
            if join.value("Provisioning/AccountData"):
                yield answer.finding("WS612", credentials, "Credentials beside Provisioning")
        unit = join.value("MachineObjectOU")
        if unit and not is_placeholder(unit) and not DN.match(unit):
            place = join.child("MachineObjectOU") or join
            yield answer.finding("WS611", place, f"the OU is {shown(unit)}")
