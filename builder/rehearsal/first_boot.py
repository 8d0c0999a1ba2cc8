"""Stage 11, after Setup: guest agent, services, update policy, and what keeps a failure silent.

Sources: at the rules. What winseed's own scripts do is told by the manifest (`Planned`); what other
answer files do is read from their commands and the batch files these call.
"""

import re
from collections.abc import Iterator

from builder.errors import ExitCode
from builder.machine import AgentKind
from builder.rehearsal.answer_file import AnswerFile
from builder.rehearsal.facts import DiscKind, Facts
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown

AGENT = "qemu-ga"
TOOLS = ("virtio-win-guest-tools", "virtio-win-gt-x64")
AGENT_SOURCE = "Pumba98/proxmox-packer-templates#180; tp-qemu#2728"
NO_AUTO_UPDATE = re.compile(r"NoAutoUpdate\W[^&|]{0,60}/d\s+\"?(?:0x0*)?1\b", re.IGNORECASE)
USE_WSUS = re.compile(r"UseWUServer\W[^&|]{0,60}/d\s+\"?(?:0x0*)?1\b", re.IGNORECASE)
UPDATE_SOURCE = (
    "learn.microsoft.com, Manage additional Windows Update settings; "
    "rgl/windows-vagrant disable-windows-updates.ps1"
)


def rehearse_first_boot(facts: Facts, answer: AnswerFile) -> Stage:
    """What the VM is like when Setup has ended."""
    texts = guest_texts(facts, answer)
    steps = [*_agent(facts, texts), *_first_boot(facts), *_updates(facts, texts)]
    steps += _logon(answer)
    steps += _errors(facts, texts)
    return Stage(key="first-boot", title="First boot", steps=tuple(steps))


def guest_texts(facts: Facts, answer: AnswerFile) -> str:
    """Every command, and every batch file on the answer disc."""
    scripts = facts.answer_disc.scripts.values() if facts.answer_disc else ()
    return "\n".join((*(one.text for one in answer.commands), *scripts))


def _agent(facts: Facts, texts: str) -> Iterator[Step]:
    if facts.machine.agent is AgentKind.NONE:
        yield risk(
            "first-boot.agent",
            "the VM has no agent option: Proxmox VE never sees the guest agent",
            fix="qm set VMID --agent 1, then stop and start",
            source="packer-plugin-proxmox#64; ans-pve-win-templ#2, #4",
        )
        return
    if facts.planned is not None:
        wanted = "agent" in facts.planned.steps
    else:
        wanted = AGENT in texts.lower() or any(name in texts.lower() for name in TOOLS)
    if not wanted:
        yield risk(
            "first-boot.agent",
            "nothing installs the guest agent, and the VM waits for one",
            fix="install qemu-ga-x86_64.msi after Setup",
            source=AGENT_SOURCE,
        )
        return
    # winseed takes it from the disc it carries the drivers on
    own = facts.answer_disc if facts.planned is not None else None
    discs = sorted((disc for _, disc in facts.discs), key=lambda disc: disc is not own)
    held = [disc.name for disc in discs if _has_agent(disc.files)]
    if held:
        yield passed("first-boot.agent", f"the guest agent is installed from {held[0]}")
    elif facts.unread or facts.planned is None:
        yield unknown("first-boot.agent", "the agent's MSI is on no disc that was read")
    else:
        yield stop(
            "first-boot.agent",
            "the first boot installs the guest agent, and no disc has its MSI",
            code=ExitCode.MEDIA,
            fix="mount the virtio-win ISO that the answer ISO was made for",
        )


def _has_agent(files: frozenset[str]) -> bool:
    names = (path.rpartition("/")[2] for path in files)
    return any(name.startswith((AGENT, *TOOLS)) for name in names)


def _first_boot(facts: Facts) -> Iterator[Step]:
    if facts.planned is None:
        return
    yield risk(
        "first-boot.steps",
        f"SetupComplete.cmd runs {len(facts.planned.steps)} steps: "
        f"{', '.join(facts.planned.steps)}; a start-up task repeats them if it did not",
        source="learn.microsoft.com, Add a custom script to Windows Setup",
        beliefs=("FT07",),
    )


def _updates(facts: Facts, texts: str) -> Iterator[Step]:
    off, wsus = bool(NO_AUTO_UPDATE.search(texts)), bool(USE_WSUS.search(texts))
    if off and wsus:
        yield risk(
            "first-boot.updates",
            "NoAutoUpdate=1 and a WSUS server: with updates off the server has no effect",
            fix="write one of them",
            source=UPDATE_SOURCE,
        )
    elif facts.planned is not None:
        beliefs = ("FT08", "FT13") if facts.planned.updates == "disabled" else ("FT13",)
        yield risk(
            "first-boot.updates",
            f"updates: {facts.planned.updates}, by policies that are expected to hold",
            source=UPDATE_SOURCE,
            beliefs=beliefs,
        )
    elif off:
        yield risk(
            "first-boot.updates",
            "NoAutoUpdate=1 is reported not to work any more; read the policy back",
            why="a feature update to another Server release may still be offered",
            source=UPDATE_SOURCE,
            beliefs=("FT13",),
        )
    else:
        yield passed("first-boot.updates", "no update policy: the defaults of Windows hold")


def _logon(answer: AnswerFile) -> Iterator[Step]:
    if answer.auto_logon:
        yield risk(
            "first-boot.logon",
            "AutoLogon leaves a password in the registry, and counts one logon more than it says",
            fix="use SetupComplete.cmd, or clear Winlogon and set AutoLogonCount to 0",
            source="cschneegans/unattend-generator#229, #262",
        )


def _errors(facts: Facts, texts: str) -> Iterator[Step]:
    """A fatal error shows a dialog that waits for ever, without ErrorHandler.cmd."""
    handled = "errorhandler.cmd" in texts.lower() or any(
        path.endswith("/errorhandler.cmd")
        for _, disc in facts.discs
        if disc.kind is not DiscKind.WINDOWS
        for path in disc.files
    )
    if handled:
        yield passed(
            "first-boot.errors",
            "ErrorHandler.cmd reports a fatal error of the installed system",
            source="learn.microsoft.com, Add a custom script to Windows Setup",
        )
    else:
        yield risk(
            "first-boot.errors",
            "no ErrorHandler.cmd: a fatal error shows a dialog that waits for a click",
            fix=r"deliver %WINDIR%\Setup\Scripts\ErrorHandler.cmd",
            source="learn.microsoft.com, Add a custom script to Windows Setup",
        )
