"""Cards, addresses and routes as Windows wants them."""

import ipaddress

from builder.plan.hardware import NicPlan, Route
from builder.spec.model import HostSpec, NicSpec
from builder.values import derive_mac

DEFAULT_ROUTES = {4: "0.0.0.0/0", 6: "::/0"}


def make_nics(host: HostSpec, site: str) -> tuple[NicPlan, ...]:
    """The cards of `host`; a card without a MAC gets the one derived from site, host, number."""
    return tuple(
        _nic(nic, nic.mac or derive_mac(site, host.name, number))
        for number, nic in enumerate(host.nic)
    )


def _nic(nic: NicSpec, mac: str) -> NicPlan:
    versions = {ipaddress.ip_interface(address).version for address in nic.addresses}
    routes = tuple(
        Route(
            number=number,
            prefix=DEFAULT_ROUTES[ipaddress.ip_address(gateway).version],
            next_hop=gateway,
        )
        for number, gateway in enumerate(nic.gateways)
    )
    return NicPlan(
        mac=mac,
        # unattend reference, TCPIP Interface Identifier: the MAC with hyphens
        identifier=mac.replace(":", "-"),
        model=nic.model,
        bridge=nic.bridge,
        vlan=nic.vlan,
        addresses=nic.addresses,
        dhcp4=4 not in versions,
        dhcp6=6 not in versions,
        routes=routes,
        dns=nic.dns,
        dns_suffix=nic.dns_suffix,
    )
