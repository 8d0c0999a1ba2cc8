"""What is kept of a run that failed: the screen, what COM1 said, the logs that Windows has.

Each of them may be missing, and none of them may make the failure worse.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from builder.errors import WinseedError
from builder.files import target_errors, write_file
from builder.guest.facts import inspect_logs
from builder.install.run import Run
from builder.install.witness import SERIAL, Witness, target_of
from builder.proxmox.agent import ping_agent

LOG_TIME = 60.0  # seconds


def gather_evidence(run: Run, witness: Witness) -> tuple[Path, ...]:
    """Save what there is in the run's folder and give the files. Never raises."""
    found = list(_screen(run, witness))
    serial = run.folder / SERIAL
    if serial.is_file():
        found.append(serial)
    found += _logs(run)
    return tuple(found)


def _screen(run: Run, witness: Witness) -> Iterator[Path]:
    with contextlib.suppress(WinseedError, OSError):
        if witness.look(target_of(run), run.folder) is not None:
            yield run.folder / "screen.png"


def _logs(run: Run) -> Iterator[Path]:
    """Setup's logs and our own, when the agent answers."""
    agent = run.agent()
    with contextlib.suppress(WinseedError, OSError):
        with agent.turn():
            if not ping_agent(run.api, agent.node, agent.vmid):
                return
        for log in inspect_logs(agent, timeout=LOG_TIME):
            path = run.folder / "logs" / _name(log.path)
            with target_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, log.tail.encode())
            yield path


def _name(path: str) -> str:
    """`UnattendGC-setupact.log`: two folders hold logs of one name."""
    found = PureWindowsPath(path)
    plain = found.parent.name.casefold() in {"panther", "logs"}
    return found.name if plain else f"{found.parent.name}-{found.name}"
