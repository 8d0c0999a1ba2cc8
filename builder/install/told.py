"""What our own commands write to COM1: which stage they are in, what they found, why they stopped.

Lines are those of `answer_templates/scripts`. The port keeps nothing while nobody reads, so any
of them may be missing, and none is needed: they only make a run quicker and its failures clearer.
"""

import re

from builder.record import record

PREFIX = "winseed: "
LINE_LIMIT, TAIL = 300, 60  # characters of a line, lines that are kept
_WORD = re.compile(r"([a-z_]+)=(\S*)")
STAGES = ("winpe", "specialize", "first-boot", "done")


@record
class Told:
    """What was read from COM1 so far.

    `stages`: those that have begun, `ended`: those that said `done`. `guard`: why the disk guard
    powers the VM off, "" while it does not. `foreign`: the fingerprint of another build that ran.
    `failure`: what Setup's error handler said first. `problems`: lines that name something broken,
    in their order. `lines`: the last lines of ours, without their prefix.
    """

    stages: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    guard: str = ""
    foreign: str = ""
    failure: str = ""
    problems: tuple[str, ...] = ()
    failed_steps: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def load_told(told: Told, lines: tuple[str, ...], *, fingerprint: str) -> Told:
    """`told` after further `lines` of the serial port; what is not ours is left out."""
    for line in lines:
        text = own_text(line)
        if text:
            told = _with_line(told, text, fingerprint)
    return told


def own_text(line: str) -> str:
    """What a line of ours says, "" for any other: firmware and boot loader write there as well.

    A line may begin with what they left behind, escape sequences for instance.
    """
    _, prefix, text = line.partition(PREFIX)
    printable = "".join(sign if sign.isprintable() else " " for sign in text).strip()
    return printable[:LINE_LIMIT] if prefix else ""


def _with_line(told: Told, text: str, fingerprint: str) -> Told:
    words = dict(_WORD.findall(text))
    stage = words.get("phase", "")
    identity = words.get("id", "")
    stages, ended = told.stages, told.ended
    if stage in STAGES:
        stages |= {stage}
        ended |= {stage} if text == f"phase={stage} done" else set()
    elif words.get("step"):
        stages |= {"first-boot"}
    foreign = identity if stage and identity and fingerprint not in {"", identity} else ""
    guard = text.partition("reason=")[2] or "unknown" if words.get("guard") == "stopped" else ""
    step = words["step"] if words.get("step") and words.get("ok") == "False" else ""
    return Told(
        stages=stages,
        ended=ended,
        guard=told.guard or guard,
        foreign=told.foreign or foreign,
        failure=told.failure or (text if stage == "failed" else ""),
        problems=(*told.problems, text)[-TAIL:] if _is_problem(text, words) else told.problems,
        failed_steps=(*told.failed_steps, step)[-TAIL:] if step else told.failed_steps,
        lines=(*told.lines, text)[-TAIL:],
    )


def _is_problem(text: str, words: dict[str, str]) -> bool:
    broken = {"virtio_cd": "missing", "copy": "failed", "disks": "0", "ok": "False"}
    if any(words.get(key) == value for key, value in broken.items()):
        return True
    if words.get("drvload") and words.get("result") not in {"", "0"}:
        return True
    return "incomplete=" in text
