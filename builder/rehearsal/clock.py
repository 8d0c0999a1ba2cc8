"""Stage 10, the clock: the answer file's time zone against the clock that the VM shows.

Windows reads the hardware clock as local time of its own zone. Proxmox VE shows local time of the
node when `localtime` is on, which is its default for guest types of Windows (qm.conf(5)).
"""

from builder.errors import ExitCode
from builder.rehearsal.answer_file import AnswerFile
from builder.rehearsal.facts import Facts
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown
from builder.tables import windows_zone

SOURCE = "proxmox/qemu-server, localtime in qm.conf(5)"
WINDOWS_TYPES = ("win", "w2k", "wxp", "wvista")


def rehearse_clock(facts: Facts, answer: AnswerFile) -> Stage:
    """The zone's name, and whether the first hours run on the right time."""
    return Stage(key="clock", title="Clock", steps=(_zone(answer), _hardware(facts, answer)))


def _zone(answer: AnswerFile) -> Step:
    if not answer.time_zone:
        return passed("clock.zone", "no time zone is given: the image's own holds")
    try:
        known = windows_zone(answer.time_zone)
    except ValueError as error:
        return stop(
            "clock.zone",
            f"{error}: Setup does not know it",
            code=ExitCode.ANSWER,
            fix="take a name of tzutil /l",
            source="unattended setup reference, Microsoft-Windows-Shell-Setup TimeZone",
        )
    if known.casefold() != answer.time_zone.casefold():
        return stop(
            "clock.zone",
            f"{answer.time_zone!r} is no Windows name; it means {known!r}",
            code=ExitCode.ANSWER,
            fix=f"write {known}",
            source="unattended setup reference, Microsoft-Windows-Shell-Setup TimeZone",
        )
    return passed("clock.zone", f"the time zone is {known}")


def _hardware(facts: Facts, answer: AnswerFile) -> Step:
    local = facts.local_clock
    if local is None:
        local = facts.machine.ostype.startswith(WINDOWS_TYPES)
    zone = answer.time_zone or "the image's zone"
    if not local and zone != "UTC":
        return risk(
            "clock.hardware",
            f"the VM's clock shows UTC, and Windows takes it for {zone}: off until time is synced",
            fix="qm set VMID --localtime 1",
            source=SOURCE,
        )
    if local:
        return unknown(
            "clock.hardware",
            f"the VM's clock shows the node's local time; right at once if the node is in {zone}",
            source=SOURCE,
        )
    return passed("clock.hardware", "clock and zone are UTC", source=SOURCE)
