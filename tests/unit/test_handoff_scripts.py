"""The scripts of hand-offs: Windows PE's start in `tests.windows_cmd`, PowerShell by its grammar.

What each program would do is made up here; what is shown is the order, and that every failure
ends in a machine that is off instead of one that waits or goes on.
"""

import re
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.unit.test_scripts import CMD_LINE, broken
from tests.windows_cmd import Cmd, PoweredOffError, _outside

GOLDEN = ROOT / "tests/golden/handoff"
HERE = "X:\\Windows\\System32\\"
WINDOWS = "C:\\Windows\\System32\\config\\SYSTEM"


class RestartedError(Exception):
    """wpeutil reboot."""


class StartCmd(Cmd):
    """With `||`, which the guard does without."""

    def _statement(self, text: str) -> None:
        outside = [at for at, sign, depth in _outside(text) if sign == "|" and depth == 0]
        conditional = re.match(r"\s*(if|for) ", text)
        if conditional or len(outside) < 2:
            super()._statement(text)
            return
        assert outside[1] == outside[0] + 1, f"a pipe: {text}"
        super()._statement(text[: outside[0]])
        if self.level != 0:
            super()._statement(text[outside[1] + 1 :])


class World:
    """Windows PE as the start script sees it; `fails` are commands that go wrong."""

    def __init__(self, way: str, *, missing: tuple[str, ...] = (), fails: tuple[str, ...] = ()):
        self.done: list[str] = []
        self.fails = fails
        script = (GOLDEN / f"ipxe-{way}/http/winpe/{way}/winseed-start.cmd").read_text()
        self.host = (GOLDEN / f"ipxe-{way}/http/hosts/dc01/host.cmd").read_text()
        names = {
            **dict.fromkeys(("net", "xcopy", "start", "dism", "diskpart", "drvload", "wpeinit")),
            **dict.fromkeys(("ping", "del", "wpeutil", "call")),
            f'"{HERE}curl.exe"'.lower(): None,
            '"w:\\windows\\system32\\bcdboot.exe"': None,
        }
        self.cmd = StartCmd(script, programs={name: self.program(name) for name in names})
        self.cmd.variables["SYSTEMROOT"] = "X:\\Windows"
        files = ["winseed-host.cmd", "winseed-login.cmd", "winseed-answer.xml", "curl.exe"]
        present = {f"{HERE}{name}" for name in files}
        present |= {
            "Y:\\autounattend.xml",
            "Y:\\medium\\winseed\\FINGERPRINT.id",
            "Z:\\sources\\setup.exe",
            WINDOWS,
            "X:\\winseed\\go.txt",
            "W:\\",
            "W:\\winseed-medium\\winseed\\FINGERPRINT.id",
            "W:\\winseed-medium\\drivers",
        }
        self.cmd.files = dict.fromkeys(present - set(missing), "")

    def program(self, name: str):
        def run(arguments: str) -> tuple[int, str]:
            text = f"{name.rpartition(chr(92))[2].strip(chr(34))} {arguments}".strip()
            self.done.append(text)
            if text == "wpeutil shutdown":
                raise PoweredOffError
            if text == "wpeutil reboot":
                raise RestartedError
            if name == "call" and "winseed-host" in arguments:
                for key, value in re.findall(r'set "(\w+)=(.*)"', self.host):
                    self.cmd.variables[key] = value
            return (1 if any(fail in text for fail in self.fails) else 0), ""

        return run

    def boot(self) -> str:
        try:
            self.cmd.run()
        except PoweredOffError:
            return "off"
        except RestartedError:
            return "restarted"
        return "ended"

    def order(self, *words: str) -> list[int]:
        return [next(i for i, text in enumerate(self.done) if word in text) for word in words]


def test_share_in_order():
    world = World("share")
    assert world.boot() == "restarted"
    steps = world.order(
        "wpeinit", "drvload", "wpeutil WaitForNetwork", "net use Y:", "net use Z:", "start", "xcopy"
    )
    assert steps == sorted(steps)
    (setup,) = [text for text in world.done if text.startswith("start ")]
    assert setup == (
        'start /wait "" "Z:\\sources\\setup.exe" /unattend:Y:\\autounattend.xml /noreboot'
    )
    (copy,) = [text for text in world.done if text.startswith("xcopy ")]
    assert '"Y:\\medium" "C:\\winseed-medium"' in copy
    loaded = [text for text in world.done if text.startswith("drvload ")]
    assert len(loaded) == 3
    assert "winseed: phase=staged target=C:" in world.cmd.serial


