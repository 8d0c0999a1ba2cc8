"""The driver folders of a synthetic virtio-win disc: names, sizes, hardware ids as on real discs.

Names follow virtio-win/virtio-win-pkg-scripts `util/filemap.py`; ids, classes and section names
the INFs of virtio-win/kvm-guest-drivers-windows. The contents are random.
"""

import random
from dataclasses import dataclass

NEW_SYSTEMS = ("w10", "2k16", "2k19", "2k22", "w11", "2k25")
SYSTEMS = ("2k8R2", "2k12R2", *NEW_SYSTEMS)
SIZES = {".sys": 60_000, ".cat": 12_000, ".dll": 90_000, ".exe": 70_000, ".pdb": 40_000}
COINSTALLER = 300_000

GUIDS = {
    "SCSIAdapter": "{4d36e97b-e325-11ce-bfc1-08002be10318}",
    "Net": "{4d36e972-e325-11ce-bfc1-08002be10318}",
    "System": "{4d36e97d-e325-11ce-bfc1-08002be10318}",
    "Display": "{4d36e968-e325-11ce-bfc1-08002be10318}",
    "HIDClass": "{745a17a0-74d3-11d0-b6fe-00a0c90f57da}",
    "MultiFunction": "{4d36e971-e325-11ce-bfc1-08002be10318}",
    "NetTrans": "{4d36e975-e325-11ce-bfc1-08002be10318}",
}


def _pci(legacy: str, subsystem: str, modern: str) -> tuple[str, ...]:
    ven = "PCI\\VEN_1AF4&DEV_"
    return (
        f"{ven}{legacy}&SUBSYS_{subsystem}1AF4&REV_00",
        f"{ven}{legacy}",
        f"{ven}{modern}&SUBSYS_11001AF4&REV_01",
        f"{ven}{modern}",
    )


@dataclass(frozen=True)
class Package:
    """One INF of a driver. `listed`: SourceDisksFiles; `extra`: other files of the folder."""

    driver: str
    stem: str
    device_class: str
    models: str
    ids: tuple[str, ...]
    listed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    catalog_text: str = ""
    service: str = ""
    systems: tuple[str, ...] = SYSTEMS
    since: int = 0


