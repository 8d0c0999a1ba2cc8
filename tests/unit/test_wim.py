"""`inspect_wim` on files built byte by byte, and on wimlib's own."""

import contextlib
import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import ExitCode, WinseedError
from builder.media.wim import inspect_wim
from tests.media import need_tool
from tests.media_wim import (
    Image,
    boot_images,
    server_images,
    split_wim,
    wim_bytes,
    wim_xml,
    write_wim,
)

IMAGES = server_images(20348, evaluation=True, language="en-US")


def _inspect(content: bytes):
    return inspect_wim(lambda at, size: content[at : at + size], len(content), name="install.wim")


def _refusal(content: bytes) -> str:
    with pytest.raises(WinseedError) as caught:
        _inspect(content)
    assert caught.value.code is ExitCode.MEDIA
    assert caught.value.hint
    assert caught.value.what.startswith("install.wim: ")
    return caught.value.what


def test_every_field():
    wim = _inspect(wim_bytes(IMAGES, boot_index=2, gap=1000))
    assert (wim.part, wim.parts, wim.compression, wim.boot_index) == (1, 1, "xpress", 2)
    second = wim.images[1]
    assert second.index == 2
    assert second.name == second.description == "Windows Server 2022 SERVERSTANDARD"
    assert second.display_name == "Windows Server 2022 Standard Evaluation (Desktop Experience)"
    assert second.edition_id == second.flags == "ServerStandardEval"
    assert second.installation_type == "Server"
    assert second.architecture == "amd64"
    assert (second.major, second.minor, second.build, second.spbuild) == (10, 0, 20348, 587)
    assert second.languages == ("en-US",)
    assert second.default_language == "en-US"
    assert second.total_bytes == 77
    assert [image.installation_type for image in wim.images] == ["Server Core", "Server"] * 2


@pytest.mark.parametrize(
    ("number", "name"), [("0", "x86"), ("9", "amd64"), ("12", "arm64"), ("77", "77"), ("", "")]
)
def test_architecture(number, name):
    image = Image("i", {"WINDOWS/ARCH": number})
    assert _inspect(wim_bytes([image])).images[0].architecture == name


def test_several_languages_and_absent_fields():
    xml = (
        '<WIM><IMAGE INDEX="3"><WINDOWS><LANGUAGES><LANGUAGE>ko-KR</LANGUAGE>'
        "<LANGUAGE>en-US</LANGUAGE><DEFAULT>ko-KR</DEFAULT></LANGUAGES></WINDOWS>"
        "<DISPLAYNAME>Windows Server 2025 표준</DISPLAYNAME></IMAGE></WIM>"
    )
    (image,) = _inspect(wim_bytes([], xml=b"\xff\xfe" + xml.encode("utf-16-le"), count=1)).images
    assert image.index == 3
    assert image.languages == ("ko-KR", "en-US")
    assert image.default_language == "ko-KR"
    assert image.display_name == "Windows Server 2025 표준"
    assert (image.name, image.edition_id, image.build, image.total_bytes) == ("", "", 0, 0)


@pytest.mark.parametrize(
    ("flags", "name"),
    [(0, "none"), (0x20002, "xpress"), (0x40002, "lzx"), (0x80002, "lzms"), (2, "unknown")],
)
def test_compression(flags, name):
    assert _inspect(wim_bytes(IMAGES, flags=flags)).compression == name


REFUSED = {
    "no WIM": (b"<html>" + bytes(300), "no WIM file"),
    "short header": (wim_bytes(IMAGES)[:100], "100 bytes where the header has 208"),
    "cut": (wim_bytes(IMAGES, gap=5000)[:-1], "cut short: its XML reaches to byte"),
    "compressed XML": (wim_bytes(IMAGES, xml_flags=4), "compressed"),
    "solid XML": (wim_bytes(IMAGES, xml_flags=0x10), "compressed"),
    "wrong count": (wim_bytes(IMAGES, count=5), "counts 5 images, its XML 4"),
    "part 0": (wim_bytes(IMAGES, part=(0, 1)), "part 0 of 1"),
    "part 3 of 2": (wim_bytes(IMAGES, part=(3, 2)), "part 3 of 2"),
    "no XML": (wim_bytes([], xml=b""), "XML of 0 bytes"),
    "huge XML": (wim_bytes([], xml=bytes(9 << 20)), "XML of"),
    "odd XML": (wim_bytes([], xml=b"\xff\xfe<"), "UTF-16"),
    "broken XML": (wim_bytes([], xml="<WIM><IMAGE".encode("utf-16-le")), "cannot be parsed"),
    "zeros": (wim_bytes([], xml=bytes(100)), "cannot be parsed"),
    "twice": (
        wim_bytes([], count=2, xml=wim_xml(IMAGES[:2]).replace(b"2\0\"\0>", b"1\0\"\0>")),
        "numbered 1, 1",
    ),
    "entities": (
        wim_bytes([], xml='<!DOCTYPE a [<!ENTITY b "c">]><WIM/>'.encode("utf-16-le")),
        "entities",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    content, words = REFUSED[case]
    assert words in _refusal(content)


def test_a_lookup_table_beyond_the_end():
    content = bytearray(wim_bytes(IMAGES))
    content[48:55] = (10**9).to_bytes(7, "little")
    assert "lookup table" in _refusal(bytes(content))


def test_a_reader_that_delivers_less():
    content = wim_bytes(IMAGES)
    with pytest.raises(WinseedError, match="of its XML are there"):
        inspect_wim(lambda at, size: content[at : at + min(size, 300)], len(content))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 255)), min_size=1, max_size=8))
