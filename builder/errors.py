"""The one exception of winseed, and the table of exit codes.

Anything else that reaches the command line is our bug and exits with 1.
"""

import enum
import functools
from collections.abc import Callable, Sequence

from builder.record import record


class ExitCode(enum.IntEnum):
    """What the exit status of `winseed` tells the caller."""

    DONE = 0
    BUG = 1
    SPEC = 2  # the spec, a flag or the call is wrong
    MEDIA = 3  # a medium or a driver is missing or wrong
    ANSWER = 4  # Setup would refuse the answer file
    PROXMOX = 5  # Proxmox VE refused or cannot be reached
    UNSETTLED = 6  # the installation did not settle in time
    UNSAFE = 7  # refused for safety
    INTERRUPTED = 130


@record
class Problem:
    """One thing that is wrong: where (`host[0].nic[1].gateway`, a file), what, and the way out."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class WinseedError(Exception):
    """Something the user can mend.

    `what` says what happened and what was expected, `hint` what to do. `problems` lists every
    finding when there are several. None of them may hold a secret.
    """

    def __init__(
        self, what: str, *, code: ExitCode, hint: str = "", problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(what)
        self.what = what
        self.code = code
        self.hint = hint
        self.problems = problems

    def __reduce__(self) -> tuple[Callable[..., "WinseedError"], tuple[str]]:
        """Travel between processes, which keyword-only arguments would not survive."""
        make = functools.partial(type(self), code=self.code, hint=self.hint, problems=self.problems)
        return make, (self.what,)


def combine_errors(failed: Sequence[WinseedError], total: int) -> WinseedError:
    """One error for one host; for several, each with its own words, the gravest code."""
    unique = list({(error.what, error.problems): error for error in failed}.values())
    if len(unique) == 1:
        return unique[0]
    problems = tuple(
        problem
        for error in unique
        for problem in (Problem(where="", what=error.what, hint=error.hint), *error.problems)
    )
    return WinseedError(
        f"{len(failed)} of {total} hosts failed",
        code=ExitCode(max(error.code for error in unique)),
        problems=problems,
    )
