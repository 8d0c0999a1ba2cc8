"""The local accounts, in a file where Windows has its SAM: a proof needs to see the password."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from answer import AnswerFile

FILE = "Windows/System32/config/standin-accounts.json"
PASSWORD = "UserAccounts/AdministratorPassword"


def begin(root: Path, answer: "AnswerFile") -> None:
    """What oobeSystem makes of the answer file.

    A value that is not PlainText is Base64 of UTF-16 with the name of its element behind it
    (public answer files; learn.microsoft.com, "Hide Sensitive Data in an Answer File").
    """
    value = answer.value("oobeSystem", "Shell-Setup", f"{PASSWORD}/Value") or ""
    if answer.value("oobeSystem", "Shell-Setup", f"{PASSWORD}/PlainText") != "true":
        value = base64.b64decode(value).decode("utf-16-le").removesuffix("AdministratorPassword")
    row = {"name": "Administrator", "rid": 500, "password": value, "groups": []}
    _write(root, [row])


def set_password(root: Path, *, rid: int, password: str) -> str:
    """The name of the account whose password is another one now."""
    rows = _read(root)
    (row,) = (one for one in rows if one["rid"] == rid)
    row["password"] = password
    _write(root, rows)
    return row["name"]


def put(root: Path, name: str, *, password: str, groups: list[str]) -> bool:
    """Whether the account was made; else it has password and groups now."""
    rows = _read(root)
    known = [one for one in rows if one["name"].casefold() == name.casefold()]
    if not known:
        rows.append({"name": name, "rid": 1000 + len(rows), "password": "", "groups": []})
    row = known[0] if known else rows[-1]
    row["password"], row["groups"] = password, sorted({*row["groups"], *groups})
    _write(root, rows)
    return not known


def _read(root: Path) -> list[dict]:
    return json.loads((root / FILE).read_text())


def _write(root: Path, rows: list[dict]) -> None:
    path = root / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
