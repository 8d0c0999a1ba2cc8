"""`inspect_virtio` on discs made with the command line of virtio-win.spec."""

import pytest

from builder.errors import ExitCode, WinseedError
from builder.media.image import inspect_image
from builder.media.virtio import Family, inspect_virtio, looks_like_virtio
from tests.media import make_virtio_iso, make_windows_iso, virtio_tree


def _inspect(path):
    return inspect_virtio(inspect_image(path))


def _refusal(path) -> WinseedError:
    with pytest.raises(WinseedError) as caught:
        _inspect(path)
    assert caught.value.code is ExitCode.MEDIA
    assert str(path) in caught.value.what
    return caught.value


# What most tests do not look at.
BULK = ("NetKVM", "Balloon", "viofs", "viogpudo", "vioinput", "viorng", "vioserial", "pvpanic",
        "fwcfg", "sriov")  # fmt: skip


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    folder = tmp_path_factory.mktemp("virtio")
    return _inspect(make_virtio_iso(folder / "v.iso", release="0.1.285"))


def test_folders_are_those_of_the_tree(media):
    tree = virtio_tree(release="0.1.285")
    written = {path.rpartition("/")[0] for path in tree if path.count("/") == 3}
    assert [folder.path for folder in media.folders] == sorted(written, key=str.casefold)
    for folder in media.folders:
        assert folder.path == f"{folder.driver}/{folder.os}/{folder.arch}"
        names = {path for path in tree if path.startswith(f"{folder.path}/")}
        assert {file.path for file in folder.files} == names


def test_a_folder_in_any_case(media):
    folder = media.folder("netkvm", "2K25", "AMD64")
    assert folder.path == "NetKVM/2k25/amd64"
    assert [file.path.rpartition("/")[2] for file in folder.files] == [
        "netkvm.cat", "netkvm.inf", "netkvm.pdb", "netkvm.sys",
        "netkvmco.exe", "netkvmco.pdb", "netkvmp.exe", "netkvmp.pdb", "Readme.md",
    ]  # fmt: skip
    assert media.folder("NetKVM", "2k25", "x86") is None
    assert media.folder("amd64", "2k25", "amd64") is None


def test_alias_trees_are_no_drivers(media):
    assert [(alias.os, alias.arch, len(alias.files)) for alias in media.alias_folders] == [
        (system, "amd64", 8) for system in ("2k16", "2k19", "2k22", "2k25", "w10", "w11")
    ]
    assert {folder.driver for folder in media.folders}.isdisjoint({"amd64", "i386"})


def test_agents_installers_certificates(media):
    assert {arch: file.path for arch, file in media.guest_agents.items()} == {
        "amd64": "guest-agent/qemu-ga-x86_64.msi",
        "x86": "guest-agent/qemu-ga-i386.msi",
    }
    assert [file.path for file in media.installers] == [
        "virtio-win-gt-x64.msi", "virtio-win-gt-x86.msi", "virtio-win-guest-tools.exe",
    ]  # fmt: skip
    assert [file.path for file in media.certificates] == ["cert/Virtio_Win_Red_Hat_CA.cer"]


@pytest.mark.parametrize("release", ["0.1.189", "0.1.240", "0.1.262"])
def test_releases(tmp_path, release):
    found = _inspect(make_virtio_iso(tmp_path / "v.iso", release=release, drop=BULK))
    assert (found.release, found.family) == (release, Family.FEDORA)
    assert (found.folder("vioscsi", "2k25", "amd64") is None) == (release != "0.1.262")
    assert (found.folder("vioscsi", "2k22", "amd64") is None) == (release == "0.1.189")
    assert found.folder("vioscsi", "2k8R2", "amd64")


@pytest.mark.parametrize(
    ("volume_id", "release", "family"),
    [
        ("virtio-win-1.9.40", "1.9.40", Family.RHEL),
        ("VIRTIO-WIN-0.1.271", "0.1.271", Family.FEDORA),
        ("virtio-win-2.3.4", "2.3.4", Family.UNKNOWN),
        ("virtio-win-1.10.1", "1.10.1", Family.UNKNOWN),
        ("CDROM", None, Family.UNKNOWN),
        ("virtio-win-0.1.x", None, Family.UNKNOWN),
        ("my-virtio-win-0.1.271", None, Family.UNKNOWN),
    ],
)
def test_volume_ids(tmp_path, volume_id, release, family):
    found = _inspect(make_virtio_iso(tmp_path / "v.iso", volume_id=volume_id, drop=BULK))
    assert (found.volume_id, found.release, found.family) == (volume_id, release, family)


@pytest.mark.parametrize("writer", [None, "pycdlib"])
def test_repackaged_with_joliet_only(tmp_path, media, writer):
    path = make_virtio_iso(tmp_path / "v.iso", release="0.1.285", joliet=True, writer=writer)
    found = _inspect(path)
    assert [folder.path for folder in found.folders] == [folder.path for folder in media.folders]


def test_parts_left_out(tmp_path):
    path = make_virtio_iso(tmp_path / "v.iso", drop=["NETKVM", "guest-agent", "cert", "amd64"])
    found = _inspect(path)
    assert found.folder("NetKVM", "2k22", "amd64") is None
    assert dict(found.guest_agents) == {}
    assert found.certificates == found.alias_folders == ()


def test_an_alias_tree_never_names_a_driver(tmp_path):
    extra = {"amd64/2k22/amd64/vioscsi.inf": b"[Version]"}
    found = _inspect(make_virtio_iso(tmp_path / "v.iso", drop=BULK, extra=extra))
    assert found.folder("amd64", "2k22", "amd64") is None


def test_a_windows_disc(tmp_path):
    path = make_windows_iso(tmp_path / "w.iso")
    assert not looks_like_virtio(inspect_image(path))
    error = _refusal(path)
    assert "this is a Windows disc (volume id 'SSS_X64FREE_EN-US_DV9'" in error.what
    assert error.hint == "give it as --windows-iso"


def test_a_windows_disc_with_drivers_is_a_windows_disc(tmp_path):
    extra = {"vioscsi/2k22/amd64/vioscsi.inf": b"[Version]"}
    path = make_windows_iso(tmp_path / "w.iso", extra=extra)
    assert not looks_like_virtio(inspect_image(path))
    assert "this is a Windows disc" in _refusal(path).what


def test_another_layout(tmp_path):
    tree = virtio_tree()
    flat = {f"vioscsi/{path.rpartition('/')[2]}": content for path, (_, content) in tree.items()
            if path.startswith("vioscsi/2k22")}  # fmt: skip
    tops = {path.partition("/")[0] for path in tree}
    path = make_virtio_iso(tmp_path / "v.iso", drop=tops - {"data"}, extra=None)
    assert "this is another disc" in _refusal(path).what
    flat_path = make_windows_iso(
        tmp_path / "f.iso", drop=["sources", "boot.wim"][:1], extra=flat, volume_id="X"
    )
    assert "no folder <driver>/<os>/<arch>" in _refusal(flat_path).what
