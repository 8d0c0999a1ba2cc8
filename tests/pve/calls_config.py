"""Calls about a VM's configuration: read it, create it, change it."""

from typing import Any

from tests.pve.calls import Asked, answers
from tests.pve.state import Vm

INTEGERS = {"cores", "sockets", "vcpus", "balloon", "shares", "cpuunits"}


def render_config(asked: Asked, vm: Vm, *, with_pending: bool) -> dict[str, Any]:
    """GET config: text, but numbers and booleans as numbers."""
    values = dict(vm.config)
    if with_pending:
        values = {key: text for key, text in values.items() if key not in vm.pending_delete}
        values |= vm.pending
    properties = asked.pve.schema.calls["POST /nodes/{node}/qemu"]["parameters"]["properties"]
    typed: dict[str, Any] = {}
    for key, text in values.items():
        kind = (asked.pve.schema.property_of(properties, key) or {}).get("type")
        typed[key] = int(text) if kind in {"integer", "boolean"} else text
    return {**typed, "digest": vm.digest}


@answers("GET /nodes/{node}/qemu/{vmid}/config")
def config(asked: Asked) -> Any:
    return render_config(asked, asked.vm, with_pending=not asked.flag("current"))


@answers("GET /nodes/{node}/qemu/{vmid}/pending")
def pending(asked: Asked) -> Any:
    vm = asked.vm
    rows: list[dict[str, Any]] = []
    for key in sorted({*vm.config, *vm.pending}):
        row: dict[str, Any] = {"key": key}
        if key in vm.config:
            row["value"] = vm.config[key]
        if key in vm.pending:
            row["pending"] = vm.pending[key]
        if key in vm.pending_delete:
            row["delete"] = 2 if vm.pending_delete[key] else 1
        rows.append(row)
    return rows
