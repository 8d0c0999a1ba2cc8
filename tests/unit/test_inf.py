"""INF files. The texts here are written for these tests after the rules of Microsoft's pages."""

import datetime as dt
import time

import pytest

from builder.errors import ExitCode, WinseedError
from builder.media.inf import Service, load_inf
from builder.media.inf_target import load_decoration

DISK = r"""; a storage driver
[Version]
Signature="$Windows NT$"
Class=SCSIAdapter
ClassGUID={4D36E97B-E325-11CE-BFC1-08002BE10318}
Provider=%VENDOR%
DriverVer = 07/21/2023,100.93.104.24000
CatalogFile=Disk.cat ; the file is disk.cat

[SourceDisksNames]
1 = %DiskId1%,,,""

[SourceDisksFiles]
disk.sys = 1,,

[DestinationDirs]
DefaultDestDir = 10
disk_Files = 12

[Manufacturer]
%VENDOR%   = Disk,NTamd64.6.3

[Disk.NTamd64.6.3]
%Disk.Desc% = inst, PCI\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00, PCI\VEN_1AF4&DEV_1004
%Disk.Desc% = inst, PCI\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01, PCI\VEN_1AF4&DEV_1048

[disk_Files]
disk.sys,,,2

[inst]
CopyFiles=disk_Files

[inst.Services]
AddService = disk, 0x00000002 , inst_Service, inst_EventLog

[inst_Service]
ServiceType    = %SERVICE_KERNEL_DRIVER%
StartType      = %SERVICE_BOOT_START%
ServiceBinary  = %12%\disk.sys

[Strings]
VENDOR = "Acme, Inc."
diskId1 = "Acme disk; the first"
Disk.Desc = "Acme disk"
SERVICE_KERNEL_DRIVER  = 1
SERVICE_BOOT_START     = 0
"""
VERSION = '[Version]\nSignature="$Windows NT$"\n'


def load(text, name="disk.inf"):
    return load_inf(text.encode(), name=name)


def decorated(*targets, models=None):
    """An INF whose Models sections stand for these decorations; `models` names the filled ones."""
    text = VERSION + f"[Manufacturer]\nAcme = Disk, {', '.join(targets)}\n"
    for target in targets:
        text += f"[Disk.{target}]\n"
        if models is None or target in models:
            text += "Acme disk = inst, PCI\\VEN_1AF4&DEV_1004\n"
    return load(text)


def test_a_storage_driver():
    inf = load(DISK)
    assert (inf.name, inf.class_name, inf.provider) == ("disk.inf", "SCSIAdapter", "Acme, Inc.")
    assert inf.class_guid == "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
    assert (inf.driver_date, inf.driver_version) == (dt.date(2023, 7, 21), "100.93.104.24000")
    assert inf.package_files() == ("disk.inf", "Disk.cat", "disk.sys")
    assert inf.hardware_ids() == (
        "PCI\\VEN_1AF4&DEV_1004&SUBSYS_00081AF4&REV_00",
        "PCI\\VEN_1AF4&DEV_1004",
        "PCI\\VEN_1AF4&DEV_1048&SUBSYS_11001AF4&REV_01",
        "PCI\\VEN_1AF4&DEV_1048",
    )
    assert inf.hardware_ids("x86") == ()
    assert inf.pci_ids() == {(0x1AF4, 0x1004), (0x1AF4, 0x1048)}
    assert inf.services == (
        Service(
            name="disk",
            binary="%12%\\disk.sys",
            start_type=0,
            associated=True,
            section="inst_Service",
        ),
    )
    assert inf.boot_start
    assert [(d.section, d.dirid) for d in inf.destination_dirs] == [
        ("DefaultDestDir", 10),
        ("disk_Files", 12),
    ]
    assert [(c.source, c.destination, c.section) for c in inf.copied_files] == [
        ("disk.sys", "disk.sys", "disk_Files")
    ]
    (device, _) = inf.models[1].devices
    assert (device.description, device.install_section) == ("Acme disk", "inst")


