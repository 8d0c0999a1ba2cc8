"""`winseed noprompt`: six bytes, judged by readers of other people's making."""

import errno
import json
import os
import re
import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder import reflink
from builder.boot_choice import make_change, write_change
from builder.console import Console
from builder.errors import ExitCode, WinseedError
from builder.media.noprompt import BootChoice, inspect_pointer
from tests.command import process, winseed
from tests.media import (
    floppy,
    make_large_windows_iso,
    make_virtio_iso,
    make_windows_iso,
    need_tool,
)

SECTOR = 2048
EFISYS = "efi/microsoft/boot/efisys.bin"
SILENT = "efi/microsoft/boot/efisys_noprompt.bin"


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    """As genisoimage writes it: the boot catalog points at the file itself."""
    need_tool("genisoimage")
    return make_windows_iso(tmp_path_factory.mktemp("bridge") / "windows.iso", writer="genisoimage")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """As pycdlib writes it: the boot catalog points at a copy that is no file in UDF."""
    return make_windows_iso(tmp_path_factory.mktemp("split") / "windows.iso", writer="pycdlib")


@pytest.fixture(params=["bridge", "split"])
def disc(request, tmp_path):
    return Path(shutil.copy(request.getfixturevalue(request.param), tmp_path / "windows.iso"))


