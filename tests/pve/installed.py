"""Windows as it lies on a disk: what Setup made of an answer ISO, and what our scripts changed.

The answer ISO is read as bytes: the marker's name in its Joliet tree (UTF-16BE), the answer file
and `data-disks.ps1` as they lie on it. A folder named by a driver counts as that driver installed.
"""

import base64
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

MARKER_NAME = re.compile(rb"((?:\x00[0-9a-f]){12})\x00\.\x00i\x00d")
ANSWER_FILE = re.compile(rb"<\?xml[^>]*>\s*<unattend .*?</unattend>", re.DOTALL)
POLICY = re.compile(r"WindowsUpdate(?:\\(\w+))? /v (\w+) /t \w+ /d \"([^\"]*)\"")
DATA_DISK = re.compile(
    rb"@\{ Letter = '(\w)'; Label = '([^']*)'; FileSystem = '(\w+)'; Unit = \d+;"
    rb" Bytes = (\d+)GB; Slot = (\d+) \}"
)
DRIVERS = ("vioscsi", "viostor", "NetKVM", "Balloon", "vioserial", "viorng", "viogpudo", "viofs")
BUILDS = {"2012": 9600, "2016": 14393, "2019": 17763, "2022": 20348, "2025": 26100}
RELEASE = re.compile("|".join(BUILDS))
NAMESPACE = "{urn:schemas-microsoft-com:unattend}"


@dataclass(frozen=True, kw_only=True)
class WantedDisk:
    """A line of `data-disks.ps1`."""

    letter: str
    label: str
    filesystem: str
    gib: int
    slot: int


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What an answer ISO tells Setup."""

    fingerprint: str
    computer_name: str
    password: str
    policies: dict[tuple[str, str], str]
    drivers: frozenset[str]
    disks: tuple[WantedDisk, ...]
    image: str  # index or name


def read_answers(content: bytes) -> Answers | None:
    """The answers on an ISO, None when it is none of ours."""
    name, text = MARKER_NAME.search(content), ANSWER_FILE.search(content)
    if name is None or text is None:
        return None
    root = ET.fromstring(text[0])
    commands = [path.text or "" for path in root.iter(f"{NAMESPACE}Path")]
    found = [POLICY.search(command) for command in commands]
    named = next((one.text for one in root.iter(f"{NAMESPACE}ComputerName")), "") or ""
    chosen = root.iter(f"{NAMESPACE}MetaData")
    image = " ".join(one.findtext(f"{NAMESPACE}Value") or "" for one in chosen)
    paths = "\n".join(commands).casefold()
    return Answers(
        fingerprint=name[1].replace(b"\0", b"").decode(),
        computer_name=named,
        password=_administrator(root),
        policies={(one[1] or "", one[2]): one[3] for one in found if one},
        drivers=frozenset(one for one in DRIVERS if f"\\{one.casefold()}" in paths),
        disks=tuple(
            WantedDisk(
                letter=row[0].decode(),
                label=row[1].decode(),
                filesystem=row[2].decode(),
                gib=int(row[3]),
                slot=int(row[4]),
            )
            for row in DATA_DISK.findall(content)
        ),
        image=image.strip(),
    )


def _administrator(root: ET.Element) -> str:
    element = next(root.iter(f"{NAMESPACE}AdministratorPassword"), None)
    if element is None:
        return ""
    value = element.findtext(f"{NAMESPACE}Value") or ""
    if element.findtext(f"{NAMESPACE}PlainText") == "true":
        return value
    return base64.b64decode(value).decode("utf-16-le").removesuffix("AdministratorPassword")


@dataclass(kw_only=True)
class Account:
    """A local account."""

    name: str
    rid: int
    password: str
    groups: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class Installed:
    """A Windows on its disk; all of it survives restarts. Tests change what they need."""

    computer_name: str = "WIN-RANDOM"
    edition: str = "ServerStandard"
    installation_type: str = "Server Core"
    build: int = 20348
    image_state: str = "IMAGE_STATE_UNDEPLOYABLE"
    answers: Answers | None = None
    domain_role: int = 2
    domain: str = "WORKGROUP"
    accounts: list[Account] = field(default_factory=list)
    policies: dict[tuple[str, str], str] = field(default_factory=dict)
    drivers: set[str] = field(default_factory=set)
    pending: list[str] = field(default_factory=list)
    failed_steps: list[str] = field(default_factory=list)
    letters: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # by path; where secrets may be left
    stubborn: set[str] = field(default_factory=set)  # paths that cannot be removed
    results: dict[str, str] = field(default_factory=dict)  # our results folder: <id>.json
    started: set[str] = field(default_factory=set)  # and <id>.started
    effects: list[tuple[str, str]] = field(default_factory=list)  # script and id, as they came
    undriven: list[tuple[str, str]] = field(default_factory=list)  # more devices: id and name
    joins: bool = True
    joined: bool = False
    boots: int = 0

    @property
    def administrator(self) -> Account:
        return next(account for account in self.accounts if account.rid == 500)

    @property
    def marked(self) -> bool:
        return DONE in self.files

    def restart(self) -> None:
        """What a start of Windows completes."""
        self.boots += 1
        self.pending.clear()
        if self.joined:
            self.domain_role, self.domain = 3, "ad.example.com"


ROOT = "C:\\ProgramData\\winseed"
DONE = f"{ROOT}\\done.json"
RESULTS = f"{ROOT}\\results"
PANTHER = "C:\\Windows\\Panther\\unattend.xml"
SCRIPTS = "C:\\Windows\\Setup\\Scripts\\SetupComplete.cmd"
ERRORS = "C:\\Windows\\Panther\\setuperr.log"


def apply_image(answers: Answers | None, *, name: str, medium: str) -> Installed:
    """What Setup leaves on the disk before the first start from it.

    The release is what the name of the medium says; indexes are those of usual media.
    """
    windows = Installed(answers=answers, files={ERRORS: b"Setup began\r\n"})
    password = answers.password if answers else ""
    windows.accounts.append(Account(name="Administrator", rid=500, password=password))
    if answers is None:
        windows.computer_name = name.upper()[:15] or windows.computer_name
        return windows
    windows.computer_name = answers.computer_name.upper()
    release = RELEASE.search(f"{answers.image} {medium}")
    windows.build = BUILDS[release[0]] if release else windows.build
    core = "CORE" in answers.image or answers.image in {"1", "3"}
    windows.installation_type = "Server Core" if core else "Server"
    if "DATACENTER" in answers.image or answers.image in {"3", "4"}:
        windows.edition = "ServerDatacenter"
    windows.policies = dict(answers.policies)
    windows.drivers = set(answers.drivers)
    windows.files[PANTHER] = f"<unattend>{answers.password}</unattend>".encode()
    windows.files[SCRIPTS] = b"@echo off\r\n"
    return windows


def finish_first_boot(windows: Installed) -> None:
    """The marker, as `first-boot.ps1` writes it; without our answers there is none."""
    windows.image_state = "IMAGE_STATE_COMPLETE"
    if windows.answers is None or windows.marked:
        return
    report = {
        "version": 1,
        "id": windows.answers.fingerprint,
        "ok": not windows.failed_steps,
        "failed": windows.failed_steps,
        "steps": [],
        "finished": "2026-11-21T12:00:00Z",
    }
    windows.files.pop(PANTHER, None)  # the first boot scrubs what Setup keeps
    windows.files[DONE] = json.dumps(report).encode()
    windows.files[f"{ROOT}\\logs\\first-boot.log"] = b"winseed: phase=done\r\n"
    windows.files[f"{ROOT}\\files\\package.msi"] = b"package"
