"""What the kinds of hand-off share: options, plans, password files, the closing words."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import Call, disc_options, shelf_of_call
from builder.console import Console
from builder.errors import Problem, WinseedError, combine_errors
from builder.record import record

if TYPE_CHECKING:
    from builder.handoff.host import Disc, HostFiles
    from builder.handoff.tree import Tree
    from builder.plan.carrier import Carrier
    from builder.plan.make import Secrets
    from builder.plan.model import Plan
    from builder.rehearsal.model import Rehearsal
    from builder.spec.model import HostSpec


def handoff_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The folder, the hosts and media of `winseed iso`, and what every kind takes."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.argument("out", type=Path, metavar="OUT"),
        disc_options,
        click.option(
            "--admin-password-file",
            metavar="FILE",
            help="Administrator password, first line; - is standard input. Default: "
            "WINSEED_ADMIN_PASSWORD, else a random one-time password.",
        ),
        click.option("--secrets-in-tree", is_flag=True, help="Allow secrets that stay valid."),
        click.option("--dry-run", is_flag=True, help="Check and plan everything, write nothing."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@record
class Handed:
    """What a hand-off wrote. `secrets` are paths of the tree that hold one."""

    kind: str
    out: Path
    plans: tuple["Plan", ...]
    files: int
    size: int
    passwords: tuple[Path, ...]
    secrets: tuple[str, ...]
    rehearsals: tuple["Rehearsal", ...]
    next: str
    asked: bool  # the secrets are asked for where the tree is used


def plan_hosts(
    call: Call,
    console: Console,
    *,
    carrier: "Carrier",
    secrets_of: "Callable[[HostSpec], Secrets]",
) -> "list[Plan]":
    """The plan of every host for `carrier`, or every host's problem at once."""
    from builder import __version__
    from builder.planning import plan_host

    plans = []
    failed = []
    with console.step("read media and plan"):
        for host in call.site.hosts:
            try:
                secrets = secrets_of(host)
                plan = plan_host(
                    host,
                    site=call.site.spec.name,
                    shelf=shelf_of_call(),
                    secrets=secrets,
                    version=__version__,
                    carrier=carrier,
                )
            except WinseedError as error:
                failed.append(error)
            else:
                console.hide(*plan.secrets)
                plans.append(plan)
    if failed:
        raise combine_errors(failed, len(call.site.hosts))
    return plans


def render_plans(call: Call, plans: "Sequence[Plan]", *, epoch: int) -> "list[HostFiles]":
    """The files of every host; WinseedError (ANSWER) when Setup would refuse one."""
    from builder.handoff.host import make_host_files

    pairs = zip(call.site.hosts, plans, strict=True)
    return [make_host_files(plan, disc_of(host), epoch=epoch) for host, plan in pairs]


def disc_of(host: "HostSpec") -> "Disc | None":
    """The Windows disc of `host`, as it was read."""
    from builder.handoff.host import Disc

    if host.windows_iso is None:
        return None
    shelf = shelf_of_call()
    return Disc(image=shelf.image(host.windows_iso), windows=shelf.windows(host.windows_iso))


@contextlib.contextmanager
def password_files(plans: "Sequence[Plan]", out: Path) -> Iterator[tuple[Path, ...]]:
    """Drawn passwords beside the tree, never inside: on disk before it, taken away if it fails."""
    from builder.files import create_private_file

    folder = out.with_name(f"{out.name}.passwords")
    made: list[Path] = []
    try:
        for plan in plans:
            if not plan.administrator.given:
                path = folder / f"{plan.host.lower()}.{plan.fingerprint}.password"
                create_private_file(path, plan.administrator.password.reveal().encode() + b"\n")
                made.append(path)
        if made:
            folder.chmod(0o700)
        yield tuple(made)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