def test_http_in_order():
    world = World("http")
    assert world.boot() == "restarted"
    steps = world.order(
        "wpeinit",
        "drvload",
        "/winpe.txt",
        "winpe.cmd",
        "diskpart",
        "/media/",
        "dism /apply-image",
        "del ",
        "/medium.txt",
        "dism /image",
        "bcdboot.exe",
    )
    assert steps == sorted(steps)
    assert any("/index:1 /applydir:W:\\" in text for text in world.done)
    assert any("/s S: /f UEFI" in text for text in world.done)
    assert "winseed: phase=applied" in world.cmd.serial


SHARE_MISSING = {
    f"{HERE}winseed-host.cmd": "no-host-file",
    f"{HERE}winseed-login.cmd": "no-login",
    "Y:\\autounattend.xml": "share-incomplete",
    "Y:\\medium\\winseed\\FINGERPRINT.id": "share-incomplete",
    "Z:\\sources\\setup.exe": "share-incomplete",
    WINDOWS: "setup-installed-nothing",
}
HTTP_MISSING = {
    f"{HERE}winseed-host.cmd": "no-host-file",
    f"{HERE}winseed-answer.xml": "no-answer-file",
    "X:\\winseed\\go.txt": "guard",
    "W:\\": "partition",
    "W:\\winseed-medium\\winseed\\FINGERPRINT.id": "files",
}
FAILS = {
    ("share", "net use Y:"): "share",
    ("share", "net use Z:"): "share",
    ("share", "xcopy"): "medium-not-copied",
    ("http", "/winpe.txt"): "http",
    ("http", 'winseed\\winpe.txt"'): "http",
    ("http", "diskpart"): "partition",
    ("http", "/media/"): "image",
    ("http", "/apply-image"): "image",
    ("http", "/medium.txt"): "files",
    ("http", 'winseed\\medium.txt"'): "files",
    ("http", "/add-driver"): "drivers",
    ("http", "bcdboot.exe"): "boot-files",
}


@pytest.mark.parametrize(
    ("way", "missing", "reason"),
    [
        *(("share", path, reason) for path, reason in SHARE_MISSING.items()),
        *(("http", path, reason) for path, reason in HTTP_MISSING.items()),
    ],
)
def test_what_is_missing_is_told_and_ends(way, missing, reason):
    world = World(way, missing=(missing,))
    assert world.boot() == "off"
    assert any(f"start=failed reason={reason}" in line for line in world.cmd.serial)


@pytest.mark.parametrize(("failing", "reason"), FAILS.items())
def test_what_fails_is_told_and_ends(failing, reason):
    way, command = failing
    world = World(way, fails=(command,))
    assert world.boot() == "off"
    assert any(f"start=failed reason={reason}" in line for line in world.cmd.serial)
    assert "wpeutil reboot" not in world.done


def test_no_guard_no_partition():
    """The disk is touched only after the guard has left its mark."""
    world = World("http", missing=("X:\\winseed\\go.txt",))
    world.boot()
    assert not [text for text in world.done if text.startswith(("diskpart", "dism"))]