def test_flipped_bytes(flips):
    content = bytearray(wim_bytes(IMAGES))
    for place, change in flips:
        content[place % len(content)] ^= change
    with contextlib.suppress(WinseedError):
        _inspect(bytes(content))


def _info(path):
    """Image number -> its fields, as wimlib prints them."""
    tool = need_tool("wimlib-imagex")
    text = subprocess.run([tool, "info", path], check=True, capture_output=True, text=True).stdout
    blocks = re.split(r"\n(?=Index:)", text)[1:]
    fields = [dict(re.findall(r"^([\w ]+?):\s+(.+)$", block, re.MULTILINE)) for block in blocks]
    return {int(block["Index"]): block for block in fields}


@pytest.mark.parametrize("build", [9600, 14393, 17763, 20348, 26100])
def test_wimlib_agrees(tmp_path, build):
    need_tool("wimlib-imagex")
    path = tmp_path / "install.wim"
    write_wim(path, server_images(build, evaluation=build > 17000, language="de-DE"), size=2000)
    told = _info(path)
    images = _inspect(path.read_bytes()).images
    assert [image.index for image in images] == list(told)
    for image in images:
        block = told[image.index]
        assert image.name == block["Name"]
        assert image.display_name == block["Display Name"]
        assert image.edition_id == block["Edition ID"]
        assert image.installation_type == block["Installation Type"]
        assert image.languages == tuple(block["Languages"].split())
        assert image.build == int(block["Build"])
        assert image.spbuild == int(block["Service Pack Build"])
        assert image.total_bytes == int(block["Total Bytes"])
        assert block["Architecture"] == "x86_64"
        assert image.architecture == "amd64"


def test_solid_file_of_wimlib(tmp_path):
    need_tool("wimlib-imagex")
    path = tmp_path / "install.esd"
    write_wim(path, IMAGES, size=2000, solid=True)
    wim = _inspect(path.read_bytes())
    assert wim.compression == "lzms"
    assert [image.name for image in wim.images] == [image.name for image in IMAGES]


def test_boot_file_of_wimlib(tmp_path):
    need_tool("wimlib-imagex")
    path = tmp_path / "boot.wim"
    write_wim(path, boot_images(26100, "en-US"), size=2000, boot=2)
    wim = _inspect(path.read_bytes())
    assert wim.boot_index == 2
    assert [image.edition_id for image in wim.images] == ["WindowsPE", "WindowsPE"]


def test_split_file_of_wimlib(tmp_path):
    need_tool("wimlib-imagex")
    whole = tmp_path / "install.wim"
    write_wim(whole, IMAGES, size=700_000)
    split_wim(whole, tmp_path / "install.swm")
    parts = sorted(tmp_path.glob("install*.swm"))
    found = [_inspect(path.read_bytes()) for path in parts]
    assert sorted(wim.part for wim in found) == list(range(1, len(parts) + 1))
    assert {wim.parts for wim in found} == {len(parts)}
    assert len(parts) > 1


def test_own_builder_is_a_wim_to_wimlib(tmp_path):
    """The stand-in for discs without wimlib-imagex must not be of a kind of its own."""
    need_tool("wimlib-imagex")
    path = tmp_path / "own.wim"
    path.write_bytes(wim_bytes(IMAGES))
    command = [need_tool("wimlib-imagex"), "info", path, "--xml"]
    told = subprocess.run(command, check=True, capture_output=True)
    assert told.stdout.removeprefix(b"\xff\xfe") == wim_xml(IMAGES).removeprefix(b"\xff\xfe")
