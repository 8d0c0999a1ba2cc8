"""What makes a domain controller of the new server, and what is left to do afterwards."""

from builder.domain.calls import kind_of
from builder.domain.change.ended import DONE, Ended, failed, judged, numbered
from builder.domain.change.install import install, is_rotated
from builder.domain.change.power import restart, wait_for_agent
from builder.domain.change.run import (
    DcRun,
    ask_partner,
    ask_target,
    forget_results,
    partner_agent,
    target_agent,
)
from builder.domain.change.verify import verify
from builder.domain.health import judge_host, load_host, load_result
from builder.domain.steps import Step


def install_windows(run: DcRun) -> Ended:
    """The deploy engine."""
    install(run)
    return DONE


def rotate(run: DcRun) -> Ended:
    """The engine has changed the password and Windows took it; never after the promotion."""
    if is_rotated(run):
        return DONE
    return failed("the password of the answer ISO was not changed: nothing is promoted with it")


def check_host(run: DcRun) -> Ended:
    """Clock, DNS, disks, pending restarts."""
    wait_for_agent(run)
    told = ask_target(run, "check-host", Step.CHECK_HOST)
    return judged(run, judge_host(run.plan, load_host(told)))


def add_role(run: DcRun) -> Ended:
    """The binaries, and the restart that they may ask for."""
    told = ask_target(run, "add-role", Step.ADD_ROLE)
    if told.get("restart") is True:
        restart(run)
    return DONE


def test_promotion(run: DcRun) -> Ended:
    """Microsoft's prerequisite tests; none is skipped."""
    script = f"test-{kind_of(run.plan.mode)}"
    return numbered(load_result(f"dc/{script}", ask_target(run, script, Step.TEST)))


def promote(run: DcRun) -> Ended:
    """The promotion, or its result if it was called before."""
    script = f"promote-{kind_of(run.plan.mode)}"
    return numbered(load_result(f"dc/{script}", ask_target(run, script, Step.PROMOTE)))


def reboot(run: DcRun) -> Ended:
    """A promotion is complete after a restart."""
    restart(run)
    return DONE


def set_dns(run: DcRun) -> Ended:
    """The spec's DNS servers again."""
    ask_target(run, "set-dns-client", Step.SET_DNS)
    return DONE


def verify_health(run: DcRun) -> Ended:
    """The new DC works, and its partner sees it."""
    return judged(run, verify(run))


def return_roles(run: DcRun) -> Ended:
    """What the old DC held, and no more."""
    roles = run.journal.record.roles
    if roles:
        ask_partner(run, "transfer-roles", Step.ROLES_BACK, back=roles)
    return DONE


def scrub(run: DcRun) -> Ended:
    """What the promotion and our calls have left in Windows and on the partner."""
    if run.plan.paths.media:
        ask_target(run, "scrub-media", Step.SCRUB)
    forget_results(target_agent(run))
    if run.plan.partner is not None and run.plan.partner.inside:
        forget_results(partner_agent(run))
    return DONE


def report(_run: DcRun) -> Ended:
    """The caller tells what was done."""
    return DONE
