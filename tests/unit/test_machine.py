"""`qm config` text and specs as machines, and the devices QEMU makes of them.

The QEMU devices expected here are those in the command lines that Proxmox VE's own code makes:
proxmox/qemu-server at e6352be, src/test/cfg2cmd/<name>.conf and .conf.cmd.
"""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.devices import (
    ForeignDevice,
    InboxDevice,
    VirtioDevice,
    known_devices,
    make_devices,
    virtio_names,
)
from builder.errors import ExitCode, WinseedError
from builder.machine import (
    AgentKind,
    CdDrive,
    Chipset,
    Disk,
    DriveBus,
    EfiDisk,
    Ovmf,
    Qxl,
    ScsiModel,
    SeaBios,
    Tpm,
    VirtioVga,
    make_machine,
)
from builder.releases import load_release
from builder.spec.model import HostSpec
from builder.vm_config import load_machine

# as `qm config` prints it, with what a long-lived VM collects
CONFIG = """\
agent: enabled=1,fstrim_cloned_disks=1
bios: ovmf
boot: order=scsi0;ide2
cores: 4
cpu: host
description: runs%20the domain%0A
efidisk0: local-lvm:vm-101-disk-1,efitype=4m,ms-cert=2023k,pre-enrolled-keys=1,size=4M
ide0: cifs:iso/virtio-win.iso,media=cdrom,size=709474K
ide2: none,media=cdrom
machine: pc-q35-9.2+pve1
memory: 8192
meta: creation-qemu=9.2.0,ctime=1735689600
name: dc01
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=20
net1: e1000e=BC:24:11:00:00:02,bridge=vmbr1
ostype: win11
rng0: source=/dev/urandom
scsi0: local-lvm:vm-101-disk-0,iothread=1,size=60G
scsi1: local-lvm:vm-101-disk-3,size=1.5T
scsihw: virtio-scsi-single
serial0: socket
sockets: 2
some-new-key: with,values=of,any=kind
tpmstate0: local-lvm:vm-101-disk-2,size=4M,version=v2.0
unused0: local-lvm:vm-101-disk-9
vga: virtio,memory=64
virtiofs0: share,cache=always

[PENDING]
scsihw: pvscsi

[before-update]
scsihw: lsi
this is no line at all
"""


def load(text):
    return load_machine(text, source="vm.conf")


@pytest.fixture(scope="module")
def machine():
    return load(CONFIG)


def test_everything_of_a_machine(machine):
    assert (machine.name, machine.ostype, machine.cores) == ("dc01", "win11", 8)
    assert (machine.chipset, machine.machine_type) == (Chipset.Q35, "pc-q35-9.2+pve1")
    disk = EfiDisk(volume="local-lvm:vm-101-disk-1", kind="4m", enrolled=True)
    assert machine.firmware == Ovmf(efi_disk=disk)
    assert machine.tpm == Tpm(volume="local-lvm:vm-101-disk-2", version="v2.0")
    assert machine.scsi is ScsiModel.VIRTIO_SINGLE
    assert machine.vga == VirtioVga(gl=False)
    assert machine.agent is AgentKind.VIRTIO
    assert machine.balloon
    assert machine.rng
    assert machine.virtiofs == ("virtiofs0",)
    assert machine.serial == ("serial0",)
    assert machine.boot == ("scsi0", "ide2")
    assert machine.secure_boot
    assert not machine.custom_args


def test_drives(machine):
    assert [(str(disk.slot), disk.size) for disk in machine.disks] == [
        ("scsi0", 60 * 1024**3),
        ("scsi1", 1536 * 1024**3),
    ]
    assert [(str(cd.slot), cd.volume) for cd in machine.cds] == [
        ("ide0", "cifs:iso/virtio-win.iso"),
        ("ide2", None),
    ]
    assert str(machine.boot_disk.slot) == "scsi0"


def test_cards(machine):
    assert [(nic.model, nic.mac, nic.bridge, nic.vlan) for nic in machine.nics] == [
        ("virtio", "BC:24:11:00:00:01", "vmbr0", 20),
        ("e1000e", "BC:24:11:00:00:02", "vmbr1", None),
    ]


