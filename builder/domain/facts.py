"""What a partner DC and the old DC told before anything is touched. Facts only: no opinions here.

Each `load_` takes the values of the script of the same name and raises GuestError for anything
that is not such an answer.
"""

from collections.abc import Mapping

from builder.domain.cases import OtherDc
from builder.domain.told import Told
from builder.guest.envelope import Json
from builder.record import record

CONTROLLER_ROLES = frozenset({4, 5})  # Win32_ComputerSystem.DomainRole: backup, primary DC


def short_name(name: str) -> str:
    """The host part of a name, for comparison."""
    return name.partition(".")[0].casefold()


@record
class Link:
    """Inbound replication of a partition at `server` from `partner`, the DN of its NTDS Settings.

    `result` 0 and no `failures` is health; -1: the server did not tell. `success`: the last one,
    UTC as `2026-11-21T15:00:00Z`, or "".
    """

    server: str
    partner: str
    partition: str
    result: int
    failures: int
    success: str

    @property
    def healthy(self) -> bool:
        """Whether the last try went well."""
        return self.result == 0 and self.failures == 0 and bool(self.success)

    def comes_from(self, name: str) -> bool:
        """Whether the partner is the DC of that name."""
        return f"cn=ntds settings,cn={short_name(name)}," in self.partner.casefold()


@record
class Controller:
    """A DC as the partner sees it now."""

    name: str
    site: str
    address: str
    read_only: bool
    global_catalog: bool
    system: str
    ldap: bool
    rpc: bool
    sysvol: bool

    def as_other(self) -> OtherDc:
        """What the choice of a case asks."""
        return OtherDc(
            name=self.name,
            writable=not self.read_only,
            ldap=self.ldap,
            rpc=self.rpc,
            sysvol=self.sysvol,
        )


@record
class Roles:
    """The DC that holds each operations master role."""

    schema: str
    naming: str
    pdc: str
    rid: str
    infrastructure: str

    def held_by(self, name: str) -> tuple[str, ...]:
        """The roles of a DC, as people call them."""
        holders = {
            "schema master": self.schema,
            "domain naming master": self.naming,
            "PDC emulator": self.pdc,
            "RID master": self.rid,
            "infrastructure master": self.infrastructure,
        }
        return tuple(role for role, holder in holders.items() if short_name(holder) == name)


@record
class DirectoryObject:
    """An object that names the old DC; `kind` is computer, server or nTDSDSA."""

    dn: str
    kind: str
    guid: str
    protected: bool


@record
class Zone:
    """A DNS zone on a server; `kind` is Primary, Secondary, Stub or Forwarder."""

    name: str
    kind: str
    integrated: bool


@record
class Backup:
    """When `server` saw the domain partition backed up last; "" when never or not told."""

    server: str
    time: str


@record
class PartnerFacts:
    """What a DC knows of its domain. `dfsr_flags` -1 and `dfsr_state` "": it did not tell.

    `time` is the partner's clock when it answered: ages are counted from it.
    """

    partner: str
    read_only: bool
    domain: str
    netbios: str
    forest: str
    controllers: tuple[Controller, ...]
    roles: Roles
    catalogs: tuple[str, ...]
    domain_level: int
    forest_level: int
    dfsr_flags: int
    dfsr_state: str
    links: tuple[Link, ...]
    backups: tuple[Backup, ...]
    tombstone_days: int
    objects: tuple[DirectoryObject, ...]
    authorities: tuple[str, ...]
    zones: tuple[Zone, ...]
    dns_told: bool
    time: str


@record
class TargetFacts:
    """What the old DC told of itself; `role` is Win32_ComputerSystem.DomainRole."""

    name: str
    domain: str
    role: int
    edition: str
    build: int
    features: tuple[str, ...]
    links: tuple[Link, ...]
    links_told: bool
    zones: tuple[Zone, ...]
    forwarders: tuple[str, ...]
    dns_told: bool
    shares: tuple[str, ...]
    tasks: tuple[str, ...]
    directory_sync: bool
    encrypted: tuple[str, ...]
    not_writable: int

    @property
    def controller(self) -> bool:
        """Whether it is a DC still."""
        return self.role in CONTROLLER_ROLES


@record
class VmFacts:
    """The old DC's VM, from its configuration and its node; None where nobody could tell.

    `caches` are the cache modes of its disks by slot.
    """

    vmid: int
    running: bool
    generation: str | None
    replicated: bool | None
    snapshots: tuple[str, ...] | None
    caches: tuple[tuple[str, str], ...]
    time_zone: str | None


@record
class MediaFacts:
    """The Windows to install: None where the media were not read."""

    evaluation: bool | None


@record
class SecretFacts:
    """Whether there is a source for each secret; a prompt is one."""

    restore_mode: bool
    credential: bool


