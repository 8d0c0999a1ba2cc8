"""Any set of paths is refused with reasons, or its disc shows exactly these names to others."""

import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from builder.disc import InlineFile, write_disc
from builder.errors import ExitCode, WinseedError
from builder.media.image import inspect_image
from builder.names import check_names

ODD = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='<>:"/|?*\\;'))
COMPONENTS = st.one_of(
    st.sampled_from(["a", "b", "$OEM$", ".x", "a.b.c", "setup"]),
    ODD.map(lambda text: text.lower()[:64].rstrip(".") or "0"),
    st.builds(lambda text, size: (text.lower() * 64)[:size].rstrip(".") or "1", ODD, st.just(64)),
)
WRONG = st.sampled_from(
    ["A", "con", "NUL.txt", "x.", "x ", "..", "", "n" * 65, "a\\b", "q?", "\xe4"]
)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=10).map("/".join)
MIXED = st.lists(COMPONENTS | WRONG, min_size=1, max_size=10).map("/".join)
CONTENTS = st.one_of(st.sampled_from([b"", b"same"]), st.binary(max_size=5000))
FILES = st.dictionaries(PATHS, CONTENTS, max_size=12) | st.dictionaries(MIXED, CONTENTS, max_size=3)
ANY_PATHS = st.lists(st.text(st.characters(), max_size=80) | MIXED, max_size=8)


def listed_by_7z(image):
    command = ["7z", "l", "-slt", "-ba", "-sccUTF-8", str(image)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    lines = done.stdout.decode().splitlines()
    return sorted(line.removeprefix("Path = ") for line in lines if line.startswith("Path = "))


def listed_by_isoinfo(image):
    command = ["isoinfo", "-J", "-f", "-i", str(image)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return sorted(line.removeprefix("/") for line in done.stdout.decode().splitlines())


@pytest.mark.parametrize(
    ("listed", "name", "package"),
    [(listed_by_7z, "7z", "p7zip-full"), (listed_by_isoinfo, "isoinfo", "genisoimage")],
    ids=["7z", "isoinfo"],
)
@settings(max_examples=40, deadline=None)
@given(files=FILES)
def test_sound_names_come_back_and_others_are_refused(listed, name, package, files):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is missing (Debian package {package})")
    contents = {path: InlineFile(data=data) for path, data in files.items()}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "a.iso"
        if problems := check_names(files):
            event("refused")
            with pytest.raises(WinseedError) as caught:
                write_disc(target, contents, label="W", epoch=1)
            assert caught.value.code is ExitCode.SPEC
            assert caught.value.problems == problems
            assert not target.exists()
            return
        event("written")
        write_disc(target, contents, label="W", epoch=1)
        folders = {str(up) for path in files for up in PurePosixPath(path).parents} - {"."}
        assert listed(target) == sorted({*files, *folders})
        image = inspect_image(target)
        found = {file.path: image.read(file, 0, file.size) for file in image.files.values()}
        assert found == files


@settings(max_examples=200)
@given(ANY_PATHS)
def test_any_text_is_judged_and_every_verdict_can_be_printed(paths):
    for problem in check_names(paths):
        assert str(problem).isprintable()
        assert str(problem).isascii()


@settings(max_examples=200)
@given(st.sets(PATHS, min_size=1, max_size=6))
def test_a_sound_set_with_a_twin_in_other_case_is_not_sound(paths):
    twin = min(paths).swapcase()
    if not check_names(paths) and twin not in paths:
        assert check_names([*paths, twin])
    assert check_names([*paths, min(paths)])
