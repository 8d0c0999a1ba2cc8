"""`winseed lint`: judge answer files, in files, folders and disc images."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click

from builder.answer.document import BYTE_LIMIT
from builder.answer.lint import (
    AnswerKind,
    Finding,
    Level,
    Rule,
    find_release,
    holds_answer,
    lint_answer,
    load_rules,
)
from builder.errors import ExitCode, WinseedError

NAMES = frozenset(("autounattend.xml", "unattend.xml"))
DISC_SUFFIXES = frozenset((".iso", ".img", ".udf"))
DISC_MARK, DISC_MARK_AT = b"CD001", 0x8001  # ECMA-119 8.4.2
LEVELS = {level.value: level for level in Level}
COLORS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.ADVICE: "cyan"}


def _explain(ctx: click.Context, _option: click.Parameter, name: str | None) -> None:
    if name and not ctx.resilient_parsing:
        click.echo(explanation(_rule(name)))
        ctx.exit()


def _show_rules(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(rules_page() if option.name == "rules_page" else rules_table())
        ctx.exit()


@click.command("lint")
@click.argument("paths", nargs=-1, metavar="FILE.xml|DISC.iso|FOLDER ...")
@click.option("--release", metavar="RELEASE", help="The Windows Server it is for, as 2022.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in AnswerKind]),
    help="What the files are for. Default: told by their passes.",
)
@click.option("--ignore", multiple=True, metavar="ID", help="Leave out the findings of a rule.")
@click.option("--level", type=click.Choice(list(LEVELS)), default="advice", help="The least told.")
@click.option("--json", "as_json", is_flag=True, help="Findings as JSON.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Findings as SARIF 2.1.0.")
@click.option(
    "--explain",
    metavar="ID",
    callback=_explain,
    is_eager=True,
    expose_value=False,
    help="Explain a rule, and do nothing else.",
)
@click.option(
    "--rules",
    is_flag=True,
    callback=_show_rules,
    is_eager=True,
    expose_value=False,
    help="List the rules, and do nothing else.",
)
@click.option(
    "--rules-page",
    is_flag=True,
    callback=_show_rules,
    is_eager=True,
    expose_value=False,
    help="Print docs/lint-rules.md.",
)
@click.pass_context
def command(
    ctx: click.Context,
    paths: tuple[str, ...],
    release: str | None,
    kind: str | None,
    ignore: tuple[str, ...],
    level: str,
    as_json: bool,
    as_sarif: bool,
) -> None:
    """Judge answer files: what Windows Setup would refuse, ignore or ask.

    Reads autounattend.xml and unattend.xml files, by themselves, in a folder or on a disc image.
    Exits with 4 when there is an error.
    """
    if not paths:
        raise WinseedError("nothing to judge", code=ExitCode.SPEC, hint="name an answer file")
    if as_json and as_sarif:
        raise WinseedError("--json and --sarif together", code=ExitCode.SPEC, hint="keep one")
    if release:
        find_release(release)
    unwanted = {_rule(name).id for name in ignore}
    given = AnswerKind(kind) if kind else None
    told = list(LEVELS.values())[: list(LEVELS).index(level) + 1]
    judged = [
        (name, _kept(lint_answer(data, name=name, release=release, kind=given), unwanted, told))
        for path in paths
        for name, data in _answer_files(Path(path))
    ]
    _print(judged, as_json=as_json, as_sarif=as_sarif)
    if any(f.level is Level.ERROR for _, findings in judged for f in findings):
        ctx.exit(ExitCode.ANSWER)


def _rule(name: str) -> Rule:
    rule = load_rules().get(name.upper())
    if rule is None:
        raise WinseedError(
            f"there is no rule {name!r}", code=ExitCode.SPEC, hint="winseed lint --rules"
        )
    return rule


def _kept(
    findings: Iterable[Finding], unwanted: set[str], told: list[Level]
) -> tuple[Finding, ...]:
    return tuple(f for f in findings if f.id not in unwanted and f.level in told)


def _answer_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every answer file a path stands for. Raises `WinseedError`."""
    try:
        if path.is_dir():
            yield from _from_folder(path)
            return
        with path.open("rb") as file:
            if not _is_disc(path, file):
                yield _name(path), file.read(BYTE_LIMIT + 1)
                return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WinseedError(
            f"{path}: cannot be read: {reason}", code=ExitCode.SPEC, hint="check the path"
        ) from error
    yield from _from_disc(path)


def _is_disc(path: Path, file: BinaryIO) -> bool:
    if path.suffix.lower() in DISC_SUFFIXES:
        return True
    if not file.seekable():
        return False
    file.seek(DISC_MARK_AT)
    mark = file.read(len(DISC_MARK))
    file.seek(0)
    return mark == DISC_MARK


