"""Plan -> answer file and scripts, as bytes. Decides nothing; the last word on the XML is lxml's.

Scripts get CRLF; PowerShell files are UTF-8 with a byte order mark, which Windows PowerShell needs
to read anything but ASCII (learn.microsoft.com, about_Character_Encoding); cmd files are ASCII.
"""

import base64
import functools
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import assert_never

import jinja2
from lxml import etree

from builder import resources
from builder.answer.bytecode import TemplateBytecode
from builder.errors import ExitCode, Problem, WinseedError
from builder.plan.carrier import (
    AnswerIso,
    AppliedImage,
    HyperVDisc,
    SetupShare,
    WdsServer,
    answer_passes,
    carries_drivers,
    is_disc,
    staged_folder,
)
from builder.plan.model import (
    GivenKey,
    ImageByIndex,
    ImageByName,
    KmsClientKey,
    NoKey,
    OfflineJoin,
    Plan,
    PolicyValue,
    StepKind,
    Workgroup,
)
from builder.record import record
from builder.values import Bus, Delivery, LaterSecret, Secret

NAMESPACE = "urn:schemas-microsoft-com:unattend"
PATH_LIMIT = 259  # unattend reference, RunSynchronousCommand Path and PathAndCredentials Path
WINPE_LETTERS = tuple("CDEFGHIJ")
HOST_LETTER = "Y"  # where the start script connects the host's folder of the share
SEARCH_LETTERS = tuple("CDEFGHIJKLMNOPQRSTUVWYZ")  # X is Windows PE itself
DISK_WAIT = 30  # seconds until a disk must have appeared behind a driver
POLICY_KEY = r"HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate"
WINDOWS_TEXTS = frozenset((".cmd", ".ps1", ".ini", ".txt"))
SINGLE_QUOTES = "'\u2018\u2019\u201a\u201b"  # PowerShell takes all of them for quotes


@record
class Command:
    """A RunSynchronous command line."""

    path: str
    description: str


@record
class RenderedFile:
    """A file of the answer medium: `path` there; `secret` when its hash must not be published."""

    path: str
    data: bytes
    secret: bool = False


def render_files(plan: Plan) -> tuple[RenderedFile, ...]:
    """Every rendered file of the medium. Raises WinseedError (ANSWER) when Setup would refuse."""
    return (
        RenderedFile(path="autounattend.xml", data=render_answer(plan), secret=True),
        RenderedFile(path=marker_path(plan), data=f"{plan.fingerprint}\r\n".encode()),
        *render_scripts(plan),
    )


def marker_path(plan: Plan) -> str:
    """The file by which scripts tell this very medium from a stale one."""
    return f"winseed/{plan.fingerprint}.id"


def render_answer(plan: Plan) -> bytes:
    """`autounattend.xml`, parsed and checked."""
    return render_xml("autounattend.xml.j2", plan)


def render_xml(name: str, plan: Plan) -> bytes:
    """The answer file of the template `name`, without the passes its carrier does not read."""
    template = _environment(xml=True).get_template(name)
    text = template.render(plan=plan, **_answer_values(plan))
    parser = etree.XMLParser(remove_blank_text=True, resolve_entities=False)
    try:
        root = etree.fromstring(text.strip().encode(), parser)
    except etree.XMLSyntaxError as error:
        raise WinseedError(
            f"the answer file of {plan.host} is not well-formed: {error}",
            code=ExitCode.ANSWER,
            hint="a value of the spec holds something XML cannot carry",
        ) from None
    _drop_empty_passes(root)
    _refuse_long_paths(root, plan.host)
    data: bytes = etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)
    return data


def render_scripts(plan: Plan) -> tuple[RenderedFile, ...]:
    """The scripts of Windows PE, specialize and the first boot."""
    names = {
        "winpe.cmd": "winseed/winpe.cmd",
        "specialize.cmd": "winseed/specialize.cmd",
        "setup-complete.cmd": "winseed/setup/SetupComplete.cmd",
        "error-handler.cmd": "winseed/setup/ErrorHandler.cmd",
        "first-boot.ps1": "winseed/guest/first-boot.ps1",
        "enable-updates.ps1": "winseed/guest/enable-updates.ps1",
    }
    own = [step.file for step in plan.steps if step.kind is StepKind.OWN]
    names |= {name: f"winseed/guest/{name}" for name in own}
    return tuple(
        RenderedFile(path=path, data=render_script(plan, name)) for name, path in names.items()
    )


def render_script(plan: Plan, name: str) -> bytes:
    """The script `name` (`winpe.cmd`) in the form its interpreter reads."""
    carries = carries_drivers(plan.carrier)
    staged = _windows_path(staged_folder(plan.carrier))
    loads = Delivery.DRVLOAD in plan.drivers.deliveries and plan.disk.bus is not Bus.SATA
    values = {
        "plan": plan,
        "banner": f"winseed {plan.version}, build {plan.fingerprint} for {plan.host}",
        "build_id": plan.fingerprint,
        "packages": plan.drivers.packages if carries else (),
        "boot_packages": plan.drivers.boot_packages if carries else (),
        "drvload": carries and loads,
        "letters": " ".join(SEARCH_LETTERS),
        "disk_wait": DISK_WAIT,
        "staged": f"\\{staged}" if staged else "",
    }
    return render_text(f"scripts/{name}.j2", values)


