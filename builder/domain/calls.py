"""What each script of `winseed dc` is given, and how it is called on a DC or a future one.

Secrets are `Secret`s until they reach standard input; nothing here shows or keeps one. The agent
runs as SYSTEM: that a DC lets it change the directory over its own LDAP, and that a workgroup
computer is promoted straight away with a domain credential, is believed (FT47, FT44).
"""

from collections.abc import Collection, Mapping
from typing import assert_never

from builder.domain.facts import (
    CleanFacts,
    OffFacts,
    PartnerFacts,
    TargetFacts,
    load_clean,
    load_off,
    load_partner,
    load_target,
)
from builder.domain.plan import DcPlan, Mode
from builder.domain.scripts import load_dc_script
from builder.domain.steps import Step
from builder.guest.call import GuestError, GuestTrouble, call_guest
from builder.guest.envelope import Given, Json
from builder.proxmox.agent import GuestAgent
from builder.record import record
from builder.values import Secret

QUESTION_SECONDS = 300.0
# a promotion replicates the whole directory before it ends
CHANGE_SECONDS = {
    "promote-additional": 4 * 3600.0,
    "promote-rodc": 4 * 3600.0,
    "promote-new-forest": 3600.0,
    "demote": 3600.0,
    "add-role": 1800.0,
}
NO_SECRET = Secret("")


@record
class DcSecrets:
    """The passwords of one run: the promoting account's, restore mode, and the one that the local
    Administrator of a demoted server gets."""

    credential: Secret = NO_SECRET
    restore_mode: Secret = NO_SECRET
    local: Secret = NO_SECRET


def kind_of(mode: Mode) -> str:
    """The part of a script's name that says what is promoted."""
    match mode:
        case Mode.NEW_FOREST:
            return "new-forest"
        case Mode.RODC:
            return "rodc"
        case Mode.ADDITIONAL | Mode.REPLACEMENT:
            return "additional"
        case _:
            assert_never(mode)


def script_of(step: Step, plan: DcPlan) -> str:
    """The script that does a step in Windows, "" for a step that is done elsewhere."""
    names = {
        Step.MOVE_ROLES: "transfer-roles",
        Step.ROLES_BACK: "transfer-roles",
        Step.SEIZE_ROLES: "seize-roles",
        Step.DEMOTE: "demote",
        Step.PROVE_OFF: "prove-off",
        Step.CLEAN_METADATA: "cleanup-metadata",
        Step.CLEAN_DNS: "cleanup-dns",
        Step.VERIFY_CLEAN: "verify-clean",
        Step.STAGE: "stage-rodc",
        Step.CHECK_HOST: "check-host",
        Step.ADD_ROLE: "add-role",
        Step.TEST: f"test-{kind_of(plan.mode)}",
        Step.PROMOTE: f"promote-{kind_of(plan.mode)}",
        Step.SET_DNS: "set-dns-client",
        Step.VERIFY: "verify",
        Step.SCRUB: "scrub-media",
    }
    return names.get(step, "")


def make_payload(
    script: str,
    plan: DcPlan,
    secrets: DcSecrets,
    *,
    accepted: Collection[str] = (),
    back: Collection[str] = (),
) -> Mapping[str, Given]:
    """Everything that `script` reads, and nothing else. `back`: the roles that the new DC gets."""
    partner = plan.partner.name.partition(".")[0] if plan.partner else ""
    place: dict[str, Given] = {"fqdn": plan.fqdn, "addresses": plan.addresses}
    roles: dict[str, Given] = {"from": plan.host, "to": partner}
    moving: dict[str, Given] = {**roles, "roles": ()}
    if back:
        moving = {"from": partner, "to": plan.host, "roles": tuple(back)}
    payloads: dict[str, Mapping[str, Given]] = {
        "preflight-partner": {"target": plan.host, "domain": plan.domain},
        "preflight-target": {},
        "prove-off": place,
        "transfer-roles": moving,
        "seize-roles": roles | place,
        "cleanup-metadata": {"from": plan.host} | place,
        "cleanup-dns": {"from": plan.host} | place,
        "verify-clean": {"fqdn": plan.fqdn},
        "add-role": {},
        "verify": {},
        "verify-partner": {"fqdn": plan.fqdn, "domain": plan.domain},
        "dcdiag": {},
        "set-dns-client": {
            "cards": tuple({"mac": card.mac, "dns": card.servers} for card in plan.cards)
        },
        "scrub-media": {"media": plan.paths.media},
        "stage-rodc": _staging(plan),
        "check-host": _checking(plan),
        "test-demotion": _demotion(plan, secrets, accepted),
        "demote": _demotion(plan, secrets, accepted),
    }
    for verb in ("test", "promote"):
        payloads[f"{verb}-{kind_of(plan.mode)}"] = _promotion(plan, secrets)
    return payloads[script]


