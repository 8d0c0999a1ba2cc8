"""The rows of the preflight table: each takes the facts and says what it found. Pure.

Sources: MicrosoftDocs/windowsserverdocs (upgrade-domain-controllers.md, Demoting-Domain-
Controllers, ad-ds-metadata-cleanup.md, active-directory-functional-levels.md, whats-new-windows-
server-2025.md, Supported-Upgrade-Paths.md, Troubleshooting-Domain-Controller-Deployment.md for the
codes) and MicrosoftDocs/SupportArticles-docs (transfer-or-seize-operation-master-roles-in-ad-ds.md,
ad-dc-in-virtual-hosting-environment.md for backups).
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator

from builder.domain.cases import Case
from builder.domain.facts import DcFacts, PartnerFacts, short_name
from builder.domain.findings import Finding, fine, hard, stop, warn
from builder.domain.plan import DcPlan, Fsmo, Mode
from builder.domain.tables import dc_release, level_name, level_number

DRAINED = dt.timedelta(hours=1)
RECENT = dt.timedelta(days=2)  # "at least daily", and a night that failed
SKEW = dt.timedelta(minutes=10)  # between the clocks of two DCs
ELIMINATED = 48  # msDFSR-Flags of CN=DFSR-GlobalSettings (FT46)
AUTHORITY_FEATURES = frozenset({"ad-certificate", "adcs-cert-authority"})
OTHER_ROLES = {"dhcp": "DHCP server", "npas": "Network Policy Server", "fs-dfs-namespace": "DFS"}
SAFE_CACHES = frozenset({"", "none", "directsync", "writethrough"})


def _leaves(case: Case) -> bool:
    """Whether there is an old DC at all."""
    return case is not Case.NEW


def identity(plan: DcPlan, partner: PartnerFacts, facts: DcFacts, _case: Case) -> Iterator[Finding]:
    """The guests that answered are the ones that the spec means."""
    wanted = plan.partner.name if plan.partner else ""
    if partner.partner.casefold() != wanted.casefold():
        what = f"the partner's VM is {partner.partner}, not {wanted}"
        yield hard("identity", what, "correct dc.partner or dc.partner_vmid")
    elif partner.domain.casefold() != plan.domain.casefold():
        what = f"{partner.partner} is a DC of {partner.domain}, not of {plan.domain}"
        yield hard("identity", what, "correct dc.domain or dc.partner")
    elif partner.netbios.casefold() != plan.netbios.casefold():
        what = f"the NetBIOS name of {plan.domain} is {partner.netbios}, not {plan.netbios}"
        yield hard("identity", what, "correct dc.netbios")
    elif partner.read_only:
        what = f"{partner.partner} is read-only: nothing can be changed there"
        yield hard("identity", what, "name a writable DC as dc.partner")
    else:
        yield fine("identity", f"{partner.partner} is a writable DC of {partner.domain}")
    target = facts.target
    if target is not None and target.name.casefold() != plan.host.casefold():
        what = f"VM {plan.vmid} is {target.name}, not {plan.host}"
        yield hard("identity", what, "correct machine.vmid: this VM would be wiped")
    elif target is not None and target.domain.casefold() != plan.domain.casefold():
        what = f"{target.name} is in {target.domain}, not in {plan.domain}"
        yield hard("identity", what, "correct dc.domain, or machine.vmid")


def other_dc(
    plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, _case: Case
) -> Iterator[Finding]:
    """Another writable DC of the domain is proven alive."""
    rest = [dc for dc in partner.controllers if short_name(dc.name) != short_name(plan.host)]
    alive = [dc.name for dc in rest if dc.as_other().proven]
    if alive:
        yield fine("other-dc", f"writable and alive: {', '.join(alive)}")
    else:
        seen = ", ".join(dc.name for dc in rest) or "none"
        what = f"no other writable DC is proven alive by LDAP, RPC and SYSVOL (known: {seen})"
        yield hard("other-dc", what, "this would be forest recovery: restore from a backup")
    silent = [dc.name for dc in rest if not dc.as_other().proven and not dc.read_only]
    if alive and silent:
        what = f"not proven alive: {', '.join(silent)}"
        yield warn("other-dc", what, "look at them first: each is one DC less")


def name_free(
    plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, case: Case
) -> Iterator[Finding]:
    """A new DC finds no object of its name; a replacement does."""
    found = ", ".join(item.dn for item in partner.objects)
    if plan.mode is Mode.ADDITIONAL and (found or _leaves(case)):
        what = f"the domain has a {plan.host} already: {found or 'as a DC'}"
        yield hard("name", what, "choose another name, or mode replacement")
    elif plan.mode is Mode.REPLACEMENT and not _leaves(case):
        what = f"the domain knows no {plan.host}: there is nothing to replace"
        yield hard("name", what, "use mode additional")
    protected = [item.dn for item in partner.objects if item.protected]
    if protected:
        what = f"protected from accidental deletion: {', '.join(protected)}"
        yield warn("protected", what, "the protection is lifted when they are removed")


def fsmo(plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, case: Case) -> Iterator[Finding]:
    """Nobody wipes a role holder without a decision."""
    held = partner.roles.held_by(short_name(plan.host))
    told = ", ".join(held)
    if not held:
        yield fine("fsmo", f"{plan.host} holds no role")
    elif plan.fsmo is Fsmo.UNDECIDED:
        choice = "transfer" if case is Case.GRACEFUL else "seize"
        hint = f'decide: dc.fsmo = "{choice}" gives them to {partner.partner}'
        yield hard("fsmo", f"{plan.host} holds {told}", hint)
    elif plan.fsmo is Fsmo.TRANSFER and case is not Case.GRACEFUL:
        what = f"{told} cannot be transferred from a DC that is dead or cut off"
        yield hard("fsmo", what, 'set dc.fsmo = "seize": the old DC must then never come back')
    elif plan.fsmo is Fsmo.SEIZE and case is Case.GRACEFUL:
        what = f"{told} would be seized from a DC that lives"
        yield hard("fsmo", what, 'set dc.fsmo = "transfer"')
    else:
        yield fine("fsmo", f"{told}: {plan.fsmo.value} to {partner.partner}")
    yield from _masters(plan, partner)


def _masters(plan: DcPlan, partner: PartnerFacts) -> Iterator[Finding]:
    """A promotion needs the RID master, the first DC of a release two more."""
    alive = {short_name(dc.name) for dc in partner.controllers if dc.ldap}
    known = {short_name(dc.name) for dc in partner.controllers}
    needed = {"RID master": partner.roles.rid}
    peers = [dc for dc in partner.controllers if short_name(dc.name) != short_name(plan.host)]
    if not any(plan.release_name.casefold() in dc.system.casefold() for dc in peers):
        needed |= {"infrastructure master": partner.roles.infrastructure}
        # the schema master may be a DC of another domain, which the partner does not list
        needed |= {"schema master": partner.roles.schema}
    for role, holder in needed.items():
        name = short_name(holder)
        moved = name == short_name(plan.host) and plan.fsmo is not Fsmo.UNDECIDED
        if moved or name in alive:
            continue
        if name in known or role != "schema master":
            hint = "bring it back first: the promotion ends with 89 or an adprep error"
            yield stop("masters", f"the {role} {holder or '(none)'} does not answer", hint)
        else:
            what = f"the {role} {holder} is in another domain and was not asked"
            yield warn("masters", what, "look that it is online")


def catalog(plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, case: Case) -> Iterator[Finding]:
    """Somebody else is a global catalog meanwhile."""
    if not _leaves(case):
        return
    rest = [name for name in partner.catalogs if short_name(name) != short_name(plan.host)]
    sites = {
        dc.site
        for dc in partner.controllers
        if dc.global_catalog and short_name(dc.name) != short_name(plan.host)
    }
    own = {dc.site for dc in partner.controllers if short_name(dc.name) == short_name(plan.host)}
    if not rest:
        hint = "make another DC a global catalog first: without one nobody signs in"
        yield stop("catalog", f"{plan.host} is the only global catalog", hint)
    elif own and not own & sites:
        what = f"no other global catalog in site {', '.join(sorted(own))}"
        yield warn("catalog", what, "sign-in there goes to another site meanwhile")
    else:
        yield fine("catalog", f"global catalogs: {', '.join(rest)}")


def drained(plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, case: Case) -> Iterator[Finding]:
    """What was changed on the old DC has reached another one."""
    if not _leaves(case):
        return
    taken = [link for link in partner.links if link.comes_from(plan.host)]
    fresh = [link for link in taken if link.healthy and _age(link.success, partner) <= DRAINED]
    partitions = {link.partition for link in taken}
    missing = partitions - {link.partition for link in fresh}
    last = max((link.success for link in taken if link.success), default="never")
    if case is Case.GRACEFUL and partitions and not missing:
        yield fine("drained", f"its changes were taken over, last {last}")
    else:
        what = f"changes made on {plan.host} may not have been taken over (last {last})"
        yield stop("drained", what, "passwords and accounts changed only there are lost forever")
    sick = sorted(
        {
            f"{link.server} from {_partner_name(link.partner)}"
            for link in partner.links
            if not link.healthy
            and not link.comes_from(plan.host)
            and short_name(link.server) != short_name(plan.host)
        }
    )
    if sick:
        what = f"replication fails between others: {', '.join(sick)}"
        yield stop("replication", what, "mend it first: the new DC replicates from them")
    else:
        yield fine("replication", "no failure between the other DCs")


def _partner_name(dn: str) -> str:
    parts = dn.split(",")
    return parts[1].partition("=")[2] if len(parts) > 1 else "somebody who did not tell"


def _age(time: str, partner: PartnerFacts) -> dt.timedelta:
    """How long ago by the partner's own clock; what cannot be read or lies ahead is very old."""
    try:
        age = dt.datetime.fromisoformat(partner.time) - dt.datetime.fromisoformat(time)
    except (ValueError, TypeError):
        return dt.timedelta.max
    return age if age >= -SKEW else dt.timedelta.max


