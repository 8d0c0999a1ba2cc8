"""Where secrets enter: environment, files, standard input, or the random source. Never argv."""

import base64
import binascii
import os
import secrets as random_source
import string
import sys
from pathlib import Path

from builder.errors import ExitCode, WinseedError
from builder.media.attachment import load_secret_text
from builder.plan.make import Secrets
from builder.spec.model import AccountSpec, HostSpec
from builder.values import Secret, find_weakness, load_password

VARIABLE = "WINSEED_ADMIN_PASSWORD"
ADMINISTRATOR = "Administrator"
LENGTH = 24
SIGNS = "-_.+="  # safe to type on any keyboard layout that Setup may start with
ALPHABET = string.ascii_letters + string.digits + SIGNS


def given_password(file: str | None) -> Secret | None:
    """The Administrator password from `file` (`-`: standard input) or the environment."""
    if file:
        text = sys.stdin.readline().rstrip("\r\n") if file == "-" else _first_line(Path(file))
        return _checked(text, "standard input" if file == "-" else file, ADMINISTRATOR)
    text = os.environ.get(VARIABLE, "")
    return _checked(text, VARIABLE, ADMINISTRATOR) if text else None


def gather_secrets(host: HostSpec, administrator: Secret | None, *, on_medium: bool) -> Secrets:
    """Every secret of `host`; a password is drawn when none is given."""
    drawn = administrator is None
    blob = host.offline_join_file
    return Secrets(
        administrator=administrator or draw_password(),
        given=not drawn,
        nonce=random_source.token_hex(8) if drawn else "",
        accounts={account.name: _account_password(account) for account in host.account},
        join_blob=_join_blob(blob) if blob else None,
        on_medium=on_medium,
    )


def gather_lasting(host: HostSpec) -> tuple[dict[str, Secret], Secret | None]:
    """The passwords of further accounts by their names, and the blob of an offline join."""
    blob = host.offline_join_file
    accounts = {account.name: _account_password(account) for account in host.account}
    return accounts, _join_blob(blob) if blob else None


def placeholder_secrets(host: HostSpec) -> Secrets:
    """Secrets for a plan that is only looked at: every one reads `***`, nothing is asked for."""
    hidden = Secret("***")
    return Secrets(
        administrator=hidden,
        given=bool(os.environ.get(VARIABLE)),
        nonce="",
        accounts={account.name: hidden for account in host.account},
        join_blob=hidden if host.offline_join_file else None,
        on_medium=True,
    )


def draw_password() -> Secret:
    """A one-time password of 24 characters that every complexity rule accepts."""
    while True:
        text = "".join(random_source.choice(ALPHABET) for _ in range(LENGTH))
        kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, SIGNS)
        if all(set(text) & set(kind) for kind in kinds) and text[0] not in SIGNS:
            return Secret(text)


def _account_password(account: AccountSpec) -> Secret:
    if account.password_file is not None:
        source = f"the file of {account.name}"
        return _checked(_first_line(account.password_file), source, account.name)
    variable = account.password_env or ""
    text = os.environ.get(variable, "")
    if not text:
        raise WinseedError(
            f"the password of account {account.name} is missing",
            code=ExitCode.SPEC,
            hint=f"set the environment variable {variable}",
        )
    return _checked(text, variable, account.name)


def _first_line(path: Path) -> str:
    return load_secret_text(path).partition("\n")[0].rstrip("\r")


def _join_blob(path: Path) -> Secret:
    """Base64 as `djoin /provision /savefile` writes it; anything else would stop specialize."""
    text = "".join(load_secret_text(path).split())
    try:
        base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        text = ""
    if not text:
        raise WinseedError(
            f"{path} holds no offline-join blob: expected Base64",
            code=ExitCode.SPEC,
            hint="make it with djoin /provision /domain D /machine NAME /savefile FILE",
        )
    return Secret(text)


def _checked(text: str, source: str, account: str) -> Secret:
    try:
        password = load_password(text)
    except ValueError as error:
        raise WinseedError(
            f"the password from {source} cannot be used: {error}", code=ExitCode.SPEC
        ) from None
    if weakness := find_weakness(text, account):
        raise WinseedError(
            f"the password from {source} cannot be used: {weakness}",
            code=ExitCode.SPEC,
            hint="Windows Server refuses it by its complexity rule, and Setup would stop and ask",
        )
    return password
