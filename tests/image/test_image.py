"""`inspect_image` against discs written and read back by other people's tools."""

import hashlib
import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from builder.errors import WinseedError
from builder.media.image import DiscImage, Namespace, inspect_image
from tests.media import (
    genisoimage,
    make_disc,
    make_large_windows_iso,
    make_virtio_iso,
    make_windows_iso,
    need_tool,
    virtio_tree,
)
from tests.media_udf import find_entry, tagged

SECTOR = 2048


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("discs")


@pytest.fixture(scope="module")
def virtio_iso(folder):
    return make_virtio_iso(folder / "virtio.iso", release="0.1.285")


@pytest.fixture(scope="module")
def windows_iso(folder):
    return make_windows_iso(folder / "windows.iso")


@pytest.fixture(scope="module")
def small_iso(folder):
    """A disc of 60 KiB of tables with Rock Ridge, Joliet and El Torito."""
    return make_disc(
        folder / "small.iso",
        {"a/b/c.txt": b"see", "boot.img": b"x" * 2048, "d/e.bin": b"e" * 5000},
        ["-r", "-J", "-V", "SMALL", "-eltorito-boot", "boot.img", "-no-emul-boot"],
    )


def _seven_zip(path: Path) -> dict[str, int]:
    """Path -> size, by 7z."""
    tool = need_tool("7z")
    listing = subprocess.run([tool, "l", "-slt", path], check=True, capture_output=True, text=True)
    files = {}
    for block in listing.stdout.partition("----------\n")[2].split("\n\n"):
        fields = dict(re.findall(r"^(\w[\w ]*) = (.*)$", block, re.MULTILINE))
        if fields.get("Folder") == "-" and not fields["Path"].startswith("[BOOT]"):
            files[fields["Path"]] = int(fields["Size"])
    return files


def _bsdtar(path: Path) -> dict[str, str]:
    """Path -> SHA-256 of the content, by bsdtar."""
    tool = need_tool("bsdtar")
    target = path.with_suffix(".bsdtar")
    target.mkdir()
    subprocess.run([tool, "-xf", path, "-C", target], check=True)
    return {str(file.relative_to(target)): _sum(file.read_bytes())
            for file in target.rglob("*") if file.is_file()}  # fmt: skip


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sums(image: DiscImage) -> dict[str, str]:
    return {file.path: _sum(image.read(file)) for file in image.files.values()}


@pytest.mark.parametrize("writer", ["genisoimage", "pycdlib"])
@pytest.mark.parametrize("joliet", [False, True])
def test_virtio_disc_holds_what_was_written(tmp_path, writer, joliet):
    if writer == "genisoimage":
        need_tool("genisoimage")
    path = make_virtio_iso(tmp_path / "v.iso", release="0.1.240", joliet=joliet, writer=writer)
    image = inspect_image(path)
    tree = virtio_tree(release="0.1.240")
    assert image.namespace is (Namespace.JOLIET if joliet else Namespace.ROCK_RIDGE)
    assert _sums(image) == {name: _sum(content) for name, (_, content) in tree.items()}
    assert image.size == path.stat().st_size
    assert image.boot_images == ()


def test_virtio_disc_against_bsdtar(virtio_iso):
    assert _sums(inspect_image(virtio_iso)) == _bsdtar(virtio_iso)


def test_volume_id_is_whole(virtio_iso):
    assert inspect_image(virtio_iso).volume_id == "virtio-win-0.1.285"


def test_hard_links_share_their_extents(virtio_iso):
    image = inspect_image(virtio_iso)
    places = {image.find(f"{folder}/vioscsi.sys").extents
              for folder in ("vioscsi/2k16/amd64", "vioscsi/2k22/amd64", "amd64/2k22")}  # fmt: skip
    assert len(places) == 1
    assert image.find("vioscsi/2k25/amd64/vioscsi.sys").extents not in places