def sysvol(plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, _case: Case) -> Iterator[Finding]:
    """SYSVOL is replicated by DFS-R: Server 2016 is the last release with FRS."""
    gone = partner.dfsr_flags == ELIMINATED or "'eliminated'" in partner.dfsr_state.casefold()
    if gone:
        yield fine("sysvol", "SYSVOL is replicated by DFS-R")
    elif dc_release(plan.release).frs:
        hint = "migrate with dfsrmig.exe; later releases cannot join this domain"
        yield warn("sysvol", "SYSVOL is not proven to be replicated by DFS-R", hint)
    else:
        state = partner.dfsr_state.strip() or "not told"
        what = f"SYSVOL is not proven to have left FRS ({state}); {plan.release_name} cannot do FRS"
        yield hard("sysvol", what, "migrate with dfsrmig.exe to the state Eliminated first")


def levels(plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, _case: Case) -> Iterator[Finding]:
    """Domain and forest are high enough for the release (codes 63, 99, 100)."""
    lowest = dc_release(plan.release).lowest_level
    for what, level in (("domain", partner.domain_level), ("forest", partner.forest_level)):
        if level < level_number(lowest):
            told = f"the {what} is at {level_name(level)}, {plan.release_name} needs {lowest}"
            yield hard("levels", told, "raise it, or install an older release")
    if min(partner.domain_level, partner.forest_level) >= level_number(lowest):
        told = (
            f"domain {level_name(partner.domain_level)}, forest {level_name(partner.forest_level)}"
        )
        yield fine("levels", told)


