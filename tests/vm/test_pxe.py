"""Network boot: QEMU's firmware and Debian's iPXE fetch a tree of `winseed handoff ipxe`.

The tree is made by the real command and served by `winseed serve`. The stand-in in place of wimboot
(tests/vm/netboot) says from inside the machine what was handed to it: what is planned, what is
asked for and what arrives have to be one.

Two ways to the boot script: QEMU's own DHCP names it; or, in a network namespace, dnsmasq answers
as proxy with the generated file beside another DHCP server, as in a real network.
"""

import contextlib
import json
import re
import shutil
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from tests.command import command_line
from tests.handoffs import SHARE_PASSWORD, hand_off
from tests.vm.machine import accelerator
from tests.vm.netboot_standin import make_standin

pytestmark = [pytest.mark.usefixtures("trusted"), pytest.mark.timeout(400)]
MAC = "52:54:00:12:34:56"
SPEC = f"""
[site]
name = "lab"
[defaults]
release = "2022"
machine = {{ secure_boot = false }}
[[host]]
name = "pxe1"
nic = [ {{ mac = "{MAC}" }} ]
[[host]]
name = "other"
nic = [ {{ mac = "52:54:00:12:34:57" }} ]
"""
IPXE = Path("/usr/lib/ipxe")
OVMF = Path("/usr/share/OVMF")
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "gcc": "gcc",
    "ld": "binutils",
    str(IPXE / "ipxe.efi"): "ipxe",
    "/usr/lib/ipxe/qemu/pxe-virtio.rom": "ipxe-qemu",
    str(OVMF / "OVMF_CODE_4M.fd"): "ovmf",
}
NAMESPACE_NEEDED = {"dnsmasq": "dnsmasq-base", "ip": "iproute2", "unshare": "util-linux"}
SIDES = "/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_SECONDS = 180
WAYS = {
    "share": ("--way", "share", "--secrets-in-tree"),
    "share-injected": ("--way", "share", "--secrets-in-tree", "--inject"),
    "http": ("--way", "http", "--secrets-in-tree"),
}


def need(*tables: dict[str, str]) -> None:
    wanted = {name: package for table in tables for name, package in table.items()}
    missing = sorted(
        package
        for name, package in wanted.items()
        if not (Path(name).exists() if name.startswith("/") else shutil.which(name, path=SIDES))
    )
    if missing:
        pytest.skip(f"missing for network boot: apt install {' '.join(missing)}")


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    need(NEEDED)
    return make_standin(tmp_path_factory.mktemp("standin") / "wimboot")


@pytest.fixture(autouse=True)
def share_password(monkeypatch):
    monkeypatch.setenv("WINSEED_SHARE_PASSWORD", SHARE_PASSWORD)


def make_tree(capsys, discs, folder, way, standin, server):
    options = [*WAYS[way]]
    if way == "http":
        folder.mkdir(exist_ok=True)
        (folder / "curl.exe").write_bytes(b"MZ" + bytes(5000))
        options += ["--curl", folder / "curl.exe"]
    done = hand_off(
        capsys, discs, folder, "ipxe", *options, spec=SPEC, wimboot=standin, server=server
    )
    assert done.code == 0, done.err
    return folder / "out"