SCRIPTS = sorted(path for path in GOLDEN.rglob("*.ps1"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_powershell_parses(path):
    reason = "needs the Python packages tree-sitter and tree-sitter-powershell"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip("tree_sitter_powershell", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    tree = parser.parse(path.read_bytes())
    assert not tree.root_node.has_error, broken(tree.root_node)
    text = path.read_text()
    tries = re.findall(r"^\s*try \{", text, re.MULTILINE)
    ends = re.findall(r"^\s*\} (?:catch|finally) \{", text, re.MULTILINE)
    assert len(tries) == len(ends)
    defined = set(re.findall(r"^function ([\w-]+)", text, re.MULTILINE))
    approved = {"Write", "Test", "Get", "ConvertTo", "Confirm", "Import", "New", "Start", "Wait"}
    assert {name.partition("-")[0] for name in defined} <= approved | {"Remove", "Add"}
    used = set(re.findall(r"\b([A-Z][a-z]+-[A-Z]\w+)\b", text))
    assert {name for name in used if name not in defined} <= KNOWN, used - KNOWN - defined


# learn.microsoft.com: modules WDS, Hyper-V, CimCmdlets and those of PowerShell 5.1 itself
KNOWN_TEXT = """
Add-VMDvdDrive Add-VMHardDiskDrive Add-VMNetworkAdapter Add-WdsDriverPackage ConvertFrom-Json
Copy-Item Copy-WdsInstallImage Enable-VMTPM ForEach-Object Get-CimAssociatedInstance
Get-CimInstance Get-Command Get-Content Get-Credential Get-Date Get-FileHash Get-ItemProperty Get-VM
Get-VMDvdDrive Get-VMHardDiskDrive Get-VMHost Get-VMNetworkAdapter Get-WdsBootImage
Get-WdsClient Get-WdsDriverPackage Get-WdsInstallImage Get-WdsInstallImageGroup Import-Module
Import-WdsBootImage Import-WdsDriverPackage Import-WdsInstallImage Invoke-CimMethod Join-Path
New-Item New-ItemProperty New-Object New-VHD New-VM New-WdsClient New-WdsInstallImageGroup
Out-Null Read-Host Remove-Item Remove-VMDvdDrive Rename-VMNetworkAdapter Select-Object
Set-StrictMode Set-VM Set-VMComPort Set-VMFirmware Set-VMKeyProtector Set-VMMemory
Set-VMNetworkAdapter Set-VMNetworkAdapterVlan Set-WdsClient Set-WdsInstallImage Sort-Object
Split-Path Start-Sleep Start-VM Test-Path Where-Object Write-Host Write-Output Write-Warning
"""
KNOWN = set(KNOWN_TEXT.split())


def test_texts_of_windows_pe_are_short_and_plain():
    for path in GOLDEN.rglob("*"):
        if path.suffix in {".cmd", ".ini"}:
            lines = path.read_text(encoding="ascii").splitlines()
            assert max(map(len, lines)) < CMD_LINE
    for path in GOLDEN.rglob("winpeshl.ini"):
        # learn.microsoft.com, winpeshl.ini reference: 250 characters, no shell syntax
        head, command = path.read_text().splitlines()
        assert head == "[LaunchApps]"
        assert len(command) <= 250


def test_marks_of_wds_stand_where_secrets_would(tmp_path, capsys, discs, trusted):
    from tests.handoffs import SPEC, hand_off

    spec = SPEC + (
        'workgroup = "X"\n[[host.account]]\nname = "ops"\npassword_env = "NEVER_READ"\n'
        '[[host.account]]\nname = "two"\npassword_env = "NEVER_READ"\n'
    )
    done = hand_off(capsys, discs, tmp_path, "wds", "--inject", spec=spec)
    assert done.code == 0, done.err
    image = (tmp_path / "out/unattend/image/b2.xml").read_text()
    assert re.findall(r"__WINSEED_\w+?__", image) == [
        "__WINSEED_ADMINISTRATOR__",
        "__WINSEED_ACCOUNT_1__",
        "__WINSEED_ACCOUNT_2__",
    ]
    client = (tmp_path / "out/unattend/client/b2.xml").read_text()
    assert set(re.findall(r"__WINSEED_(\w+?)__", client)) == {
        "LOGIN_DOMAIN",
        "LOGIN_PASSWORD",
        "LOGIN_USER",
    }
    assert re.findall(r'settings pass="(\w+)"', client) == ["windowsPE"]
    assert re.findall(r'settings pass="(\w+)"', image) == ["specialize", "oobeSystem"]
    script = Path(tmp_path / "out/import-wds.ps1").read_text(encoding="utf-8-sig")
    known = re.findall(r"'(__WINSEED_\w+?__|__WINSEED_ACCOUNT_\*)'", script)
    assert {"__WINSEED_ADMINISTRATOR__", "__WINSEED_ACCOUNT_*", "__WINSEED_LOGIN_USER__"} <= set(
        known
    )
