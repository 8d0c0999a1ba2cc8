"""Names that Windows, ISO 9660 and Joliet can all carry."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from builder.errors import Problem

# "Naming Files, Paths, and Namespaces" (learn.microsoft.com); Joliet Recommended Specification;
# `;` parts off the version of an ISO 9660 name (ECMA-119 7.5.1)
COMPONENT_FAULTS = {
    r"\A\.{0,2}\Z": "has an empty, '.' or '..' component",
    r'[<>:"|?*\\;\x00-\x1f\x7f]': "has a character illegal on Windows or ISO 9660",
    r"[^\x00-\x7f]": "has a character outside ASCII",
    r"\A(?!\.\.?\Z)(?s:.*)[. ]\Z": "has a component that ends in a dot or a space",
    r"\A(?i:con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9]) *(\.|\Z)": (
        "has a component that Windows reserves for a device"
    ),
    r"(?s:.{65})": "has a component of more than 64 characters, Joliet's limit",
}
LONGEST_PATH = 240  # Joliet as xorriso(1) bounds it (joliet_long_paths); Windows: 260 with drive
TOO_LONG = f"is longer than {LONGEST_PATH} characters"


def check_names(paths: Iterable[str]) -> tuple[Problem, ...]:
    """Everything that would keep Windows or ISO 9660 from carrying these posix paths, all at once.

    pycdlib writes most of it without a word. Names are ASCII: the ISO 9660 tree has no agreed
    character set beyond it, and both trees have to say the same.
    """
    given = Counter(iter(paths))  # of a mapping it would take the values for counts
    folders = dict.fromkeys(folder for path in given for folder in folders_of(path))
    faults = [
        (path, fault)
        for path in given
        for pattern, fault in COMPONENT_FAULTS.items()
        if any(re.search(pattern, name) for name in path.split("/"))
    ]
    faults += [(path, TOO_LONG) for path in given if len(path) > LONGEST_PATH]
    faults += [(path, f"occurs {count} times") for path, count in given.items() if count > 1]
    faults += [(path, "is a file and a folder") for path in given if path in folders]
    spellings: dict[str, str] = {}
    for path in (*given, *folders):
        first = spellings.setdefault(path.casefold(), path)
        if first != path:
            faults.append((path, f"differs from {printable(first)} in case only"))
    return tuple(Problem(where=printable(path), what=fault) for path, fault in faults)


def folders_of(path: str) -> list[str]:
    """Every folder above a posix path, the nearest first."""
    return [str(folder) for folder in PurePosixPath(path).parents][:-1]


def printable(path: object) -> str:
    """A path for a message: what is no printable ASCII is escaped."""
    text = str(path)
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
