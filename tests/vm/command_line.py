"""A VM of Proxmox VE as arguments of plain QEMU.

The devices are those that qemu-server's `config_to_command` gives (test_command_line.py holds them
against its real output). Adapted to QEMU from Debian: no `+pve` machine types, user networking in
the place of bridges, no hv_* flags and `-cpu max` when emulated, no vhost, no throttle groups.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

BRIDGES = Path(__file__).with_name("pve-q35.cfg")
OVMF = Path("/usr/share/OVMF")
DRIVE = re.compile(r"(ide|sata|scsi|virtio)(\d+)")
ORDER = ("ide", "scsi", "virtio", "sata")
# PCI addresses of qemu-server, src/PVE/QemuServer/PCI.pm
SERIAL_BUS, AHCI, BALLOON, RNG = 8, 7, 3, "0x1d"
NET = {number: 18 + number for number in range(6)}
BLOCK = {number: 10 + number for number in range(6)}
SCSI_SINGLE = "pci.3"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Places:
    """Files and sockets of one VM, in its own folder."""

    folder: Path
    volume: Callable[[str], Path]  # the file of `local:iso/windows.iso`

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


def chipset_of(config: Mapping[str, str]) -> str:
    return "q35" if "q35" in config.get("machine", "") else "i440fx"


def parts_of(value: str) -> dict[str, str]:
    """`local:iso/a.iso,media=cdrom` -> {"": "local:iso/a.iso", "media": "cdrom"}."""
    pairs = (part.partition("=") for part in value.split(","))
    return {name if equals else "": text if equals else name for name, equals, text in pairs}


def drives_of(config: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Slot -> parts, in the order in which Proxmox VE walks its buses."""
    slots = [key for key in config if DRIVE.fullmatch(key)]
    found = [DRIVE.fullmatch(slot) for slot in slots]
    keys = {slot: (ORDER.index(m[1]), int(m[2])) for slot, m in zip(slots, found, strict=True) if m}
    return {slot: parts_of(config[slot]) for slot in sorted(slots, key=keys.__getitem__)}


def is_cd(parts: Mapping[str, str]) -> bool:
    return parts.get("media") == "cdrom" or parts[""] == "none"


def boot_order(config: Mapping[str, str]) -> list[str]:
    return [slot for slot in parts_of(config.get("boot", "")).get("order", "").split(";") if slot]


def cd_place(config: Mapping[str, str], slot: str) -> str:
    """Where a guest finds a CD drive: `PCI device:port:unit` of its ATA controller."""
    found = DRIVE.fullmatch(slot)
    assert found is not None
    bus, number = found[1], int(found[2])
    if bus == "sata":
        return f"07.0:{number}:0"
    if bus == "scsi":
        return f"scsi:{number}:0"
    if chipset_of(config) == "q35":
        return f"1f.2:{_q35_port(number)}:0"
    return f"01.1:{number // 2}:{number % 2}"


def _q35_port(number: int) -> int:
    """Each IDE "controller" of q35 is one AHCI port (DriveDevice.pm)."""
    return {0: 0, 2: 1, 1: 2, 3: 3}[number]


def command_line(config: Mapping[str, str], places: Places, *, accelerator: str) -> list[str]:
    """The whole call; the sockets are in the VM's folder."""
    arguments = [
        *_frame(config, places, accelerator),
        *_firmware(config, places),
        *_board(config),
        *_tpm(config, places),
        *_screen(config),
        *_serial(config, places),
        *_agent(config, places),
        *_drives(config, places),
        *_nics(config),
    ]
    if config.get("balloon") != "0":
        arguments += ["-device", f"virtio-balloon-pci,id=balloon0,bus=pci.0,addr=0x{BALLOON}"]
    if "rng0" in config:
        arguments += ["-object", "rng-random,filename=/dev/urandom,id=rng0"]
        arguments += ["-device", f"virtio-rng-pci,rng=rng0,id=rng0,bus=pci.1,addr={RNG}"]
    return arguments


def _frame(config: Mapping[str, str], places: Places, accelerator: str) -> Iterator[str]:
    yield "qemu-system-x86_64"
    yield from ("-name", config.get("name", "vm"), "-no-user-config", "-nodefaults")
    yield from ("-display", "none", "-no-shutdown")
    yield from ("-chardev", f"socket,id=qmp,path={places['qmp']},server=on,wait=off")
    yield from ("-mon", "chardev=qmp,mode=control")
    accel = "tcg,thread=multi" if accelerator == "tcg" else accelerator
    yield from ("-accel", accel, "-cpu", "max" if accelerator == "tcg" else "host")
    yield from ("-smp", "1" if accelerator == "tcg" else config.get("cores", "1"))
    yield from ("-m", config.get("memory", "1024"))
    yield from ("-boot", "menu=on,strict=on,reboot-timeout=1000")
    yield from ("-rtc", "driftfix=slew,base=localtime")


