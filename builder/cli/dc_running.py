"""What the verbs share that carry a runbook out: secrets, one run, what is told at its end."""

import functools
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.connection import proxmox_options
from builder.cli.installing import (
    Relay,
    make_cases,
    make_entropy,
    make_pause,
    make_workshop,
    output_option,
    password_option,
    telling,
)
from builder.cli.main import make_console
from builder.cli.options import Call, disc_options, host_argument, shelf_of_call
from builder.console import Console
from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.domain.calls import DcSecrets
    from builder.domain.change.run import DcRun
    from builder.domain.change.told import Outcome
    from builder.domain.facts import MediaFacts
    from builder.domain.plan import DcPlan
    from builder.spec.model import HostSpec
    from builder.values import Secret

PARTNER_CHANGES = "partner-changes"


def change_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Everything that the verbs take."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        host_argument,
        disc_options,
        proxmox_options,
        output_option,
        password_option,
        click.option("--accept", "accepted", multiple=True, metavar="ROW",
                     help="Take on a row of the preflight that would stop it."),
        click.option("--yes", metavar="FQDN", help="The full name: do not ask."),
        click.option("--resume", is_flag=True, help="Go on with what was begun."),
        click.option("--undo", is_flag=True, help="Go back, as long as that does no harm."),
        click.option("--json", "as_json", is_flag=True,
                     help="Print events and result as JSON lines."),
        click.pass_context,
    ]  # fmt: skip
    return functools.reduce(lambda inner, option: option(inner), reversed(options), function)


