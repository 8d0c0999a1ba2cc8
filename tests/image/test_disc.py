"""Images written by `builder.disc`, judged by readers of other people's making."""

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from builder.disc import (
    InlineFile,
    SourceFile,
    WrittenFile,
    compute_sha256,
    write_disc,
)
from builder.errors import ExitCode, WinseedError
from builder.media.image import Extent, inspect_image

EPOCH = 1_700_000_000
ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


def tool(name, package):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is missing (Debian package {package})")
    return name


def call(*command):
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def whole(path, sha256=None):
    extent = Extent(offset=0, length=path.stat().st_size)
    return SourceFile(path=path, extents=(extent,), sha256=sha256)


def write(target, files, **options):
    return write_disc(target, files, **{"label": "WINSEED", "epoch": EPOCH} | options)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def pattern(size, seed=1):
    return hashlib.shake_128(bytes([seed])).digest(size)


# --- what other readers find ------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A disc with every kind of name, and its expected contents as {path: bytes}."""
    folder = tmp_path_factory.mktemp("tree")
    blob = pattern(5 << 20)
    source = folder / "virtio-win.iso"
    source.write_bytes(blob)

    def cut(*ranges):
        extents = tuple(Extent(offset=offset, length=length) for offset, length in ranges)
        expected = b"".join(blob[offset : offset + length] for offset, length in ranges)
        return SourceFile(path=source, extents=extents), expected

    driver, driver_bytes = cut((4096, 70_001))
    joined, joined_bytes = cut((10, (2 << 20) - 7), (3 << 20, (1 << 20) + 5), (2048, 1))
    longest = "L" * 60 + ".inf"
    deep = "/".join(f"level{number}" for number in range(12)) + "/deep.txt"
    files, expected = {}, {}
    for path, (content, data) in {
        "autounattend.xml": (InlineFile(data=b"<unattend/>"), b"<unattend/>"),
        "$WinPEDriver$/vioscsi/vioscsi.sys": (driver, driver_bytes),
        "$OEM$/$$/Setup/Scripts/SetupComplete.cmd": (InlineFile(data=b"@echo\r\n"), b"@echo\r\n"),
        "winseed/drivers/vioscsi/vioscsi.sys": (driver, driver_bytes),
        "winseed/drivers/NetKVM/MixedCase.Inf": (joined, joined_bytes),
        "winseed/empty": (InlineFile(data=b""), b""),
        "winseed/empty.too": (InlineFile(data=b""), b""),
        "winseed/a b (1) #%&'+,=@[]^`{}~!.txt": (InlineFile(data=b"odd"), b"odd"),
        "winseed/.dot": (InlineFile(data=b"dot"), b"dot"),
        f"winseed/{longest}": (InlineFile(data=b"long"), b"long"),
        deep: (InlineFile(data=b"deep"), b"deep"),
    }.items():
        files[path], expected[path] = content, data
    for number in range(80):  # records over several sectors
        path, data = f"winseed/many/{number:03}-{'n' * 50}.cat", b"%d" % number
        files[path], expected[path] = InlineFile(data=data), data
    target = folder / "answer.iso"
    return target, expected, write(target, files)


def extract_7z(image, folder):
    call(tool("7z", "p7zip-full"), "x", "-bd", f"-o{folder}", str(image))


def extract_bsdtar(image, folder):
    call(tool("bsdtar", "libarchive-tools"), "-xf", str(image), "-C", str(folder))


def extract_xorriso(image, folder):
    command = ("-osirrox", "on", "-indev", str(image), "-extract", "/", str(folder))
    call(tool("xorriso", "xorriso"), "-report_about", "SORRY", *command)
    call("chmod", "-R", "u+rwX", str(folder))


def extract_isoinfo(image, folder):
    isoinfo = tool("isoinfo", "genisoimage")
    for name, directory in list_isoinfo(image):
        path = folder / name
        if directory:
            path.mkdir(parents=True)
        else:
            path.write_bytes(call(isoinfo, "-J", "-i", str(image), "-x", f"/{name}"))


def list_isoinfo(image):
    """(path, is a folder), parents first, from the long listing of the Joliet tree."""
    folder, found = "", []
    for line in call("isoinfo", "-J", "-l", "-i", str(image)).decode().splitlines():
        if line.startswith("Directory listing of /"):
            folder = line.removeprefix("Directory listing of /")
        elif match := re.match(r"(.)[-rwx]{9} .*\[ *\d+ \d\d\]  (?!\.\.? *$)(.*?) ?$", line):
            found.append((folder + match[2], match[1] == "d"))
    return sorted(found)


