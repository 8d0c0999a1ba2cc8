"""Which image is installed, with which key, and whether Setup asks.

Sources: unattended setup reference (UserData, ImageInstall, Shell-Setup ProductKey);
manufacture/desktop/automate-windows-setup; OpenNebula/one-apps#225 (empty key);
rgl/windows-vagrant README (key of another edition).
"""

from collections.abc import Iterator

from builder.answer.document import Element
from builder.answer.rules.answer import (
    Answer,
    AnswerKind,
    is_placeholder,
    is_true,
    number,
    shown,
)
from builder.answer.rules.table import Finding

SETUP = "Microsoft-Windows-Setup"
SHELL = "Microsoft-Windows-Shell-Setup"
KEY_PARTS, KEY_PART = 5, 5
KEY_WANTED = 9600  # Windows Server 2012 R2
EMPTY_KEY_STOPS = 17763  # Windows Server 2019


def looks_like_key(text: str) -> bool:
    """Whether a text has the form of a product key."""
    parts = text.strip().split("-")
    return len(parts) == KEY_PARTS and all(
        len(part) == KEY_PART and part.isalnum() and part.isascii() for part in parts
    )


def judge_user_data(answer: Answer) -> Iterator[Finding]:
    """Licence terms and the key in UserData."""
    for user_data in answer.found(SETUP, "UserData"):
        if user_data.text and not user_data.text.isspace():
            what = "text stands directly in UserData, where only elements belong"
            if looks_like_key(user_data.text):
                what = "a product key stands directly in UserData"
            yield answer.finding("WS301", user_data, what)
    setups = answer.components(SETUP, "windowsPE")
    if setups and not _is_wds(answer) and not _accepts(answer):
        place = next(answer.found(SETUP, "UserData", "windowsPE"), setups[0])
        yield answer.finding("WS302", place, "AcceptEula is not true")
    for key in answer.found(SETUP, "UserData/ProductKey/Key"):
        yield from _judge_key(answer, key)
    given = any(key.text.strip() for key in answer.found(SETUP, "UserData/ProductKey/Key"))
    if setups and not given and answer.release and answer.release.build == KEY_WANTED:
        yield answer.finding("WS312", setups[0], "there is no ProductKey/Key")


def _is_wds(answer: Answer) -> bool:
    return any(True for _ in answer.found(SETUP, "WindowsDeploymentServices"))


def _accepts(answer: Answer) -> bool:
    return any(
        is_true(eula.text) or is_placeholder(eula.text)
        for eula in answer.found(SETUP, "UserData/AcceptEula", "windowsPE")
    )


def _judge_key(answer: Answer, key: Element) -> Iterator[Finding]:
    text = key.text.strip()
    if not text:
        # bin456789/reinstall writes an empty key for media without ei.cfg, and others have one
        stops = answer.release is not None and answer.release.build >= EMPTY_KEY_STOPS
        yield answer.finding("WS303" if stops else "WS315", key, "Key is empty")
    elif is_placeholder(text):
        return
    elif not looks_like_key(text):
        yield answer.finding("WS314", key, "Key is no product key (five groups of five characters)")
    else:
        yield from _judge_key_release(answer, key, text)


def _judge_key_release(answer: Answer, key: Element, text: str) -> Iterator[Finding]:
    known = answer.tables.kms_keys.get(text.upper())
    if known is None:
        return
    name = _image_name(answer)
    if "evaluation" in name.casefold():
        yield answer.finding("WS310", key, "a KMS client key with an evaluation image")
        return
    if answer.release and known.release and known.release != answer.release.id:
        what = f"the key is the KMS client key of {answer.tables.releases[known.release].name}"
        yield answer.finding("WS311", key, f"{what}, the target is {answer.release.name}")
        return
    edition = known.edition_id.removeprefix("Server").upper()
    image = name.upper()
    if edition in {"STANDARD", "DATACENTER"} and "SERVER" in image:
        other = {"STANDARD": "DATACENTER", "DATACENTER": "STANDARD"}[edition]
        if other in image and edition not in image:
            what = f"the key is that of {edition.title()}, the image is {shown(name)}"
            yield answer.finding("WS311", key, what)


def _image_name(answer: Answer) -> str:
    for data in answer.found(SETUP, "ImageInstall/OSImage/InstallFrom/MetaData"):
        if data.value("Key").upper() == "/IMAGE/NAME":
            return data.value("Value")
    return ""


def judge_image(answer: Answer) -> Iterator[Finding]:
    """The choice of the image and of its place."""
    for os_image in answer.found(SETUP, "ImageInstall/OSImage"):
        available = os_image.child("InstallToAvailablePartition")
        if available is not None and is_true(available.text) and os_image.child("InstallTo"):
            yield answer.finding("WS304", available, "InstallTo stands beside it")
        for data in os_image.walk():
            if data.name == "MetaData":
                yield from _judge_choice(answer, data)
    for upgrade in answer.found(SETUP, "UpgradeData/Upgrade"):
        others = [e for e in answer.components(SETUP) if e.child("ImageInstall")]
        if is_true(upgrade.text) and others:
            yield answer.finding("WS313", upgrade, "an upgrade together with ImageInstall")
    yield from _judge_questions(answer)


def _judge_choice(answer: Answer, data: Element) -> Iterator[Finding]:
    key, value = data.value("Key").upper(), data.value("Value")
    if is_placeholder(value) or not value:
        return
    if key == "/IMAGE/INDEX" and not number(value):
        # a file with 0 and a key is said to install
        rule = "WS306" if number(value) is None else "WS316"
        yield answer.finding(rule, data, f"the image index is {shown(value)}")
    if key == "/IMAGE/NAME" and "SERVER" in value.upper():
        tables = answer.tables
        names = {name.casefold() for name in (*tables.image_names, *tables.display_names)}
        if value.casefold() not in names:
            hint = answer.near(value, frozenset(tables.image_names))
            what = f"no known Windows Server image is called {shown(value)}"
            yield answer.finding("WS307", data, what + (f"; did you mean {hint}?" if hint else ""))


def _judge_questions(answer: Answer) -> Iterator[Finding]:
    """What makes Setup stop and ask."""
    setups = answer.components(SETUP, "windowsPE")
    if answer.kind is not AnswerKind.SETUP or not setups or _is_wds(answer):
        return
    if any(is_true(e.text) for e in answer.found(SETUP, "UpgradeData/Upgrade")):
        return
    names = {element.name for setup in setups for element in setup.walk()}
    if not names & {"DiskConfiguration", "ImageInstall", "UserData"}:
        return  # commands only: another program installs
    if not names & {"InstallTo", "InstallToAvailablePartition"}:
        yield answer.finding("WS305", setups[0], "nothing says where Windows is installed to")
    if "MetaData" not in names:
        keys = list(answer.found(SETUP, "UserData/ProductKey/Key"))
        if not any(key.text.strip() for key in keys):
            yield answer.finding("WS308", setups[0], "neither an image nor a product key is given")


def judge_shell_key(answer: Answer) -> Iterator[Finding]:
    """The key of Shell-Setup."""
    for key in answer.found(SHELL, "ProductKey"):
        text = key.text.strip()
        if not text:
            yield answer.finding("WS309", key, "ProductKey is empty")
        elif not is_placeholder(text):
            if not looks_like_key(text):
                yield answer.finding("WS314", key, "ProductKey is no product key")
            else:
                yield from _judge_key_release(answer, key, text)
