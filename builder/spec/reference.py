"""The reference of the spec as Markdown, from the model itself: docs/spec.md is this text."""

import enum
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from builder.spec.model import HostSpec, ProxmoxSpec, SiteSpec

HEAD = """# The spec

One TOML file describes a site. `[defaults]` holds for every host, each `[[host]]` overrides it,
flags and environment variables override both. Tables merge key by key, lists are replaced whole.
Paths count from the folder of the file. Unknown keys are errors.

`winseed init` writes a commented file, `winseed schema` a JSON Schema for editors; this page is
`winseed schema --markdown`.

Passwords never stand in a spec: Administrator's comes from `WINSEED_ADMIN_PASSWORD` or
`--admin-password-file`, else a one-time password is drawn; those of other accounts come from
`password_file` or `password_env`. Nor does the API token: `WINSEED_PVE_TOKEN` or `--token-file`
([proxmox.md](proxmox.md)).
"""


def render_reference() -> str:
    """The whole page."""
    tables = ["\n## [site]\n", *_rows(SiteSpec)]
    tables += ["\n## [proxmox]\n", *_rows(ProxmoxSpec)]
    tables += ["\n## [defaults] and [[host]]\n", *_rows(HostSpec)]
    for name, field in HostSpec.model_fields.items():
        inner = _inner(field.annotation)
        if inner is not None:
            many = get_origin(field.annotation) is tuple
            title = f"[[host.{name}]]" if many else f"[host.{name}]"
            about = (inner.__doc__ or "").split("\n")[0]
            tables += [f"\n### {title}\n\n{about}\n", *_rows(inner)]
    return HEAD + "\n".join(tables) + "\n"


def _rows(model: type[BaseModel]) -> Iterator[str]:
    yield "| key | values | default | |"
    yield "|---|---|---|---|"
    for name, field in model.model_fields.items():
        if _inner(field.annotation) is None:
            yield f"| `{name}` | {_kind(field)} | {_default(field)} | {field.description or ''} |"


def _inner(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part))), None)


def _kind(field: FieldInfo) -> str:
    many = get_origin(field.annotation) is tuple or any(
        get_origin(part) is tuple for part in get_args(field.annotation)
    )
    return ("list of " if many else "") + (_choices(field.annotation) or _plain(field.annotation))


def _choices(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    return next((text for part in get_args(annotation) if (text := _choices(part))), "")


def _plain(annotation: Any) -> str:
    names = {bool: "true, false", int: "whole number", str: "text", Path: "path"}
    if isinstance(annotation, type):
        return names.get(annotation, "text")
    return next((text for part in get_args(annotation) if (text := _plain(part))), "text")


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if field.is_required():
        return "required"
    if value is None or value == ():
        return "-"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, enum.Enum):
        value = value.value
    return f"`{json.dumps(value)}`"
