"""Calls about VMs: lists, state, console."""

import secrets
from typing import TYPE_CHECKING, Any

from tests.pve.calls import Asked, answers
from tests.pve.console import Session
from tests.pve.state import DRIVE, PveError, Vm

if TYPE_CHECKING:
    from tests.pve.cluster import FakeCluster

QEMU = {"8.4": ("9.2.0", "pc-q35-9.2+pve1"), "9.2": ("11.0.0", "pc-q35-11.0+pve2")}


def summary(pve: "FakeCluster", vm: Vm) -> dict[str, Any]:
    """Fields of a VM that every list has."""
    memory = int(vm.config.get("memory", "512").removeprefix("current=").partition(",")[0])
    cores = int(vm.config.get("cores", "1")) * int(vm.config.get("sockets", "1"))
    row: dict[str, Any] = {
        "vmid": vm.vmid,
        "name": vm.config.get("name", f"VM {vm.vmid}"),
        "status": "running" if vm.running else "stopped",
        "maxmem": memory * 1024**2,
        "maxdisk": 0,
        "mem": memory * 512 * 1024 if vm.running else 0,
        "cpu": 0.1 if vm.running else 0,
        "uptime": int(pve.clock() - vm.started) if vm.running else 0,
        "diskread": 0,
        "diskwrite": 0,
        "netin": 0,
        "netout": 0,
        "maxcpu": cores,
    }
    for key in ("tags", "lock"):
        if key in vm.config:
            row[key] = vm.config[key]
    if vm.config.get("template") == "1":
        row["template"] = 1
    return row


@answers("GET /nodes/{node}/qemu")
def vms(asked: Asked) -> Any:
    rows = []
    for vm in asked.pve.vms.values():
        if vm.node == asked.node and asked.pve.may_see(asked.user, vm.vmid):
            row = summary(asked.pve, vm)
            row["cpus"] = row.pop("maxcpu")
            rows.append(row)
    return rows


@answers("GET /nodes/{node}/qemu/{vmid}/status/current")
def status_current(asked: Asked) -> Any:
    vm = asked.vm
    row = summary(asked.pve, vm)
    row["cpus"] = row.pop("maxcpu")
    row["qmpstatus"] = row["status"]
    row["ha"] = {"managed": int(vm.managed)}
    if vm.managed:
        row["ha"] |= {"state": vm.ha_state, "group": None}
    if vm.config.get("agent", "0").removeprefix("enabled=")[:1] == "1":
        row["agent"] = 1
    if vm.running:
        version, machine = QEMU[asked.pve.release]
        pinned = vm.config.get("machine", machine)
        row["pid"] = 100_000 + vm.vmid
        row["running-qemu"] = version
        row["running-machine"] = machine if pinned in {"q35", "pc"} else pinned
        row["blockstat"] = {key: _block(vm, key) for key in vm.config if _has_counter(key)}
        row["nics"] = {
            f"tap{vm.vmid}i{key[3:]}": {"netin": "0", "netout": "0"}
            for key in vm.config
            if key.startswith("net")
        }
        row["diskread"] = sum(vm.read_bytes.values())
        row["diskwrite"] = sum(vm.written_bytes.values())
    return row


def _has_counter(key: str) -> bool:
    return DRIVE.fullmatch(key) is not None and key != "tpmstate0"


def _block(vm: Vm, key: str) -> dict[str, Any]:
    read, written = vm.read_bytes.get(key, 0), vm.written_bytes.get(key, 0)
    return {
        "rd_bytes": read,
        "wr_bytes": written,
        "rd_operations": read // 65536,
        "wr_operations": written // 65536,
        "failed_rd_operations": 0,
        "failed_wr_operations": 0,
        "account_failed": True,
        "account_invalid": True,
    }


PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))  # pve-common, Ticket.pm


@answers("POST /nodes/{node}/qemu/{vmid}/vncproxy", "POST /nodes/{node}/qemu/{vmid}/termproxy")
def console(asked: Asked) -> Any:
    pve, vm = asked.pve, asked.vm
    kind = "vnc" if asked.call.endswith("vncproxy") else "term"
    ticket = f"PVEVNC:{secrets.token_hex(8)}::{secrets.token_hex(16)}"
    port = 5900 + len(pve.consoles) % 100
    password = "".join(secrets.choice(PRINTABLE) for _ in range(8)) if kind == "vnc" else ""
    ticket = f"{password}:{ticket}" if password else ticket
    pve.consoles[ticket] = Session(
        kind=kind,
        user=asked.user,
        vmid=vm.vmid,
        ticket=ticket,
        port=port,
        password=password,
        serial=asked.text("serial", "serial0"),
    )
    upid = pve.fork(asked, "vncproxy", str(vm.vmid), lambda task: task.say("starting proxy"))
    row = {"user": asked.user, "ticket": ticket, "port": str(port), "upid": upid}
    return {**row, "password": password} if password else row


@answers("GET /nodes/{node}/qemu/{vmid}/vncwebsocket")
def websocket(asked: Asked) -> Any:
    session = asked.pve.consoles.get(asked.text("vncticket"))
    vm = asked.vm
    fits = session and (session.user, session.vmid) == (asked.user, vm.vmid)
    if not session or not fits or session.port != asked.number("port"):
        raise PveError(401, "permission denied - invalid PVEVNC ticket")
    return {"port": str(session.port)}
