"""Options that several verbs share, and what becomes of them: the site of the call."""

import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from builder.errors import ExitCode, WinseedError
from builder.spec.load import LARGEST_SPEC, Override, Site, load_site

if TYPE_CHECKING:
    from builder.build import Shelf

SPEC_NAME = "winseed.toml"
OVERRIDES = ("release", "edition", "sku", "channel", "virtio_iso", "windows_iso", "virtio_release")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """The hosts a verb works on."""

    site: Site
    spec_path: Path | None


def host_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose and override hosts; the verb receives a `Call` named `call`."""

    @functools.wraps(function)
    @click.pass_context
    def wrapper(ctx: click.Context, /, *args: Any, **values: Any) -> Any:
        spec, host, every = values.pop("spec"), values.pop("host"), values.pop("every")
        given = {key: values.pop(key) for key in OVERRIDES}
        overrides = {
            key: Override(value=_final(key, value), source=_source(ctx, key))
            for key, value in given.items()
            if value
        }
        call = _load_call(spec, host or None, every=every, overrides=overrides)
        return function(*args, call=call, **values)

    for option in reversed(_options()):
        wrapper = option(wrapper)
    return wrapper


def _options() -> list[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    def option(flag: str, help_text: str, metavar: str = "TEXT", **more: Any) -> Any:
        variable = "WINSEED_" + flag.removeprefix("--").upper().replace("-", "_")
        return click.option(
            flag, envvar=variable, show_envvar=True, metavar=metavar, help=help_text, **more
        )

    return [
        option("--spec", f"The site's TOML file. Default: {SPEC_NAME}, if there.", "FILE"),
        option("--host", "The host of the spec to work on.", "NAME"),
        click.option("--all", "every", is_flag=True, help="Work on every host of the spec."),
        option("--release", "2012r2, 2016, 2019, 2022 or 2025.", "RELEASE"),
        option("--edition", "core or desktop.", "EDITION"),
        option("--sku", "standard, datacenter or azure.", "SKU"),
        option("--channel", "eval, volume or retail.", "CHANNEL"),
        option("--virtio-iso", "The virtio-win ISO; its drivers are carried.", "ISO"),
        option("--windows-iso", "The Windows ISO; its image is chosen.", "ISO"),
        option("--virtio-release", "virtio-win release on the node, without --virtio-iso.", "N"),
    ]


def _final(key: str, value: str) -> str:
    """Paths given on the command line count from the current folder."""
    if not key.endswith("_iso"):
        return value
    try:
        return str(Path.cwd() / Path(value).expanduser())
    except RuntimeError as error:
        raise WinseedError(f"{value!r} is no path: {error}", code=ExitCode.SPEC) from None


def _source(ctx: click.Context, key: str) -> str:
    flag = "--" + key.replace("_", "-")
    if ctx.get_parameter_source(key) is ParameterSource.ENVIRONMENT:
        return f"WINSEED_{key.upper()}"
    return flag


def _load_call(
    spec: str | None, host: str | None, *, every: bool, overrides: dict[str, Override]
) -> Call:
    if host and every:
        raise WinseedError("--host and --all exclude each other", code=ExitCode.SPEC)
    path = Path(spec) if spec else Path(SPEC_NAME)
    text = _read_spec(path, required=bool(spec))
    site = load_site(
        text,
        source=str(path) if text is not None else "the call",
        folder=path.parent if text is not None else Path(),
        overrides=overrides,
        host=host,
    )
    if len(site.hosts) > 1 and not every:
        names = ", ".join(host.name for host in site.hosts)
        raise WinseedError(
            f"{path} describes {len(site.hosts)} hosts",
            code=ExitCode.SPEC,
            hint=f"choose one with --host ({names}), or all with --all",
        )
    return Call(site=site, spec_path=path if text is not None else None)


def _read_spec(path: Path, *, required: bool) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_SPEC + 1)
    except FileNotFoundError:
        if not required:
            return None
        raise WinseedError(
            f"there is no spec {path}",
            code=ExitCode.SPEC,
            hint=f"`winseed init` writes one as {SPEC_NAME}",
        ) from None
    except OSError as error:
        raise WinseedError(f"cannot read {path}: {error.strerror}", code=ExitCode.SPEC) from None
    if len(data) > LARGEST_SPEC:
        raise WinseedError(f"{path} is too large for a spec", code=ExitCode.SPEC)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WinseedError(
            f"{path} is not UTF-8 text (byte {error.start})", code=ExitCode.SPEC
        ) from None


def source_date_epoch(default: int) -> int:
    """SOURCE_DATE_EPOCH, or `default` so that the same input gives the same bytes.

    reproducible-builds.org, SOURCE_DATE_EPOCH specification.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return default
    # ISO 9660 dates end in 2155
    if not (text.isascii() and text.isdigit()) or int(text) >= 5_869_583_999:
        raise WinseedError(
            f"SOURCE_DATE_EPOCH is {text!r}, expected seconds since 1970",
            code=ExitCode.SPEC,
        )
    return int(text)


def shelf_of_call() -> "Shelf":
    """The media of this call: each is inspected once, whichever part of the verb asks."""
    from builder.build import Shelf

    meta = click.get_current_context().meta
    if "shelf" not in meta:
        meta["shelf"] = Shelf()
    shelf: Shelf = meta["shelf"]
    return shelf


def read_vm_config(path: str) -> tuple[str, str]:
    """The text of `qm config` in a file (`-`: standard input), and where it came from."""
    from builder.vm_config import LARGEST_CONFIG

    source = "standard input" if path == "-" else path
    try:
        if path == "-":
            data = sys.stdin.buffer.read(LARGEST_CONFIG + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(LARGEST_CONFIG + 1)
    except OSError as error:
        raise WinseedError(
            f"cannot read {source}: {error.strerror}",
            code=ExitCode.SPEC,
            hint="write one with `qm config VMID > vm.conf`",
        ) from None
    if len(data) > LARGEST_CONFIG:
        raise WinseedError(f"{source} is too large for a VM configuration", code=ExitCode.SPEC)
    try:
        return data.decode("utf-8-sig"), source
    except UnicodeDecodeError as error:
        raise WinseedError(
            f"{source} is not UTF-8 text (byte {error.start})", code=ExitCode.SPEC
        ) from None
