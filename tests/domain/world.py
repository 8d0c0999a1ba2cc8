"""A domain in memory: DCs, directory, roles, DNS, and what the scripts of `winseed dc` do to them.

`answer` runs a script by its name on a machine and gives the values it would tell, in the shape
that Windows sends them. Whoever breaks the domain finds it in `violations`: they are noticed where
they happen, whatever the code under test believes.
"""

import dataclasses
import itertools

DOMAIN = "ad.example.com"
DN = "DC=ad,DC=example,DC=com"
PARTITIONS = (DN, f"CN=Configuration,{DN}", f"CN=Schema,CN=Configuration,{DN}")
ROLES = ("schema", "naming", "pdc", "rid", "infrastructure")
TITLES = {
    "schema": "SchemaMaster",
    "naming": "DomainNamingMaster",
    "pdc": "PDCEmulator",
    "rid": "RIDMaster",
    "infrastructure": "InfrastructureMaster",
}
NOW = "2026-11-21T15:00:00Z"
SECRET = "Domain-Secret-77"
DSRM = "Restore-Secret-88"
LOCAL = "Local-Secret-99"


class ScriptError(Exception):
    """The script threw."""


class LostError(Exception):
    """Nobody answers: the machine is off, or its agent is."""


@dataclasses.dataclass
class Machine:
    """A Windows with its disk. `role` is "server", "member" or "dc"; a DC needs its restart."""

    name: str
    ip: str
    role: str = "server"
    running: bool = True
    agent: bool = True
    restarted: bool = True
    read_only: bool = False
    guid: str = ""
    features: tuple[str, ...] = ()
    zones: tuple[tuple[str, bool], ...] = ((DOMAIN, True), (f"_msdcs.{DOMAIN}", True))
    edition: str = "ServerStandard"
    system: str = "Windows Server 2022 Standard"
    rotated: bool = False
    cut_off: bool = False
    residue: bool = False
    half_made: bool = False

    @property
    def serves(self) -> bool:
        return self.role == "dc" and self.running and self.restarted and not self.half_made


