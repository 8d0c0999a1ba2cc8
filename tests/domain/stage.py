"""A cluster whose VMs are a domain: the partner (102), the DC that goes or comes (101), and the
whole of `winseed dc` above it. Windows installs itself here, PowerShell is answered by a World."""

import dataclasses
import itertools
import json
import random
from pathlib import Path

from builder.domain.calls import DcSecrets, kind_of, make_payload
from builder.domain.change.begin import begin_change, take_up_change
from builder.domain.change.carry import carry_on, confirm, resume
from builder.domain.change.outlook import Outlook
from builder.domain.change.run import DcRun
from builder.domain.change.told import broken_off, outcome_of
from builder.domain.facts import MediaFacts
from builder.domain.machine import Ask, Policy
from builder.domain.plan import make_dc_plan
from builder.domain.scripts import dc_scripts, load_dc_script
from builder.errors import WinseedError
from builder.install.fleet import Interrupted
from builder.install.jobs import Workshop, make_teller
from builder.install.opening import Case, Entropy
from builder.install.poll import AgentSlots, StatePoll
from builder.install.run import Limits
from builder.install.witness import Witness, no_serial
from builder.media.shelf import Shelf
from builder.proxmox.api import Api
from builder.proxmox.connection import CaFile, Clock, load_token, make_connection
from builder.spec.load import load_site
from builder.values import Secret
from tests.domain.plans import make_plan
from tests.domain.world import DSRM, LOCAL, SECRET, LostError, ScriptError, World
from tests.powershell import parse
from tests.pve.conftest import rights
from tests.pve.formats import parse_size
from tests.pve.installed import Account, Installed
from tests.pve.powershell import Plans, ThrownError, learn_script
from tests.pve.vmconfig import boot_devices
from tests.pve.windows import Times, WindowsGuest

SECRETS = DcSecrets(credential=Secret(SECRET), restore_mode=Secret(DSRM), local=Secret(LOCAL))
QUICK = Times(setup=60, specialize=30, first_boot=20, boot=10)
ADMINISTRATOR = "Final-Secret-66"
SPEC = """
[proxmox]
url = "https://127.0.0.1:8006"
node = "pve1"

[[host]]
name = "dc1"
role = "dc"
release = "2022"
edition = "core"
channel = "volume"
windows_iso = "{windows}"
virtio_iso = "{virtio}"
machine = {{ {vmid} }}

[host.dc]
mode = "{mode}"
domain = "ad.example.com"
{keys}

[[host.nic]]
mac = "BC:24:11:AA:00:01"
addresses = ["192.0.2.11/24"]
gateways = ["192.0.2.1"]
{dns}

[[host.data_disk]]
letter = "D"
size_gib = 40
slot = 1
on_reinstall = "fresh"
"""
PARTNER = """partner = "dc2.ad.example.com"
partner_vmid = 102
credential_user = 'AD\\promoter'
"""
OLD = {
    "name": "dc1",
    "ostype": "win11",
    "machine": "pc-q35-9.2+pve1",
    "bios": "ovmf",
    "cpu": "host",
    "cores": "2",
    "memory": "4096",
    "agent": "enabled=1",
    "scsihw": "virtio-scsi-single",
    "serial0": "socket",
    "smbios1": "uuid=11111111-2222-3333-4444-555555555555",
    "onboot": "1",
    "efidisk0": "local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M",
    "tpmstate0": "local-lvm:vm-101-disk-1,size=4M,version=v2.0",
    "net0": "virtio=BC:24:11:AA:00:01,bridge=vmbr0",
    "scsi0": "local-lvm:vm-101-disk-2,discard=on,iothread=1,size=60G",
    "scsi1": "local-lvm:vm-101-disk-3,discard=on,iothread=1,size=40G",
    "boot": "order=scsi0",
}
OUTSIDE = PARTNER.replace("partner_vmid = 102\n", "")
PARTNER_VM = {
    "name": "dc2",
    "boot": "order=scsi0",
    "agent": "1",
    "scsi0": "local-lvm:vm-102-disk-0,size=60G",
}
OLD_DISKS = frozenset(f"local-lvm:vm-101-disk-{number}" for number in range(4))
FOREIGN_ROWS = frozenset({"drained", "last-dns", "backup", "replication", "masters"})


class CrashError(BaseException):
    """Power loss: this process is gone, whatever it was doing."""


