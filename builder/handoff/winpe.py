"""What Windows PE gets at its start: the files that do not depend on the host.

They reach it as initrds beside boot.wim, or inside a copy of it. Names: wimboot puts every initrd
into X:\\Windows\\System32 (ipxe/wimboot src/wimpatch.c), with at most 31 characters (src/vdisk.h).
"""

import hashlib
from pathlib import Path

from builder.answer.render import HOST_LETTER, WINPE_LETTERS, render_text
from builder.disc import SourceFile
from builder.errors import ExitCode, WinseedError
from builder.handoff.boot_image import BootFiles, extract_curl, inject_files
from builder.handoff.host import HostFiles, needed_files
from builder.handoff.partitions import SYSTEM_LETTER, WINDOWS_LETTER
from builder.handoff.tree import Tree
from builder.handoff.wimboot import Wimboot
from builder.plan.carrier import STAGED, AppliedImage, SetupShare
from builder.plan.drivers import start_packages
from builder.plan.model import ImageByIndex, Plan
from builder.record import record
from builder.values import Secret

HTTP = "http"
SYSTEM32 = "/Windows/System32"
LONGEST_NAME = 31
MEDIA_LETTER = "Z"
NAMES = {
    "shell": "winpeshl.ini",
    "start": "winseed-start.cmd",
    "host": "winseed-host.cmd",
    "login": "winseed-login.cmd",
    "answer": "winseed-answer.xml",
    "curl": "curl.exe",
}


@record
class Login:
    """The account that reads the share."""

    user: str
    password: Secret


@record
class NetworkKit:
    """What the call gives beside the hosts. `curl` is a file of the user's; `subnet` a CIDR."""

    wimboot: Wimboot
    inject: bool
    login: Login | None
    curl: Path | None
    server: str
    subnet: str
    version: str


@record
class Initrd:
    """A file that iPXE fetches: its name in Windows PE and its path below `http/`."""

    name: str
    path: str


def carrier_of(plan: Plan) -> SetupShare | AppliedImage:
    """The carrier of a plan for network boot."""
    carrier = plan.carrier
    if not isinstance(carrier, SetupShare | AppliedImage):
        raise TypeError(type(carrier))
    return carrier


def inject_boot_image(tree: Tree, host: HostFiles, boot: BootFiles, kit: NetworkKit) -> None:
    """A copy of boot.wim with everything of `host` that other hosts share, unless it is there."""
    path = f"{HTTP}/{boot_wim(host, kit)}"
    if path in tree.placed:
        return
    target = tree.place(path)
    copy_out(boot.wim, target)
    files = {
        f"{SYSTEM32}/{initrd.name}": tree.root / HTTP / initrd.path
        for initrd in shared_initrds(tree, host, kit)
    }
    inject_files(target, boot.index, files, epoch=tree.epoch)
    tree.adopt(path)


def copy_out(content: SourceFile, target: Path) -> None:
    """Write the bytes of `content`; WinseedError (MEDIA) when its source is cut short."""
    with content.path.open("rb") as source, target.open("wb") as file:
        for extent in content.extents:
            source.seek(extent.offset)
            left = extent.length
            while left:
                data = source.read(min(1 << 20, left))
                if not data:
                    raise WinseedError(f"{content.path.name} is cut short", code=ExitCode.MEDIA)
                file.write(data)
                left -= len(data)


def boot_wim(host: HostFiles, kit: NetworkKit) -> str:
    """The path of the boot image below `http/`; an injected one is named by its drivers."""
    folder = f"media/{carrier_of(host.plan).media}"
    if not kit.inject:
        return f"{folder}/boot.wim"
    found = driver_files(host.plan)
    names = sorted((name, content.sha256) for name, content in found.items())
    return f"{folder}/boot-{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}.wim"


def add_curl(tree: Tree, host: HostFiles, kit: NetworkKit) -> None:
    """curl.exe as given, else that of the install image, which is in the tree already."""
    carrier = carrier_of(host.plan)
    path = f"{HTTP}/{_curl_path(carrier)}"
    if path in tree.placed:
        return
    if kit.curl is not None:
        tree.add_text(path, _windows_program(kit.curl))
        return
    image = host.plan.image
    if not isinstance(image, ImageByIndex) or not isinstance(carrier, AppliedImage):
        raise TypeError(host.key)
    install = tree.root / HTTP / "media" / carrier.media / carrier.image
    extract_curl(install, image.index, tree.place(path))
    tree.adopt(path)


def _curl_path(carrier: SetupShare | AppliedImage) -> str:
    return f"winpe/{carrier.media}/{NAMES['curl']}"


def _windows_program(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WinseedError(f"cannot read {path}: {error.strerror}", code=ExitCode.SPEC) from None
    if data[:2] != b"MZ":
        raise WinseedError(
            f"{path} is no Windows program",
            code=ExitCode.MEDIA,
            hint="give curl.exe of Windows for amd64",
        )
    return data


def driver_files(plan: Plan) -> dict[str, SourceFile]:
    """The files that Windows PE loads before it has a network, by name."""
    found: dict[str, SourceFile] = {}
    for package in start_packages(plan.drivers):
        for file in needed_files(package.files):
            content = SourceFile(path=file.disc, extents=file.extents, sha256=file.sha256)
            known = found.setdefault(file.name, content)
            if known.sha256 != content.sha256:
                raise WinseedError(
                    f"{plan.host}: two drivers have different files of the name {file.name}",
                    code=ExitCode.MEDIA,
                    hint="take another virtio-win release",
                )
            if len(file.name) > LONGEST_NAME:
                raise WinseedError(
                    f"{file.name} is too long a name for wimboot", code=ExitCode.MEDIA
                )
    return found


def shared_initrds(tree: Tree, host: HostFiles, kit: NetworkKit) -> list[Initrd]:
    """What does not depend on the host, laid into the tree where it is not yet."""
    carrier = carrier_of(host.plan)
    initrds = []
    for name, data in _start_files(carrier, kit).items():
        way = "share" if isinstance(carrier, SetupShare) else "http"
        path = f"winpe/{way}/{name}"
        if f"{HTTP}/{path}" not in tree.placed:
            tree.add_text(f"{HTTP}/{path}", data)
        initrds.append(Initrd(name=name, path=path))
    if isinstance(carrier, AppliedImage):
        initrds.append(Initrd(name=NAMES["curl"], path=_curl_path(carrier)))
    for name, content in driver_files(host.plan).items():
        path = f"drivers/{(content.sha256 or '')[:8]}/{name}"
        if f"{HTTP}/{path}" not in tree.placed:
            tree.add(f"{HTTP}/{path}", content)
        initrds.append(Initrd(name=name, path=path))
    return initrds


def _start_files(carrier: SetupShare | AppliedImage, kit: NetworkKit) -> dict[str, bytes]:
    way = "share" if isinstance(carrier, SetupShare) else "http"
    values = {
        "banner": f"winseed {kit.version}",
        "host_letter": HOST_LETTER,
        "media_letter": MEDIA_LETTER,
        "windows_letter": WINDOWS_LETTER,
        "system_letter": SYSTEM_LETTER,
        "letters": " ".join(WINPE_LETTERS),
        "staged": STAGED,
    }
    start = render_text(f"handoff/start-{way}.cmd.j2", values)
    return {NAMES["shell"]: render_text("handoff/winpeshl.ini.j2", {}), NAMES["start"]: start}