@pytest.mark.parametrize("extract", [extract_7z, extract_bsdtar, extract_xorriso, extract_isoinfo])
def test_other_readers_find_the_same_names_and_bytes(tree, extract, tmp_path):
    image, expected, _ = tree
    extract(image, tmp_path)
    found = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert sorted(found) == sorted(expected)
    assert found == expected


def test_the_iso9660_tree_without_joliet_has_the_same_names(tree):
    image, expected, _ = tree
    listed = call(tool("isoinfo", "genisoimage"), "-f", "-i", str(image)).decode().splitlines()
    assert {line.removeprefix("/") for line in listed} >= set(expected)


def test_the_artifact_tells_what_was_written(tree):
    image, expected, artifact = tree
    assert artifact.path == image
    assert artifact.size == image.stat().st_size
    assert artifact.files == tuple(
        WrittenFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in sorted(expected.items())
    )


def test_volume_descriptors(tree):
    listed = call(tool("isoinfo", "genisoimage"), "-d", "-i", str(tree[0])).decode()
    assert "Volume id: WINSEED\n" in listed
    assert "Joliet with UCS level 3 found" in listed
    assert f"Volume size is: {tree[0].stat().st_size // 2048}\n" in listed


def test_every_date_is_the_epoch(tree, tmp_path):
    extract_bsdtar(tree[0], tmp_path)
    assert {path.stat().st_mtime for path in tmp_path.rglob("*")} == {EPOCH}
    descriptors = tree[0].read_bytes()[16 * 2048 : 20 * 2048]
    dates = re.findall(rb"20\d{14}[\x80-\xff\x00-\x7f]", descriptors)
    assert set(dates) == {b"2023111422132000\x00"}
    assert len(dates) == 9  # creation, modification, effective; three volume descriptors


def test_equal_contents_share_one_extent(tmp_path):
    tool("isoinfo", "genisoimage")
    source = tmp_path / "source"
    source.write_bytes(pattern(3_000_000))
    copy = tmp_path / "copy"
    copy.write_bytes(pattern(3_000_000))
    digest = hashlib.sha256(pattern(3_000_000)).hexdigest()
    target = tmp_path / "a.iso"
    files = {
        "a/first.sys": whole(source, digest),
        "b/second.sys": whole(source, digest.upper()),
        "c/third.sys": whole(copy, digest),
        "d/one.txt": InlineFile(data=b"same"),
        "d/two.txt": InlineFile(data=b"same"),
        "d/other.txt": InlineFile(data=b"else"),
        "e/inline.sys": InlineFile(data=pattern(3_000_000)),
    }
    write(target, files)
    listed = call("isoinfo", "-J", "-l", "-i", str(target)).decode()
    places = {name: place for place, name in re.findall(r"\[ *(\d+) 00\]  (\w+\.\w+)", listed)}
    assert (
        places["first.sys"] == places["second.sys"] == places["third.sys"] == places["inline.sys"]
    )
    assert places["one.txt"] == places["two.txt"]
    assert len(set(places.values())) == 3
    assert target.stat().st_size < 3_200_000


# --- the same input gives the same bytes ------------------------------------------------------

WRITER = textwrap.dedent("""
    import os, signal, sys, time
    from pathlib import Path
    from builder.disc import *
    from builder.errors import WinseedError
    from builder.media.image import Extent
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    extent = Extent(offset=0, length=source.stat().st_size)
    files = {
        "b/driver.sys": SourceFile(path=source, extents=(extent,)),
        "$WinPEDriver$/driver.sys": SourceFile(path=source, extents=(extent,)),
        "autounattend.xml": InlineFile(data=b"<unattend/>"),
        "a/z.txt": InlineFile(data=b"z"), "a/y.txt": InlineFile(data=b"y"),
    }
    class Pause:
        def advance(self, count):
            print("writing", flush=True)
            time.sleep(60)
    def write(**options):
        write_disc(target, files, label="WINSEED", epoch=1_700_000_000, **options)
""")


def run_writer(tail, *arguments, **options):
    code = WRITER + textwrap.dedent(tail)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    environment |= options.pop("env", {})
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, **pipes, **options)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(pattern(200_000))
    return path