def handed(
    kind: str,
    tree: "Tree",
    out: Path,
    plans: "Sequence[Plan]",
    *,
    passwords: tuple[Path, ...],
    rehearsals: "Sequence[Rehearsal]",
    next_step: str,
    asked: bool = False,
) -> Handed:
    """The result of a tree that is complete."""
    unique = {placed.sha256: placed.size for placed in tree.placed.values()}
    return Handed(
        kind=kind,
        out=out,
        plans=tuple(plans),
        files=len(tree.placed),
        size=sum(unique.values()),
        passwords=passwords,
        secrets=tuple(path for path, placed in sorted(tree.placed.items()) if placed.private),
        rehearsals=tuple(rehearsals),
        next=next_step,
        asked=asked,
    )


def tell(result: Handed, console: Console, *, as_json: bool) -> None:
    """Print the result; secrets in the tree loudly. WinseedError for a walk that stops."""
    from builder.report import render_json

    if as_json:
        click.echo(render_json(_document(result)), nl=False)
    else:
        click.echo("\n".join(_lines(result)))
    if result.secrets:
        shown = ", ".join(result.secrets[:3]) + (" ..." if len(result.secrets) > 3 else "")
        console.warn(
            f"{len(result.secrets)} files in {result.out} hold secrets, mode 0600: {shown}; "
            "delete the tree when the machines are installed"
        )
    stops = [error for walk in result.rehearsals if (error := _stopped(walk))]
    if stops:
        raise combine_errors(stops, len(result.plans))


def tell_dry(plans: "Sequence[Plan]", out: Path, *, as_json: bool) -> None:
    """What would be written."""
    from builder.report import VERSION, render_json

    if as_json:
        rows = [{"host": plan.host, "fingerprint": plan.fingerprint} for plan in plans]
        document = {"version": VERSION, "would_write": {"out": str(out), "hosts": rows}}
        click.echo(render_json(document), nl=False)
        return
    for plan in plans:
        click.echo(f"would write {plan.host} to {out}: {plan.release_name}, {plan.fingerprint}")


def _stopped(walk: "Rehearsal") -> WinseedError | None:
    from builder.rehearsal.model import Verdict

    stops = [step for step in walk.steps if step.verdict is Verdict.STOP]
    if not stops:
        return None
    return WinseedError(
        f"{walk.machine}: the tree is written, but the installation would not get through",
        code=walk.exit_code,
        problems=tuple(Problem(where="", what=step.what, hint=step.fix) for step in stops),
    )


def _document(result: Handed) -> dict[str, Any]:
    from builder.rehearsal.model import Verdict
    from builder.report import VERSION

    walks = [
        {
            "machine": walk.machine,
            **{verdict.value: walk.count(verdict) for verdict in Verdict},
        }
        for walk in result.rehearsals
    ]
    return {
        "version": VERSION,
        "handoff": {
            "kind": result.kind,
            "out": str(result.out),
            "files": result.files,
            "size": result.size,
            "hosts": [
                {
                    "host": plan.host,
                    "release": plan.release,
                    "edition": plan.edition.value,
                    "fingerprint": plan.fingerprint,
                    "macs": [nic.mac for nic in plan.nics],
                    "risks": [risk.id for risk in plan.risks],
                }
                for plan in result.plans
            ],
            "password_files": [str(path) for path in result.passwords],
            "secrets": list(result.secrets),
            "rehearsals": walks,
        },
    }


def _lines(result: Handed) -> list[str]:
    from builder.rehearsal.report import summary_line

    names = ", ".join(plan.host for plan in result.plans[:6])
    more = f" and {len(result.plans) - 6} more" if len(result.plans) > 6 else ""
    passwords = "asked for when the tree is used" if result.asked else "as given"
    if result.passwords:
        passwords = f"{result.passwords[0].parent}/ (one-time, mode 0600)"
    rows = [
        ("wrote", f"{result.out} ({result.size / 1e6:.1f} MB, {result.files} files)"),
        ("hosts", f"{names}{more}"),
        ("password", passwords),
        ("next", result.next),
    ]
    rows += [("open", f"{walk.machine}: {summary_line(walk)}") for walk in result.rehearsals[:6]]
    return [f"{name:<9}{text}" for name, text in rows]
