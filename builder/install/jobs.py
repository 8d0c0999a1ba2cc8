"""One host of a call, from its journal to its result: what each verb does with it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.install.by_hand import refuse_unaccepted, settle_by_hand, take_up_by_hand
from builder.install.deploy import deploy, secrets_left, undo_run
from builder.install.events import Event, EventKind, Sink
from builder.install.fleet import HostResult, Interrupted
from builder.install.identity import find_again
from builder.install.journal import Journal, Kind, Outcome, load_journal, locked
from builder.install.leftovers import open_hint, used_files
from builder.install.opening import Case, Opened, administrator_file, begin, is_open, take_up
from builder.install.reinstall import accept, reinstall, undo_reinstall
from builder.install.run import Limits, Run, Trail
from builder.install.witness import Witness
from builder.proxmox.api import Api
from builder.record import record


@record
class Workshop:
    """What all hosts of a call share."""

    api: Api
    limits: Limits
    witness: Witness

    @property
    def emit(self) -> Sink:
        """Whom every run tells what happens."""
        return self.witness.emit


def deploy_host(shop: Workshop, case: Case, opened: Opened) -> HostResult:
    """Begin a run and take it to its end."""

    def work() -> Journal:
        refuse_open(case.folder)
        journal = begin(case, opened)
        carry_out(shop, case, opened, journal)
        return journal

    return _result(shop, case.folder, case.host.name, work)


def resume_host(shop: Workshop, case: Case) -> HostResult:
    """Take up the run of a host where it was left."""

    def work() -> Journal:
        journal = open_journal(case.folder, case.host.name)
        opened = _take_up(shop, case, journal)
        carry_out(shop, case, opened, journal)
        return journal

    return _result(shop, case.folder, case.host.name, work)


def undo_host(shop: Workshop, folder: Path, host: str) -> HostResult:
    """Unmake what a host's run has made, its VM included, if the run created it."""

    def work() -> Journal:
        journal = open_journal(folder, host)
        trail = make_trail(shop, journal, folder)
        match journal.state.kind:
            case Kind.DEPLOY:
                undo_run(trail)
            case Kind.REINSTALL:
                undo_reinstall(trail)
            case Kind.SETTLE:
                raise WinseedError(
                    f"{host} was only settled: there is nothing to undo", code=ExitCode.SPEC
                )
        return journal

    return _result(shop, folder, host, work)


def accept_host(shop: Workshop, folder: Path, host: str) -> HostResult:
    """Destroy the old disks of a settled reinstallation."""

    def work() -> Journal:
        journal = load_journal(folder)
        if journal is None or journal.state.kind is not Kind.REINSTALL:
            raise WinseedError(f"{host} was not reinstalled from {folder}", code=ExitCode.SPEC)
        trail = make_trail(shop, journal, folder)
        for volid in accept(trail):
            trail.say(f"destroyed {volid}")
        trail.keep(unused=())
        return journal

    return _result(shop, folder, host, work)


def open_journal(folder: Path, host: str) -> Journal:
    """The journal of an unfinished run. Raises WinseedError (SPEC) when there is none."""
    journal = load_journal(folder)
    if journal is None or not is_open(journal):
        state = "no run" if journal is None else f"a run that is {journal.state.outcome.value}"
        raise WinseedError(
            f"{host} has {state} in {folder}: there is nothing to go on with",
            code=ExitCode.SPEC,
            hint="`winseed status` lists every run; -o names their folder",
        )
    return journal


def refuse_open(folder: Path) -> None:
    """Raise WinseedError (UNSAFE) when a run is there that has not ended, or keeps old disks."""
    journal = load_journal(folder)
    if journal is None or not is_open(journal):
        refuse_unaccepted(folder)
        return
    state = journal.state
    told = f": {state.failure}" if state.failure else ""
    raise WinseedError(
        f"{state.host} has an unfinished run, VM {state.vmid} on {state.node}{told}",
        code=ExitCode.UNSAFE,
        hint=f"it goes on by: {open_hint(state)}",
    )


def make_trail(shop: Workshop, journal: Journal, folder: Path) -> Trail:
    """The trail of a run, for whoever looks at it or unmakes it."""
    tell = make_teller(shop, journal.state.host)
    return Trail(api=shop.api, journal=journal, folder=folder, limits=shop.limits, tell=tell)


