"""A partner outside this cluster: a person runs our script there and brings the answer back.

A question has a number of its own, so that no answer serves twice, and an answer older than a
quarter of an hour by the partner's clock is not taken: proofs are of now.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from builder.answer.render import render_text
from builder.domain.calls import DcSecrets, make_payload
from builder.domain.plan import DcPlan
from builder.domain.scripts import load_dc_script
from builder.errors import ExitCode, WinseedError
from builder.files import write_file
from builder.guest.call import GuestError, GuestTrouble
from builder.guest.envelope import Json
from builder.media.attachment import load_secret_text

FOLDER = "partner"
FRESH = 900  # seconds, the difference between two clocks included


class AwaitedError(WinseedError):
    """A person has to bring an answer. `lines` say how."""

    def __init__(self, what: str, *, lines: tuple[str, ...]) -> None:
        super().__init__(what, code=ExitCode.UNSAFE, hint=lines[0] if lines else "")
        self.lines = lines


def write_question(
    folder: Path, plan: DcPlan, script: str, nonce: str, *, back: Collection[str] = ()
) -> Path:
    """The script as a file that a person can read and run; it holds no secret."""
    payload = make_payload(script, plan, DcSecrets(), back=back)
    found = load_dc_script(script)
    text = render_text(
        "scripts/partner/by-hand.ps1.j2",
        {
            "name": script,
            "partner": plan.partner.name if plan.partner else "",
            "question": found.question,
            "nonce": nonce,
            "text": found.text,
            "payload": json.dumps(payload),
        },
    )
    path = folder / FOLDER / f"{script}.ps1"
    write_file(path, text)
    return path


def take_answer(
    folder: Path, plan: DcPlan, script: str, nonce: str, *, now: int
) -> Mapping[str, Json]:
    """The values that a person has brought. Raises AwaitedError while there are none, GuestError
    (FAILED) when the script said that it failed."""
    path = folder / FOLDER / f"{script}.json"
    told = _read(path)
    reason = _refusal(told, nonce, now)
    if told is None or reason:
        question = write_question(folder, plan, script, nonce)
        name = plan.partner.name if plan.partner else "the partner"
        raise AwaitedError(
            f"{name} is outside this cluster: {reason}",
            lines=(
                f"copy {question} to {name}, read it, run it there as a domain administrator",
                f"bring {path.name} back to {path.parent} within {FRESH // 60} minutes",
            ),
        )
    if told.get("code"):
        raise GuestError(
            f"`dc/{script}` failed on the partner: {told.get('message')}",
            trouble=GuestTrouble.FAILED,
            script=f"dc/{script}",
        )
    values: Mapping[str, Json] = told["values"]
    return values


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        told = json.loads(load_secret_text(path))
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _refusal(told: dict[str, Any] | None, nonce: str, now: int) -> str:
    if told is None:
        return "its answer is awaited"
    if not isinstance(told.get("values"), dict) or not isinstance(told.get("time"), int):
        return "the answer that was brought is none"
    if told.get("nonce") != nonce:
        return "the answer that was brought is of another question"
    if abs(now - told["time"]) > FRESH:
        return f"the answer that was brought is {abs(now - told['time']) // 60} minutes old"
    return ""