def test_a_bare_machine_has_the_defaults_of_proxmox():
    machine = load("memory: 512")
    assert machine.firmware == SeaBios()
    assert machine.chipset is Chipset.I440FX
    assert machine.scsi is ScsiModel.LSI
    assert machine.agent is AgentKind.NONE
    assert machine.balloon
    assert machine.drives == ()
    assert machine.boot_disk is None
    assert not machine.secure_boot


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1", AgentKind.VIRTIO),
        ("0", AgentKind.NONE),
        ("enabled=1", AgentKind.VIRTIO),
        ("1,freeze-fs=1", AgentKind.VIRTIO),
        ("enabled=0,type=isa", AgentKind.NONE),
        ("enabled=yes,type=isa", AgentKind.ISA),
        ("type=virtio,enabled=on", AgentKind.VIRTIO),
    ],
)
def test_agent(text, kind):
    assert load(f"agent: {text}").agent is kind


@pytest.mark.parametrize(
    ("text", "chipset"),
    [
        ("q35", Chipset.Q35),
        ("pc-q35-11.0+pve2", Chipset.Q35),
        ("type=q35,viommu=virtio", Chipset.Q35),
        ("pc", Chipset.I440FX),
        ("pc-i440fx-5.1", Chipset.I440FX),
        ("pc,viommu=virtio", Chipset.I440FX),
    ],
)
def test_chipset(text, chipset):
    assert load(f"machine: {text}").chipset is chipset


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("virtio1: a:b\nscsi3: a:c\nsata0: a:d", "scsi3"),
        ("virtio1: a:b\nsata0: a:d", "virtio1"),
        ("boot: order=sata0\nvirtio1: a:b\nsata0: a:d", "sata0"),
        (
            "boot: order=net0;ide2;virtio1\nscsi0: a:b\nvirtio1: a:c\nide2: none,media=cdrom",
            "virtio1",
        ),
        ("boot: cdn\nbootdisk: virtio1\nscsi0: a:b\nvirtio1: a:c", "virtio1"),
        ("boot: \nscsi0: a:b", "scsi0"),
    ],
)
def test_the_disk_windows_goes_to(text, first):
    assert str(load(text).boot_disk.slot) == first


@pytest.mark.parametrize("chipset", ["q35", "pc"])
@pytest.mark.parametrize("keys", ["0", "1"])
def test_secure_boot_needs_keys_and_q35(chipset, keys):
    text = f"bios: ovmf\nmachine: {chipset}\nefidisk0: a:b,efitype=4m,pre-enrolled-keys={keys}"
    assert load(text).secure_boot == (chipset == "q35" and keys == "1")


def test_a_drive_without_medium_and_an_old_name():
    machine = load(
        "cdrom: local:iso/win.iso,media=cdrom\nsata0: none\nide0: a:vm-1-cloudinit,media=cdrom"
    )
    assert all(isinstance(drive, CdDrive) for drive in machine.drives)
    assert {str(cd.slot) for cd in machine.cds} == {"ide0", "ide2", "sata0"}


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("name: a\nscsi0 local-lvm:vm-101-disk-0", 2, "expected `key: value`"),
        ("Windows Server\n", 1, "expected `key: value`"),
        ("name: a\n\n# note\nscsi31: a:b", 4, "scsi30"),
        ("ide4: a:b", 1, "ide3"),
        ("scsi0: iothread=1", 1, "volume"),
        ("scsi0: a:b,size=big", 1, "size"),
        ("scsi0: a:b,,size=1G", 1, "key=value"),
        ("scsi0: a:b,size=1G,size=2G", 1, "key=value"),
        ("scsihw: nvme", 1, "SCSI controller"),
        ("bios: uefi", 1, "seabios or ovmf"),
        ("machine: virt", 1, "machine type"),
        ("vga: voodoo", 1, "display"),
        ("agent: perhaps", 1, "1 or 0"),
        ("agent: 1,type=smoke", 1, "virtio or isa"),
        ("balloon: some", 1, "number"),
        ("cores: 99999999999999999999", 1, "number"),
        ("net0: bridge=vmbr0", 1, "model"),
        ("net0: virtio=AA,tag=none", 1, "VLAN"),
        ("net99: virtio=AA", 1, "net31"),
        ("name: a\x1b[31mb", 1, "expected `key: value`"),
    ],
)  # fmt: skip
def test_garbage_is_named_with_its_line(text, line, word):
    with pytest.raises(WinseedError) as caught:
        load(text)
    assert caught.value.code is ExitCode.SPEC
    assert caught.value.what.startswith(f"vm.conf, line {line}: ")
    assert word in caught.value.what
    assert "\x1b" not in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "[snapshot]\nname: a"])