def test_clock_zone_umask_hash_seed_folder_and_order_leave_the_bytes_alone(source, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    runs = [
        ("write()", {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"}, 0o077, tmp_path),
        (
            "files = dict(reversed(files.items())); write()",
            {"TZ": "America/St_Johns", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8"},
            0o000,
            elsewhere,
        ),
    ]
    started = []
    for number, (tail, environment, umask, folder) in enumerate(runs):
        target = Path(os.path.relpath(tmp_path / f"{number}.iso", folder))
        options = {"env": environment, "umask": umask, "cwd": folder}
        started.append(run_writer(tail, source, target, **options))
        time.sleep(1.1)  # into another second
    for process in started:
        assert process.communicate(timeout=60) == (b"", b"")
    first, second = (tmp_path / "0.iso").read_bytes(), (tmp_path / "1.iso").read_bytes()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_other_input_gives_other_bytes(tmp_path):
    files = {"a.txt": InlineFile(data=b"a")}
    seen = set()
    for number, options in enumerate([{}, {"epoch": EPOCH + 1}, {"label": "OTHER"}]):
        write(tmp_path / f"{number}.iso", files, **options)
        seen.add((tmp_path / f"{number}.iso").read_bytes())
    assert len(seen) == 3


def test_threads_keep_their_epochs_apart(tmp_path):
    def job(epoch):
        files = {f"{number}.txt": InlineFile(data=b"%d" % number) for number in range(40)}
        write(tmp_path / f"{threading.current_thread().name}.iso", files, epoch=epoch)

    threads = [threading.Thread(target=job, args=(EPOCH + n % 2,), name=str(n)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    images = [(tmp_path / f"{number}.iso").read_bytes() for number in range(6)]
    assert len(set(images[::2])) == len(set(images[1::2])) == 1
    assert images[0] != images[1]


# --- the file under the final name ------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_only_the_owner_can_read_it(umask, tmp_path):
    before = os.umask(umask)
    try:
        write(tmp_path / "a.iso", {"a": InlineFile(data=b"a")})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.iso").stat().st_mode) == 0o600


def test_missing_folders_are_made(tmp_path):
    target = tmp_path / "dist" / "lab" / "a.iso"
    write(target, {"a": InlineFile(data=b"a")})
    assert names_in(target.parent) == ["a.iso"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "below a file", "nul", "long"])
def test_a_target_that_cannot_be_written_is_refused(kind, tmp_path):
    target = tmp_path / "a.iso"
    match kind:
        case "folder":
            target.mkdir()
        case "pipe":
            os.mkfifo(target)
        case "device":
            target = Path("/dev/null")
        case "below a file":
            target.write_bytes(b"")
            target /= "b.iso"
        case "nul":
            target = tmp_path / "a\0.iso"
        case "long":
            target = tmp_path / ("a" * 300)
    before = names_in(tmp_path)
    with pytest.raises(WinseedError) as caught:
        write(target, {"a": InlineFile(data=b"a")})
    assert caught.value.code is ExitCode.SPEC
    assert ascii(str(target))[1:-1] in caught.value.what
    assert names_in(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(WinseedError, match="Permission denied") as caught:
        write(tmp_path / "a.iso", {"a": InlineFile(data=b"a")})
    assert caught.value.code is ExitCode.SPEC


def spoil_missing(source):
    source.unlink()
    return "No such file"


def spoil_short(source):
    os.truncate(source, 199_999)
    return "ends early"


def spoil_changed(source):
    with source.open("r+b") as stream:
        stream.write(b"changed")
    return "does not hold what was found there before"


def spoil_folder(source):
    source.unlink()
    source.mkdir()
    return "Is a directory"


def spoil_pipe(source):
    source.unlink()
    os.mkfifo(source)
    return "Illegal seek"


@pytest.mark.parametrize(
    "spoil", [spoil_missing, spoil_short, spoil_changed, spoil_folder, spoil_pipe]
)
def test_a_bad_source_leaves_the_old_image_alone(spoil, source, tmp_path):
    files = {"a/b.sys": whole(source, hashlib.sha256(pattern(200_000)).hexdigest())}
    dist = tmp_path / "dist"
    write(dist / "a.iso", files)
    old = (dist / "a.iso").read_bytes()
    expected = spoil(source)
    with pytest.raises(WinseedError) as caught:
        write(dist / "a.iso", files | {"c": InlineFile(data=b"new")})
    assert caught.value.code is ExitCode.MEDIA
    assert expected in caught.value.what
    assert str(source) in caught.value.what
    assert names_in(dist) == ["a.iso"]
    assert (dist / "a.iso").read_bytes() == old


def test_a_source_that_changes_while_it_is_copied_is_noticed(source, tmp_path):
    class Meddler:
        def advance(self, count):
            spoil_changed(source)

    digest = hashlib.sha256(pattern(200_000)).hexdigest()
    for known in (digest, None):
        source.write_bytes(pattern(200_000))
        files = {"a": InlineFile(data=b"first"), "b": whole(source, known)}
        with pytest.raises(WinseedError, match="does not hold"):
            write(tmp_path / "a.iso", files, progress=Meddler())
        assert names_in(tmp_path) == ["source"]


@pytest.mark.parametrize(
    ("good", "what"),
    [
        (pattern(100), "first.sys differs"),
        ("first.sys".encode("utf-16-be"), "2 names differ, the first is"),
        (b"CD001", "not an ISO image"),
    ],
    ids=["content", "name", "descriptor"],
)
def test_an_image_that_goes_bad_on_the_disk_is_noticed(good, what, source, tmp_path):
    class FailingDisk:
        def advance(self, count):
            if count != 1:  # until the last file, all that comes before it lies on the disk
                return
            for fd in Path("/proc/self/fd").iterdir():
                if os.path.lexists(fd) and "/dist/" in str(fd.readlink()):
                    with fd.open("r+b") as stream:
                        stream.seek(stream.read().index(good))
                        stream.write(b"\0b")
                    return

    target = tmp_path / "dist" / "a.iso"
    files = {"first.sys": whole(source), "last": InlineFile(data=b"b")}
    with pytest.raises(WinseedError, match="does not read back as written") as caught:
        write(target, files, progress=FailingDisk())
    assert what in caught.value.what
    assert caught.value.code is ExitCode.BUG
    assert names_in(target.parent) == []


# --- full disks -------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@needs_root
def test_a_disk_that_is_too_small_is_refused_before_writing(small_disk, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(pattern(3 << 20))
    with pytest.raises(WinseedError, match="not enough space") as caught:
        write(small_disk / "a.iso", {"a": whole(big)})
    assert caught.value.code is ExitCode.SPEC
    figures = re.findall(r"([\d,]+) bytes needed, ([\d,]+) available", caught.value.what)
    needed, available = (int(figure.replace(",", "")) for figure in figures[0])
    assert 3 << 20 < needed < 4 << 20
    assert available == 1 << 20
    assert names_in(small_disk) == []


@needs_root
def test_a_disk_that_fills_up_while_writing(small_disk, source):
    write(small_disk / "a.iso", {"a": InlineFile(data=b"old")})
    old = (small_disk / "a.iso").read_bytes()

    class Neighbour:
        def advance(self, count):
            with (small_disk / "filler").open("ab", buffering=0) as stream:
                try:
                    while stream.write(bytes(4096)):
                        pass
                except OSError:
                    return

    with pytest.raises(WinseedError, match="No space left") as caught:
        write(small_disk / "a.iso", {"a": whole(source), "b": whole(source)}, progress=Neighbour())
    assert caught.value.code is ExitCode.SPEC
    assert names_in(small_disk) == ["a.iso", "filler"]
    assert (small_disk / "a.iso").read_bytes() == old


def test_a_limit_of_file_size(source, tmp_path):
    tail = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
        try:
            write()
        except WinseedError as error:
            print(error.code.name, error.what)
    """
    target = tmp_path / "dist" / "a.iso"
    out, err = run_writer(tail, source, target).communicate(timeout=60)
    assert (out.decode(), err) == (f"SPEC cannot write {target}: File too large\n", b"")
    assert names_in(target.parent) == []


# --- interrupted runs -------------------------------------------------------------------------

WITH_NAME = "del os.O_TMPFILE; "  # as on a file system that has no nameless files


@pytest.mark.parametrize("prefix", ["", WITH_NAME], ids=["nameless", "named"])
def test_ctrl_c_leaves_nothing(prefix, source, tmp_path):
    target = tmp_path / "dist" / "a.iso"
    process = run_writer(f"{prefix}write(progress=Pause())", source, target)
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err.decode().rstrip().endswith("KeyboardInterrupt")
    assert names_in(target.parent) == []


def test_kill_leaves_nothing_where_files_need_no_name(source, tmp_path):
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR, 0o600))
    except OSError:
        pytest.skip("this file system has no nameless files (O_TMPFILE)")
    target = tmp_path / "dist" / "a.iso"
    process = run_writer("write(progress=Pause())", source, target)
    assert process.stdout.readline() == b"writing\n"
    assert names_in(target.parent) == []
    process.kill()
    process.communicate(timeout=60)
    assert names_in(target.parent) == []


def test_the_next_run_clears_away_what_a_killed_one_left_and_nothing_else(source, tmp_path):
    target = tmp_path / "dist" / "a.iso"
    target.parent.mkdir()
    kept = [".a.iso.part", ".b.iso.x1.part", "xa.iso.x1.part", ".aXiso.x1.part"]
    for name in kept:
        (target.parent / name).write_bytes(b"someone else's")
    process = run_writer(f"{WITH_NAME}write(progress=Pause())", source, target)
    assert process.stdout.readline() == b"writing\n"
    (left,) = set(names_in(target.parent)) - {*kept}
    assert stat.S_IMODE((target.parent / left).stat().st_mode) == 0o600

    write(target, {"a": InlineFile(data=b"while the other one writes")})
    assert set(names_in(target.parent)) == {*kept, left, "a.iso"}
    old = target.read_bytes()

    process.kill()
    process.communicate(timeout=60)
    assert left in names_in(target.parent)
    assert target.read_bytes() == old
    write(target, {"a": InlineFile(data=b"after it was killed")})
    assert set(names_in(target.parent)) == {*kept, "a.iso"}
    assert inspect_image(target).find("a").size == len(b"after it was killed")


# --- labels, dates, sizes ---------------------------------------------------------------------


def test_everything_wrong_with_a_call_is_told_at_once(tmp_path):
    huge = SourceFile(path=tmp_path / "none", extents=(Extent(offset=0, length=1 << 32),))
    files = {"nul": InlineFile(data=b""), "q?": InlineFile(data=b""), "huge": huge}
    with pytest.raises(WinseedError) as caught:
        write(tmp_path / "a.iso", files, label="t\xf6o long for a label", epoch=-1)
    assert caught.value.code is ExitCode.SPEC
    assert {problem.where for problem in caught.value.problems} == {
        "nul",
        "q?",
        "huge",
        "label",
        "epoch",
    }
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("label", ["", "lower", "A B", "A" * 17, "A\n"])
def test_labels_that_are_refused(label, tmp_path):
    with pytest.raises(WinseedError, match="no disc holds this") as caught:
        write(tmp_path / "a.iso", {}, label=label)
    assert [problem.where for problem in caught.value.problems] == ["label"]


@pytest.mark.parametrize("epoch", [0, 0xFFFFFFFF])
def test_first_and_last_date(epoch, tmp_path):
    write(tmp_path / "a.iso", {"a": InlineFile(data=b"a")}, epoch=epoch)
    extract_bsdtar(tmp_path / "a.iso", tmp_path)
    assert (tmp_path / "a").stat().st_mtime == epoch


# --- contents ---------------------------------------------------------------------------------


def test_sha256_of_contents(tmp_path):
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert compute_sha256(InlineFile(data=b"abc")) == known
    source = tmp_path / "source"
    source.write_bytes(b"..c....ab")
    extents = (Extent(offset=7, length=2), Extent(offset=0, length=0), Extent(offset=2, length=1))
    content = SourceFile(path=source, extents=extents, sha256="0" * 64)
    assert content.size == 3
    assert compute_sha256(content) == known


def test_rendered_text_stays_out_of_messages():
    assert "secret" not in repr(InlineFile(data=b"secret"))


def test_progress_reaches_the_sum_of_all_sizes(source, tmp_path):
    seen = []

    class Count:
        def advance(self, count):
            seen.append(count)

    files = {"a": whole(source), "b": whole(source), "c": InlineFile(data=b"abc")}
    write(tmp_path / "a.iso", files, progress=Count())
    assert sum(seen) == 400_003


def test_memory_does_not_grow_with_the_source(tmp_path):
    source = tmp_path / "source"
    with source.open("wb") as stream:
        stream.truncate(150 << 20)
    tail = """
        from pathlib import Path
        write()
        # not ru_maxrss: a child's begins at the peak of the test run that started it
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
    """
    out, err = run_writer(tail, source, tmp_path / "a.iso").communicate(timeout=120)
    assert err == b""
    assert int(out) < 60
