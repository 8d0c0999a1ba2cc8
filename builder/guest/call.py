"""A script in the guest, run at most once per id, whatever is lost on the way.

`exec` may have started a program although it failed (596, a time-out), `exec-status` tells a result
once, and the agent is away while Windows restarts. So the guest keeps each result in a file named
by the call's id, and a call that lost its answer is simply made again: the guest then says what it
has. A run that a restart cut off is repeated under the next id (`ID.2`), the same from everywhere.
"""

import enum
import functools
from collections.abc import Callable, Mapping

from builder.errors import ExitCode, WinseedError
from builder.guest.envelope import (
    Answer,
    Given,
    GuestScript,
    Json,
    Standing,
    find_secrets,
    load_answer,
    make_command,
    make_envelope,
)
from builder.proxmox.agent import CommandResult, GuestAgent, start_command, take_result
from builder.proxmox.failures import PveError, Trouble
from builder.record import record
from builder.values import Secret

RUNS = 3  # how often a run that is cut off is begun
WORDLESS = 3  # programs in a row that end without an answer; a restart kills one or two
AWAY = (3.0, 15.0)  # seconds between two tries of a call, the first and the longest
LOOK = (0.5, 10.0)  # seconds between two looks at a running program
_LOST = frozenset({Trouble.AGENT, Trouble.UNKNOWN})


class GuestTrouble(enum.Enum):
    """Why a call into the guest came to nothing."""

    SILENT = "silent"  # no answer in time; it may still run, the same id finds out
    INTERRUPTED = "interrupted"  # cut off at every run
    WORDLESS = "wordless"  # PowerShell ended without a word of ours
    FAILED = "failed"  # the script says what went wrong
    MALFORMED = "malformed"  # the script answers something else


class GuestError(WinseedError):
    """A call into the guest that came to nothing; `script` as `rotate`."""

    def __init__(self, what: str, *, trouble: GuestTrouble, script: str, hint: str = "") -> None:
        super().__init__(what, code=ExitCode.UNSETTLED, hint=hint)
        self.trouble = trouble
        self.script = script

    def __reduce__(self) -> tuple[Callable[..., WinseedError], tuple[str]]:
        """Travel between processes, which keyword-only arguments would not survive."""
        make = functools.partial(
            GuestError, trouble=self.trouble, script=self.script, hint=self.hint
        )
        return make, (self.what,)


@record
class GuestResult:
    """What a script told. `code` is 0 or the script failed and `message` says why."""

    code: int
    message: str
    values: Mapping[str, Json]


def call_guest(
    agent: GuestAgent,
    script: GuestScript,
    *,
    id: str,  # noqa: A002 - the word of the protocol
    payload: Mapping[str, Given],
    timeout: float,
    record: bool = True,
) -> GuestResult:
    """Run `script` in the guest and give its result; the same `id` never runs it twice.

    One id belongs to one payload. Of a question, or with `record=False`, nothing is kept: a lost
    answer makes the guest run it again. Raises GuestError when `timeout` seconds do not suffice,
    PveError when the VM is off or Proxmox VE refuses.
    """
    deadline = agent.api.clock.now() + timeout
    secrets = tuple(sorted(find_secrets(payload), key=len, reverse=True))
    for run in range(1, RUNS + 1):
        call = id if run == 1 else f"{id}.{run}"
        kept = record and not script.question
        stdin = make_envelope(script, call, payload, record=kept)
        answer = _converse(agent, script, stdin, deadline, secrets)
        if answer.standing is Standing.DONE:
            message = _masked(answer.message, secrets)
            return GuestResult(code=answer.code, message=message, values=answer.values)
    raise GuestError(
        f"`{script.name}` was cut off in the guest {RUNS} times",
        trouble=GuestTrouble.INTERRUPTED,
        script=script.name,
        hint="Windows restarts on its own, or something ends PowerShell: look at its event log",
    )


def _converse(
    agent: GuestAgent, script: GuestScript, stdin: Secret, deadline: float, secrets: tuple[str, ...]
) -> Answer:
    """Make one call until the guest says how it ended."""
    clock = agent.api.clock
    pause, wordless = AWAY[0], 0
    while True:
        result = _run_program(agent, stdin, deadline)
        answer = load_answer(result.out) if result else None
        if answer and answer.standing is not Standing.RUNNING:
            return answer
        if result and not answer:
            wordless += 1
            if wordless == WORDLESS:
                raise _make_wordless(script, result, secrets)
        if clock.now() >= deadline:
            raise GuestError(
                f"`{script.name}` gave no result in time",
                trouble=GuestTrouble.SILENT,
                script=script.name,
                hint="the guest agent was away or the script still runs",
            )
        clock.pause(pause * (0.75 + clock.jitter() / 2))
        pause = min(pause * 1.5, AWAY[1])


def _run_program(agent: GuestAgent, stdin: Secret, deadline: float) -> CommandResult | None:
    """Start PowerShell and wait for its end; None when that got lost or time is up."""
    clock = agent.api.clock
    pause = LOOK[0]
    try:
        with agent.turn():
            pid = start_command(agent.api, agent.node, agent.vmid, make_command(), stdin=stdin)
    except PveError as error:
        if error.trouble in _LOST:
            return None
        raise
    while True:
        try:
            with agent.turn():
                result = take_result(agent.api, agent.node, agent.vmid, pid)
        except PveError as error:
            # REFUSED: the agent does not know the number any more
            if error.trouble in _LOST or error.trouble is Trouble.REFUSED:
                return None
            raise
        if result is not None or clock.now() >= deadline:
            return result
        clock.pause(pause)
        pause = min(pause * 2, LOOK[1])


def _make_wordless(
    script: GuestScript, result: CommandResult, secrets: tuple[str, ...]
) -> GuestError:
    told = "".join(sign if sign.isprintable() else " " for sign in result.err or result.out)
    words = " ".join(_masked(told, secrets).split())[-400:]
    code = "a signal" if result.exitcode is None else f"exit code {result.exitcode}"
    return GuestError(
        f"PowerShell in the guest ended with {code} and no answer to `{script.name}`"
        + (f": {words}" if words else ""),
        trouble=GuestTrouble.WORDLESS,
        script=script.name,
        hint="a policy that restricts PowerShell (AppLocker, constrained language) does that",
    )


def _masked(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
