"""The new server before its promotion and after: what the scripts told, and what it means. Pure.

What healthy means: SupportArticles-docs, active-directory/troubleshoot-missing-sysvol-and-netlogon-
shares.md (shares, DFSR state 4, events 4604, 4614, 2213, 4012); for the clock the 60 s leave room
below the five minutes that Kerberos is known to bear.
"""

from collections.abc import Iterator, Mapping

from builder.domain.facts import CleanFacts, Link, OffFacts, load_links, short_name
from builder.domain.findings import Finding, fine, hard, warn
from builder.domain.plan import DcPlan, Mode
from builder.domain.told import Told
from builder.guest.envelope import Json
from builder.record import record

LARGEST_OFFSET = 60.0  # seconds
LEAST_FREE = 10 << 30  # bytes on the data disk: room for a database, logs and SYSVOL
NORMAL = 4  # DfsrReplicatedFolderInfo.State
UPSTREAM = frozenset({2213, 4012})  # the partner of the replication is broken, not this DC
SERVICES = ("NTDS", "ADWS", "KDC", "Netlogon", "DFSR")
DC_ROLES = frozenset({4, 5})
DISABLED = "disabled"


@record
class Place:
    """Where database, logs or SYSVOL go; `filesystem` "" when there is no such volume."""

    path: str
    filesystem: str
    free: int
    entries: int


@record
class HostFacts:
    """The server before its promotion; `offsets` of its clock in seconds."""

    name: str
    role: int
    edition: str
    offsets: tuple[float, ...]
    dns_servers: tuple[str, ...]
    addresses: tuple[str, ...]
    locators: tuple[str, ...]
    places: tuple[Place, ...]
    pending: tuple[str, ...]
    role_service: str
    media: bool


@record
class HealthFacts:
    """The new DC after its restart, told by itself."""

    name: str
    domain: str
    role: int
    services: tuple[tuple[str, str], ...]
    shares: tuple[str, ...]
    sysvol_state: int
    sysvol_events: tuple[int, ...]
    profiles: tuple[str, ...]
    time_type: str
    ready: bool
    global_catalog: bool
    links: tuple[Link, ...]


@record
class SeenFacts:
    """The new DC as its partner sees it; `settings` are the GUIDs of its NTDS Settings."""

    controllers: tuple[str, ...]
    settings: tuple[str, ...]
    links: tuple[Link, ...]
    records: tuple[str, ...]


@record
class ResultFacts:
    """What a promotion, a demotion or their tests told; `result` -1: no number."""

    result: int
    status: str
    message: str
    reboot: bool


def load_host(values: Mapping[str, Json]) -> HostFacts:
    """The answer of dc/check-host."""
    told = Told("dc/check-host", values)
    return HostFacts(
        name=told.text("name"),
        role=told.number("role"),
        edition=told.text("edition"),
        offsets=told.decimals("offsets"),
        dns_servers=told.texts("dns_servers"),
        addresses=told.texts("addresses"),
        locators=told.texts("locators"),
        places=tuple(
            Place(
                path=row.text("path"),
                filesystem=row.text("filesystem"),
                free=row.number("free"),
                entries=row.number("entries"),
            )
            for row in told.rows("volumes")
        ),
        pending=told.texts("pending"),
        role_service=told.text("role_service"),
        media=told.flag("media"),
    )


def load_health(values: Mapping[str, Json]) -> HealthFacts:
    """The answer of dc/verify."""
    told = Told("dc/verify", values)
    return HealthFacts(
        name=told.text("name"),
        domain=told.text("domain"),
        role=told.number("role"),
        services=tuple((row.text("name"), row.text("status")) for row in told.rows("services")),
        shares=told.texts("shares"),
        sysvol_state=told.number("sysvol_state"),
        sysvol_events=told.numbers("sysvol_events"),
        profiles=told.texts("profiles"),
        time_type=told.text("time_type"),
        ready=told.flag("ready"),
        global_catalog=told.flag("global_catalog"),
        links=load_links(told),
    )


def load_seen(values: Mapping[str, Json]) -> SeenFacts:
    """The answer of dc/verify-partner."""
    told = Told("dc/verify-partner", values)
    return SeenFacts(
        controllers=told.texts("controllers"),
        settings=told.texts("settings"),
        links=load_links(told),
        records=told.texts("records"),
    )


def load_result(script: str, values: Mapping[str, Json]) -> ResultFacts:
    """The answer of a promotion, a demotion or their tests."""
    told = Told(script, values)
    return ResultFacts(
        result=told.number("result"),
        status=told.text("status"),
        message=told.text("message"),
        reboot=told.flag("reboot"),
    )


