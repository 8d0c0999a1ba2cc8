"""The steps of the first boot, in the order that docs/architecture.md explains."""

from builder.media.attachment import Attachment
from builder.plan.model import Step, StepKind
from builder.plan.packages import DriverPlan
from builder.record import record
from builder.spec.model import HostSpec

MINUTE = 60
OWN_TIMEOUTS = {
    "drivers": 10 * MINUTE,
    "agent": 15 * MINUTE,
    "balloon": 5 * MINUTE,
    "data-disks": 10 * MINUTE,
    "remote-access": 15 * MINUTE,
    "settings": 5 * MINUTE,
    "scrub": 5 * MINUTE,
}
PACKAGE_TIMEOUT = 120 * MINUTE
SCRIPT_TIMEOUT = 60 * MINUTE


@record
class Attachments:
    """The user's files by purpose; names on the medium are unique."""

    packages: tuple[Attachment, ...] = ()
    scripts: tuple[Attachment, ...] = ()
    openssh: Attachment | None = None

    @property
    def all(self) -> tuple[Attachment, ...]:
        """Every file that travels on the medium."""
        openssh = (self.openssh,) if self.openssh else ()
        return (*self.packages, *self.scripts, *openssh)


def make_steps(
    host: HostSpec, attachments: Attachments, drivers: DriverPlan, *, packages: bool = True
) -> tuple[Step, ...]:
    """The steps that `host` needs: drivers first, scrub last.

    `packages` tells that the medium brings driver packages.
    """
    remote = host.remote
    own = {
        "drivers": packages,
        "agent": drivers.agent is not None,
        "balloon": packages and drivers.balloon_service is not None,
        "data-disks": bool(host.data_disk),
        "remote-access": remote.winrm or remote.rdp or remote.ssh,
        "settings": True,
    }
    return (
        *(_own(name) for name, wanted in own.items() if wanted),
        *(
            Step(
                name=f"update-{number:02}",
                kind=StepKind.PACKAGE,
                file=package.name,
                timeout=PACKAGE_TIMEOUT,
            )
            for number, package in enumerate(attachments.packages, start=1)
        ),
        *(
            Step(
                name=f"script-{number:02}",
                kind=StepKind.CMD if script.name.lower().endswith(".cmd") else StepKind.POWERSHELL,
                file=script.name,
                timeout=SCRIPT_TIMEOUT,
            )
            for number, script in enumerate(attachments.scripts, start=1)
        ),
        _own("scrub"),
    )


def _own(name: str) -> Step:
    return Step(name=name, kind=StepKind.OWN, file=f"{name}.ps1", timeout=OWN_TIMEOUTS[name])
