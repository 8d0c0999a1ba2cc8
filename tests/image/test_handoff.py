"""Hand-offs on disk, judged by the programs they are for: sha256sum, wimlib, dnsmasq, testparm,
nginx; and by reading them again."""

import fcntl
import hashlib
import json
import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote

import pytest

from builder.answer.render import encode_password
from builder.errors import ExitCode
from builder.media.image import inspect_image
from builder.values import Secret
from tests import media
from tests.command import PASSWORD, winseed
from tests.handoffs import SHARE_PASSWORD, SPEC, hand_off, listing, run_tool
from tests.wimboots import write_wimboot

pytestmark = pytest.mark.usefixtures("trusted")
WAYS = {
    "share": ("ipxe", "--way", "share", "--secrets-in-tree"),
    "share-injected": ("ipxe", "--way", "share", "--secrets-in-tree", "--inject"),
    "http": ("ipxe", "--way", "http", "--secrets-in-tree"),
    "wds": ("wds", "--inject"),
    "wds-secrets": ("wds", "--inject", "--secrets-in-tree"),
    "hyperv": ("hyperv",),
}
DEBIAN = {"dnsmasq": "dnsmasq-base", "testparm": "samba-common-bin", "nginx": "nginx-light"}
SYSTEM_TOOLS = ("/usr/sbin", "/usr/bin", "/sbin")


@pytest.fixture(autouse=True)
def share_password(monkeypatch):
    monkeypatch.setenv("WINSEED_SHARE_PASSWORD", SHARE_PASSWORD)


def make(way, capsys, discs, folder, *more, **options):
    folder.mkdir(exist_ok=True)
    kind, *flags = WAYS[way]
    if way == "http":
        flags += ["--curl", write_wimboot(folder / "curl.exe")]
    if "--inject" in flags:
        media.need_tool("wimlib-imagex")
    done = hand_off(capsys, discs, folder, kind, *flags, *more, **options)
    assert done.code == 0, done.err
    return folder / "out", done


def need_server(name: str) -> str:
    for folder in SYSTEM_TOOLS:
        if (Path(folder) / name).exists():
            return str(Path(folder) / name)
    pytest.skip(f"{name} is missing: apt install {DEBIAN[name]}")


@pytest.mark.parametrize("way", WAYS)
def test_the_same_input_gives_the_same_folder(way, capsys, discs, tmp_path, monkeypatch):
    first, _ = make(way, capsys, discs, tmp_path / "one")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    second, _ = make(way, capsys, discs, tmp_path / "two")
    once, again = listing(first), listing(second)
    assert list(once) == list(again)
    assert [name for name in once if once[name] != again[name]] == []
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    third, _ = make(way, capsys, discs, tmp_path / "three")
    assert {int(path.lstat().st_mtime) for path in third.rglob("*")} == {1700000000}


@pytest.mark.parametrize("way", WAYS)
def test_sums_cover_all_but_secrets(way, capsys, discs, tmp_path):
    out, done = make(way, capsys, discs, tmp_path)
    told = run_tool("sh", "-c", f"cd {out} && sha256sum -c --strict SHA256SUMS")
    covered = set(re.findall(r"^(.+): OK$", told, re.MULTILINE))
    private, public = set(), set()
    for path in out.rglob("*"):
        if path.is_file():
            secret = stat.S_IMODE(path.stat().st_mode) == 0o600
            (private if secret else public).add(path.relative_to(out).as_posix())
    assert covered == public - {"SHA256SUMS"}
    assert bool(private) == (way != "wds")
    assert ("hold secrets" in done.err) == bool(private)
    assert all(stat.S_IMODE((out / name).stat().st_mode) == 0o644 for name in public)


