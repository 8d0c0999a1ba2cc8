"""A cluster with a domain in its VMs: the partner is 102, the VM that is reinstalled 101."""

from pathlib import Path

from builder.domain.calls import DcSecrets, kind_of, make_payload
from builder.domain.scripts import dc_scripts, load_dc_script
from builder.proxmox.agent import GuestAgent
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.values import Secret
from tests.domain.plans import make_plan
from tests.domain.world import DSRM, LOCAL, SECRET, LostError, ScriptError, World
from tests.pve import clock as fake_clock
from tests.pve.cluster import FakeCluster
from tests.pve.conftest import rights
from tests.pve.installed import Installed
from tests.pve.powershell import Plans, ThrownError, learn_script
from tests.pve.windows import WindowsGuest

SECRETS = DcSecrets(credential=Secret(SECRET), restore_mode=Secret(DSRM), local=Secret(LOCAL))
MODES = {"replacement": "", "rodc": 'site = "HQ"\n', "new-forest": ""}


def plan_of(script: str):
    """A plan whose mode calls the script."""
    for mode, keys in MODES.items():
        plan = make_plan(mode, keys)
        if script.endswith(kind_of(plan.mode)):
            return plan
    return make_plan()


class Scene:
    """A cluster with the partner (102) and the VM that is reinstalled (101), over a World."""

    def __init__(self, pve: FakeCluster, release: str, world: World) -> None:
        self.pve, self.world, self.plans = pve, world, Plans()
        clock = pve.clock
        self.seen: list[tuple[int, str, dict]] = []
        for name in dc_scripts():
            self.learn(name)
        pve.make_guest = lambda vm: WindowsGuest(vm, pve, plans=self.plans)
        made = pve.token("installer@pve", rights(release))
        token = load_token(f"{made.user}!{made.name}={made.value}", source="test")
        passing = Clock(now=clock, pause=clock.sleep, jitter=lambda: 0.5)
        connection = make_connection(pve.url, token, CaFile(path=Path(pve.ca_file)))
        self.api = Api(connection, passing, timeout=(2.0, 2.0))
        for vmid, name in ((101, "dc1"), (102, "dc2")):
            self.add(vmid, name)
        clock.sleep(60)

    def learn(self, name: str) -> None:
        plan = plan_of(name)
        payload = set(make_payload(name, plan, SECRETS))
        script = load_dc_script(name)
        learn_script(
            script.name,
            script.text,
            lambda guest, _windows, values: self.effect(name, guest.vm.vmid, values),
            payload=payload,
            question=script.question,
        )

    def add(self, vmid: int, name: str) -> None:
        disk = f"local-lvm:vm-{vmid}-disk-0"
        config = {"name": name, "boot": "order=scsi0", "scsi0": f"{disk},size=60G", "agent": "1"}
        self.pve.add_vm(vmid, config=config)
        volume = self.pve.volume(disk)
        volume.stage = "ready"
        volume.windows = Installed(answers=None, accounts=[])
        self.api.change("POST", ("nodes", "pve1", "qemu", vmid, "status", "start"), {}, str)

    def effect(self, name: str, vmid: int, values: dict) -> dict:
        self.seen.append((vmid, name, values))
        machine = self.world.partner if vmid == 102 else self.world.vm
        try:
            return self.world.answer(name, machine, values)
        except (ScriptError, LostError) as error:
            raise ThrownError(str(error)) from None

    def agent(self, vmid: int) -> GuestAgent:
        return GuestAgent(api=self.api, node="pve1", vmid=vmid)


def open_scene(release="9.2", **world):
    clock = fake_clock.Clock()
    return FakeCluster(release=release, nodes=("pve1",), clock=clock), World(**world)
