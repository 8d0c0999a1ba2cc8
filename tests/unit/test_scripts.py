"""The scripts of Windows PE, specialize and the first boot, as their interpreters read them.

PowerShell is parsed by tree-sitter-powershell, a grammar of somebody else's making that is
stricter than Windows in places: our scripts stay within what it accepts. The disk guard of
`winpe.cmd` runs in `tests.windows_cmd`, on the words that diskpart prints in several languages.
"""

import dataclasses
import re
from functools import cache
from pathlib import Path

import pytest

from builder.answer.render import render_scripts
from builder.media.shelf import Shelf
from builder.plan.make import Secrets
from builder.plan.packages import DriverSource
from builder.planning import plan_host
from builder.spec.load import load_site
from builder.values import Secret
from tests.windows_cmd import Cmd, PoweredOffError

SECRET = "Secret-Administrator-1"
ACCOUNT_SECRET = "Secret-Account-1"
CMD_LINE = 8191  # learn.microsoft.com, "Command prompt line string limitation"

BARE = """
[[host]]
name = "srv"
release = "2019"
disk = { bus = "sata" }
nic = [ { model = "e1000e" } ]
machine = { agent = false, balloon = false }
"""
OLD = """
[[host]]
name = "srv"
release = "2012r2"
updates = { mode = "disabled" }
disk = { wipe = "existing", bus = "virtio" }
"""
FULL = """
[[host]]
name = "srv"
release = "2025"
edition = "desktop"
remote = { winrm = true, rdp = true, ssh = true, allow_from = ["10.0.0.0/8", "LocalSubnet"] }
updates = { mode = "wsus", server = "http://wsus:8530", target_group = "Ann's & Bob's" }
settings = { server_manager = false }
machine = { rng = true, virtiofs = true, vga = "virtio" }
first_boot = ["one.cmd", "two.ps1"]
data_disk = [
  { letter = "D", label = "Daten äöü \u2019x\u2019", size_gib = 10, slot = 1 },
  { letter = "E", size_gib = 20, slot = 2, filesystem = "refs", allocation_unit = 65536 },
]
account = [
  { name = "o'neil", groups = ["users", "administrators"], password_env = "NEVER_READ" },
]
"""
CORE = """
[[host]]
name = "srv"
release = "2022"
updates = { mode = "disabled" }
settings = { sconfig = false }
remote = { ssh = true, openssh_package = "openssh.msi" }
"""
DOCUMENTS = {"default": None, "bare": BARE, "old": OLD, "full": FULL, "core": CORE}
NAMES = [*DOCUMENTS, "carried"]


@pytest.fixture(scope="session")
def scripts(tmp_path_factory):
    """Scripts by path on the medium, by the name of a plan."""
    folder = tmp_path_factory.mktemp("scripts")
    for name in ("one.cmd", "two.ps1"):
        (folder / name).write_bytes(b"rem\r\n")
    (folder / "openssh.msi").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1"))

    @cache
    def render(name: str) -> dict[str, bytes]:
        plan = make_plan(folder, DOCUMENTS.get(name))
        if name == "carried":
            packages = tuple(
                dataclasses.replace(package, folder=f"drivers/{package.driver}")
                for package in plan.drivers.packages
            )
            drivers = dataclasses.replace(
                plan.drivers, source=DriverSource.ANSWER_ISO, packages=packages
            )
            plan = dataclasses.replace(plan, drivers=drivers)
        return {file.path: file.data for file in render_scripts(plan)}

    return render


def make_plan(folder: Path, document: str | None):
    site = load_site(document, source="site.toml", folder=folder, overrides={})
    (host,) = site.hosts
    return plan_host(
        host,
        site=site.spec.name,
        shelf=Shelf(),
        secrets=Secrets(
            administrator=Secret(SECRET),
            given=True,
            nonce="",
            accounts={account.name: Secret(ACCOUNT_SECRET) for account in host.account},
            join_blob=None,
            on_medium=True,
        ),
        version="0",
    )


def texts(rendered: dict[str, bytes], suffix: str) -> dict[str, str]:
    return {
        path: data.decode("utf-8-sig") for path, data in rendered.items() if path.endswith(suffix)
    }


def commands(text: str) -> list[str]:
    """The lines of a cmd file that are no comments and no labels."""
    return [
        line for line in text.split("\r\n") if line and not line.startswith((":", "rem ", "@echo"))
    ]


