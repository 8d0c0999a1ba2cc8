"""Switches that are meant to turn updates off and do not, or contradict each other.

Sources: unattended setup reference, Shell-Setup OOBE ProtectYourPC; windows-deployment docs
waas-wu-settings and 4-configure-group-policy-settings-for-automatic-updates.
"""

import re
from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import Answer
from builder.answer.rules.commands import all_commands, first_logon_commands
from builder.answer.rules.table import Finding

SHELL = "Microsoft-Windows-Shell-Setup"
NO_AUTO_UPDATE = re.compile(r"\bNoAutoUpdate\b(?=.{0,40}\b(0x)?0{0,7}1\b)", re.IGNORECASE)
WSUS = re.compile(r"\bWUServer\b", re.IGNORECASE)
OTHER_SWITCH = re.compile(r"WindowsUpdate\\AU|NoAutoUpdate|wuauserv|AUOptions", re.IGNORECASE)
SERVICE_OFF = re.compile(
    r"sc(\.exe)?\s+config\s+\"?wuauserv\"?\s+start=\s*disabled"
    r"|Set-Service\b(?=.{0,200}\bwuauserv\b)(?=.{0,200}\bDisabled\b)",
    re.IGNORECASE,
)
PREFERENCE = re.compile(
    r"CurrentVersion\\WindowsUpdate\\Auto Update\b.{0,40}\bAUOptions\b", re.IGNORECASE
)


def judge_updates(answer: Answer) -> Iterator[Finding]:
    """The update switches of the whole file."""
    lines = list(all_commands(answer))
    modern = answer.release is None or answer.release.build >= 14393
    for switch in answer.found(SHELL, "OOBE/ProtectYourPC"):
        other = any(OTHER_SWITCH.search(line.text) for line in lines)
        if switch.text.strip() == "3" and modern and not other:
            yield answer.finding("WS509", switch, "ProtectYourPC is 3, and nothing else is set")
    off = [line for line in lines if NO_AUTO_UPDATE.search(line.text)]
    wsus = [line for line in lines if WSUS.search(line.text)]
    if off and wsus:
        yield answer.finding("WS510", wsus[0], "NoAutoUpdate=1 stands beside WUServer")
    yield from _judge_time(answer, off)
    for line in lines:
        if SERVICE_OFF.search(line.text):
            yield answer.finding("WS512", line, "the service wuauserv is disabled")
        if modern and PREFERENCE.search(line.text):
            yield answer.finding("WS516", line, "AUOptions is set as a preference, not as policy")


def _judge_time(answer: Answer, off: list[Element]) -> Iterator[Finding]:
    late = {id(line) for line in first_logon_commands(answer)}
    if off and all(id(line) in late for line in off):
        yield answer.finding("WS511", off[0], "NoAutoUpdate is set at first logon only")