def _firmware(config: Mapping[str, str], places: Places) -> Iterator[str]:
    chipset = chipset_of(config)
    machine = f"hpet=off,type={'q35' if chipset == 'q35' else 'pc'}"
    if config.get("bios") != "ovmf":
        yield from ("-machine", machine)
        return
    # OVMF.pm: the build with SMM on q35, the one without on i440fx, which enforces nothing
    code = OVMF / ("OVMF_CODE_4M.secboot.fd" if chipset == "q35" else "OVMF_CODE_4M.fd")
    smm = ",smm=on" if chipset == "q35" else ""
    yield from ("-machine", f"pflash0=pflash0,pflash1=drive-efidisk0,{machine}{smm}")
    yield from ("-blockdev", f"driver=raw,node-name=pflash0,read-only=on,"
                f"file.driver=file,file.filename={code}")  # fmt: skip
    variables = places.volume(parts_of(config["efidisk0"])[""])
    yield from ("-blockdev", "driver=raw,node-name=drive-efidisk0,"
                f"file.driver=file,file.filename={variables}")  # fmt: skip


def firmware_variables(config: Mapping[str, str]) -> Path:
    """The file that a new efidisk0 is a copy of (OVMF.pm)."""
    enrolled = parts_of(config["efidisk0"]).get("pre-enrolled-keys") == "1"
    return OVMF / ("OVMF_VARS_4M.ms.fd" if enrolled else "OVMF_VARS_4M.fd")


def _board(config: Mapping[str, str]) -> Iterator[str]:
    if chipset_of(config) == "q35":
        yield from ("-global", "ICH9-LPC.disable_s3=1", "-global", "ICH9-LPC.disable_s4=1")
        yield from ("-readconfig", str(BRIDGES))
        yield from ("-device", "usb-tablet,id=tablet,bus=ehci.0,port=1")
        return
    yield from ("-global", "PIIX4_PM.disable_s3=1", "-global", "PIIX4_PM.disable_s4=1")
    for number, address in ((1, "0x1e"), (2, "0x1f"), (3, "0x5")):
        bridge = f"pci-bridge,id=pci.{number},chassis_nr={number},bus=pci.0,addr={address}"
        yield from ("-device", bridge)
    yield from ("-device", "piix3-usb-uhci,id=uhci,bus=pci.0,addr=0x1.0x2")
    yield from ("-device", "usb-tablet,id=tablet,bus=uhci.0,port=1")


def _tpm(config: Mapping[str, str], places: Places) -> Iterator[str]:
    if "tpmstate0" in config:
        yield from ("-chardev", f"socket,id=tpmchar,path={places['swtpm']}")
        yield from ("-tpmdev", "emulator,id=tpmdev,chardev=tpmchar")
        yield from ("-device", "tpm-tis,tpmdev=tpmdev")


def _screen(config: Mapping[str, str]) -> Iterator[str]:
    place = "bus=pcie.0,addr=0x1" if chipset_of(config) == "q35" else "bus=pci.0,addr=0x2"
    yield from ("-device", f"VGA,id=vga,{place}")


def _serial(config: Mapping[str, str], places: Places) -> Iterator[str]:
    """COM1 as `serial0: socket` has it, kept in a file as well; COM2 is the stand-in's log."""
    if "serial0" in config:
        chardev = f"socket,id=serial0,path={places['serial0']},server=on,wait=off"
        yield from ("-chardev", f"{chardev},logfile={places['com1.log']},logappend=on")
        yield from ("-device", "isa-serial,chardev=serial0,index=0")
    yield from ("-chardev", f"file,id=standin,path={places['standin.log']},append=on")
    yield from ("-device", "isa-serial,chardev=standin,index=1")


def _agent(config: Mapping[str, str], places: Places) -> Iterator[str]:
    if parts_of(config.get("agent", "0")).get("enabled", config.get("agent", "0")[:1]) != "1":
        return
    yield from ("-chardev", f"socket,path={places['qga']},server=on,wait=off,id=qga0")
    yield from ("-device", f"virtio-serial,id=qga0,bus=pci.0,addr=0x{SERIAL_BUS}")
    yield from ("-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0")