@pytest.mark.parametrize("name", NAMES)
def test_files_have_the_form_their_interpreter_reads(scripts, name):
    for path, data in scripts(name).items():
        assert b"\n" not in data.replace(b"\r\n", b""), path
        assert b"\r" not in data.replace(b"\r\n", b""), path
        assert data.endswith(b"\r\n"), path
        assert data.startswith(b"\xef\xbb\xbf") is path.endswith(".ps1"), path
        if path.endswith(".cmd"):
            assert data.isascii(), path
            assert max(map(len, data.split(b"\r\n"))) <= CMD_LINE, path


@pytest.mark.parametrize("name", NAMES)
def test_no_script_holds_a_secret(scripts, name):
    for path, data in scripts(name).items():
        assert SECRET.encode() not in data, path
        assert ACCOUNT_SECRET.encode() not in data, path


@pytest.mark.parametrize("name", NAMES)
def test_every_step_has_its_script(scripts, name):
    rendered = scripts(name)
    first = rendered["winseed/guest/first-boot.ps1"].decode("utf-8-sig")
    own = re.findall(r"Kind = 'own'; File = '([^']+)'", first)
    assert "scrub.ps1" in own
    for file in own:
        assert f"winseed/guest/{file}" in rendered


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_jumps_agree(scripts, name):
    for path, text in texts(scripts(name), ".cmd").items():
        lines = text.split("\r\n")
        labels = [line[1:] for line in lines if line.startswith(":")]
        called = set(re.findall(r"\bcall :(\w+)", text))
        jumped = set(re.findall(r"\bgoto (\w+)", text))
        assert len(labels) == len({label.lower() for label in labels}), path
        assert set(labels) == called | jumped, path
        for label in called:
            before = [line for line in lines[: lines.index(f":{label}")] if line][-1]
            assert before.startswith(("exit /b", "goto ")), f"{path} runs into :{label}"


@pytest.mark.parametrize("name", NAMES)
def test_cmd_text_is_harmless(scripts, name):
    """Hazards that cmd does not report: quotes, parentheses, redirections, expansion."""
    for path, text in texts(scripts(name), ".cmd").items():
        depth = 0
        for line in commands(text):
            assert line.count('"') % 2 == 0, f"{path}: {line}"
            bare = re.sub(r'"[^"]*"', '""', line)
            depth += bare.count("(") - bare.count(")")
            assert depth >= 0, f"{path}: {line}"
            assert "!" not in line, f"{path}: delayed expansion is off: {line}"
            assert not re.search(r"[^\s(]\d\^?>", bare), f"{path}: digit before >: {line}"
            if "COM1" in bare and "/d COM1" not in bare:
                assert re.search(r"2>nul \(>COM1 ", bare), f"{path}: COM1 may be absent: {line}"
        assert depth == 0, path


@pytest.mark.parametrize("name", NAMES)
def test_windows_pe_is_asked_for_what_it_has(scripts, name):
    """boot.wim has no findstr, timeout, choice, more, wmic or PowerShell (bin456789/reinstall
    windows-setup.bat says so of the first two and found out for all releases)."""
    text = scripts(name)["winseed/winpe.cmd"].decode()
    for line in commands(text):
        bare = re.sub(r'"[^"]*"', '""', line)
        assert "|" not in bare, line
        words = r"\b(findstr|timeout|choice|more|wmic|powershell|cscript|xcopy)\b"
        assert not re.search(words, bare, re.IGNORECASE), line


@pytest.mark.parametrize("name", NAMES)
def test_paths_of_windows_have_backslashes(scripts, name):
    for path, text in texts(scripts(name), ".cmd").items():
        for quoted in re.findall(r'"([^"]*)"', "\n".join(commands(text))):
            # an argument such as /grant never stands in quotes with a path
            assert "/" not in quoted or "powershell.exe" in quoted, f"{path}: {quoted}"


@pytest.mark.parametrize("name", NAMES)
def test_powershell_parses(scripts, name):
    reason = "needs the Python packages tree-sitter and tree-sitter-powershell"
    tree_sitter = pytest.importorskip("tree_sitter", reason=reason)
    grammar = pytest.importorskip("tree_sitter_powershell", reason=reason)
    parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
    for path, text in texts(scripts(name), ".ps1").items():
        tree = parser.parse(text.replace("\r\n", "\n").encode())
        assert not tree.root_node.has_error, f"{path}: {broken(tree.root_node)}"


@pytest.mark.parametrize("name", NAMES)
def test_every_try_has_a_catch(scripts, name):
    """The grammar takes a misspelt `catch` for a command."""
    for path, text in texts(scripts(name), ".ps1").items():
        tries = re.findall(r"^\s*try \{", text, re.MULTILINE)
        assert len(tries) == len(re.findall(r"^\s*\} catch \{", text, re.MULTILINE)), path


