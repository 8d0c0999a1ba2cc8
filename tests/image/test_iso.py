"""`winseed iso` from end to end on discs of other people's making, judged by other readers."""

import hashlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from builder.errors import ExitCode
from tests import media
from tests.command import (
    LAUNCH,
    PASSWORD,
    Discs,
    authority,
    clean_environment,
    process,
    signed_catalogs,
    winseed,
)

NS = {"u": "urn:schemas-microsoft-com:unattend"}
# the INF's own list and what the first boot runs; names from virtio-win 0.1.271
PACKAGES = {
    "vioscsi": {"vioscsi.inf", "vioscsi.cat", "vioscsi.sys"},
    "viostor": {"viostor.inf", "viostor.cat", "viostor.sys"},
    "NetKVM": {"netkvm.inf", "netkvm.cat", "netkvm.sys", "netkvmp.exe"},
    "Balloon": {"balloon.inf", "balloon.cat", "balloon.sys", "blnsvr.exe"},
    "vioserial": {"vioser.inf", "vioser.cat", "vioser.sys"},
}
SCRIPTS = {
    *("winseed/winpe.cmd", "winseed/specialize.cmd"),
    *("winseed/setup/SetupComplete.cmd", "winseed/setup/ErrorHandler.cmd"),
    *("winseed/guest/first-boot.ps1", "winseed/guest/enable-updates.ps1"),
}


