"""How runs and leftovers are told: lines for people, versioned JSON. Pure."""

from collections.abc import Iterator
from typing import Any

from builder.install.clean import Leftover, removable
from builder.install.leftovers import StaleIso, StrayDisk
from builder.install.phases import Phase
from builder.install.status import RunStatus, Status

VERSION = 1
MIB = 1024**2


def status_lines(status: Status) -> list[str]:
    """Everything as `winseed status` prints it."""
    lines = [line for run in status.runs for line in _run_lines(run)]
    if not status.runs:
        lines.append("no run has left a journal here; -o names the folder of the hosts' folders")
    if status.isos:
        lines += ["", "answer ISOs on storages:", *map(leftover_line, status.isos)]
    if status.disks:
        lines += ["", "disks that no drive uses:", *map(leftover_line, status.disks)]
    if removable(status):
        lines += ["", "`winseed clean` removes what is marked with *, after asking"]
    if status.notes:
        lines += ["", *(f"note: {note}" for note in status.notes)]
    return lines


def leftover_line(leftover: Leftover) -> str:
    """One leftover: what, where, of whom, and what speaks against removing it."""
    sign = "*" if leftover.removable else " "
    size = f" {leftover.size / MIB:.0f} MiB" if leftover.size is not None else ""
    return f"{sign} {leftover.volid}{size}, {_place(leftover)}: {leftover.what}"


def _place(leftover: Leftover) -> str:
    host = leftover.host or "unknown host"
    match leftover:
        case StaleIso():
            return f"on {leftover.node}, run {leftover.run or '?'} of {host}"
        case StrayDisk():
            slot = f"{leftover.slot} of " if leftover.slot else ""
            return f"{slot}VM {leftover.vmid} on {leftover.node}, run {leftover.run} of {host}"


def _run_lines(run: RunStatus) -> Iterator[str]:
    state = run.record.state
    where = "" if run.record.current else f", before ({run.record.path.name})"
    place = f"VM {state.vmid} on {run.vm.node if run.vm else state.node}" if state.vmid else "no VM"
    yield f"{state.host}: {state.kind.value} {state.outcome.value}, {place}{where}"
    if run.record.current:
        phase = f"phase {_phase(run)}, " if state.phase else ""
        yield f"  {phase}last step {run.step}"
    if run.vm is not None:
        yield f"  the VM is {_live(run)}"
    if state.failure:
        yield f"  failed: {state.failure}"
    for line in run.secrets:
        yield f"  secret: {line}"
    for volid in state.doubtful:
        yield f"  {volid} may be its answer ISO: look, and delete it by hand"
    if run.next:
        yield f"  next: {run.next}"


def _phase(run: RunStatus) -> str:
    try:
        return Phase(run.record.state.phase).title
    except ValueError:
        return run.record.state.phase


def _live(run: RunStatus) -> str:
    if run.vm is None:
        return ""
    parts = ["running" if run.vm.running else "off"]
    if run.vm.lock:
        parts.append(f"locked ({run.vm.lock})")
    if not run.vm.ours:
        parts.append(f"called {run.vm.name or 'nothing'}; nothing proves that it is of this run")
    return ", ".join(parts)


def status_document(status: Status) -> dict[str, Any]:
    """Everything as `winseed status --json` prints it."""
    return {
        "version": VERSION,
        "asked": status.asked,
        "runs": [_run_row(run) for run in status.runs],
        "isos": [leftover_row(one) for one in status.isos],
        "disks": [leftover_row(one) for one in status.disks],
        "notes": list(status.notes),
    }


def _run_row(run: RunStatus) -> dict[str, Any]:
    state, vm = run.record.state, run.vm
    return {
        "host": state.host,
        "journal": str(run.record.path),
        "current": run.record.current,
        "run": state.run,
        "kind": state.kind.value,
        "outcome": state.outcome.value,
        "phase": state.phase or None,
        "step": run.step,
        "failure": state.failure,
        "next": run.next,
        "secrets": list(run.secrets),
        "doubtful": list(state.doubtful),
        "started": state.started,
        "node": state.node or None,
        "vmid": state.vmid or None,
        "vm": {
            "node": vm.node,
            "name": vm.name,
            "running": vm.running,
            "lock": vm.lock,
            "ours": vm.ours,
        }
        if vm
        else None,
    }


def leftover_row(leftover: Leftover) -> dict[str, Any]:
    """A leftover as JSON values."""
    row = {
        "volid": leftover.volid,
        "node": leftover.node,
        "size": leftover.size,
        "run": leftover.run,
        "host": leftover.host or None,
        "removable": leftover.removable,
        "what": leftover.what,
    }
    match leftover:
        case StaleIso():
            return {"kind": "iso"} | row
        case StrayDisk():
            return {"kind": "disk", "vmid": leftover.vmid, "slot": leftover.slot or None} | row
