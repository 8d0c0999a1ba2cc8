"""What can go wrong between winseed and Proxmox VE, and what it leaves known.

Texts and codes: proxmox/pve-http-server at 5c9e4ea, src/PVE/APIServer/AnyEvent.pm; qemu-server at
e6352be, src/PVE/API2/Qemu.pm and API2/Qemu/Agent.pm; pve-guest-common at 4a8f6cb,
src/PVE/AbstractConfig.pm; pve-cluster at 7091d92. Plain Perl errors come as 500 with the text, so
the text has to be read; whatever is not known stays `REFUSED`.
"""

import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping

from builder.errors import ExitCode, Problem, WinseedError


class Trouble(enum.Enum):
    """What a failed call leaves known; `UNKNOWN` and `MALFORMED` alone may have had an effect."""

    UNREACHABLE = "unreachable"  # nothing was sent
    UNTRUSTED = "untrusted"  # nothing was sent: the certificate is not the expected one
    UNKNOWN = "unknown"  # it may have happened: look for the effect before trying again
    TOKEN = "token"  # noqa: S105 - the token is not accepted
    FORBIDDEN = "forbidden"
    PARAMETERS = "parameters"
    MISSING = "missing"  # no such VM, storage, volume or task
    LOCKED = "locked"  # the VM is locked by a backup, a snapshot, a migration
    BUSY = "busy"  # a lock of the configuration or of a storage was not free in time
    CHANGED = "changed"  # somebody else changed the configuration: the digest does not fit
    NO_QUORUM = "no quorum"
    AGENT = "agent"  # the guest agent does not answer
    STOPPED = "stopped"  # the VM does not run
    TASK = "task"  # a task was started and failed
    REFUSED = "refused"
    MALFORMED = "malformed"  # the answer is not what Proxmox VE documents


class PveError(WinseedError):
    """A call to Proxmox VE that failed; `privileges` (any of them) are missing on `path`."""

    def __init__(
        self,
        what: str,
        *,
        trouble: Trouble,
        hint: str = "",
        problems: tuple[Problem, ...] = (),
        path: str = "",
        privileges: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, code=ExitCode.PROXMOX, hint=hint, problems=problems)
        self.trouble = trouble
        self.path = path
        self.privileges = privileges

    def __reduce__(self) -> tuple[Callable[..., WinseedError], tuple[str]]:
        """Travel between processes, which keyword-only arguments would not survive."""
        make = functools.partial(
            PveError,
            trouble=self.trouble,
            hint=self.hint,
            problems=self.problems,
            path=self.path,
            privileges=self.privileges,
        )
        return make, (self.what,)


# 502 to 504 are those of a reverse proxy in between; 595 to 599 are pveproxy's own, for a node or a
# daemon that did not answer in 30 s (AnyEvent.pm:835): it may still be at work
OUTCOME_UNKNOWN = frozenset({502, 503, 504, 595, 596, 597, 598, 599})
_DENIED = re.compile(r"Permission check failed \((?P<path>/[^,)]*), (?P<privileges>[\w.|]+)\)")
_TEXTS = (
    # the first that is found counts
    (Trouble.CHANGED, r"checksum mismatch \(file change by other user|detected modified configur"),
    (Trouble.LOCKED, r"VM is locked|CT is locked"),
    (Trouble.BUSY, r"can't lock file .* got timeout|got lock (request )?timeout|cfs-lock .* error"),
    (Trouble.NO_QUORUM, r"no quorum"),
    (
        Trouble.AGENT,
        r"guest agent is not running|No QEMU guest agent configured|connect to VM \d+ qga socket",
    ),
    # QMPClient.pm: the agent was told, and did not answer in time or hung up
    (Trouble.UNKNOWN, r"command 'guest-[a-z-]+' failed - (got timeout|client closed connection)"),
    (Trouble.STOPPED, r"VM \d+ (is )?not running"),
    (
        Trouble.MISSING,
        r"Configuration file '.*' does not exist|no such (VM|task|cluster node)|unable to find conf"
        r"|storage '.*' does not exist|volume '.*' does not exist|no such file or directory",
    ),
)
_HINTS = {
    Trouble.UNKNOWN: "it may have happened nevertheless: look at the task log before trying again",
    Trouble.TOKEN: "check the token: USER@REALM!NAME=SECRET, not expired, its user enabled",
    Trouble.FORBIDDEN: "`winseed doctor` prints the `pveum` lines that grant what is missing",
    Trouble.LOCKED: "wait until the backup, snapshot or migration is done",
    Trouble.BUSY: "try again when the other tasks of this VM or storage are done",
    Trouble.CHANGED: "somebody else changed the VM: look at it, then start again",
    Trouble.NO_QUORUM: "the cluster has no quorum: bring its nodes back first",
}