WITHOUT_7 = tuple(system for system in SYSTEMS if system != "2k8R2")
FS_IDS = ("PCI\\VEN_1AF4&DEV_105A&SUBSYS_11001AF4&REV_01", "PCI\\VEN_1AF4&DEV_105A")
GPU_IDS = ("PCI\\VEN_1AF4&DEV_1050&SUBSYS_11001AF4&REV_01",)
PANIC_IDS = ("PCI\\VEN_1B36&DEV_0011&SUBSYS_11001AF4&REV_01",)
SERIAL_IDS = tuple(f"PCI\\VEN_1B36&DEV_000{number}" for number in (2, 3, 4))
PACKAGES = (
    Package("Balloon", "balloon", "System", "Standard", _pci("1002", "0005", "1045"),
            ("balloon.sys",), ("blnsvr.exe",), "Balloon.cat", "BALLOON"),
    Package("NetKVM", "netkvm", "Net", "NetKVM", _pci("1000", "0001", "1041"),
            ("netkvm.sys",), (), "", "netkvm"),
    Package("vioscsi", "vioscsi", "SCSIAdapter", "VirtioScsi", _pci("1004", "0008", "1048"),
            ("vioscsi.sys",), (), "", "vioscsi"),
    Package("viostor", "viostor", "SCSIAdapter", "VioStor", _pci("1001", "0002", "1042"),
            ("viostor.sys",), (), "", "viostor"),
    Package("vioserial", "vioser", "System", "VirtioSerial", _pci("1003", "0003", "1043"),
            ("vioser.sys",), (), "", "VirtioSerial"),
    Package("viorng", "viorng", "System", "Standard", _pci("1005", "0004", "1044"),
            ("viorng.sys", "viorngum.dll"), (), "", "VirtRng"),
    Package("viofs", "viofs", "System", "Standard", FS_IDS,
            ("viofs.sys",), ("virtiofs.exe",), "", "VirtioFsDrv", WITHOUT_7),
    Package("viogpudo", "viogpudo", "Display", "VioGpu", GPU_IDS, ("viogpudo.sys",),
            ("vgpusrv.exe", "viogpuap.exe"), "", "VioGpuDod", WITHOUT_7, 196),
    Package("vioinput", "vioinput", "HIDClass", "VirtioInput",
            ("PCI\\VEN_1AF4&DEV_1052", "VIOINPUT\\REV_01"),
            ("vioinput.sys", "viohidkmdf.sys"), (), "", "VirtioInput"),
    Package("pvpanic", "pvpanic", "System", "PVPanic", ("ACPI\\QEMU0001",),
            ("pvpanic.sys",), (), "", "PVPanic"),
    Package("pvpanic", "pvpanic-pci", "System", "PVPanic", PANIC_IDS,
            ("pvpanic.sys",), (), "", "PVPanic", WITHOUT_7, 217),
    Package("fwcfg", "fwcfg", "System", "FwCfg", ("ACPI\\QEMU0002",),
            ("fwcfg.sys",), (), "", "FwCfg", WITHOUT_7, 215),
    Package("qemufwcfg", "qemufwcfg", "System", "QEMU", ("ACPI\\QEMU0002",), systems=NEW_SYSTEMS),
    Package("qemupciserial", "qemupciserial", "MultiFunction", "QEMU", SERIAL_IDS),
    Package("smbus", "smbus", "System", "QEMU", ("PCI\\VEN_8086&DEV_2930",),
            systems=("2k22", "w11", "2k25"), since=215),
    Package("sriov", "vioprot", "NetTrans", "Standard", ("VIOPROT",), systems=WITHOUT_7),
)  # fmt: skip


def build_of(release: str) -> int:
    """285 for 0.1.285."""
    return int(release.rpartition(".")[2])


def source_of(system: str, build: int) -> str:
    """The build whose files a folder repeats."""
    if system in {"2k8R2", "2k12R2"}:
        return {"2k8R2": "Win7", "2k12R2": "Win8.1"}[system]
    return "Win11" if system in {"w11", "2k25"} and build >= 248 else "Win10"


def systems_of(package: Package, build: int) -> tuple[str, ...]:
    if build < package.since:
        return ()
    first = {"2k22": 215, "w11": 215, "2k25": 262}
    absent = {"2k22", "w11"} if package.stem == "pvpanic-pci" and build < 248 else set()
    known = [name for name in package.systems if build >= first.get(name, 0)]
    return tuple(name for name in known if name not in absent)


def driver_files(release: str) -> dict[str, tuple[str, bytes]]:
    """Path -> (name of its content, content); equal names mean equal content (hard links)."""
    build = build_of(release)
    files: dict[str, tuple[str, bytes]] = {}
    for package in PACKAGES:
        for system in systems_of(package, build):
            source = source_of(system, build)
            for name, content in _folder(package, source, build).items():
                key = f"{source}/{package.driver}/{name}"
                if name.startswith("WdfCoInstaller"):
                    key = name
                files[f"{package.driver}/{system}/amd64/{name}"] = (key, content)
    return files


