"""The failures that people report and that show before power-on: each is seen, and only then.

The numbers are those of the collection the project keeps of public reports; each row names one of
the reports. Not to be seen before power-on: 12 and 18 to 20 (rights, uploads, clean-up), 15
(clones); 23 (an upgrade to the next Server) is part of 21.
"""

import pytest

from builder.errors import ExitCode
from builder.media.catalog import Signer
from builder.rehearsal.facts import Content, DiscFacts, DiscKind
from builder.rehearsal.make import rehearse
from tests import rehearsals as base
from tests.rehearsals import Scene, answer_with, command, config_with, driver_paths, on_letters

SPECIALIZE = "<RunSynchronous>" + command(base.INSTALL_AGENT) + "</RunSynchronous>"


def specialize(text: str) -> str:
    return answer_with(SPECIALIZE, f"<RunSynchronous>{command(text)}</RunSynchronous>")


def logon(text: str, *, auto: bool = True) -> str:
    enabled = "<AutoLogon><Enabled>true</Enabled><Username>Administrator</Username></AutoLogon>"
    commands = command(text, kind="SynchronousCommand")
    more = f"{enabled if auto else ''}<FirstLogonCommands>{commands}</FirstLogonCommands>"
    return answer_with("<UserAccounts>", f"{more}<UserAccounts>")


def winpe_paths(paths: list[str], **more: str) -> str:
    new = base.component("PnpCustomizationsWinPE", driver_paths(paths))
    text = answer_with(base.WINPE_PATHS, new)
    for old, other in more.items():
        text = text.replace(old, other)
    return text


def stale(kind: str = "answer") -> DiscFacts:
    text = base.ANSWER.replace("srv01", "old01")
    if kind == "winpe":
        return DiscFacts(
            name="old.iso",
            kind=DiscKind.OTHER,
            files=frozenset({"$winpedriver$/vioscsi/vioscsi.inf"}),
            shown=frozenset({"$winpedriver$"}),
        )
    return DiscFacts(
        name="old.iso",
        kind=DiscKind.ANSWER,
        files=frozenset({"autounattend.xml"}),
        shown=frozenset({"autounattend.xml"}),
        answers={"autounattend.xml": text.encode()},
    )


