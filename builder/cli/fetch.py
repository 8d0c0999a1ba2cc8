"""`winseed fetch`: get what an installation needs from the network, and prove what came."""

import dataclasses
import functools
import hashlib
import json
import os
import random
import re
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import click

from builder import resources
from builder.cli.main import make_console
from builder.console import Console
from builder.errors import ExitCode, WinseedError
from builder.record import record

DEFAULT_RELEASE = "0.1.271"
RELEASE = re.compile(r"(\d+\.\d+\.\d+)(?:-(\d+))?")
RELEASE_IN_ADDRESS = re.compile(r"virtio-win-(\d+\.\d+\.\d+(?:-\d+)?)")
ARCHIVE = "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/archive-virtio"


@record
class DriverDisc:
    """A release of the virtio-win disc; `size` in bytes, None and no `sha256` when not known.

    `revision` counts the rebuilds of a release: they share the file name and the volume id.
    """

    release: str
    revision: int
    size: int | None = None
    sha256: str | None = None

    @property
    def volume_id(self) -> str:
        """As the build gives it to mkisofs -V (virtio-win-pkg-scripts, virtio-win.spec)."""
        return f"virtio-win-{self.release}"

    @property
    def file_name(self) -> str:
        """The name in Fedora's archive."""
        return f"{self.volume_id}.iso"

    @property
    def url(self) -> str:
        """The address in Fedora's archive; `drivers/releases.toml` says how it is known."""
        return f"{ARCHIVE}/virtio-win-{self.release}-{self.revision}/{self.file_name}"


@functools.cache
def load_discs() -> tuple[DriverDisc, ...]:
    """The releases of `drivers/releases.toml`, as they stand there."""
    text = (resources.driver_tables() / "releases.toml").read_text(encoding="utf-8")
    return tuple(
        DriverDisc(
            release=entry["release"],
            revision=entry["revision"],
            size=entry.get("size"),
            sha256=entry.get("sha256"),
        )
        for entry in tomllib.loads(text)["release"]
    )


def choose_disc(release: str | None, source: str | None) -> DriverDisc:
    """The disc that was asked for, by release (`0.1.271`, `0.1.262-2`) or by its address.

    Raises WinseedError (SPEC) when neither tells.
    """
    if release is None and source:
        named = RELEASE_IN_ADDRESS.findall(urlsplit(source).path)
        if not named:
            raise WinseedError(
                "the address does not tell which release of virtio-win it gives",
                code=ExitCode.SPEC,
                hint="say it with --release, as in --release 0.1.271",
            )
        release = max(named, key=len)  # the folder tells the revision, the file does not
    found = RELEASE.fullmatch(release or DEFAULT_RELEASE)
    if not found:
        raise WinseedError(
            f"{release!r} is not a release of virtio-win: expected one like {DEFAULT_RELEASE}",
            code=ExitCode.SPEC,
            hint="known: " + ", ".join(dict.fromkeys(disc.release for disc in load_discs())),
        )
    known = [disc for disc in load_discs() if disc.release == found[1]]
    if found[2]:
        revision = int(found[2])
        known = [disc for disc in known if disc.revision == revision]
        return known[0] if known else DriverDisc(release=found[1], revision=revision)
    newest = max(known, key=lambda disc: disc.revision, default=None)
    return newest or DriverDisc(release=found[1], revision=1)


def choose_target(output: str, disc: DriverDisc) -> Path:
    """The file to write: `output` itself, or the disc's own name in the folder it names."""
    path = Path(output)
    return path / disc.file_name if path.is_dir() or output.endswith(os.sep) else path


@click.group()
def command() -> None:
    """Get what an installation needs from the network."""


