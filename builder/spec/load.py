"""TOML text, environment and flags -> the hosts of a site, or every problem at once."""

import copy
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from builder.errors import ExitCode, Problem, WinseedError
from builder.record import record
from builder.spec.checks import find_conflicts, find_doubles
from builder.spec.model import HostSpec, ProxmoxSpec, SiteSpec
from builder.spec.table import Table
from builder.spec.wording import findings, key_text, path_text, say_unknown, say_what
from builder.tables import nearest

DEFAULT_NAME = "winsrv"
TOP = ("site", "proxmox", "defaults", "host")
_Table = TypeVar("_Table", bound=Table)
LARGEST_SPEC = 16 * 1024 * 1024  # bytes


@record
class Override:
    """A value from a flag or variable that outranks the spec; `source` names it for messages."""

    value: str
    source: str


@record
class Site:
    """The hosts that one call is about, with what they share."""

    spec: SiteSpec
    proxmox: ProxmoxSpec
    hosts: tuple[HostSpec, ...]


def load_site(
    text: str | None,
    *,
    source: str,
    folder: Path,
    overrides: Mapping[str, Override],
    host: str | None = None,
) -> Site:
    """The site described by TOML `text` (None: one host of defaults).

    Paths in the spec count from `folder`; override paths are final. `host` picks one host by name
    and names the only host when there is no `[[host]]`. Raises WinseedError (SPEC) with every
    problem of every chosen host.
    """
    document = _load_toml(text, source)
    problems: list[Problem] = []
    tables = _host_tables(document, host, problems)
    site = _load_table(document, "site", SiteSpec, folder, problems)
    proxmox = _load_table(document, "proxmox", ProxmoxSpec, folder, problems)
    loaded = [_load_host(table, folder, overrides, problems) for table in tables]
    hosts = tuple(spec for spec in loaded if spec is not None)
    if len(hosts) == len(tables):
        for index, key, what in find_doubles(site, hosts):
            problems.append(Problem(where=f"{tables[index].where}.{key}", what=what))
    if problems:
        unique = tuple(dict.fromkeys(problems))  # defaults are checked with every host
        count = "1 problem" if len(unique) == 1 else f"{len(unique)} problems"
        raise WinseedError(
            f"{source} has {count}" if text is not None else f"the call has {count}",
            code=ExitCode.SPEC,
            problems=unique,
            hint="`winseed init` writes a commented spec that holds every key",
        )
    return Site(spec=site, proxmox=proxmox, hosts=hosts)


def resolve_release(host: HostSpec, release: str) -> HostSpec:
    """`host` with the release that its media turned out to be; rules are checked again."""
    resolved = host.model_copy(update={"release": release})
    problems = tuple(
        Problem(where=f"{host.name}.{conflict.key}", what=conflict.what, hint=conflict.hint)
        for conflict in find_conflicts(resolved)
    )
    if problems:
        raise WinseedError(
            f"the media are Windows Server {release}, which the spec does not fit",
            code=ExitCode.SPEC,
            problems=problems,
        )
    return resolved


def spec_schema() -> dict[str, Any]:
    """The JSON Schema of a spec file, for editors."""
    host = HostSpec.model_json_schema(ref_template="#/$defs/{model}")
    definitions = host.pop("$defs", {})
    defaults = copy.deepcopy(host)
    defaults["properties"].pop("name")
    defaults.pop("required", None)
    defaults["title"] = "Defaults"
    definitions |= {"HostSpec": host, "Defaults": defaults}
    definitions |= {"SiteSpec": SiteSpec.model_json_schema()}
    definitions |= {"ProxmoxSpec": ProxmoxSpec.model_json_schema()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "winseed spec",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "site": {"$ref": "#/$defs/SiteSpec"},
            "proxmox": {"$ref": "#/$defs/ProxmoxSpec"},
            "defaults": {"$ref": "#/$defs/Defaults"},
            "host": {"type": "array", "items": {"$ref": "#/$defs/HostSpec"}},
        },
        "$defs": definitions,
    }


@record
class _HostTable:
    where: str
    own: dict[str, Any]
    defaults: dict[str, Any]