def literal(text: str, head: str) -> str:
    """The single-quoted text behind `head`."""
    start = text.index(head) + len(head) + 1
    end = start
    while text[end] != "'" or text[end + 1] == "'":
        end += 2 if text[end] == "'" else 1
    return text[start:end].replace("''", "'")


class NoDomain(World):
    """A network without a domain: the first DC makes it."""

    def __init__(self, **how):
        super().__init__(**how)
        self.objects.clear()
        self.records.clear()
        self.partner.running = False
        self.seen_alive = True  # nobody has to survive

    def _promote_new_forest(self, machine, payload):
        self._secrets(payload)
        if not machine.rotated:
            self.violations.append("promoted with the password of the medium")
        if machine.role == "dc":
            return self._verdict(2)
        code = self._next_result("promote")
        if code <= 4:
            self._become(machine)
        return self._verdict(code)


class DomainGuest(WindowsGuest):
    """Windows whose domain is a World. What is believed is told by the disk that booted."""

    def __init__(self, vm, stage):
        super().__init__(vm, stage.pve, times=QUICK, plans=stage.plans)
        self.stage = stage

    def _apply_image(self, now):
        super()._apply_image(now)
        stage, world = self.stage, self.stage.world
        if world.vm is not None:
            world.vm.running = False
        world.install("dc1")
        first = boot_devices(stage.pve, self.vm.config["boot"])[0]
        windows = self._volume(self.vm.config[first]).windows
        stage.machines[id(windows)] = world.vm
        stage.disks.append(windows)

    def _finish_boot(self, phase):
        super()._finish_boot(phase)
        self.stage.booted(self.vm.vmid, self.windows)