BIOS = config_with("bios: ovmf", "bios: seabios")
LAST = "<Order>3</Order><Type>Primary</Type><Extend>true</Extend>"
PAINS = [
    ("1 packer#10653", Scene(prompts=True), "firmware.key", "risk"),
    ("1 quickemu#1341", Scene(prompts=True, content=Content.USED), "firmware.order", "stop"),
    (
        "2 packer#10252",
        Scene(config=config_with("order=scsi0;ide2", "order=ide2;scsi0")),
        "firmware.order",
        "stop",
    ),
    (
        "2 packer#10662",
        Scene(config=config_with("order=scsi0;ide2", "order=ide2")),
        "firmware.order",
        "stop",
    ),
    (
        "3 unattend-generator#400",
        Scene(answer=winpe_paths(on_letters(("vioscsi",), "E"))),
        "storage.letters",
        "risk",
    ),
    (
        "3 GOAD#183",
        Scene(answer=winpe_paths(on_letters(("vioscsi",), "Q"))),
        "storage.letters",
        "stop",
    ),
    (
        "3 the same in offlineServicing",
        Scene(
            answer=answer_with(
                base.OFFLINE_PATHS,
                base.component(
                    "PnpCustomizationsNonWinPE", driver_paths(on_letters(base.DRIVERS, "E"))
                ),
            )
        ),
        "devices.virtio-net.letters",
        "risk",
    ),
    (
        "4 unattend-generator#400",
        Scene(
            config=config_with("scsi0: local-lvm", "virtio0: local-lvm").replace(
                "order=scsi0", "order=virtio0"
            )
        ),
        "storage.disk",
        "stop",
    ),
    (
        "5 kvm-guest-drivers-windows#1100",
        Scene(build=26100, boot_build=26100, config=config_with("sata0: local", "scsi5: local")),
        "firmware.cd-bus",
        "stop",
    ),
    ("6 joefitzgerald/packer-windows#259", Scene(config=BIOS), "partitions.firmware", "stop"),
    (
        "6 incus-windows#5",
        Scene(answer=answer_with("<DiskID>0</DiskID><WillWipe", "<DiskID>1</DiskID><WillWipe")),
        "partitions.number",
        "stop",
    ),
    (
        "6 a disk that is too small",
        Scene(answer=answer_with("<Extend>true</Extend>", "<Size>900000</Size>")),
        "partitions.fit",
        "stop",
    ),
    ("7 unattend-generator#6", Scene(answer=specialize("x" * 260)), "commands-specialize.length",
     "stop"),
    ("7 LocalUser.App#8", Scene(answer=base.ANSWER[:-20]), "answer.WS001", "stop"),
    (
        "7 windows-batch#50",
        Scene(answer=answer_with("<ComputerName>srv01<", "<ComputerName>a-name-that-is-longer<")),
        "answer.WS404",
        "stop",
    ),
    (
        "8 reinstall#86",
        Scene(answer=answer_with("INDEX</Key><Value>1", "NAME</Key><Value>Windows 9")),
        "image.choice",
        "stop",
    ),
    (
        "8 winode#10",
        Scene(answer=answer_with(base.IMAGE[base.IMAGE.index("<InstallFrom>"):
                                            base.IMAGE.index("<InstallTo>")], "")),
        "image.choice",
        "stop",
    ),
    (
        "8 one-apps#225",
        Scene(answer=answer_with(f"<Key>{base.KMS_2022['standard']}</Key>", "<Key></Key>")),
        "image.key",
        "stop",
    ),
    ("8 a KMS key on evaluation media", Scene(evaluation=True), "image.key", "stop"),
    (
        "8 AutomatedLab#434",
        Scene(answer=answer_with(base.KMS_2022["standard"], base.KMS_2022["datacenter"])),
        "image.key",
        "stop",
    ),
    (
        "9 unattend-generator#64",
        Scene(answer=answer_with("<UILanguage>en-US<", "<UILanguage>de-DE<")),
        "image.language",
        "stop",
    ),
    ("9 unattend-generator#88", Scene(answer=answer_with(base.LANGUAGES, "")), "image.language",
     "stop"),
    (
        "10 UnattendedWinstall#29",
        Scene(answer_shown=frozenset({"autounat.xml"})),
        "discovery.name",
        "stop",
    ),
    ("11 ans-pve-win-templ#2", Scene(config=config_with("agent: 1\n", "")), "first-boot.agent",
     "risk"),
    ("11 tp-qemu#2728", Scene(answer=base.ANSWER.replace("vioserial", "viorng")),
     "devices.virtio-serial.missing", "risk"),
    (
        "11 proxmox-packer-templates#180",
        Scene(answer=logon("msiexec /i C:\\agent.msi /qn")),
        "commands-oobeSystem.msiexec",
        "risk",
    ),
    (
        "13 unattend-generator#119",
        Scene(answer=specialize(r"C:\virtio-win-guest-tools.exe /S")),
        "commands-specialize.guest-tools",
        "risk",
    ),
    ("14 virtio-win-pkg-scripts#61", Scene(signer=Signer.TEST_SIGNED), "storage.disk", "stop"),
    (
        "14 a folder for a newer Windows",
        Scene(
            build=14393,
            boot_build=14393,
            folder="2k25",
            answer=base.ANSWER.replace("2k22", "2k25"),
        ),
        "storage.disk",
        "stop",
    ),
    ("16 unattend-generator#229", Scene(answer=logon("cmd /c exit")), "first-boot.logon", "risk"),
    (
        "16 FirstLogonCommands and nobody logs on",
        Scene(answer=logon("cmd /c exit", auto=False)),
        "answer.WS505",
        None,
    ),
    (
        "17 PackerBuilds#10",
        Scene(config=config_with("00:00:01", "00:00:02")),
        "network.mac",
        "stop",
    ),
    (
        "17 vSphereAutoLab#23",
        Scene(answer=answer_with("BC-24-11-00-00-01", "Ethernet")),
        "network.alias",
        "risk",
    ),
    (
        "21 windows-vagrant disable-windows-updates.ps1",
        Scene(
            answer=specialize(
                r"reg add HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU "
                "/v NoAutoUpdate /t REG_DWORD /d 1 /f"
            )
        ),
        "first-boot.updates",
        "risk",
    ),
    ("22 netboot.xyz#108", Scene(boot_build=26100), "image.setup", "risk"),
    (
        "24 a dialog that waits for ever",
        Scene(answer_files=frozenset({"scripts/agent.cmd"})),
        "first-boot.errors",
        "risk",
    ),
    ("a stale answer file, unattend-generator#28", Scene(others=(stale(),)), "discovery.winner",
     "stop"),
    (
        "drivers of another disc, KB 2686316",
        Scene(others=(stale("winpe"),)),
        "discovery.winpe-driver",
        "risk",
    ),
    ("a used disk is erased", Scene(content=Content.USED), "partitions.wipe", "stop"),
    (
        "any of two disks is erased",
        Scene(config=base.CONFIG + "scsi1: local-lvm:vm-101-disk-2,size=100G\n"),
        "partitions.many",
        "stop",
    ),
    (
        "BIOS with the new Setup, unattend-generator#459",
        Scene(config=BIOS, build=26100, boot_build=26100),
        "firmware.boot-code",
        "stop",
    ),
    ("a zone that Windows does not know", Scene(answer=answer_with(">UTC<", ">CET<")), "clock.zone",
     "stop"),
    (
        "a clock that shows UTC",
        Scene(answer=answer_with(">UTC<", ">W. Europe Standard Time<")),
        "clock.hardware",
        "risk",
    ),
    (
        "a script that is on no disc",
        Scene(answer=specialize(r"cmd.exe /c E:\missing\setup.cmd")),
        "commands-specialize.file",
        "stop",
    ),
    (
        "a script on one letter, packer#7950",
        Scene(answer=specialize(r"cmd.exe /c E:\scripts\agent.cmd")),
        "commands-specialize.file",
        "risk",
    ),
    (
        "Extend before the last partition",
        Scene(
            answer=answer_with(
                f"{LAST}</CreatePartition>",
                f"{LAST}</CreatePartition><CreatePartition wcm:action='add'><Order>4</Order>"
                "<Type>Primary</Type><Size>1024</Size></CreatePartition>",
            )
        ),
        "partitions.fit",
        "stop",
    ),
    (
        "only drvload brings the driver, KB 2686316",
        Scene(
            answer=answer_with(base.WINPE_PATHS, "")
            .replace(base.OFFLINE_PATHS, "<!-- -->")
            .replace(
                "<UserData>",
                "<RunSynchronous>"
                + command(
                    r"cmd.exe /c for %d in (C D E F) do drvload %d:\vioscsi\2k22\amd64\vioscsi.inf"
                )
                + "</RunSynchronous><UserData>",
            )
        ),
        "devices.virtio-scsi.missing",
        "stop",
    ),
    (
        "an odd IDE slot of q35",
        Scene(config=config_with("ide0: local", "ide1: local")),
        "firmware.ide-unit",
        "risk",
    ),
    (
        "no CD in the boot order",
        Scene(config=config_with("order=scsi0;ide2", "order=scsi0")),
        "firmware.order",
        "stop",
    ),
    ("media that boot another firmware", Scene(boots=frozenset({"bios"})), "firmware.loader",
     "stop"),
    (
        "a disc that is not mounted",
        Scene(config=config_with("sata0: local:iso/answer.iso,media=cdrom\n", "")),
        "firmware.mounted",
        "risk",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def clean():
    return Scene().steps()


def test_nothing_stops_the_scene_that_is_broken_below(clean):
    stops = [(name, found) for name, found in clean.items() if "stop" in dict(found)]
    assert stops == []


@pytest.mark.parametrize(("scene", "step", "verdict"), [row[1:] for row in PAINS],
                         ids=[row[0] for row in PAINS])  # fmt: skip
def test_pain_is_seen(scene, step, verdict, clean):
    before = {found for found, _ in clean.get(step, [])}
    after = {found for found, _ in scene.steps().get(step, [])}
    if verdict is None:
        assert after
        assert not before
    else:
        assert verdict in after
        assert verdict not in before


def test_what_detectable_pains_are_covered():
    numbers = {row[0].split()[0] for row in PAINS if row[0][0].isdigit()}
    assert numbers == {*map(str, (*range(1, 12), 13, 14, 16, 17, 21, 22, 24))}


@pytest.mark.parametrize(
    ("scene", "code"),
    [
        (Scene(), ExitCode.DONE),
        (Scene(signer=Signer.UNSIGNED), ExitCode.MEDIA),
        (Scene(answer=answer_with(base.LANGUAGES, "")), ExitCode.ANSWER),
        (Scene(content=Content.USED, answer=answer_with(base.LANGUAGES, "")), ExitCode.UNSAFE),
    ],
)
def test_exit_code_is_that_of_the_gravest_stop(scene, code):
    assert rehearse(scene.facts()).exit_code is code
