"""A partner outside this cluster: what can be seen from here of what a person has told.

Silence is told, because a firewall may be in between; what contradicts stops.
"""

from collections.abc import Iterator

from builder.domain.change.run import DcRun
from builder.domain.facts import short_name
from builder.domain.findings import Finding, hard, warn
from builder.domain.plan import DcPlan

PORTS = (389, 445, 88)


def outside(plan: DcPlan) -> bool:
    """Whether there is a partner, and it is no VM of this cluster."""
    return plan.partner is not None and not plan.partner.inside


def look_for_old(run: DcRun) -> tuple[str, ...]:
    """What answers in the place of the old DC, as seen from here: `192.0.2.11:389`."""
    plan = run.plan
    places = [(place, port) for place in (plan.fqdn, *plan.addresses) for port in PORTS]
    return tuple(f"{place}:{port}" for place, port in places if run.outlook.answers(place, port))


def judge_partner(run: DcRun) -> Iterator[Finding]:
    """Whether the partner is what it is said to be."""
    plan = run.plan
    name = plan.partner.name if plan.partner else ""
    root = run.outlook.root(name)
    if root is None:
        what = f"the LDAP of {name} cannot be reached from here: only its answers tell of it"
        yield warn("identity", what, "look that it runs")
        return
    told = root.get("dnsHostName", "")
    if short_name(told) != short_name(name):
        yield hard("identity", f"{name} says that it is {told or 'nobody'}", "correct dc.partner")
    context = root.get("defaultNamingContext", "")
    if context != plan.domain_dn.casefold():
        what = f"{name} is a DC of {context or 'nothing'}, not of {plan.domain}"
        yield hard("identity", what, "correct dc.domain or dc.partner")


def judge_locators(run: DcRun, *, there: bool) -> Iterator[Finding]:
    """Whether DNS tells the DC of the plan's name, which it should when it is `there`."""
    plan = run.plan
    heard = False
    for server in dict.fromkeys(server for card in plan.cards for server in card.servers):
        if server in plan.addresses:
            continue
        found = run.outlook.locators(server, plan.domain)
        if found is None:
            continue
        heard = True
        named = plan.fqdn in found
        if named and not there:
            what = f"the DNS server {server} still tells {plan.fqdn} as a domain controller"
            yield hard("clean", what, "remove its SRV records there")
        elif there and not named:
            what = f"the DNS server {server} does not tell {plan.fqdn} as a domain controller yet"
            yield hard("records", what, "Netlogon registers it at its start: restart it there")
    if not heard:
        what = "no DNS server of the spec can be asked from here"
        yield warn("clean" if not there else "records", what, "look there with Resolve-DnsName")
