"""A bundle: one zip of texts, the same bytes for the same texts, that anybody can read first."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from builder.errors import ExitCode, WinseedError
from builder.field.evidence import LARGEST, MOST_FILES, Cleaned, CleanFile
from builder.names import printable
from builder.record import record

VERSION = 1
INDEX = "field-report.json"
MOMENT = (1980, 1, 1, 0, 0, 0)  # the first that a zip can tell
LARGEST_BUNDLE = 4 * LARGEST
LARGEST_INDEX = 1 << 20


@record
class Bundle:
    """A bundle that was read; `removed` and `left_out` as its maker listed them."""

    winseed: str
    files: tuple[CleanFile, ...]
    removed: dict[str, int]
    left_out: tuple[str, ...]


def render_bundle(cleaned: Cleaned, *, winseed: str) -> bytes:
    """The zip: an index of what is in it and what was removed, then the files."""
    index = {
        "version": VERSION,
        "winseed": winseed,
        "files": [
            {
                "path": file.path,
                "kind": file.kind,
                "size": len(file.text.encode()),
                "sha256": hashlib.sha256(file.text.encode()).hexdigest(),
                "cut": file.cut,
            }
            for file in cleaned.files
        ],
        "removed": cleaned.removed,
        "left_out": list(cleaned.left_out),
    }
    texts = [(INDEX, json.dumps(index, indent=1) + "\n")]
    texts += [(file.path, file.text) for file in cleaned.files]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, text in texts:
            entry = zipfile.ZipInfo(path, MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text.encode())
    return target.getvalue()


def inspect_bundle(path: Path) -> Bundle:
    """Read a bundle; WinseedError (SPEC) for any other file, and for a damaged or oversized one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _load_bundle(archive)
    except OSError as error:
        what = f"cannot read {printable(path)}: {error.strerror or error}"
        raise WinseedError(what, code=ExitCode.SPEC) from error
    except (zipfile.BadZipFile, _NoBundleError) as error:
        raise _no_bundle(path, str(error)) from error
    except Exception as error:
        # zipfile raises zlib.error, NotImplementedError, RuntimeError, struct.error and more
        raise _no_bundle(path, type(error).__name__) from error


class _NoBundleError(Exception):
    pass


def _load_bundle(archive: zipfile.ZipFile) -> Bundle:
    entries = archive.infolist()
    if len(entries) > MOST_FILES + 1 or sum(entry.file_size for entry in entries) > LARGEST_BUNDLE:
        raise _NoBundleError("too large")
    index = json.loads(_content(archive, INDEX, LARGEST_INDEX))
    if index["version"] != VERSION:
        raise _NoBundleError(f"version {index['version']}, expected {VERSION}")
    return Bundle(
        winseed=str(index["winseed"]),
        files=tuple(_load_file(archive, row) for row in index["files"]),
        removed={str(key): int(count) for key, count in index["removed"].items()},
        left_out=tuple(map(str, index["left_out"])),
    )


def _load_file(archive: zipfile.ZipFile, row: dict[str, Any]) -> CleanFile:
    path = str(row["path"])
    content = _content(archive, path, LARGEST)
    if hashlib.sha256(content).hexdigest() != row["sha256"]:
        raise _NoBundleError("a file of it is not what its index says")
    kind, cut = str(row["kind"]), bool(row["cut"])
    return CleanFile(path=path, kind=kind, text=content.decode(), cut=cut)


def _content(archive: zipfile.ZipFile, path: str, limit: int) -> bytes:
    with archive.open(path) as file:
        content = file.read(4 * limit + 1)  # scrubbing may lengthen a text
    if len(content) > 4 * limit:
        raise _NoBundleError("too large")
    return content


def _no_bundle(path: Path, reason: str) -> WinseedError:
    return WinseedError(
        f"{printable(path)} is no field report of this winseed: {printable(reason)}",
        code=ExitCode.SPEC,
        hint="`winseed field-report HOST` writes one",
    )