def render_text(name: str, values: Mapping[str, object]) -> bytes:
    """A script or a text of the template `name` (`x.cmd.j2`), as its reader wants it.

    Scripts of Windows get CRLF; what servers and iPXE read gets LF.
    """
    text = _environment(xml=False).get_template(name).render(values)
    kind = PurePosixPath(name.removesuffix(".j2")).suffix
    if kind not in WINDOWS_TEXTS:
        return f"{text.strip()}\n".encode()
    lines = "\r\n".join(text.strip("\n").split("\n")) + "\r\n"
    if kind == ".ps1":
        return lines.encode("utf-8-sig")
    return lines.encode("ascii")


def render_guest_script(name: str) -> str:
    """The script `name` (`rotate`) that runs through the guest agent: ASCII, and holds no value."""
    text = _environment(xml=False).get_template(f"scripts/guest/{name}.ps1.j2").render()
    return text.strip().encode("ascii").decode() + "\n"


def render_page(name: str, values: Mapping[str, object]) -> bytes:
    """The HTML page of the template `name`; every value is escaped."""
    text = _environment(xml=True).get_template(name).render(values)
    return f"{text.strip()}\n".encode()


def encode_password(password: Secret, element: str) -> str:
    """A password as `PlainText=false` wants it: hides it from a glance, and protects nothing.

    Base64 of UTF-16LE of the password and the element's name; the unattend reference's own
    examples decode so.
    """
    if isinstance(password, LaterSecret):
        return password.reveal()
    return base64.b64encode((password.reveal() + element).encode("utf-16-le")).decode()


def quote_powershell(text: str) -> str:
    """A PowerShell literal: single-quoted, every kind of single quote doubled."""
    for quote in SINGLE_QUOTES:
        text = text.replace(quote, quote * 2)
    return f"'{text}'"


def quote_argument(text: str) -> str:
    """An argument of a program started without cmd.

    learn.microsoft.com, "Parsing C command-line arguments": backslashes before a quote double.
    """
    quoted = ""
    backslashes = 0
    for character in text:
        if character == "\\":
            backslashes += 1
            continue
        quoted += "\\" * (backslashes * 2 + 1 if character == '"' else backslashes) + character
        backslashes = 0
    return '"' + quoted + "\\" * (backslashes * 2) + '"'


def _answer_values(plan: Plan) -> dict[str, object]:
    match plan.image:
        case ImageByIndex(index=index):
            image_key, image_value = "/IMAGE/INDEX", str(index)
        case ImageByName(name=name):
            image_key, image_value = "/IMAGE/NAME", name
        case _:
            assert_never(plan.image)
    match plan.key:
        case NoKey():
            product_key = ""
        case KmsClientKey(key=key):
            product_key = key
        case GivenKey(key=secret):
            product_key = secret.reveal()
        case _:
            assert_never(plan.key)
    match plan.membership:
        case Workgroup():
            workgroup, join_blob = plan.membership.name or "", ""
        case OfflineJoin(blob=blob):
            workgroup, join_blob = "", blob.reveal()
        case _:
            assert_never(plan.membership)
    return {
        "passes": answer_passes(plan.carrier),
        # the product key stands in windowsPE, or where that pass is not read, in specialize
        "image_key": image_key,
        "image_value": image_value,
        "product_key": product_key,
        "workgroup": workgroup,
        "join_blob": join_blob,
        "winpe_driver_paths": _winpe_driver_paths(plan),
        "servicing_driver_paths": _servicing_driver_paths(plan),
        "winpe_commands": _winpe_commands(plan),
        "specialize_commands": _specialize_commands(plan),
        "static_nics": [nic for nic in plan.nics if nic.static],
        "dns_nics": [nic for nic in plan.nics if nic.dns or nic.dns_suffix],
    }


def _winpe_driver_paths(plan: Plan) -> list[str]:
    """Storage drivers on every letter a CD may get (FT01)."""
    if Delivery.DRIVER_PATHS not in plan.drivers.deliveries or plan.disk.bus is Bus.SATA:
        return []
    return [
        _windows_path(f"{root}/{package.folder}")
        for package in plan.drivers.boot_packages
        for root in _medium_roots(plan)
    ]


def _medium_roots(plan: Plan) -> tuple[str, ...]:
    """Where driver paths look for the medium: on any letter that a CD may get.

    Without a CD the start script has loaded the drivers, and winpe.cmd copied them to X:.
    """
    return tuple(f"{letter}:" for letter in WINPE_LETTERS) if is_disc(plan.carrier) else ()


