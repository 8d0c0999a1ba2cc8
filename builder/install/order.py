"""What a run is to make of one host: the last place that reads the spec. Pure."""

from collections.abc import Mapping

from builder.install.hardware import load_wanted, make_data_drive, make_settings
from builder.machine import Machine, install_slot
from builder.plan.make import GROUP_SIDS
from builder.plan.model import Plan
from builder.proxmox.api import Value
from builder.record import record
from builder.releases import load_release
from builder.spec.model import HostSpec, ProxmoxSpec
from builder.values import Secret


@record
class LocalAccount:
    """An account that is made in the guest; groups by SID."""

    name: str
    full_name: str
    description: str
    group_sids: tuple[str, ...]
    password: Secret


@record
class DataDrive:
    """A disk that is attached after the first boot. `kept` is its volid when it was there before.

    `setting` is what the slot gets: a new volume, or the old drive as it was written.
    """

    slot: str
    setting: str
    kept: str = ""

    @property
    def hotplug(self) -> bool:
        """Whether it can be added while the VM runs (QemuServer.pm, vmconfig_hotplug_pending)."""
        return self.slot.startswith(("scsi", "virtio"))


@record
class Settlement:
    """What is done in the guest after Windows is there; every secret goes by standard input."""

    administrator: Secret
    accounts: tuple[LocalAccount, ...]
    join_blob: Secret | None
    onboot: bool


@record
class Order:
    """What a run makes. `settings` create the VM, `machine` is what they make of it.

    `windows` and `virtio` are volids on the node; `plan` is the answer ISO's.
    """

    host: str
    plan: Plan
    settings: Mapping[str, Value]
    machine: Machine
    system_drives: tuple[str, ...]
    install: str
    pool: str
    iso_storage: str
    disk_storage: str
    windows: str
    virtio: str
    data_drives: tuple[DataDrive, ...]
    settlement: Settlement


@record
class LastingSecrets:
    """What stays valid after the installation: it never lies on a medium."""

    administrator: Secret
    accounts: Mapping[str, Secret]
    join_blob: Secret | None


def without_lasting_secrets(host: HostSpec) -> HostSpec:
    """`host` as its answer ISO shows it: accounts and the join come later, through the agent.

    The one-time password need not expire either: it is rotated before anybody signs in.
    """
    return host.model_copy(
        update={"account": (), "offline_join_file": None, "expire_password": False}
    )


def make_order(
    host: HostSpec,
    proxmox: ProxmoxSpec,
    plan: Plan,
    secrets: LastingSecrets,
    *,
    site: str,
    windows: str,
    virtio: str,
) -> Order:
    """The order of one host, with the discs that were found on its node."""
    release = load_release(plan.release)
    settings = make_settings(host, proxmox, release, site=site, memory_mib=plan.machine.memory_mib)
    return Order(
        host=host.name,
        plan=plan,
        settings=settings,
        machine=load_wanted(settings),
        system_drives=tuple(
            key
            for key in (str(install_slot(host.disk.bus)), "efidisk0", "tpmstate0")
            if key in settings
        ),
        install=str(install_slot(host.disk.bus)),
        pool=proxmox.pool or "",
        iso_storage=proxmox.iso_storage,
        disk_storage=proxmox.disk_storage,
        windows=windows,
        virtio=virtio,
        data_drives=_data_drives(host, proxmox),
        settlement=Settlement(
            administrator=secrets.administrator,
            accounts=_accounts(host, secrets),
            join_blob=secrets.join_blob,
            onboot=host.machine.onboot,
        ),
    )


def _data_drives(host: HostSpec, proxmox: ProxmoxSpec) -> tuple[DataDrive, ...]:
    made = (make_data_drive(host, proxmox, disk) for disk in host.data_disk)
    return tuple(DataDrive(slot=slot, setting=setting) for slot, setting in made)


def _accounts(host: HostSpec, secrets: LastingSecrets) -> tuple[LocalAccount, ...]:
    return tuple(
        LocalAccount(
            name=account.name,
            full_name=account.full_name,
            description=account.description,
            group_sids=tuple(GROUP_SIDS[group] for group in account.groups),
            password=secrets.accounts[account.name],
        )
        for account in host.account
    )
