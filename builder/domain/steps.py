"""The steps of a change to a domain, and their order for each way to do it. Pure.

Order: Microsoft's own for a failed role holder (SupportArticles-docs, active-directory/
transfer-or-seize-operation-master-roles-in-ad-ds.md): reinstall, remove the metadata on another
DC, promote. Here the metadata go before the installation, so that nothing of the old DC is left
when the new one of the same name appears.
"""

import enum
from typing import assert_never

from builder.domain.cases import Case
from builder.domain.plan import DcPlan, Fsmo, Mode


class Step(enum.Enum):
    """What is done, in the words of the runbook and of the journal."""

    PREFLIGHT = "preflight"
    CONFIRM = "confirm"
    MOVE_ROLES = "move-roles"
    DEMOTE = "demote"
    POWER_OFF = "power-off"
    PROVE_OFF = "prove-off"
    SEIZE_ROLES = "seize-roles"
    CLEAN_METADATA = "cleanup-metadata"
    CLEAN_DNS = "cleanup-dns"
    VERIFY_CLEAN = "verify-clean"
    STAGE = "stage-rodc"
    INSTALL = "install"
    ROTATE = "rotate"
    CHECK_HOST = "check-host"
    ADD_ROLE = "add-role"
    TEST = "test-promotion"
    PROMOTE = "promote"
    REBOOT = "reboot"
    SET_DNS = "set-dns-client"
    VERIFY = "verify"
    ROLES_BACK = "roles-back"
    SCRUB = "scrub"
    REPORT = "report"


# What changes the domain as others see it: from the first of these on the old disk stays detached.
OUTSIDE = frozenset(
    {
        *(Step.MOVE_ROLES, Step.DEMOTE, Step.SEIZE_ROLES, Step.CLEAN_METADATA, Step.CLEAN_DNS),
        *(Step.STAGE, Step.PROMOTE, Step.ROLES_BACK),
    }
)
# What is done on the partner: without a guest there, or without leave, a person does it.
ON_PARTNER = frozenset(
    {
        *(Step.MOVE_ROLES, Step.SEIZE_ROLES, Step.CLEAN_METADATA, Step.CLEAN_DNS),
        *(Step.STAGE, Step.ROLES_BACK),
    }
)
# What cannot be taken back by anything winseed does.
IRREVERSIBLE = frozenset(
    {
        *(Step.DEMOTE, Step.SEIZE_ROLES, Step.CLEAN_METADATA, Step.PROMOTE),
    }
)
# What only looks, and can be done again at any time.
READING = frozenset(
    {
        *(Step.PREFLIGHT, Step.CONFIRM, Step.PROVE_OFF, Step.VERIFY_CLEAN, Step.CHECK_HOST),
        *(Step.TEST, Step.VERIFY, Step.REPORT),
    }
)
_ARRIVAL = (
    *(Step.INSTALL, Step.ROTATE, Step.CHECK_HOST, Step.ADD_ROLE, Step.TEST, Step.PROMOTE),
    *(Step.REBOOT, Step.SET_DNS, Step.VERIFY),
)
_END = (Step.SCRUB, Step.REPORT)


def order_steps(plan: DcPlan, case: Case) -> tuple[Step, ...]:
    """Every step of the plan in its order. Case C has none: it is refused.

    The steps that move roles are in it when the plan has decided to; whether there are roles to
    move is found out when they run.
    """
    match case:
        case Case.NEW:
            return _new(plan)
        case Case.GRACEFUL:
            moving = (Step.MOVE_ROLES,) if plan.fsmo is Fsmo.TRANSFER else ()
            leaving = (*moving, Step.DEMOTE, Step.POWER_OFF, Step.PROVE_OFF)
        case Case.DEAD:
            seizing = (Step.SEIZE_ROLES,) if plan.fsmo is Fsmo.SEIZE else ()
            leaving = (Step.POWER_OFF, Step.PROVE_OFF, *seizing)
        case Case.LAST:
            return ()
        case _:
            assert_never(case)
    cleaning = (
        (Step.CLEAN_DNS,)
        if plan.reuse_account
        else (Step.CLEAN_METADATA, Step.CLEAN_DNS, Step.VERIFY_CLEAN)
    )
    staging = (Step.STAGE,) if plan.mode is Mode.RODC else ()
    back = (Step.ROLES_BACK,) if plan.fsmo_back and plan.fsmo is not Fsmo.UNDECIDED else ()
    start = (Step.PREFLIGHT, Step.CONFIRM)
    return (*start, *leaving, *cleaning, *staging, *_arrival(plan), *back, *_END)


def _new(plan: DcPlan) -> tuple[Step, ...]:
    """A host that was no DC before."""
    match plan.mode:
        case Mode.NEW_FOREST:
            before: tuple[Step, ...] = (Step.PREFLIGHT, Step.CONFIRM)
        case Mode.RODC:
            before = (Step.PREFLIGHT, Step.CONFIRM, Step.VERIFY_CLEAN, Step.STAGE)
        case Mode.ADDITIONAL | Mode.REPLACEMENT:
            before = (Step.PREFLIGHT, Step.CONFIRM, Step.VERIFY_CLEAN)
        case _:
            assert_never(plan.mode)
    return (*before, *_arrival(plan), *_END)


def _arrival(plan: DcPlan) -> tuple[Step, ...]:
    """The promotion puts DNS servers of its own in the place of the spec's."""
    return tuple(step for step in _ARRIVAL if step is not Step.SET_DNS or plan.cards)
