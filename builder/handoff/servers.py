"""Configuration of the servers around the tree, and the page that says what goes where.

Made for dnsmasq, nginx and Samba as Debian has them; each is checked by the program it is for.
"""

import ipaddress
from collections.abc import Mapping

from builder.answer.render import render_text
from builder.errors import ExitCode, WinseedError
from builder.plan.carrier import SetupShare
from builder.record import record

ROOT = "/srv/winseed"
TFTP = "/srv/tftp"
DEFAULT_PREFIX = 24


@record
class Site:
    """Where the tree is served: `url` of the HTTP root, the boot network as a CIDR."""

    server: str
    url: str
    subnet: str
    share: SetupShare | None
    injected: bool
    signed: bool
    wimboot: str
    version: str


def find_subnet(server: str, subnet: str | None) -> str:
    """The boot network: as given, else the /24 of the server's address; WinseedError (SPEC)."""
    text = subnet or f"{server.partition(':')[0]}/{DEFAULT_PREFIX}"
    try:
        return str(ipaddress.IPv4Network(text, strict=False))
    except ValueError:
        what = f"{subnet!r} is no IPv4 network" if subnet else f"{server!r} tells no network"
        raise WinseedError(
            what, code=ExitCode.SPEC, hint="give the boot network as --subnet 192.0.2.0/24"
        ) from None


def server_texts(site: Site, hosts: list[Mapping[str, str]]) -> dict[str, bytes]:
    """Every text for the servers by its path in the tree; `hosts` are rows of the page."""
    network = ipaddress.IPv4Network(site.subnet)
    values = {
        "site": site,
        "root": ROOT,
        "tftp": TFTP,
        "network": str(network.network_address),
        "netmask": str(network.netmask),
        "subnet": site.subnet,
        "hosts": hosts,
        "port": site.url.rpartition(":")[2] if site.url.count(":") > 1 else "80",
        "name": site.server.partition(":")[0],
    }
    names = ["server/dnsmasq.conf", "server/nginx.conf"]
    if site.share is not None:
        names.append("server/smb.conf")
    texts = {name: render_text(f"handoff/{name}.j2", values) for name in names}
    return texts | {"README.md": render_text("handoff/ipxe-readme.md.j2", values)}