def test_no_configuration_at_all(text):
    with pytest.raises(WinseedError, match="there is no VM configuration in it"):
        load(text)


KEYS = st.sampled_from(
    [*(line.partition(":")[0] for line in CONFIG.splitlines() if ": " in line), "hostpci0", "boot",
     "audio0", "watchdog", "ivshmem", "args", "bootdisk", "net7", "virtio2", "scsi99999999999"]
)  # fmt: skip
VALUES = st.text(st.sampled_from("=,;:0123456789abcdeKMGTvirtoscq-+./ \t\u00e9\u2028"), max_size=40)


@given(
    st.lists(st.one_of(st.tuples(KEYS, VALUES).map(": ".join), st.text(max_size=30)), max_size=8)
)
def test_any_text_gives_a_machine_or_our_error(lines):
    with contextlib.suppress(WinseedError):
        make_devices(load("\n".join(lines)))


# Devices


def qemu(text):
    return [(device.qemu, len(device.places)) for device in make_devices(load(text))]


DISK = "scsi0: local:8006/vm-8006-disk-0.qcow2,discard=on,size=104858K\n"
NET = "net0: virtio=A2:C0:43:77:08:A0,bridge=vmbr0\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "simple-virtio-blk",
            "ide2: none,media=cdrom\nostype: l26\nvirtio0: local:x.qcow2,iothread=1\n" + NET,
            {"virtio-blk-pci", "piix3-ide", "virtio-net-pci", "VGA", "virtio-balloon-pci"},
        ),
        ("scsihw-pvscsi", "scsihw: pvscsi\n" + DISK, {"pvscsi", "VGA", "virtio-balloon-pci"}),
        ("scsihw-lsi", "scsihw: lsi\n" + DISK, {"lsi", "VGA", "virtio-balloon-pci"}),
        ("scsihw-megasas", "scsihw: megasas\n" + DISK, {"megasas", "VGA", "virtio-balloon-pci"}),
        (
            "seabios_serial",
            "scsihw: virtio-scsi-pci\nserial0: socket\nvga: serial0\n" + DISK + NET,
            {"virtio-scsi-pci", "isa-serial", "virtio-net-pci", "virtio-balloon-pci"},
        ),
        (
            # two cards, and a virtio-serial for SPICE though the agent is off
            "spice-win",
            "ostype: win10\nscsihw: virtio-scsi-pci\nvga: qxl2\n" + NET,
            {"qxl-vga", "qxl", "virtio-serial", "virtio-net-pci", "virtio-balloon-pci"},
        ),
        (
            "vnc-clipboard-std",
            "vga: std,clipboard=vnc\n",
            {"VGA", "virtio-serial", "virtio-balloon-pci"},
        ),
        ("qga-minimal", "agent: 1\n", {"VGA", "virtio-serial", "virtio-balloon-pci"}),
        (
            "pinned-version-pxe-pve",
            "rng0: source=/dev/urandom\nscsihw: virtio-scsi-pci\n" + DISK + NET,
            {"virtio-rng-pci", "virtio-scsi-pci", "virtio-net-pci", "VGA", "virtio-balloon-pci"},
        ),
        (
            "q35-viommu-virtio",
            "machine: type=q35,viommu=virtio\n",
            {"VGA", "virtio-balloon-pci", "virtio-iommu-pci"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "\n" not in value else "",
)
def test_devices_are_those_of_proxmox(name, text, expected):
    assert {device for device, _ in qemu(text)} == expected


def test_equal_devices_stand_together(machine):
    found = {device.qemu: device.places for device in make_devices(machine)}
    assert found["virtio-scsi-pci"] == ("scsi0", "scsi1")
    # on q35 `ide` is AHCI
    assert found["ahci"] == ("ide0", "ide2")
    assert found["virtio-serial"] == ("agent", "spice")


def test_what_windows_starts_from_is_critical(machine):
    critical = [d.name for d in make_devices(machine) if getattr(d, "boot_critical", False)]
    assert critical == ["virtio-scsi"]
    mixed = make_devices(
        load("boot: order=virtio0\nscsihw: virtio-scsi-pci\nvirtio0: a:b\n" + DISK)
    )
    assert [d.name for d in mixed if getattr(d, "boot_critical", False)] == ["virtio-blk"]


# QEMU docs/specs/pci-ids.rst: 0x1000 to 0x1005 legacy, 0x1040 plus the virtio device id modern
SHOWN = {
    "virtio-scsi": ("1af4:1004", "1af4:1048"),
    "virtio-net": ("1af4:1000", "1af4:1041"),
    "balloon": ("1af4:1002", "1af4:1045"),
    "virtio-serial": ("1af4:1003", "1af4:1043"),
    "rng": ("1af4:1005", "1af4:1044"),
    "virtiofs": ("1af4:105a", None),
    "virtio-vga": ("1af4:1050", None),
}


def test_ids_that_the_guest_sees(machine):
    found = {d.name: d for d in make_devices(machine) if isinstance(d, VirtioDevice)}
    assert {
        name: (d.shown.device, d.other.device if d.other else None) for name, d in found.items()
    } == SHOWN
    blk = make_devices(load("virtio0: a:b\nballoon: 0\nvga: none"))
    assert [(d.shown.device, d.other.device) for d in blk] == [("1af4:1001", "1af4:1042")]


def test_hardware_ids_as_in_the_inf_files_of_virtio_win(machine):
    by_name = {device.name: device for device in make_devices(machine)}
    # kvm-guest-drivers-windows vioscsi/vioscsi.inx
    base = "PCI\\VEN_1AF4&DEV_1004"
    assert by_name["virtio-scsi"].shown.hardware_ids == (
        f"{base}&SUBSYS_00081AF4&REV_00",
        f"{base}&SUBSYS_00081AF4",
        f"{base}&REV_00",
        base,
    )
    assert by_name["virtio-scsi"].other.hardware_ids[0] == (
        "PCI\\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01"
    )


def test_windows_and_nobody(machine):
    devices = {device.name: device for device in make_devices(machine)}
    assert isinstance(devices["e1000e"], InboxDevice)
    assert isinstance(devices["tpm"], InboxDevice)
    strange = make_devices(load("net0: usb-net=AA\nhostpci0: 01:00.0\nvga: none\nballoon: 0"))
    assert [type(device) for device in strange] == [ForeignDevice, ForeignDevice]
    assert not any(device.boot_critical for device in strange)


def test_no_device_of_the_catalog_stands_twice():
    names = [row.name for row in known_devices()]
    qemu_names = [name for row in known_devices() for name in row.qemu]
    assert len(set(names)) == len(names)
    assert len(set(qemu_names)) == len(qemu_names)
    assert {row.driven_by for row in known_devices()} == {"virtio-win", "windows", "unknown"}


# Specs


def spec(release="2022", **keys):
    host = HostSpec.model_validate({"name": "srv", **keys})
    return make_machine(host, load_release(release))


def test_the_default_spec():
    machine = spec()
    assert virtio_names(make_devices(machine)) == (
        "virtio-scsi",
        "virtio-net",
        "virtio-serial",
        "balloon",
    )
    assert machine.secure_boot
    assert machine.ostype == "win11"
    assert [str(cd.slot) for cd in machine.cds] == ["ide0", "ide2", "sata0"]


@pytest.mark.parametrize(
    ("bus", "slot", "name"),
    [("scsi", "scsi0", "virtio-scsi"), ("virtio", "virtio0", "virtio-blk"), ("sata", "sata1", "")],
)
def test_the_install_disk_of_a_spec(bus, slot, name):
    machine = spec(disk={"bus": bus})
    assert str(machine.boot_disk.slot) == slot
    critical = [d.name for d in make_devices(machine) if getattr(d, "boot_critical", False)]
    assert critical == ([name] if name else [])


def test_devices_of_a_spec():
    machine = spec(
        disk={"layout": "bios"},
        machine={"rng": True, "virtiofs": True, "vga": "qxl", "agent": False, "balloon": False},
        nic=[{"model": "e1000e"}],
        data_disk=[{"letter": "D", "size_gib": 10, "slot": 1}],
    )
    assert machine.vga == Qxl(heads=1)
    assert not machine.secure_boot
    assert [disk.size for disk in machine.disks] == [60 << 30, 10 << 30]
    assert {disk.slot.bus for disk in machine.disks} == {DriveBus.SCSI}
    # SPICE brings a virtio-serial
    assert set(virtio_names(make_devices(machine))) == {
        "virtio-scsi", "qxl", "virtio-serial", "rng", "virtiofs",
    }  # fmt: skip
    assert all(isinstance(disk, Disk) for disk in machine.disks)