@pytest.mark.parametrize("way", WAYS)
def test_secrets_are_in_private_files_only(way, capsys, discs, tmp_path):
    out, done = make(way, capsys, discs, tmp_path)
    marks = [PASSWORD, SHARE_PASSWORD, encode_password(Secret(PASSWORD), "AdministratorPassword")]
    forms = [mark.encode(form) for mark in marks for form in ("utf-8", "utf-16-le")]
    holding = {
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    }
    expected = {
        "share": {"http/secret/login.cmd", *(f"share/hosts/{h}/autounattend.xml" for h in HOSTS)},
        "http": {f"http/secret/{host}/answer.xml" for host in HOSTS},
        "wds": set(),
        "wds-secrets": {f"unattend/image/{host}.xml" for host in HOSTS},
        "hyperv": {"a1-2022-core.iso", "b2-2022-desktop.iso"},
    }
    assert holding == expected[way.removesuffix("-injected")]
    assert all(stat.S_IMODE((out / name).stat().st_mode) == 0o600 for name in holding)
    assert PASSWORD not in done.out + done.err
    assert SHARE_PASSWORD not in done.out + done.err


HOSTS = ("a1", "b2")


def test_drawn_passwords_lie_beside_the_tree(capsys, discs, tmp_path):
    done = hand_off(capsys, discs, tmp_path, "ipxe", given=False)
    assert done.code == 0, done.err
    files = sorted((tmp_path / "out.passwords").iterdir())
    assert [path.name.split(".")[0] for path in files] == ["a1", "b2"]
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        password = path.read_text().strip()
        answer = tmp_path / f"out/share/hosts/{path.name.split('.')[0]}/autounattend.xml"
        assert encode_password(Secret(password), "AdministratorPassword") in answer.read_text()
    again = hand_off(capsys, discs, tmp_path, "ipxe", given=False)
    assert again.code == 0, again.err
    assert len(list((tmp_path / "out.passwords").iterdir())) == 4, "an old one was overwritten"


@pytest.mark.parametrize("way", ["share", "share-injected", "http"])
def test_what_the_script_fetches_is_there_with_its_size(way, capsys, discs, tmp_path):
    out, _ = make(way, capsys, discs, tmp_path)
    document = json.loads((out / "handoff.json").read_text())
    assert [row["host"] for row in document["hosts"]] == ["A1", "b2"]
    for row in document["hosts"]:
        (mac,) = row["macs"]
        script = (out / f"http/boot/{mac}.ipxe").read_text()
        fetched = re.findall(r"^(?:kernel|initrd --name \S+) \.\./(\S+)", script, re.MULTILINE)
        assert fetched == [one["path"] for one in row["fetches"]]
        assert fetched[0] == "wimboot"
        assert fetched[-1].endswith(".wim")
        for one in row["fetches"]:
            assert (out / "http" / one["path"]).stat().st_size == one["size"]
        names = re.findall(r"^initrd --name (\S+) \S+ (\S+) ", script, re.MULTILINE)
        assert all(name == again and len(name) <= 31 for name, again in names)
        assert len({name for name, _ in names}) == len(names)
        assert script == (out / f"http/boot/{row['host'].lower()}.ipxe").read_text()


def test_boot_files_are_those_of_the_disc(capsys, discs, tmp_path):
    """With a name as long as those in sources/sxs of a real one."""
    cabinet = "sources/sxs/microsoft-windows-netfx3-ondemand-package~31bf3856ad364e35~amd64~~.cab"
    disc = media.make_windows_iso(
        tmp_path / "windows.iso", evaluation=False, channel="Volume", extra={cabinet: b"MSCF"}
    )
    out, _ = make("share", capsys, discs, tmp_path, windows=disc)
    image = inspect_image(disc)
    assert image.find(cabinet) is not None
    (folder,) = (out / "http/media").iterdir()
    places = {"boot.wim": "sources/boot.wim", "BCD": "boot/bcd", "boot.sdi": "boot/boot.sdi"}
    for name, path in places.items():
        assert (folder / name).read_bytes() == image.read(image.find(path)), name
    share = out / "share/media" / folder.name
    assert len([path for path in share.rglob("*") if path.is_file()]) == len(image.files)
    for file in image.files.values():
        assert (share / file.path).read_bytes() == image.read(file), file.path
    assert (share / "sources/boot.wim").samefile(folder / "boot.wim")