def allow_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Whether the partner may be changed."""
    return click.option(
        "--allow", "allowed", multiple=True, type=click.Choice([PARTNER_CHANGES]),
        help="Change the domain on the partner DC; otherwise you are told what to do there.",
    )(function)  # fmt: skip


def carry_change(
    ctx: click.Context,
    verb: str,
    *,
    call: Call,
    connect: Callable[..., Any],
    output: Path,
    admin_password_file: str | None,
    accepted: tuple[str, ...],
    yes: str | None,
    resume: bool,
    undo: bool,
    as_json: bool,
    allowed: tuple[str, ...] = (),
) -> None:
    """Begin or take up a change, go on until it ends, and tell how."""
    if resume and undo:
        raise WinseedError("--resume and --undo exclude each other", code=ExitCode.SPEC)
    if len(call.site.hosts) != 1:
        raise WinseedError("one domain controller at a time", code=ExitCode.SPEC, hint="name it")
    from builder.domain.change.begin import refuse_other_mode
    from builder.domain.change.told import outcome_document
    from builder.domain.machine import Policy
    from builder.install.journal import locked
    from builder.report import render_json

    (host,) = call.site.hosts
    plan = plan_of(call, host)
    refuse_other_mode(plan, verb)
    console, relay = make_console(), Relay()
    api = connect(console, make_pause(threading.Event()))
    (case,) = make_cases(call, output, admin_password_file, console)
    notes: list[str] = []
    policy = Policy(allow_partner=PARTNER_CHANGES in allowed, undo=undo)
    with locked(case.folder):
        run = _make_run(
            verb, plan=plan, case=case, shop=make_workshop(api, relay), console=console,
            notes=notes, policy=policy, accepted=frozenset(accepted), resume=resume,
            as_json=as_json,
        )  # fmt: skip
        outcome, error = _go(run, console, relay, yes, as_json=as_json)
    if as_json:
        click.echo(render_json(outcome_document(run, outcome, notes)), nl=False)
    else:
        for line in _lines(run, outcome):
            click.echo(console.masked(line))
    told = error or _error_of(outcome)
    if told is not None:
        console.error(told)
    ctx.exit(outcome.code)


def plan_of(call: Call, host: "HostSpec") -> "DcPlan":
    """The plan of a host, its release found on the media if need be."""
    from builder.domain.plan import make_dc_plan
    from builder.planning import with_release

    shelf = shelf_of_call()
    windows = shelf.windows(host.windows_iso) if host.windows_iso else None
    return make_dc_plan(with_release(host, windows), site=call.site.spec.name)


def inspect_media(host: "HostSpec") -> "MediaFacts":
    """Whether the Windows to install is an evaluation; None for media that were not read."""
    from builder import __version__
    from builder.cli.passwords import placeholder_secrets
    from builder.domain.facts import MediaFacts
    from builder.planning import plan_host

    secrets = placeholder_secrets(host)
    try:
        plan = plan_host(host, site="", shelf=shelf_of_call(), secrets=secrets, version=__version__)
    except WinseedError as error:
        if error.code is not ExitCode.UNSAFE:
            raise
        return MediaFacts(evaluation=True if host.windows_iso else None)
    return MediaFacts(evaluation=False if plan.verified else None)


def gather_dc_secrets(host: "HostSpec", console: Console, *, credential: bool) -> "DcSecrets":
    """Both passwords: from a file, the environment, or a terminal. What is missing stays empty."""
    from builder.domain.calls import DcSecrets

    dc = host.dc
    secrets = DcSecrets(
        restore_mode=_secret(
            dc.dsrm_password_file, dc.dsrm_password_env, "Restore mode (DSRM) password"
        ),
        credential=_secret(
            dc.credential_password_file,
            dc.credential_password_env,
            f"Password of {dc.credential_user}",
        )
        if credential
        else DcSecrets().credential,
    )
    console.hide(secrets.restore_mode.reveal(), secrets.credential.reveal())
    return secrets


def _secret(file: Path | None, variable: str | None, prompt: str) -> "Secret":
    from builder.media.attachment import load_secret_text
    from builder.values import Secret

    if file is not None:
        return Secret(load_secret_text(file).partition("\n")[0].rstrip("\r"))
    if variable:
        return Secret(os.environ.get(variable, ""))
    if not sys.stdin.isatty():
        return Secret("")
    return Secret(str(click.prompt(prompt, hide_input=True, err=True)))


def _make_run(
    verb: str, *, plan: "DcPlan", case: Any, shop: Any, console: Console, notes: list[str],
    policy: Any, accepted: frozenset[str], resume: bool, as_json: bool,
) -> "DcRun":  # fmt: skip
    from builder.domain.change.begin import begin_change, take_up_change
    from builder.domain.change.outlook import look_out
    from builder.domain.change.run import DcRun
    from builder.domain.plan import Mode
    from builder.domain.preflight import preflight_lines
    from builder.install.jobs import make_teller

    entropy = make_entropy(console)
    taken = resume or policy.undo
    begin = take_up_change if taken else begin_change
    secrets = gather_dc_secrets(case.host, console, credential=plan.mode is not Mode.NEW_FOREST)
    journal = begin(case.folder, plan, verb, entropy)

    def note(text: str) -> None:
        notes.append(text)
        console.line(text)

    def warn(text: str) -> None:
        notes.append(text)
        console.warn(text)

    def show(preflight: Any) -> None:
        for line in preflight_lines(preflight):
            # standard output belongs to JSON where that is asked for
            click.echo(line, err=as_json)

    run = DcRun(
        shop=shop, case=case, plan=plan, journal=journal, entropy=entropy, secrets=secrets,
        media=inspect_media(case.host), policy=policy, accepted=accepted, outlook=look_out(),
        tell=make_teller(shop, plan.host), show=show, note=note, warn=warn,
    )  # fmt: skip
    if resume:
        from builder.domain.change.carry import resume as take_up

        take_up(run)
    return run


def _go(
    run: "DcRun", console: Console, relay: Relay, yes: str | None, *, as_json: bool
) -> tuple["Outcome", WinseedError | None]:
    """Go on until nobody has to be asked any more."""
    from builder.domain.change.carry import carry_on, confirm
    from builder.domain.change.told import broken_off, outcome_of
    from builder.domain.machine import Ask
    from builder.install.fleet import Interrupted

    try:
        while True:
            with telling(console, relay, as_json=as_json):
                ending = carry_on(run)
            if not isinstance(ending, Ask):
                return outcome_of(run, ending), None
            typed = yes or _ask(run, ending.expected)
            if typed is None:
                return outcome_of(run, ending), None
            confirm(run, typed)
    except WinseedError as error:
        return broken_off(run, error), error
    except (KeyboardInterrupt, Interrupted, click.Abort):
        return broken_off(run, None), None


def _ask(run: "DcRun", expected: str) -> str | None:
    """What a person types, None where there is nobody."""
    if not sys.stdin.isatty():
        return None
    what = f"{run.call}: from here on the domain and its disks are changed"
    return str(click.prompt(f"{what}.\nType {expected} to go on", err=True))


def _lines(run: "DcRun", outcome: "Outcome") -> list[str]:
    at = f" at {outcome.step.value}" if outcome.step and outcome.code else ""
    lines = [f"{run.plan.fqdn}: {outcome.ending}{at}", *(f"  {line}" for line in outcome.lines)]
    return [*lines, f"  next: {outcome.next}"] if outcome.next else lines


def _error_of(outcome: "Outcome") -> WinseedError | None:
    if outcome.code is ExitCode.DONE or outcome.ending == "interrupted":
        return None
    return WinseedError(outcome.reason, code=outcome.code, hint=outcome.next)
