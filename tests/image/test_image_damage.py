"""`inspect_image` on what is no disc and on damaged discs: a fact or one clear error, in time."""

import contextlib
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import ExitCode, WinseedError
from builder.media.image import inspect_image
from builder.media.tables import TABLE_LIMIT, TABLES_LIMIT, BrokenTablesError, TableReader
from tests.media import make_disc, make_virtio_iso, make_windows_iso
from tests.media_udf import find_entry, tagged

SECTOR = 2048


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("discs")


@pytest.fixture(scope="module")
def virtio_iso(folder):
    return make_virtio_iso(folder / "virtio.iso", drop=["NetKVM", "Balloon", "viogpudo"])


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


@pytest.fixture(scope="module")
def small_udf(folder):
    files = {"a/b/c.txt": b"see", "README.TXT": b"stub", "d/e.bin": b"e" * 5000}
    return make_disc(folder / "udf.iso", files, ["-udf", "-V", "U", "-hide", "a", "-hide", "d"])


def _refusal(path: Path) -> WinseedError:
    with pytest.raises(WinseedError) as caught:
        inspect_image(path)
    assert caught.value.code is ExitCode.MEDIA
    assert str(path) in caught.value.what
    assert "\n" not in caught.value.what
    return caught.value


NOT_DISCS = {
    "empty": (b"", "it is empty"),
    "html": (b"\r\n<!DOCTYPE html><html>", "the download saved an error or login page"),
    "zip": (b"PK\x03\x04rest", "ZIP"),
    "gzip": (b"\x1f\x8b\x08", "gzip"),
    "qcow2": (b"QFI\xfb\0\0\0\x03", "qcow2"),
    "wim": (b"MSWIM\0\0\0" + bytes(300), "WIM or ESD"),
    "text": (b"404: Not Found\n", "plain text"),
    "zeros": (bytes(100_000), "did not get this far"),
    "exe": (b"MZ\x90\0", "Windows program"),
    "disk": (bytes(9) + b"\1" + bytes(500) + b"\x55\xaa" + bytes(40_000), "raw disk"),
    "udf": (bytes(16 * SECTOR) + b"\0BEA01\1" + bytes(SECTOR), "UDF without"),
    "noise": (bytes(range(256)) * 200, "no kind"),
}


@pytest.mark.parametrize("kind", NOT_DISCS)
def test_what_is_no_disc_is_named(tmp_path, kind):
    content, words = NOT_DISCS[kind]
    path = tmp_path / "x.iso"
    path.write_bytes(content)
    error = _refusal(path)
    assert "not an ISO image" in error.what
    assert words in error.what
    assert error.hint


def test_what_cannot_be_opened(tmp_path):
    assert "no such file" in _refusal(tmp_path / "none.iso").what
    assert "directory" in _refusal(tmp_path).what
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a drive" in _refusal(tmp_path / "pipe").what


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    path = tmp_path / "x.iso"
    path.touch(mode=0)
    error = _refusal(path)
    assert "permission denied" in error.what
    assert "read access" in error.hint


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("disc", ["virtio_iso", "windows_iso"])
def test_a_disc_cut_short(request, tmp_path, disc, share):
    whole = request.getfixturevalue(disc).read_bytes()
    path = tmp_path / "cut.iso"
    path.write_bytes(whole[: int(len(whole) * share)])
    error = _refusal(path)
    assert f"cut short: the disc has {len(whole)} bytes" in error.what
    assert "download it again" in error.hint


@pytest.mark.parametrize("options", [["-r"], [], ["-udf", "-hide", "a"]])
def test_a_file_that_reaches_over_the_end(tmp_path, options):
    """The volume's own size is patched to fit, so only the extents tell."""
    files = {"a/last.bin": b"z" * 600_000}
    path = make_disc(tmp_path / "e.iso", files, [*options, "-no-pad"])
    raw = path.read_bytes()
    start = raw.index(b"z" * 5000)
    for sectors in (5, 100):
        if "-udf" in options:
            cut = bytearray(raw)
            entry = find_entry(cut, 600_000)
            # A block number beyond the end of the disc, under a valid checksum.
            struct.pack_into("<L", cut, entry + 180, 10_000 + sectors)
            cut[entry : entry + SECTOR] = tagged(cut[entry : entry + SECTOR])
            path.write_bytes(cut)
        else:
            cut = bytearray(raw[: start + sectors * SECTOR])
            blocks = len(cut) // SECTOR
            cut[16 * SECTOR + 80 : 16 * SECTOR + 88] = struct.pack("<L", blocks) + struct.pack(
                ">L", blocks
            )
            path.write_bytes(cut)
        assert "cut short" in _refusal(path).what
        assert "last.bin" in _refusal(path).what.lower()


