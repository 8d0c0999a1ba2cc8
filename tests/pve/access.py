"""Users, API tokens, tickets and what they may do where.

Rules of pve-access-control (PVE::RPCEnvironment, PVE::AccessControl): an entry of a deeper path
replaces what is inherited; a VM also gets what its pool grants; a token with privilege separation
may do what both it and its user may. A token is never `root@pam`, not even root's.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.pve.state import PveError

ROOT = "root@pam"
# PVE::RPCEnvironment get_effective_permissions: asked for beside the paths that have entries
COMMON_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")
Privileges = Iterable[str] | Mapping[str, Iterable[str]]


@dataclass(kw_only=True)
class Account:
    """A user or a token: its entries by path, its secret, and the user behind a token."""

    name: str
    secret: str
    entries: dict[str, frozenset[str]] = field(default_factory=dict)
    owner: "Account | None" = None
    enabled: bool = True


class Access:
    """Accounts of a cluster and the checks of its calls."""

    def __init__(self, known: frozenset[str]):
        self.known = known
        self.accounts: dict[str, Account] = {}
        self.tickets: dict[str, str] = {}
        self.guards: dict[str, str] = {}
        self.pools: dict[str, set[int]] = {}

    def add_user(self, name: str, privileges: Privileges, *, password: str = "") -> Account:
        """A user with a password, and privileges on `/` or by path."""
        entries = self._entries(privileges)
        account = Account(name=name, secret=password or secrets.token_hex(8), entries=entries)
        self.accounts[name] = account
        return account

    def add_token(self, name: str, privileges: Privileges, *, separated: bool) -> Account:
        """A token `USER@REALM!ID`; without privilege separation it has what its user has."""
        user = name.partition("!")[0]
        owner = self.accounts.get(user) or self.add_user(user, privileges)
        entries = self._entries(privileges) if separated else {}
        account = Account(name=name, secret=secrets.token_hex(16), entries=entries, owner=owner)
        self.accounts[name] = account
        return account

    def _entries(self, privileges: Privileges) -> dict[str, frozenset[str]]:
        by_path = privileges if isinstance(privileges, Mapping) else {"/": privileges}
        entries = {path: frozenset(granted) for path, granted in by_path.items()}
        for granted in entries.values():
            if unknown := granted - self.known:
                raise PveError(400, f"invalid privilege '{min(unknown)}'")
        return entries

    def effective(self, name: str, path: str) -> frozenset[str]:
        """Privileges of an account on a path."""
        account = self.accounts[name]
        if account.owner is None:
            return self.known if name == ROOT else self._granted(account, path)
        owned = self.effective(account.owner.name, path)
        return owned & self._granted(account, path) if account.entries else owned

    def _granted(self, account: Account, path: str) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        here = path
        while True:
            if here in account.entries:
                found = account.entries[here]
                break
            if here == "/":
                break
            here = here.rpartition("/")[0] or "/"
        if path.startswith("/vms/"):
            vmid = path.removeprefix("/vms/")
            for pool, members in self.pools.items():
                if vmid.isdigit() and int(vmid) in members:
                    found |= account.entries.get(f"/pool/{pool}", frozenset())
        return found

    def allows(self, name: str, path: str, wanted: Iterable[str], *, any_of: bool = False) -> bool:
        """Whether all (or any) of the privileges are there."""
        held = self.effective(name, path)
        return any(item in held for item in wanted) if any_of else held.issuperset(wanted)

    def check(self, name: str, path: str, *wanted: str, any_of: bool = False) -> None:
        """403 with the sentence of RPCEnvironment::check_full when it is not allowed."""
        if not self.allows(name, path, wanted, any_of=any_of):
            held = self.effective(name, path)
            missing = [item for item in wanted if item not in held]
            named = "|".join(wanted) if any_of else missing[0]
            raise PveError(403, f"Permission check failed ({path}, {named})")

    def check_vm(
        self, name: str, vmid: int, pool: str | None, *wanted: str, any_of: bool = False
    ) -> None:
        """As `check` on the VM, or on the pool that it is created in."""
        if pool and self.allows(name, f"/pool/{pool}", wanted, any_of=any_of):
            return
        self.check(name, f"/vms/{vmid}", *wanted, any_of=any_of)

    def permissions(self, name: str, path: str | None) -> dict[str, dict[str, int]]:
        """The answer of GET /access/permissions: path to privilege to 1."""
        if path is not None:
            return {path: dict.fromkeys(sorted(self.effective(name, path)), 1)}
        account = self.accounts[name]
        paths = {*COMMON_PATHS, *account.entries, *(account.owner.entries if account.owner else ())}
        paths |= {f"/vms/{vmid}" for members in self.pools.values() for vmid in members}
        found = {item: self.effective(name, item) for item in sorted(paths)}
        return {item: dict.fromkeys(sorted(held), 1) for item, held in found.items() if held}

    def who(self, authorization: str | None, cookie: str | None) -> str | None:
        """The account behind `PVEAPIToken=NAME=SECRET` or a ticket, None when neither holds."""
        if authorization and authorization.startswith("PVEAPIToken="):
            name, _, secret = authorization.removeprefix("PVEAPIToken=").rpartition("=")
            account = self.accounts.get(name)
            fits = account is not None and "!" in name and account.enabled
            return name if fits and account and account.secret == secret else None
        return self.tickets.get(cookie or "")

    def make_ticket(self, name: str, password: str) -> dict[str, str]:
        """The answer of POST /access/ticket."""
        account = self.accounts.get(name)
        if account is None or "!" in name or account.secret != password:
            raise PveError(401, "authentication failure")
        ticket = f"PVE:{name}:{secrets.token_hex(4)}::{secrets.token_hex(16)}"
        self.tickets[ticket] = name
        guard = f"{secrets.token_hex(4)}:{secrets.token_hex(16)}"
        self.guards[ticket] = guard
        return {"username": name, "ticket": ticket, "CSRFPreventionToken": guard}
