"""`inspect_windows` on discs made by genisoimage and wimlib-imagex."""

import pytest

from builder.errors import ExitCode, WinseedError
from builder.media.image import inspect_image
from builder.media.windows import inspect_windows, looks_like_windows
from tests.media import (
    make_large_windows_iso,
    make_virtio_iso,
    make_windows_iso,
    need_tool,
)
from tests.media_wim import server_images, wim_bytes


def _inspect(path):
    return inspect_windows(inspect_image(path))


def _refusal(path) -> WinseedError:
    with pytest.raises(WinseedError) as caught:
        _inspect(path)
    assert caught.value.code is ExitCode.MEDIA
    assert str(path) in caught.value.what
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("writer", ["genisoimage", "pycdlib"])
def test_an_evaluation_disc(tmp_path, writer):
    if writer == "genisoimage":
        need_tool(writer)
    path = make_windows_iso(tmp_path / "w.iso", writer=writer)
    media = _inspect(path)
    assert (media.path, media.size) == (path, path.stat().st_size)
    assert media.volume_id == "SSS_X64FREE_EN-US_DV9"
    assert media.install_path == "sources/install.wim"
    assert (media.install_format, media.parts) == ("wim", 1)
    assert [(image.index, image.edition_id) for image in media.images] == [
        (1, "ServerStandardEval"),
        (2, "ServerStandardEval"),
        (3, "ServerDatacenterEval"),
        (4, "ServerDatacenterEval"),
    ]
    assert media.ei_cfg.channel == "Eval"
    assert media.ei_cfg.edition_id == ""
    assert media.ei_cfg.volume_license is False
    assert not media.has_pid_txt
    assert [image.edition_id for image in media.boot_images] == ["WindowsPE", "WindowsPE"]
    assert media.boot_build == 20348
    assert media.has_efi_boot
    assert media.has_noprompt
    assert media.languages == ("en-US",)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (9600, "Windows Server 2012 R2 SERVERSTANDARD"),
        (14393, "Windows Server 2016 SERVERSTANDARD"),
        (17763, "Windows Server 2019 SERVERSTANDARD"),
        (26100, "Windows Server 2025 SERVERSTANDARD"),
    ],
)
def test_a_volume_disc(tmp_path, build, name):
    path = make_windows_iso(
        tmp_path / "w.iso",
        build=build,
        evaluation=False,
        language="de-DE",
        channel="Volume",
        noprompt=False,
        efi=False,
        pid="AAAAA-BBBBB",
    )
    media = _inspect(path)
    assert media.images[1].name == name
    assert media.images[1].edition_id == "ServerStandard"
    assert media.images[1].build == media.boot_build == build
    assert media.images[1].languages == media.languages == ("de-DE",)
    assert media.ei_cfg.channel == "Volume"
    assert media.ei_cfg.volume_license is True
    assert media.has_pid_txt
    assert "AAAAA" not in repr(media)
    assert not media.has_efi_boot
    assert not media.has_noprompt


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[EditionID]\r\nServerStandard\r\n[Channel]\r\nRetail\r\n[VL]\r\n0\r\n",
         ("ServerStandard", "Retail", False)),
        ("[channel]\n\n  OEM \n", ("", "OEM", None)),
        ("; nothing\n", ("", "", None)),
        ("[VL]\n1\n[Channel]\n", ("", "", True)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["ascii", "utf-8-sig", "utf-16"])
def test_ei_cfg(tmp_path, content, expected, encoding):
    extra = {"sources/ei.cfg": content.encode(encoding)}
    found = _inspect(make_windows_iso(tmp_path / "w.iso", extra=extra)).ei_cfg
    assert (found.edition_id, found.channel, found.volume_license) == expected


def test_bare_disc(tmp_path):
    drop = ("sources/boot.wim", "sources/lang.ini")
    media = _inspect(make_windows_iso(tmp_path / "w.iso", channel=None, drop=drop))
    assert media.ei_cfg is None
    assert media.boot_images == ()
    assert media.boot_build is None
    assert media.languages == ()


