"""The text of one setting against its type, range, list of values, length and pattern."""

import re

from builder.answer.document import Element
from builder.answer.rules.answer import Answer, is_placeholder, shown
from builder.answer.rules.table import Finding
from builder.answer.schema import Setting, ValueType

INTEGER = re.compile(r"[+-]?[0-9]{1,18}")

# Rules of their own say more about these than the schema does.
OWN_VALUE = frozenset(
    (
        "ComputerName",  # WS404
        "TimeZone",  # WS804
        "UserData/ProductKey/Key",  # WS303, WS314
        "ProductKey",  # WS309, WS314
        "DiskConfiguration/Disk/ModifyPartitions/ModifyPartition/Letter",  # WS219
        "ImageInstall/OSImage/InstallTo/DiskID",  # WS225
        "ImageInstall/OSImage/InstallTo/PartitionID",  # WS225
    )
)
COMMAND = "RunSynchronous/RunSynchronousCommand/Path"  # WS504
LANGUAGES = frozenset(("langtag", "inputlocale", "ip", "ip[/prefix]"))  # WS802, WS803, WS601


def judge_value(answer: Answer, element: Element, setting: Setting, found: list[Finding]) -> None:
    """Append what is wrong with a leaf's text. Values that something fills in later are skipped."""
    raw = element.text
    text = raw.strip()
    if setting.path in OWN_VALUE:
        return
    if not text:
        if not setting.empty or setting.type is not ValueType.STRING:
            what = f"{setting.path} is empty"
            found.append(answer.finding("WS117", element, what, setting.doc))
        return
    if is_placeholder(text):
        return
    fault = _fault(text, raw, setting)
    if fault is not None:
        rule, what = fault
        found.append(answer.finding(rule, element, f"{setting.path} {what}", setting.doc))


def _fault(text: str, raw: str, setting: Setting) -> tuple[str, str] | None:
    """The rule a value breaks and what is wrong, or None."""
    if setting.type is ValueType.BOOLEAN:
        return _boolean_fault(text)
    if setting.enum:
        return _choice_fault(text, setting)
    if setting.type is ValueType.INTEGER:
        return _integer_fault(text, setting)
    return _string_fault(text, raw, setting)


def _boolean_fault(text: str) -> tuple[str, str] | None:
    if text in {"true", "false"}:
        return None
    if text.lower() in {"true", "false", "0", "1"}:
        return "WS109", f"is {shown(text)}"
    return "WS108", "is neither true nor false"


def _integer_fault(text: str, setting: Setting) -> tuple[str, str] | None:
    if not INTEGER.fullmatch(text):
        return "WS110", "is no whole number"
    if setting.range and not setting.range[0] <= int(text) <= setting.range[1]:
        low, high = setting.range
        return "WS111", f"is {int(text)}; {low} to {high} is allowed"
    return None


def _choice_fault(text: str, setting: Setting) -> tuple[str, str] | None:
    if text in setting.enum:
        return None
    choices = ", ".join(setting.enum[:8]) + (", ..." if len(setting.enum) > 8 else "")
    folded = text.casefold()
    if folded in {value.casefold() for value in (*setting.enum, *setting.undocumented_values)}:
        return "WS113", f"is {shown(text)}; documented are {choices}"
    return "WS112", f"is {shown(text)}; allowed are {choices}"


def _string_fault(text: str, raw: str, setting: Setting) -> tuple[str, str] | None:
    if setting.max_length and len(raw) > setting.max_length and setting.path != COMMAND:
        return "WS114", f"has {len(raw)} characters; {setting.max_length} are allowed"
    if setting.pattern and not setting.pattern.fullmatch(text):
        return "WS115", "does not have the documented form"
    wrong = sorted(set(text) & setting.forbidden_chars)
    if wrong:
        return "WS116", f"holds {' '.join(map(shown, wrong))}, which are not allowed"
    if text.upper() in setting.forbidden_values:
        return "WS116", f"must not be {shown(text)}"
    return None
