"""Options that several verbs share, and what becomes of them: the site of the call."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from builder.errors import ExitCode, WinseedError
from builder.record import record
from builder.values import DEFAULT_EPOCH

if TYPE_CHECKING:
    from builder.media.shelf import Shelf
    from builder.spec.load import Site

SPEC_NAME = "winseed.toml"
OVERRIDES = ("release", "edition", "sku", "channel", "virtio_iso", "windows_iso", "virtio_release")


@record
class Call:
    """The hosts a verb works on."""

    site: "Site"
    spec_path: Path | None


def host_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose and override hosts; the verb receives a `Call` named `call`."""
    return _with_hosts(function, reads_discs=False)


def disc_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`host_options` for a verb that inspects the discs: they are read while the spec is loaded."""
    return _with_hosts(function, reads_discs=True)


def site_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take a spec, if there is one, for a verb that works without; it receives all of its hosts."""

    @functools.wraps(function)
    def wrapper(*args: Any, **values: Any) -> Any:
        call = _load_any(values.pop("spec"))
        return function(*args, call=call, **values)

    return _options()[0](wrapper)


def _load_any(spec: str | None) -> Call:
    """The spec that is named, or the usual one if it can be used: nothing depends on it."""
    try:
        return _load_call(spec, None, every=True, given={}, sources={})
    except WinseedError as error:
        if spec:
            raise
        from builder.cli.main import make_console
        from builder.spec.load import load_site

        make_console().warn(f"{error.what}: it is not used")
        return Call(
            site=load_site(None, source="the call", folder=Path(), overrides={}), spec_path=None
        )


def _with_hosts(function: Callable[..., Any], *, reads_discs: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    @click.pass_context
    def wrapper(ctx: click.Context, /, *args: Any, **values: Any) -> Any:
        spec, host, every = values.pop("spec"), values.pop("host"), values.pop("every")
        host = _one_name(host, values.pop("named", None))
        given = {key: values.pop(key) for key in OVERRIDES}
        given = {key: _final(key, value) for key, value in given.items() if value}
        if reads_discs:
            _read_ahead(ctx, given.get("virtio_iso"), given.get("windows_iso"))
        sources = {key: _source(ctx, key) for key in given}
        call = _load_call(spec, host or None, every=every, given=given, sources=sources)
        if reads_discs:
            first = call.site.hosts[0]
            _read_ahead(ctx, first.virtio_iso, first.windows_iso)
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


def host_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the host as an argument too; stands above `host_options`."""
    return click.argument("named", metavar="[HOST]", required=False)(function)


def _one_name(flag: str | None, argument: str | None) -> str | None:
    if flag and argument and flag.casefold() != argument.casefold():
        what = f"two hosts are named: {argument} and --host {flag}"
        raise WinseedError(what, code=ExitCode.SPEC)
    return argument or flag


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
    spec: str | None,
    host: str | None,
    *,
    every: bool,
    given: dict[str, str],
    sources: dict[str, str],
) -> Call:
    from builder.spec.load import Override, load_site

    if host and every:
        raise WinseedError("--host and --all exclude each other", code=ExitCode.SPEC)
    path = Path(spec) if spec else Path(SPEC_NAME)
    text = _read_spec(path, required=bool(spec))
    site = load_site(
        text,
        source=str(path) if text is not None else "the call",
        folder=path.parent if text is not None else Path(),
        overrides={key: Override(value=value, source=sources[key]) for key, value in given.items()},
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
    from builder.spec.load import LARGEST_SPEC

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


def source_date_epoch() -> int:
    """SOURCE_DATE_EPOCH, or a fixed date so that the same input gives the same bytes.

    reproducible-builds.org, SOURCE_DATE_EPOCH specification.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return DEFAULT_EPOCH
    # ISO 9660 dates end in 2155
    if not (text.isascii() and text.isdigit()) or int(text) >= 5_869_583_999:
        raise WinseedError(
            f"SOURCE_DATE_EPOCH is {text!r}, expected seconds since 1970",
            code=ExitCode.SPEC,
        )
    return int(text)


def _read_ahead(ctx: click.Context, virtio: str | Path | None, windows: str | Path | None) -> None:
    """Have the discs inspected by another process from now on, if none does it yet."""
    if "shelf" in ctx.meta or not (virtio or windows):
        return
    from builder.media.ahead import start_reading
    from builder.media.shelf import Shelf

    discs = [("virtio", virtio), ("agent", virtio), ("windows", windows)]
    ahead = start_reading([(reader, (Path(path),)) for reader, path in discs if path])
    if ahead is not None:
        ctx.call_on_close(ahead.close)
    ctx.meta["shelf"] = Shelf(ahead)


def shelf_of_call() -> "Shelf":
    """The media of this call: each is inspected once, whichever part of the verb asks."""
    from builder.media.shelf import Shelf

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