def test_lists_of_the_shareless_way_name_what_is_there(capsys, discs, tmp_path):
    out, _ = make("http", capsys, discs, tmp_path)
    for host in HOSTS:
        folder = out / "http/hosts" / host
        for name, root in (("winpe.txt", "X:"), ("medium.txt", "W:")):
            rows = (folder / name).read_text().splitlines()
            urls = [row for row in rows if row.startswith("url = ")]
            targets = [row for row in rows if row.startswith("output = ")]
            assert len(urls) == len(targets) == len(rows) // 2
            for url, target in zip(urls, targets, strict=True):
                path = unquote(url.split('"')[1].removeprefix("http://192.0.2.10:8080/"))
                assert (out / "http" / path).is_file(), path
                inside = path.removeprefix(f"hosts/{host}/medium/")
                assert target == f'output = "{root}/winseed-medium/{inside}"'
        medium = {
            path.relative_to(folder / "medium").as_posix()
            for path in (folder / "medium").rglob("*")
            if path.is_file()
        }
        listed = re.findall(r'"W:/winseed-medium/(.+)"', (folder / "medium.txt").read_text())
        assert set(listed) == medium


def test_equal_files_are_one_file(capsys, discs, tmp_path):
    out, _ = make("share", capsys, discs, tmp_path)
    by_content: dict[tuple, set[int]] = {}
    for path in out.rglob("*"):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            key = (digest, path.stat().st_mode)
            by_content.setdefault(key, set()).add(path.stat().st_ino)
    assert [key for key, inodes in by_content.items() if len(inodes) > 1] == []


def wim_hashes(path: Path, index: int) -> dict[str, str]:
    """Path -> SHA-1 of every file of an image, by wimlib's own listing."""
    told = run_tool("wimlib-imagex", "dir", path, index, "--detailed")
    found, name = {}, ""
    for line in told.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "Full Path":
            name = value.strip('"')
        elif key == "Hash" and set(value) != set("0x"):  # folders have none
            found[name] = value
    return found


def test_injected_boot_image(capsys, discs, tmp_path):
    media.need_tool("wimlib-imagex")
    out, _ = make("share-injected", capsys, discs, tmp_path)
    image = inspect_image(discs["windows-2022-volume"])
    before = tmp_path / "before.wim"
    before.write_bytes(image.read(image.find("sources/boot.wim")))
    (after,) = (out / "http/media").glob("*/boot-*.wim")
    assert "successfully verified" in run_tool("wimlib-imagex", "verify", after)
    assert wim_hashes(after, 1) == wim_hashes(before, 1)
    old, new = wim_hashes(before, 2), wim_hashes(after, 2)
    assert {name: new[name] for name in old} == old
    added = {name.rpartition("/")[2]: new[name] for name in new.keys() - old.keys()}
    assert all(name.startswith("/Windows/System32/") for name in new.keys() - old.keys())
    expected = {
        path.name: "0x" + hashlib.sha1(path.read_bytes()).hexdigest()
        for folder in ("winpe/share", "drivers")
        for path in (out / "http" / folder).rglob("*")
        if path.is_file()
    }
    assert added == expected
    assert {"winpeshl.ini", "winseed-start.cmd", "netkvm.inf", "vioscsi.sys"} <= set(added)
    info = run_tool("wimlib-imagex", "info", after)
    assert re.search(r"^Boot Index: +2$", info, re.MULTILINE)