def efi_row(path: Path) -> tuple[int, int]:
    """Sector count and sector of the EFI entry, as xorriso reports them."""
    command = [need_tool("xorriso"), "-indev", str(path), "-report_el_torito", "plain"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = re.findall(r"UEFI\s+y\s+none\s+\S+\s+\S+\s+(\d+)\s+(\d+)", done.stdout)
    return int(row[0]), int(row[1])


def extracted(path: Path, name: str) -> bytes:
    """A file of the disc, by 7z, which reads UDF."""
    command = [need_tool("7z"), "e", "-so", str(path), name]
    return subprocess.run(command, capture_output=True, check=True).stdout


def differences(one: Path, two: Path) -> list[int]:
    first, second = one.read_bytes(), two.read_bytes()
    assert len(first) == len(second)
    return [at for at, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]


def loaded(path: Path) -> bytes:
    """What firmware would read: the bytes at the sector that xorriso reports."""
    count, sector = efi_row(path)
    content = path.read_bytes()[sector * SECTOR :]
    return content[: count * 512]


def refused(path: Path, choice: BootChoice = BootChoice.NO_PROMPT) -> WinseedError:
    before = path.read_bytes()
    watch = Console(stream=None, quiet=True).progress
    with pytest.raises(WinseedError) as caught:
        write_change(make_change(path, choice, None), watch=watch, force=False)
    assert path.read_bytes() == before
    assert caught.value.code is ExitCode.MEDIA
    return caught.value


def patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def catalog_of(path: Path) -> int:
    """The byte where the boot catalog begins (El Torito, figure 7)."""
    (lba,) = struct.unpack_from("<L", path.read_bytes(), 17 * SECTOR + 0x47)
    return lba * SECTOR


# What it does


def test_copy_starts_the_other_image(disc, tmp_path, capsys):
    silent = extracted(disc, SILENT)
    assert loaded(disc) == extracted(disc, EFISYS) != silent
    original = disc.read_bytes()
    done = winseed(capsys, "noprompt", disc, "-o", tmp_path / "out.iso")
    assert done.code == 0, done.err
    assert loaded(tmp_path / "out.iso") == silent
    assert disc.read_bytes() == original
    changed = differences(disc, tmp_path / "out.iso")
    assert changed
    assert max(changed) - min(changed) < 6
    assert min(changed) // SECTOR == catalog_of(disc) // SECTOR
    assert stat.S_IMODE((tmp_path / "out.iso").stat().st_mode) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.iso", "windows.iso"]


def test_the_files_of_the_disc_stay(disc, tmp_path, capsys):
    winseed(capsys, "noprompt", disc, "-o", tmp_path / "out.iso")
    for name in (EFISYS, SILENT, "sources/install.wim", "boot/etfsboot.com"):
        assert extracted(tmp_path / "out.iso", name) == extracted(disc, name), name
    told = [
        subprocess.run([need_tool("isoinfo"), "-d", "-i", path], capture_output=True, check=True)
        for path in (disc, tmp_path / "out.iso")
    ]
    assert b"Eltorito" in told[0].stdout
    assert told[0].stdout == told[1].stdout  # isoinfo shows the first entry, which is that of BIOS


def test_in_place_and_back(disc, capsys):
    original = disc.read_bytes()
    inode = disc.stat().st_ino
    assert winseed(capsys, "noprompt", disc, "--in-place").code == 0
    assert loaded(disc) == extracted(disc, SILENT)
    assert winseed(capsys, "noprompt", disc, "--in-place", "--revert").code == 0
    assert disc.read_bytes() == original
    assert disc.stat().st_ino == inode


def test_copy_and_back_as_a_copy(disc, tmp_path, capsys):
    assert winseed(capsys, "noprompt", disc).code == 0
    silent = tmp_path / "windows-noprompt.iso"
    assert winseed(capsys, "noprompt", silent, "--revert", "-o", tmp_path / "back.iso").code == 0
    assert differences(disc, tmp_path / "back.iso") == []


def test_the_sector_count_of_microsoft_stays(disc, capsys):
    """oscdimg writes 1, the rest is up to the firmware."""
    place = inspect_pointer(disc).offset
    patch(disc, place, struct.pack("<H", 1))
    original = disc.read_bytes()
    home = efi_row(disc)
    assert home[0] == 1
    assert winseed(capsys, "noprompt", disc, "--in-place").code == 0
    count, sector = efi_row(disc)
    assert count == 1
    assert disc.read_bytes()[sector * SECTOR :].startswith(floppy("noprompt"))
    assert winseed(capsys, "noprompt", disc, "--in-place", "--revert").code == 0
    assert disc.read_bytes() == original


def test_images_of_different_size(tmp_path, capsys):
    """A true sector count follows its image, there and back."""
    extra = {SILENT: floppy("other", sectors=5760)}
    disc = make_windows_iso(tmp_path / "windows.iso", extra=extra)
    original = disc.read_bytes()
    assert efi_row(disc)[0] == 2880
    assert winseed(capsys, "noprompt", disc, "--in-place").code == 0
    assert efi_row(disc)[0] == 5760
    assert loaded(disc) == extra[SILENT]
    assert winseed(capsys, "noprompt", disc, "--in-place", "--revert").code == 0
    assert disc.read_bytes() == original


def test_another_file_of_the_same_content(tmp_path, capsys):
    """A copy that is a file was not made for booting: it is no way back."""
    extra = {"a.bin": floppy("efisys.bin"), "boot/z.bin": floppy("efisys.bin")}
    disc = make_windows_iso(tmp_path / "windows.iso", extra=extra, writer="genisoimage")
    assert disc.read_bytes().count(floppy("efisys.bin")) == 3
    original = disc.read_bytes()
    home = efi_row(disc)
    assert winseed(capsys, "noprompt", disc, "--in-place").code == 0
    assert efi_row(disc) != home
    assert winseed(capsys, "noprompt", disc, "--in-place", "--revert").code == 0
    assert disc.read_bytes() == original


def test_twice_is_once(disc, tmp_path, capsys):
    winseed(capsys, "noprompt", disc, "-o", tmp_path / "out.iso")
    first = (tmp_path / "out.iso").read_bytes()
    again = winseed(capsys, "noprompt", disc, "-o", tmp_path / "out.iso", "--json")
    assert again.code == 0
    assert json.loads(again.out)["written"] == "nothing"
    already = winseed(capsys, "noprompt", tmp_path / "out.iso", "--in-place")
    assert already.code == 0
    assert "already" in already.out
    assert (tmp_path / "out.iso").read_bytes() == first
    done = winseed(capsys, "noprompt", disc, "--revert", "--in-place")
    assert done.code == 0
    assert "already" in done.out


def test_result_as_json(disc, capsys):
    original = disc.read_bytes()
    dry = winseed(capsys, "noprompt", disc, "--in-place", "--dry-run", "--json")
    assert disc.read_bytes() == original
    told = json.loads(dry.out)
    assert told["version"] == 1
    assert told["dry_run"] is True
    assert told["written"] == "nothing"
    place, before, after = told["offset"], told["before"], told["after"]
    assert original[place : place + 6].hex() == before
    done = json.loads(winseed(capsys, "noprompt", disc, "--in-place", "--json").out)
    assert done["written"] == "in-place"
    assert disc.read_bytes()[place : place + 6].hex() == after


def test_dry_run_of_a_copy_writes_nothing(disc, tmp_path, capsys):
    done = winseed(capsys, "noprompt", disc, "-o", tmp_path / "new" / "out.iso", "--dry-run")
    assert done.code == 0
    assert "--dry-run" in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["windows.iso"]


def test_the_loop_is_spoken_of(disc, capsys):
    assert "docs/noprompt.md" in winseed(capsys, "noprompt", disc, "--in-place").err
    assert "docs/noprompt.md" not in winseed(capsys, "noprompt", disc, "--in-place", "--revert").err


def test_large_and_sparse(tmp_path, capsys):
    """An install.wim of more than 4 GiB: quick, and the copy has the holes of the disc."""
    need_tool("genisoimage")
    disc = make_large_windows_iso(tmp_path / "windows.iso")
    used = disc.stat().st_blocks
    assert disc.stat().st_size > 4 << 30
    assert winseed(capsys, "noprompt", disc, "-o", tmp_path / "out.iso").code == 0
    copy = (tmp_path / "out.iso").stat()
    assert copy.st_size == disc.stat().st_size
    assert copy.st_blocks <= used + 64
    with disc.open("rb") as one, (tmp_path / "out.iso").open("rb") as two:
        head, other = one.read(8 << 20), two.read(8 << 20)
        assert 0 < sum(a != b for a, b in zip(head, other, strict=True)) <= 6
        one.seek(-(1 << 20), os.SEEK_END)
        two.seek(-(1 << 20), os.SEEK_END)
        tail = one.read()
        assert tail == two.read()
        assert tail.strip(b"\0")


# What it refuses


def test_another_file_in_the_way(disc, tmp_path, capsys):
    target = tmp_path / "out.iso"
    target.write_bytes(b"precious")
    done = winseed(capsys, "noprompt", disc, "-o", target)
    assert done.code == ExitCode.UNSAFE
    assert target.read_bytes() == b"precious"
    same_size = bytearray(disc.read_bytes())
    same_size[-1] ^= 1
    target.write_bytes(same_size)
    assert winseed(capsys, "noprompt", disc, "-o", target).code == ExitCode.UNSAFE
    assert target.read_bytes() == same_size
    assert winseed(capsys, "noprompt", disc, "-o", target, "--force").code == 0
    assert loaded(target) == extracted(disc, SILENT)


def test_the_disc_itself_as_output(disc, tmp_path, capsys):
    (tmp_path / "link.iso").symlink_to(disc)
    for target in (disc, tmp_path / "link.iso"):
        done = winseed(capsys, "noprompt", disc, "-o", target, "--force")
        assert done.code == ExitCode.SPEC
        assert "--in-place" in done.err
    assert winseed(capsys, "noprompt", disc, "--in-place", "-o", "x").code == ExitCode.SPEC


def test_a_disc_without_the_other_image(tmp_path):
    disc = make_windows_iso(tmp_path / "windows.iso", noprompt=False)
    assert "efisys_noprompt.bin" in refused(disc).what


def test_a_disc_without_efi(tmp_path):
    disc = make_windows_iso(tmp_path / "windows.iso", efi=False)
    assert "0 EFI entries" in refused(disc).what


def test_another_disc(tmp_path):
    disc = make_virtio_iso(tmp_path / "virtio.iso")
    assert "not a Windows disc" in refused(disc).what


def test_two_images_that_are_the_same(tmp_path):
    disc = make_windows_iso(tmp_path / "windows.iso", extra={SILENT: floppy("efisys.bin")})
    assert "are the same" in refused(disc).what


@pytest.mark.parametrize("name", [EFISYS, SILENT])
@pytest.mark.parametrize("content", [bytes(1 << 20), b"MZ" * 4096, b"x" * 100, b""])
def test_an_image_that_no_firmware_starts(tmp_path, name, content):
    disc = make_windows_iso(tmp_path / "windows.iso", extra={name: content})
    refused(disc)


def test_an_entry_that_points_elsewhere(disc):
    patch(disc, inspect_pointer(disc).offset + 2, struct.pack("<L", 700))
    assert "neither" in refused(disc).what


def test_a_sector_count_that_starts_nothing(disc):
    patch(disc, inspect_pointer(disc).offset, struct.pack("<H", 4))
    assert "loads 4 sectors" in refused(disc).what


def test_a_disc_whose_way_back_is_not_known(split, tmp_path):
    """The entry points at the file, and a copy for booting lies on the disc as well."""
    disc = Path(shutil.copy(split, tmp_path / "windows.iso"))
    content = disc.read_bytes()
    file = content.rfind(floppy("efisys.bin")) // SECTOR
    patch(disc, inspect_pointer(disc).offset + 2, struct.pack("<L", file))
    assert "way back" in refused(disc).what


def test_a_disc_made_without_the_prompt(tmp_path, capsys):
    """Made with efisys_noprompt.bin as boot image: silent already, and nothing to go back to."""
    disc = make_windows_iso(
        tmp_path / "windows.iso", extra={EFISYS: floppy("noprompt")}, writer="pycdlib"
    )
    place = disc.read_bytes().rfind(floppy("noprompt"))
    other = disc.read_bytes().rfind(floppy("noprompt"), 0, place)
    assert 0 < other < place
    # the file efisys.bin, which comes first of the two, asks; the boot copy does not
    patch(disc, other, floppy("efisys.bin"))
    done = winseed(capsys, "noprompt", disc, "--in-place")
    assert done.code == 0
    assert "already" in done.out
    assert "another tool" in refused(disc, BootChoice.PROMPT).what


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(100_000)])
def test_what_is_no_disc(tmp_path, content):
    (tmp_path / "windows.iso").write_bytes(content)
    refused(tmp_path / "windows.iso")


