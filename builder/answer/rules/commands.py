"""Command lines: their limits, their order, and what they cannot do.

Sources: unattended setup reference, Microsoft-Windows-Deployment RunSynchronous and
Microsoft-Windows-Shell-Setup FirstLogonCommands; cschneegans/unattend-generator#6 and #213;
Pumba98/proxmox-packer-templates#180.
"""

import re
from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import Answer, is_placeholder, is_true
from builder.answer.rules.table import Finding

SETUP = "Microsoft-Windows-Setup"
SHELL = "Microsoft-Windows-Shell-Setup"
DEPLOYMENT = "Microsoft-Windows-Deployment"
COMMAND = "RunSynchronous/RunSynchronousCommand"
FIRST_LOGON = "FirstLogonCommands/SynchronousCommand"
PATH_LENGTH = 259
MODERN = 14393  # Windows 10 1607, Windows Server 2016
POWER = re.compile(
    r"(?<![\w.-])(shutdown(\.exe)?\s+([^&|]{0,200}\s)?[/-][rsg]\b|(restart|stop)-computer\b"
    r"|wpeutil(\.exe)?\s+(reboot|shutdown)\b)",
    re.IGNORECASE,
)
MSIEXEC = re.compile(r'\s*"?([a-z]:\\windows\\system32\\)?msiexec(\.exe)?"?\s', re.IGNORECASE)


def judge_specialize(answer: Answer) -> Iterator[Finding]:
    """RunSynchronous of the installed system."""
    for command in answer.found(DEPLOYMENT, COMMAND):
        path = command.child("Path")
        if path is None:
            continue
        if len(path.text) > PATH_LENGTH and not is_placeholder(path.text):
            what = f"the command has {len(path.text)} characters; {PATH_LENGTH} are allowed"
            if len(path.text.strip()) <= PATH_LENGTH:
                what += ", white space included"
            yield answer.finding("WS504", path, what)
        if POWER.search(path.text):
            yield answer.finding("WS503", path, "the command shuts down or restarts Windows")
        reboot = command.child("WillReboot")
        if reboot is not None and reboot.text.strip() == "OnRequest":
            yield answer.finding("WS515", reboot, "WillReboot is OnRequest")


def judge_windows_pe(answer: Answer) -> Iterator[Finding]:
    """RunSynchronous of Windows PE."""
    for command in answer.found(SETUP, COMMAND):
        path = command.child("Path")
        if path is not None and len(path.text) > PATH_LENGTH and not is_placeholder(path.text):
            yield answer.finding("WS501", path, f"the command has {len(path.text)} characters")
        reboot = command.child("WillReboot")
        if reboot is not None:
            yield answer.finding("WS502", reboot, "WillReboot in Microsoft-Windows-Setup")


def judge_lines(answer: Answer) -> Iterator[Finding]:
    """Line breaks inside commands, as reformatting puts them there."""
    for path in all_commands(answer):
        if "\n" in path.text.strip():
            yield answer.finding("WS507", path, "the command goes over several lines")


def all_commands(answer: Answer) -> Iterator[Element]:
    """The element of every command line of the file."""
    for component in (SETUP, DEPLOYMENT):
        for way in (
            "RunSynchronous/RunSynchronousCommand",
            "RunAsynchronous/RunAsynchronousCommand",
        ):
            yield from answer.found(component, f"{way}/Path")
    yield from first_logon_commands(answer)
    yield from answer.found(SHELL, "LogonCommands/AsynchronousCommand/CommandLine")


def first_logon_commands(answer: Answer) -> Iterator[Element]:
    """The element of every command line that runs at the first logon."""
    yield from answer.found(SHELL, f"{FIRST_LOGON}/CommandLine")


def judge_first_logon(answer: Answer) -> Iterator[Finding]:
    """FirstLogonCommands: somebody must log on, and their order is not promised."""
    lists = [e for e in answer.found(SHELL, "FirstLogonCommands") if e.children]
    if not lists:
        return
    logons = answer.found(SHELL, "AutoLogon/Enabled")
    if not any(is_true(e.text) or is_placeholder(e.text) for e in logons):
        yield answer.finding("WS505", lists[0], "FirstLogonCommands without AutoLogon")
    if len(lists[0].children) > 1 and _is_modern(answer, unknown=True):
        what = f"{len(lists[0].children)} commands at first logon"
        yield answer.finding("WS506", lists[0], what)
        for line in first_logon_commands(answer):
            if MSIEXEC.match(line.text):
                yield answer.finding("WS508", line, "msiexec is called directly")


def judge_deployment(answer: Answer) -> Iterator[Finding]:
    """ExtendOSPartition and Reseal."""
    for extend in answer.found(DEPLOYMENT, "ExtendOSPartition"):
        if is_true(extend.value("Extend")) and extend.value("Size"):
            yield answer.finding("WS513", extend, "both Extend and Size")
    for passes, mode in (("auditSystem", "Audit"), ("oobeSystem", "OOBE")):
        for reseal in answer.found(DEPLOYMENT, "Reseal", passes):
            stops = is_true(reseal.value("ForceShutdownNow"))
            if stops and reseal.value("Mode") == mode and not _is_modern(answer, unknown=False):
                what = f"{passes} reseals to {mode} and shuts down"
                yield answer.finding("WS514", reseal, what)


def _is_modern(answer: Answer, *, unknown: bool) -> bool:
    """Whether the target is Windows Server 2016 or later; `unknown` when nothing tells."""
    return answer.release.build >= MODERN if answer.release else unknown
