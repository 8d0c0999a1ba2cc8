"""INF files, as far as the question goes whether a package drives a device on this Windows.

Sources: learn.microsoft.com, "INF Manufacturer Section" (decorated models sections and which of
them is taken) and "INF Models Section". Signatures are not looked at here.
"""

import dataclasses
import re
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """An INF and the hardware ids for which this Windows would take it."""

    path: Path
    hardware_ids: frozenset[str]


def read_package(path: Path, version: tuple[int, int, int]) -> Package:
    """`version` is major, minor, build of the Windows that asks."""
    sections = read_sections(path)
    ids = set()
    for line in sections.get("manufacturer", []):
        models, *targets = [part.strip() for part in line.partition("=")[2].split(",")]
        section = choose_models(models, targets, version)
        for model in sections.get(section.casefold(), []) if section else []:
            ids |= {one.strip().upper() for one in model.partition("=")[2].split(",")[1:]}
    return Package(path=path, hardware_ids=frozenset(ids))


def read_sections(path: Path) -> dict[str, list[str]]:
    data = path.read_bytes()
    text = data.decode("utf-16") if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else data.decode("cp437")
    sections: dict[str, list[str]] = {}
    name = ""
    for raw in text.splitlines():
        line = raw.partition(";")[0].strip()
        if line.startswith("["):
            name = line.strip("[]").casefold()
        elif line:
            sections.setdefault(name, []).append(line)
    return sections


def choose_models(models: str, targets: list[str], version: tuple[int, int, int]) -> str:
    """The models section for the newest Windows that is not newer than this one; "" if none."""
    best, chosen = (-1, -1, -1), ""
    for target in targets:
        match = re.fullmatch(
            r"nt(amd64)?(?:\.(\d*))?(?:\.(\d*))?(?:\.\w*)?(?:\.\w*)?(?:\.(\d+))?", target.casefold()
        )
        if match is None:
            continue
        wanted = (int(match[2] or 0), int(match[3] or 0), int(match[4] or 0))
        if best < wanted <= version:
            best, chosen = wanted, f"{models}.{target}"
    return chosen if targets else models


def packages_below(
    folder: Path, version: tuple[int, int, int], *, subfolders: bool
) -> list[Package]:
    """Every INF in a folder; whether Setup looks into its subfolders is belief."""
    found = folder.rglob("*") if subfolders else folder.iterdir()
    infs = [path for path in sorted(found) if path.suffix.casefold() == ".inf" and path.is_file()]
    return [read_package(path, version) for path in infs]
