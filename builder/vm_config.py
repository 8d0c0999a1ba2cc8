"""The text of `qm config`, or of /etc/pve/qemu-server/<vmid>.conf, as a `Machine`.

Form: proxmox/qemu-server at e6352be, src/PVE/QemuServer.pm `parse_vm_config`: `key: value` lines,
comments with `#`, then sections in brackets (pending changes, snapshots), which are not the VM as
it is. Values are lists of `key=value` where one key may go unnamed (PVE::JSONSchema,
`parse_property_string`). Keys that plug nothing in are passed over, known or not.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from builder.errors import ExitCode, WinseedError
from builder.machine import (
    DRIVES,
    AgentKind,
    CdDrive,
    Chipset,
    Disk,
    Drive,
    DriveBus,
    EfiDisk,
    EmulatedVga,
    Extra,
    Machine,
    MachineFirmware,
    Nic,
    NoVga,
    Ovmf,
    Qxl,
    ScsiModel,
    SeaBios,
    Slot,
    Tpm,
    Vga,
    VirtioVga,
)
from builder.record import record

LARGEST_CONFIG = 1 << 20  # bytes
_LINE = re.compile(r"([a-z][a-z0-9_-]*):(.*)")
_SECTION = re.compile(r"\[[^\]]*\]")
_DRIVE = re.compile(r"(ide|scsi|virtio|sata)(0|[1-9][0-9]{0,2})")
_NUMBERED = re.compile(r"([a-z]+)(0|[1-9][0-9]{0,2})")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)([KMGT]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_MACHINE = re.compile(r"(pc-)?(q35|i440fx)(-.+)?|pc(-[0-9].*)?")
_TRUE, _FALSE = frozenset({"1", "on", "yes", "true"}), frozenset({"0", "off", "no", "false"})
_Value = TypeVar("_Value")


@record
class _Setting:
    """A value with its place; `parts` of a property string, the unnamed one as ""."""

    source: str
    line: int
    key: str
    text: str

    def bad(self, what: str) -> WinseedError:
        shown = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return WinseedError(
            f"{self.source}, line {self.line}: {self.key}: {what}, not {shown!r}",
            code=ExitCode.SPEC,
            hint="give the text of `qm config VMID`, unchanged",
        )

    @property
    def parts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in self.text.split(","):
            name, equals, value = part.partition("=")
            name, value = (name.strip(), value.strip()) if equals else ("", name.strip())
            if name in found or not (name or value):
                raise self.bad("one value, and key=value pairs, are expected")
            found[name] = value
        return found


def load_machine(text: str, *, source: str) -> Machine:
    """Read the configuration of one VM; `source` names it in errors.

    Raises WinseedError (SPEC) with the line for what is no such text.
    """
    settings = _load_settings(text, source)

    def read(key: str, load: Callable[[_Setting], _Value], default: _Value) -> _Value:
        return load(settings[key]) if key in settings else default

    machine_type = read("machine", lambda s: s.parts.get("type") or s.parts.get("", "pc"), "pc")
    drives = tuple(
        drive for drive in (_load_drive(setting) for setting in settings.values()) if drive
    )
    standard: tuple[Vga, bool] = (EmulatedVga(model="std"), False)
    vga, clipboard = read("vga", _load_vga, standard)
    return Machine(
        name=read("name", lambda s: s.text, ""),
        ostype=read("ostype", lambda s: s.text, "other"),
        chipset=read("machine", lambda s: _load_chipset(s, machine_type), Chipset.I440FX),
        machine_type=machine_type,
        firmware=_load_firmware(settings),
        tpm=read("tpmstate0", _load_tpm, None),
        cores=read("cores", _load_number, 1) * read("sockets", _load_number, 1),
        scsi=read("scsihw", _load_scsi, ScsiModel.LSI),
        drives=drives,
        nics=_load_nics(settings),
        vga=vga,
        clipboard=clipboard,
        agent=read("agent", _load_agent, AgentKind.NONE),
        # there unless it is switched off with 0: QemuServer.pm, config_to_command
        balloon=read("balloon", _load_number, 1) > 0,
        rng="rng0" in settings,
        virtiofs=_names(settings, "virtiofs", 10),
        serial=_names(settings, "serial", 4),
        extras=_load_extras(settings),
        boot=_load_boot(settings, drives),
        custom_args="args" in settings,
    )


def _load_settings(text: str, source: str) -> dict[str, _Setting]:
    settings: dict[str, _Setting] = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.replace("\t", " ").strip()
        if _SECTION.fullmatch(line):
            break
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or not line.isprintable():
            shown = line if len(line) <= 60 else f"{line[:57]}..."
            raise WinseedError(
                f"{source}, line {number}: expected `key: value`, found {shown!r}",
                code=ExitCode.SPEC,
                hint="give the text of `qm config VMID`, unchanged",
            )
        # The first CD drive has an old name (QemuServer.pm, parse_vm_config).
        key = "ide2" if match[1] == "cdrom" else match[1]
        settings[key] = _Setting(source=source, line=number, key=key, text=match[2].strip())
    if not settings:
        raise WinseedError(
            f"{source}: there is no VM configuration in it",
            code=ExitCode.SPEC,
            hint="write one with `qm config VMID > vm.conf`",
        )
    return settings


def _load_drive(setting: _Setting) -> Drive | None:
    match = _DRIVE.fullmatch(setting.key)
    if match is None:
        return None
    slot = Slot(bus=DriveBus(match[1]), number=int(match[2]))
    if slot.number >= DRIVES[slot.bus]:
        raise setting.bad(f"the bus ends at {slot.bus.value}{DRIVES[slot.bus] - 1}")
    parts = setting.parts
    volume = _volume(setting, parts)
    # An empty drive is a CD drive whatever else stands there.
    if parts.get("media", "disk") == "cdrom" or volume == "none":
        return CdDrive(slot=slot, volume=None if volume == "none" else volume)
    return Disk(slot=slot, volume=volume, size=_size(setting, parts))


def _volume(setting: _Setting, parts: Mapping[str, str]) -> str:
    volume = parts.get("file") or parts.get("volume") or parts.get("", "")
    if not volume:
        raise setting.bad("a volume is expected, as local-lvm:vm-101-disk-0")
    return volume


def _size(setting: _Setting, parts: Mapping[str, str]) -> int | None:
    if "size" not in parts:
        return None
    match = _SIZE.fullmatch(parts["size"])
    if match is None:
        raise setting.bad("a size is expected as 60G")
    return int(float(match[1]) * _UNITS[match[2]])


def _load_nics(settings: Mapping[str, _Setting]) -> tuple[Nic, ...]:
    nics = []
    for name in _names(settings, "net", 32):
        setting = settings[name]
        parts = setting.parts
        known = {"bridge", "firewall", "link_down", "macaddr", "model", "mtu", "queues", "rate"}
        known |= {"tag", "trunks", "host-tunnel", ""}
        # The model is a key of its own with the address for its value: virtio=BC:24:11:...
        named = [part for part in parts if part not in known]
        model = parts.get("model") or parts.get("") or (named[0] if named else "")
        if not model:
            raise setting.bad("a model is expected, as virtio=BC:24:11:00:00:01")
        tag = parts.get("tag", "")
        if tag and not re.fullmatch(r"[0-9]{1,4}", tag):
            raise setting.bad("a VLAN tag is a number")
        nics.append(
            Nic(
                number=int(name.removeprefix("net")),
                model=model,
                mac=parts.get("macaddr") or parts.get(model) or None,
                bridge=parts.get("bridge"),
                vlan=int(tag) if tag else None,
            )
        )
    return tuple(nics)


def _load_vga(setting: _Setting) -> tuple[Vga, bool]:
    parts = setting.parts
    model = parts.get("type") or parts.get("") or "std"
    clipboard = parts.get("clipboard") == "vnc"
    if model in {"virtio", "virtio-gl"}:
        return VirtioVga(gl=model == "virtio-gl"), clipboard
    if match := re.fullmatch(r"qxl([2-4]?)", model):
        return Qxl(heads=int(match[1] or 1)), clipboard
    if model == "none" or re.fullmatch(r"serial[0-3]", model):
        return NoVga(), clipboard
    if model in {"std", "cirrus", "vmware"}:
        return EmulatedVga(model=model), clipboard
    raise setting.bad("a display that Proxmox VE knows is expected")


def _load_agent(setting: _Setting) -> AgentKind:
    parts = setting.parts
    enabled = _switch(setting, parts.get("enabled") or parts.get("") or "0")
    if not enabled:
        return AgentKind.NONE
    try:
        return AgentKind(parts.get("type", "virtio"))
    except ValueError:
        raise setting.bad("the type is virtio or isa") from None


def _load_firmware(settings: Mapping[str, _Setting]) -> MachineFirmware:
    bios = settings.get("bios")
    if bios is None or bios.text == "seabios":
        return SeaBios()
    if bios.text != "ovmf":
        raise bios.bad("seabios or ovmf is expected")
    setting = settings.get("efidisk0")
    if setting is None:
        return Ovmf(efi_disk=None)
    parts = setting.parts
    disk = EfiDisk(
        volume=_volume(setting, parts),
        kind=parts.get("efitype", "2m"),
        enrolled=_switch(setting, parts.get("pre-enrolled-keys", "0")),
    )
    return Ovmf(efi_disk=disk)


def _load_tpm(setting: _Setting) -> Tpm:
    parts = setting.parts
    return Tpm(volume=_volume(setting, parts), version=parts.get("version", "v1.2"))


def _load_scsi(setting: _Setting) -> ScsiModel:
    try:
        return ScsiModel(setting.text)
    except ValueError:
        raise setting.bad("a SCSI controller that Proxmox VE knows is expected") from None


def _load_chipset(setting: _Setting, machine_type: str) -> Chipset:
    match = _MACHINE.fullmatch(machine_type)
    if match is None:
        raise setting.bad("a machine type of x86 is expected, as q35 or pc-i440fx-9.2")
    return Chipset.Q35 if match[2] == "q35" else Chipset.I440FX


def _load_extras(settings: Mapping[str, _Setting]) -> tuple[Extra, ...]:
    """What else is plugged in; a model of "" where the host decides what it is."""
    extras = [Extra(name=name, model="hostpci") for name in _names(settings, "hostpci", 16)]
    if "audio0" in settings:
        parts = settings["audio0"].parts
        extras.append(Extra(name="audio0", model=parts.get("device") or parts.get("", "")))
    if "watchdog" in settings:
        parts = settings["watchdog"].parts
        model = parts.get("model") or parts.get("") or "i6300esb"
        extras.append(Extra(name="watchdog", model=model))
    if "ivshmem" in settings:
        extras.append(Extra(name="ivshmem", model="ivshmem-plain"))
    if "machine" in settings and settings["machine"].parts.get("viommu") == "virtio":
        extras.append(Extra(name="machine", model="virtio-iommu-pci"))
    return tuple(extras)


def _load_boot(settings: Mapping[str, _Setting], drives: tuple[Drive, ...]) -> tuple[str, ...]:
    """The boot order; the old form with letters says only which kind comes first."""
    if "boot" in settings and not settings["boot"].text:
        return ()
    parts = settings["boot"].parts if "boot" in settings else {}
    if "order" in parts:
        return tuple(filter(None, re.split(r"[;\s]+", parts["order"])))
    letters = parts.get("legacy") or parts.get("") or "cdn"
    disk = settings["bootdisk"].text if "bootdisk" in settings else ""
    cds = sorted(str(drive.slot) for drive in drives if isinstance(drive, CdDrive))
    first = {"c": disk, "d": next(iter(cds), ""), "n": next(iter(_names(settings, "net", 32)), "")}
    return tuple(name for letter in letters if (name := first.get(letter, "")))


def _load_number(setting: _Setting) -> int:
    if not (setting.text.isascii() and setting.text.isdigit() and len(setting.text) < 10):
        raise setting.bad("a number is expected")
    return int(setting.text)


def _switch(setting: _Setting, value: str) -> bool:
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise setting.bad("a switch is 1 or 0")


def _names(settings: Mapping[str, _Setting], base: str, count: int) -> tuple[str, ...]:
    """The keys `base0` to `base<count - 1>` that are there, in order; others are unknown keys."""
    numbers = sorted(
        int(match[2])
        for key in settings
        if (match := _NUMBERED.fullmatch(key)) and match[1] == base
    )
    for number in numbers:
        if number >= count:
            raise settings[f"{base}{number}"].bad(f"it ends at {base}{count - 1}")
    return tuple(f"{base}{number}" for number in numbers)
