"""What a preflight says: one line each, with the way out."""

import enum
from collections.abc import Iterable

from builder.errors import ExitCode
from builder.record import record


class Level(enum.Enum):
    """How much a finding weighs."""

    OK = "ok"
    WARN = "warn"
    STOP = "stop"


@record
class Finding:
    """Something that was looked at. `commands` are for root on a node; `code` counts for STOP."""

    subject: str
    level: Level
    what: str
    hint: str = ""
    commands: tuple[str, ...] = ()
    code: ExitCode = ExitCode.DONE


def fine(subject: str, what: str) -> Finding:
    """Something that is as it should be."""
    return Finding(subject=subject, level=Level.OK, what=what)


def warn(subject: str, what: str, hint: str, commands: tuple[str, ...] = ()) -> Finding:
    """Something to look at, or that could not be looked at; the installation may go on."""
    return Finding(subject=subject, level=Level.WARN, what=what, hint=hint, commands=commands)


def stop(
    subject: str, what: str, hint: str, *, code: ExitCode, commands: tuple[str, ...] = ()
) -> Finding:
    """Something the installation would fail at, or do harm by."""
    return Finding(
        subject=subject, level=Level.STOP, what=what, hint=hint, commands=commands, code=code
    )


# safety first; then what has to be mended at the cluster, the media, the spec
_GRAVITY = (ExitCode.UNSAFE, ExitCode.PROXMOX, ExitCode.MEDIA, ExitCode.SPEC)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """The gravest code among the reasons to stop, DONE when there is none."""
    codes = {finding.code for finding in findings if finding.level is Level.STOP}
    return next((code for code in _GRAVITY if code in codes), ExitCode.DONE)