def test_the_disk_guard_is_in_the_boot_image_of_wds(capsys, discs, tmp_path):
    media.need_tool("wimlib-imagex")
    out, _ = make("wds", capsys, discs, tmp_path)
    (image,) = (out / "boot").glob("*.wim")
    hashes = wim_hashes(image, 2)
    guard = "0x" + hashlib.sha1((out / "boot/guard.cmd").read_bytes()).hexdigest()
    assert hashes["/winseed/guard.cmd"] == guard
    assert b"call :guard" in (out / "boot/guard.cmd").read_bytes()


def test_curl_comes_out_of_the_install_image(capsys, discs, tmp_path):
    """The synthetic images have none, so it is said; one that has it gives it."""
    media.need_tool("wimlib-imagex")
    done = hand_off(capsys, discs, tmp_path, "ipxe", "--way", "http", "--secrets-in-tree")
    assert done.code == ExitCode.MEDIA
    assert "holds no curl.exe" in done.err
    assert not (tmp_path / "out").exists()
    image = inspect_image(discs["windows-2022-volume"])
    install = tmp_path / "install.wim"
    install.write_bytes(image.read(image.find("sources/install.wim")))
    program = tmp_path / "program"
    program.write_bytes(b"MZ curl")
    for index in (1, 2):
        command = f"add {program} /Windows/System32/curl.exe"
        run_tool("wimlib-imagex", "update", install, index, f"--command={command}")
    disc = media.make_windows_iso(
        tmp_path / "with-curl.iso",
        evaluation=False,
        channel="Volume",
        extra={"sources/install.wim": install.read_bytes()},
    )
    done = hand_off(
        capsys, discs, tmp_path, "ipxe", "--way", "http", "--secrets-in-tree", windows=disc
    )
    assert done.code == 0, done.err
    (curl,) = (tmp_path / "out/http/winpe").glob("*/curl.exe")
    assert curl.read_bytes() == b"MZ curl"


@pytest.mark.parametrize("way", ["share", "http"])
def test_servers_take_their_configuration(way, capsys, discs, tmp_path):
    out, _ = make(way, capsys, discs, tmp_path)
    checks = {
        "dnsmasq": lambda tool: run_tool(tool, "--test", f"--conf-file={out}/server/dnsmasq.conf"),
        "testparm": lambda tool: run_tool(tool, "-s", out / "server/smb.conf"),
        "nginx": lambda tool: run_tool(tool, "-t", "-c", nginx_frame(tmp_path, out)),
    }
    if way == "http":
        assert not (out / "server/smb.conf").exists()
        del checks["testparm"]
    missing = []
    for name, check in checks.items():
        tool = next((p for f in SYSTEM_TOOLS if (p := Path(f) / name).exists()), None)
        if tool is None:
            missing.append(f"{name} is missing: apt install {DEBIAN[name]}")
            continue
        told = check(tool)
        assert "Ignoring" not in told, told
        assert "Unknown parameter" not in told, told
        assert "[warn]" not in told, told
    if missing:
        pytest.skip("; ".join(missing))


def nginx_frame(folder: Path, out: Path) -> Path:
    """The file around the snippet, as Debian's nginx.conf includes conf.d."""
    text = (out / "server/nginx.conf").read_text()
    snippet = folder / "snippet.conf"
    snippet.write_text(text.replace("/var/log/nginx/", f"{folder}/"))
    frame = folder / "nginx.conf"
    frame.write_text(
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{ include {snippet}; }}\n"
    )
    return frame


def test_hyperv_iso_has_no_virtio(capsys, discs, tmp_path):
    out, _ = make("hyperv", capsys, discs, tmp_path)
    image = inspect_image(out / "a1-2022-core.iso")
    assert [name for name in image.files if name.startswith(("drivers", "$winpe", "guest-a"))] == []
    answer = image.read(image.find("autounattend.xml")).decode()
    assert "PnpCustomizations" not in answer
    assert "winseed\\winpe.cmd" in answer
    manifest = json.loads(image.read(image.find("winseed/manifest.json")))
    steps = [step["name"] for step in manifest["plan"]["steps"]]
    assert "agent" not in steps
    assert "balloon" not in steps