def judge_off(plan: DcPlan, facts: OffFacts) -> tuple[Finding, ...]:
    """Whether the old DC is off: what answers in its place stops everything."""
    asked = {place.casefold() for place in facts.asked}
    unasked = [place for place in (plan.fqdn, *plan.addresses) if place.casefold() not in asked]
    if unasked:
        what = f"nobody looked at {', '.join(unasked)}"
        return (hard("target-off", what, "look again"),)
    if facts.answers:
        what = f"answers in the place of {plan.fqdn}: {', '.join(facts.answers)}"
        return (hard("target-off", what, "find it and switch it off; no flag overrides this"),)
    return (fine("target-off", f"nothing answers as {plan.fqdn}"),)


def judge_clean(plan: DcPlan, facts: CleanFacts) -> tuple[Finding, ...]:
    """Whether the name is free, and the partner still what it has to be."""
    found: list[Finding] = []
    if plan.partner is None or short_name(facts.partner) != short_name(plan.partner.name):
        told = f"{facts.partner} answered in the place of the partner"
        found.append(hard("identity", told, "correct dc.partner"))
    if not (facts.writable and facts.sysvol):
        what = f"{facts.partner} is not a writable DC that shares SYSVOL"
        found.append(hard("other-dc", what, "without another healthy DC nothing is installed"))
    left = {
        "computer account": facts.accounts,
        "server object": facts.servers,
        "NTDS Settings": facts.settings,
        "SYSVOL member": facts.members,
        "DNS record": facts.records,
        "role": facts.roles,
    }
    for kind, items in left.items():
        if items:
            what = f"{kind} of {plan.host} left: {'; '.join(items)}"
            found.append(hard("clean", what, "remove it on the partner, then go on"))
    if not facts.dns_told:
        what = "the partner has no DNS zones to look at"
        hint = f"look for records that lead to {plan.fqdn} where DNS is served"
        found.append(warn("clean", what, hint))
    return tuple(found) or (fine("clean", f"nothing of {plan.host} is left"),)


def judge_host(plan: DcPlan, facts: HostFacts) -> tuple[Finding, ...]:
    """Whether the server can be promoted now."""
    found = [*_host(plan, facts), *_clock(plan, facts), *_dns(plan, facts), *_places(facts)]
    return tuple(found) or (fine("host", f"{facts.name} is ready"),)


def _host(plan: DcPlan, facts: HostFacts) -> Iterator[Finding]:
    if facts.name.casefold() != plan.host.casefold():
        yield hard("identity", f"this is {facts.name}, not {plan.host}", "look at the VM")
    if facts.role in DC_ROLES:
        yield hard("identity", f"{facts.name} is a domain controller already", "look at it")
    if facts.edition.casefold().endswith("eval"):
        what = f"{facts.name} runs an evaluation edition ({facts.edition})"
        yield hard("media", what, "install from volume or retail media")
    if facts.pending:
        # code 15
        yield hard("pending", f"a restart is pending: {', '.join(facts.pending)}", "restart it")
    if facts.role_service.casefold() == DISABLED:
        yield hard("role-service", "the service DsRoleSvc is disabled", "enable it")
    if not facts.media:
        what = f"there is no {plan.paths.media} in the guest"
        yield hard("ifm", what, "copy the media there first, never to a share")


def _clock(plan: DcPlan, facts: HostFacts) -> Iterator[Finding]:
    if plan.mode is Mode.NEW_FOREST:
        return
    offsets = [abs(offset) for offset in facts.offsets]
    if not offsets:
        yield hard("time", "the clock could not be compared with the domain's", "look at UDP 123")
    elif max(offsets) > LARGEST_OFFSET:
        what = f"the clock is {max(offsets):.0f} s off the domain's"
        yield hard("time", what, "Kerberos refuses more than minutes: see FT42")


def _dns(plan: DcPlan, facts: HostFacts) -> Iterator[Finding]:
    known = {short_name(name) for name in facts.locators}
    if plan.mode is Mode.NEW_FOREST:
        if known:
            what = f"{plan.domain} has domain controllers already: {', '.join(facts.locators)}"
            yield hard("dns", what, "this would be a second domain of one name: choose another")
        return
    if not known:
        # code 25
        what = f"DNS tells no domain controller of {plan.domain}"
        yield hard("dns", what, "nic.dns must name a DNS server of the domain first")
    own = {*facts.addresses, "127.0.0.1", "::1"}
    if facts.dns_servers and facts.dns_servers[0] in own:
        yield hard("dns", "the server asks itself first", "nic.dns must name another DC first")
    if short_name(plan.host) in known and not plan.reuse_account:
        what = f"DNS still tells {plan.fqdn} as a domain controller"
        yield warn("dns", what, "records are cached for minutes; the directory was proven clean")


