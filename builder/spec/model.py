"""What a spec can say: one class per TOML table, one field per key.

The descriptions feed the JSON Schema for editors; defaults are design decisions, explained in
docs/spec.md.
"""

from typing import Annotated, Literal

from pydantic import Field

from builder.spec.cluster_fields import (
    ApiUrl,
    Fingerprint,
    NodeName,
    OptionalNode,
    OptionalVolid,
    PoolName,
    StorageName,
    Tag,
    Vmid,
)
from builder.spec.domain_fields import DcSpec
from builder.spec.fields import (
    AccountName,
    Address,
    AllocationUnit,
    BusKey,
    ChannelKey,
    DeliveryKey,
    DnsName,
    EditionKey,
    FirmwareKey,
    ImageLanguage,
    InputFile,
    InputLocale,
    Interface,
    Label,
    Letter,
    Line,
    Locale,
    Mac,
    Name,
    Network,
    ProductKey,
    Release,
    SkuKey,
    TargetGroup,
    Text,
    TimeZone,
    Url,
    Workgroup,
)
from builder.spec.table import Table
from builder.values import Bus, Edition, Firmware, Sku


class SiteSpec(Table):
    """What all hosts of a site share by nature."""

    name: Line = Field(default="winseed", description="Part of derived MAC addresses; never shown.")


class ProxmoxSpec(Table):
    """Where Proxmox VE is and what of it to use; the API token never stands in a spec."""

    url: ApiUrl | None = Field(
        default=None, description="A node's address, https://pve1.example.com:8006."
    )
    node: NodeName | None = Field(
        default=None, description="Node for hosts that name none. Default: the only one there is."
    )
    iso_storage: StorageName = Field(
        default="local", description="Storage for answer ISOs (content iso), best one of its own."
    )
    disk_storage: StorageName = Field(
        default="local-lvm", description="Storage for disks, EFI variables and TPM state."
    )
    pool: PoolName | None = Field(default=None, description="Resource pool that VMs are made in.")
    ca_file: InputFile | None = Field(
        default=None, description="CA of the node's certificate, as /etc/pve/pve-root-ca.pem."
    )
    fingerprint: Fingerprint | None = Field(
        default=None, description="SHA-256 of the node's certificate, instead of a CA."
    )


class LocaleSpec(Table):
    """Languages, formats, keyboards, time."""

    ui_language: ImageLanguage | None = Field(
        default=None, description="Display language; a language of the media. Default: the media's."
    )
    system_locale: Locale | None = Field(
        default=None, description="Language of non-Unicode programs. Default: ui_language."
    )
    user_locale: Locale | None = Field(
        default=None, description="Formats of dates and numbers. Default: ui_language."
    )
    input: tuple[InputLocale, ...] | None = Field(
        default=None,
        strict=False,
        min_length=1,
        description="Keyboards by name (German), tag (de-DE) or id (0407:00000407); first leads.",
    )
    time_zone: TimeZone = Field(
        default="UTC", description="IANA (Europe/Berlin) or Windows name (W. Europe Standard Time)."
    )


class DiskSpec(Table):
    """The install disk: the only disk in the VM while Setup runs."""

    layout: FirmwareKey = Field(
        default=Firmware.UEFI, description="uefi: EFI, MSR, Windows; bios: system, Windows."
    )
    bus: BusKey = Field(default=Bus.SCSI, description="scsi (VirtIO SCSI), virtio (Block), sata.")
    size_gib: Annotated[int, Field(ge=20, le=65536)] = Field(
        default=60, description="Size of the disk in GiB; partitions are checked against it."
    )
    cache: Literal["none", "writethrough", "writeback", "directsync", "unsafe"] = Field(
        default="none", description="Cache mode of the VM's disks."
    )
    discard: bool = Field(default=True, description="The VM's disks hand TRIM on.")
    iothread: bool = Field(default=True, description="A thread of their own (scsi, virtio).")
    wipe: Literal["refuse", "existing"] = Field(
        default="refuse",
        description="refuse: power off when the disk is not empty; existing: erase it.",
    )
    label: Label = Field(default="Windows", description="Volume label of C:.")
    efi_mib: Annotated[int, Field(ge=100, le=4096)] = Field(
        default=260, description="EFI system partition (uefi), MiB."
    )
    msr_mib: Annotated[int, Field(ge=16, le=512)] = Field(
        default=16, description="Microsoft reserved partition (uefi), MiB."
    )
    system_mib: Annotated[int, Field(ge=350, le=4096)] = Field(
        default=500, description="System partition (bios), MiB."
    )
    recovery: Literal["none", "first", "last"] = Field(
        default="none", description="Recovery partition: none, before or behind Windows."
    )
    recovery_mib: Annotated[int, Field(ge=300, le=10240)] = Field(
        default=1024, description="Recovery partition, MiB."
    )


