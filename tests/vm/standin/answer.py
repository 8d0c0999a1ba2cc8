"""The answer file: where Setup finds it, and what this stand-in obeys of it.

Search order: learn.microsoft.com, "Windows Setup Automation Overview", implicit answer file search
order. Settings: Unattended Windows Setup Reference, the component that each function names.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

import world

NS = "{urn:schemas-microsoft-com:unattend}"
COMPONENT = "Microsoft-Windows-"


def find_answer_file(letters: world.Letters) -> tuple[str, Path]:
    """Letter and file of the first one.

    1. HKLM\\SYSTEM\\Setup UnattendFile, 2. %WINDIR%\\Panther\\Unattend, 3. %WINDIR%\\Panther:
    nothing of that is in an unchanged Windows PE. 4. removable read/write media: this VM has none.
    5. removable read-only media in the order of their letters, Autounattend.xml in the root.
    6. \\Sources of the distribution. 7. %SYSTEMDRIVE%.
    """
    cds = sorted(letter for letter, root in letters.roots.items() if root.name.startswith("sr"))
    for letter in cds:
        found = letters.find(f"{letter}:\\Autounattend.xml")
        if found is not None:
            return letter, found
    for letter in cds:
        found = letters.find(f"{letter}:\\sources\\Autounattend.xml")
        if found is not None and letters.find(f"{letter}:\\setup.exe") is not None:
            return letter, found
    raise world.Stopped("discovery", "no answer file: Setup asks for the language")


class AnswerFile:
    """An answer file that can be read; Stopped when it cannot."""

    def __init__(self, data: bytes) -> None:
        try:
            self.root = ET.fromstring(data)
        except ET.ParseError as error:
            raise world.Stopped("answer", f"could not parse or process: {error}") from error
        if self.root.tag != f"{NS}unattend":
            raise world.Stopped("answer", f"could not parse or process: {self.root.tag}")

    def component(self, passes: str, name: str) -> list[ET.Element]:
        """The components of that name; those for another architecture are passed over."""
        return [
            component
            for settings in self.root.iter(f"{NS}settings")
            if settings.get("pass") == passes
            for component in settings.iter(f"{NS}component")
            if component.get("name") == COMPONENT + name
            and component.get("processorArchitecture") == "amd64"
        ]

    def values(self, passes: str, name: str, path: str) -> list[str]:
        """The texts at a path like `UserData/ProductKey/Key`."""
        steps = "/".join(f"{NS}{step}" for step in path.split("/"))
        return [
            (element.text or "").strip()
            for component in self.component(passes, name)
            for element in component.findall(steps)
        ]

    def value(self, passes: str, name: str, path: str) -> str | None:
        found = self.values(passes, name, path)
        return found[0] if found else None

    def commands(self, passes: str, name: str) -> list[str]:
        """RunSynchronous, by Order."""
        rows = [
            (int(text(item, "Order") or 0), text(item, "Path") or "")
            for component in self.component(passes, name)
            for item in component.findall(f"{NS}RunSynchronous/{NS}RunSynchronousCommand")
        ]
        return [line for _, line in sorted(rows)]

    def driver_paths(self, passes: str, name: str) -> list[str]:
        return self.values(passes, name, "DriverPaths/PathAndCredentials/Path")


def text(element: ET.Element, name: str) -> str | None:
    found = element.find(f"{NS}{name}")
    return None if found is None else (found.text or "").strip()


def without_secrets(data: bytes) -> bytes:
    """As Setup caches it in Panther: values of passwords are deleted.

    learn.microsoft.com, "Windows Setup Automation Overview": sensitive data in the cached answer
    file are deleted at the end of the pass.
    """
    root = ET.fromstring(data)
    for element in root.iter():
        if element.tag.endswith(("Password", "AdministratorPassword")):
            for value in element.iter(f"{NS}Value"):
                value.text = "*SENSITIVE*DATA*DELETED*"
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)
