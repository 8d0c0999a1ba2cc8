"""The part of cmd.exe that `winpe.cmd` uses, by the published help of its commands.

`set /?`, `for /?`, `if /?`, `call /?` of Windows. What is not known here fails the test: a
script that leaves the subset must be looked at by somebody who knows cmd.
"""

import re
from collections.abc import Callable

Program = Callable[[str], tuple[int, str]]
VARIABLE = re.compile(r"%(?:%|\*|(~?)(\d)|([A-Za-z_]+)(?::([^%]+))?%)")
REDIRECTION = re.compile(r'(\d?)(>>?)[ ]*(&1|"[^"]*"|[^\s()&]+)')
CONDITION = re.compile(
    r"if (?P<case>/i )?(?P<not>not )?(?:errorlevel (?P<level>\d+)|defined (?P<name>\w+)|"
    r'exist "(?P<path>[^"]+)"|"(?P<a>[^"]*)"=="(?P<b>[^"]*)"|'
    r"(?P<left>-?\d+) (?P<operator>lss|geq|gtr) (?P<right>\d+)) (?P<rest>.*)",
    re.DOTALL,
)
NAME = re.compile(r"(?<!\w)[A-Za-z_]\w*")
LOOP = re.compile(
    r'for (?:/f "(?P<options>[^"]*)" )?%(?P<name>\w) in \((?P<set>.*?)\) do (?P<rest>.*)', re.DOTALL
)


class JumpError(Exception):
    """goto."""


class ReturnError(Exception):
    """exit /b."""


class PoweredOffError(Exception):
    """wpeutil shutdown."""


class Cmd:
    """One batch file and its world: files, programs, variables, what the serial port has seen."""

    def __init__(self, text: str, *, programs: dict[str, Program], serial: bool = True) -> None:
        self.lines = text.replace("\r\n", "\n").split("\n")
        self.labels = {
            line[1:].strip(): number
            for number, line in enumerate(self.lines)
            if line.startswith(":")
        }
        self.programs = programs
        self.files: dict[str, str] = {}
        self.variables: dict[str, str] = {}
        self.serial: list[str] | None = [] if serial else None
        self.level = 0
        self.seconds = 0
        self.steps = 0

    def run(self, *arguments: str) -> int:
        self._frame(0, ["script", *arguments])
        return self.level

    def _frame(self, at: int, arguments: list[str]) -> None:
        while at < len(self.lines):
            line = self.lines[at]
            at += 1
            while not line.startswith(("rem ", ":")) and _depth(line) > 0:
                line += "\n" + self.lines[at]
                at += 1
            if line.startswith(":") or not line.strip():
                continue
            self.steps += 1
            assert self.steps < 50_000, "the script does not end"
            try:
                self._statement(self._expand(line, arguments))
            except JumpError as jump:
                at = self.labels[str(jump)]
            except ReturnError as end:
                self.level = int(str(end))
                return

    def _expand(self, line: str, arguments: list[str]) -> str:
        def value(match: re.Match[str]) -> str:
            whole, strip, digit, name, edit = match[0], match[1], match[2], match[3], match[4]
            if whole == "%%":
                return "%"
            if whole == "%*":
                return " ".join(arguments[1:])
            if digit:
                text = arguments[int(digit)] if int(digit) < len(arguments) else ""
                return text.strip('"') if strip else text
            text = self._variable(name)
            if not edit:
                return text
            if edit.startswith("~"):
                start, length = map(int, edit[1:].split(","))
                # a variable without a value leaves the expression as it stands
                return text[start : start + length] if text else f"{name}:{edit}"
            old, new = edit.split("=")
            return text.replace(old, new)

        return VARIABLE.sub(value, line)

    def _variable(self, name: str) -> str:
        if name.upper() == "ERRORLEVEL":
            return str(self.level)
        if name.upper() == "TIME":
            self.seconds += 1
            return (
                f"{self.seconds // 3600:2}:{self.seconds // 60 % 60:02}:{self.seconds % 60:02}.07"
            )
        return self.variables.get(name.upper(), "")

    def _statement(self, text: str) -> None:
        text = text.strip().removeprefix("@")
        if text.startswith("rem ") or not text:
            return
        if match := CONDITION.fullmatch(text):
            if self._holds(match):
                self._statement(match["rest"])
            return
        if match := LOOP.fullmatch(text):
            self._loop(match)
            return
        parts = _split(text)
        if len(parts) > 1:
            for separator, part in parts:
                if separator != "&&" or self.level == 0:
                    self._statement(part)
            return
        self._redirected(text)

    def _holds(self, match: re.Match[str]) -> bool:
        if match["level"]:
            holds = self.level >= int(match["level"])
        elif match["name"]:
            holds = bool(self._variable(match["name"]))
        elif match["path"]:
            holds = self._exists(match["path"])
        elif match["operator"]:
            left, right = int(match["left"]), int(match["right"])
            holds = {"lss": left < right, "geq": left >= right, "gtr": left > right}[
                match["operator"]
            ]
        else:
            fold = str.casefold if match["case"] else str
            holds = fold(match["a"]) == fold(match["b"])
        return holds is not bool(match["not"])

    def _exists(self, path: str) -> bool:
        pattern = re.escape(path.casefold()).replace(r"\*", r"[^\\]*")
        return any(re.fullmatch(pattern, name.casefold()) for name in self.files)

    def _loop(self, match: re.Match[str]) -> None:
        name, source, options = match["name"], match["set"], match["options"]
        if options is None:
            rows = [[word] for word in source.split()]
        else:
            if source.startswith("'"):
                text = self._program(source.strip("'").replace("^", ""))[1]
            elif "usebackq" in options:
                text = self.files.get(source.strip('"'), "")
            else:
                text = source.strip('"')
            rows = _rows(text, options)
        for row in rows:
            rest = match["rest"]
            for offset, word in enumerate(row):
                rest = rest.replace(f"%{chr(ord(name) + offset)}", word)
            self._statement(rest)

    def _redirected(self, text: str) -> None:
        bare, targets = _redirections(text)
        if "COM1" in targets and self.serial is None:
            self.level = 1
            return
        printed = self._command(bare)
        for target, append in targets.items():
            if target == "COM1" and self.serial is not None:
                self.serial += printed.splitlines()
            elif target != "nul":
                self.files[target] = (self.files.get(target, "") if append else "") + printed

    def _command(self, text: str) -> str:
        if text.startswith("("):
            inner = text[1:-1].strip().split("\n")
            if _redirections(inner[0])[1]:
                self._redirected(inner[0])
                return ""
            return "".join(self._command(line.strip()) for line in inner)
        word, _, rest = text.partition(" ")
        match word.lower():
            case "echo":
                return "" if rest == "off" else rest + "\n"
            case "set":
                self._set(rest)
            case "call" if rest.startswith(":"):
                label, *arguments = re.findall(r'"[^"]*"|\S+', rest[1:])
                self._frame(self.labels[label], [label, *arguments])
            case "goto":
                raise JumpError(rest)
            case "exit":
                raise ReturnError(rest.removeprefix("/b "))
            case "type":
                return self.files.get(rest.strip('"'), "")
            case "setlocal" | "md" | "copy":
                self.level = 0
            case _:
                self.level, printed = self._program(text)
                return printed
        return ""

    def _program(self, text: str) -> tuple[int, str]:
        bare, _ = _redirections(text)
        word, _, rest = bare.partition(" ")
        return self.programs[word.lower()](rest)

    def _set(self, rest: str) -> None:
        arithmetic = rest.startswith("/a ")
        assignment = rest.removeprefix("/a ")
        assert assignment.startswith('"'), f"not quoted: set {rest}"
        name, _, value = assignment.strip('"').partition("=")
        if name.endswith("+"):
            name, value = name[:-1], f"{name[:-1]}+{value}"
        if arithmetic:
            known = {key: int(text, 0) for key, text in self.variables.items() if _number(text)}
            value = NAME.sub(lambda found: str(known.get(found[0].upper(), 0)), value)
            value = str(eval(value, {"__builtins__": {}}))
        self.variables[name.upper()] = value