def test_any_case(virtio_iso):
    image = inspect_image(virtio_iso)
    assert image.find("netkvm/2K25/AMD64/NETKVM.inf").path == "NetKVM/2k25/amd64/netkvm.inf"
    assert image.find("netkvm/2k25/amd64") is None
    below = {file.path for file in image.under("NETKVM/2k25")}
    assert below == {path for path in virtio_tree(release="0.1.285") if "NetKVM/2k25/" in path}
    assert len(image.under("")) == len(image.files)
    assert image.under("NetKV") == ()


def test_windows_disc_is_read_by_udf(windows_iso):
    image = inspect_image(windows_iso)
    assert image.namespace is Namespace.UDF
    assert {file.path: file.size for file in image.files.values()} == _seven_zip(windows_iso)


def test_windows_disc_contents(windows_iso, tmp_path):
    tool = need_tool("7z")
    subprocess.run([tool, "x", f"-o{tmp_path}", windows_iso], check=True, capture_output=True)
    image = inspect_image(windows_iso)
    sums = {str(file.relative_to(tmp_path)): _sum(file.read_bytes())
            for file in tmp_path.rglob("*") if file.is_file()}  # fmt: skip
    assert _sums(image) == sums


def test_boot_catalog(windows_iso):
    image = inspect_image(windows_iso)
    found = {(boot.platform, boot.sectors) for boot in image.boot_images}
    assert found == {("bios", 8), ("efi", 1_474_560 // 512)}
    whole = windows_iso.read_bytes()
    for boot in image.boot_images:
        name = "boot/etfsboot.com" if boot.platform == "bios" else "efi/microsoft/boot/efisys.bin"
        content = image.read(image.find(name))
        assert whole[boot.lba * SECTOR :].startswith(content)


def test_boot_catalog_against_isoinfo(small_iso):
    tool = need_tool("isoinfo")
    told = subprocess.run([tool, "-d", "-i", small_iso], check=True, capture_output=True, text=True)
    (boot,) = inspect_image(small_iso).boot_images
    assert int(re.search(r"Bootoff (\w+)", told.stdout)[1], 16) == boot.lba
    assert int(re.search(r"Nsect (\w+)", told.stdout)[1], 16) == boot.sectors


def test_file_of_more_than_4_gib(tmp_path):
    need_tool("genisoimage")
    size = 4_700_000_000
    path = make_large_windows_iso(tmp_path / "large.iso", size=size)
    image = inspect_image(path)
    install = image.find("sources/install.wim")
    assert install.size == size == _seven_zip(path)["sources/install.wim"]
    assert image.read(install, 0, 5) == b"MSWIM"
    end = image.read(install, size - 12)
    assert end.decode("utf-16-le") == "</WIM>"
    edge = install.extents[0].length
    assert image.read(install, edge - 3, 6) == bytes(6)


def test_file_embedded_in_its_entry(tmp_path):
    """ICB flags 3 (ECMA-167 4/14.6.8): the data stand where the descriptors would."""
    files = {"README.TXT": b"stub", "a/in.txt": b"1234567"}
    path = make_disc(tmp_path / "in.iso", files, ["-udf", "-hide", "a"])
    raw = bytearray(path.read_bytes())
    entry = find_entry(raw, 7)
    (attributes,) = struct.unpack_from("<L", raw, entry + 168)
    raw[entry + 34] |= 3
    struct.pack_into("<Q", raw, entry + 64, 0)  # blocks recorded
    struct.pack_into("<L", raw, entry + 172, 7)
    raw[entry + 176 + attributes : entry + 183 + attributes] = b"inlined"
    struct.pack_into("<H", raw, entry + 10, 160 + attributes + 7)
    raw[entry : entry + SECTOR] = tagged(raw[entry : entry + SECTOR])
    path.write_bytes(raw)
    image = inspect_image(path)
    assert image.read(image.find("a/in.txt")) == b"inlined"
    tool = need_tool("7z")
    # It delivers the bytes, and takes exception to the padding behind the last extent.
    told = subprocess.run([tool, "x", "-so", path, "a/in.txt"], check=False, capture_output=True)
    assert told.stdout == b"inlined"


def test_multi_extent_file_of_iso9660(tmp_path):
    """Two files become the two parts of one, as level 3 writes files over 4 GiB."""
    path = make_disc(
        tmp_path / "m.iso", {"BIG.BIN": b"1" * 4096, "BIH.BIN": b"2" * 100}, ["-V", "M"]
    )
    raw = bytearray(path.read_bytes())
    first, second = raw.index(b"BIG.BIN;1"), raw.index(b"BIH.BIN;1")
    raw[second : second + 9] = b"BIG.BIN;1"
    raw[first - 33 + 25] |= 0x80
    path.write_bytes(raw)
    image = inspect_image(path)
    big = image.find("big.bin")
    assert image.read(big) == b"1" * 4096 + b"2" * 100
    assert image.read(big, 4090, 10) == b"1" * 6 + b"2" * 4
    assert {file.path: file.size for file in image.files.values()} == _seven_zip(path)


def test_plain_iso9660_names(tmp_path):
    path = make_disc(tmp_path / "p.iso", {"README": b"r", "dir.x/a.txt": b"a", "empty": b""}, [])
    image = inspect_image(path)
    assert image.namespace is Namespace.ISO9660
    assert sorted(file.path for file in image.files.values()) == ["DIR.X/A.TXT", "EMPTY", "README"]
    assert image.read(image.find("empty")) == b""


def test_names_beyond_ascii(tmp_path):
    name = "Größe/ключ.txt"
    for options in (["-J"], ["-r"], ["-udf", "-hide", "Größe"]):
        path = make_disc(tmp_path / "n.iso", {name: b"1"}, [*options, "-input-charset", "utf-8"])
        assert inspect_image(path).find(name.upper()).path == name
        assert inspect_image(path).find("größe/КЛЮЧ.TXT").size == 1


def test_deep_folders_lie_where_rock_ridge_says(tmp_path):
    name = "/".join("abcdefghijkl") + "/deep.txt"
    path = make_disc(tmp_path / "d.iso", {name: b"deep"}, ["-r"])
    assert list(_sums(inspect_image(path))) == [name] == list(_bsdtar(path))


def test_symbolic_links_are_no_files(tmp_path):
    need_tool("genisoimage")
    root = tmp_path / "tree"
    root.mkdir()
    (root / "real").write_bytes(b"1")
    (root / "link").symlink_to("/etc/passwd")
    genisoimage(tmp_path / "l.iso", root, ["-r"])
    assert b"link" in (tmp_path / "l.iso").read_bytes()
    assert list(_sums(inspect_image(tmp_path / "l.iso"))) == ["real"]


def test_deleted_names_of_udf(tmp_path):
    """Bit 2 of the characteristics (ECMA-167 4/14.4.3)."""
    files = {"README.TXT": b"stub", "a/gone.txt": b"1", "a/here.txt": b"2"}
    path = make_disc(tmp_path / "g.iso", files, ["-udf", "-hide", "a"])
    raw = bytearray(path.read_bytes())
    at = raw.index(b"\x08gone.txt") - 38
    raw[at + 18] |= 0x04
    raw[at : at + 48] = tagged(raw[at : at + 48])
    path.write_bytes(raw)
    assert {file.path for file in inspect_image(path).files.values()} == {
        "README.TXT",
        "a/here.txt",
    }


def test_read_ranges(virtio_iso):
    image = inspect_image(virtio_iso)
    file = image.find("vioscsi/2k22/amd64/vioscsi.sys")
    whole = virtio_tree(release="0.1.285")["vioscsi/2k22/amd64/vioscsi.sys"][1]
    assert image.read(file, 100, 50) == whole[100:150]
    assert image.read(file, 100) == whole[100:]
    assert image.read(file, len(whole) - 5, 50) == whole[-5:]
    assert image.read(file, len(whole) + 5, 50) == b""


def test_a_file_that_shrank_since(tmp_path):
    path = make_disc(tmp_path / "s.iso", {"a.bin": b"a" * 9000}, ["-r"])
    image = inspect_image(path)
    file = image.find("a.bin")
    os.truncate(path, file.extents[0].offset + 4000)
    with pytest.raises(WinseedError, match=r"cut short: a\.bin ends after 4000 bytes"):
        image.read(file)
    path.unlink()
    with pytest.raises(WinseedError, match="no such file"):
        image.read(file)
