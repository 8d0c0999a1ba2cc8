"""What a plan rests on without a witness: the beliefs that apply, each a risk with its id."""

import dataclasses
import functools
import tomllib
from collections.abc import Mapping

from builder import resources
from builder.plan.carrier import (
    AppliedImage,
    HyperVDisc,
    SetupShare,
    WdsServer,
    is_disc,
    on_boot_network,
)
from builder.plan.model import ImageByName, OfflineJoin, Plan, Risk
from builder.releases import Release
from builder.values import Bus, Delivery


def with_beliefs(plan: Plan, release: Release, *, assumption: str) -> Plan:
    """`plan` with a risk for each belief that it rests on, before those it has already."""
    risks = tuple(make_risk(belief) for belief in _applying(plan, release, assumption=assumption))
    return dataclasses.replace(plan, risks=(*risks, *plan.risks))


def _applying(plan: Plan, release: Release, *, assumption: str) -> tuple[str, ...]:
    storage = plan.disk.bus is not Bus.SATA and bool(plan.drivers.boot_packages)
    on_disc = is_disc(plan.carrier)
    ways = plan.drivers.deliveries
    pinned = any(policy.name == "TargetReleaseVersion" for policy in plan.updates.policies)
    applies = {
        "FT01": on_disc and storage and Delivery.DRIVER_PATHS in ways,
        "FT02": storage and Delivery.DRVLOAD in ways,
        "FT03": on_disc and storage and plan.drivers.carried and Delivery.WINPE_DRIVER in ways,
        "FT04": True,
        "FT05": release.adds_recovery,
        "FT06": isinstance(plan.image, ImageByName),
        "FT07": True,
        "FT08": pinned,
        "FT09": bool(assumption),
        "FT10": plan.drivers.os == "2k8R2",
        "FT11": not plan.drivers.carried,
        "FT12": bool(plan.drivers.packages) and not isinstance(plan.carrier, WdsServer),
        "FT13": bool(plan.updates.policies),
        "FT14": isinstance(plan.membership, OfflineJoin),
        "FT15": True,
        "FT16": True,
        "FT17": True,
        "FT18": True,
        "FT19": plan.settings.sconfig is not None,
        "FT20": bool(plan.disk.data_disks) and plan.disk.bus is Bus.SCSI,
        "FT60": on_boot_network(plan.carrier),
        "FT61": isinstance(plan.carrier, SetupShare),
        "FT62": isinstance(plan.carrier, AppliedImage),
        "FT63": isinstance(plan.carrier, AppliedImage),
        "FT64": on_boot_network(plan.carrier) and plan.machine.secure_boot,
        "FT65": isinstance(plan.carrier, WdsServer) and plan.disk.guard,
        "FT66": isinstance(plan.carrier, HyperVDisc),
        "FT67": isinstance(plan.carrier, WdsServer),
    }
    return tuple(belief for belief, holds in applies.items() if holds)


def make_risk(belief: str) -> Risk:
    """The belief with that id, as a risk of a plan."""
    row = beliefs()[belief]
    return Risk(id=belief, what=row["what"], way_out=row["way_out"], source=row["source"])


@functools.cache
def beliefs() -> Mapping[str, Mapping[str, str]]:
    """Every belief by id, with `what`, `way_out` and `source`."""
    with (resources.templates() / "beliefs.toml").open("rb") as file:
        return tomllib.load(file)