def test_each_kind_has_its_passes(capsys, discs, tmp_path):
    out, _ = make("wds", capsys, discs, tmp_path)
    right = {"wds-client": out / "unattend/client", "image": out / "unattend/image"}
    for kind, folder in right.items():
        done = winseed(capsys, "lint", "--kind", kind, "--release", "2022", folder)
        assert done.code == 0, done.out
        assert "error" not in done.out.replace("0 errors", "")
    for kind, folder in (("image", right["wds-client"]), ("wds-client", right["image"])):
        done = winseed(capsys, "lint", "--kind", kind, "--release", "2022", folder)
        assert done.code == ExitCode.ANSWER
        assert "WS027" in done.out


def test_a_folder_is_replaced_by_its_own_kind_only(capsys, discs, tmp_path):
    out, _ = make("hyperv", capsys, discs, tmp_path)
    (out / "stale.txt").write_text("from an older run")
    again, _ = make("hyperv", capsys, discs, tmp_path)
    assert not (again / "stale.txt").exists()
    (out / "handoff.json").unlink()
    before = listing(out)
    done = hand_off(capsys, discs, tmp_path, "hyperv")
    assert done.code == ExitCode.UNSAFE
    assert "is not overwritten" in done.err
    assert listing(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin.txt", "out", "site.toml"]


def test_what_a_killed_run_left_goes(capsys, discs, tmp_path):
    """A folder whose writer lives is left alone."""
    stale, living = tmp_path / ".out.abc_1.part", tmp_path / ".out.def_2.part"
    for folder in (stale, living):
        folder.mkdir()
        (folder / "file").write_text("x")
    lock = os.open(living, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make("hyperv", capsys, discs, tmp_path)
    finally:
        os.close(lock)
    assert not stale.exists()
    assert (living / "file").exists()


@pytest.mark.parametrize("name", [".", "/", "x/.."])
def test_a_folder_without_a_name_is_refused(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = winseed(capsys, "handoff", "hyperv", name)
    assert done.code == ExitCode.SPEC
    assert "has no name of its own" in done.err


def test_a_failure_leaves_nothing(capsys, discs, tmp_path):
    """The disc is cut short after it was inspected: its install image cannot be copied."""
    disc = tmp_path / "windows.iso"
    disc.write_bytes(discs["windows-2022-volume"].read_bytes())
    image = inspect_image(disc)
    boot = image.find("sources/boot.wim")
    damaged = media.make_windows_iso(
        tmp_path / "no-bcd.iso", evaluation=False, channel="Volume", drop=["boot/bcd"]
    )
    done = hand_off(capsys, discs, tmp_path / "x", "ipxe", given=False, windows=damaged)
    assert done.code == ExitCode.MEDIA
    assert "boot/bcd" in done.err
    assert boot.size > 0
    left = {path.name for path in (tmp_path / "x").iterdir()}
    assert left == {"admin.txt", "site.toml", "wimboot"}


REFUSED = {
    "2025 by WDS": ("wds", (), {"windows": "windows-2025-volume"}, ExitCode.MEDIA, "WDS does not"),
    "no guard": ("wds", (), {}, ExitCode.UNSAFE, "has no disk guard"),
    "no Windows": ("wds", (), {"windows": None}, ExitCode.SPEC, "no Windows ISO"),
    "no drivers": ("ipxe", (), {"virtio": False, "given": False}, ExitCode.SPEC, "no virtio-win"),
    "given password": ("ipxe", (), {}, ExitCode.UNSAFE, "given password of Administrator"),
    "odd server": ("ipxe", (), {"server": "a b"}, ExitCode.SPEC, "no name or IPv4"),
    "no network": ("ipxe", (), {"server": "boot.lan"}, ExitCode.SPEC, "tells no network"),
    "odd network": ("ipxe", ("--subnet", "x"), {}, ExitCode.SPEC, "no IPv4 network"),
    "odd share": ("ipxe", ("--share", "a b"), {}, ExitCode.SPEC, "--share"),
    "odd group": ("wds", ("--image-group", "a/b"), {}, ExitCode.SPEC, "--image-group"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, capsys, discs, tmp_path):
    kind, flags, options, code, words = REFUSED[name]
    spec = SPEC.replace("2022", "2025") if "2025" in name else SPEC
    done = hand_off(capsys, discs, tmp_path, kind, *flags, spec=spec, **options)
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.passwords").exists()


def test_hyperv_needs_uefi(capsys, discs, tmp_path):
    spec = SPEC + 'disk = { layout = "bios" }\n'
    done = hand_off(capsys, discs, tmp_path, "hyperv", spec=spec)
    assert done.code == ExitCode.SPEC
    assert "b2: a Hyper-V machine of generation 2" in done.err


@pytest.mark.parametrize("way", WAYS)
def test_dry_run_writes_nothing(way, capsys, discs, tmp_path):
    kind, *flags = WAYS[way]
    if "--inject" in flags or way == "http":
        media.need_tool("wimlib-imagex")
    done = hand_off(capsys, discs, tmp_path, kind, *flags, "--dry-run", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["would_write"]["hosts"]
    assert [row["host"] for row in rows] == ["A1", "b2"]
    assert not (tmp_path / "out").exists()


def test_result_as_json(capsys, discs, tmp_path):
    out, done = make("share", capsys, discs, tmp_path, "--json")
    told = json.loads(done.out)["handoff"]
    assert told["kind"] == "ipxe"
    assert told["files"] == sum(path.is_file() for path in out.rglob("*"))
    assert sorted(told["secrets"]) == [
        "http/secret/login.cmd",
        "share/hosts/a1/autounattend.xml",
        "share/hosts/b2/autounattend.xml",
    ]
    assert [row["machine"] for row in told["rehearsals"]] == ["A1", "b2"]
    assert all(row["stop"] == 0 for row in told["rehearsals"])
    assert {"FT60", "FT61"} <= set(told["hosts"][0]["risks"])


WRONG_LOADERS = {
    "no kernel header": {"kernel": False},
    "names no wimboot version": {"version": "linux"},
    "too old": {"version": "v2.5.2"},
    "no UEFI application": {"machine": 0x14C},
    "no UEFI application for": {"subsystem": 3},
    "larger": {"size": (1 << 20) + 1},
    "has no kernel": {"size": 0x200},
}


@pytest.mark.parametrize("words", WRONG_LOADERS)
def test_other_files_are_not_taken_for_wimboot(words, capsys, discs, tmp_path):
    loader = tmp_path / "loader"
    options = WRONG_LOADERS[words]
    size = options.get("size", 4096)
    whole = write_wimboot(loader, **{**options, "size": max(size, 4096)}).read_bytes()
    loader.write_bytes(whole[:size])
    done = hand_off(capsys, discs, tmp_path / "x", "ipxe", "--secrets-in-tree", wimboot=loader)
    assert done.code == ExitCode.MEDIA
    assert words in done.err


def test_an_unsigned_loader_stops_secure_boot(capsys, discs, tmp_path):
    loader = write_wimboot(tmp_path / "loader", signed=False)
    done = hand_off(capsys, discs, tmp_path / "x", "ipxe", "--secrets-in-tree", wimboot=loader)
    assert done.code == ExitCode.MEDIA
    assert "this wimboot is not signed" in done.err
    spec = SPEC.replace('mac = "', 'model = "e1000e", mac = "').replace(
        "nic =", "machine = { secure_boot = false }\nnic ="
    )
    options = {"wimboot": loader, "spec": spec}
    done = hand_off(capsys, discs, tmp_path / "y", "ipxe", "--secrets-in-tree", **options)
    assert done.code == 0, done.err
