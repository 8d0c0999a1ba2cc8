"""The table of calls, what a call is given, and the order in which a request is judged.

Order of PVE::HTTPServer::rest_handler: the account, the call, its privileges with what the path
says, the node it is meant for, then the parameters, then the call itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.pve.schema import Value
from tests.pve.state import Died, PveError, Storage, Vm

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that passed the checks of its schema; `contacted` is the node that got it."""

    pve: "FakeCluster"
    user: str
    contacted: str
    call: str
    params: Mapping[str, Value]
    upload: "Uploaded | None" = None

    def text(self, name: str, default: str = "") -> str:
        value = self.params.get(name, default)
        return ",".join(value) if isinstance(value, list) else value

    def number(self, name: str, default: int = 0) -> int:
        return int(self.text(name, str(default)))

    def flag(self, name: str) -> bool:
        return self.text(name, "0") == "1"

    @property
    def node(self) -> str:
        return self.text("node")

    @property
    def vm(self) -> Vm:
        """The VM of the path, or what PVE says when its file is not on that node."""
        vmid = self.number("vmid")
        found = self.pve.vms.get(vmid)
        if found is None or found.node != self.node:
            name = f"nodes/{self.node}/qemu-server/{vmid}.conf"
            raise Died(f"Configuration file '{name}' does not exist")
        return found

    @property
    def storage(self) -> Storage:
        name = self.text("storage")
        found = self.pve.storages.get(name)
        if found is None:
            raise Died(f"storage '{name}' does not exist")
        if not found.enabled:
            raise Died(f"storage '{name}' is disabled")
        if not found.seen_by(self.node):
            raise Died(f"storage '{name}' is not available on node '{self.node}'")
        return found

    def check(self, path: str, *wanted: str, any_of: bool = False) -> None:
        self.pve.access.check(self.user, path, *wanted, any_of=any_of)

    def allows(self, path: str, *wanted: str, any_of: bool = False) -> bool:
        return self.pve.access.allows(self.user, path, wanted, any_of=any_of)


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """The file part of an upload, as it lies in /var/tmp of the contacted node."""

    size: int
    sha256: str
    digest: str
    content: bytes | None
    lost: bool = False  # the front end removed it while the backend was still busy


Answer = Callable[[Asked], Any]
ANSWERS: dict[str, Answer] = {}


def answers(*calls: str) -> Callable[[Answer], Answer]:
    """Registers the function that answers calls, named as in the schema."""

    def register(function: Answer) -> Answer:
        for call in calls:
            ANSWERS[call] = function
        return function

    return register


def fill(template: str, params: Mapping[str, Value]) -> str:
    """A path such as `/vms/{vmid}` with the parameters of the URL."""
    for name, value in params.items():
        template = template.replace(f"{{{name}}}", str(value))
    return template


def check_permissions(
    pve: "FakeCluster", user: str, permissions: Mapping[str, Any], path_params: Mapping[str, Value]
) -> None:
    """The static privileges of a call (RPCEnvironment::exec_api2_perm_check)."""
    if permissions.get("user") in {"all", "world"}:
        return
    _check(pve, user, permissions["check"], path_params)


def _check(pve: "FakeCluster", user: str, rule: list[Any], params: Mapping[str, Value]) -> None:
    kind = rule[0]
    if kind == "perm":
        options = dict(zip(rule[3::2], rule[4::2], strict=True))
        path = fill(rule[1], params)
        pve.access.check(user, path, *rule[2], any_of=bool(options.get("any")))
    elif kind == "and":
        for part in rule[1:]:
            _check(pve, user, part, params)
    elif kind == "or":
        refusals = []
        for part in rule[1:]:
            try:
                _check(pve, user, part, params)
            except PveError as refusal:
                refusals.append(refusal)
            else:
                return
        raise PveError(403, f"Permission check failed ({refusals[0].reason})")


def answer(
    pve: "FakeCluster",
    *,
    user: str | None,
    contacted: str,
    method: str,
    path: str,
    params: Mapping[str, Value],
    upload: Uploaded | None = None,
) -> Any:
    """The `data` of the answer; PveError for everything else."""
    found = pve.schema.find_call(method, path)
    if found is None or found[0] not in ANSWERS:
        raise PveError(501, f"Method '{method} {path}' not implemented")
    call, in_path = found
    declared = pve.schema.calls[call]
    permissions = declared.get("permissions") or {"check": ["perm", "/", ["Sys.Modify"]]}
    if user is None and permissions.get("user") != "world":
        raise PveError(401, "No ticket")
    if user and "!" in user and not declared.get("allowtoken", 1):
        raise PveError(403, "Permission denied - API token not allowed")
    check_permissions(pve, user or "", permissions, in_path)
    if declared.get("proxyto") == "node":
        pve.reach(in_path["node"], contacted)
    merged = {**params, **in_path}
    errors = pve.schema.check(call, merged)
    if errors:
        raise PveError(400, "Parameter verification failed.", errors)
    asked = Asked(
        pve=pve,
        user=user or "",
        contacted=contacted,
        call=call,
        params=merged,
        upload=upload,
    )
    return ANSWERS[call](asked)
