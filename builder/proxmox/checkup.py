"""The whole preflight of some hosts, and how it is told."""

from collections.abc import Iterable
from typing import Any

from builder.errors import ExitCode, Problem, WinseedError
from builder.proxmox.api import Api
from builder.proxmox.facts import VmConfig
from builder.proxmox.findings import Finding, Level, exit_code
from builder.proxmox.media import choose_iso
from builder.proxmox.preflight import choose_node, judge_doubles, judge_host, judge_version
from builder.proxmox.rights import make_needs, paths_of
from builder.proxmox.survey import (
    ClusterFacts,
    NodeFacts,
    inspect_cluster,
    inspect_granted,
    inspect_node,
    inspect_vmid,
)
from builder.proxmox.wanted import Wanted
from builder.record import record

VERSION = 1


@record
class HostCheckup:
    """What was found for one host; `node` "" and `vmid` 0 when it has no node.

    `windows` and `virtio` are the volids of the discs to mount, "" where there is none. `adopt` is
    the configuration of a VM that is there, without a disk, to be taken over.
    """

    host: str
    node: str
    vmid: int
    findings: tuple[Finding, ...]
    windows: str = ""
    virtio: str = ""
    adopt: VmConfig | None = None


@record
class Checkup:
    """What was found in a cluster. `server` as `host:port`, `token` without its secret."""

    server: str
    token: str
    release: str
    findings: tuple[Finding, ...]
    hosts: tuple[HostCheckup, ...]

    @property
    def every(self) -> tuple[Finding, ...]:
        """All findings."""
        return (*self.findings, *(one for host in self.hosts for one in host.findings))

    @property
    def code(self) -> ExitCode:
        """The exit code that the findings ask for."""
        return exit_code(self.every)


class _Rounds:
    """One round through a cluster: nodes and rights are asked for once."""

    def __init__(self, api: Api, cluster: ClusterFacts, reserved: Iterable[int]) -> None:
        self._api, self._cluster = api, cluster
        self._reserved = frozenset(reserved)
        self._nodes: dict[str, NodeFacts] = {}
        self._granted: dict[str, frozenset[str]] = {}

    def visit(self, wanted: Wanted) -> HostCheckup:
        node = choose_node(wanted, self._cluster.nodes)
        if isinstance(node, Finding):
            return HostCheckup(host=wanted.name, node="", vmid=wanted.vmid, findings=(node,))
        if node.name not in self._nodes:
            self._nodes[node.name] = inspect_node(self._api, node)
        vmid = inspect_vmid(self._api, wanted.vmid, self._cluster.guests, reserved=self._reserved)
        self._reserved |= {vmid.vmid}
        facts = self._nodes[node.name]
        subject = wanted.subject(node=node.name, vmid=vmid.vmid, vnets=facts.vnets)
        needs = make_needs(subject, major=self._cluster.version.major)
        unknown = [path for path in paths_of(needs) if path not in self._granted]
        self._granted |= inspect_granted(self._api, unknown)
        findings = judge_host(wanted, self._cluster, facts, vmid, self._granted)
        windows, virtio = (
            choose_iso(iso, facts.isos).iso for iso in (wanted.windows, wanted.virtio)
        )
        return HostCheckup(
            host=wanted.name,
            node=node.name,
            vmid=vmid.vmid,
            findings=findings,
            windows=windows.volid if windows else "",
            virtio=virtio.volid if virtio else "",
            adopt=vmid.config if isinstance(vmid.config, VmConfig) else None,
        )


def inspect_checkup(api: Api, hosts: Iterable[Wanted]) -> Checkup:
    """Look at everything the hosts need and judge it; changes nothing.

    Raises PveError when the cluster cannot be reached or does not accept the token.
    """
    hosts = tuple(hosts)
    cluster = inspect_cluster(api)
    rounds = _Rounds(api, cluster, (host.vmid for host in hosts if host.vmid))
    return Checkup(
        server=str(api.connection),
        token=str(api.connection.token),
        release=cluster.version.text,
        findings=(judge_version(cluster.version), *judge_doubles(hosts)),
        hosts=tuple(rounds.visit(host) for host in hosts),
    )


def refuse_checkup(checkup: Checkup, host: HostCheckup) -> None:
    """Raise WinseedError with every reason why the installation of `host` cannot start."""
    findings = (*checkup.findings, *host.findings)
    stops = [finding for finding in findings if finding.level is Level.STOP]
    if stops:
        raise WinseedError(
            f"the installation of {host.host} cannot start",
            code=exit_code(stops),
            problems=tuple(
                Problem(
                    where=stop.subject,
                    what=stop.what,
                    hint="; ".join(filter(None, (stop.hint, *stop.commands))),
                )
                for stop in stops
            ),
            hint="`winseed doctor` shows all that was looked at",
        )


def checkup_lines(checkup: Checkup) -> list[str]:
    """The findings as `winseed doctor` prints them."""
    lines = [f"{checkup.server} as {checkup.token}"]
    lines += [line for finding in checkup.findings for line in _lines(finding)]
    for host in checkup.hosts:
        place = f"VM {host.vmid} on {host.node}" if host.node else "no node"
        lines += ["", f"{host.host}: {place}"]
        lines += [line for finding in host.findings for line in _lines(finding)]
    return lines


def _lines(finding: Finding) -> list[str]:
    rows = [f"{finding.level.value:<5} {finding.subject:<18} {finding.what}"]
    if finding.hint:
        rows.append(f"{'':<24} -> {finding.hint}")
    return rows + [f"{'':<27} {command}" for command in finding.commands]


def checkup_document(checkup: Checkup) -> dict[str, Any]:
    """The findings as `winseed doctor --json` prints them."""
    return {
        "version": VERSION,
        "server": checkup.server,
        "token": checkup.token,
        "release": checkup.release,
        "ok": not any(finding.level is Level.STOP for finding in checkup.every),
        "findings": [_row(finding) for finding in checkup.findings],
        "hosts": [
            {
                "host": host.host,
                "node": host.node or None,
                "vmid": host.vmid or None,
                "findings": [_row(finding) for finding in host.findings],
            }
            for host in checkup.hosts
        ],
    }


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject,
        "level": finding.level.value,
        "what": finding.what,
        "hint": finding.hint,
        "commands": list(finding.commands),
    }
