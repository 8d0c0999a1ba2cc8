"""An engine of a few lines: does what the machine says in a World, through the real loaders and
judges, and is struck by faults. What it would write to a journal is all it keeps."""

import dataclasses
import json

from builder.domain.cases import Case
from builder.domain.facts import (
    DcFacts,
    MediaFacts,
    SecretFacts,
    VmFacts,
    load_clean,
    load_off,
    load_partner,
    load_target,
)
from builder.domain.findings import Level
from builder.domain.health import (
    judge_clean,
    judge_health,
    judge_host,
    judge_off,
    load_health,
    load_host,
    load_result,
    load_seen,
)
from builder.domain.machine import (
    Ask,
    BootOld,
    Finish,
    Halt,
    Look,
    Perform,
    Policy,
    Restart,
    Wait,
    next_step,
)
from builder.domain.plan import DcPlan, Mode
from builder.domain.preflight import Held, judge_preflight
from builder.domain.state import (
    DcState,
    Entry,
    JournalEntry,
    OldStarted,
    Restarted,
    Resumed,
    Standing,
    replay,
)
from builder.domain.steps import Step
from tests.domain.world import DSRM, LOCAL, SECRET, LostError, ScriptError, World


class CrashError(Exception):
    """Power loss or Ctrl-C: this process is gone."""