class DataDiskSpec(Table):
    """A further disk, attached after Setup and prepared at first boot."""

    letter: Letter = Field(description="Drive letter, D to Z.")
    label: Label = Field(default="Data", description="Volume label.")
    filesystem: Literal["ntfs", "refs"] = Field(default="ntfs", description="ntfs or refs.")
    allocation_unit: AllocationUnit | None = Field(
        default=None, description="Cluster size in bytes; default: Windows' own."
    )
    size_gib: Annotated[int, Field(ge=1, le=65536)] = Field(
        description="Size of the disk in GiB; the disk is recognised by slot and size."
    )
    slot: Annotated[int, Field(ge=1, le=30)] = Field(
        description="n of scsiN or virtioN in the VM; 0 is the install disk."
    )
    on_reinstall: Literal["keep", "fresh"] = Field(
        default="keep", description="keep: reattached untouched; fresh: replaced by an empty disk."
    )


class NicSpec(Table):
    """A network card, told apart by its MAC address; without `addresses` it uses DHCP."""

    mac: Mac | None = Field(
        default=None, description="MAC address; default: derived from site and host."
    )
    model: Literal["virtio", "e1000e"] = Field(default="virtio", description="Device in the VM.")
    bridge: Line = Field(default="vmbr0", description="Bridge of the node.")
    vlan: Annotated[int, Field(ge=1, le=4094)] | None = Field(
        default=None, description="VLAN tag on the bridge."
    )
    firewall: bool = Field(default=False, description="Proxmox VE's firewall on this card.")
    addresses: tuple[Interface, ...] = Field(
        default=(), strict=False, description="Static addresses with prefix length, IPv4 and IPv6."
    )
    gateways: tuple[Address, ...] = Field(
        default=(), strict=False, description="Default gateways, one per address family."
    )
    dns: tuple[Address, ...] = Field(
        default=(), strict=False, description="DNS servers in the order of asking."
    )
    dns_suffix: DnsName | None = Field(default=None, description="DNS suffix of this connection.")


class AccountSpec(Table):
    """A local account beside Administrator; its password needs --secrets-on-medium."""

    name: AccountName = Field(description="Account name.")
    full_name: Text = Field(default="", max_length=256, description="Full name.")
    description: Text = Field(default="", max_length=256, description="Description.")
    groups: tuple[Literal["administrators", "users", "remote-desktop-users"], ...] = Field(
        default=("users",), strict=False, description="Local groups, found by SID."
    )
    password_file: InputFile | None = Field(
        default=None, description="File whose first line is the password."
    )
    password_env: Line | None = Field(
        default=None, description="Environment variable that holds the password."
    )


class UpdatesSpec(Table):
    """Windows Update policy, in force before the first service starts."""

    mode: Literal["disabled", "wsus", "manual", "auto"] = Field(
        default="manual",
        description="disabled; wsus: from your server; manual: notify; auto: install and restart.",
    )
    server: Url | None = Field(default=None, description="WSUS server, http://server:8530.")
    status_server: Url | None = Field(
        default=None, description="WSUS reporting server. Default: server."
    )
    target_group: TargetGroup | None = Field(
        default=None, description="WSUS client-side target group."
    )
    install: Literal["download", "notify", "schedule"] = Field(
        default="download",
        description="wsus: download and wait; notify of install and restart; install by schedule.",
    )
    day: Annotated[int, Field(ge=0, le=7)] = Field(
        default=0, description="Day of scheduled installation: 0 every day, 1 Sunday to 7."
    )
    hour: Annotated[int, Field(ge=0, le=23)] = Field(
        default=3, description="Hour of scheduled installation."
    )
    packages: tuple[InputFile, ...] = Field(
        default=(), strict=False, description="*.msu and *.cab to install at first boot, in order."
    )


class RemoteSpec(Table):
    """Ways in; each opens exactly its own firewall port."""

    winrm: bool = Field(default=False, description="WinRM over HTTPS (5986), self-signed.")
    rdp: bool = Field(default=False, description="Remote Desktop (3389) with NLA.")
    ssh: bool = Field(default=False, description="OpenSSH server (22).")
    openssh_package: InputFile | None = Field(
        default=None, description="OpenSSH MSI or FoD .cab for releases that lack it."
    )
    allow_from: tuple[Network, ...] = Field(
        default=("Any",),
        strict=False,
        min_length=1,
        description="Networks that may connect, or Any, or LocalSubnet.",
    )


