"""The computer's name, accounts and automatic logon.

Sources: unattended setup reference, Microsoft-Windows-Shell-Setup ComputerName, AutoLogon,
UserAccounts; jamesstringer90/Easy-GPU-PV#13 (a name of 17 characters stops specialize).
"""

from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import (
    Answer,
    AnswerKind,
    is_placeholder,
    is_true,
    shown,
)
from builder.answer.rules.table import Finding

SHELL = "Microsoft-Windows-Shell-Setup"
ACCOUNT = "UserAccounts/LocalAccounts/LocalAccount"
NAME_FORBIDDEN = frozenset("{|}~[\\]^':;<=>?@!\"#$%`()+/.,*& \t\r\n")
NAME_BYTES = 15
SAM_LENGTH = 20  # a SAM account name: learn.microsoft.com, New-LocalUser
BUILT_IN = frozenset(("administrator", "guest", "defaultaccount", "wdagutilityaccount"))


def judge_computer_name(answer: Answer) -> Iterator[Finding]:
    """The name Setup gives the computer."""
    for name in answer.found(SHELL, "ComputerName"):
        text = name.text.strip()
        if text in {"", "*"} or is_placeholder(text):
            continue
        size = len(text.encode("utf-8", "surrogatepass"))
        wrong = sorted(set(text) & NAME_FORBIDDEN)
        if size > NAME_BYTES:
            yield answer.finding("WS404", name, f"the name has {size} bytes, of {NAME_BYTES}")
        elif wrong:
            what = f"the name holds {' '.join(map(shown, wrong))}, which is not allowed"
            yield answer.finding("WS404", name, what)
        elif text.isdigit():
            yield answer.finding("WS404", name, "the name has digits only")
        elif "_" in text:
            yield answer.finding("WS405", name, "the name has an underscore")


def judge_accounts(answer: Answer) -> Iterator[Finding]:
    """The local accounts the file creates."""
    computers = {name.text.strip().casefold() for name in answer.found(SHELL, "ComputerName")} - {
        "",
        "*",
    }
    for account in answer.found(SHELL, ACCOUNT):
        if account.wcm("action") in {"modify", "remove"}:
            continue
        name = account.value("Name")
        if is_placeholder(name):
            continue
        if len(name) > SAM_LENGTH:
            yield answer.finding("WS401", account, f"the name has {len(name)} characters")
        if name.casefold() in BUILT_IN:
            yield answer.finding("WS402", account, f"{shown(name)} is a built-in account")
        if name and name.casefold() in computers:
            yield answer.finding("WS409", account, "account and computer have the same name")
        missing = [part for part in ("Group", "Password") if account.child(part) is None]
        if missing:
            yield answer.finding("WS403", account, f"the account has no {' and no '.join(missing)}")


def judge_auto_logon(answer: Answer) -> Iterator[Finding]:
    """AutoLogon: complete, and for somebody who exists."""
    for logon in answer.found(SHELL, "AutoLogon"):
        enabled = logon.value("Enabled")
        if not is_true(enabled):
            if enabled == "":
                yield answer.finding("WS407", logon, "AutoLogon without Enabled")
            continue
        missing = [name for name in ("Username", "Password") if logon.child(name) is None]
        if missing:
            yield answer.finding("WS407", logon, f"AutoLogon without {' and '.join(missing)}")
        if logon.child("LogonCount") is None:
            yield answer.finding("WS406", logon, "AutoLogon without LogonCount")
        yield from _judge_user(answer, logon)


def _judge_user(answer: Answer, logon: Element) -> Iterator[Finding]:
    user = logon.value("Username")
    domain = logon.value("Domain")
    if not user or is_placeholder(user) or (domain and domain != "."):
        return
    if (
        answer.kind is AnswerKind.IMAGE
        or user.casefold() in BUILT_IN
        or "\\" in user
        or "@" in user
    ):
        return
    names = [account.value("Name") for account in answer.found(SHELL, ACCOUNT)]
    if any(is_placeholder(name) for name in names):
        return
    if user.casefold() not in {name.casefold() for name in names}:
        yield answer.finding("WS408", logon, f"nothing creates the account {shown(user)}")


def judge_administrator(answer: Answer) -> Iterator[Finding]:
    """Windows Server wants a password for its Administrator at first logon."""
    if answer.release is None or answer.kind is not AnswerKind.SETUP:
        return
    oobe = answer.components(SHELL, "oobeSystem")
    if not oobe:
        return  # WS808 says it
    given = [
        *answer.found(SHELL, "UserAccounts/AdministratorPassword", "oobeSystem"),
        *answer.found(SHELL, "OfflineUserAccounts/OfflineAdministratorPassword"),
    ]
    if not given:
        yield answer.finding("WS410", oobe[0], "there is no AdministratorPassword")