@dataclasses.dataclass
class Run:
    """A run over any number of calls. `faults` are taken one an effect: "before" and "after" kill
    the process around it, a call of the world's own faults happens before it."""

    world: World
    plan: DcPlan
    policy: Policy = dataclasses.field(default_factory=lambda: Policy(allow_partner=True))
    accepted: frozenset[str] = frozenset()
    faults: list = dataclasses.field(default_factory=list)
    typed: str = ""
    now: int = 1_700_000_000
    entries: list[JournalEntry] = dataclasses.field(default_factory=list)
    effects: list[Step] = dataclasses.field(default_factory=list)
    by_hand: bool = True
    ask: object = None

    @property
    def state(self) -> DcState:
        return replay(self.plan, self.entries)

    def write(self, step: Step, standing: Standing, **told) -> None:
        self.entries.append(Entry(step=step, standing=standing, at=self.now, **told))

    def call(self, limit: int = 200):
        """One call of the command, until it ends: the action it ended with, None for a crash."""
        if self.entries:
            self.entries.append(Resumed(at=self.now))
        for _ in range(limit):
            self.now += 30
            action = next_step(self.state, self.policy, self.now)
            try:
                if self.obey(action):
                    return action
            except CrashError:
                return None
        raise AssertionError(f"it does not come to an end: {action}")

    def obey(self, action) -> bool:
        """Do what the machine says; whether this call is over."""
        match action:
            case Perform(step=step):
                self.write(step, Standing.INTENDED)
                self.effect(step)
            case Look(step=step):
                self.look(step)
            case Ask(expected=expected):
                self.write(Step.CONFIRM, Standing.DONE, typed=self.typed or expected)
            case Restart(before=step):
                self.world.restart()
                self.entries.append(Restarted(step=step, at=self.now))
            case BootOld():
                self.world.start_old()
                self.entries.append(OldStarted(at=self.now))
                return True
            case Wait(step=step):
                self.write(step, Standing.WAITING)
                return True
            case Halt() | Finish():
                return True
        return False

    def person(self, step: Step) -> None:
        """A person at the partner who does what was shown."""
        self.script(step)

    # --- effects ------------------------------------------------------------------------------

    def effect(self, step: Step) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if callable(fault):
            fault(self.world)
        if fault == "before":
            raise CrashError
        self.effects.append(step)
        try:
            told = self.script(step)
        except (LostError, ScriptError) as error:
            if fault == "after":
                raise CrashError from None
            self.write(step, Standing.FAILED, reason=f"{type(error).__name__}: {error}")
            return
        if fault == "after":
            raise CrashError
        standing = told.pop("standing", Standing.DONE)
        self.write(step, standing, **told)

    def look(self, step: Step) -> None:
        """The query that finds an effect; guests keep results, so the same call is made again."""
        vm, world = self.world.vm, self.world
        name = self.plan.host
        there = {
            Step.MOVE_ROLES: lambda: name not in world.roles.values(),
            Step.SEIZE_ROLES: lambda: name not in world.roles.values(),
            Step.DEMOTE: lambda: vm is not None and vm.role != "dc",
            Step.POWER_OFF: lambda: vm is None or not vm.running,
            Step.CLEAN_METADATA: lambda: not world.objects.get(name),
            Step.CLEAN_DNS: lambda: (
                not any(self.plan.fqdn in (record[1], record[2]) for record in world.records)
            ),
            Step.STAGE: lambda: "staged" in world.objects.get(name, ()),
            Step.INSTALL: lambda: vm is not None and vm.role == "server" and not vm.features,
            Step.ROTATE: lambda: vm is not None and vm.rotated,
            Step.ADD_ROLE: lambda: vm is not None and bool(vm.features),
            Step.PROMOTE: lambda: vm is not None and vm.role == "dc",
            Step.REBOOT: lambda: vm is not None and vm.restarted,
            Step.ROLES_BACK: lambda: False,
            Step.SET_DNS: lambda: False,
            Step.SCRUB: lambda: False,
        }[step]()
        if step is Step.PROMOTE and vm is not None and vm.half_made:
            self.write(step, Standing.FAILED, result=53, reason="found half-made")
        else:
            self.write(step, Standing.DONE if there else Standing.UNDONE)

    def script(self, step: Step) -> dict:
        """Do a step and tell how it ended."""
        own = {
            Step.PREFLIGHT: self.preflight,
            Step.PROVE_OFF: self.prove_off,
            Step.VERIFY_CLEAN: self.verify_clean,
            Step.CHECK_HOST: self.check_host,
            Step.VERIFY: self.verify,
        }
        if step in own:
            return own[step]()
        kind = "rodc" if self.plan.mode is Mode.RODC else "additional"
        numbered = {
            Step.DEMOTE: "demote",
            Step.TEST: f"test-{kind}",
            Step.PROMOTE: f"promote-{kind}",
        }
        if step in numbered:
            name = numbered[step]
            result = load_result(f"dc/{name}", self.on_vm(name)).result
            return {
                "result": result,
                "standing": Standing.DONE if 1 <= result <= 4 else Standing.FAILED,
            }
        plain = {
            Step.POWER_OFF: self.world.power_off,
            Step.INSTALL: lambda: self.world.install(self.plan.host),
            Step.ROTATE: self.world.rotate,
            Step.REBOOT: self.world.restart,
            Step.MOVE_ROLES: lambda: self.on_partner("transfer-roles"),
            Step.ROLES_BACK: lambda: self.on_partner(
                "transfer-roles", **{"from": "dc2", "to": self.plan.host}
            ),
            Step.ADD_ROLE: lambda: self.on_vm("add-role"),
            Step.SET_DNS: lambda: self.on_vm("set-dns-client"),
            Step.SCRUB: lambda: self.on_vm("scrub-media"),
            Step.REPORT: lambda: None,
        }
        plain.get(step, lambda: self.on_partner(step.value))()
        return {}

    def prove_off(self) -> dict:
        return self.judged(judge_off(self.plan, load_off(self.on_partner("prove-off"))))

    def verify_clean(self) -> dict:
        return self.judged(judge_clean(self.plan, load_clean(self.on_partner("verify-clean"))))

    def check_host(self) -> dict:
        return self.judged(judge_host(self.plan, load_host(self.on_vm("check-host"))))

    def verify(self) -> dict:
        health = load_health(self.on_vm("verify"))
        seen = load_seen(self.on_partner("verify-partner"))
        return self.judged(judge_health(self.plan, health, seen, partners=1))

    def payload(self) -> dict:
        plan = self.plan
        return {
            "target": plan.host,
            "host": plan.host,
            "from": plan.host,
            "to": "dc2",
            "fqdn": plan.fqdn,
            "addresses": list(plan.addresses),
            "cards": [{"mac": card.mac, "dns": list(card.servers)} for card in plan.cards],
            "paths": [plan.paths.database, plan.paths.logs, plan.paths.sysvol],
            "user": plan.user,
            "password": SECRET,
            "dsrm_password": DSRM,
            "local_password": LOCAL,
        }

    def on_partner(self, script: str, **more) -> dict:
        return self.run(script, self.world.partner, self.payload() | more)

    def on_vm(self, script: str) -> dict:
        return self.run(script, self.world.vm, self.payload())

    def run(self, script: str, machine, payload: dict) -> dict:
        if self.ask is not None:
            return self.ask(script, machine, payload)
        return json.loads(json.dumps(self.world.answer(script, machine, payload)))

    def judged(self, findings) -> dict:
        bad = [finding for finding in findings if finding.level is Level.HARD]
        reason = "; ".join(finding.what for finding in bad)
        return {"standing": Standing.FAILED if bad else Standing.DONE, "reason": reason}

    def preflight(self) -> dict:
        facts = self.facts()
        found = judge_preflight(self.plan, facts, self.accepted, again=bool(self.state.rounds))
        held = found.held is Held.YES
        return {
            "case": found.choice.case,
            "held": held,
            "reason": "; ".join(finding.what for finding in found.blocking),
            "standing": Standing.DONE if held else Standing.FAILED,
        }

    def facts(self) -> DcFacts:
        try:
            partner = load_partner(self.on_partner("preflight-partner"))
        except (LostError, ScriptError):
            partner = None
        try:
            target = load_target(self.on_vm("preflight-target"))
        except (LostError, ScriptError):
            target = None
        vm = self.world.vm
        return DcFacts(
            partner=partner,
            target=target,
            vm=VmFacts(
                vmid=101,
                running=vm.running,
                generation="guid",
                replicated=False,
                snapshots=(),
                caches=(("scsi0", "none"),),
                time_zone="UTC",
            )
            if vm
            else None,
            media=MediaFacts(evaluation=False),
            secrets=SecretFacts(restore_mode=True, credential=True),
        )


CASES = {"dc": Case.GRACEFUL, "dead": Case.DEAD, "cut off": Case.DEAD, "none": Case.NEW}