@pytest.mark.parametrize(
    "data",
    [
        DISK.replace("\n", "\r\n").encode(),
        DISK.replace("\n", "\r").encode(),
        DISK.replace("\n", "\r\n").replace(";", ";\n;").encode(),
        b"\xef\xbb\xbf" + DISK.encode(),
        b"\xff\xfe" + DISK.encode("utf-16-le"),
        b"\xfe\xff" + DISK.replace("\n", "\r\n").encode("utf-16-be"),
        DISK.replace("Acme disk;", "Acm\xe9 disk;").encode("cp1252"),
        DISK.encode() + b"\x1a\0\0\0",
        DISK.upper().replace("0X0", "0x0").encode(),
    ],
    ids=["crlf", "cr", "mixed", "utf-8", "utf-16-le", "utf-16-be", "ansi", "ctrl-z", "upper case"],
)
def test_text_forms(data):
    plain, inf = load(DISK), load_inf(data, name="disk.inf")
    assert inf.hardware_ids() == plain.hardware_ids()
    assert [s.start_type for s in inf.services] == [0]
    assert [f.casefold() for f in inf.package_files()] == ["disk.inf", "disk.cat", "disk.sys"]
    assert inf.supports(build=14393, major=10, minor=0)


def test_bare_line_feeds_after_semicolons():
    """The build of virtio-win cuts the co-installer out of its INFs so."""
    cut = DISK.replace("\n", "\r\n").replace("[DestinationDirs]", ";\n;\n[DestinationDirs]")
    assert load(cut).destination_dirs == load(DISK).destination_dirs


def test_strings():
    inf = load(
        VERSION
        + 'Provider = %A%\nClass = %Unknown% %% "a;b ""c"" = , d" ; no\nClassGuid = %loop%\n'
        + "CatalogFile.NT = %file%.cat\n"
        + '[strings]\nA = "<%b%|%B%>"\nB = %c%\nc = "%%x%%"\nloop = "(%loop%)"\n'
        + '[Strings.0407]\nfile = local\nA = "other"\n'
    )
    assert inf.provider == "<%x%|%x%>"
    assert inf.class_name == '%Unknown% % a;b "c" = , d'
    assert inf.class_guid == "(%loop%)"
    assert inf.catalog_file() == "local.cat"


def test_lines_that_continue():
    inf = load(
        VERSION
        + "DriverVer = 01/02/2024, \\\r\n  1.2.3.4\nProvider = one \\ ; remark\n two\n"
        + '[Manufacturer]\nAcme = "Disk"\\ ; remark\n,NTamd64\n'
        + "[Disk.NTamd64]\nd = i, A\\B\n; remark \\\ne = i, C\\D\n"
    )
    assert (inf.driver_date, inf.driver_version) == (dt.date(2024, 1, 2), "1.2.3.4")
    assert inf.provider == "one  two"
    assert inf.hardware_ids() == ("A\\B", "C\\D")


def test_parts_of_a_section_belong_together():
    inf = load(DISK + "[SourceDisksFiles]\nmore.dll = 1\n[DISK.ntamd64.6.3]\nx = inst, ACPI\\Y\n")
    assert inf.package_files() == ("disk.inf", "Disk.cat", "disk.sys", "more.dll")
    assert inf.hardware_ids()[-1] == "ACPI\\Y"


def test_files_by_architecture():
    inf = load(
        VERSION
        + "CatalogFile = all.cat\nCatalogFile.NTamd64 = Wide.cat\nCatalogFile.NT = nt.cat\n"
        + "[SourceDisksNames]\n1 = disk\n2 = disk,,,\\sub\n[SourceDisksNames.x86]\n1 = d,,,old\n"
        + "[SourceDisksFiles]\nboth.sys = 1\nDeep.sys = 2, a\\b\n"
        + "[SourceDisksFiles.amd64]\nwide.sys = 1,,\n[SourceDisksFiles.x86]\nnarrow.sys = 1\n"
    )
    assert inf.package_files() == (
        "disk.inf",
        "Wide.cat",
        "both.sys",
        "sub/a/b/Deep.sys",
        "wide.sys",
    )
    assert inf.package_files("x86") == (
        "disk.inf",
        "nt.cat",
        "both.sys",
        "sub/a/b/Deep.sys",
        "old/narrow.sys",
    )


def test_copied_files():
    inf = load(
        VERSION
        + "[Manufacturer]\nAcme = Net,NTamd64\n[Net.NTamd64]\nn = net.ndi, PCI\\VEN_1AF4&DEV_1000\n"
        + "[net.ndi.NTamd64]\nCopyFiles = List.A, @single.sys\n[net.ndi.NT.CoInstallers]\n"
        + "CopyFiles = List.B\n[unused]\nCopyFiles = List.C\n"
        + "[List.A]\nnew.sys,old.sys,,2\nplain.exe\nb.sys,a=b.sys\n"
        + "[List.B]\nco.dll\n[List.C]\nnever.sys\n"
    )
    assert {(c.source, c.destination) for c in inf.copied_files} == {
        ("old.sys", "new.sys"),
        ("a=b.sys", "b.sys"),
        ("plain.exe", "plain.exe"),
        ("single.sys", "single.sys"),
        ("co.dll", "co.dll"),
    }