def last_dns(plan: DcPlan, partner: PartnerFacts, facts: DcFacts, case: Case) -> Iterator[Finding]:
    """No zone lives on the old DC alone (code 59)."""
    if not _leaves(case):
        return
    target = facts.target
    if target is not None and "dns" not in {name.casefold() for name in target.features}:
        yield fine("last-dns", f"{plan.host} is no DNS server")
        return
    if target is None or not target.dns_told or not partner.dns_told:
        what = f"the zones of {plan.host} and of its partner could not be compared"
        yield stop("last-dns", what, "look that no zone lives there alone")
        return
    there = {zone.name.casefold() for zone in partner.zones if zone.kind == "Primary"}
    alone = [
        zone.name
        for zone in target.zones
        if zone.kind == "Primary" and (not zone.integrated or zone.name.casefold() not in there)
    ]
    if alone:
        what = f"zones on {plan.host} alone: {', '.join(alone)}"
        yield stop("last-dns", what, "move them first")
    else:
        yield fine("last-dns", "every zone is on the partner as well")
    told = f"; its forwarders were {', '.join(target.forwarders)}" if target.forwarders else ""
    addresses = ", ".join(plan.addresses)
    what = f"DHCP options and static clients that name {addresses} lose a DNS server meanwhile"
    yield warn("clients", what + told, "the new DC answers there again at the end")


