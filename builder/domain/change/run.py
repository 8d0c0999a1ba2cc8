"""A change to a domain under way: what it may use, what it remembers, and whom it can ask."""

import dataclasses
from collections.abc import Callable, Mapping

from builder.domain.calls import DcSecrets, call_dc, make_payload
from builder.domain.change.by_hand import AwaitedError, take_answer
from builder.domain.change.journal import DcJournal
from builder.domain.change.outlook import Outlook
from builder.domain.facts import MediaFacts
from builder.domain.machine import Policy
from builder.domain.plan import DcPlan
from builder.domain.preflight import Preflight
from builder.domain.state import DcState, Entry, JournalEntry, Standing
from builder.domain.steps import Step
from builder.domain.survey import find_vm
from builder.errors import ExitCode, WinseedError
from builder.guest.call import GuestError, GuestTrouble, call_guest
from builder.guest.envelope import Json, load_script
from builder.install.jobs import Workshop
from builder.install.journal import Journal, load_journal
from builder.install.opening import Case, Entropy
from builder.proxmox.agent import GuestAgent
from builder.proxmox.api import Api
from builder.proxmox.facts import Guest
from builder.proxmox.failures import PveError
from builder.proxmox.inventory import inspect_guests
from builder.record import record

QUICK = 600.0  # seconds
HIDDEN = "***"


@record
class DcRun:
    """One call on one host. `tell` gets the steps, `show` each preflight as it was judged, `note`
    lines for people and `warn` those that need a look.

    `outlook`: what can be seen of the domain from here.
    `retry`: seconds between two looks at what takes its time; `patience`: how long they go on.
    """

    shop: Workshop
    case: Case
    plan: DcPlan
    journal: DcJournal
    entropy: Entropy
    secrets: DcSecrets
    media: MediaFacts
    policy: Policy
    accepted: frozenset[str]
    tell: Callable[[str], None]
    show: Callable[[Preflight], None]
    note: Callable[[str], None]
    warn: Callable[[str], None]
    outlook: Outlook
    retry: float = 30.0
    patience: float = 3600.0

    @property
    def api(self) -> Api:
        """The cluster."""
        return self.shop.api

    @property
    def state(self) -> DcState:
        """How the change stands."""
        return self.journal.state

    @property
    def call(self) -> str:
        """The call that this is."""
        return f"winseed dc {self.journal.record.verb} {self.plan.host}"

    def say(self, text: str) -> None:
        """Tell what happens now."""
        self.tell(text)

    def write(
        self, step: Step, standing: Standing, *, result: int | None = None, reason: str = ""
    ) -> None:
        """Write how a step stands now."""
        now = self.entropy.now()
        self.add(Entry(step=step, standing=standing, at=now, result=result, reason=reason))

    def add(self, entry: JournalEntry) -> None:
        """Write an entry, without any secret that an error may have carried."""
        if isinstance(entry, Entry) and entry.reason:
            entry = dataclasses.replace(entry, reason=self.masked(entry.reason))
        self.journal.add(entry)

    def masked(self, text: str) -> str:
        """`text` without a secret of this run."""
        for secret in (self.secrets.credential, self.secrets.restore_mode, self.secrets.local):
            if secret.reveal():
                text = text.replace(secret.reveal(), HIDDEN)
        return text

    def engine(self) -> Journal | None:
        """The journal of the installation that this change began last, None before one."""
        installs = self.journal.record.installs
        found = load_journal(self.case.folder)
        if found is None or not installs or found.state.run != installs[-1]:
            return None
        return found


def target_vm(run: DcRun) -> Guest | None:
    """The VM of the change: the one that its installation made or took, else by the plan.

    Raises WinseedError (UNSAFE) when the VM is called otherwise.
    """
    guests = inspect_guests(run.api)
    engine = run.engine()
    vmid = engine.state.vmid if engine is not None else 0
    made = [guest for guest in guests if vmid and guest.vmid == vmid]
    found = made[0] if made else find_vm(guests, run.plan)
    if found is not None and found.name.casefold() != run.plan.host.casefold():
        raise WinseedError(
            f"VM {found.vmid} is called {found.name or 'nothing'}, not {run.plan.host}",
            code=ExitCode.UNSAFE,
            hint="set machine.vmid to the VM that is meant",
        )
    return found


def target_agent(run: DcRun) -> GuestAgent:
    """The agent in the VM of the change. Raises WinseedError when there is no VM."""
    guest = target_vm(run)
    if guest is None:
        raise WinseedError(
            f"there is no VM of {run.plan.host}",
            code=ExitCode.UNSAFE,
            hint="does somebody else delete VMs here?",
        )
    return GuestAgent(api=run.api, node=guest.node, vmid=guest.vmid)


def partner_agent(run: DcRun) -> GuestAgent:
    """The agent of the partner. Raises WinseedError (SPEC) when it is no VM of this cluster."""
    partner = run.plan.partner
    vmid = partner.vmid if partner else 0
    found = [guest for guest in inspect_guests(run.api) if vmid and guest.vmid == vmid]
    if not found:
        name = partner.name if partner else "the partner"
        what = f"there is no VM {vmid} for {name}, or the token may not see it"
        raise WinseedError(what, code=ExitCode.SPEC, hint="correct dc.partner_vmid")
    return GuestAgent(api=run.api, node=found[0].node, vmid=vmid)


def ask_target(run: DcRun, script: str, step: Step) -> Mapping[str, Json]:
    """A script in the VM of the change; the same try of a step never runs twice."""
    payload = make_payload(script, run.plan, run.secrets, accepted=run.accepted)
    return call_dc(target_agent(run), script, id=call_id(run, script, step), payload=payload)


def ask_partner(
    run: DcRun, script: str, step: Step, *, back: tuple[str, ...] = ()
) -> Mapping[str, Json]:
    """A script on the partner. `back`: the roles that the new DC gets back.

    Raises AwaitedError where a person has to run it.
    """
    if run.plan.partner is not None and not run.plan.partner.inside:
        question = call_id(run, script, step, answers=True)
        folder = run.case.folder
        return take_answer(folder, run.plan, script, question, now=run.entropy.now())
    payload = make_payload(script, run.plan, run.secrets, accepted=run.accepted, back=back)
    return call_dc(partner_agent(run), script, id=call_id(run, script, step), payload=payload)


def call_id(run: DcRun, script: str, step: Step, *, answers: bool = False) -> str:
    """The id of a call: one for each try of a step, the same from wherever it is taken up.

    `answers`: every answer counts as one, for what is asked anew each time.
    """
    attempt = run.journal.attempt(step, answers=answers)
    return f"{run.journal.record.run}-{step.value}-{script}-{attempt}"


def forget_results(agent: GuestAgent) -> None:
    """Take the results of our calls away from a guest. Raises WinseedError."""
    script = load_script("remove")
    result = call_guest(agent, script, id="remove", payload={}, timeout=QUICK)
    if result.code:
        what = f"`remove` failed: {result.message}"
        raise GuestError(what, trouble=GuestTrouble.FAILED, script=script.name)


def may_have_happened(error: WinseedError) -> bool:
    """Whether a step that ended with `error` has to be looked for before it is tried again."""
    if isinstance(error, GuestError):
        return error.trouble is GuestTrouble.SILENT
    return isinstance(error, PveError | AwaitedError)