def test_services_of_decorated_install_sections():
    inf = load(
        VERSION
        + "[Manufacturer]\nAcme = Input,NTamd64.10.0\n[Input.NTamd64.10.0]\ni = In_Dev, A\\1\n"
        + "[In_Dev.NT.Services]\nAddService = one, %two%, S1\nAddService = ,2\n"
        + "[In_Dev.NTamd64.10.0.Services]\nAddService = two,, S2\n[Other.Services]\n"
        + "AddService = three, 2, S1\n[S1]\nStartType = 3 ; demand\n[S2]\nStartType = 0x1\n"
        + "[Strings]\ntwo = 0x802\n"
    )
    assert [(s.name, s.start_type, s.associated) for s in inf.services] == [
        ("one", 3, True),
        ("two", 1, False),
    ]
    assert not inf.boot_start


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("NT", (None, None, None, None, None, None)),
        ("NTamd64", ("amd64", None, None, None, None, None)),
        ("ntAMD64.6.3", ("amd64", 6, 3, None, None, None)),
        ("NTamd64.10.0...16299", ("amd64", 10, 0, None, None, 16299)),
        ("NTarm64.10.0.3.0x80.17763", ("arm64", 10, 0, 3, 0x80, 17763)),
        ("NTx86....0x80", ("x86", None, None, None, 0x80, None)),
    ],
)
def test_decorations(text, fields):
    found = load_decoration(text)
    assert found.understood
    assert fields == (
        found.arch,
        found.major,
        found.minor,
        found.product_type,
        found.suite_mask,
        found.build,
    )


@pytest.mark.parametrize("text", ["", "amd64", "NT$ARCH$", "NTamd64.6.3.1.1.1.1", "NTmips"])
def test_decorations_of_another_form_admit_nothing(text):
    assert not load_decoration(text).understood
    assert not decorated(text or "x").supports(build=26100, major=10, minor=0)


@pytest.mark.parametrize(
    ("targets", "expected"),  # of 9600, 14393, 17763, 26100
    [
        (["NTamd64.6.3"], "yyyy"),
        (["NTamd64.6.1"], "yyyy"),
        (["NTamd64.10.0"], "-yyy"),
        (["NTamd64.10.0...16299"], "--yy"),
        (["NTamd64.10.0...20348"], "---y"),
        (["NTamd64"], "yyyy"),
        (["NT"], "----"),
        (["NTx86.6.3"], "----"),
        (["NTarm64.10.0"], "----"),
        (["NTamd64.10.0.3"], "-yyy"),
        (["NTamd64.10.0.1"], "----"),
        (["NTamd64.10.0...0x80"], "----"),
        (["NTamd64.10.0..0x10"], "-yyy"),
        (["NTamd64.10.0..0x80"], "----"),
        (["NTx86", "NTAMD64"], "yyyy"),
        (["NTamd64.11.0"], "----"),
    ],
)
def test_windows_admitted(targets, expected):
    inf = decorated(*targets)
    builds = ((9600, 6, 3), (14393, 10, 0), (17763, 10, 0), (26100, 10, 0))
    found = "".join("y" if inf.supports(build=b, major=x, minor=y) else "-" for b, x, y in builds)
    assert found == expected


def test_the_closest_section_counts():
    """An empty section shuts a Windows out (Microsoft, INF Manufacturer Section)."""
    inf = decorated("NTamd64.6.1", "NTamd64.10.0", models={"NTamd64.6.1"})
    assert inf.supports(build=9600, major=6, minor=3)
    assert not inf.supports(build=20348, major=10, minor=0)
    newer = decorated("NTamd64.10.0", "NTamd64.10.0...17763", models={"NTamd64.10.0"})
    assert newer.supports(build=14393, major=10, minor=0)
    assert not newer.supports(build=20348, major=10, minor=0)


def test_build_counts_for_its_own_version_only():
    """Microsoft, INF Manufacturer Section, on BuildNumber."""
    inf = decorated("NTamd64.10.0...16299")
    assert inf.supports(build=100, major=11, minor=0)
    assert not decorated("NTamd64.6.1...1").supports(build=9600, major=6, minor=3)


