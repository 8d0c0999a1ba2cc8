"""The discs of a run: the answer ISO onto its storage, three CDs into their slots, and out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from builder.build import write_host
from builder.disc import InlineFile, write_disc
from builder.errors import ExitCode, WinseedError
from builder.files import target_errors
from builder.install.engine import Step
from builder.install.hardware import (
    NO_MEDIUM,
    find_differences,
    render_cd,
)
from builder.install.identity import find_config
from builder.install.journal import Answer, Standing
from builder.install.run import Run, Trail
from builder.proxmox.api import Api
from builder.proxmox.endpoints import connect_node
from builder.proxmox.facts import VmConfig
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.inventory import inspect_isos
from builder.proxmox.tasks import wait_for_task
from builder.proxmox.upload import inspect_upload, upload_iso, wait_for_copies
from builder.proxmox.vm import delete_volume, set_config
from builder.values import DEFAULT_EPOCH

ISO = "answer.iso"
DELETE_TIME = 120.0
NEUTRAL = {
    "README.TXT": InlineFile(
        data=b"The answer file that was here has been used. Its content is gone.\r\n"
    )
}


def build_step() -> Step:
    """The answer ISO in the host's folder; the same again when it is lost before the upload."""
    return Step(name="build", look=lambda _run: False, act=_build, undo=remove_local)


def upload_step() -> Step:
    """The answer ISO on its storage, under a name of this run alone."""
    return Step(name="upload", prepare=_name, look=_uploaded, act=_upload, undo=withdraw_answer)


def attach_step() -> Step:
    """Three CDs in their slots. The boot order comes after: adding a CD appends to it."""
    return Step(name="attach", look=_attached, act=_attach, undo=detach_cds)


def boot_step() -> Step:
    """Install disk first, then the Windows CD, and nothing else."""
    return Step(name="boot-order", look=_ordered, act=_order_boot)


def check_machine(run: Run) -> None:
    """Read the VM back. Raises WinseedError (UNSAFE) with everything that is not as ordered."""
    wanted = dataclasses.replace(run.order.machine, boot=_boot(run))
    found = run.config()
    problems = find_differences(wanted, found.machine, _media(run))
    if problems:
        raise WinseedError(
            f"VM {run.state.vmid} is not what was ordered, and is not switched on",
            code=ExitCode.UNSAFE,
            problems=problems,
            hint="somebody else may have changed it: look at it, then --resume or --undo",
        )


def _build(run: Run) -> None:
    path = run.folder / ISO
    built = write_host(run.order.plan, path, epoch=DEFAULT_EPOCH)
    upload = inspect_upload(path, node=run.state.node, storage=run.order.iso_storage, name=ISO)
    answer = Answer(path=str(path), size=upload.size, sha256=upload.sha256, volid="")
    if run.state.answer is not None:
        before = run.state.answer
        answer = dataclasses.replace(answer, volid=before.volid, node=before.node)
    if built.artifact.size != upload.size:
        raise WinseedError(f"{path} changed while it was written", code=ExitCode.SPEC)
    run.keep(answer=answer)


def _name(run: Run) -> None:
    state = run.state
    volid = f"{run.order.iso_storage}:iso/winseed-{state.vmid}-{state.run}.iso"
    answer = dataclasses.replace(answer_of(run), volid=volid, node=state.node)
    run.keep(answer=answer, neutral=False)


def answer_of(run: Trail) -> Answer:
    """The answer ISO of the run; it was built before anything names it."""
    if run.state.answer is None:
        raise WinseedError("the journal names no answer ISO", code=ExitCode.BUG)
    return run.state.answer


def _uploaded(run: Run) -> bool:
    answer = answer_of(run)
    wait_for_copies(run.api)
    return find_iso(run.api, place_of(run), answer.volid) == answer.size


def place_of(run: Trail) -> str:
    """The node that the answer ISO was uploaded to."""
    answer = run.state.answer
    return (answer.node if answer else "") or run.state.node


def find_iso(api: Api, node: str, volid: str) -> int | None:
    """The bytes of an ISO on its storage, None when it is not there. Raises PveError."""
    storage = volid.partition(":")[0]
    return next((iso.size for iso in inspect_isos(api, node, storage) if iso.volid == volid), None)


def _upload(run: Run) -> None:
    answer = answer_of(run)
    if not Path(answer.path).is_file():
        _build(run)
        answer = answer_of(run)
    _send(run, Path(answer.path), answer.volid)


def _send(run: Trail, path: Path, volid: str) -> None:
    storage, _, name = volid.partition(":")
    node = place_of(run)
    upload = inspect_upload(path, node=node, storage=storage, name=name.removeprefix("iso/"))
    with run.limits.at_a_time("upload", node):
        upload_iso(connect_node(run.api, node), upload)


