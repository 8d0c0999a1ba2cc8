"""Changes to a VM, one call each. All raise PveError; none decides anything.

`Trouble.UNKNOWN` from any of them means that it may have happened: look with `inventory.py` or
`tasks.py` before trying again. Calls: proxmox/qemu-server at e6352be, src/PVE/API2/Qemu.pm.
"""

from collections.abc import Mapping
from typing import Any

from builder.proxmox.api import Api, Value
from builder.proxmox.tasks import Upid, load_upid, load_upid_or_none


def create_vm(api: Api, node: str, vmid: int, settings: Mapping[str, Value]) -> Upid:
    """Make a VM with new disks. Not repeated: a lost answer may have made it."""
    values = {"vmid": vmid, **settings}
    return api.change("POST", ("nodes", node, "qemu"), values, load_upid)


def set_config(
    api: Api,
    node: str,
    vmid: int,
    settings: Mapping[str, Value],
    *,
    digest: str,
    delete: tuple[str, ...] = (),
) -> None:
    """Change settings and wait: for what has to be there before the next call, as a CD."""
    values: dict[str, Value] = {**settings, "digest": digest, "delete": ",".join(delete) or None}
    api.change("PUT", (*_vm(node, vmid), "config"), values, _nothing)


def change_config(
    api: Api,
    node: str,
    vmid: int,
    settings: Mapping[str, Value],
    *,
    digest: str,
    delete: tuple[str, ...] = (),
) -> Upid | None:
    """Change settings in a task, for what allocates disks; None when it was done at once."""
    values: dict[str, Value] = {**settings, "digest": digest, "delete": ",".join(delete) or None}
    return api.change("POST", (*_vm(node, vmid), "config"), values, load_upid_or_none)


def unlink_disks(api: Api, node: str, vmid: int, slots: tuple[str, ...]) -> None:
    """Take drives out of the configuration and destroy their images; `unusedN` as well."""
    values: dict[str, Value] = {"idlist": ",".join(slots), "force": True}
    api.change("PUT", (*_vm(node, vmid), "unlink"), values, _nothing)


def destroy_vm(api: Api, node: str, vmid: int) -> Upid:
    """Destroy a stopped VM with the disks its configuration names, and nothing else."""
    values: dict[str, Value] = {"purge": True, "destroy-unreferenced-disks": False}
    return api.change("DELETE", _vm(node, vmid), values, load_upid)


def start_vm(api: Api, node: str, vmid: int) -> Upid:
    """Switch on. The task may succeed with warnings, and fails when the VM runs already."""
    return _power(api, node, vmid, "start")


def stop_vm(api: Api, node: str, vmid: int) -> Upid:
    """Switch off at once, as pulling the plug."""
    return _power(api, node, vmid, "stop")


def shutdown_vm(api: Api, node: str, vmid: int, *, timeout: int) -> Upid:
    """Ask the guest to switch off within `timeout` seconds; the task fails when it does not."""
    return _power(api, node, vmid, "shutdown", timeout=timeout)


def reset_vm(api: Api, node: str, vmid: int) -> Upid:
    """Restart as by the reset button: QEMU, its counters and what is pending stay."""
    return _power(api, node, vmid, "reset")


def send_key(api: Api, node: str, vmid: int, key: str) -> None:
    """Press a key by QEMU's name (`ret`); once more than needed does no harm."""
    api.change("PUT", (*_vm(node, vmid), "sendkey"), {"key": key}, _nothing, safe=True)


def delete_volume(api: Api, node: str, volid: str) -> Upid | None:
    """Delete an ISO or a disk by its volid; nothing checks whether a VM still names it."""
    storage = volid.partition(":")[0]
    route = ("nodes", node, "storage", storage, "content", *volid.split("/"))
    return api.change("DELETE", route, {}, load_upid_or_none)


def _vm(node: str, vmid: int) -> tuple[str | int, ...]:
    return ("nodes", node, "qemu", vmid)


def _power(api: Api, node: str, vmid: int, verb: str, **values: Value) -> Upid:
    return api.change("POST", (*_vm(node, vmid), "status", verb), values, load_upid)


def _nothing(_answer: Any) -> None:
    return None
