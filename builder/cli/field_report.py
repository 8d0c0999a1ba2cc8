"""`winseed field-report`: what a real run showed, fit to be published, and what it settles."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.field.bundle import Bundle
    from builder.field.evidence import Cleaned, Sources
    from builder.field.judge import Judged

FOLDER = "dist"
PASSWORD = "WINSEED_ADMIN_PASSWORD"  # noqa: S105 - the name of a variable


@click.command("field-report")
@click.argument("sources", nargs=-1, type=Path, metavar="HOST|FILE...")
@click.option("--read", "bundle", type=Path, metavar="BUNDLE", help="Judge a bundle instead.")
@click.option("-o", "--output", type=Path, metavar="FILE", help="Default: field-report.zip.")
@click.option(
    "--folder",
    type=Path,
    default=Path(FOLDER),
    show_default=True,
    metavar="DIR",
    help="Where the hosts' folders and manifests lie.",
)
@click.option(
    "--secret-file",
    "secret_files",
    multiple=True,
    type=Path,
    metavar="FILE",
    help="Further secrets that must not appear, one on each line.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be bundled, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    sources: tuple[Path, ...],
    bundle: Path | None,
    output: Path | None,
    folder: Path,
    secret_files: tuple[Path, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bundle what a run left, without secrets and names, or judge such a bundle.

    Takes a host (its folder and manifest below dist/), folders, or files: manifest, rehearsal,
    journal, done.json, setupact.log, setuperr.log, COM1, our own logs, an answer ISO. --read says
    which beliefs of docs/field-test.md a bundle confirms or refutes. Look at a bundle before you
    publish it.
    """  # fmt: skip
    if bundle is not None:
        if sources or output:
            raise WinseedError("--read takes a bundle and nothing else", code=ExitCode.SPEC)
        _read(bundle, as_json=as_json)
        return
    if not sources:
        hint = "winseed field-report HOST, or --read BUNDLE"
        raise WinseedError("name a host or files of a run", code=ExitCode.SPEC, hint=hint)
    _write(
        sources, folder, secret_files, output or Path("field-report.zip"),
        dry_run=dry_run, as_json=as_json,
    )  # fmt: skip


