"""Files of a run -> what may go into a bundle: documents by their paths, logs without secrets."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from builder.errors import ExitCode, WinseedError
from builder.field.scrub import Name, Scrubber, counted, known_forms
from builder.field.tables import FieldTables, FileKind, kept_values, values_at
from builder.names import printable
from builder.record import record

LARGEST = 32 << 20  # bytes of one file; of a longer log the end is taken
MOST_FILES = 200
PASSWORDS = ("*.password",)  # what `winseed iso` and `deploy` write passwords to


@record
class SourceFile:
    """A file of a run: its kind, its name, its text as it is."""

    kind: FileKind
    name: str
    text: str
    cut: bool = False


@record
class Sources:
    """What was found: usable files, names of files that are of no use, and secrets to look for."""

    files: tuple[SourceFile, ...]
    left_out: tuple[str, ...]
    secrets: tuple[str, ...]


@record
class CleanFile:
    """A file of a bundle; `text` holds no secret."""

    path: str
    kind: str
    text: str
    cut: bool = False


@record
class Cleaned:
    """What goes into a bundle, what was removed (sort, times), and how much was left out."""

    files: tuple[CleanFile, ...]
    removed: dict[str, int]
    left_out: tuple[str, ...]


def inspect_sources(paths: Iterable[Path], tables: FieldTables) -> Sources:
    """Read files; of a folder those in it and in its `logs`. WinseedError (SPEC) when one cannot.

    Password files are read to know what must not appear, and never taken.
    """
    files: list[SourceFile] = []
    left_out: list[str] = []
    secrets: list[str] = []
    for path in dict.fromkeys(file for given in paths for file in _files(given)):
        if any(path.match(pattern) for pattern in PASSWORDS):
            secrets += _read(path)[0].split("\n")
            continue
        kind = tables.kind_of(path.name)
        if kind is None:
            left_out.append(path.name)
            continue
        text, cut = _read(path)
        files.append(SourceFile(kind=kind, name=path.name, text=text, cut=cut))
        if len(files) > MOST_FILES:
            what = f"more than {MOST_FILES} files: name those of one run"
            raise WinseedError(what, code=ExitCode.SPEC)
    return Sources(
        files=tuple(files),
        left_out=tuple(sorted(left_out)),
        secrets=tuple(secret.strip() for secret in secrets if secret.strip()),
    )


def clean(sources: Sources, tables: FieldTables, *, secrets: Iterable[str] = ()) -> Cleaned:
    """What a stranger may see of the files.

    Raises WinseedError: SPEC for a document that is no JSON, UNSAFE when a known secret would
    still be in a text, whatever the reason.
    """
    known = tuple(dict.fromkeys((*sources.secrets, *secrets)))
    documents = [_load(file) for file in sources.files if not file.kind.text]
    names = [name for kind, value in documents for name in _names(kind, value, tables)]
    scrubber = Scrubber(names=names, secrets=known, common=tables.common)
    taken: set[str] = set()
    files = []
    for file in sources.files:
        if file.kind.text:
            text = scrubber.scrub(file.text)
        else:
            values = kept_values(_load(file)[1], file.kind.keep)
            text = json.dumps(scrubber.scrub_values(values), indent=1, ensure_ascii=False) + "\n"
        path = _place(file, taken)
        files.append(CleanFile(path=path, kind=file.kind.key, text=text, cut=file.cut))
    left_out = tuple(scrubber.scrub(name) for name in sources.left_out)
    _check(files, left_out, known)
    return Cleaned(
        files=tuple(sorted(files, key=lambda file: file.path)),
        removed=counted(scrubber.removed),
        left_out=left_out,
    )


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        inner = [path, *(sub for sub in path.iterdir() if sub.is_dir() and sub.name == "logs")]
        return sorted(file for folder in inner for file in folder.iterdir() if file.is_file())
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(path: Path) -> tuple[str, bool]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LARGEST))
            content = file.read(LARGEST)
    except OSError as error:
        raise _unreadable(path, error) from error
    text = _decode(content)
    if size <= LARGEST:
        return text, False
    return text.partition("\n")[2], True  # half a line might hold half a secret


def _decode(content: bytes) -> str:
    """Windows writes UTF-16, UTF-8 and its own code page; the end of a UTF-16 log has no mark."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if content[1:4000:2].count(0) > len(content[1:4000:2]) // 2:
        return content.decode("utf-16-le", "replace")
    try:
        return content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _load(file: SourceFile) -> tuple[str, Any]:
    try:
        return file.kind.key, json.loads(file.text)
    except (ValueError, RecursionError):
        what = f"{printable(file.name)} is no JSON, though its name says {file.kind.key}"
        hint = "leave it out, or give the file that winseed wrote"
        raise WinseedError(what, code=ExitCode.SPEC, hint=hint) from None


def _names(kind: str, value: Any, tables: FieldTables) -> list[Name]:
    return [
        Name(sort=private.sort, text=text)
        for private in tables.private
        if private.kind == kind
        for text in values_at(value, private.path)
        if isinstance(text, str)
    ]


def _place(file: SourceFile, taken: set[str]) -> str:
    """A path by kind, never by the file's own name: that may name the host."""
    known = [name for name in file.kind.names if "*" not in name]
    own = file.name.lower()
    base = own if own in known else f"{file.kind.key}.{'log' if file.kind.text else 'json'}"
    folder = "logs/" if file.kind.text else ""
    stem, _, suffix = base.rpartition(".")
    path, number = f"{folder}{base}", 1
    while path in taken:
        number += 1
        path = f"{folder}{stem}-{number}.{suffix}"
    taken.add(path)
    return path


def _check(files: list[CleanFile], left_out: tuple[str, ...], secrets: tuple[str, ...]) -> None:
    forms = known_forms(secrets)
    if not forms:
        return
    look = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE)
    found = [file.path for file in files if look.search(file.text)]
    found += ["the list of files"] if any(look.search(name) for name in left_out) else []
    if found:
        what = f"a known secret would be in {', '.join(found)}; nothing was written"
        hint = "leave that file out, and report this: scrubbing has failed"
        raise WinseedError(what, code=ExitCode.UNSAFE, hint=hint)


def _unreadable(path: Path, error: OSError) -> WinseedError:
    what = f"cannot read {printable(path)}: {error.strerror or error}"
    return WinseedError(what, code=ExitCode.SPEC, hint="name a host, its folder, or files of a run")