@command.command("virtio-win")
@click.option("--release", metavar="RELEASE", help=f"Which one; by default {DEFAULT_RELEASE}.")
@click.option("--from", "source", metavar="URL", help="A mirror's address of the disc.")
@click.option("-o", "--output", default=".", metavar="FILE|DIR", help="Where to; by default here.")
@click.option("--force", is_flag=True, help="Replace a file with other content.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def virtio_win(
    release: str | None, source: str | None, output: str, force: bool, as_json: bool
) -> None:
    """Download the virtio-win driver disc and check it.

    A download that broke off goes on where it stopped. The disc gets its name only when its
    SHA-256 and its volume id are right. Proxies and CA files are taken from HTTPS_PROXY, NO_PROXY,
    REQUESTS_CA_BUNDLE and SSL_CERT_FILE.
    """
    _check_address(source)
    disc = choose_disc(release, source)
    console = make_console()
    target = choose_target(output, disc)
    outcome = find_existing(target, disc, force=force)
    if outcome:
        console.note("already there")
    else:
        outcome = _fetch(disc, source or disc.url, target, console=console, force=force)
    _print(outcome, as_json=as_json)


@record
class _Outcome:
    path: str
    release: str
    size: int
    sha256: str
    verified: bool
    resumed: bool


def _check_address(source: str | None) -> None:
    try:
        parts = urlsplit(source or ARCHIVE)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise WinseedError(
            "--from needs an address like https://mirror.example/virtio-win-0.1.271.iso",
            code=ExitCode.SPEC,
            hint="only http and https are fetched; a disc on this machine needs no fetch",
        )


def find_existing(target: Path, disc: DriverDisc, *, force: bool) -> _Outcome | None:
    """The disc if it is in place already; refuse to touch any other file without `force`."""
    try:
        if not target.exists():
            return None
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        size = target.stat().st_size
    except OSError as error:
        raise WinseedError(
            f"{target}: {error.strerror}", code=ExitCode.MEDIA, hint="name another file with -o"
        ) from error
    if found == disc.sha256:
        return _Outcome(
            path=str(target), release=disc.release, size=size, sha256=found, verified=True,
            resumed=False,
        )  # fmt: skip
    if force:
        return None
    wanted = f"expected {disc.sha256}" if disc.sha256 else "no sum is known to compare it with"
    raise WinseedError(
        f"{target} is there already: sha256 {found}, {wanted}",
        code=ExitCode.UNSAFE,
        hint="name another file with -o, or replace this one with --force",
    )


def _fetch(disc: DriverDisc, url: str, target: Path, *, console: Console, force: bool) -> _Outcome:
    from builder.media.download import Surroundings, download

    console.hide(urlsplit(url).password or "")
    if disc.sha256 is None:
        console.warn(f"no SHA-256 is known for virtio-win {disc.release}-{disc.revision}")
    around = Surroundings(
        progress_for=console.progress,
        note=console.note,
        pause=time.sleep,
        now=time.monotonic,
        jitter=random.SystemRandom().random,
        ca_file=os.environ.get("SSL_CERT_FILE", ""),
    )
    done = download(
        url,
        target,
        expected_sha256=disc.sha256,
        expected_size=disc.size,
        check=functools.partial(check_volume, volume_id=disc.volume_id),
        around=around,
        force=force,
    )
    if not done.verified:
        console.warn(f"compare the sum with one you trust: sha256 {done.sha256}")
    return _Outcome(
        path=str(done.path), release=disc.release, size=done.size, sha256=done.sha256,
        verified=done.verified, resumed=done.resumed,
    )  # fmt: skip


def check_volume(path: Path, *, volume_id: str) -> None:
    """Refuse (WinseedError, MEDIA) a file that is no disc, or one of another volume id."""
    from builder.media.image import inspect_image

    try:
        found = inspect_image(path).volume_id
    except WinseedError as error:
        what = f"what came is no disc: {error.what}"
        raise WinseedError(what, code=ExitCode.MEDIA, hint="name a mirror with --from") from error
    if found != volume_id:
        raise WinseedError(
            f"what came is the disc {found!r}, expected {volume_id!r}",
            code=ExitCode.MEDIA,
            hint="check --release and --from",
        )


def _print(outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"version": 1, **dataclasses.asdict(outcome)}, indent=2))
        return
    proof = "as expected" if outcome.verified else "not known to winseed"
    click.echo(f"{outcome.path}: {outcome.size} bytes, sha256 {outcome.sha256} ({proof})")