def _write(
    sources: tuple[Path, ...],
    folder: Path,
    secret_files: tuple[Path, ...],
    target: Path,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    from builder import __version__
    from builder.field.bundle import render_bundle
    from builder.field.evidence import clean
    from builder.field.tables import load_tables
    from builder.files import write_file
    from builder.report import VERSION, render_json

    tables = load_tables()
    cleaned = clean(_gather(sources, folder), tables, secrets=_secrets(secret_files))
    if not cleaned.files:
        what = "none of these files belongs into a field report"
        hint = (
            "it takes manifests, journals, rehearsals and logs by their names: docs/field-test.md"
        )
        raise WinseedError(what, code=ExitCode.SPEC, hint=hint)
    data = render_bundle(cleaned, winseed=__version__)
    if not dry_run:
        write_file(target, data)
    if as_json:
        document = {"version": VERSION, "bundle": str(target), "written": not dry_run}
        click.echo(render_json(document | _cleaned_document(cleaned)), nl=False)
    else:
        click.echo("\n".join(_cleaned_lines(cleaned, target, dry_run=dry_run)))


def _gather(sources: tuple[Path, ...], folder: Path) -> "Sources":
    """A host becomes its folder and files; an answer ISO gives its manifest and a rehearsal."""
    import dataclasses

    from builder.field.evidence import inspect_sources
    from builder.field.tables import load_tables

    paths = [path for source in sources for path in _paths(source, folder)]
    isos = [path for path in paths if path.suffix.lower() == ".iso"]
    found = inspect_sources([path for path in paths if path not in isos], load_tables())
    made = tuple(file for iso in isos for file in _from_iso(iso))
    taken = {file.kind.key for file in found.files}
    made = tuple(file for file in made if file.kind.key not in taken)
    return dataclasses.replace(found, files=(*found.files, *made))


def _paths(source: Path, folder: Path) -> list[Path]:
    if source.exists() or len(source.parts) != 1:
        return [source]
    name = source.name.lower()
    found = [path for path in folder.glob("*") if _belongs(path, name)]
    if not found:
        what = f"{source} is neither a file nor a host with files below {folder}"
        hint = "name the files themselves, or the folder with --folder"
        raise WinseedError(what, code=ExitCode.SPEC, hint=hint)
    return sorted(found)


def _belongs(path: Path, host: str) -> bool:
    """The host's folder, and what `winseed iso` names HOST-RELEASE-EDITION."""
    name = path.name.lower()
    if path.is_dir():
        return name == host
    release_edition = name.removeprefix(f"{host}-").partition(".")[0]
    own = name.startswith(f"{host}-") and release_edition.count("-") == 1
    return own and name.endswith((".manifest.json", ".password", ".iso"))


def _from_iso(path: Path) -> list[Any]:
    """The manifest of an answer ISO, and what `winseed rehearse` says of it."""
    from builder.field.evidence import SourceFile
    from builder.field.tables import load_tables
    from builder.manifest import PATH, inspect_manifest
    from builder.media.image import inspect_image
    from builder.rehearsal.make import rehearse
    from builder.rehearsal.report import rehearsal_document
    from builder.rehearsal.sources import gather_facts
    from builder.report import VERSION, render_json

    inspect_manifest(path)
    image = inspect_image(path)
    file = image.find(PATH)
    manifest = image.read(file).decode() if file else "{}"
    gathered = gather_facts(path, [], configuration=None, machine=None, content=None)
    walked = rehearsal_document(rehearse(gathered.facts))
    rehearsal = render_json({"version": VERSION, "rehearsals": [walked]}).decode()
    kinds = {kind.key: kind for kind in load_tables().kinds}
    return [
        SourceFile(kind=kinds["manifest"], name="manifest.json", text=manifest),
        SourceFile(kind=kinds["rehearsal"], name="rehearsal.json", text=rehearsal),
    ]


def _secrets(files: tuple[Path, ...]) -> tuple[str, ...]:
    found = [os.environ.get(PASSWORD, "")]
    for path in files:
        try:
            found += path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise WinseedError(f"cannot read {path}: {reason}", code=ExitCode.SPEC) from None
    return tuple(text for text in found if text)


def _cleaned_document(cleaned: "Cleaned") -> dict[str, Any]:
    return {
        "files": [
            {"path": file.path, "kind": file.kind, "cut": file.cut} for file in cleaned.files
        ],
        "removed": cleaned.removed,
        "left_out": list(cleaned.left_out),
    }


def _cleaned_lines(cleaned: "Cleaned", target: Path, *, dry_run: bool) -> list[str]:
    from builder.names import printable

    width = max(len(file.path) for file in cleaned.files)
    files = [
        f"  {file.path:<{width}}  {len(file.text):>9,} characters{', its end' if file.cut else ''}"
        for file in cleaned.files
    ]
    removed = [f"  {count:>6} x {what}" for what, count in cleaned.removed.items()]
    left_out = [f"  {printable(name)}" for name in cleaned.left_out]
    head = "would hold" if dry_run else "holds"
    lines = [f"{target} {head}:", *files]
    lines += ["removed from it:", *(removed or ["  nothing"])]
    lines += ["left out:", *left_out] if left_out else []
    return [*lines, "read it before you publish it: what looks harmless to us may not be to you"]


def _read(path: Path, *, as_json: bool) -> None:
    from builder.cli.main import make_console
    from builder.field.bundle import inspect_bundle
    from builder.field.judge import foreign_builds, judge_bundle
    from builder.field.tables import load_tables
    from builder.plan.beliefs import beliefs
    from builder.report import VERSION, render_json

    bundle = inspect_bundle(path)
    judged = judge_bundle(bundle, tuple(beliefs()), load_tables())
    foreign = foreign_builds(bundle)
    if foreign:
        make_console().warn(f"its logs are of another build too: {', '.join(foreign)}")
    if as_json:
        rows = [_judged_document(one) for one in judged]
        document = {
            "version": VERSION,
            "winseed": bundle.winseed,
            "other_builds": list(foreign),
            "beliefs": rows,
        }
        click.echo(render_json(document), nl=False)
    else:
        click.echo("\n".join(_judged_lines(bundle, judged)))


def _judged_document(judged: "Judged") -> dict[str, Any]:
    return {
        "id": judged.belief,
        "finding": judged.finding.value,
        "reasons": [
            {
                "finding": reason.finding.value,
                "why": reason.why,
                "seen": list(reason.seen),
                "guess": reason.guess,
            }
            for reason in judged.reasons
        ],
        "settled_by": judged.settled_by,
    }


def _judged_lines(bundle: "Bundle", judged: list["Judged"]) -> list[str]:
    from builder.names import printable

    lines = [f"field report of winseed {printable(bundle.winseed)}, {len(bundle.files)} files"]
    for one in judged:
        lines.append(f"{one.belief}  {one.finding.value}")
        for reason in one.reasons:
            doubt = " (the wording is a guess: read the line)" if reason.guess else ""
            mark = "" if reason.finding is one.finding else f"{reason.finding.value}: "
            lines.append(f"      {mark}{reason.why}{doubt}")
            lines += [f"        {printable(place)}" for place in reason.seen]
        if one.settled_by:
            lines.append(f"      no log tells; what could: {one.settled_by}")
    findings = [one.finding.value for one in judged]
    words = ("confirmed", "refuted", "not seen")
    return [*lines, ", ".join(f"{findings.count(word)} {word}" for word in words)]
