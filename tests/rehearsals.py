"""A rehearsal that nothing stops, and ways to break one thing in it.

The answer file is foreign on purpose: no manifest, no plan, nothing that winseed has rendered.
"""

import dataclasses
import functools
from pathlib import Path

from builder.media.catalog import Signer
from builder.media.inf import load_inf
from builder.media.wim import WimImage
from builder.media.windows import EiCfg, WindowsMedia
from builder.rehearsal.drives import answer_slot, make_drives
from builder.rehearsal.facts import Content, DiscDriver, DiscFacts, DiscKind, Facts
from builder.rehearsal.make import rehearse
from builder.vm_config import load_machine
from tests import media_drivers

CONFIG = """\
agent: 1
bios: ovmf
boot: order=scsi0;ide2
cores: 2
efidisk0: local-lvm:vm-101-disk-0,efitype=4m,pre-enrolled-keys=1,size=4M
ide0: local:iso/virtio-win.iso,media=cdrom
ide2: local:iso/windows.iso,media=cdrom
localtime: 0
machine: q35
memory: 4096
name: srv01
net0: virtio=BC:24:11:00:00:01,bridge=vmbr0
ostype: win11
sata0: local:iso/answer.iso,media=cdrom
scsi0: local-lvm:vm-101-disk-1,iothread=1,size=60G
scsihw: virtio-scsi-single
"""
COMPONENT = (
    'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" '
    'versionScope="nonSxS"'
)
DRIVERS = ("vioscsi", "NetKVM", "Balloon", "vioserial")
OFFERED = (*DRIVERS, "viostor", "viorng")
LETTERS = "CDEFGHIJ"
KMS_2022 = {
    "standard": "VDYBN-27WPP-V4HQT-9VMD4-VMK7H",
    "datacenter": "WX4NM-KYWYW-QJJR4-XV3QB-6VM33",
}
INSTALL_AGENT = (
    r"cmd.exe /c for %d in (C D E F G H I J) do if exist %d:\guest-agent\qemu-ga-x86_64.msi "
    r"call %d:\scripts\agent.cmd"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that a test may break."""

    config: str = CONFIG
    answer: str | None = None
    build: int = 20348
    boot_build: int = 20348
    evaluation: bool = False
    channel: str | None = "Volume"
    prompts: bool | None = False
    boots: frozenset[str] = frozenset({"efi", "bios"})
    content: Content = Content.EMPTY
    signer: Signer = Signer.WHQL
    folder: str = "2k22"
    disc_release: str = ""
    answer_files: frozenset[str] = frozenset({"setup/errorhandler.cmd", "scripts/agent.cmd"})
    answer_shown: frozenset[str] | None = None
    scripts: tuple[tuple[str, str], ...] = ()
    others: tuple[DiscFacts, ...] = ()

    def facts(self) -> Facts:
        text = ANSWER if self.answer is None else self.answer
        shown = self.answer_shown or frozenset({"autounattend.xml"})
        answers = {"autounattend.xml": text.encode()} if "autounattend.xml" in shown else {}
        answer = DiscFacts(
            name="answer.iso",
            kind=DiscKind.ANSWER,
            files=self.answer_files | shown,
            shown=shown,
            answers=answers,
            scripts=dict(self.scripts),
        )
        discs = (self.windows(), self.virtio(), answer, *self.others)
        plugged = make_drives(load_machine(self.config, source="test"), discs, mentioned=True)
        found = [line for line in self.config.splitlines() if line.startswith("localtime:")]
        return Facts(
            machine=plugged.machine,
            drives=plugged.drives,
            answer_slot=answer_slot(plugged.drives, "answer.iso"),
            content=self.content,
            local_clock=found[0].endswith("1") if found else None,
            guessed=plugged.guessed,
        )

    def windows(self) -> DiscFacts:
        return DiscFacts(
            name="windows.iso",
            kind=DiscKind.WINDOWS,
            files=frozenset({"setup.exe", "sources/install.wim"}),
            shown=frozenset({"setup.exe", "sources"}),
            windows=windows_media(
                self.build, self.boot_build, evaluation=self.evaluation, channel=self.channel
            ),
            boots=self.boots,
            prompts=self.prompts,
        )

    def virtio(self) -> DiscFacts:
        drivers = tuple(
            dataclasses.replace(driver, signer=self.signer) for driver in offered(self.folder)
        )
        return DiscFacts(
            name="virtio-win.iso",
            kind=DiscKind.VIRTIO,
            files=frozenset({"guest-agent/qemu-ga-x86_64.msi", *(one.path for one in drivers)}),
            drivers=drivers,
            release=self.disc_release,
        )

    def steps(self) -> dict[str, list[tuple[str, str]]]:
        """The verdicts and texts of every step, by its id."""
        found: dict[str, list[tuple[str, str]]] = {}
        for step in rehearse(self.facts()).steps:
            found.setdefault(step.id, []).append((step.verdict.value, f"{step.what} {step.why}"))
        return found


@functools.cache
def offered(folder: str, release: str = "0.1.271") -> list[DiscDriver]:
    """The packages of one folder of a virtio-win disc, from INF texts."""
    files = media_drivers.driver_files(release)
    found = []
    for path, (_, content) in files.items():
        driver, system, _, name = path.split("/")
        if system == folder and driver in OFFERED and name.endswith(".inf"):
            inf = load_inf(content, name=name)
            found.append(
                DiscDriver(
                    path=path.casefold(),
                    driver=driver,
                    ids=frozenset(inf.hardware_ids("amd64")),
                    version=inf.driver_version,
                    inf=inf,
                    signer=Signer.WHQL,
                )
            )
    return found


def windows_media(
    build: int, boot_build: int, *, evaluation: bool, channel: str | None
) -> WindowsMedia:
    name = {9600: "2012 R2", 14393: "2016", 20348: "2022", 26100: "2025"}[build]
    rows = [
        ("STANDARDCORE", "ServerStandard", "Server Core", "Standard"),
        ("STANDARD", "ServerStandard", "Server", "Standard (Desktop Experience)"),
        ("DATACENTERCORE", "ServerDatacenter", "Server Core", "Datacenter"),
        ("DATACENTER", "ServerDatacenter", "Server", "Datacenter (Desktop Experience)"),
    ]
    images = tuple(
        WimImage(
            index=index,
            name=f"Windows Server {name} SERVER{suffix}",
            description="",
            display_name=f"Windows Server {name} {shown}",
            edition_id=edition + ("Eval" if evaluation else ""),
            installation_type=kind,
            architecture="amd64",
            major=6 if build == 9600 else 10,
            minor=3 if build == 9600 else 0,
            build=build,
            spbuild=1,
            languages=("en-US",),
            default_language="en-US",
            total_bytes=9 << 30,
            flags="",
        )
        for index, (suffix, edition, kind, shown) in enumerate(rows, start=1)
    )
    return WindowsMedia(
        path=Path("windows.iso"),
        size=5 << 30,
        volume_id="SSS_X64FRE_EN-US_DV9",
        install_path="sources/install.wim",
        install_format="wim",
        parts=1,
        images=images,
        ei_cfg=EiCfg(edition_id="", channel=channel, volume_license=channel == "Volume")
        if channel
        else None,
        has_pid_txt=False,
        boot_images=(),
        boot_build=boot_build,
        has_efi_boot=True,
        has_noprompt=True,
        languages=("en-US",),
    )


def component(name: str, inner: str) -> str:
    return f'<component name="Microsoft-Windows-{name}" {COMPONENT}>{inner}</component>'


def driver_paths(paths: list[str]) -> str:
    rows = "".join(
        f'<PathAndCredentials wcm:action="add" wcm:keyValue="{number}"><Path>{path}</Path>'
        "</PathAndCredentials>"
        for number, path in enumerate(paths, start=1)
    )
    return f"<DriverPaths>{rows}</DriverPaths>"


def on_letters(drivers: tuple[str, ...], letters: str, folder: str = "2k22") -> list[str]:
    return [rf"{letter}:\{one}\{folder}\amd64" for one in drivers for letter in letters]


def command(text: str, order: int = 1, kind: str = "RunSynchronousCommand") -> str:
    line = "CommandLine" if kind == "SynchronousCommand" else "Path"
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<{kind} wcm:action="add"><Order>{order}</Order><{line}>{text}</{line}></{kind}>'


LANGUAGES = component(
    "International-Core-WinPE",
    "<SetupUILanguage><UILanguage>en-US</UILanguage></SetupUILanguage>"
    "<InputLocale>0409:00000409</InputLocale><SystemLocale>en-US</SystemLocale>"
    "<UILanguage>en-US</UILanguage><UserLocale>en-US</UserLocale>",
)
WINPE_PATHS = component("PnpCustomizationsWinPE", driver_paths(on_letters(("vioscsi",), LETTERS)))
OFFLINE_PATHS = component("PnpCustomizationsNonWinPE", driver_paths(on_letters(DRIVERS, LETTERS)))
DISK = (
    '<DiskConfiguration><Disk wcm:action="add"><DiskID>0</DiskID>'
    "<WillWipeDisk>true</WillWipeDisk><CreatePartitions>"
    '<CreatePartition wcm:action="add"><Order>1</Order><Type>EFI</Type><Size>260</Size>'
    "</CreatePartition>"
    '<CreatePartition wcm:action="add"><Order>2</Order><Type>MSR</Type><Size>16</Size>'
    "</CreatePartition>"
    '<CreatePartition wcm:action="add"><Order>3</Order><Type>Primary</Type>'
    "<Extend>true</Extend></CreatePartition></CreatePartitions><ModifyPartitions>"
    '<ModifyPartition wcm:action="add"><Order>1</Order><PartitionID>1</PartitionID>'
    "<Label>System</Label><Format>FAT32</Format></ModifyPartition>"
    '<ModifyPartition wcm:action="add"><Order>2</Order><PartitionID>3</PartitionID>'
    "<Label>Windows</Label><Letter>C</Letter><Format>NTFS</Format></ModifyPartition>"
    "</ModifyPartitions></Disk></DiskConfiguration>"
)
IMAGE = (
    '<ImageInstall><OSImage><InstallFrom><MetaData wcm:action="add"><Key>/IMAGE/INDEX</Key>'
    "<Value>1</Value></MetaData></InstallFrom><InstallTo><DiskID>0</DiskID>"
    "<PartitionID>3</PartitionID></InstallTo></OSImage></ImageInstall>"
)
USER = (
    "<UserData><AcceptEula>true</AcceptEula><ProductKey>"
    f"<Key>{KMS_2022['standard']}</Key></ProductKey></UserData>"
)
PE_COMMANDS = ""
DEPLOYMENT = component("Deployment", f"<RunSynchronous>{command(INSTALL_AGENT)}</RunSynchronous>")
TCPIP = component(
    "TCPIP",
    '<Interfaces><Interface wcm:action="add"><Ipv4Settings><DhcpEnabled>false</DhcpEnabled>'
    "</Ipv4Settings><Identifier>BC-24-11-00-00-01</Identifier><UnicastIpAddresses>"
    '<IpAddress wcm:action="add" wcm:keyValue="1">192.0.2.10/24</IpAddress>'
    "</UnicastIpAddresses></Interface></Interfaces>",
)
SHELL = component("Shell-Setup", "<ComputerName>srv01</ComputerName><TimeZone>UTC</TimeZone>")
OOBE = component(
    "Shell-Setup",
    "<UserAccounts><AdministratorPassword><Value>UABAAHMAcwB3ADAAcgBkAEEAZABtAGkAbgBpAHMAdAByAGE"
    "AdABvAHIAUABhAHMAcwB3AG8AcgBkAA==</Value><PlainText>false</PlainText>"
    "</AdministratorPassword></UserAccounts>",
)
ANSWER = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<unattend xmlns="urn:schemas-microsoft-com:unattend" '
    'xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">\n'
    f'<settings pass="windowsPE">{LANGUAGES}\n{WINPE_PATHS}\n'
    + component("Setup", f"{DISK}\n{IMAGE}\n{PE_COMMANDS}{USER}")
    + f'</settings>\n<settings pass="offlineServicing">{OFFLINE_PATHS}</settings>\n'
    f'<settings pass="specialize">{DEPLOYMENT}\n{TCPIP}\n{SHELL}</settings>\n'
    f'<settings pass="oobeSystem">{OOBE}</settings>\n</unattend>\n'
)
assert ANSWER.count("</settings>") == 4


def answer_with(old: str, new: str) -> str:
    """The answer file with one thing changed, which must be there."""
    assert old in ANSWER, old
    return ANSWER.replace(old, new)


def config_with(old: str, new: str) -> str:
    """The configuration with one thing changed, which must be there."""
    assert old in CONFIG, old
    return CONFIG.replace(old, new)