def authority(plan: DcPlan, partner: PartnerFacts, facts: DcFacts, case: Case) -> Iterator[Finding]:
    """A certification authority blocks the demotion, and dies with the disk (code 13)."""
    if not _leaves(case):
        return
    named = any(short_name(host) == short_name(plan.host) for host in partner.authorities)
    features = {name.casefold() for name in facts.target.features} if facts.target else set()
    if named or features & AUTHORITY_FEATURES:
        what = f"{plan.host} is a certification authority"
        yield hard("authority", what, "move it to another server first: its key is on this disk")
    else:
        yield fine("authority", f"{plan.host} is no certification authority of the forest")


def rodcs(plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, case: Case) -> Iterator[Finding]:
    """RODCs keep a writable DC (code 95)."""
    readers = [dc.name for dc in partner.controllers if dc.read_only]
    rest = [dc for dc in partner.controllers if short_name(dc.name) != short_name(plan.host)]
    if readers and _leaves(case) and not any(dc.as_other().proven for dc in rest):
        what = f"{', '.join(readers)} would be left without a writable DC"
        yield hard("rodc", what, "promote another writable DC first")


def backup(_plan: DcPlan, partner: PartnerFacts, _facts: DcFacts, case: Case) -> Iterator[Finding]:
    """Two DCs have a system state backup of the last days."""
    if not _leaves(case):
        return
    recent = sorted(
        found.server
        for found in partner.backups
        if found.time and _age(found.time, partner) <= RECENT
    )
    last = max((found.time for found in partner.backups if found.time), default="never")
    if not recent:
        what = f"no system state backup of the last two days is known (last {last})"
        yield stop("backup", what, f"make one; useful for {partner.tombstone_days} days")
    elif len(recent) == 1:
        yield warn("backup", f"one DC only saw a recent backup: {recent[0]}", "back up two")
    else:
        yield fine("backup", f"backed up in the last two days: {', '.join(recent)}")


PartnerRow = Callable[[DcPlan, PartnerFacts, DcFacts, Case], Iterable[Finding]]
PARTNER_ROWS: tuple[PartnerRow, ...] = (
    *(identity, other_dc, name_free, fsmo, catalog, drained, sysvol, levels, last_dns),
    *(authority, rodcs, backup),
)