def test_client_and_server():
    inf = decorated("NTamd64.10.0.1")
    assert inf.supports(build=26100, major=10, minor=0, server=False)
    assert not inf.supports(build=26100, major=10, minor=0)


def test_undecorated_models_are_for_x86():
    inf = load(VERSION + "[Manufacturer]\nAcme\n[Acme]\nd = i, PCI\\VEN_1AF4&DEV_1004\n")
    assert inf.hardware_ids("x86") == ("PCI\\VEN_1AF4&DEV_1004",)
    assert inf.hardware_ids("amd64") == ()
    assert inf.supports(build=9600, major=6, minor=3, arch="x86")
    assert not inf.supports(build=9600, major=6, minor=3)


def test_odd_dates():
    for date in ("31/12/2020", "02/30/2020", "yesterday", "1/2/20"):
        inf = load(VERSION + f"DriverVer = {date}, 1.2\n")
        assert (inf.driver_date, inf.driver_version) == (None, "1.2")


@pytest.mark.parametrize(
    ("data", "line", "what"),
    [
        (b"", 1, "not an INF file"),
        (b"[Strings]\na=b\n", 1, r"no section \[Version\]"),
        (b"; x\n\nhello = you\n[Version]\n", 3, "before the first"),
        (b"[Version]\r\nSignature=$Windows NT$\r\n[Broken\r\n", 3, "closing"),
        (b"\n[Version]\nSignature = Linux\n", 3, "Linux"),
        (b"[Version]\n", 1, "Signature"),
        (VERSION.encode() + b"CatalogFile = ..\\evil.cat\n", 3, "evil"),
        (VERSION.encode() + b"[SourceDisksFiles]\n../x.sys = 1\n", 4, "not the name of a file"),
        (VERSION.encode() + b"[SourceDisksFiles]\nx.sys = 1, a\\..\\..\n", 4, "not the name"),
        (VERSION.encode() + b"[SourceDisksFiles]\nC:x = 1\n", 4, "not the name"),
        (VERSION.encode("utf-16-le"), 1, "binary zeros"),
        (VERSION.encode() + b"x = \0\n", 3, "binary zeros"),
        (b"\xff\xfe[\0V\0\n\0\x00\xd8", 2, "not UTF-16-LE"),
        (b"\xef\xbb\xbf[Version]\n\xff", 2, "not UTF-8"),
        (b"[" + b"x" * 300 + b"]", 1, "more than 255"),
        (bytes(5 << 20), 1, "5242880 bytes"),
    ],
)
def test_bad_files_are_told_with_their_line(data, line, what):
    with pytest.raises(WinseedError, match=what) as caught:
        load_inf(data, name="bad.inf")
    assert caught.value.what.startswith(f"bad.inf, line {line}: ")
    assert caught.value.code is ExitCode.MEDIA


def bomb():
    levels = "".join(f'b{i} = "{f"%b{i + 1}%" * 10}"\n' for i in range(9)) + "b9 = 0123456789\n"
    return VERSION + "Provider = %b0%\n[Strings]\n" + levels


def chain():
    links = "".join(f"c{i} = %c{i + 1}%\n" for i in range(2000))
    return VERSION + "Provider = %c0%\n[Strings]\n" + links


def silent():
    """Grows in work, not in length."""
    levels = "".join(f'b{i} = "{f"%b{i + 1}%" * 400}"\n' for i in range(12)) + 'b12 = ""\n'
    return VERSION + "Provider = %b0%\n[Strings]\n" + levels


def test_text_that_grows_without_end():
    lines = "x = %b%\n" * 5000
    with pytest.raises(WinseedError, match="without end"):
        load(f'{VERSION}{lines}[Strings]\nb = "{"b" * 4090}"\n')


@pytest.mark.parametrize(
    "text",
    [
        bomb(),
        chain(),
        silent(),
        VERSION + "a = " + "\\" * 400_000 + "x",
        VERSION + "a = " + '"' * 400_001,
        VERSION + "a = " + "%x" * 200_000,
        VERSION + "a = " + ", " * 200_000,
        VERSION + "a = x" + " \\ ;" * 100_000,
        VERSION + "a = b\\\n" * 100_000,
        VERSION + "[.nt" + ".nt" * 80 + ".services]\n" * 1,
        "[" * 400_000,
    ],
    ids=range(11),
)
def test_hostile_files_end_soon(text):
    start = time.perf_counter()
    try:
        load(text)
    except WinseedError as error:
        assert "line" in error.what  # noqa: PT017 - both outcomes are right
    assert time.perf_counter() - start < 3