def _folder(package: Package, source: str, build: int) -> dict[str, bytes]:
    listed, extra = list(package.listed), list(package.extra)
    new = source in {"Win10", "Win11"} and build >= 262
    if package.driver == "NetKVM":
        listed += ["netkvmp.exe"] if new else []
        extra += ["netkvmco.exe" if new else "netkvmco.dll"]
        extra += ["Readme.md" if build >= 240 and source != "Win7" else "readme.doc"]
    if package.driver == "sriov" and not new:
        listed += ["netkvmno.dll", "netkvmp.exe"]
    wdf = {"Balloon", "pvpanic", "vioinput", "viorng", "vioserial"}
    if package.driver in wdf and source == "Win7":
        listed += ["WdfCoInstaller01009.dll"]
    if package.driver in wdf and source == "Win8.1" and build < 240:
        listed += ["WdfCoInstaller01011.dll"]
    if package.driver == "viorng" and (source == "Win7" or build < 240):
        listed += ["viorngci.dll"]
    symbols = {name.rpartition(".")[0] + ".pdb" for name in (*listed, *extra)
               if not name.startswith(("WdfCo", "Readme", "readme"))}  # fmt: skip
    files = {f"{package.stem}.inf": inf_text(package, source, build, tuple(listed))}
    for name in (f"{package.stem}.cat", *listed, *extra, *sorted(symbols)):
        size = COINSTALLER if name.startswith("Wdf") else SIZES.get(name[-4:], 2_000)
        seed = name if name.startswith("Wdf") else f"{source}/{build}/{package.driver}/{name}"
        files[name] = random.Random(seed).randbytes(size)
    return files


def driver_version(source: str, build: int) -> str:
    """`<NT target>.<RHEL release>.104.<build>00`, as in Driver.RHEL.props."""
    if source == "Win7":
        return "07/30/2019,61.77.104.17200"
    if source == "Win8.1":
        return f"07/21/2023,63.93.104.{min(build, 240)}00"
    rhel = {189: 82, 240: 93, 262: 95, 271: 100, 285: 101}.get(build, 100)
    return f"01/13/2025,100.{rhel}.104.{build}00"


def decoration(source: str, build: int) -> str:
    old = {"Win7": "NTamd64.6.1", "Win8.1": "NTamd64.6.3"}
    if source in old:
        return old[source]
    if build < 262:
        return "NTamd64.6.3"
    return "NTamd64.10.0...16299" if source == "Win11" else "NTamd64.10.0"


def inf_text(package: Package, source: str, build: int, listed: tuple[str, ...]) -> bytes:
    """An INF: ASCII, CRLF, in Balloon's one bare LF as on real discs."""
    target = decoration(source, build)
    dirid = "13" if target.endswith("16299") else "12"
    decorated = f"{package.models}.{target}"
    lines = [
        "; synthetic",
        "[Version]",
        'Signature="$WINDOWS NT$"',
        f"Class={package.device_class}",
        f"ClassGUID={GUIDS[package.device_class]}",
        "Provider=%VENDOR%",
        f"DriverVer={driver_version(source, build)}",
        f"CatalogFile={package.catalog_text or package.stem + '.cat'}",
        "PnpLockDown=1",
        "",
        "[DestinationDirs]",
        f"DefaultDestDir={dirid}",
        "",
        "[SourceDisksNames]",
        "1=%DISK%,,,",
        "",
        "[SourceDisksFiles]",
        *(f"{name}=1,," for name in listed),
        "",
        "[Manufacturer]",
        f"%VENDOR%={package.models},{target}",
        "",
        f"[{decorated}]",
        *(f"%DESC%=Install, {name}" for name in package.ids),
        "",
        "[Install.NT]",
        "CopyFiles=Files" if listed else "",
        "",
        "[Files]",
        *listed,
        "",
        "[Install.NT.Services]",
        f"AddService={package.service or ','},2,Service" if package.service else "AddService=,2",
    ]
    if package.service:
        start = 0 if package.device_class == "SCSIAdapter" else 3
        lines += ["", "[Service]", "ServiceType=1", f"StartType={start}", "ErrorControl=1",
                  f"ServiceBinary=%12%\\{package.stem}.sys"]  # fmt: skip
    lines += ["", "[Strings]", 'VENDOR="Red Hat, Inc."', 'DISK="Installation Disc"',
              f'DESC="VirtIO {package.driver}"', ""]  # fmt: skip
    text = "\r\n".join(lines)
    if package.driver == "Balloon":
        text = text.replace("; synthetic\r\n", "; synthetic\n")
    return text.encode("ascii")
