"""Plan -> files -> answer ISO, for one host. Nothing here prints or looks at the clock."""

from pathlib import Path

from builder.answer.lint import AnswerKind
from builder.answer.render import RenderedFile, render_files
from builder.answer.verdict import refuse_findings
from builder.console import NoProgress, Progress
from builder.disc import Artifact, Content, InlineFile, SourceFile, write_disc
from builder.files import create_private_file, write_file
from builder.manifest import PATH as MANIFEST
from builder.media.image import Extent
from builder.plan.carrier import PE_PASSES, answer_passes, carries_drivers, is_disc
from builder.plan.model import Plan
from builder.plan.packages import DriverPackage, PackageFile
from builder.record import record
from builder.rehearsal.model import Rehearsal
from builder.report import render_manifest
from builder.values import Bus, Delivery

WINPE_DRIVER = "$WinPEDriver$"


@record
class Built:
    """A plan and the disc that was written from it; `manifest` as it lies on the disc."""

    plan: Plan
    artifact: Artifact
    manifest: bytes


def render_host(plan: Plan) -> tuple[RenderedFile, ...]:
    """Every rendered file of `plan`, its answer file judged; WinseedError (ANSWER) if refused."""
    rendered = render_files(plan)
    passes = answer_passes(plan.carrier)
    kind = AnswerKind.SETUP if PE_PASSES[0] in passes else AnswerKind.IMAGE
    refuse_findings(plan, rendered[0].data, kind=kind)
    return rendered


def write_host(plan: Plan, target: Path, *, epoch: int, progress: Progress | None = None) -> Built:
    """Render `plan` and write its answer ISO to `target`; every file is read back and compared."""
    rendered = render_host(plan)
    files = medium_files(plan, rendered)
    secret = {file.path for file in rendered if file.secret}
    manifest = render_manifest(plan, files, secret=secret, epoch=epoch)
    files[MANIFEST] = InlineFile(data=manifest)
    # a label that differs per build: Windows shows it, and two media are told apart by it
    label = f"WS{plan.fingerprint.upper()}"
    artifact = write_disc(
        target, files, label=label, epoch=epoch, progress=progress or NoProgress()
    )
    return Built(plan=plan, artifact=artifact, manifest=manifest)


def iso_name(plan: Plan) -> str:
    """`dc01-2022-core`: the file name of a host's ISO without its suffix."""
    sku = "" if plan.sku.value == "standard" else f"-{plan.sku.value}"
    return f"{plan.host.lower()}-{plan.release}{sku}-{plan.edition.value}"


def medium_files(plan: Plan, rendered: tuple[RenderedFile, ...]) -> dict[str, Content]:
    """Everything on the medium of `plan` but its manifest, by path."""
    files: dict[str, Content] = {file.path: InlineFile(data=file.data) for file in rendered}
    if carries_drivers(plan.carrier):
        for package in plan.drivers.packages:
            files |= package_files(package, package.folder)
    on_disc = is_disc(plan.carrier) and plan.disk.bus is not Bus.SATA
    if on_disc and Delivery.WINPE_DRIVER in plan.drivers.deliveries:
        for package in plan.drivers.boot_packages:
            files |= package_files(package, f"{WINPE_DRIVER}/{package.driver}")
    agent = plan.drivers.agent
    if agent is not None and agent.file is not None:
        files[agent.path] = _source(agent.file)
    for attachment in plan.attachments:
        files[f"winseed/files/{attachment.name}"] = SourceFile(
            path=attachment.path,
            extents=(Extent(offset=0, length=attachment.size),),
            sha256=attachment.sha256,
        )
    return files


def package_files(package: DriverPackage, folder: str) -> dict[str, Content]:
    """The files of a driver package below `folder`."""
    return {f"{folder}/{file.name}": _source(file) for file in package.files}


def _source(file: PackageFile) -> SourceFile:
    return SourceFile(path=file.disc, extents=file.extents, sha256=file.sha256)


@record
class Delivered:
    """What lies in the output folder after a build; `password` is None for a given one."""

    plan: Plan
    iso: Path
    size: int
    files: int
    manifest: Path
    password: Path | None
    rehearsal: Rehearsal | None = None


def deliver_host(
    plan: Plan, target: Path, *, epoch: int, progress: Progress | None = None
) -> Delivered:
    """Write ISO, manifest and, for a drawn password, its file (mode 0600, never overwritten).

    The password is on disk before the ISO that needs it; if the ISO fails, it is taken away. It
    stays if only the manifest fails: the ISO is there then.
    """
    password = None
    if not plan.administrator.given:
        password = target.with_name(f"{target.stem}.{plan.fingerprint}.password")
        create_private_file(password, plan.administrator.password.reveal().encode() + b"\n")
    try:
        built = write_host(plan, target, epoch=epoch, progress=progress)
    except BaseException:
        if password is not None:
            password.unlink(missing_ok=True)
        raise
    manifest = target.with_name(f"{target.stem}.manifest.json")
    write_file(manifest, built.manifest)
    return Delivered(
        plan=plan,
        iso=target,
        size=built.artifact.size,
        files=len(built.artifact.files),
        manifest=manifest,
        password=password,
    )
