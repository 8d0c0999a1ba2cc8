"""What a domain controller is to be: the spec's table, decided. Holds no secret. Pure."""

import enum
import ipaddress

from builder.domain.tables import dc_release
from builder.errors import ExitCode, WinseedError
from builder.record import record
from builder.releases import load_release
from builder.spec.model import HostSpec
from builder.values import derive_mac


class Mode(enum.Enum):
    """What the host becomes."""

    NEW_FOREST = "new-forest"
    ADDITIONAL = "additional"
    REPLACEMENT = "replacement"
    RODC = "rodc"


class Fsmo(enum.Enum):
    """What was decided about roles that the old DC holds."""

    UNDECIDED = "undecided"
    TRANSFER = "transfer"
    SEIZE = "seize"


@record
class Partner:
    """The writable DC that is asked and cleaned up. `vmid` 0: it is outside this cluster."""

    name: str
    vmid: int
    node: str

    @property
    def inside(self) -> bool:
        """Whether its guest agent can be asked."""
        return self.vmid != 0


@record
class DcPaths:
    """Where the database lies; `media` is a local IFM folder or ""."""

    database: str
    logs: str
    sysvol: str
    media: str


@record
class CardDns:
    """The DNS servers of a card, which a promotion replaces by its own; `mac` as BC:24:11:..."""

    mac: str
    servers: tuple[str, ...]


@record
class DcPlan:
    """One domain controller. `site` "": found by subnet. Levels are set for new forests only.

    `source` is the DC to replicate from, "" in a new forest; `partner` is None there.
    """

    host: str
    release: str
    release_name: str
    build: int
    mode: Mode
    domain: str
    netbios: str
    site: str
    paths: DcPaths
    dns: bool
    global_catalog: bool
    partner: Partner | None
    source: str
    forest_level: str
    domain_level: str
    fsmo: Fsmo
    fsmo_back: bool
    reuse_account: bool
    delegated_admin: str
    user: str
    addresses: tuple[str, ...]
    cards: tuple[CardDns, ...]
    node: str
    vmid: int
    time_zone: str

    @property
    def fqdn(self) -> str:
        """The name that has to be typed before anything is done."""
        return f"{self.host}.{self.domain}".lower()

    @property
    def domain_dn(self) -> str:
        """The domain as a distinguished name."""
        return ",".join(f"DC={label}" for label in self.domain.split("."))


def make_dc_plan(host: HostSpec, *, site: str) -> DcPlan:
    """The plan of a host with role = "dc"; its release must be set. `site` is `site.name`.

    Raises WinseedError (SPEC) for any other host.
    """
    dc = host.dc
    if host.role != "dc" or dc.domain is None:
        raise WinseedError(
            f"{host.name} is no domain controller",
            code=ExitCode.SPEC,
            hint='set role = "dc" and a [host.dc] table with its domain',
        )
    release = load_release(host.release or "")
    partner = (
        Partner(name=dc.partner, vmid=dc.partner_vmid, node=dc.partner_node) if dc.partner else None
    )
    level = dc_release(release.id).highest_level if dc.mode == "new-forest" else ""
    return DcPlan(
        host=host.name,
        release=release.id,
        release_name=release.name,
        build=release.build,
        mode=Mode(dc.mode),
        domain=dc.domain,
        netbios=dc.netbios or dc.domain.partition(".")[0].upper(),
        site=dc.site or "",
        paths=DcPaths(
            database=dc.database_path,
            logs=dc.log_path,
            sysvol=dc.sysvol_path,
            media=dc.ifm_path or "",
        ),
        dns=dc.dns,
        global_catalog=dc.global_catalog,
        partner=partner,
        source=dc.replication_source or dc.partner or "",
        forest_level=dc.forest_level or level,
        domain_level=dc.domain_level or level,
        fsmo=Fsmo(dc.fsmo),
        fsmo_back=dc.fsmo_back,
        reuse_account=dc.reuse_account,
        delegated_admin=dc.delegated_admin or "",
        user=dc.credential_user or "",
        addresses=tuple(
            str(ipaddress.ip_interface(address).ip) for nic in host.nic for address in nic.addresses
        ),
        cards=tuple(
            CardDns(mac=nic.mac or derive_mac(site, host.name, number), servers=nic.dns)
            for number, nic in enumerate(host.nic)
            if nic.dns
        ),
        node=host.machine.node,
        vmid=host.machine.vmid,
        time_zone=host.locale.time_zone,
    )