def test_esd(tmp_path):
    need_tool("wimlib-imagex")
    media = _inspect(make_windows_iso(tmp_path / "w.iso", install="esd"))
    assert (media.install_path, media.install_format) == ("sources/install.esd", "esd")
    assert len(media.images) == 4


def test_swm(tmp_path):
    need_tool("wimlib-imagex")
    media = _inspect(make_windows_iso(tmp_path / "w.iso", install="swm"))
    assert (media.install_path, media.install_format) == ("sources/install.swm", "swm")
    assert media.parts == 4
    assert len(media.images) == 4


def test_swm_with_missing_and_foreign_parts(tmp_path):
    need_tool("wimlib-imagex")
    drop = ["sources/install3.swm"]
    path = make_windows_iso(tmp_path / "w.iso", install="swm", drop=drop)
    assert "split into 4 parts: sources/install3.swm is missing" in _refusal(path).what
    images = server_images(20348, evaluation=True, language="en-US")
    foreign = {"sources/install2.swm": wim_bytes(images, part=(3, 9))}
    path = make_windows_iso(tmp_path / "w.iso", install="swm", extra=foreign)
    assert "sources/install2.swm is part 3 of 9" in _refusal(path).what
    foreign = {"sources/install.swm": wim_bytes(images, part=(2, 4))}
    path = make_windows_iso(tmp_path / "w.iso", install="swm", extra=foreign)
    assert "sources/install.swm is part 2, not 1" in _refusal(path).what


def test_a_part_called_install_wim(tmp_path):
    images = server_images(20348, evaluation=True, language="en-US")
    extra = {"sources/install.wim": wim_bytes(images, part=(1, 3))}
    error = _refusal(make_windows_iso(tmp_path / "w.iso", extra=extra))
    assert "part 1 of 3" in error.what


def test_install_image_beyond_4_gib(tmp_path):
    need_tool("genisoimage")
    media = _inspect(make_large_windows_iso(tmp_path / "w.iso", language="fr-FR"))
    assert media.images[3].name == "Windows Server 2025 SERVERDATACENTER"
    assert media.images[3].languages == ("fr-FR",)


def test_damaged_install_image(tmp_path):
    images = server_images(20348, evaluation=True, language="en-US")
    for content, words in (
        (b"", "no WIM file"),
        (bytes(5000), "no WIM file"),
        (wim_bytes(images)[:-10], "cut short"),
    ):
        extra = {"sources/install.wim": content}
        error = _refusal(make_windows_iso(tmp_path / "w.iso", extra=extra))
        assert "sources/install.wim of " in error.what
        assert words in error.what


def test_no_install_image(tmp_path):
    path = make_windows_iso(tmp_path / "w.iso", drop=["sources/install.wim"])
    assert looks_like_windows(inspect_image(path))
    assert "no install.wim, install.esd or install.swm" in _refusal(path).what


def test_a_virtio_disc(tmp_path):
    path = make_virtio_iso(tmp_path / "v.iso", drop=["NetKVM", "Balloon", "viogpudo", "viorng"])
    assert not looks_like_windows(inspect_image(path))
    error = _refusal(path)
    assert "this is a virtio-win disc (volume id 'virtio-win-0.1.271'" in error.what
    assert error.hint == "give it as --virtio-iso"


def test_other_discs(tmp_path):
    windows = ["sources", "bootmgr.efi", "setup.exe"]
    linux = {"casper/vmlinuz": b"1", "dists/stable/Release": b"2"}
    path = make_windows_iso(tmp_path / "l.iso", drop=windows, extra=linux, volume_id="Ubuntu 24.04")
    error = _refusal(path)
    assert "seems to be a Linux disc (volume id 'Ubuntu 24.04'" in error.what
    assert "bootmgr, casper, dists, efi" in error.what
    assert "--windows-iso" in error.hint
    path = make_windows_iso(tmp_path / "o.iso", drop=windows)
    assert "this is another disc" in _refusal(path).what