def _load_toml(text: str | None, source: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: a number of over 4300 digits
        raise WinseedError(
            f"{source} is not TOML: {error}",
            code=ExitCode.SPEC,
            hint="`winseed init` writes a commented spec to start from",
        ) from None


def _host_tables(
    document: dict[str, Any], wanted: str | None, problems: list[Problem]
) -> list[_HostTable]:
    strange = [key for key in document if key not in TOP]
    problems += [
        Problem(where=key_text(key), what=say_unknown(key, TOP, HostSpec.model_fields))
        for key in strange
    ]
    defaults = document.get("defaults", {})
    hosts = document.get("host", [])
    if not isinstance(defaults, dict):
        problems.append(Problem(where="defaults", what="must be a table, as [defaults]"))
        defaults = {}
    if "name" in defaults:
        problems.append(Problem(where="defaults.name", what="a name belongs to one [[host]]"))
    if not isinstance(hosts, list) or not all(isinstance(host, dict) for host in hosts):
        problems.append(Problem(where="host", what="must be tables, as [[host]]"))
        hosts = []
    if not hosts:
        own = {"name": wanted or DEFAULT_NAME}
        return [_HostTable(where="defaults", own=own, defaults=defaults)]
    tables = [
        _HostTable(where=f"host[{index}]", own=host, defaults=defaults)
        for index, host in enumerate(hosts)
    ]
    return tables if wanted is None else _pick(tables, wanted)


def _pick(tables: list[_HostTable], wanted: str) -> list[_HostTable]:
    names = [str(table.own.get("name", "")) for table in tables]
    chosen = [t for t, n in zip(tables, names, strict=True) if n.casefold() == wanted.casefold()]
    if chosen:
        return chosen
    guess = nearest(wanted, names)
    raise WinseedError(
        f"the spec has no host {wanted!r}" + (f"; did you mean {guess!r}?" if guess else ""),
        code=ExitCode.SPEC,
        hint=f"it has {', '.join(sorted(filter(None, names))) or 'hosts without names'}",
    )


def _load_table(
    document: dict[str, Any], name: str, model: type[_Table], folder: Path, problems: list[Problem]
) -> _Table:
    """A table that stands once in a spec; its defaults when a key is wrong."""
    try:
        return model.model_validate(document.get(name, {}), context={"folder": folder})
    except ValidationError as error:
        for details in findings(error):
            where = name + path_text(details["loc"])
            problems.append(Problem(where=where, what=say_what(details, model)))
        return model()


def _load_host(
    table: _HostTable, folder: Path, overrides: Mapping[str, Override], problems: list[Problem]
) -> HostSpec | None:
    """The host, or None when a key is wrong; rules that do not read a wrong key are still tried."""
    merged = _merged(table.defaults, table.own)
    merged |= {key: override.value for key, override in overrides.items()}
    context = {"folder": folder}
    wrong: list[str] = []
    try:
        spec: HostSpec | None = HostSpec.model_validate(merged, context=context)
    except ValidationError as error:
        for details in findings(error):
            wrong.append(path_text(details["loc"]).removeprefix("."))
            problems.append(_problem(details, table, overrides))
        spec = _without(merged, error, context)
    if spec is None:
        return None
    for conflict in find_conflicts(spec):
        if not any(_touches(read, bad) for read in conflict.reads for bad in wrong):
            where = _where(_keys(conflict.key), table, overrides)
            problems.append(Problem(where=where, what=conflict.what, hint=conflict.hint))
    return None if wrong else spec


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; lists and values of the host replace those of the defaults."""
    merged = {key: value for key, value in defaults.items() if key != "name"}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _without(
    merged: dict[str, Any], error: ValidationError, context: dict[str, Path]
) -> HostSpec | None:
    """The host with its wrong keys left out, to try the remaining rules; None if that fails too."""
    rest = copy.deepcopy(merged)
    for details in findings(error):
        loc = [key for key in details["loc"] if not isinstance(key, int)]
        parent: Any = rest
        for key in details["loc"][:-1]:
            parent = parent.get(key) if isinstance(parent, dict) and key in parent else None
        if isinstance(parent, dict):
            parent.pop(details["loc"][-1], None)
        elif loc:
            rest.pop(str(loc[0]), None)
    rest.setdefault("name", DEFAULT_NAME)
    try:
        return HostSpec.model_validate(rest, context=context)
    except ValidationError:
        return None


def _touches(read: str, bad: str) -> bool:
    return (
        read == bad
        or read.startswith((f"{bad}.", f"{bad}["))
        or bad.startswith((f"{read}.", f"{read}["))
    )


def _problem(
    details: ErrorDetails, table: _HostTable, overrides: Mapping[str, Override]
) -> Problem:
    where = _where(list(details["loc"]), table, overrides)
    return Problem(where=where, what=say_what(details, HostSpec))


def _where(keys: list[str | int], table: _HostTable, overrides: Mapping[str, Override]) -> str:
    """Where the user wrote the value: a flag, the host's own table, or the defaults."""
    if keys and keys[0] in overrides:
        return overrides[str(keys[0])].source
    path = path_text(tuple(keys))
    own = _reaches(table.own, keys)
    from_defaults = not own and _reaches(table.defaults, keys)
    return ("defaults" if from_defaults else table.where) + path


def _reaches(table: Any, keys: Iterable[str | int]) -> bool:
    for key in keys:
        try:
            table = table[key]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _keys(path: str) -> list[str | int]:
    keys: list[str | int] = []
    for part in path.split("."):
        name, _, index = part.partition("[")
        keys.append(name)
        if index:
            keys.append(int(index.removesuffix("]")))
    return keys
