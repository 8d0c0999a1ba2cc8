"""Calls about the cluster as a whole: version, nodes, resources, permissions, pools, tasks."""

from typing import Any

from tests.pve.calls import Asked, answers
from tests.pve.state import PveError, Vm
from tests.pve.tasks import Task

VERSIONS = {
    "8.4": {"version": "8.4.21", "release": "8.4", "repoid": "6cf35a9ba4d2a1e7"},
    "9.2": {"version": "9.2.11", "release": "9.2", "repoid": "14a22df35955d97d"},
}
VM_PRIVILEGE = "VM.Audit"


@answers("GET /version", "GET /nodes/{node}/version")
def version(asked: Asked) -> Any:
    return VERSIONS[asked.pve.release]


@answers("POST /access/ticket")
def ticket(asked: Asked) -> Any:
    return asked.pve.access.make_ticket(asked.text("username"), asked.text("password"))


@answers("GET /access/permissions")
def permissions(asked: Asked) -> Any:
    whom = asked.text("userid", asked.user)
    if whom != asked.user:
        asked.check("/access", "Sys.Audit")
    if whom not in asked.pve.access.accounts:
        raise PveError(400, "Parameter verification failed.", {"userid": "no such user"})
    return asked.pve.access.permissions(whom, asked.text("path") or None)


@answers("GET /nodes")
def nodes(asked: Asked) -> Any:
    return [node_row(asked, name) for name in asked.pve.nodes]