def _servicing_driver_paths(plan: Plan) -> list[str]:
    """Every package: first the copy that winpe.cmd made, then the medium on every letter (FT12)."""
    copies = [rf"X:\winseed\drivers\{package.driver}" for package in plan.drivers.packages]
    return copies + [
        _windows_path(f"{root}/{package.folder}")
        for package in plan.drivers.packages
        for root in _medium_roots(plan)
    ]


def _winpe_commands(plan: Plan) -> list[Command]:
    if isinstance(plan.carrier, WdsServer) and not plan.carrier.guarded:
        return []
    run = Command(
        path=f"cmd.exe /d /c {_winpe_call(plan)}",
        description="winseed: storage drivers and disk guard",
    )
    # If the medium was not found, nothing has looked at the disk: that must not end in a wipe, so
    # this command never returns. (ping would not wait: Windows PE may have no network.)
    stop = Command(
        path=r"cmd.exe /d /c if not exist X:\winseed\go.txt (>COM1 echo winseed: guard=not-run "
        "& wpeutil shutdown & for /l %i in (0,0,1) do @ver>nul)",
        description="winseed: power off if the disk guard did not run",
    )
    return [run, stop]


def guard_script(plan: Plan) -> str:
    """The script of a boot image that all hosts share: with the guard, or for a used disk."""
    return "guard.cmd" if plan.disk.guard else "one-disk.cmd"


def _winpe_call(plan: Plan) -> str:
    marker = _windows_path(marker_path(plan))
    match plan.carrier:
        case AnswerIso() | HyperVDisc():
            letters = " ".join(SEARCH_LETTERS)
            return (
                rf"for %d in ({letters}) do if exist %d:\{marker} "
                r"call %d:\winseed\winpe.cmd %d:"
            )
        case SetupShare():
            root = rf"{HOST_LETTER}:\medium"
            return rf"if exist {root}\{marker} call {root}\winseed\winpe.cmd {root}"
        case WdsServer():  # injected into the boot image, so it is the same for every host
            script = rf"X:\winseed\{guard_script(plan)}"
            return f"if exist {script} call {script} X:"
        case AppliedImage():  # the start script calls it; Setup does not run
            return "rem"
        case _:
            assert_never(plan.carrier)


def _specialize_commands(plan: Plan) -> list[Command]:
    copy = Command(
        path=f"cmd.exe /d /c {_specialize_call(plan)}",
        description="winseed: copy what the first boot needs",
    )
    return [*(_policy_command(value) for value in plan.updates.policies), copy]


def _specialize_call(plan: Plan) -> str:
    staged = _windows_path(staged_folder(plan.carrier))
    if staged:  # on the disk already: nothing to search and nothing to wait for
        root = rf"%SystemDrive%\{staged}"
        return rf"call {root}\winseed\specialize.cmd {root}"
    marker = _windows_path(marker_path(plan))
    letters = " ".join(WINPE_LETTERS)
    # ping -n 3 takes two seconds: 30 rounds are the minute that a slow CD may need
    return (
        rf"for /l %i in (1,1,30) do ((for %d in ({letters}) do if exist "
        rf"%d:\{marker} (call %d:\winseed\specialize.cmd %d: & exit 0)) & ping -n 3 127.0.0.1>nul)"
    )


def _policy_command(value: PolicyValue) -> Command:
    key = POLICY_KEY + (f"\\{value.subkey}" if value.subkey else "")
    data = quote_argument(value.value)
    return Command(
        path=f"reg.exe add {key} /v {value.name} /t {value.kind} /d {data} /f",
        description=f"Windows Update policy {value.name}",
    )


def _windows_path(path: str) -> str:
    return path.replace("/", "\\")


def _drop_empty_passes(root: etree._Element) -> None:
    for settings in root.findall(f"{{{NAMESPACE}}}settings"):
        if len(settings) == 0:
            root.remove(settings)


def _refuse_long_paths(root: etree._Element, host: str) -> None:
    problems = tuple(
        Problem(
            where=host, what=f"{len(path.text)} characters, {PATH_LIMIT} are allowed: {path.text}"
        )
        for path in root.iter(f"{{{NAMESPACE}}}Path")
        if path.text and len(path.text) > PATH_LIMIT
    )
    if problems:
        raise WinseedError(
            "the answer file holds command lines that Setup refuses",
            code=ExitCode.ANSWER,
            problems=problems,
            hint="shorten the WSUS address or target group",
        )


@functools.cache
def _environment(*, xml: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        bytecode_cache=TemplateBytecode(Path(__file__), variant=f"xml={xml}"),
        auto_reload=False,
        autoescape=xml,  # noqa: S701 - scripts are quoted by `ps`, not as XML
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["encoded"] = encode_password
    environment.filters["ps"] = quote_powershell
    environment.filters["winpath"] = _windows_path
    return environment