class SettingsSpec(Table):
    """Small habits of the console."""

    server_manager: bool = Field(default=True, description="Server Manager starts at sign-in.")
    sconfig: bool = Field(default=True, description="sconfig starts at sign-in (Core, 2022+).")


class MachineSpec(Table):
    """The VM the ISO is meant for; decides which drivers it needs."""

    chipset: Literal["q35", "i440fx"] = Field(default="q35", description="q35 or i440fx.")
    cores: Annotated[int, Field(ge=1, le=768)] = Field(default=2, description="CPU cores.")
    memory_mib: Annotated[int, Field(ge=1024, le=16777216)] | None = Field(
        default=None, description="Memory, MiB. Default: 4096 Core, 6144 Desktop."
    )
    cpu: Line = Field(default="host", description="CPU type; x86-64-v2-AES in mixed clusters.")
    secure_boot: bool = Field(default=True, description="OVMF with enrolled keys (uefi).")
    tpm: bool = Field(default=True, description="TPM v2.0 (uefi).")
    agent: bool = Field(default=True, description="QEMU guest agent.")
    balloon: bool = Field(default=True, description="Balloon device and its service.")
    rng: bool = Field(default=False, description="VirtIO RNG.")
    virtiofs: bool = Field(default=False, description="A virtiofs share.")
    vga: Literal["std", "virtio", "qxl"] = Field(default="std", description="Display.")
    onboot: bool = Field(default=False, description="Start with the node, once it is settled.")
    tags: tuple[Tag, ...] = Field(default=("winseed",), strict=False, description="Tags of the VM.")
    vmid: Vmid = Field(default=0, description="VMID; 0: the next free one.")
    node: OptionalNode = Field(default="", description="Node of the VM. Default: proxmox.node.")
    windows_volid: OptionalVolid = Field(
        default="", description="The Windows ISO on the node. Default: found by windows_iso's size."
    )
    virtio_volid: OptionalVolid = Field(
        default="", description="The virtio-win ISO on the node. Default: found by size or release."
    )


class HostSpec(Table):
    """Everything about one host; `[defaults]` takes the same keys but `name`."""

    name: Name = Field(description="Computer name.")
    role: Literal["server", "dc"] = Field(
        default="server", description="dc: becomes a domain controller (`winseed dc`)."
    )
    release: Release | None = Field(
        default=None, description="2012r2, 2016, 2019, 2022 or 2025. Default: the media's, or 2022."
    )
    edition: EditionKey = Field(default=Edition.CORE, description="core or desktop.")
    sku: SkuKey = Field(default=Sku.STANDARD, description="standard, datacenter or azure.")
    channel: ChannelKey | None = Field(
        default=None, description="eval, volume or retail. Default: what the media say."
    )
    product_key: ProductKey = Field(
        default="auto", description="auto (KMS client key where right), none, or a key."
    )
    windows_iso: InputFile | None = Field(default=None, description="The Windows ISO.")
    virtio_iso: InputFile | None = Field(default=None, description="The virtio-win ISO.")
    virtio_release: Line = Field(
        default="0.1.271", description="virtio-win release on the node when no ISO is given."
    )
    owner: Text = Field(default="", max_length=63, description="Registered owner.")
    organization: Text = Field(default="", max_length=63, description="Registered organisation.")
    workgroup: Workgroup | None = Field(default=None, description="Workgroup.")
    offline_join_file: InputFile | None = Field(
        default=None, description="djoin provisioning blob; needs --secrets-on-medium."
    )
    expire_password: bool = Field(
        default=True, description="Administrator must change the password at first logon."
    )
    driver_delivery: tuple[DeliveryKey, ...] | None = Field(
        default=None,
        strict=False,
        description="Ways of storage drivers into Windows PE. Default: all the release takes.",
    )
    dns_suffixes: tuple[DnsName, ...] = Field(
        default=(), strict=False, description="DNS suffix search list."
    )
    first_boot: tuple[InputFile, ...] = Field(
        default=(), strict=False, description="Your .cmd and .ps1 scripts, run once in order."
    )
    locale: LocaleSpec = LocaleSpec()
    disk: DiskSpec = DiskSpec()
    data_disk: tuple[DataDiskSpec, ...] = Field(default=(), strict=False)
    nic: tuple[NicSpec, ...] = Field(default=(NicSpec(),), strict=False, min_length=1)
    account: tuple[AccountSpec, ...] = Field(default=(), strict=False)
    updates: UpdatesSpec = UpdatesSpec()
    remote: RemoteSpec = RemoteSpec()
    settings: SettingsSpec = SettingsSpec()
    machine: MachineSpec = MachineSpec()
    dc: DcSpec = DcSpec()
