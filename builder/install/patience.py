"""How long each phase of an installation may take, and may be silent, before it is given up."""

import functools
import math
import tomllib
from collections.abc import Mapping
from typing import Any

from builder import resources
from builder.record import record


@record
class Allowance:
    """Seconds that a phase may go by without any sign of life (`silence`), and in all (`limit`)."""

    silence: float
    limit: float


@record
class Patience:
    """The allowances by the name of their phase, and further times, all in seconds.

    `overall`: from the start of Windows Setup to the final marker. `off`: how long a VM may be off
    before that counts, `off_managed` where HA looks after it. `agent_after`: from the first boot
    of the installed Windows until the agent is asked unannounced, `agent_after_told` where COM1
    has spoken before and should announce it. `agent_pause`: between two questions.
    """

    allowances: Mapping[str, Allowance]
    overall: float
    off: float
    off_managed: float
    agent_after: float
    agent_after_told: float
    agent_pause: float

    def of(self, phase: str) -> Allowance:
        """The allowance of a phase; one without an entry has only the overall limit."""
        return self.allowances.get(phase, Allowance(silence=math.inf, limit=math.inf))


@functools.cache
def load_patience() -> Patience:
    """The times of `answer_templates/stalls.toml`."""
    table = read_stalls()
    times: dict[str, float] = {key: float(value) for key, value in table["times"].items()}
    allowances = {
        phase: Allowance(silence=float(row["silence"]), limit=float(row["limit"]))
        for phase, row in table["allowance"].items()
    }
    return Patience(allowances=allowances, **times)


def make_patience(
    *, overall: float | None = None, allowances: Mapping[str, Allowance] | None = None,
    first_boot: float = 0.0,
) -> Patience:  # fmt: skip
    """The usual patience with an `overall` limit or `allowances` of one's own.

    `first_boot`: seconds that the steps of the first boot may take by their own time-outs; its
    allowance and the overall limit are widened to them.
    """
    usual = load_patience()
    chosen = {**usual.allowances, **(allowances or {})}
    first = chosen["first-boot"]
    chosen["first-boot"] = Allowance(
        silence=max(first.silence, first_boot), limit=max(first.limit, first_boot * 1.2)
    )
    widened = usual.overall + max(0.0, chosen["first-boot"].limit - first.limit)
    return Patience(
        allowances=chosen,
        overall=overall or widened,
        off=usual.off,
        off_managed=usual.off_managed,
        agent_after=usual.agent_after,
        agent_after_told=usual.agent_after_told,
        agent_pause=usual.agent_pause,
    )


@functools.cache
def read_stalls() -> Mapping[str, Any]:
    """The table as it stands in its file."""
    with (resources.templates() / "stalls.toml").open("rb") as file:
        return tomllib.load(file)
