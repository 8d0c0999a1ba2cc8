"""`winseed` as tests call it, in this process or in one of its own, on discs it can trust.

No test can sign as Microsoft does, so drivers are signed by an authority made for this session and
its key is added to the known ones: through the real reader, by the real rules.
"""

import dataclasses
import functools
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from builder.cli.main import run
from builder.media import signer
from tests import catalogs, media

ROOT = Path(__file__).parents[1]
PASSWORD = "Given-Pass 1"
BUILDS = {"2012r2": 9600, "2016": 14393, "2019": 17763, "2022": 20348, "2025": 26100}
CHANNELS = {"eval": "Eval", "volume": "Volume", "retail": "Retail"}
UPSTREAM = "0.1.271"

LAUNCH = """
import dataclasses, sys
key = sys.argv.pop(1)
if key:
    from builder.media import signer
    known = signer.known_anchors()
    known = dataclasses.replace(known, microsoft=known.microsoft | {key})
    signer.known_anchors = lambda: known
from builder.cli.main import main
main()
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """What a call left: exit code and both streams."""

    code: int
    out: str
    err: str


@functools.cache
def authority():
    return catalogs.make_identity("Test Component CA", authority=True)


@functools.cache
def publisher():
    usages = (catalogs.WHQL_EKU, catalogs.ATTESTATION_EKU, catalogs.CODE_EKU)
    return catalogs.make_identity(catalogs.PUBLISHER, issuer=authority(), eku=usages)


def trusting_anchors():
    known = signer.known_anchors()
    return dataclasses.replace(known, microsoft=known.microsoft | {authority().fingerprint})


@functools.cache
def signed_catalogs(release: str) -> dict[str, bytes]:
    """A signed catalog for every package folder of a synthetic virtio-win disc."""
    tree = media.virtio_tree(release=release)
    made: dict[str, bytes] = {}
    found: dict[str, bytes] = {}
    for path, (key, _content) in tree.items():
        if not path.lower().endswith(".cat") or path.startswith(("amd64/", "x86/")):
            continue
        if key not in made:
            folder = path.rpartition("/")[0]
            stem = path.removesuffix(".cat")
            packages = sum(p.startswith(f"{folder}/") and p.endswith(".inf") for p in tree)
            files = [
                (name.rpartition("/")[2], content)
                for name, (_, content) in tree.items()
                if name.rpartition("/")[0] == folder
                and not name.endswith((".cat", ".pdb", "blnsvr.exe", "virtiofs.exe"))
                and (packages == 1 or not name.endswith(".inf") or name == f"{stem}.inf")
            ]
            members = [
                catalogs.member(hashlib.sha256(data).digest(), name, flat=True)
                for name, data in files
            ]
            listing = catalogs.trust_list(*sorted(members), attributes=[("OS", "_v100_X64")])
            made[key] = catalogs.make_catalog(listing, signer=publisher(), chain=(authority(),))
        found[path] = made[key]
    return found


class Discs:
    """Synthetic discs by name, made at their first use: `virtio`, `windows-2025-volume[-de-DE]`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[str, Path] = {}

    def __getitem__(self, name: str) -> Path:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Path:
        kind, _, rest = name.partition("-")
        target = self.folder / f"{name}.iso"
        if kind == "virtio":
            release = rest or UPSTREAM
            extra = signed_catalogs(release)
            return media.make_virtio_iso(target, release=release, extra=extra)
        release, channel, *language = rest.split("-", 2)
        return media.make_windows_iso(
            target,
            build=BUILDS[release],
            evaluation=channel == "eval",
            channel=CHANNELS.get(channel),
            language=language[0] if language else "en-US",
        )


def winseed(capsys, *arguments: object) -> Done:
    """A call in this process."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Done(code=int(code), out=captured.out, err=captured.err)


def command_line(*arguments: object, trusted: bool = False) -> list[str]:
    key = authority().fingerprint if trusted else ""
    return [sys.executable, "-c", LAUNCH, key, *map(str, arguments)]


def process(
    *arguments: object,
    cwd: Path,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    trusted: bool = False,
    **options,
) -> Done:
    """A call in a process of its own, with a clean environment and `env`."""
    done = subprocess.run(
        command_line(*arguments, trusted=trusted),
        cwd=cwd,
        env=clean_environment() | (env or {}),
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
        **options,
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def clean_environment() -> dict[str, str]:
    """This environment without what steers winseed; no bytecode is left anywhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WINSEED_")}
    kept.pop("SOURCE_DATE_EPOCH", None)
    return kept | {"PYTHONPATH": str(ROOT)}