def listed(tool: str, disc: Path) -> set[str]:
    """The files of a disc by another reader; folders left out."""
    if tool == "isoinfo":
        lines = subprocess.run(
            [media.need_tool("isoinfo"), "-J", "-f", "-l", "-i", disc],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        found, folder = set(), ""
        for line in lines:
            if line.startswith("Directory listing of "):
                folder = line.removeprefix("Directory listing of ")
            elif line.startswith("-"):
                found.add((folder + line.partition("] ")[2].strip()).strip("/"))
        return found
    if tool == "bsdtar":
        command = [media.need_tool("bsdtar"), "-tvf", disc]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        files = [line for line in lines.splitlines() if not line.startswith("d")]
        return {line.split(maxsplit=8)[8].split(" link to ")[0] for line in files}
    command = [media.need_tool("7z"), "l", "-slt", "-ba", disc]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    entries = [
        dict(line.partition(" = ")[::2] for line in block.splitlines())
        for block in text.split("\n\n")
    ]
    return {entry["Path"] for entry in entries if entry.get("Folder") == "-"}


def extracted(disc: Path, folder: Path) -> Path:
    command = [media.need_tool("7z"), "x", "-y", f"-o{folder}", disc]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return folder


@pytest.fixture(scope="module")
def built(discs: Discs, tmp_path_factory):
    """The full job: both discs, 2022 Core by its media."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "admin").write_text(f"{PASSWORD}\n")
    (folder / "hello.ps1").write_bytes(b"Write-Output 1\n")
    (folder / "winseed.toml").write_text('[[host]]\nname = "dc01"\nfirst_boot = ["hello.ps1"]\n')
    done = process(
        *("iso", "--json", "--admin-password-file", "admin"),
        *("--virtio-iso", discs["virtio"], "--windows-iso", discs["windows-2022-eval"]),
        cwd=folder,
        trusted=True,
    )
    assert (done.code, done.err) == (0, "")
    (result,) = json.loads(done.out)["built"]
    return folder, result


@pytest.fixture(scope="module")
def disc(built):
    folder, result = built
    return folder / result["iso"]


@pytest.fixture(scope="module")
def tree(disc, tmp_path_factory):
    return extracted(disc, tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("tool", ["7z", "isoinfo", "bsdtar"])
def test_the_tree_as_others_see_it(built, disc, tool):
    found = listed(tool, disc)
    if tool == "bsdtar":  # it prefers ISO 9660 names, which are the same
        found = {name.removesuffix(";1") for name in found}
    folders = {f"drivers/{name}": files for name, files in PACKAGES.items()}
    folders |= {f"$WinPEDriver$/{name}": PACKAGES[name] for name in ("vioscsi", "viostor")}
    expected = {f"{folder}/{name}" for folder, files in folders.items() for name in files}
    steps = ("drivers", "agent", "balloon", "settings", "scrub")
    expected |= SCRIPTS | {f"winseed/guest/{step}.ps1" for step in steps}
    expected |= {
        *("autounattend.xml", "winseed/manifest.json", "guest-agent/qemu-ga-x86_64.msi"),
        f"winseed/{built[1]['fingerprint']}.id",
        "winseed/files/script-01-hello.ps1",
    }
    assert found == expected


def test_drivers_are_byte_for_byte_those_of_the_disc(discs, tree, tmp_path):
    source = extracted(discs["virtio"], tmp_path)
    for driver, files in PACKAGES.items():
        for name in files:
            wanted = (source / driver / "2k22" / "amd64" / name).read_bytes()
            assert (tree / "drivers" / driver / name).read_bytes() == wanted
            if driver.startswith("vio") and driver != "vioserial":
                assert (tree / "$WinPEDriver$" / driver / name).read_bytes() == wanted
    agent = "guest-agent/qemu-ga-x86_64.msi"
    assert (tree / agent).read_bytes() == (source / agent).read_bytes()
    assert (source / "NetKVM/2k22/amd64/netkvm.pdb").exists()


def test_shared_files_lie_on_the_disc_once(disc, tree):
    twice = sum(path.stat().st_size for path in (tree / "$WinPEDriver$").rglob("*.*"))
    whole = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    assert twice > 100_000
    assert disc.stat().st_size < whole - twice + 400_000


def test_the_manifest_is_the_same_inside_and_outside(built, tree):
    folder, result = built
    inside = (tree / "winseed" / "manifest.json").read_bytes()
    assert (folder / result["manifest"]).read_bytes() == inside
    document = json.loads(inside)
    assert document["fingerprint"] == result["fingerprint"]
    rows = {row["path"]: row for row in document["files"]}
    found = {path.relative_to(tree).as_posix(): path for path in tree.rglob("*") if path.is_file()}
    assert rows.keys() == found.keys() - {"winseed/manifest.json"}
    for path, row in rows.items():
        data = found[path].read_bytes()
        assert row["size"] == len(data)
        if path != "autounattend.xml":
            assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_marker_label_and_answer_file_name_the_same_build(built, disc, tree):
    fingerprint = built[1]["fingerprint"]
    assert (tree / "winseed" / f"{fingerprint}.id").read_bytes() == f"{fingerprint}\r\n".encode()
    told = subprocess.run(
        [media.need_tool("isoinfo"), "-d", "-i", disc], capture_output=True, text=True, check=True
    ).stdout
    assert f"Volume id: WS{fingerprint.upper()}\n" in told
    root = ET.parse(tree / "autounattend.xml").getroot()
    paths = [element.text for element in root.iter(f"{{{NS['u']}}}Path")]
    calls = [path for path in paths if ".cmd" in path]
    assert len(calls) == 2
    assert all(f"%d:\\winseed\\{fingerprint}.id" in path for path in calls)


def test_the_answer_file_names_what_the_disc_has(tree):
    """Each driver path of Setup, on any letter, is a folder of this very disc; no virtio CD."""
    root = ET.parse(tree / "autounattend.xml").getroot()
    found = {"windowsPE": set(), "offlineServicing": set()}
    for settings in root.findall("u:settings", NS):
        for path in settings.findall(".//u:PathAndCredentials/u:Path", NS):
            letter, _, folder = path.text.partition(":\\")
            if letter != "X":
                found[settings.get("pass")].add(folder)
    assert found["windowsPE"] == {"drivers\\vioscsi", "drivers\\viostor"}
    assert found["offlineServicing"] == {f"drivers\\{name}" for name in PACKAGES}
    index = root.find(".//u:InstallFrom/u:MetaData", NS)
    assert [child.text for child in index] == ["/IMAGE/INDEX", "1"]


def test_the_image_is_what_another_reader_finds_at_that_index(discs, tmp_path):
    """wimlib reads the WIM; the answer file must name the image it calls so."""
    media.need_tool("7z")
    tool = media.need_tool("wimlib-imagex")
    source = extracted(discs["windows-2025-volume"], tmp_path / "w")
    told = subprocess.run(
        [tool, "info", source / "sources" / "install.wim"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    images = []
    for block in told.split("\n\n"):
        rows = {
            key.strip(): value.strip()
            for key, colon, value in (line.partition(":") for line in block.splitlines())
            if colon
        }
        if "Index" in rows and "Installation Type" in rows:
            images.append(rows)
    assert len(images) == 4
    for edition, kind in (("core", "Server Core"), ("desktop", "Server")):
        for sku in ("Standard", "Datacenter"):
            flags = ("--edition", edition, "--sku", sku.lower(), "--json")
            done = process(
                "plan", *flags, "--windows-iso", discs["windows-2025-volume"], cwd=tmp_path
            )
            (plan,) = json.loads(done.out)["plans"]
            (wanted,) = [
                rows["Index"]
                for rows in images
                if (rows["Edition ID"], rows["Installation Type"]) == (f"Server{sku}", kind)
            ]
            assert plan["image"]["index"] == int(wanted)


# What is not as it should be


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """A call that must fail: its message; nothing may be written."""
    monkeypatch.chdir(tmp_path)

    def call(*flags, code=ExitCode.MEDIA):
        done = winseed(capsys, "iso", *flags)
        assert done.code == code, done
        assert done.out == ""
        assert done.err.startswith("error: ")
        assert not (tmp_path / "dist").exists()
        return done.err

    return call


@pytest.mark.parametrize("flag", ["--windows-iso", "--virtio-iso"])
def test_files_that_are_no_disc(refused, tmp_path, flag):
    wrong = {
        "page.iso": (b"<!DOCTYPE html><html>Please log in</html>" * 2000, "HTML page"),
        "empty.iso": (b"", "empty"),
        "zeros.iso": (bytes(200_000), "zeros"),
        "archive.iso": (b"PK\x03\x04" + bytes(70_000), "ZIP archive"),
        "noise.iso": (hashlib.shake_128(b"n").digest(100_000), "noise.iso"),
    }
    for name, (data, what) in wrong.items():
        (tmp_path / name).write_bytes(data)
        assert what in refused(flag, name)
    assert "absent.iso" in refused(flag, "absent.iso")
    (tmp_path / "folder").mkdir()
    refused(flag, "folder")


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("name", "flag"), [("virtio", "--virtio-iso"), ("windows-2022-eval", "--windows-iso")]
)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_discs_cut_short(refused, discs, tmp_path, name, flag, part):
    whole = discs[name].read_bytes()
    (tmp_path / "cut.iso").write_bytes(whole[: int(len(whole) * part)])
    assert "cut.iso" in refused(flag, "cut.iso")


def test_discs_in_each_other_s_place(refused, discs):
    text = refused("--windows-iso", discs["virtio"])
    assert "virtio" in text.partition("\n")[0].lower()
    text = refused("--virtio-iso", discs["windows-2022-eval"])
    assert "windows" in text.partition("\n")[0].lower()


@pytest.mark.usefixtures("trusted")
def test_a_disc_without_the_wanted_folder(refused, tmp_path):
    extra = signed_catalogs("0.1.271")
    gone = [f"{name}/2k25" for name in PACKAGES]
    media.make_virtio_iso(tmp_path / "v.iso", extra=extra, drop=[*gone, "amd64/2k25"])
    text = refused("--virtio-iso", "v.iso", "--release", "2025")
    assert "2k25" in text
    assert "2k22" in text


@pytest.mark.usefixtures("trusted")
def test_a_driver_that_is_not_whole(refused, tmp_path):
    extra = signed_catalogs("0.1.271")
    media.make_virtio_iso(tmp_path / "v.iso", extra=extra, drop=["vioscsi/2k22/amd64/vioscsi.sys"])
    text = refused("--virtio-iso", "v.iso", "--release", "2022")
    assert "vioscsi.sys" in text


@pytest.mark.usefixtures("trusted")
def test_a_driver_that_was_changed(refused, tmp_path):
    extra = dict(signed_catalogs("0.1.271"))
    extra["vioscsi/2k22/amd64/vioscsi.sys"] = b"MZ" + bytes(5000)
    media.make_virtio_iso(tmp_path / "v.iso", extra=extra)
    text = refused("--virtio-iso", "v.iso", "--release", "2022")
    assert "vioscsi" in text
    assert "changed" in text


def test_drivers_that_nobody_known_has_signed(discs, tmp_path):
    """Without the session's authority among the known ones the same disc carries a warning."""
    for trusted in (False, True):
        done = process("plan", "--virtio-iso", discs["virtio"], cwd=tmp_path, trusted=trusted)
        assert done.code == 0, done.err
        assert ("Test Component CA, which winseed does not know" in done.out) != trusted


def test_drivers_without_any_signature(refused, tmp_path):
    media.make_virtio_iso(tmp_path / "v.iso")
    assert "vioscsi" in refused("--virtio-iso", "v.iso")


def test_media_without_the_edition(refused, tmp_path):
    media.make_windows_iso(tmp_path / "w.iso", drop=["sources/install.wim"])
    assert "install.wim" in refused("--windows-iso", "w.iso")


def test_media_of_another_windows(refused, tmp_path, discs, monkeypatch):
    client = [
        image.__class__(
            image.name.replace("Server", "Client"),
            image.properties
            | {"WINDOWS/VERSION/BUILD": "19045", "WINDOWS/EDITIONID": "Professional"},
        )
        for image in media.media_wim.server_images(20348, evaluation=False, language="en-US")
    ]
    wim = media.media_wim.wim_bytes(client)
    media.make_windows_iso(tmp_path / "w.iso", extra={"sources/install.wim": wim})
    text = refused("--windows-iso", "w.iso")
    assert "no Windows Server release that winseed knows" in text


def test_the_source_changes_while_it_is_read(discs, tmp_path):
    """A disc that is replaced between reading and writing is noticed: hashes are compared."""
    code = """
import sys
from pathlib import Path
from builder.cli import main
import builder.build as build
write = build.write_host
def change(*arguments, **options):
    path = Path("v.iso")
    data = bytearray(path.read_bytes())
    data[200_000:] = bytes(len(data) - 200_000)
    path.write_bytes(data)
    return write(*arguments, **options)
build.write_host = change
"""
    (tmp_path / "v.iso").write_bytes(discs["virtio"].read_bytes())
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code + LAUNCH,
            authority().fingerprint,
            "iso",
            "--virtio-iso",
            "v.iso",
        ],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == ExitCode.MEDIA, done.stderr
    assert "v.iso" in done.stderr
    assert list((tmp_path / "dist").iterdir()) == []
