# ruff: noqa: PTH110, PTH123, PTH208
"""Command lines and batch files on the files of this machine.

How cmd.exe reads a line is `windows_cmd`, by the published help of its commands; here are the real
files below it, and the programs that scripts of an answer ISO call: drvload, diskpart, reg, wpeutil
and so on, each with the effect that its own help names.
"""

import fnmatch
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import world
from windows_cmd import Cmd, PoweredOffError, ReturnError

Programs = dict[str, Callable[[str], tuple[int, str]]]
BARE_EXIST = re.compile(r'^(if (?:/i )?(?:not )?exist )([^"\s]+) ', re.IGNORECASE)
COUNTED = re.compile(r"for /l %(\w) in \((-?\d+),(-?\d+),(-?\d+)\) do (.*)", re.DOTALL)
NOT_BATCH = re.compile(r"^(?:cmd(?:\.exe)?)\s+((?:/\w\s+)*)", re.IGNORECASE)


class Serial(list):
    """COM1: what is added to it goes out."""

    def __iadd__(self, lines):
        with open("/dev/ttyS0", "w") as stream:
            stream.write("".join(f"{line}\n" for line in lines))  # the line ends are made CR LF
        return self


class Files:
    """The files of all letters, by their paths in Windows."""

    def __init__(self, letters: world.Letters) -> None:
        self.letters = letters

    def get(self, path: str, default: str = "") -> str:
        found = self.letters.find(path)
        return found.read_text("utf-8", "replace") if found and found.is_file() else default

    def __setitem__(self, path: str, text: str) -> None:
        self.letters.place(path).write_text(text)


class Batch(Cmd):
    """`Cmd` on real files; `call` of another batch file runs it in a shell of its own."""

    def __init__(
        self, text: str, letters: world.Letters, programs: Programs, variables: dict[str, str]
    ) -> None:
        super().__init__(text, programs=programs, serial=os.path.exists("/dev/ttyS0"))
        self.letters = letters
        self.files = Files(letters)
        self.serial = Serial()
        self.variables |= variables
        self.given = variables

    def _exists(self, path: str) -> bool:
        folder, _, name = path.rstrip("\\").rpartition("\\")
        if "*" not in name and "?" not in name:
            return self.letters.find(path) is not None
        found = self.letters.find(folder + "\\")
        names = os.listdir(found) if found and found.is_dir() else []
        return any(fnmatch.fnmatch(one.casefold(), name.casefold()) for one in names)

    def _statement(self, text: str) -> None:
        text = BARE_EXIST.sub(r'\1"\2" ', text.strip().removeprefix("@"))
        counted = COUNTED.fullmatch(text)
        if counted is None:
            super()._statement(text)
            return
        name, first, step, last = counted[1], *map(int, counted.group(2, 3, 4))
        if step == 0:
            raise PoweredOffError("waits for ever")
        for number in range(first, last + 1, step):
            self._statement(counted[5].replace(f"%{name}", str(number)))

    def _command(self, text: str) -> str:
        if text.startswith("(") and "\n" not in text:
            self._statement(text[1:-1])
            return ""
        word, _, rest = text.partition(" ")
        word, words = word.casefold(), re.findall(r'"[^"]*"|\S+', rest)
        if word == "call" and not rest.startswith(":"):
            self._call(words)
        elif word in {"md", "mkdir"}:
            self.letters.place(words[0].strip('"')).mkdir(parents=True, exist_ok=True)
            self.level = 0
        elif word == "copy":
            self.level = self._copy([one.strip('"') for one in words if not one.startswith("/")])
        elif word == "ver":
            self.level = 0
        else:
            return super()._command(text)
        return ""

    def _call(self, words: list[str]) -> None:
        path = words[0].strip('"')
        found = self.letters.find(path)
        if found is None:
            self.level = 1
            return
        child = Batch(found.read_text(), self.letters, self.programs, self.variables)
        self.level = child.run(*words[1:])

    def _copy(self, names: list[str]) -> int:
        """`copy /b /y PATTERN FOLDER\\`: 1 when nothing fits the pattern."""
        folder, _, pattern = names[0].rpartition("\\")
        source = self.letters.find(folder + "\\")
        if source is None:
            return 1
        target, copied = self.letters.place(names[1].rstrip("\\")), 0
        for name in sorted(os.listdir(source)):
            wanted = pattern.casefold().replace("*.*", "*")
            if fnmatch.fnmatch(name.casefold(), wanted) and (source / name).is_file():
                shutil.copyfile(source / name, target / name)
                copied += 1
        return 0 if copied else 1

    def _program(self, text: str) -> tuple[int, str]:
        word, _, rest = text.partition(" ")
        name = word.strip('"').casefold().rpartition("\\")[2].removesuffix(".exe")
        rest = re.sub(r"\s*\d?>+\s*(&1|nul)\b", "", rest)
        program = self.programs.get(name)
        if program is None:
            world.say(f"no program {name}")
            return 9009, ""
        return program(rest)


def run_line(
    line: str, letters: world.Letters, programs: Programs, variables: dict[str, str]
) -> int:
    """A command line as Setup starts it; PoweredOffError when it switches the VM off."""
    text = NOT_BATCH.sub("", line.strip())
    shell = Batch("", letters, programs, variables)
    try:
        shell._statement(text)
    except ReturnError as end:
        return int(str(end) or 0)
    return shell.level


def read_lines(letters: world.Letters, path: str) -> list[str]:
    found: Path | None = letters.find(path)
    return found.read_text().splitlines() if found else []
