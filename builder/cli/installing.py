"""What the verbs share that install: secrets, workshop, events, the summary and its exit code."""

import contextlib
import json
import secrets as random_source
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder import __version__
from builder.cli.options import Call, shelf_of_call
from builder.console import Console
from builder.errors import ExitCode, WinseedError, combine_errors

if TYPE_CHECKING:
    from builder.install.fleet import HostResult
    from builder.install.jobs import Workshop
    from builder.install.opening import Case, Entropy, Opened
    from builder.proxmox.api import Api
    from builder.proxmox.checkup import HostCheckup
    from builder.rehearsal.model import Rehearsal
    from builder.spec.model import HostSpec

FOLDER = "dist"
VERSION = 1


def output_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the folders of the hosts lie."""
    return click.option(
        "-o", "--output", type=Path, default=Path(FOLDER), show_default=True,
        help="Folder of the hosts' folders: journals, passwords, evidence.",
    )(function)  # fmt: skip


def password_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The final password of the built-in account."""
    return click.option(
        "--admin-password-file",
        metavar="FILE",
        help="Administrator's final password, first line; - is standard input. Default: "
        "WINSEED_ADMIN_PASSWORD, else a random one.",
    )(function)


def folder_of(output: Path, host: str) -> Path:
    """The folder of one host."""
    return output / host.lower()


def make_cases(
    call: Call, output: Path, password_file: str | None, console: Console
) -> list["Case"]:
    """Every host with its secrets; all that is missing is told at once."""
    from builder.cli.passwords import gather_lasting, given_password
    from builder.install.opening import Case

    administrator = given_password(password_file)
    cases, failed = [], []
    for host in call.site.hosts:
        try:
            accounts, join_blob = gather_lasting(host)
        except WinseedError as error:
            failed.append(error)
            continue
        hidden = [*accounts.values(), *([join_blob] if join_blob else [])]
        console.hide(*(secret.reveal() for secret in hidden))
        cases.append(
            Case(
                host=host,
                proxmox=call.site.proxmox,
                site=call.site.spec.name,
                folder=folder_of(output, host.name),
                shelf=shelf_of_call(),
                administrator=administrator,
                accounts=accounts,
                join_blob=join_blob,
                version=__version__,
            )
        )
    if administrator:
        console.hide(administrator.reveal())
    if failed:
        raise combine_errors(failed, len(call.site.hosts))
    return cases


def make_entropy(console: Console) -> "Entropy":
    """Where chance and the date come from; a password that is drawn is masked at once."""
    from builder.cli.passwords import draw_password
    from builder.install.opening import Entropy
    from builder.values import Secret

    def password() -> Secret:
        secret = draw_password()
        console.hide(secret.reveal())
        return secret

    return Entropy(token=random_source.token_hex, password=password, now=lambda: int(time.time()))


def make_pause(stop: threading.Event) -> Callable[[float], None]:
    """Pauses that Ctrl-C ends; the run ends with them."""
    from builder.install.fleet import Interrupted

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise Interrupted

    return pause


class Relay:
    """Where events go, known when the runs begin: a table that moves is in nobody's way before."""

    def __init__(self) -> None:
        self.sink: Callable[[Any], None] | None = None

    def __call__(self, event: Any) -> None:
        """Hand an event on; before anybody listens nothing happens that is worth telling."""
        if self.sink is not None:
            # whoever reads may have gone (`| head`): that ends no installation
            with contextlib.suppress(OSError):
                self.sink(event)


def make_workshop(api: "Api", relay: Relay) -> "Workshop":
    """What all hosts of a call share."""
    from builder.install.jobs import Workshop
    from builder.install.poll import StatePoll
    from builder.install.run import Limits
    from builder.install.sight import look_at_screen, read_serial
    from builder.install.witness import Witness

    limits = Limits()
    witness = Witness(
        emit=relay,
        poll=StatePoll(api),
        slots=limits.agents,
        serial=read_serial,
        look=look_at_screen,
    )
    return Workshop(api=api, limits=limits, witness=witness)


@contextlib.contextmanager
def telling(console: Console, relay: Relay, *, as_json: bool) -> Iterator[None]:
    """Show events while this lasts: lines of JSON on standard output, else a table or lines."""
    import datetime as dt

    from builder.install.board import show_events
    from builder.install.events import join_sinks, render_event

    def tell_json(event: Any) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        sys.stdout.write(console.masked(render_event(event, time=now)) + "\n")
        sys.stdout.flush()

    with contextlib.ExitStack() as stack:
        sink = tell_json if as_json else stack.enter_context(show_events(console, time.monotonic))
        relay.sink = join_sinks(sink)
        yield
        relay.sink = None