def _drives(config: Mapping[str, str], places: Places) -> Iterator[str]:
    controllers: set[str] = set()
    for slot in drives_of(config):
        for flag, value in drive_arguments(config, slot, places):
            if value not in controllers:
                controllers.add(value)
                yield from (flag, value)


def drive_arguments(
    config: Mapping[str, str], slot: str, places: Places
) -> Iterator[tuple[str, str]]:
    """Controller, medium and device of one drive: `-object`, `-blockdev`, `-device`."""
    found = DRIVE.fullmatch(slot)
    assert found is not None
    bus, number, parts, order = found[1], int(found[2]), drives_of(config)[slot], boot_order(config)
    for argument in _controller(config, bus, number):
        flag, _, value = argument.partition(" ")
        yield flag, value
    drive = _blockdev(slot, parts, places)
    if drive:
        yield "-blockdev", drive[1]
    boots = f",bootindex={100 + order.index(slot)}" if slot in order else ""
    reference = f"drive=drive-{slot}," if drive else ""
    yield "-device", f"{_device(config, bus, number, parts, reference)}{boots}"


def _blockdev(slot: str, parts: Mapping[str, str], places: Places) -> list[str]:
    if parts[""] == "none":
        return []
    path = places.volume(parts[""])
    driver = "qcow2" if path.suffix == ".qcow2" else "raw"
    common = f"driver={driver},node-name=drive-{slot},file.driver=file,file.filename={path}"
    if is_cd(parts):
        return ["-blockdev", f"{common},read-only=on"]
    # nothing of a test must outlive it: no waiting for the host's disk
    return ["-blockdev", f"{common},discard=unmap,cache.no-flush=on,file.cache.no-flush=on"]


def _controller(config: Mapping[str, str], bus: str, number: int) -> Iterator[str]:
    model = config.get("scsihw", "lsi")
    if bus == "sata":
        yield f"-device ahci,id=ahci0,multifunction=on,bus=pci.0,addr=0x{AHCI}"
    elif bus == "scsi" and model == "virtio-scsi-single":
        yield f"-object iothread,id=iothread-virtioscsi{number}"
        yield (
            f"-device virtio-scsi-pci,id=virtioscsi{number},bus={SCSI_SINGLE},"
            f"addr={number + 1:#x},iothread=iothread-virtioscsi{number}"
        )
    elif bus == "scsi":
        name = {"lsi53c810": "lsi53c810", "virtio-scsi-pci": "virtio-scsi-pci"}.get(model, model)
        yield f"-device {name},id=scsihw0,bus=pci.0,addr=0x5"


def _device(
    config: Mapping[str, str], bus: str, number: int, parts: Mapping[str, str], drive: str
) -> str:
    cd = is_cd(parts)
    slot = f"{bus}{number}"
    if bus == "ide":
        kind = "ide-cd" if cd else "ide-hd"
        if chipset_of(config) == "q35":
            return f"{kind},bus=ide.{_q35_port(number)},unit=0,{drive}id={slot}"
        return f"{kind},bus=ide.{number // 2},unit={number % 2},{drive}id={slot}"
    if bus == "sata":
        return f"{'ide-cd' if cd else 'ide-hd'},bus=ahci0.{number},{drive}id={slot}"
    if bus == "virtio":
        return f"virtio-blk-pci,{drive}id={slot},bus=pci.0,addr={BLOCK[number]:#x}"
    kind = "scsi-cd" if cd else "scsi-hd"
    if config.get("scsihw") == "virtio-scsi-single":
        place = f"bus=virtioscsi{number}.0,channel=0,scsi-id=0,lun={number}"
    else:
        place = f"bus=scsihw0.0,scsi-id={number}"
        if config.get("scsihw") == "virtio-scsi-pci":
            place = f"bus=scsihw0.0,channel=0,scsi-id=0,lun={number}"
    return f"{kind},{place},{drive}id={slot}"


def _nics(config: Mapping[str, str]) -> Iterator[str]:
    for number, address in NET.items():
        value = config.get(f"net{number}")
        if value is None:
            continue
        parts = parts_of(value)
        model = next(name for name in parts if name in {"virtio", "e1000", "e1000e", "vmxnet3"})
        device = {"virtio": "virtio-net-pci"}.get(model, model)
        # no way out of the VM: what a test needs is on its discs
        yield from ("-netdev", f"user,id=net{number},restrict=on")
        mac = f"mac={parts[model]}," if parts[model] else ""
        yield from ("-device", f"{device},{mac}netdev=net{number},bus=pci.0,addr={address:#x},"
                    f"id=net{number}")  # fmt: skip