def _patched(source: Path, target: Path, at: int, new: bytes) -> Path:
    raw = bytearray(source.read_bytes())
    raw[at : at + len(new)] = new
    target.write_bytes(raw)
    return target


def test_broken_tables(small_iso, tmp_path):
    raw = small_iso.read_bytes()
    (root,) = struct.unpack_from("<L", raw, 16 * SECTOR + 156 + 2)
    (table,) = struct.unpack_from("<L", raw, 16 * SECTOR + 140)
    damage = {
        "volume descriptor": (16 * SECTOR + 8, b"\xff" * 1000),
        "no terminator": (17 * SECTOR, b"\0" * (3 * SECTOR)),
        "path table": (table * SECTOR, b"\xff" * 64),
        "root folder": (root * SECTOR + 40, b"\xff" * 200),
    }
    for name, (at, new) in damage.items():
        error = _refusal(_patched(small_iso, tmp_path / "b.iso", at, new))
        assert "broken" in error.what or "cut short" in error.what, name
        assert error.hint


def test_limits_of_tables(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 30)
    with TableReader(path) as tables:
        for size in (-1, None, TABLE_LIMIT + 1):
            with pytest.raises(BrokenTablesError):
                tables.read(size)
        for _ in range(TABLES_LIMIT // TABLE_LIMIT):
            assert len(tables.at(5, TABLE_LIMIT)) == TABLE_LIMIT
        with pytest.raises(BrokenTablesError):
            tables.read(1)


def test_a_folder_that_holds_itself(small_iso, tmp_path):
    raw = bytearray(small_iso.read_bytes())
    (root,) = struct.unpack_from("<L", raw, 16 * SECTOR + 156 + 2)
    at = raw.index(b"\1A", root * SECTOR) - 32
    raw[at + 2 : at + 10] = struct.pack("<L", root) + struct.pack(">L", root)
    (tmp_path / "loop.iso").write_bytes(raw)
    started = time.monotonic()
    _refusal(tmp_path / "loop.iso")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("name", [b"..", b"a/b", b"\x1b[2", b"\x00"])
def test_impossible_names(tmp_path, name):
    """A name that would leave a folder, or speak to the terminal."""
    marker = b"Q" * len(name)
    path = make_disc(tmp_path / "i.iso", {marker.decode(): b"1"}, ["-r"])
    raw = path.read_bytes()
    at = raw.index(b"NM" + bytes([5 + len(name)]) + b"\1\0" + marker) + 5
    _patched(path, path, at, name)
    error = _refusal(path)
    assert "\x1b" not in error.what


def _survives(raw: bytes, path: Path) -> None:
    path.write_bytes(raw)
    started = time.monotonic()
    with contextlib.suppress(WinseedError):
        image = inspect_image(path)
        for file in image.files.values():
            assert len(image.read(file, 0, 100)) == min(file.size, 100)
    assert time.monotonic() - started < 3


FUZZ = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("disc", ["small_iso", "small_udf"])
@FUZZ
@given(flips=st.lists(st.tuples(st.integers(0, 2**32), st.integers(1, 255)), max_size=12))
def test_flipped_bytes(request, tmp_path, disc, flips):
    raw = bytearray(request.getfixturevalue(disc).read_bytes())
    for place, change in flips:
        raw[_telling(raw, place)] ^= change
    _survives(raw, tmp_path / "f.iso")


@pytest.mark.parametrize("disc", ["small_iso", "small_udf"])
@FUZZ
@given(length=st.integers(0, 2**20), patch=st.booleans())
def test_truncated(request, tmp_path, disc, length, patch):
    raw = bytearray(request.getfixturevalue(disc).read_bytes()[:length])
    if patch and len(raw) > 17 * SECTOR:
        raw[16 * SECTOR + 80 : 16 * SECTOR + 84] = struct.pack("<L", len(raw) // SECTOR)
    _survives(raw, tmp_path / "t.iso")


@pytest.mark.parametrize("disc", ["small_iso", "small_udf"])
def test_every_table_sector_swapped_and_wiped(request, tmp_path, disc):
    whole = request.getfixturevalue(disc).read_bytes()
    told = [at for at in range(0, len(whole), SECTOR) if any(whole[at : at + SECTOR])]
    for number, at in enumerate(told):
        other = told[zlib.crc32(bytes([number])) % len(told)]
        for new in (bytes(SECTOR), b"\xff" * SECTOR, whole[other : other + SECTOR]):
            _survives(whole[:at] + new + whole[at + SECTOR :], tmp_path / "w.iso")


def _telling(raw: bytearray, place: int) -> int:
    """A byte that says something: most of a disc is zeros."""
    at = place % len(raw)
    while not raw[at]:
        at = (at + 1) % len(raw)
    return at