def run_jobs(
    ctx: click.Context,
    jobs: Sequence[Callable[[], "HostResult"]],
    *,
    relay: Relay,
    workers: int,
    stop: threading.Event,
    early: Sequence["HostResult"] = (),
    as_json: bool,
    console: Console,
) -> None:
    """Run them, print what became of each, and end with the gravest exit code."""
    from builder.install.fleet import gravest, run_fleet

    with telling(console, relay, as_json=as_json):
        results = [*early, *run_fleet(jobs, workers=workers, stop=stop)]
    results.sort(key=lambda result: result.host)
    if as_json:
        tell_document({"version": VERSION, "results": [_row(one) for one in results]}, console)
    else:
        for line in _summary(results):
            click.echo(console.masked(line))
    for result in results:
        if result.error is not None:
            console.error(result.error)
    ctx.exit(gravest(results))


def tell_document(document: dict[str, Any], console: Console) -> None:
    """A document on a line of its own: each line on standard output is JSON, the last is this."""
    click.echo(console.masked(json.dumps(document, ensure_ascii=False)))


def open_runs(hosts: Sequence["HostSpec"], output: Path, console: Console) -> Sequence["HostSpec"]:
    """Of several hosts those with an open run, which one call goes on with; or the one host.

    Raises WinseedError (SPEC) when none of them has one.
    """
    from builder.install.journal import load_journal
    from builder.install.opening import is_open

    if len(hosts) == 1:
        return hosts
    found = [one for one in hosts if is_open(load_journal(folder_of(output, one.name)))]
    if not found:
        what = f"none of {len(hosts)} hosts has an open run in {output}"
        hint = "`winseed status` lists every run; -o names their folder"
        raise WinseedError(what, code=ExitCode.SPEC, hint=hint)
    if len(found) < len(hosts):
        console.note(f"{len(hosts) - len(found)} of {len(hosts)} hosts have no open run")
    return found


def _summary(results: Sequence["HostResult"]) -> Iterator[str]:
    width = max((len(result.host) for result in results), default=4)
    for result in results:
        place = f"VM {result.vmid} on {result.node}" if result.vmid else "no VM"
        how = "interrupted" if result.interrupted else result.outcome.value
        if result.error is not None and not result.interrupted:
            how = f"failed, {how}"
        minutes = f"{result.seconds / 60:.0f} min" if result.seconds >= 60 else ""
        yield f"{result.host:<{width}}  {place:<18} {how} {minutes}".rstrip()
        for note in result.notes:
            yield f"{'':<{width}}  {note}"


def _row(result: "HostResult") -> dict[str, Any]:
    error = result.error
    return {
        "host": result.host,
        "node": result.node or None,
        "vmid": result.vmid or None,
        "outcome": result.outcome.value,
        "interrupted": result.interrupted,
        "seconds": round(result.seconds, 1),
        "code": int(result.code),
        "error": error.what if error else None,
        "problems": [str(problem) for problem in error.problems] if error else [],
        "hint": error.hint if error else "",
        "notes": list(result.notes),
    }


def sizes_of(hosts: Sequence["HostSpec"]) -> dict[Path, int]:
    """The bytes of local files; WinseedError (SPEC) for one that is not there."""
    from builder.proxmox.wanted import files_of

    try:
        return {path: path.stat().st_size for host in hosts for path in files_of(host)}
    except OSError as error:
        what = f"cannot read {error.filename}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from None


def refuse_unverified(opened: "Opened", *, allowed: bool) -> None:
    """Raise WinseedError (UNSAFE) when nobody has looked into the Windows ISO."""
    if opened.order.plan.verified or allowed:
        return
    raise WinseedError(
        f"{opened.state.host}: nobody has looked into the Windows ISO {opened.state.windows}",
        code=ExitCode.UNSAFE,
        hint="give a local copy with --windows-iso, or take the risk with --unverified-media",
    )


def tell_doubts(console: Console, found: "HostCheckup", rehearsal: "Rehearsal") -> None:
    """Say what the preflight could not check, and how much of the walk rests on belief."""
    from builder.proxmox.findings import Level
    from builder.rehearsal.model import Verdict

    for finding in found.findings:
        if finding.level is Level.WARN:
            hint = f" ({finding.hint})" if finding.hint else ""
            console.warn(f"{found.host}: {finding.subject}: {finding.what}{hint}")
    risks = sum(step.verdict is Verdict.RISK for step in rehearsal.steps)
    if risks:
        console.note(f"{found.host}: {risks} steps rest on belief; `winseed rehearse` names them")
