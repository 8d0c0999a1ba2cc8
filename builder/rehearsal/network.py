"""Stage 9, specialize: addresses against the cards of the VM, and the clock against its zone.

Unattended setup reference, Microsoft-Windows-TCPIP Interface: Identifier is an alias, an index or a
MAC address with hyphens. An alias depends on the order in which Windows finds the cards.
"""

import re
from collections.abc import Iterator

from builder.errors import ExitCode
from builder.rehearsal.answer_file import AnswerFile, Interface
from builder.rehearsal.facts import Facts
from builder.rehearsal.model import Stage, Step, passed, risk, stop, unknown

MAC = re.compile(r"[0-9A-F]{2}([-:][0-9A-F]{2}){5}", re.IGNORECASE)
SOURCE = "unattended setup reference, Microsoft-Windows-TCPIP Interface Identifier"
REPORTS = "nutanix-cloud-native/packer-plugin-nutanix#189; vSphereAutoLab#23"


def rehearse_network(facts: Facts, answer: AnswerFile) -> Stage:
    """Every card that the answer file names, and cards that the plan expects."""
    steps = [step for card in answer.interfaces for step in _interface(facts, card, "address")]
    named = {card.identifier.upper() for card in answer.interfaces}
    steps += [
        step
        for card in answer.dns_interfaces
        if card.identifier.upper() not in named
        for step in _interface(facts, card, "DNS setting")
    ]
    if not facts.machine.nics:
        steps.append(risk("network.none", "the machine has no network card"))
    elif not answer.interfaces:
        steps.append(passed("network.dhcp", "no static address: the cards use DHCP"))
    steps += _planned(facts)
    return Stage(key="network", title="Network", steps=tuple(steps))


def _interface(facts: Facts, card: Interface, what: str) -> Iterator[Step]:
    shown = ", ".join(card.addresses) or what
    if not MAC.fullmatch(card.identifier):
        yield risk(
            "network.alias",
            f"{shown} goes to the card called {card.identifier!r}, and names depend on the order "
            "in which Windows finds the cards",
            fix="name the card by its MAC address with hyphens",
            source=REPORTS,
        )
        return
    if ":" in card.identifier:
        yield stop(
            "network.form",
            f"{card.identifier} is no Identifier: a MAC address is written with hyphens here",
            code=ExitCode.ANSWER,
            fix=f"write {card.identifier.replace(':', '-')}",
            source=SOURCE,
        )
        return
    wanted = card.identifier.replace("-", ":").upper()
    macs = {nic.mac.upper(): nic for nic in facts.machine.nics if nic.mac}
    if wanted in macs:
        yield passed("network.mac", f"{shown} goes to {macs[wanted]} ({wanted})", source=SOURCE)
    elif any(nic.mac is None for nic in facts.machine.nics):
        what = f"{shown} is for {wanted}; the configuration does not tell every MAC address"
        yield unknown("network.mac", what, fix="give the output of qm config")
    else:
        have = ", ".join(macs) or "none"
        yield stop(
            "network.mac",
            f"{shown} is for {wanted}, and the VM has {have}: it comes up without that {what}",
            code=ExitCode.ANSWER,
            fix=f"qm set VMID --net0 virtio={wanted},bridge=...",
            source=REPORTS,
        )


def _planned(facts: Facts) -> Iterator[Step]:
    if facts.planned is None:
        return
    have = {nic.mac.upper() for nic in facts.machine.nics if nic.mac}
    missing = [mac for mac in facts.planned.expects_macs if mac.upper() not in have]
    if missing and have:
        yield risk(
            "network.planned",
            f"the answer ISO was made for a VM with {', '.join(missing)}",
            fix="is it the right VM?",
        )