def _name(path: Path) -> str:
    """The path as a message shows it: nothing in it that a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(path))


def _from_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every answer file below a folder; other XML files are passed over."""
    found = False
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() != ".xml" or not path.is_file():
            continue
        with path.open("rb") as file:
            data = file.read(BYTE_LIMIT + 1)
        if path.name.lower() in NAMES or holds_answer(data):
            found = True
            yield _name(path), data
    if not found:
        raise WinseedError(
            f"{folder}: there is no answer file in it",
            code=ExitCode.SPEC,
            hint="name an autounattend.xml",
        )


def _from_disc(path: Path) -> Iterator[tuple[str, bytes]]:
    from builder.media.image import inspect_image

    image = inspect_image(path)
    found = False
    for file in image.files.values():
        if not file.path.lower().endswith(".xml") or file.size > BYTE_LIMIT:
            continue
        top = "/" not in file.path
        if not top and file.path.rpartition("/")[2].lower() not in NAMES:
            continue
        data = image.read(file)
        if file.path.rpartition("/")[2].lower() in NAMES or holds_answer(data):
            found = True
            yield f"{_name(path)}/{file.path}", data
    if not found:
        raise WinseedError(
            f"{path}: there is no answer file on this disc",
            code=ExitCode.SPEC,
            hint="Setup looks for Autounattend.xml at the root of the disc",
        )


def _print(judged: list[tuple[str, tuple[Finding, ...]]], *, as_json: bool, as_sarif: bool) -> None:
    if as_sarif:
        from builder import __version__
        from builder.answer.sarif import render_sarif

        every = [finding for _, findings in judged for finding in findings]
        click.echo(render_sarif(every, load_rules().values(), version=__version__))
    elif as_json:
        click.echo(render_json(judged))
    else:
        for _, findings in judged:
            for finding in findings:
                click.echo(finding_text(finding))
        click.echo(_closing(judged))


def render_json(judged: list[tuple[str, tuple[Finding, ...]]]) -> str:
    """The findings of every file, with a version of the form."""
    files = [
        {"name": name, "findings": [{**asdict(f), "level": f.level.value} for f in findings]}
        for name, findings in judged
    ]
    counts = {level.value: _count(judged, level) for level in Level}
    return json.dumps({"version": 1, "files": files, "count": counts}, indent=1)


def finding_text(finding: Finding) -> str:
    """A finding as a person reads it: place, what, effect, way out."""
    label = click.style(finding.level.value, fg=COLORS[finding.level])
    place = f"{finding.name}:{finding.line}:{finding.column}"
    return (
        f"{place}: {label} {finding.id}: {finding.what}\n"
        f"    {finding.effect}\n    {finding.fix} [{finding.source}]"
    )


def _closing(judged: list[tuple[str, tuple[Finding, ...]]]) -> str:
    counts = [(_count(judged, level), level.value) for level in Level]
    told = ", ".join(
        f"{n} {name}{'s' if n != 1 and name != 'advice' else ''}" for n, name in counts
    )
    return f"{len(judged)} file{'s' if len(judged) != 1 else ''}: {told}"


def _count(judged: list[tuple[str, tuple[Finding, ...]]], level: Level) -> int:
    return sum(finding.level is level for _, findings in judged for finding in findings)


WEIGHTS = {
    "F": "read in a document",
    "V": "seen in public files or tests",
    "R": "reported in public",
    "I": "inferred",
    "B": "belief",
}


def explanation(rule: Rule) -> str:
    """A rule at length."""
    return (
        f"{rule.id} ({rule.level.value}): {rule.title}\n\n"
        f"{rule.effect}\nWhat to do: {rule.fix}\n\n"
        f"Weight: {WEIGHTS[rule.mark]}\nSource: {rule.source}"
    )


def rules_table() -> str:
    """All rules, one a line."""
    return "\n".join(
        f"{rule.id}  {rule.level.value:<8} {rule.title}" for rule in load_rules().values()
    )


def rules_page() -> str:
    """The page `docs/lint-rules.md`."""
    lines = [
        "# Rules of `winseed lint`",
        "",
        "Made by `winseed lint --rules-page`. An error stops Setup or loses what was asked for,",
        "a warning may, advice is worth knowing. *Weight* is how well the effect is known.",
        "",
        "| id | level | rule | what Setup does | what to do | weight | source |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in load_rules().values():
        cells = (rule.title, rule.effect, rule.fix, WEIGHTS[rule.mark], rule.source)
        told = " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
        lines.append(f"| {rule.id} | {rule.level.value} | {told} |")
    return "\n".join(lines)