@record
class DcFacts:
    """All that is known. `partner` None: it was not asked or did not answer; `target` likewise."""

    partner: PartnerFacts | None
    target: TargetFacts | None
    vm: VmFacts | None
    media: MediaFacts
    secrets: SecretFacts


@record
class OffFacts:
    """What answered in the place of the old DC, as `192.0.2.11:389`; `asked` are the places."""

    asked: tuple[str, ...]
    answers: tuple[str, ...]


@record
class CleanFacts:
    """What a domain still holds of a name; `dns_told` False: its zones could not be read."""

    accounts: tuple[str, ...]
    servers: tuple[str, ...]
    settings: tuple[str, ...]
    members: tuple[str, ...]
    records: tuple[str, ...]
    roles: tuple[str, ...]
    dns_told: bool
    partner: str
    writable: bool
    sysvol: bool


def load_partner(values: Mapping[str, Json]) -> PartnerFacts:
    """The answer of dc/preflight-partner."""
    told = Told("dc/preflight-partner", values)
    roles = told.part("roles")
    return PartnerFacts(
        partner=told.text("partner"),
        read_only=told.flag("partner_read_only"),
        domain=told.text("domain"),
        netbios=told.text("netbios"),
        forest=told.text("forest"),
        controllers=tuple(_controller(row) for row in told.rows("controllers")),
        roles=Roles(
            schema=roles.text("schema"),
            naming=roles.text("naming"),
            pdc=roles.text("pdc"),
            rid=roles.text("rid"),
            infrastructure=roles.text("infrastructure"),
        ),
        catalogs=told.texts("catalogs"),
        domain_level=told.number("domain_level"),
        forest_level=told.number("forest_level"),
        dfsr_flags=told.number("dfsr_flags"),
        dfsr_state=told.text("dfsr_state"),
        links=load_links(told),
        backups=tuple(
            Backup(server=row.text("server"), time=row.text("time")) for row in told.rows("backups")
        ),
        tombstone_days=told.number("tombstone_days"),
        objects=tuple(
            DirectoryObject(
                dn=row.text("dn"),
                kind=row.text("kind"),
                guid=row.text("guid"),
                protected=row.flag("protected"),
            )
            for row in told.rows("objects")
        ),
        authorities=told.texts("authorities"),
        zones=_zones(told),
        dns_told=told.flag("dns_told"),
        time=told.text("time"),
    )


def load_target(values: Mapping[str, Json]) -> TargetFacts:
    """The answer of dc/preflight-target."""
    told = Told("dc/preflight-target", values)
    return TargetFacts(
        name=told.text("name"),
        domain=told.text("domain"),
        role=told.number("role"),
        edition=told.text("edition"),
        build=told.number("build"),
        features=told.texts("features"),
        links=load_links(told),
        links_told=told.flag("links_told"),
        zones=_zones(told),
        forwarders=told.texts("forwarders"),
        dns_told=told.flag("dns_told"),
        shares=told.texts("shares"),
        tasks=told.texts("tasks"),
        directory_sync=told.flag("directory_sync"),
        encrypted=told.texts("encrypted"),
        not_writable=told.number("not_writable"),
    )


def load_off(values: Mapping[str, Json]) -> OffFacts:
    """The answer of dc/prove-off."""
    told = Told("dc/prove-off", values)
    return OffFacts(asked=told.texts("asked"), answers=told.texts("answers"))


def load_clean(values: Mapping[str, Json]) -> CleanFacts:
    """The answer of dc/verify-clean."""
    told = Told("dc/verify-clean", values)
    return CleanFacts(
        accounts=told.texts("accounts"),
        servers=told.texts("servers"),
        settings=told.texts("settings"),
        members=told.texts("members"),
        records=told.texts("records"),
        roles=told.texts("roles"),
        dns_told=told.flag("dns_told"),
        partner=told.text("partner"),
        writable=told.flag("writable"),
        sysvol=told.flag("sysvol"),
    )


def load_links(told: Told) -> tuple[Link, ...]:
    """The list `links` of an answer."""
    return tuple(
        Link(
            server=row.text("server"),
            partner=row.text("partner"),
            partition=row.text("partition"),
            result=row.number("result"),
            failures=row.number("failures"),
            success=row.text("success"),
        )
        for row in told.rows("links")
    )


def _zones(told: Told) -> tuple[Zone, ...]:
    return tuple(
        Zone(name=row.text("name"), kind=row.text("kind"), integrated=row.flag("integrated"))
        for row in told.rows("zones")
    )


def _controller(row: Told) -> Controller:
    return Controller(
        name=row.text("name"),
        site=row.text("site"),
        address=row.text("address"),
        read_only=row.flag("read_only"),
        global_catalog=row.flag("global_catalog"),
        system=row.text("system"),
        ldap=row.flag("ldap"),
        rpc=row.flag("rpc"),
        sysvol=row.flag("sysvol"),
    )