def broken(node) -> list[tuple[int, str]]:
    if node.type == "ERROR" or node.is_missing:
        return [(node.start_point.row + 1, node.text.decode()[:80])]
    return [found for child in node.children if child.has_error for found in broken(child)]


FORBIDDEN = {
    "PowerShell 5 or later": r"^\s*(class|enum|using) |\?\?|-Parallel\b|\s&&\s|\s\|\|\s",
    "absent from Server 2012 R2": r"(Get|New|Set)-Local(User|Group)|Get-ComputerInfo|Expand-Archive"
    r"|Get-CimInstance .*-Namespace root/standardcimv2|-NotAfter\b|::new\(",
    "absent from PowerShell under SYSTEM": r"Read-Host|Out-GridView|Start-Transcript",
    "ends the script by a word on the error stream": r"^\s*& (?!cmd\.exe)\S+ .*2>&1",
    "restarts": r"Restart-Computer|shutdown(\.exe)? ",
    "an alias or a dialog": r"\biex\b|Invoke-Expression|-Confirm\b(?!\s*=)",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("why", FORBIDDEN)
def test_powershell_keeps_to_version_4(scripts, name, why):
    for path, text in texts(scripts(name), ".ps1").items():
        lines = [re.sub(r"'[^']*'", "''", line.split("# ")[0]) for line in text.splitlines()]
        for line in lines:
            assert not re.search(FORBIDDEN[why], line), f"{path}: {why}: {line}"


# --- the disk guard, run ---------------------------------------------------------------------

BANNER = "\nMicrosoft DiskPart version 10.0.26100.1\n\nCopyright (C) Microsoft Corporation.\n"
NO_PARTITIONS = (
    "\nDisk 0 is now the selected disk.\n\nThere are no partitions on this disk to show.\n"
)
PARTITIONS = """
Disk 0 is now the selected disk.

  Partition ###  Type              Size     Offset
  -------------  ----------------  -------  -------
  Partition 1    System             260 MB  1024 KB
"""
DISKS = """
  Disk ###  Status         Size     Free     Dyn  Gpt
  --------  -------------  -------  -------  ---  ---
"""
DISK_0 = "* Disk 0    Online           60 GB    60 GB\n"
DISK_1 = "  Disk 1    Online          100 GB      0 B        *\n"
GERMAN = """
Microsoft DiskPart-Version 10.0.20348.1

Datenträger 0 ist jetzt der derzeit ausgewählte Datenträger.

Es sind keine Partitionen auf diesem Datenträger vorhanden.

  Datenträger ###  Status         Größe    Frei     Dyn  GPT
  ---------------  -------------  -------  -------  ---  ---
* Datenträger 0    Online           60 GB    60 GB
"""
JAPANESE = """
Microsoft DiskPart バージョン 10.0.17763.1

ディスク 0 が選択されました。

このディスクには表示するパーティションがありません。

  ディスク      状態           サイズ   空き   ダイナ GPT
  ###                                          ミック
  ------------  -------------  -------  -------  ---  ---
* ディスク 0    オンライン           60 GB    60 GB
"""
EMPTY = BANNER + NO_PARTITIONS + DISKS + DISK_0


@dataclasses.dataclass(frozen=True)
class Machine:
    diskpart: str = EMPTY
    count: str | None = "0x1"
    files: tuple[str, ...] = ()
    serial: bool = True
    uart: bool = False
    drvload: int = 0


def boot(script: bytes, machine: Machine) -> tuple[Cmd, bool]:
    """Run winpe.cmd; whether the VM was powered off."""
    told: list[str] = []

    def pnputil(arguments: str) -> tuple[int, str]:
        assert arguments == '/restart-device "ACPI\\PNP0501\\0"'
        named = 'PNP0501\\0\\Device Parameters" /v PortName /t REG_SZ /d COM1'
        assert any(named in line for line in told)
        return 0, ""

    def reg(arguments: str) -> tuple[int, str]:
        if machine.uart and arguments.startswith("query") and arguments.endswith('PNP0501"'):
            return 0, f"\n{UART}\\0\n{UART}\\1\n"
        if "disk\\Enum" not in arguments:
            told.append(arguments)
            return 1, ""
        if machine.count is None:
            return 1, "ERROR: The system was unable to find the specified registry key\n"
        key = "\nHKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\disk\\Enum\n"
        return 0, f"{key}    Count    REG_DWORD    {machine.count}\n\n"

    def shutdown(arguments: str) -> tuple[int, str]:
        assert arguments == "shutdown"
        raise PoweredOffError

    world = Cmd(
        script.decode(),
        serial=machine.serial,
        programs={
            "reg": reg,
            "wpeutil": shutdown,
            "ping": lambda _: (1, ""),
            "pnputil": pnputil,
            "drvload": lambda _: (machine.drvload, ""),
            "diskpart": lambda text: (0, machine.diskpart if "guard.txt" in text else BANNER),
        },
    )
    world.files = dict.fromkeys(machine.files, "")
    try:
        world.run("D:")
    except PoweredOffError:
        return world, True
    return world, False


UART = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Enum\\ACPI\\PNP0501"
GO = "X:\\winseed\\go.txt"
PASSING = {
    "empty": Machine(),
    "no serial port": Machine(serial=False),
    "serial port to name": Machine(uart=True),
    "serial port that stays shut": Machine(uart=True, serial=False),
    "German": Machine(diskpart=GERMAN),
    "Japanese": Machine(diskpart=JAPANESE),
    "registry silent": Machine(count=None),
    "driver there already": Machine(drvload=1),
}
STOPPING = {
    "two disks": (Machine(count="0x2", diskpart=EMPTY + DISK_1), "reason=disks"),
    "registry alone sees two": (Machine(count="0x2"), "reason=disks"),
    "diskpart alone sees two": (Machine(diskpart=EMPTY + DISK_1), "reason=disks"),
    "ten disks": (Machine(count="0xa"), "found=10"),
    "registry silent, two disks": (Machine(count=None, diskpart=EMPTY + DISK_1), "reason=disks"),
    "no disk": (Machine(count="0x0", diskpart=BANNER), "reason=no-disk"),
    "partitions": (
        Machine(diskpart=BANNER + PARTITIONS + DISKS + DISK_0),
        "reason=disk-has-partitions",
    ),
    "partitions, then an error": (Machine(diskpart=BANNER + PARTITIONS), "guard=stopped"),
    "diskpart silent": (Machine(diskpart=""), "reason=diskpart-failed"),
    "diskpart fails early": (
        Machine(diskpart=BANNER + "\nDiskPart has encountered an error: Access is denied.\n"),
        "reason=diskpart-failed",
    ),
    "another disk is selected": (
        Machine(diskpart=BANNER + NO_PARTITIONS + DISKS + "  Disk 0    Online  60 GB  60 GB\n"),
        "reason=disk-not-readable",
    ),
    "an old domain controller": (
        Machine(files=("C:\\Windows\\NTDS\\ntds.dit",)),
        "reason=domain-controller",
    ),
    "its database elsewhere": (Machine(files=("E:\\NTDS\\ntds.dit",)), "drive=E"),
    "an old system": (
        Machine(files=("C:\\Windows\\System32\\config\\SYSTEM",)),
        "reason=installed-system",
    ),
}


@pytest.mark.parametrize("name", ["default", "carried", "full", "bare"])
@pytest.mark.parametrize("machine", PASSING.values(), ids=PASSING)
def test_guard_lets_an_empty_disk_pass(scripts, name, machine):
    world, stopped = boot(scripts(name)["winseed/winpe.cmd"], machine)
    assert not stopped
    assert world.level == 0
    assert GO in world.files
    if machine.serial:
        assert "winseed: guard=passed" in world.serial


@pytest.mark.parametrize("name", ["default", "carried", "full", "bare"])
@pytest.mark.parametrize(("machine", "word"), STOPPING.values(), ids=STOPPING)
def test_guard_stops_for_everything_else(scripts, name, machine, word):
    world, stopped = boot(scripts(name)["winseed/winpe.cmd"], machine)
    assert stopped
    assert GO not in world.files
    assert any("guard=stopped" in line and word in line for line in world.serial)


SEVERAL = {
    *("two disks", "registry alone sees two", "diskpart alone sees two", "ten disks"),
    "registry silent, two disks",
}


@pytest.mark.parametrize("name", [*STOPPING, "empty"])
def test_wipe_existing_asks_only_for_a_single_disk(scripts, name):
    """Which of several disks is disk 0 nobody can tell, so even a permitted wipe stops."""
    machine = STOPPING[name][0] if name in STOPPING else Machine()
    several = name in SEVERAL
    world, stopped = boot(scripts("old")["winseed/winpe.cmd"], machine)
    assert stopped == several
    assert (GO in world.files) != several


def test_a_missing_disk_is_waited_for_half_a_minute(scripts):
    world, _ = boot(scripts("default")["winseed/winpe.cmd"], STOPPING["no disk"][0])
    (line,) = [line for line in world.serial if "waited=" in line]
    assert line == "winseed: disks=0 waited=30"
