"""The folder for Hyper-V: per host the answer ISO and a script that makes the machine."""

import json
from collections.abc import Sequence
from pathlib import Path

from builder.answer.render import render_text
from builder.build import iso_name, write_host
from builder.errors import ExitCode, WinseedError
from builder.handoff.tree import MANIFEST, Tree
from builder.plan.model import Plan
from builder.values import Firmware


def refuse_generation_1(plans: Sequence[Plan]) -> None:
    """WinseedError (SPEC) for a plan that no machine of generation 2 can boot."""
    names = [plan.host for plan in plans if plan.disk.layout is not Firmware.UEFI]
    if names:
        raise WinseedError(
            f"{', '.join(names)}: a Hyper-V machine of generation 2 boots with UEFI only",
            code=ExitCode.SPEC,
            hint='set disk.layout = "uefi"',
        )


def write_hyperv(tree: Tree, plans: Sequence[Plan], *, version: str) -> dict[str, Path]:
    """Lay the whole folder; the answer ISO of each host, by its name. Raises as `write_host`."""
    rows = []
    discs = {}
    for plan in plans:
        iso = f"{iso_name(plan)}.iso"
        discs[plan.host] = tree.place(iso)
        write_host(plan, discs[plan.host], epoch=tree.epoch)
        tree.adopt(iso, private=True)
        key = plan.host.lower()
        values = {"plan": plan, "key": key, "iso": iso}
        tree.add_text(f"New-{key}.ps1", render_text("handoff/new-vm.ps1.j2", values))
        rows.append(
            {
                "name": plan.host,
                "key": key,
                "iso": iso,
                "windows": f"{plan.release_name} {plan.edition.value}",
                "macs": ", ".join(nic.mac for nic in plan.nics),
                "fingerprint": plan.fingerprint,
            }
        )
    readme = render_text("handoff/hyperv-readme.md.j2", {"hosts": rows, "version": version})
    tree.add_text("README.md", readme)
    document = {"version": 1, "kind": "hyperv", "hosts": [row["name"] for row in rows]}
    tree.add_text(MANIFEST, (json.dumps(document, indent=1) + "\n").encode())
    return discs