class World:
    """The partner, the VM that is reinstalled, and the directory they share."""

    def __init__(self, *, old: str = "dc", roles_on: str = "dc2", others: int = 1) -> None:
        self.guids = itertools.count(1)
        self.partner = Machine(name="dc2", ip="192.0.2.12", role="dc", guid=self._guid())
        self.third = [
            Machine(name=f"dc{n}", ip=f"192.0.2.{10 + n}", role="dc", guid=self._guid())
            for n in range(3, 2 + others)
        ]
        self.vm: Machine | None = None
        self.kept: list[Machine] = []
        self.objects: dict[str, set[str]] = {}
        self.records: set[tuple[str, str, str]] = set()
        self.roles = dict.fromkeys(ROLES, roles_on)
        self.violations: list[str] = []
        self.installs = 0
        # who dies, and what comes back, after the last proof could not be noticed
        self.seen_alive = self.seen_clean = self.seen_off = False
        self.changed = False
        self.result: dict[str, list[int]] = {}
        for dc in (self.partner, *self.third):
            self._register(dc)
        if old != "none":
            self.vm = Machine(name="dc1", ip="192.0.2.11", role="dc", guid=self._guid())
            self._register(self.vm)
            self.vm.running = old != "dead"
            self.vm.cut_off = old == "cut off"
        self.dfsr_flags = 48
        self.levels = (7, 7)
        self.backups = {"dc1": NOW, "dc2": NOW}
        self.protected = {"dc1"}
        self.authorities: set[str] = set()
        self.told: list[str] = []

    def _guid(self) -> str:
        return f"00000000-0000-0000-0000-{next(self.guids):012x}"

    def _register(self, dc: Machine) -> None:
        fqdn = f"{dc.name}.{DOMAIN}"
        self.objects[dc.name] = {"computer", "server", "nTDSDSA", "member"}
        self.records |= {
            ("A", fqdn, dc.ip),
            ("CNAME", f"{dc.guid}._msdcs.{DOMAIN}", fqdn),
            ("SRV", f"_ldap._tcp.dc._msdcs.{DOMAIN}", fqdn),
            ("NS", DOMAIN, fqdn),
        }

    # --- what the node does -------------------------------------------------------------------

    def power_off(self) -> None:
        if self.vm:
            self.vm.running = False

    def start_old(self) -> None:
        """The old disk boots again."""
        if self.changed:
            self.violations.append("an old DC was started although the domain had changed")
        if self.installs:
            self.violations.append("an old DC was started beside a new installation")
        if self.vm:
            self.vm.running = True

    def install(self, name: str = "dc1") -> None:
        """New disks, Windows on them; the old ones are kept."""
        if self.vm is not None:
            awake = self.vm.running and self.vm.role == "dc" and not self.vm.half_made
            if awake and not self.seen_off:
                self.violations.append("a running DC was replaced")
            self.kept.append(dataclasses.replace(self.vm, running=False))
        if not self.healthy() and not self.seen_alive:
            self.violations.append("installed although no other writable DC lives")
        if self.objects.get(name, set()) & {"nTDSDSA", "server"} and not self.seen_clean:
            self.violations.append("installed although the directory still has a DC of that name")
        if any(holder == name for holder in self.roles.values()):
            self.violations.append("a role holder was replaced")
        self.installs += 1
        self.seen_clean = False
        self.vm = Machine(name=name, ip="192.0.2.11")

    def healthy(self) -> list[Machine]:
        return [dc for dc in (self.partner, *self.third) if dc.serves and not dc.read_only]

    def restart(self) -> None:
        if self.vm:
            self.vm.restarted = True
            if self.vm.half_made:
                self.vm.residue = True

    def rotate(self) -> None:
        if self.vm and self.vm.role == "dc":
            self.violations.append("a password was rotated on a domain controller")
        if self.vm:
            self.vm.rotated = True

    # --- what scripts do ----------------------------------------------------------------------

    def answer(self, script: str, machine: Machine | None, payload: dict) -> dict:
        """Run `dc/<script>` on a machine. Raises LostError or ScriptError."""
        if machine is None or not machine.running or not machine.agent:
            self.seen_alive = self.seen_alive and machine is not self.partner
            raise LostError(script)
        if script in {"preflight-partner", "verify-clean"} and machine.role != "dc":
            raise ScriptError("no directory here")
        self.seen_off = False
        return getattr(self, f"_{script.replace('-', '_')}")(machine, payload)

    def _preflight_partner(self, machine: Machine, payload: dict) -> dict:
        known = [dc for dc in (self.partner, *self.third) if dc.name in self.objects]
        if self.vm and "nTDSDSA" in self.objects.get(self.vm.name, ()):
            known.append(self.vm)
        listed = [
            {
                "name": f"{dc.name}.{DOMAIN}",
                "site": "HQ",
                "address": dc.ip,
                "read_only": dc.read_only,
                "global_catalog": True,
                "system": dc.system,
                "ldap": dc.serves,
                "rpc": dc.serves,
                "sysvol": dc.serves,
            }
            for dc in known
        ]
        target = payload["target"]
        kinds = [kind for kind in ("computer", "server", "nTDSDSA") if kind in self._held(target)]
        return {
            "partner": f"{machine.name}.{DOMAIN}",
            "partner_read_only": machine.read_only,
            "domain": DOMAIN,
            "netbios": "AD",
            "forest": DOMAIN,
            "controllers": listed,
            "roles": {role: f"{holder}.{DOMAIN}" for role, holder in self.roles.items()},
            "catalogs": [f"{dc.name}.{DOMAIN}" for dc in known],
            "domain_level": self.levels[0],
            "forest_level": self.levels[1],
            "dfsr_flags": self.dfsr_flags,
            "dfsr_state": "",
            "links": self._links(self.partner, known),
            "backups": [{"server": name, "time": time} for name, time in self.backups.items()],
            "tombstone_days": 180,
            "objects": [
                {
                    "dn": f"CN={target},{kind},{DN}",
                    "kind": kind,
                    "guid": "g",
                    "protected": target in self.protected,
                }
                for kind in kinds
            ],
            "authorities": sorted(self.authorities),
            "zones": self._zones(machine),
            "dns_told": True,
            "time": NOW,
        }

    def _held(self, name: str) -> set[str]:
        return self.objects.get(name.lower(), set())

    def _links(self, server: Machine, sources: list[Machine]) -> list[dict]:
        rows = []
        for source in sources:
            if source is server:
                continue
            fine = source.serves and not source.cut_off and not server.cut_off
            rows += [
                {
                    "server": server.name,
                    "partner": f"CN=NTDS Settings,CN={source.name},CN=Servers,CN=HQ,CN=Sites",
                    "partition": partition,
                    "result": 0 if fine else 1722,
                    "failures": 0 if fine else 7,
                    "success": NOW if fine else "2026-11-01T00:00:00Z",
                }
                for partition in PARTITIONS
            ]
        return rows

    def _zones(self, machine: Machine) -> list[dict]:
        return [
            {"name": name, "kind": "Primary", "integrated": integrated}
            for name, integrated in machine.zones
        ]

    def _preflight_target(self, machine: Machine, payload: dict) -> dict:
        return {
            "name": machine.name.upper(),
            "domain": DOMAIN,
            "role": {"server": 2, "member": 3, "dc": 4}[machine.role],
            "edition": machine.edition,
            "build": 20348,
            "features": ["DNS", "AD-Domain-Services", *machine.features],
            "links": self._links(machine, [self.partner, *self.third]),
            "links_told": machine.role == "dc",
            "zones": self._zones(machine),
            "forwarders": ["192.0.2.53"],
            "dns_told": True,
            "shares": [],
            "tasks": [],
            "directory_sync": False,
            "encrypted": [],
            "not_writable": 0,
        }

    def _prove_off(self, machine: Machine, payload: dict) -> dict:
        places = [payload["fqdn"], *payload["addresses"]]
        up = self.vm is not None and self.vm.running
        self.seen_off = not up
        return {"asked": places, "answers": [f"{place}:389" for place in places] if up else []}

    def _assert_dead(self, machine: Machine, payload: dict) -> None:
        if self.vm is not None and self.vm.running:
            raise ScriptError(f"{payload['fqdn']} answers at port 389: it is not off")

    def _move(self, payload: dict) -> dict:
        source = payload["from"].partition(".")[0].lower()
        named = payload.get("roles") or list(TITLES.values())
        held = [
            role
            for role, holder in self.roles.items()
            if holder == source and TITLES[role] in named
        ]
        for role in held:
            self.roles[role] = payload["to"].partition(".")[0].lower()
        self.changed = self.changed or bool(held)
        return {"moved": [TITLES[role] for role in held], "left": []}

    def _transfer_roles(self, machine: Machine, payload: dict) -> dict:
        holder = next(
            (
                dc
                for dc in (self.vm, self.partner, *self.third)
                if dc and dc.name == payload["from"]
            ),
            None,
        )
        if holder is None or not holder.serves:
            raise ScriptError("the role holder does not answer")
        return self._move(payload)

    def _seize_roles(self, machine: Machine, payload: dict) -> dict:
        self._assert_dead(machine, payload)
        return self._move(payload)

    def _next_result(self, script: str) -> int:
        queue = self.result.get(script, [])
        return queue.pop(0) if queue else 4

    def _verdict(self, code: int) -> dict:
        return {"result": code, "status": "", "message": f"code {code}", "reboot": code in {2, 4}}

    def _test_demotion(self, machine: Machine, payload: dict) -> dict:
        return self._verdict(1)

    def _demote(self, machine: Machine, payload: dict) -> dict:
        if machine.role != "dc":
            return self._verdict(1)
        if machine.cut_off:
            return self._verdict(54)
        code = self._next_result("demote")
        if code > 4:
            return self._verdict(code)
        if any(holder == machine.name for holder in self.roles.values()):
            self._move({"from": machine.name, "to": self.partner.name})
        machine.role = "member"
        self.changed = True
        self.objects[machine.name] -= {"nTDSDSA", "member"}
        fqdn = f"{machine.name}.{DOMAIN}"
        self.records = {r for r in self.records if r[2] != fqdn or r[0] == "NS"}
        return self._verdict(code)

    def _cleanup_metadata(self, machine: Machine, payload: dict) -> dict:
        self._assert_dead(machine, payload)
        name = payload["from"].partition(".")[0].lower()
        if any(holder == name for holder in self.roles.values()):
            raise ScriptError(f"{name} holds roles")
        removed = sorted(self.objects.pop(name, set()))
        self.changed = self.changed or bool(removed)
        return {"removed": removed}

    def _cleanup_dns(self, machine: Machine, payload: dict) -> dict:
        self._assert_dead(machine, payload)
        stale = {r for r in self.records if payload["fqdn"] in (r[1], r[2])}
        self.records -= stale
        self.changed = self.changed or bool(stale)
        return {"zones": [DOMAIN], "removed": [" ".join(record) for record in stale]}

    def _verify_clean(self, machine: Machine, payload: dict) -> dict:
        fqdn = payload["fqdn"]
        name = fqdn.partition(".")[0]
        held = self._held(name)
        self.seen_alive = machine.serves
        self.seen_clean = not held & {"nTDSDSA", "server"}

        def named(kind: str) -> list[str]:
            return [f"CN={name},{DN}"] if kind in held else []

        return {
            "accounts": named("computer"),
            "servers": named("server"),
            "settings": named("nTDSDSA"),
            "members": named("member"),
            "records": sorted(f"{r[0]} {r[1]}" for r in self.records if r[2] == fqdn),
            "roles": [TITLES[role] for role, holder in self.roles.items() if holder == name],
            "dns_told": True,
            "partner": f"{machine.name}.{DOMAIN}",
            "writable": not machine.read_only,
            "sysvol": machine.serves,
        }

    def _stage_rodc(self, machine: Machine, payload: dict) -> dict:
        name = payload["host"].lower()
        held = self._held(name)
        if held - {"computer"}:
            raise ScriptError("there is an account of another kind")
        self.objects[name] = {"computer", "staged"}
        self.changed = True
        return {"staged": "staged" not in held}

    def _check_host(self, machine: Machine, payload: dict) -> dict:
        return {
            "name": machine.name.upper(),
            "role": {"server": 2, "member": 3, "dc": 4}[machine.role],
            "edition": machine.edition,
            "offsets": ["+00.0123", "-00.0045", "+01.5"],
            "dns_servers": [self.partner.ip],
            "addresses": [machine.ip, "127.0.0.1"],
            "locators": [f"{dc.name}.{DOMAIN}" for dc in self.healthy()],
            "volumes": [
                {
                    "path": path,
                    "filesystem": "NTFS",
                    "free": 40 << 30,
                    "entries": 9 if machine.residue else 0,
                }
                for path in payload["paths"]
            ],
            "pending": [],
            "role_service": "Manual",
            "media": True,
        }

    def _add_role(self, machine: Machine, payload: dict) -> dict:
        machine.features = ("AD-Domain-Services",)
        return {"restart": False}

    def _test_additional(self, machine: Machine, payload: dict) -> dict:
        self._secrets(payload)
        queue = self.result.get("test-promotion", [])
        return self._verdict(queue.pop(0) if queue else 1)

    _test_rodc = _test_additional
    _test_new_forest = _test_additional

    def _secrets(self, payload: dict) -> None:
        if payload["dsrm_password"] != DSRM:
            raise ScriptError("no restore mode password")

    def _promote_additional(self, machine: Machine, payload: dict) -> dict:
        self._secrets(payload)
        if machine.role == "dc":
            return self._verdict(2)
        if not self.healthy():
            return self._verdict(25)
        if not machine.rotated:
            self.violations.append("promoted with the password of the medium")
        held = self._held(machine.name)
        if held - {"staged", "computer"} or ("computer" in held and "staged" not in held):
            return self._verdict(86)
        code = self._next_result("promote")
        if code in {53, 54, 56}:
            machine.half_made, machine.role, machine.guid = True, "dc", self._guid()
            self.objects[machine.name] = {"computer", "server"}
            self.changed = True
            return self._verdict(code)
        if code > 4:
            return self._verdict(code)
        self._become(machine)
        return self._verdict(code)

    def _become(self, machine: Machine) -> None:
        twins = [dc for dc in self.kept if dc.running and dc.name == machine.name]
        if twins:
            self.violations.append("two DCs with one name run")
        if "nTDSDSA" in self._held(machine.name):
            self.violations.append("two NTDS Settings of one name")
        machine.role, machine.restarted, machine.guid = "dc", False, self._guid()
        self._register(machine)
        self.changed = True

    def _promote_rodc(self, machine: Machine, payload: dict) -> dict:
        if "staged" not in self._held(machine.name) and machine.role != "dc":
            return self._verdict(85)
        told = self._promote_additional(machine, payload)
        machine.read_only = machine.role == "dc"
        return told

    def _promote_new_forest(self, machine: Machine, payload: dict) -> dict:
        return self._promote_additional(machine, payload)

    def _verify(self, machine: Machine, payload: dict) -> dict:
        fine = machine.serves
        return {
            "name": machine.name.upper(),
            "domain": DOMAIN,
            "role": 4 if machine.role == "dc" and machine.restarted else 2,
            "services": [
                {"name": name, "status": "Running" if fine else "Stopped"}
                for name in ("NTDS", "ADWS", "KDC", "Netlogon", "DNS", "DFSR", "W32Time")
            ],
            "shares": ["SYSVOL", "NETLOGON", "C$"] if fine else ["C$"],
            "sysvol_state": 4 if fine else 2,
            "sysvol_events": [4604] if fine else [4614],
            "profiles": ["DomainAuthenticated"],
            "time_type": "NT5DS",
            "dns_servers": [self.partner.ip],
            "ready": fine,
            "global_catalog": True,
            "roles": [],
            "links": self._links(machine, [self.partner]),
        }

    def _verify_partner(self, machine: Machine, payload: dict) -> dict:
        fqdn = payload["fqdn"]
        name = fqdn.partition(".")[0]
        vm = self.vm
        there = vm is not None and "nTDSDSA" in self._held(name)
        return {
            "controllers": [fqdn] if there else [],
            "settings": [vm.guid] if there and vm else [],
            "links": [row for row in self._links(machine, [vm] if vm else []) if there],
            "records": sorted(" ".join((r[0], r[1], r[2])) for r in self.records),
        }

    def _set_dns_client(self, machine: Machine, payload: dict) -> dict:
        return {"dns_servers": [server for card in payload["cards"] for server in card["dns"]]}

    def _dcdiag(self, machine: Machine, payload: dict) -> dict:
        return {"outputs": [{"tool": "dcdiag.exe /c /q", "exit": 0, "text": ""}]}

    def _scrub_media(self, machine: Machine, payload: dict) -> dict:
        return {"left": False}