def make_refusal(
    call: str, status: int, text: str, errors: Mapping[str, str] | None = None
) -> PveError:
    """The error for an HTTP answer of 300 or more; `call` as `GET /nodes/pve1/storage`.

    `text` is the reason phrase or the `message` of the answer, `errors` those of parameters.
    """
    told = " ".join(text.split())[:600] or f"HTTP {status}"
    trouble = _trouble_of(status, told)
    denied = _DENIED.search(told)
    path = denied["path"] if denied else ""
    privileges = tuple(denied["privileges"].split("|")) if denied else ()
    if trouble is Trouble.TOKEN:
        what = f"Proxmox VE does not accept the token ({told})"
    elif denied:
        what = f"{call}: the token lacks {' or '.join(privileges)} on {path}"
    elif trouble is Trouble.UNKNOWN:
        what = f"{call}: no answer from the node or its daemon (HTTP {status}, {told})"
    else:
        what = f"{call}: {told}"
    return PveError(
        what,
        trouble=trouble,
        hint=_HINTS.get(trouble, ""),
        problems=tuple(_parameter_problems(errors or {})),
        path=path,
        privileges=privileges,
    )


def _parameter_problems(errors: Mapping[str, str]) -> Iterable[Problem]:
    for name, text in errors.items():
        yield Problem(where=str(name), what=" ".join(str(text).split())[:300])


def _trouble_of(status: int, text: str) -> Trouble:
    if status in OUTCOME_UNKNOWN:
        return Trouble.UNKNOWN
    if status == 401:
        return Trouble.TOKEN
    if status == 403:
        return Trouble.FORBIDDEN
    for trouble, pattern in _TEXTS:
        if re.search(pattern, text, re.IGNORECASE):
            return trouble
    return Trouble.PARAMETERS if status == 400 else Trouble.REFUSED


def make_silence(call: str, reason: str) -> PveError:
    """The error for a call that was sent and got no answer."""
    return PveError(
        f"{call}: the answer did not come ({reason})",
        trouble=Trouble.UNKNOWN,
        hint=_HINTS[Trouble.UNKNOWN],
    )


def make_unreachable(server: str, reason: str) -> PveError:
    """The error for a server that cannot be connected to; nothing was sent."""
    return PveError(
        f"cannot connect to {server}: {reason}",
        trouble=Trouble.UNREACHABLE,
        hint="check the address and port (8006), the network and the firewall",
    )


def make_untrusted(server: str, reason: str) -> PveError:
    """The error for a certificate that does not prove to be the server's; nothing was sent."""
    return PveError(
        f"the certificate of {server} is not trusted: {reason}",
        trouble=Trouble.UNTRUSTED,
        hint="give the cluster's CA (/etc/pve/pve-root-ca.pem of a node) with --ca, "
        "or the certificate's SHA-256 (`pvenode cert info`) with --fingerprint",
    )


def make_malformed(call: str, reason: str) -> PveError:
    """The error for an answer that is none of Proxmox VE's."""
    return PveError(
        f"{call}: this is no answer of Proxmox VE ({reason})",
        trouble=Trouble.MALFORMED,
        hint="check the address: it is that of the web interface, https://NODE:8006",
    )
