"""What a plan holds. Values only: no opinions here, no effects anywhere.

`make.py` fills it; `answer/render.py` and `disc.py` read it. A plan prints without its secrets,
and its fingerprint covers everything that prints.
"""

import dataclasses
import enum
import functools
import hashlib
import json
from pathlib import PurePath
from typing import Any, Literal

from builder.media.attachment import Attachment
from builder.plan.carrier import (
    AnswerIso,
    AppliedImage,
    Carrier,
    HyperVDisc,
    SetupShare,
    WdsServer,
)
from builder.plan.hardware import DiskPlan, MachinePlan, NicPlan
from builder.plan.packages import DriverPlan, PackageFile
from builder.record import record
from builder.values import Channel, Edition, Secret, Sku

FINGERPRINT_LENGTH = 12


@record
class ImageByIndex:
    """An image that was read from the very media."""

    index: int
    name: str
    display_name: str
    build: int
    languages: tuple[str, ...]


@record
class ImageByName:
    """An image named without having seen the media: `unverified` in every result."""

    name: str


ImageChoice = ImageByIndex | ImageByName


@record
class NoKey:
    """The answer file has no ProductKey element, and why."""

    reason: str


@record
class KmsClientKey:
    """The public KMS client key of the edition."""

    key: str


@record
class GivenKey:
    """The customer's own key."""

    key: Secret


KeyChoice = NoKey | KmsClientKey | GivenKey


@record
class LocalePlan:
    """Language tags, `;`-joined input locales, Windows time zone name."""

    ui_language: str
    system_locale: str
    user_locale: str
    input_locale: str
    time_zone: str


@record
class Administrator:
    """The built-in account, found by RID 500."""

    password: Secret
    given: bool
    expires: bool


@record
class Account:
    """A further local account; groups by SID."""

    name: str
    full_name: str
    description: str
    group_sids: tuple[str, ...]
    password: Secret


@record
class Workgroup:
    """Member of a workgroup; None is Windows' own default."""

    name: str | None


@record
class OfflineJoin:
    """Member of a domain by a provisioning blob of djoin."""

    blob: Secret


Membership = Workgroup | OfflineJoin


@record
class PolicyValue:
    """A registry value below the Windows Update policy key; `subkey` is "" or "AU"."""

    subkey: str
    name: str
    kind: Literal["REG_DWORD", "REG_SZ"]
    value: str


@record
class UpdatesPlan:
    """Windows Update: the policies of specialize and what the administrator owes afterwards."""

    mode: str
    policies: tuple[PolicyValue, ...]
    scan: str
    duty: str


@record
class RemotePlan:
    """Ways in. `package` installs OpenSSH where it is not inbox."""

    winrm: bool
    rdp: bool
    ssh: bool
    package: Attachment | None
    allow_from: tuple[str, ...]

    @property
    def wanted(self) -> bool:
        """Whether any way in is asked for."""
        return self.winrm or self.rdp or self.ssh


class StepKind(enum.Enum):
    """What a first-boot step runs."""

    OWN = "own"  # a script of ours, rendered to `<name>.ps1`
    POWERSHELL = "powershell"
    CMD = "cmd"
    PACKAGE = "package"  # an .msu or .cab


@record
class Step:
    """One step of the first boot: `file` lies in the script folder; time-out in seconds."""

    name: str
    kind: StepKind
    file: str
    timeout: int


@record
class SettingsPlan:
    """Habits of the console; None where the release has no such switch."""

    server_manager: bool | None
    sconfig: bool | None


@record
class Risk:
    """Something that rests on belief or on a report: `id` stands in docs/field-test.md."""

    id: str
    what: str
    way_out: str
    source: str


@record
class Accepted:
    """A finding of the linter that this plan takes on purpose, and why."""

    id: str
    reason: str


@record
class Media:
    """What was inspected; sizes let a later step compare the ISO on the node."""

    windows_volume: str | None
    windows_size: int | None
    virtio_volume: str
    virtio_size: int | None


@record
class Plan:
    """Everything that is built and done for one host."""

    host: str
    release: str
    release_name: str
    build: int
    edition: Edition
    sku: Sku
    channel: Channel
    image: ImageChoice
    key: KeyChoice
    locale: LocalePlan
    owner: str
    organization: str
    membership: Membership
    disk: DiskPlan
    drivers: DriverPlan
    nics: tuple[NicPlan, ...]
    dns_suffixes: tuple[str, ...]
    administrator: Administrator
    accounts: tuple[Account, ...]
    updates: UpdatesPlan
    remote: RemotePlan
    settings: SettingsPlan
    steps: tuple[Step, ...]
    attachments: tuple[Attachment, ...]
    machine: MachinePlan
    media: Media
    risks: tuple[Risk, ...]
    accepted: tuple[Accepted, ...]
    nonce: str  # differs for every build that drew its own password, "" otherwise
    version: str
    carrier: Carrier = AnswerIso()

    @property
    def verified(self) -> bool:
        """Whether the image was chosen from the media themselves."""
        return isinstance(self.image, ImageByIndex)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits over everything that prints; secrets count as `***`."""
        text = json.dumps(plan_document(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_LENGTH]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in the plan, for masking and for nothing else."""
        found = [self.administrator.password, *(account.password for account in self.accounts)]
        if isinstance(self.key, GivenKey):
            found.append(self.key.key)
        if isinstance(self.membership, OfflineJoin):
            found.append(self.membership.blob)
        return tuple(secret.reveal() for secret in found)


UNPRINTED = frozenset({"disc", "extents", "path"})  # where bytes lie on this machine


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values: secrets as `***`, nothing that names this machine's folders."""
    document: dict[str, Any] = _document(plan)
    return document


def _document(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _document(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.name in UNPRINTED and isinstance(value, PackageFile | Attachment))
            # the CD is what every plan rides on, so only the other carriers say so
            and not isinstance(getattr(value, field.name), AnswerIso)
        }
        kind = type(value).__name__
        return {"kind": kind} | fields if kind in SUM_TYPES else fields
    if isinstance(value, tuple):
        return [_document(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Secret | PurePath):
        return repr(value) if isinstance(value, Secret) else value.name
    return value


SUM_TYPES = frozenset(
    kind.__name__
    for kind in (
        *(ImageByIndex, ImageByName, NoKey, KmsClientKey, GivenKey, Workgroup, OfflineJoin),
        *(HyperVDisc, SetupShare, AppliedImage, WdsServer),
    )
)