def _media(run: Trail) -> dict[str, str]:
    """The volid in each of our CD slots."""
    volids = (run.state.windows, run.state.virtio, answer_of(run).volid)
    return dict(zip(run.state.cds, volids, strict=True))


def _attached(run: Run) -> bool:
    config = find_config(run)
    return config is not None and _holds(config, _media(run))


def _holds(config: VmConfig, media: Mapping[str, str | None]) -> bool:
    cds = {str(cd.slot): cd.volume for cd in config.machine.cds}
    return all(slot in cds and cds[slot] == volid for slot, volid in media.items())


def _attach(run: Run) -> None:
    cds = {slot: render_cd(volid) for slot, volid in _media(run).items()}
    _set(run, cds)


def _boot(run: Run) -> tuple[str, ...]:
    return (run.order.install, run.state.cds[0])


def _ordered(run: Run) -> bool:
    return run.config().machine.boot == _boot(run)


def _order_boot(run: Run) -> None:
    _set(run, {"boot": f"order={';'.join(_boot(run))}"})


def _set(run: Trail, settings: Mapping[str, str], delete: tuple[str, ...] = ()) -> None:
    digest = run.config().digest
    set_config(
        run.api, run.state.node, run.state.vmid, dict(settings), digest=digest, delete=delete
    )


def detach_cds(run: Trail) -> None:
    """Take our CD drives away from a VM that is off."""
    config = find_config(run)
    if config is None or run.state.created:
        return  # a VM of our making goes as a whole
    drives = {str(cd.slot): cd.volume for cd in config.machine.cds}
    ours = tuple(slot for slot, volid in _media(run).items() if drives.get(slot) == volid)
    if ours:
        _set(run, {}, ours)


def eject_step() -> Step:
    """Three CD drives without medium, live; then nothing on a medium can be read again."""
    return Step(name="eject", look=_ejected, act=_eject)


def _ejected(run: Run) -> bool:
    config = find_config(run)
    return config is None or _holds(config, dict.fromkeys(run.state.cds, None))


def _eject(run: Run) -> None:
    cds = run.config().machine.cds
    slots = {str(cd.slot) for cd in cds} & set(run.state.cds)
    if slots:
        boot = run.config().setting("boot")
        _set(run, dict.fromkeys(sorted(slots), NO_MEDIUM))
        if boot is not None and run.config().setting("boot") != boot:
            # any change of a CD drive outside the boot order puts it at its end
            _set(run, {"boot": boot})


def delete_answer_step() -> Step:
    """The answer ISO gone from its storage, or overwritten where the right to delete is missing."""
    return Step(name="delete-answer", look=_neutral, act=neutralise_answer)


def _neutral(run: Run) -> bool:
    answer = run.state.answer
    if answer is None or not answer.volid:
        return True
    size = find_iso(run.api, place_of(run), answer.volid)
    return size is None or (run.state.neutral and size != answer.size)


def withdraw_answer(run: Trail) -> None:
    """Take the answer ISO out of its drive, without which the VM could not start, then away."""
    answer, config = run.state.answer, find_config(run)
    if answer is not None and answer.volid and config is not None:
        holding = [str(cd.slot) for cd in config.machine.cds if cd.volume == answer.volid]
        if holding:
            _set(run, dict.fromkeys(holding, NO_MEDIUM))
    neutralise_answer(run)


def neutralise_answer(run: Trail) -> None:
    """Make the answer ISO unreadable on the cluster: deleted, else overwritten. Raises PveError."""
    answer = run.state.answer
    if answer is None or not answer.volid:
        return
    if run.journal.standing("upload") is Standing.INTENDED:
        wait_for_copies(run.api)  # of a run that was killed: it would appear after this look
    node = place_of(run)
    size = find_iso(run.api, node, answer.volid)
    if size is None or (run.state.neutral and size != answer.size):
        run.keep(neutral=True)
        return
    try:
        upid = delete_volume(run.api, node, answer.volid)
        if upid is not None:
            wait_for_task(run.api, upid, timeout=DELETE_TIME)
        run.keep(neutral=True)
    except PveError as error:
        if error.trouble is not Trouble.FORBIDDEN:
            raise
        _overwrite(run, answer)


def _overwrite(run: Trail, answer: Answer) -> None:
    """An ISO that says nothing, under the same name: that takes Datastore.AllocateTemplate only."""
    path = run.folder / "empty.iso"
    write_disc(path, NEUTRAL, label="WINSEED", epoch=DEFAULT_EPOCH)
    _send(run, path, answer.volid)
    path.unlink(missing_ok=True)
    run.keep(neutral=True)
    run.say(f"{answer.volid} was overwritten: the right to delete it is missing")


def remove_local(run: Trail) -> None:
    """Delete the answer ISO in the host's folder."""
    with target_errors(run.folder / ISO):
        (run.folder / ISO).unlink(missing_ok=True)
