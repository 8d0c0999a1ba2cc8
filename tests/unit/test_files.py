"""Small files beside an ISO: whole or not at all, and private from the first byte on."""

import os
import stat

import pytest

from builder.errors import ExitCode, WinseedError
from builder.files import create_private_file, write_file
from builder.media.attachment import inspect_attachment


@pytest.fixture
def umask():
    old = os.umask(0)
    yield os.umask
    os.umask(old)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o077])
def test_modes_under_any_umask(tmp_path, umask, mask):
    umask(mask)
    write_file(tmp_path / "deep" / "er" / "file", b"new")
    assert mode(tmp_path / "deep" / "er" / "file") == 0o644
    create_private_file(tmp_path / "secret", b"s")
    assert mode(tmp_path / "secret") == 0o600


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older and longer")
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_never_overwritten(tmp_path):
    path = tmp_path / "file"
    create_private_file(path, b"first")
    with pytest.raises(WinseedError, match="File exists") as caught:
        create_private_file(path, b"second")
    assert caught.value.code is ExitCode.SPEC
    assert path.read_bytes() == b"first"


def test_a_private_file_follows_no_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(WinseedError):
        create_private_file(tmp_path / "link", b"secret")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("write", [write_file, create_private_file])
def test_what_stands_in_the_way(tmp_path, write):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "folder"):
        with pytest.raises(WinseedError, match=r"cannot write|cannot be replaced") as caught:
            write(path, b"data")
        assert caught.value.code is ExitCode.SPEC
        assert str(path) in caught.value.what
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("write", [write_file, create_private_file])
def test_a_full_disk_leaves_nothing(tmp_path, write):
    """A limit on the size of files stands for a full disk: write fails half way (EFBIG)."""
    import resource
    import signal

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(WinseedError, match="File too large"):
            write(tmp_path / "file", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["kb.msu", "fix.cab", "openssh.msi"])
def test_a_saved_error_page_is_no_package(tmp_path, name):
    page = tmp_path / name
    page.write_bytes(b"<!DOCTYPE html><title>404</title>")
    with pytest.raises(WinseedError, match="HTML page") as caught:
        inspect_attachment(page)
    assert caught.value.code is ExitCode.MEDIA


def test_packages_begin_as_their_formats_say(tmp_path):
    """MS-CAB 2.1, the WIM header, MS-CFB 2.2."""
    starts = {
        "a.msu": b"MSCF",
        "b.msu": b"MSWIM\0\0\0",
        "c.cab": b"MSCF",
        "d.msi": b"\xd0\xcf\x11\xe0",
    }
    for name, start in starts.items():
        (tmp_path / name).write_bytes(start)
        assert inspect_attachment(tmp_path / name).size == len(start)