def carry_out(shop: Workshop, case: Case, opened: Opened, journal: Journal) -> None:
    """Take a run that was begun or taken up to its end. Raises WinseedError."""
    run = Run(
        api=shop.api,
        journal=journal,
        folder=case.folder,
        limits=shop.limits,
        tell=make_teller(shop, case.host.name),
        order=opened.order,
    )
    if len(journal.steps) > 1:
        find_again(run)
    match journal.state.kind:
        case Kind.DEPLOY:
            deploy(run, shop.witness)
        case Kind.REINSTALL:
            reinstall(run, shop.witness)
        case Kind.SETTLE:
            settle_by_hand(run, shop.witness)


def _take_up(shop: Workshop, case: Case, journal: Journal) -> Opened:
    if journal.state.kind is Kind.SETTLE:
        return take_up_by_hand(shop.api, case, journal)
    return take_up(case, journal)


def make_teller(shop: Workshop, host: str) -> Callable[[str], None]:
    """Whom the steps of a host are told to, by their names; anything else is a note."""
    started, last = shop.api.clock.now(), ""

    def tell(text: str) -> None:
        nonlocal last
        now, named = shop.api.clock.now(), " " not in text
        last = text if named else last
        shop.emit(
            Event(
                host=host,
                at=now,
                kind=EventKind.STEP if named else EventKind.NOTE,
                phase=last,
                text=text,
                elapsed=now - started,
            )
        )

    return tell


def _result(shop: Workshop, folder: Path, host: str, work: Callable[[], Journal]) -> HostResult:
    started = shop.api.clock.now()
    error: WinseedError | None = None
    interrupted = False
    try:
        with locked(folder):
            work()
    except WinseedError as caught:
        error = caught
    except Interrupted:
        interrupted = True
    except Exception as caught:
        # one host's surprise must not end the others; its text may hold anything, so it is not told
        error = WinseedError(
            f"{type(caught).__name__}: this is a bug of winseed",
            code=ExitCode.BUG,
            hint=f"please report it; `winseed status` says how {host} stands",
        )
        error.__cause__ = caught
    result = _told(shop, folder, host, started, error, interrupted=interrupted)
    _close(shop, result)
    return result


def _close(shop: Workshop, result: HostResult) -> None:
    """Tell how it ended, so that whoever watches knows that nothing more comes."""
    kind = EventKind.FAILED if result.error else EventKind.NOTE
    if result.error is None and not result.interrupted:
        kind = EventKind.DONE
    text = result.error.what if result.error else result.outcome.value
    shop.emit(
        Event(
            host=result.host,
            at=shop.api.clock.now(),
            kind=kind,
            phase=result.outcome.value,
            text=text,
            elapsed=result.seconds,
        )
    )


def _told(
    shop: Workshop,
    folder: Path,
    host: str,
    started: float,
    error: WinseedError | None,
    *,
    interrupted: bool,
) -> HostResult:
    journal: Journal | None = None
    with contextlib.suppress(WinseedError):
        journal = load_journal(folder)
    state = journal.state if journal else None
    return HostResult(
        host=host,
        node=state.node if state else "",
        vmid=state.vmid if state else 0,
        outcome=state.outcome if state else Outcome.UNDONE,
        seconds=shop.api.clock.now() - started,
        error=error,
        interrupted=interrupted,
        notes=tuple(_notes(shop, journal, folder)) if journal else (),
    )


def _notes(shop: Workshop, journal: Journal, folder: Path) -> Iterator[str]:
    state = journal.state
    match state.outcome:
        case Outcome.SETTLED:
            password = administrator_file(folder, state)
            if password.exists():
                yield f"Administrator's password: {password}"
            if state.unused:
                yield f"the old disks are kept: winseed reinstall {state.host} --accept"
            yield from (f"delete {path}: it is used up" for path in used_files(journal, folder))
            if state.next:
                yield f"next: {state.next}"
        case Outcome.OPEN | Outcome.KEPT:
            yield from secrets_left(make_trail(shop, journal, folder))
            yield f"next: {open_hint(state)}"
        case Outcome.ROLLED_BACK:
            yield "the VM is as it was before; the new disk is kept as unusedN: winseed clean"
        case Outcome.UNDONE:
            pass
