"""Calls about high availability: resources of VMs, and what the HA manager does with them."""

import re
from typing import Any

from tests.pve.calls import Asked, answers
from tests.pve.state import PveError, Vm

BASE = "/cluster/ha/resources"


def _refused(name: str, text: str) -> PveError:
    return PveError(400, "Parameter verification failed.", {name: text})


def _managed(asked: Asked, sid: str) -> Vm:
    number = re.fullmatch(r"(?:vm:)?(\d+)", sid)
    vm = asked.pve.vms.get(int(number[1])) if number else None
    if vm is None or vm.ha_state is None:
        raise PveError(500, f"no such resource '{sid}'")
    return vm


def _row(vm: Vm) -> dict[str, Any]:
    return {"sid": f"vm:{vm.vmid}", "type": "vm", "state": vm.ha_state, "digest": "0" * 40}


@answers(f"GET {BASE}")
def resources(asked: Asked) -> Any:
    return [_row(vm) for vm in asked.pve.vms.values() if vm.ha_state is not None]


@answers(f"GET {BASE}/{{sid}}")
def resource(asked: Asked) -> Any:
    return _row(_managed(asked, asked.text("sid")))


@answers(f"POST {BASE}")
def add(asked: Asked) -> Any:
    sid = asked.text("sid")
    number = re.fullmatch(r"(?:vm:)?(\d+)", sid)
    vm = asked.pve.vms.get(int(number[1])) if number else None
    if vm is None:
        raise PveError(500, f"cannot use sid '{sid}' - no such VM")
    if vm.ha_state is not None:
        raise PveError(500, f"resource ID 'vm:{vm.vmid}' already defined")
    asked.pve.request_ha(vm, asked.text("state", "started"))


@answers(f"PUT {BASE}/{{sid}}")
def change(asked: Asked) -> Any:
    vm = _managed(asked, asked.text("sid"))
    if "group" in asked.params and asked.pve.release != "8.4":
        raise _refused("group", "invalid parameter 'group': ha groups have been migrated to rules")
    if asked.text("state"):
        asked.pve.request_ha(vm, asked.text("state"))


@answers(f"DELETE {BASE}/{{sid}}")
def remove(asked: Asked) -> Any:
    _managed(asked, asked.text("sid")).ha_state = None


@answers("GET /cluster/ha/status/current")
def status(asked: Asked) -> Any:
    quorum = {"id": "quorum", "type": "quorum", "quorate": int(asked.pve.quorate), "status": "OK"}
    rows = [
        {"id": f"service:vm:{vm.vmid}", "type": "service", "sid": f"vm:{vm.vmid}"}
        | {"state": vm.ha_state, "node": vm.node}
        for vm in asked.pve.vms.values()
        if vm.ha_state is not None
    ]
    return [quorum, *rows]


@answers("GET /cluster/replication")
def replication(asked: Asked) -> Any:
    return [
        {"id": f"{vm.vmid}-0", "guest": vm.vmid, "type": "local", "target": vm.node}
        for vm in asked.pve.vms.values()
        if vm.replicated and asked.pve.may_see(asked.user, vm.vmid)
    ]
