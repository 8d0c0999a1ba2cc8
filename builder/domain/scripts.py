"""The scripts that run on a DC or a future one: constant texts, values come by standard input.

A template of `scripts/dc` is rendered without any value, so nothing can be put into it; what looks
like a secret all the same, or like a place for one, is refused before it is sent.
"""

import functools
import re
from collections.abc import Iterable

from builder import resources
from builder.answer.render import render_text
from builder.errors import ExitCode, WinseedError
from builder.guest.envelope import GuestScript
from builder.values import Secret

FOLDER = "scripts/dc"
VALUE = re.compile(r"\{\{")
# a password between quotes, where a script of ours has a value of its payload
LITERAL = re.compile(
    r"ConvertTo-SecureString\s+(?:-String\s+)?['\"]"
    r"|(?:Password|password|Credential)['\"]?\s*=\s*['\"][^'\"]",
)
HEAD = "# winseed guest script: dc/"
# they change nothing: the guest keeps no result, and asking twice does no harm
QUESTIONS = frozenset(
    {
        *("preflight-partner", "preflight-target", "prove-off", "verify-clean", "check-host"),
        *("test-demotion", "test-additional", "test-new-forest", "test-rodc"),
        *("verify", "verify-partner", "dcdiag"),
    }
)
SHORTEST_SECRET = 4  # characters; anything shorter stands in every text


@functools.cache
def dc_scripts() -> tuple[str, ...]:
    """The names of all scripts, without the parts that others include."""
    folder = resources.templates() / FOLDER
    return tuple(
        sorted(
            path.name.removesuffix(".ps1.j2")
            for path in folder.glob("*.ps1.j2")
            if path.read_text(encoding="ascii").startswith(HEAD)
        )
    )


@functools.cache
def load_dc_script(name: str) -> GuestScript:
    """A script as a call into the guest takes it."""
    text = render_dc_script(name)
    return GuestScript(name=f"dc/{name}", text=text, question=name in QUESTIONS)


@functools.cache
def render_dc_script(name: str) -> str:
    """The text of a script, ASCII with LF. Raises WinseedError (UNSAFE) for one with a place for
    a value or with a secret in it, and (BUG) for a name that is not one of `dc_scripts()`."""
    if name not in dc_scripts():
        raise WinseedError(f"there is no script dc/{name}", code=ExitCode.BUG)
    folder = resources.templates() / FOLDER
    source = (folder / f"{name}.ps1.j2").read_text(encoding="ascii")
    refuse_unsafe_template(name, source)
    for part in re.findall(r'include "scripts/dc/([a-z-]+\.ps1\.j2)"', source):
        refuse_unsafe_template(part, (folder / part).read_text(encoding="ascii"))
    text = render_text(f"{FOLDER}/{name}.ps1.j2", {}).decode("utf-8-sig").replace("\r\n", "\n")
    refuse_unsafe_template(name, text)
    return text


def refuse_unsafe_template(name: str, source: str) -> None:
    """Raise WinseedError (UNSAFE) when a template puts values into PowerShell, or holds a secret.

    Values travel as JSON on standard input: what is rendered into a script may end in a log of
    script blocks (event 4104), in the journal, or on a medium.
    """
    if VALUE.search(source):
        raise WinseedError(
            f"the script dc/{name} would have values rendered into it",
            code=ExitCode.UNSAFE,
            hint="take them from $payload: they come by standard input",
        )
    if LITERAL.search(source):
        raise WinseedError(
            f"the script dc/{name} seems to hold a password",
            code=ExitCode.UNSAFE,
            hint="take it from $payload: it comes by standard input",
        )


def refuse_secret_text(text: str, secrets: Iterable[Secret]) -> None:
    """Raise WinseedError (UNSAFE) when one of `secrets` stands in what would be kept or shown."""
    for secret in secrets:
        plain = secret.reveal()
        if len(plain) >= SHORTEST_SECRET and plain in text:
            raise WinseedError(
                "a secret stands in a text that is not sent by standard input",
                code=ExitCode.UNSAFE,
                hint="this would leave it in a log; nothing was sent",
            )