def _staging(plan: DcPlan) -> dict[str, Given]:
    return {
        "host": plan.host,
        "domain": plan.domain,
        "site": plan.site,
        "dns": plan.dns,
        "global_catalog": plan.global_catalog,
        "delegated_admin": plan.delegated_admin,
    }


def _checking(plan: DcPlan) -> dict[str, Given]:
    paths = (plan.paths.database, plan.paths.logs, plan.paths.sysvol)
    return {
        "time_source": plan.partner.name if plan.partner else "",
        "domain": plan.domain,
        "paths": tuple(dict.fromkeys(paths)),
        "media": plan.paths.media,
    }


def _demotion(plan: DcPlan, secrets: DcSecrets, accepted: Collection[str]) -> dict[str, Given]:
    return {
        "local_password": secrets.local,
        "user": plan.user,
        "password": secrets.credential,
        "ignore_last_dns": "last-dns" in accepted,
        "remove_partitions": False,
    }


def _promotion(plan: DcPlan, secrets: DcSecrets) -> dict[str, Given]:
    common: dict[str, Given] = {
        "domain": plan.domain,
        "dsrm_password": secrets.restore_mode,
        "paths": {
            "database": plan.paths.database,
            "logs": plan.paths.logs,
            "sysvol": plan.paths.sysvol,
            "media": plan.paths.media,
        },
    }
    if plan.mode is Mode.NEW_FOREST:
        return common | {
            "netbios": plan.netbios,
            "forest_level": plan.forest_level,
            "domain_level": plan.domain_level,
            "dns": plan.dns,
        }
    joined = common | {
        "user": plan.user,
        "password": secrets.credential,
        "source": plan.source,
    }
    if plan.mode is Mode.RODC:
        return joined
    return joined | {
        "dns": plan.dns,
        "global_catalog": plan.global_catalog,
        "site": plan.site,
        "reuse_account": plan.reuse_account,
    }


def call_dc(
    agent: GuestAgent,
    script: str,
    *,
    id: str,  # noqa: A002 - the word of the protocol
    payload: Mapping[str, Given],
) -> Mapping[str, Json]:
    """Run a script on a DC or a future one; the same `id` never changes anything twice.

    Raises GuestError when it failed or gave no result in time, PveError.
    """
    timeout = CHANGE_SECONDS.get(script, QUESTION_SECONDS)
    result = call_guest(agent, load_dc_script(script), id=id, payload=payload, timeout=timeout)
    if result.code:
        raise GuestError(
            f"`dc/{script}` failed in the guest: {result.message}",
            trouble=GuestTrouble.FAILED,
            script=f"dc/{script}",
        )
    return result.values


def inspect_partner(agent: GuestAgent, plan: DcPlan) -> PartnerFacts:
    """What the partner knows of the domain and of the old DC. Raises GuestError, PveError."""
    return load_partner(_ask(agent, "preflight-partner", plan))


def inspect_target(agent: GuestAgent, plan: DcPlan) -> TargetFacts:
    """What the old DC tells of itself. Raises GuestError, PveError."""
    return load_target(_ask(agent, "preflight-target", plan))


def inspect_off(agent: GuestAgent, plan: DcPlan) -> OffFacts:
    """What the partner sees at the old DC's name and addresses. Raises GuestError, PveError."""
    return load_off(_ask(agent, "prove-off", plan))


def inspect_clean(agent: GuestAgent, plan: DcPlan) -> CleanFacts:
    """What the domain still holds of the name. Raises GuestError, PveError."""
    return load_clean(_ask(agent, "verify-clean", plan))


def _ask(agent: GuestAgent, script: str, plan: DcPlan) -> Mapping[str, Json]:
    payload = make_payload(script, plan, DcSecrets())
    return call_dc(agent, script, id=f"dc-{script}", payload=payload)