def _places(facts: HostFacts) -> Iterator[Finding]:
    for place in facts.places:
        if place.filesystem.casefold() != "ntfs":
            told = place.filesystem or "no volume"
            what = f"{place.path}: {told}, NTFS is needed"
            yield hard("paths", what, "look at the data disk")
        elif place.entries:
            yield hard("paths", f"{place.path} is not empty", "an old database? Use a fresh disk")
        elif place.free < LEAST_FREE:
            free = f"{place.free >> 30} GiB"
            yield warn("paths", f"{place.path} has {free} free", "a large domain needs more")


def judge_health(
    plan: DcPlan, facts: HealthFacts, seen: SeenFacts | None, *, partners: int
) -> tuple[Finding, ...]:
    """Whether the new DC works; `seen` is its partner's view, `partners` how many others there are.

    A finding that is no OK may mend itself: replication takes minutes. Ask again before judging.
    """
    return tuple(_health(plan, facts, partners)) + (
        tuple(_seen(plan, seen)) if seen is not None else ()
    )


def _health(plan: DcPlan, facts: HealthFacts, partners: int) -> Iterator[Finding]:
    if facts.role not in DC_ROLES or facts.domain.casefold() != plan.domain.casefold():
        what = f"{facts.name} is no domain controller of {plan.domain}"
        yield hard("role", what, r"read C:\Windows\debug\dcpromo.log")
        return
    running = {name.casefold() for name, status in facts.services if status == "Running"}
    wanted = (*SERVICES, "DNS") if plan.dns else SERVICES
    dead = [name for name in wanted if name.casefold() not in running]
    if dead:
        yield hard("services", f"not running: {', '.join(dead)}", "look at the event logs")
    shares = {name.casefold() for name in facts.shares}
    missing = [name for name in ("SYSVOL", "NETLOGON") if name.casefold() not in shares]
    if missing:
        yield hard("shares", f"not shared: {', '.join(missing)}", _sysvol_hint(facts))
    if partners and facts.sysvol_state != NORMAL:
        what = f"SYSVOL is in state {facts.sysvol_state}, not {NORMAL}"
        yield hard("sysvol", what, _sysvol_hint(facts))
    if "DomainAuthenticated" not in facts.profiles:
        what = f"the network profile is {', '.join(facts.profiles) or 'not told'}"
        yield hard("firewall", what, "restart the network adapter; Server 2025: see FT40")
    if plan.global_catalog and not facts.global_catalog:
        yield hard("catalog", "it is no global catalog yet", "it becomes one after replication")
    sick = [link.partition for link in facts.links if not link.healthy]
    if partners and (sick or not facts.links):
        what = f"inbound replication: {', '.join(sick) or 'none'}"
        yield hard("inbound", what, "wait, then look at repadmin /showrepl")
    if not (dead or missing or sick):
        yield fine("role", f"{facts.name} serves {facts.domain}")


def _sysvol_hint(facts: HealthFacts) -> str:
    if UPSTREAM & set(facts.sysvol_events):
        return "its replication partner is broken (events 2213, 4012): mend that one, not this"
    return "the first replication takes a while (event 4614 until 4604)"


def _seen(plan: DcPlan, seen: SeenFacts) -> Iterator[Finding]:
    if len(seen.controllers) != 1 or len(seen.settings) != 1:
        what = f"the partner knows {len(seen.settings)} NTDS Settings of {plan.host}"
        yield hard("one", what, "there must be exactly one: remove the metadata of the old one")
        return
    sick = [link.partition for link in seen.links if not link.healthy]
    if plan.mode is not Mode.RODC and (sick or not seen.links):
        # nobody replicates from an RODC
        what = f"the partner takes nothing from it yet: {', '.join(sick) or 'no link'}"
        yield hard("outbound", what, "wait, then look at repadmin /showrepl")
    records = {record.casefold() for record in seen.records}
    alias = f"cname {seen.settings[0]}._msdcs.".casefold()
    wanted = {
        "A": any(text.startswith(f"a {plan.fqdn}") for text in records),
        "GUID._msdcs": any(
            text.startswith(alias) and text.rstrip(".").endswith(plan.fqdn) for text in records
        ),
        "SRV": any(
            text.startswith("srv ") and text.rstrip(".").endswith(plan.fqdn) for text in records
        ),
    }
    if plan.mode is Mode.RODC:
        del wanted["SRV"]  # an RODC registers itself for its site only
    missing = [kind for kind, there in wanted.items() if not there]
    if missing:
        what = f"the partner's DNS does not tell {', '.join(missing)} of {plan.fqdn}"
        yield hard("records", what, "Netlogon registers them at its start: restart it there")
    elif not sick:
        yield fine("seen", "the partner replicates from it and resolves it")