def node_row(asked: Asked, name: str) -> dict[str, Any]:
    node = asked.pve.nodes[name]
    row: dict[str, Any] = {
        "id": f"node/{name}",
        "node": name,
        "type": "node",
        "status": "online" if node.online else "offline",
        "ssl_fingerprint": node.fingerprint,
        "level": "",
    }
    if node.online and asked.allows(f"/nodes/{name}", "Sys.Audit"):
        row |= {"maxcpu": node.cpus, "maxmem": node.memory, "mem": node.memory // 4, "cpu": 0.02}
        row |= {"uptime": 4711, "maxdisk": node.root_free * 2, "disk": node.root_free}
    return row


@answers("GET /nodes/{node}/status")
def node_status(asked: Asked) -> Any:
    node = asked.pve.nodes[asked.node]
    return {
        "pveversion": f"pve-manager/{VERSIONS[asked.pve.release]['version']}",
        "uptime": 4711,
        "cpu": 0.02,
        "wait": 0.001,
        "loadavg": ["0.10", "0.20", "0.15"],
        "cpuinfo": {"cpus": node.cpus, "model": "QEMU Virtual CPU", "sockets": 1},
        "memory": {"total": node.memory, "used": node.memory // 4, "free": node.memory * 3 // 4},
        "rootfs": {
            "total": node.root_free * 2,
            "used": node.root_free,
            "free": node.root_free,
            "avail": node.root_free,
        },
    }


@answers("GET /nodes/{node}/network")
def network(asked: Asked) -> Any:
    kind = asked.text("type")
    rows = [
        {"iface": name, "type": "bridge", "active": 1, "autostart": 1, "bridge_ports": "eno1"}
        for name in asked.pve.nodes[asked.node].bridges
        if _sees_bridge(asked, name)
    ]
    wanted = {"bridge", "any_bridge", "any_local_bridge", "include_sdn"}
    if kind in wanted:
        return rows
    uplink = {"iface": "eno1", "type": "eth", "active": 1, "exists": 1}
    return [uplink, *rows] if not kind else [uplink] if kind == "eth" else []


def _sees_bridge(asked: Asked, name: str) -> bool:
    node = f"/nodes/{asked.node}"
    zone = f"/sdn/zones/localnetwork/{name}"
    return asked.allows(node, "Sys.Audit", "Sys.Modify", any_of=True) or asked.allows(
        zone, "SDN.Audit", "SDN.Use", any_of=True
    )


@answers("GET /cluster/status")
def cluster_status(asked: Asked) -> Any:
    pve = asked.pve
    head = {
        "type": "cluster",
        "id": "cluster",
        "name": "tests",
        "nodes": len(pve.nodes),
        "quorate": int(pve.quorate),
        "version": 4,
    }
    rows = [
        {
            "type": "node",
            "id": f"node/{node.name}",
            "name": node.name,
            "nodeid": number,
            "ip": node.address,
            "online": int(node.online),
            "local": int(node.name == asked.contacted),
            "level": "",
        }
        for number, node in enumerate(pve.nodes.values(), 1)
    ]
    return [head, *rows] if len(rows) > 1 else rows


@answers("GET /cluster/resources")
def resources(asked: Asked) -> Any:
    kind = asked.text("type")
    rows: list[dict[str, Any]] = []
    if kind in {"", "vm"}:
        visible = (vm for vm in asked.pve.vms.values() if asked.pve.may_see(asked.user, vm.vmid))
        rows += [vm_row(asked, vm) for vm in visible]
    if kind in {"", "node"}:
        rows += [node_row(asked, name) for name in asked.pve.nodes]
    if kind in {"", "storage"}:
        rows += _storage_rows(asked)
    return rows


def vm_row(asked: Asked, vm: Vm) -> dict[str, Any]:
    pve = asked.pve
    seen = pve.vm_summary(vm)
    row: dict[str, Any] = {"id": f"qemu/{vm.vmid}", "type": "qemu", "node": vm.node, **seen}
    pool = next((name for name, members in pve.access.pools.items() if vm.vmid in members), None)
    if pool:
        row["pool"] = pool
    if vm.ha_state:
        row["hastate"] = vm.ha_state
    row["template"] = int(vm.config.get("template", "0"))
    return row


def _storage_rows(asked: Asked) -> list[dict[str, Any]]:
    rows = []
    for storage in asked.pve.storages.values():
        path = f"/storage/{storage.name}"
        if not asked.allows(path, "Datastore.Audit", "Datastore.AllocateSpace", any_of=True):
            continue
        for name, node in asked.pve.nodes.items():
            if not storage.seen_by(name):
                continue
            usable = node.online and storage.active and storage.enabled
            rows.append(
                {
                    "id": f"storage/{name}/{storage.name}",
                    "type": "storage",
                    "node": name,
                    "storage": storage.name,
                    "status": "available" if usable else "unknown",
                    "shared": int(storage.shared),
                    "content": ",".join(sorted(storage.content)),
                    "plugintype": storage.kind,
                    "maxdisk": storage.total,
                    "disk": storage.total - storage.avail(name),
                }
            )
    return rows


@answers("GET /cluster/nextid")
def nextid(asked: Asked) -> Any:
    wanted = asked.number("vmid")
    if wanted:
        if wanted in asked.pve.vms:
            error = {"vmid": f"VM {wanted} already exists"}
            raise PveError(400, "Parameter verification failed.", error)
        return str(wanted)
    return str(next(vmid for vmid in range(*asked.pve.next_id) if vmid not in asked.pve.vms))


@answers("GET /pools")
def pools(asked: Asked) -> Any:
    found = asked.pve.access.pools
    return [{"poolid": name} for name in found if asked.allows(f"/pool/{name}", "Pool.Audit")]


@answers("GET /pools/{poolid}")
def pool(asked: Asked) -> Any:
    name = asked.text("poolid")
    members = asked.pve.access.pools.get(name)
    if members is None:
        raise PveError(400, "Parameter verification failed.", {"poolid": "no such pool"})
    rows = [vm_row(asked, asked.pve.vms[vmid]) for vmid in sorted(members)]
    return {"members": rows}


@answers("GET /cluster/tasks", "GET /nodes/{node}/tasks")
def tasks(asked: Asked) -> Any:
    rows = []
    for task in asked.pve.tasks:
        if asked.params.get("node") not in {None, task.node}:
            continue
        if asked.params.get("vmid") not in {None, task.about}:
            continue
        if asked.params.get("typefilter") not in {None, task.kind}:
            continue
        if task.user == asked.user or asked.allows(f"/nodes/{task.node}", "Sys.Audit"):
            rows.append(task_row(task))
    return rows[::-1]


def task_row(task: Task) -> dict[str, Any]:
    row: dict[str, Any] = {
        "upid": task.upid,
        "node": task.node,
        "pid": int(task.upid.split(":")[2], 16),
        "pstart": int(task.upid.split(":")[3], 16),
        "starttime": int(task.upid.split(":")[4], 16),
        "type": task.kind,
        "id": task.about,
        "user": task.user,
    }
    if task.exitstatus is not None:
        row |= {"status": task.exitstatus, "endtime": row["starttime"] + 1}
    return row


def _own_task(asked: Asked, privilege: str) -> Task:
    task = asked.pve.tasks.find(asked.text("upid"), asked.node)
    if task.user != asked.user:
        asked.check(f"/nodes/{asked.node}", privilege)
    return task


@answers("GET /nodes/{node}/tasks/{upid}/status")
def task_status(asked: Asked) -> Any:
    task = _own_task(asked, "Sys.Audit")
    row = task_row(task)
    row.pop("endtime", None)
    if task.exitstatus is None:
        return {**row, "status": "running"}
    return {**row, "status": "stopped", "exitstatus": task.exitstatus}


@answers("GET /nodes/{node}/tasks/{upid}/log")
def task_log(asked: Asked) -> Any:
    task = _own_task(asked, "Sys.Audit")
    start, limit = asked.number("start"), asked.number("limit", 50)
    lines = list(enumerate(task.log, 1))[start:]
    return [{"n": number, "t": line} for number, line in (lines[:limit] if limit else lines)]


@answers("DELETE /nodes/{node}/tasks/{upid}")
def stop_task(asked: Asked) -> Any:
    task = _own_task(asked, "Sys.Modify")
    if task.exitstatus is None:
        task.exitstatus = "interrupted by signal"
