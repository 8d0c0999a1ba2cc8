"""Plans of domain controllers for tests, by way of a real spec."""

from pathlib import Path

from builder.domain.plan import DcPlan, make_dc_plan
from builder.spec.load import load_site
from builder.spec.model import HostSpec

BODY = """
[[host]]
name = "dc1"
role = "dc"
release = "2022"
channel = "volume"
[host.dc]
mode = "{mode}"
domain = "ad.example.com"
{keys}
[[host.nic]]
addresses = ["192.0.2.11/24"]
{dns}
[[host.data_disk]]
letter = "D"
size_gib = 40
slot = 1
on_reinstall = "fresh"
"""
PARTNER = """partner = "dc2.ad.example.com"
partner_vmid = 102
credential_user = 'AD\\promoter'
"""


def make_host(mode: str = "replacement", keys: str = "", *, partner: str = PARTNER) -> HostSpec:
    """A host of that mode; `keys` are further lines of [host.dc]."""
    alone = mode == "new-forest"
    text = BODY.format(
        mode=mode,
        keys=keys if alone else partner + keys,
        dns="" if alone else 'dns = ["192.0.2.12"]',
    )
    site = load_site(text, source="site.toml", folder=Path(), overrides={})
    return site.hosts[0]


def make_plan(mode: str = "replacement", keys: str = "", *, partner: str = PARTNER) -> DcPlan:
    """The plan of such a host."""
    return make_dc_plan(make_host(mode, keys, partner=partner), site="winseed")
