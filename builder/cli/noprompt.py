"""`winseed noprompt`: a Windows disc that starts without "Press any key"."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.errors import ExitCode, WinseedError

if TYPE_CHECKING:
    from builder.boot_choice import Change, Written

LOOP = (
    "it starts without a key whenever the firmware comes to it: put the empty install disk before"
    " it in the boot order, or Setup starts again at each restart (docs/noprompt.md)"
)


@click.command("noprompt")
@click.argument("disc", type=Path, metavar="WINDOWS.iso")
@click.option(
    "-o",
    "--output",
    type=Path,
    metavar="FILE",
    help="The copy to write. Default: NAME-noprompt.iso beside the disc; NAME-prompt.iso with"
    " --revert.",
)
@click.option("--in-place", is_flag=True, help="Change the disc itself: six bytes.")
@click.option("--revert", is_flag=True, help="Ask for a key again; gives the original bytes.")
@click.option("--force", is_flag=True, help="Replace a file with other content.")
@click.option("--dry-run", is_flag=True, help="Look, tell what would be written, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    disc: Path,
    output: Path | None,
    in_place: bool,
    revert: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a Windows disc start Setup under UEFI without "Press any key to boot from CD".

    Six bytes of its boot catalog point at efisys_noprompt.bin then, which is on the disc already.
    Refuses (exit code 3) every disc that it does not understand. BIOS is not covered. Keep the
    install disk before the CD in the boot order.
    """
    from builder.boot_choice import Written, make_change, write_change
    from builder.cli.main import make_console
    from builder.media.noprompt import BootChoice

    if output is not None and in_place:
        raise WinseedError("-o and --in-place exclude each other", code=ExitCode.SPEC)
    choice = BootChoice.PROMPT if revert else BootChoice.NO_PROMPT
    beside = disc.with_name(f"{disc.stem}-{'prompt' if revert else 'noprompt'}.iso")
    target = None if in_place else output or beside
    target = _in_folder(target, disc)
    change = make_change(disc, choice, target)
    console = make_console()
    written = Written.NOTHING
    if not dry_run:
        written = write_change(change, watch=console.progress, force=force)
    if as_json:
        from builder.report import VERSION, render_json

        document = {"version": VERSION, **change_document(change, written, dry_run=dry_run)}
        click.echo(render_json(document), nl=False)
    else:
        click.echo("\n".join(change_lines(change, written, dry_run=dry_run)))
    if choice is BootChoice.NO_PROMPT:
        console.note(LOOP)


def _in_folder(target: Path | None, disc: Path) -> Path | None:
    """A folder given with -o takes the disc's own name."""
    return target / disc.name if target is not None and target.is_dir() else target


def change_document(change: "Change", written: "Written", *, dry_run: bool) -> dict[str, Any]:
    """The result as JSON values; bytes in hex."""
    pointer = change.pointer
    return {
        "disc": str(pointer.path),
        "volume_id": pointer.volume_id,
        "size": pointer.size,
        "target": str(change.target),
        "found": pointer.choice.value,
        "choice": change.choice.value,
        "written": written.value,
        "dry_run": dry_run,
        "offset": pointer.offset,
        "before": pointer.current.hex(),
        "after": pointer.bytes_for(change.choice).hex(),
    }


def change_lines(change: "Change", written: "Written", *, dry_run: bool) -> list[str]:
    """The result as text."""
    from builder.boot_choice import Written

    pointer = change.pointer
    before, after = pointer.current.hex(" "), pointer.bytes_for(change.choice).hex(" ")
    asks = {"prompt": "asks for a key", "no-prompt": "starts without a key"}
    place = f"bytes {pointer.offset} to {pointer.offset + len(pointer.current) - 1}"
    if pointer.choice is change.choice:
        what = f"{pointer.path}: {asks[change.choice.value]} already, nothing to change"
        if change.in_place:
            return [what]
        first = [what]
    else:
        first = [f"{pointer.path}: {asks[pointer.choice.value]}; {place}: {before} -> {after}"]
    how = {
        Written.NOTHING: "is there already, with these bytes",
        Written.IN_PLACE: "changed in place",
        Written.COPY_SHARED: "written; shares its blocks with the disc",
        Written.COPY_WRITTEN: "written",
    }[written]
    how = "not written: --dry-run" if dry_run else f"{how}; {asks[change.choice.value]}"
    return [*first, f"{change.target}: {how}"]