def test_a_folder_and_nothing(tmp_path, capsys):
    assert winseed(capsys, "noprompt", tmp_path).code == ExitCode.MEDIA
    assert winseed(capsys, "noprompt", tmp_path / "none.iso", "--in-place").code == ExitCode.MEDIA


def test_a_file_that_must_not_be_written(disc, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everything")
    disc.chmod(0o444)
    done = process("noprompt", disc, "--in-place", cwd=tmp_path)
    assert done.code == ExitCode.SPEC
    assert "cannot write" in done.err


def test_a_full_folder(disc, tmp_path, monkeypatch):
    """The room is asked for before anything is written, and nothing is left."""
    fields = list(os.statvfs(tmp_path))
    fields[4] = 1  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _folder: os.statvfs_result(fields))
    change = make_change(disc, BootChoice.NO_PROMPT, tmp_path / "out.iso")
    with pytest.raises(WinseedError, match="not enough space"):
        write_change(change, watch=Console(stream=None, quiet=True).progress, force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["windows.iso"]


# How it copies


def kernel_copies(monkeypatch):
    return None


def kernel_copies_short(monkeypatch):
    """At most 4,000 bytes at a time, as some file systems do."""
    real = os.copy_file_range

    def short(source, target, count, at, to):
        return real(source, target, min(count, 4_000), at, to)

    monkeypatch.setattr(os, "copy_file_range", short)


def kernel_refuses(monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", refuse)


def holes_are_unknown(monkeypatch):
    def refuse(*_arguments):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "lseek", refuse)


@pytest.mark.parametrize(
    "system", [kernel_copies, kernel_copies_short, kernel_refuses, holes_are_unknown]
)
def test_copies_on_every_kind_of_file_system(tmp_path, monkeypatch, system):
    """Content, then a hole, content, and a hole at the end."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as stream:
        stream.write(os.urandom(70_001))
        stream.seek(5 << 20)
        stream.write(os.urandom(3))
        stream.truncate(9 << 20)
    done, wanted = [], []
    with source.open("rb") as one, target.open("w+b") as two:
        system(monkeypatch)
        copied = reflink.copy_content(
            one.fileno(), two.fileno(), reserve=wanted.append, advance=done.append
        )
        monkeypatch.undo()
    assert target.read_bytes() == source.read_bytes()
    if copied is reflink.Copied.WRITTEN:
        assert wanted == [source.stat().st_blocks * 512]
    assert sum(done) == 9 << 20


def test_blocks_are_shared_where_that_works(tmp_path, monkeypatch):
    """The call is that of ioctl_ficlone(2); whether a file system can do it is its own business."""
    source = tmp_path / "source"
    source.write_bytes(b"content")
    calls = []

    def clone(target, request, given):
        calls.append((request, given))
        os.pwrite(target, b"content", 0)

    monkeypatch.setattr("fcntl.ioctl", clone)
    with source.open("rb") as one, (tmp_path / "target").open("w+b") as two:
        copied = reflink.copy_content(
            one.fileno(), two.fileno(), reserve=pytest.fail, advance=lambda _count: None
        )
        assert calls == [(0x40049409, one.fileno())]
    assert copied is reflink.Copied.SHARED


def test_a_source_that_becomes_shorter(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(bytes(5_000))

    def shorten(*_arguments):
        os.truncate(source, 0)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "copy_file_range", shorten)
    with (
        source.open("rb") as one,
        (tmp_path / "target").open("w+b") as two,
        pytest.raises(OSError, match="shorter"),
    ):
        reflink.copy_content(
            one.fileno(), two.fileno(), reserve=lambda _needed: None, advance=lambda _count: None
        )


def test_a_disk_that_writes_something_else(disc, monkeypatch):
    """What is read back is wrong: the old bytes are put back, and it is said."""
    original = disc.read_bytes()
    change = make_change(disc, BootChoice.NO_PROMPT, None)
    real, calls = os.pwrite, []

    def wrong(descriptor, content, at):
        calls.append(content)
        return real(descriptor, b"\xff" * 6 if len(calls) == 1 else content, at)

    monkeypatch.setattr(os, "pwrite", wrong)
    with pytest.raises(WinseedError, match="restored"):
        write_change(change, watch=Console(stream=None, quiet=True).progress, force=False)
    assert disc.read_bytes() == original
    assert calls[0] == change.pointer.no_prompt


def test_a_disc_that_changes_meanwhile(disc):
    change = make_change(disc, BootChoice.NO_PROMPT, None)
    patch(disc, change.pointer.offset, b"other!")
    changed = disc.read_bytes()
    with pytest.raises(WinseedError, match="changed while"):
        write_change(change, watch=Console(stream=None, quiet=True).progress, force=False)
    assert disc.read_bytes() == changed


# Damaged catalogs


@pytest.fixture(scope="module")
def victim(bridge, tmp_path_factory):
    return Path(shutil.copy(bridge, tmp_path_factory.mktemp("victim") / "windows.iso"))


def check_damaged(bridge, victim, places):
    """Refused and left alone, or six bytes change and change back."""
    original = bridge.read_bytes()
    with victim.open("r+b") as stream:
        for at, value in places:
            stream.seek(at)
            stream.write(bytes([value]))
    damaged = victim.read_bytes()
    watch = Console(stream=None, quiet=True).progress
    try:
        try:
            change = make_change(victim, BootChoice.NO_PROMPT, None)
            write_change(change, watch=watch, force=False)
        except WinseedError as error:
            assert (error.code, bool(error.hint)) == (ExitCode.MEDIA, True)  # noqa: PT017
            assert victim.read_bytes() == damaged
        else:
            changed = victim.read_bytes()
            place = change.pointer.offset
            assert changed[:place] == damaged[:place]
            assert changed[place + 6 :] == damaged[place + 6 :]
            assert changed[place : place + 6] != damaged[place : place + 6]
            write_change(make_change(victim, BootChoice.PROMPT, None), watch=watch, force=False)
            assert victim.read_bytes() == damaged
    finally:
        victim.write_bytes(original)


# five records: validation, entry of BIOS, header, entry of EFI, and one that is empty
RECORDS = st.tuples(st.integers(0, 5 * 32 - 1), st.integers(0, 255))


@settings(max_examples=80)
@given(places=st.lists(RECORDS, min_size=1, max_size=3))
def test_damaged_catalogs(bridge, victim, places):
    start = catalog_of(bridge)
    check_damaged(bridge, victim, [(start + at, value) for at, value in places])


@settings(max_examples=40)
@given(places=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=2))
def test_damaged_boot_records(bridge, victim, places):
    check_damaged(bridge, victim, [(17 * SECTOR + at, value) for at, value in places])


CATALOGS = {
    "two EFI entries": (0x40 + 2, b"\x02", 0x80, "88"),
    "emulated drive": (0x61, b"\x02", 0, ""),
    "selection criteria": (0x6C, b"\x01", 0, ""),
    "no section": (0x40, bytes(64), 0, ""),
    "not bootable": (0x60, b"\x00", 0, ""),
    "unknown record": (0x60, b"\x13", 0, ""),
    "wrong sum": (0x04, b"x", 0, ""),
    "too many entries": (0x42, b"\xff\xff", 0, ""),
    "powerpc": (0x41, b"\x01", 0, ""),
    "rubbish after the end": (0x40, b"\x90", 0xC0, "ab"),
}


@pytest.mark.parametrize("name", CATALOGS)
def test_unusual_catalogs(bridge, tmp_path, name):
    disc = Path(shutil.copy(bridge, tmp_path / "windows.iso"))
    at, content, further, byte = CATALOGS[name]
    start = catalog_of(disc)
    patch(disc, start + at, content)
    if name == "two EFI entries":
        patch(disc, start + further, disc.read_bytes()[start + 0x60 : start + 0x80])
    elif byte:
        patch(disc, start + further, bytes.fromhex(byte))
    refused(disc)