class Stage:
    """The cluster, the domain and the calls; `call()` is a process of its own each time."""

    def __init__(
        self,
        pve,
        discs,
        folder: Path,
        *,
        mode="replacement",
        keys="",
        old="dc",
        partner=PARTNER,
        vmid=0,
        **world,
    ) -> None:
        self.pve, self.folder = pve, folder
        alone = mode == "new-forest"
        self.world = NoDomain(old="none") if alone else World(old=old, **world)
        self.original = self.world.vm
        self.plans, self.events, self.notes, self.shown = Plans(), [], [], []
        self.machines, self.disks, self.calls = {}, [], []
        self.chance, self.numbers = random.Random(3), itertools.count(1)
        self.clock, self.shelf = pve.clock, Shelf()
        self.accepted = FOREIGN_ROWS
        self.interrupts, self.fallen = 0, False
        self.locators = self.root = None  # what can be seen from here; nothing, by default
        self.strike = None  # called before each entry of the journal is written
        for name in dc_scripts():
            self._learn(name)
        windows, virtio = discs["windows-2022-volume"], discs["virtio"]
        for name, path in (("windows.iso", windows), ("virtio-win.iso", virtio)):
            pve.add_iso("local", name, size=path.stat().st_size)
        text = SPEC.format(
            windows=windows,
            virtio=virtio,
            mode=mode,
            keys=keys if alone else partner + keys,
            dns="" if alone else 'dns = ["192.0.2.12"]',
            vmid=f"vmid = {vmid or 101}" if vmid or old != "none" else "",
        )
        self.site = load_site(text, source="s.toml", folder=folder, overrides={}, host=None)
        pve.make_guest = lambda vm: DomainGuest(vm, self)
        made = pve.token("installer@pve", rights(pve.release) | {"Datastore.Allocate"})
        self.token = load_token(f"{made.user}!{made.name}={made.value}", source="test")
        if not alone:
            self._add(102, PARTNER_VM, self.world.partner)
        if self.original is not None:
            self._add(101, OLD, self.original)

    # --- the cluster --------------------------------------------------------------------------

    def _add(self, vmid, config, machine):
        self.pve.add_vm(vmid, config=config)
        for text in config.values():
            volume = self.pve.volume(text.partition(",")[0])
            if volume is not None and "size=" in text:
                volume.size = parse_size(text.partition("size=")[2].partition(",")[0])
        volume = self.pve.volume(config["scsi0"].partition(",")[0])
        volume.stage = "ready"
        account = Account(name="Administrator", rid=500, password="Old-Pass-1!")
        volume.windows = Installed(
            computer_name=config["name"].upper(),
            domain_role=5,
            accounts=[account],
            image_state="IMAGE_STATE_COMPLETE",
        )
        self.machines[id(volume.windows)] = machine
        self.disks.append(volume.windows)
        if machine.running:
            self.api().change("POST", ("nodes", "pve1", "qemu", vmid, "status", "start"), {}, str)
            self.clock.sleep(60)
            self.pve.advance_tasks()

    def booted(self, vmid, windows):
        """A Windows has started: whose disk was it?"""
        machine = self.machines.get(id(windows))
        if vmid == 102 or machine is None or not windows.boots:
            return
        first = self.world.vm is self.original and not self.calls
        if machine is self.original and not first:
            self.world.start_old()
        elif machine is not self.world.vm:
            self.world.violations.append("a disk was booted that was to be kept")
        else:
            self.world.restart()
            machine.running = True

    def sync(self):
        """What the world believes of its machines is what the cluster shows."""
        world = self.world
        for vm in self.pve.vms.values():
            machine = world.partner if vm.vmid == 102 else world.vm
            if machine is None:
                continue
            guest = self.pve.guests.get(vm.vmid)
            windows = guest.windows if guest else None
            machine.running = vm.running and self.machines.get(id(windows)) is machine
            if windows is not None and self.machines.get(id(windows)) is machine:
                names = [name for name, _ in windows.effects]
                machine.rotated = machine.rotated or "rotate" in names

    def _learn(self, name):
        script = load_dc_script(name)
        plan = next(
            (
                plan
                for plan in (
                    make_plan(),
                    make_plan("rodc", 'site = "HQ"\n'),
                    make_plan("new-forest"),
                )
                if name.endswith(kind_of(plan.mode))
            ),
            make_plan(),
        )
        learn_script(
            script.name,
            script.text,
            lambda guest, windows, values: self._effect(name, guest, windows, values),
            payload=set(make_payload(name, plan, SECRETS)),
            question=script.question,
        )

    def _effect(self, name, guest, windows, values):
        self.sync()
        machine = self.machines.get(id(windows))
        try:
            told = self.world.answer(name, machine, values)
        except (ScriptError, LostError) as error:
            raise ThrownError(str(error)) from None
        if machine is not None and machine.role == "dc":
            windows.domain_role = 5
        return told

    def pause(self, seconds: float) -> None:
        """Time passes in pauses only; Ctrl-C arrives in one."""
        if self.interrupts:
            self.interrupts -= 1
            raise Interrupted
        self.clock.sleep(seconds)

    def vm(self):
        """The VM that is or becomes the DC."""
        return next((vm for vm in self.pve.vms.values() if vm.vmid != 102), None)

    def mend(self):
        """Somebody switches on what an accident has switched off."""
        self.pve.faults.clear()
        if not self.pve.vms[102].running:
            self.api().change("POST", ("nodes", "pve1", "qemu", 102, "status", "start"), {}, str)
        vm, machines = self.vm(), self.machines
        if self.fallen and vm is not None and not vm.running and "scsi0" in vm.config:
            volume = self.pve.volume(vm.config["scsi0"].partition(",")[0])
            if machines.get(id(volume.windows)) is self.world.vm is not self.original:
                call = ("nodes", "pve1", "qemu", vm.vmid, "status", "start")
                self.api().change("POST", call, {}, str)
        self.fallen = False
        self.clock.sleep(60)
        self.pve.advance_tasks()

    def befall(self, accident):
        """Something happens that nobody asked for."""
        vm = self.vm()
        guest = self.pve.guests.get(vm.vmid) if vm else None
        match accident:
            case "crash":
                raise CrashError
            case "ctrl-c":
                self.interrupts = 1
            case "partner lost" if self.pve.vms[102].running:
                self.pve.stop_from_inside(self.pve.vms[102])
            case "agent away" if guest:
                guest.silence(300)
            case "agent lost" if guest:
                guest.silence(2000)
            case "restart" if guest and guest.windows is not None:
                guest.power_on(self.clock())
            case "new one off" if vm and vm.running and self.world.installs:
                self.pve.stop_from_inside(vm)
                self.fallen = True  # and not because winseed wants it off
            case "answers lost":
                self.pve.faults.fail("POST */agent/exec", moment="after", answer=596, times=2)
            case "calls lost":
                self.pve.faults.fail("POST *", answer=595, times=3)

    # --- the calls ----------------------------------------------------------------------------

    def api(self) -> Api:
        connection = make_connection(self.pve.url, self.token, CaFile(path=Path(self.pve.ca_file)))
        clock = Clock(now=self.clock, pause=self.pause, jitter=self.chance.random)
        return Api(connection, clock, timeout=(5.0, 5.0))

    def shop(self) -> Workshop:
        api = self.api()
        witness = Witness(
            emit=self.events.append,
            poll=StatePoll(api),
            slots=AgentSlots(),
            serial=no_serial,
            look=lambda *_: None,
        )
        return Workshop(api=api, limits=Limits(), witness=witness)

    @property
    def home(self) -> Path:
        return self.folder / "dist" / "dc1"

    def entropy(self) -> Entropy:
        return Entropy(
            token=lambda size: f"{next(self.numbers):0{2 * size}x}",
            password=lambda: Secret(f"Drawn-Pass-{next(self.numbers)}!"),
            now=lambda: 1_700_000_000 + int(self.clock()),
        )

    def run(self, verb="reinstall", *, again=False, undo=False, allow=True) -> DcRun:
        (host,) = self.site.hosts
        plan = make_dc_plan(host, site=self.site.spec.name)
        begin = take_up_change if again or undo else begin_change
        case = Case(
            host=host,
            proxmox=self.site.proxmox,
            site=self.site.spec.name,
            folder=self.home,
            shelf=self.shelf,
            administrator=Secret(ADMINISTRATOR),
            accounts={},
            join_blob=None,
            version="0",
        )
        entropy = self.entropy()
        journal = begin(self.home, plan, verb, entropy)
        if self.strike is not None:
            journal.add = self._striking(journal.add)
        shop = self.shop()
        run = DcRun(
            shop=shop,
            case=case,
            plan=plan,
            journal=journal,
            entropy=entropy,
            secrets=dataclasses.replace(SECRETS, local=Secret("")),
            media=MediaFacts(evaluation=False),
            policy=Policy(allow_partner=allow, undo=undo),
            accepted=self.accepted,
            show=self.shown.append,
            note=self.notes.append,
            warn=self.notes.append,
            tell=make_teller(shop, "dc1"),
            outlook=Outlook(
                answers=lambda place, port: self.old_answers(),
                locators=lambda server, domain: self.locators,
                root=lambda place: self.root,
            ),
            patience=300.0,
        )
        if again:
            resume(run)
        return run

    def _striking(self, add):
        def strike(entry):
            self.strike("before", entry)
            add(entry)
            self.strike("after", entry)

        return strike

    def call(self, verb="reinstall", *, yes="dc1.ad.example.com", **how):
        """One call of the command: its outcome, None when the process died."""
        self.calls.append(how)
        try:
            run = self.run(verb, **how)
        except CrashError:
            return None
        try:
            while True:
                ending = carry_on(run)
                if not isinstance(ending, Ask) or yes is None:
                    return outcome_of(run, ending)
                confirm(run, yes)
        except WinseedError as error:
            return broken_off(run, error)
        except Interrupted:
            return broken_off(run, None)
        except CrashError:
            return None

    def old_answers(self) -> bool:
        """Whether something listens in the place of the old DC."""
        self.sync()
        vm = self.world.vm
        return vm is not None and vm.running

    def person(self):
        """Runs every script that lies in the partner's folder, there; what it changed."""
        done = []
        for path in sorted((self.home / "partner").glob("*.ps1")):
            text = path.read_text(encoding="utf-8-sig")
            assert not parse(text).has_error, path
            payload = json.loads(literal(text, "DeserializeObject("))
            nonce = literal(text, "nonce = ")
            self.sync()
            told = {"version": 1, "nonce": nonce, "code": 0, "message": "", "values": {}}
            try:
                told["values"] = self.world.answer(path.stem, self.world.partner, payload)
            except (ScriptError, LostError) as error:
                told |= {"code": 1, "message": str(error)}
            told["time"] = 1_700_000_000 + int(self.clock())
            path.with_suffix(".json").write_text(json.dumps(told))
            path.unlink()
            done.append(path.stem)
        return done

    # --- what is to hold whatever happens -----------------------------------------------------

    def texts(self):
        """Everything that is written or sent where a secret has no business."""
        for request in self.pve.requests:
            params = {key: value for key, value in request.params.items() if key != "input-data"}
            yield f"{request.method} {request.path} {params}"
        for event in self.events:
            yield repr(event)
        yield from self.notes
        for path in self.home.rglob("*"):
            if path.is_file() and not path.name.endswith(".password"):
                yield path.read_bytes().decode("latin-1")

    def check(self):
        """What no fault may break."""
        assert self.world.violations == []
        for text in self.texts():
            for secret in (SECRET, DSRM, ADMINISTRATOR, "Drawn-Pass"):
                assert secret not in text, (secret, text[:300])