@contextlib.contextmanager
def serving(tree: Path, folder: Path, listen: str, *, prefix: tuple[str, ...] = ()):
    """`winseed serve` as a process of its own; gives the port."""
    log = folder / "serve.log"
    command = [*prefix, *command_line("serve", tree, "--listen", listen, "--expose-secrets")]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, cwd=Path(__file__).parents[2]
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        match = re.fullmatch(r"http://[0-9.]+:(\d+)/boot\.ipxe\n", line)
        assert match, log.read_text()
        yield int(match[1])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def qemu(firmware: str, folder: Path, network: list[str]) -> list[str]:
    """A machine with a card, no disk of its own, and two serial ports."""
    command = ["qemu-system-x86_64", "-accel", accelerator(), "-m", "512", "-nodefaults"]
    command += ["-display", "none", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4"]
    command += ["-serial", f"file:{folder}/com1.log", "-serial", f"file:{folder}/com2.log"]
    if firmware == "uefi":
        variables = folder / "variables.fd"
        shutil.copyfile(OVMF / "OVMF_VARS_4M.fd", variables)
        flash = "if=pflash,format=raw"
        command += ["-M", "q35", "-drive", f"{flash},readonly=on,file={OVMF}/OVMF_CODE_4M.fd"]
        command += ["-drive", f"{flash},file={variables}"]
    else:
        command += ["-boot", "n"]
    return [*command, *network]


def boot(command: list[str], folder: Path) -> dict[str, tuple[int, int]]:
    """Name -> size and CRC-32 of every file that the stand-in was handed, in its order."""
    done = subprocess.run(command, capture_output=True, timeout=BOOT_SECONDS, check=False)
    com2 = (folder / "com2.log").read_text(errors="replace")
    seen = (folder / "com1.log").read_text(errors="replace")
    # isa-debug-exit: twice the value written plus one
    assert done.returncode == 1, f"{done.stderr.decode()}\n{seen[-2000:]}\n{com2}"
    assert "standin end" in com2, com2
    rows = re.findall(r"^standin name=(\S+) size=(\d+) crc=(\d+)\r?$", com2, re.MULTILINE)
    return {name: (int(size), int(crc)) for name, size, crc in rows}


def fetched(folder: Path) -> list[tuple[str, str]]:
    """Path and size of everything that was asked for, as `winseed serve` said it, in order."""
    rows = []
    for line in (folder / "serve.log").read_text().splitlines():
        match = re.match(r"(?:pxe1|[0-9.]+) (?:\d+/\d+ )?(\S+) (\d+(?: bytes|\.\d MB))", line)
        if match:
            rows.append((match[1], match[2]))
        else:
            assert line.startswith("warning: "), line
    return rows


def shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"


def check(tree: Path, folder: Path, arrived: dict[str, tuple[int, int]]) -> None:
    """What was planned, what was asked for, and what arrived are one."""
    document = json.loads((tree / "handoff.json").read_text())
    row = next(host for host in document["hosts"] if host["host"] == "pxe1")
    planned = [(one["path"], shown(one["size"])) for one in row["fetches"]]
    script = f"boot/{MAC.replace(':', '-')}.ipxe"
    asked = fetched(folder)
    own = [(name, (tree / "http" / name).stat().st_size) for name in ("boot.ipxe", script)]
    assert asked == [*((name, shown(size)) for name, size in own), *planned]
    lines = (tree / "http" / script).read_text()
    names = re.findall(r"^initrd --name (\S+) \.\./(\S+) ", lines, re.MULTILINE)
    assert len(names) == len(planned) - 1
    for name, path in names:
        content = (tree / "http" / path).read_bytes()
        assert arrived[name] == (len(content), zlib.crc32(content)), name
    assert set(arrived) - {"wimboot"} == {name for name, _ in names}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_what_arrives_is_what_was_planned(firmware, way, capsys, discs, tmp_path, standin):
    """UEFI starts iPXE from a small disk: QEMU's DHCP has one file name for firmware and iPXE."""
    with contextlib.ExitStack() as stack:
        # the port is part of the tree only in the way over HTTP, and is not fetched from here
        tree = make_tree(capsys, discs, tmp_path / "tree", way, standin, "10.0.2.2:8080")
        port = stack.enter_context(serving(tree, tmp_path, "127.0.0.1:0"))
        script = f"http://10.0.2.2:{port}/boot.ipxe"
        network = ["-netdev", f"user,id=n,bootfile={script}"]
        card = f"virtio-net-pci,netdev=n,mac={MAC}"
        if firmware == "uefi":
            disk = tmp_path / "disk/EFI/BOOT"
            disk.mkdir(parents=True)
            shutil.copyfile(IPXE / "ipxe.efi", disk / "BOOTX64.EFI")
            drive = f"file=fat:rw:{tmp_path}/disk,format=raw,if=none,id=d"
            network += ["-drive", drive, "-device", "virtio-blk-pci,drive=d,bootindex=0"]
            card += ",romfile="
        arrived = boot(qemu(firmware, tmp_path, [*network, "-device", card]), tmp_path)
    check(tree, tmp_path, arrived)


def test_an_unknown_card_gets_the_menu_and_the_disk(capsys, discs, tmp_path, standin):
    """Nothing is installed on a machine that nobody planned: its default is the local disk."""
    tree = make_tree(capsys, discs, tmp_path / "tree", "share", standin, "10.0.2.2:8080")
    with serving(tree, tmp_path, "127.0.0.1:0") as port:
        network = ["-netdev", f"user,id=n,bootfile=http://10.0.2.2:{port}/boot.ipxe"]
        network += ["-device", "virtio-net-pci,netdev=n,mac=52:54:00:00:00:99"]
        command = qemu("bios", tmp_path, network)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while "52-54-00-00-00-99.ipxe 404" not in (tmp_path / "serve.log").read_text():
                assert time.monotonic() < end, (tmp_path / "serve.log").read_text()
                time.sleep(0.5)
            time.sleep(2)
        finally:
            process.terminate()
            process.wait(10)
    assert "wimboot" not in (tmp_path / "serve.log").read_text()


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_proxy_dhcp_leads_to_the_script(firmware, capsys, discs, tmp_path, standin):
    """dnsmasq with the generated file, beside a DHCP server that knows nothing of booting.

    The BIOS machine has iPXE in its card; UEFI boots by PXE of its own, gets snponly.efi by TFTP,
    and asks again as iPXE.
    """
    need(NAMESPACE_NEEDED)
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets nobody but root make network namespaces")
    if not Path("/dev/net/tun").exists():
        pytest.skip("there is no /dev/net/tun: no card can be put into a namespace")
    tree = make_tree(capsys, discs, tmp_path / "tree", "share", standin, "192.0.2.10:8080")
    tftp = tmp_path / "tftp"
    tftp.mkdir()
    for name in ("undionly.kpxe", "snponly.efi"):
        shutil.copyfile(IPXE / name, tftp / name)
    text = (tree / "server/dnsmasq.conf").read_text()
    assert "tftp-root=/srv/tftp\n" in text
    (tmp_path / "dnsmasq.conf").write_text(text.replace("/srv/tftp", str(tftp)))
    rom = "" if firmware == "bios" else ",romfile="
    network = ["-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no"]
    network += ["-device", f"virtio-net-pci,netdev=n,mac={MAC}{rom},bootindex=0"]
    machine = qemu(firmware, tmp_path, network)
    serve = command_line("serve", tree, "--listen", "192.0.2.10:8080", "--expose-secrets")
    (tmp_path / "commands.json").write_text(json.dumps({"machine": machine, "serve": serve}))
    script = Path(__file__).parent / "netboot/namespace.sh"
    # with a process namespace nothing outlives a test that is ended
    done = subprocess.run(
        ["unshare", "-rnpf", "--kill-child", "--mount-proc", "sh", script, tmp_path],
        capture_output=True,
        text=True,
        timeout=BOOT_SECONDS + 60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    logs = "\n".join(
        (tmp_path / name).read_text(errors="replace")[-3000:]
        for name in ("proxy.log", "dhcp.log", "serve.log", "com1.log")
        if (tmp_path / name).exists()
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{logs}"
    com2 = (tmp_path / "com2.log").read_text(errors="replace")
    rows = re.findall(r"^standin name=(\S+) size=(\d+) crc=(\d+)\r?$", com2, re.MULTILINE)
    check(tree, tmp_path, {name: (int(size), int(crc)) for name, size, crc in rows})
    sent = (tmp_path / "proxy.log").read_text()
    assert ("sent" in sent and "snponly.efi" in sent) == (firmware == "uefi"), sent[-2000:]
