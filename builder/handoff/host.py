"""A host of a hand-off: its plan, its rendered files, and the medium that they make."""

from collections.abc import Mapping

from builder.answer.render import RenderedFile
from builder.build import medium_files, render_host
from builder.disc import Content, InlineFile
from builder.manifest import PATH as MANIFEST
from builder.media.image import DiscImage
from builder.media.windows import WindowsMedia
from builder.plan.model import Plan
from builder.plan.packages import PackageFile
from builder.record import record
from builder.report import render_manifest

ANSWER = "autounattend.xml"
SYMBOLS = ".pdb"


@record
class Disc:
    """A Windows disc that hosts of the tree install from."""

    image: DiscImage
    windows: WindowsMedia


@record
class HostFiles:
    """`answer` holds secrets; `medium` is what the first boot needs, by path, without secrets."""

    plan: Plan
    key: str
    answer: bytes
    medium: Mapping[str, Content]
    disc: Disc | None

    @property
    def title(self) -> str:
        """A line of a menu."""
        return f"{self.plan.host}: {self.plan.release_name} {self.plan.edition.value}"


def make_host_files(plan: Plan, disc: Disc | None, *, epoch: int) -> HostFiles:
    """Render and judge everything of `plan`; WinseedError (ANSWER) when Setup would refuse it."""
    rendered: tuple[RenderedFile, ...] = render_host(plan)
    answer = next(file.data for file in rendered if file.path == ANSWER)
    files = medium_files(plan, rendered)
    del files[ANSWER]
    files[MANIFEST] = InlineFile(data=render_manifest(plan, files, secret=(), epoch=epoch))
    return HostFiles(plan=plan, key=plan.host.lower(), answer=answer, medium=files, disc=disc)


def needed_files(files: tuple[PackageFile, ...]) -> tuple[PackageFile, ...]:
    """A driver package without its symbols, which no installation reads."""
    return tuple(file for file in files if not file.name.lower().endswith(SYMBOLS))