def _number(text: str) -> bool:
    return re.fullmatch(r"-?\d+", text) is not None


def _outside(text: str) -> list[tuple[int, str, int]]:
    """Position, character and depth of parentheses of all that stands outside quotes."""
    found, depth, quoted = [], 0, False
    for at, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character == "(") - (character == ")")
            found.append((at, character, depth))
    return found


def _depth(text: str) -> int:
    outside = _outside(text)
    return outside[-1][2] if outside else 0


def _split(text: str) -> list[tuple[str, str]]:
    """Commands joined by `&` and `&&`, each with what stands before it."""
    parts, start, separator, skip = [], 0, "", -1
    for at, character, depth in _outside(text):
        if character != "&" or depth > 0 or at <= skip or text[at - 1] == ">":
            continue
        parts.append((separator, text[start:at]))
        separator = "&&" if text[at : at + 2] == "&&" else "&"
        start = at + len(separator)
        skip = start - 1
    return [*parts, (separator, text[start:])]


def _redirections(text: str) -> tuple[str, dict[str, bool]]:
    """The command without its redirections, and target -> whether it is appended to."""
    level = {at: depth for at, _, depth in _outside(text)}
    targets: dict[str, bool] = {}
    bare, last = "", 0
    for match in REDIRECTION.finditer(text):
        if level.get(match.start(2)) != 0:
            continue
        # a digit belongs to the redirection only if it stands alone
        alone = match.start() == 0 or text[match.start() - 1] in " (&"
        assert alone or not match[1], f"a digit before a redirection: {text}"
        bare += text[last : match.start()]
        last = match.end()
        if match[1] in ("", "1"):
            targets[match[3].strip('"')] = match[2] == ">>"
    return (bare + text[last:]).strip(), targets


def _rows(text: str, options: str) -> list[list[str]]:
    delimiters = re.search(r"delims=(.*)$", options)
    tokens = re.search(r"tokens=([\d,-]+)", options)
    separator = r"\s" if delimiters is None else f"[{re.escape(delimiters[1])}]"
    wanted: list[int] = []
    for part in (tokens[1] if tokens else "1").split(","):
        first, _, last = part.partition("-")
        wanted += range(int(first), int(last or first) + 1)
    rows = []
    for line in filter(None, text.replace("\r", "").split("\n")):
        if delimiters and not delimiters[1]:
            rows.append([line])
            continue
        words = [word for word in re.split(separator, line) if word]
        if len(words) >= wanted[0]:
            rows.append([words[number - 1] if number <= len(words) else "" for number in wanted])
    return rows