def other_roles(plan: DcPlan, facts: DcFacts, case: Case) -> Iterator[Finding]:
    """What else lives on the box goes with it."""
    target = facts.target
    if not _leaves(case):
        return
    if target is None:
        what = f"what else runs on {plan.host} is not known"
        yield warn("other-roles", what, "DHCP, NPS, Entra Connect, shares, scheduled tasks")
        return
    features = {name.casefold() for name in target.features}
    found = [title for feature, title in OTHER_ROLES.items() if feature in features]
    found += ["Entra Connect"] if target.directory_sync else []
    found += [f"share {name}" for name in target.shares]
    found += [f"task {name}" for name in target.tasks]
    if found:
        yield stop("other-roles", f"also on {plan.host}: {', '.join(found)}", "move them first")
    else:
        yield fine("other-roles", f"nothing else was found on {plan.host}")


def encryption(plan: DcPlan, facts: DcFacts, case: Case) -> Iterator[Finding]:
    """An encrypted disk that is kept is worth nothing without its key."""
    if _leaves(case) and facts.target is not None and facts.target.encrypted:
        volumes = ", ".join(facts.target.encrypted)
        what = f"BitLocker on {volumes} of {plan.host}"
        yield stop("encryption", what, "write the recovery keys down: the old disk is kept")


def media(plan: DcPlan, facts: DcFacts, _case: Case) -> Iterator[Finding]:
    """A DC on an evaluation image can never be converted."""
    if facts.media.evaluation is None:
        what = "the media were not read: they may be an evaluation"
        yield hard("media", what, "give --windows-iso")
    elif facts.media.evaluation:
        what = f"{plan.host} would be a DC on an evaluation image"
        yield hard("media", what, "give volume or retail media")
    else:
        yield fine("media", "licensed media")


def machine(plan: DcPlan, facts: DcFacts, case: Case) -> Iterator[Finding]:
    """Nothing in Proxmox VE brings an old copy of the DC back (proxmox/qemu-server at e6352be:
    vmgenid is new on clone, restore and rollback, and not on storage replication)."""
    vm = facts.vm
    if vm is None:
        if case is Case.DEAD:
            hint = "make sure that nobody starts it: its name and address are used again"
            yield warn("vm", f"{plan.host} has no VM in this cluster", hint)
        return
    if vm.generation is None or vm.generation == "0":
        what = f"VM {vm.vmid} has no vmgenid: a rollback would go unnoticed"
        yield warn("vm", what, "set it while the VM is off, before the new DC is promoted")
    if vm.replicated is not False:
        told = "is in a replication job" if vm.replicated else "may be in a replication job"
        hint = "remove the job: a fail-over would start an older copy of the directory"
        yield stop("vm-copies", f"VM {vm.vmid} {told}", hint)
    if vm.snapshots is None or vm.snapshots:
        told = ", ".join(vm.snapshots or ("not told",))
        yield stop("vm-copies", f"snapshots of VM {vm.vmid}: {told}", "delete them")
    for slot, cache in vm.caches:
        if cache not in SAFE_CACHES:
            what = f"{slot} of VM {vm.vmid} has cache={cache}"
            yield warn("vm", what, "the new disks get the spec's cache mode")
    if vm.time_zone is not None and vm.time_zone != plan.time_zone:
        what = f"the node is in {vm.time_zone}, Windows in {plan.time_zone} (FT42)"
        yield warn("time-zone", what, "Windows starts hours off until it has asked for the time")


def secrets(plan: DcPlan, facts: DcFacts, _case: Case) -> Iterator[Finding]:
    """There is a source for each secret before anything is changed."""
    if not facts.secrets.restore_mode:
        what = "there is no source for the restore mode password"
        yield hard("secrets", what, "give dsrm_password_file or dsrm_password_env")
    if plan.mode is not Mode.NEW_FOREST and not (plan.user and facts.secrets.credential):
        what = "there is no source for the domain credential"
        yield hard("secrets", what, "give credential_password_file or credential_password_env")


Row = Callable[[DcPlan, DcFacts, Case], Iterable[Finding]]
ROWS: tuple[Row, ...] = (other_roles, encryption, media, machine, secrets)
