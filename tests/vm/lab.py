"""What the boot proof shares: discs made once, VMs that leave their logs in build/vm/, predictions.

A VM and a prediction start from the same text, the output of `qm config`.
"""

import dataclasses
import functools
import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import media, rehearsals
from tests.command import Discs, process
from tests.vm.boot_programs import Payload, make_payload
from tests.vm.initramfs import make_archive, plain_kernel
from tests.vm.machine import DirectKernel, Vm
from tests.vm.windows_disc import make_bootable_windows_iso

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "build" / "vm"
PLAIN = ["-input-charset", "iso8859-1", "-V", "ANSWER"]
LOGS = ("com1.log", "standin.log", "qemu.log")
ISO = "local:iso/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """How a run of the stand-in ended: the words behind `result=`."""

    word: str
    stage: str
    line: str
    log: str
    com1: str
    seconds: float

    @property
    def installed(self) -> bool:
        return self.word == "installed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What `winseed rehearse --json` says: exit code, and the steps by id."""

    exit_code: int
    steps: Mapping[str, str]
    beliefs: frozenset[str]
    document: Mapping[str, Any]

    @property
    def stops(self) -> tuple[str, ...]:
        return tuple(step for step, verdict in self.steps.items() if verdict == "stop")


class Lab:
    """Discs by name, and VMs in a folder that is thrown away; what is worth keeping goes to
    build/vm/."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.discs = Discs(folder)
        self._lock = threading.RLock()

    # -- discs ---------------------------------------------------------------------------------

    @functools.cached_property
    def payload(self) -> Payload:
        return make_payload()

    @functools.cached_property
    def kernel(self) -> DirectKernel:
        kernel, archive = self.folder / "vmlinux", self.folder / "archive.cpio"
        kernel.write_bytes(plain_kernel())
        archive.write_bytes(make_archive())
        return DirectKernel(kernel=kernel, archive=archive)

    def disc(self, name: str) -> Path:
        """`virtio`, `windows-2022-volume`, or one that was added before."""
        with self._lock:
            path = self.folder / f"{name}.iso"
            return path if path.exists() else self.discs[name]

    def bootable(self, release: str, channel: str, *, prompts: bool = True) -> Path:
        """A Windows disc with boot programs."""
        from tests.command import BUILDS

        with self._lock:
            name = f"boot-{release}-{channel}{'' if prompts else '-noprompt'}"
            path = self.folder / f"{name}.iso"
            if not path.exists():
                make_bootable_windows_iso(
                    path, self.payload, build=BUILDS[release], channel=channel, prompts=prompts
                )
            return path

    def answer(self, name: str, *, windows: str | Path, virtio: str | None = "virtio",
               spec: str = "", flags: tuple[str, ...] = ()) -> Path:  # fmt: skip
        """An answer ISO by `winseed iso`, once for each name."""
        with self._lock:
            path = self.folder / f"{name}.iso"
            if path.exists():
                return path
            disc = windows if isinstance(windows, Path) else self.disc(windows)
            arguments: list[object] = ["iso", "--windows-iso", disc, "-o", path, *flags]
            if virtio is not None:
                arguments += ["--virtio-iso", self.disc(virtio)]
            if spec:
                site = self.folder / f"{name}.toml"
                site.write_text(spec)
                arguments += ["--spec", site]
            done = process(*arguments, cwd=self.folder, trusted=True)
            assert done.code == 0, done.err
            return path

    def foreign(self, name: str, text: str = rehearsals.ANSWER, *, file: str = "autounattend.xml",
                options: tuple[str, ...] = ("-J",),
                extra: Mapping[str, bytes] | None = None) -> Path:  # fmt: skip
        """A disc with an answer file that is not winseed's."""
        with self._lock:
            path = self.folder / f"{name}.iso"
            if not path.exists():
                files = {file: text.encode(), "scripts/agent.cmd": b"@echo off\r\n"}
                media.make_disc(path, files | dict(extra or {}), [*options, *PLAIN])
            return path

    def volume(self, name: str) -> Path:
        """The file of `local:iso/NAME`."""
        return self.folder / name.removeprefix(ISO)

    # -- runs ----------------------------------------------------------------------------------

    def vm(self, name: str, config: Mapping[str, str], **options: Any) -> "LabVm":
        return LabVm(self, name, config, **options)

    def predict(
        self, answer: Path, config: Mapping[str, str], discs: tuple[Path, ...], disk: str
    ) -> Prediction:
        """`winseed rehearse` for the discs that are in the VM."""
        text = "".join(f"{key}: {value}\n" for key, value in config.items())
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = self.folder / f"{key}.conf"
        path.write_text(text)
        arguments: list[object] = ["rehearse", "--json", "--answer-iso", answer, "--for", path]
        arguments += ["--disk", disk]
        for disc in discs:
            arguments += ["--disc", disc]
        done = process(*arguments, cwd=self.folder, trusted=True)
        document = json.loads(done.out)["rehearsals"][0]
        steps = [step for stage in document["stages"] for step in stage["steps"]]
        worst = ["ok", "not checked", "risk", "stop"]
        verdicts: dict[str, str] = {}
        for step in steps:
            verdict = max(verdicts.get(step["id"], "ok"), step["verdict"], key=worst.index)
            verdicts[step["id"]] = verdict
        return Prediction(
            exit_code=done.code,
            steps=verdicts,
            beliefs=frozenset(document["beliefs"]),
            document=document,
        )


class LabVm(Vm):
    """A VM of the lab: discs by name, logs and screens kept for a person to look at."""

    def __init__(self, lab: Lab, name: str, config: Mapping[str, str], **options: Any) -> None:
        self.name = name
        self.kept = ARTIFACTS / name
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir(parents=True)
        self.lab = lab
        folder = lab.folder / "vms" / name
        shutil.rmtree(folder, ignore_errors=True)
        super().__init__(folder, config, **options)

    def volume(self, name: str) -> Path:
        if name.startswith(ISO):
            return self.lab.volume(name)
        return super().volume(name)

    def picture(self, stage: str) -> None:
        """The console as it is now."""
        self.screenshot(self.kept / f"{stage}.png")

    def result(self, *, seconds: float, after: int = 0) -> Result:
        """Wait for the stand-in's verdict and take a picture of it."""
        started = time.monotonic()
        line = self.wait_for(" standin: result=", seconds=seconds, after=after)
        if self.state != "off":  # a guest that has switched off leaves its last screen
            self.picture(f"result-{line.partition('result=')[2].split()[0]}")
        words = line.partition("result=")[2]
        stage = words.partition("stage=")[2].split()
        return Result(
            word=words.split()[0],
            stage=stage[0] if stage else "",
            line=words,
            log=self.log()[after:],
            com1=self.com1(),
            seconds=time.monotonic() - started,
        )

    def close(self) -> None:
        """Keep the logs, throw the disks away."""
        super().close()
        for name in LOGS:
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, self.kept / name)
        shutil.rmtree(self.folder, ignore_errors=True)


def partition_sizes(disk: Path) -> list[int]:
    """MiB of each partition, as sgdisk reads them from the outside."""
    done = subprocess.run(["sgdisk", "-p", disk], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [
        (int(row[2]) - int(row[1]) + 1) * 512 // (1 << 20)
        for row in rows
        if len(row) > 5 and row[0].isdigit()
    ]


def fingerprint(path: Path) -> str:
    """SHA-256 of what is written in a sparse file; holes count as zeros without being read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        at = 0
        while True:
            try:
                at = stream.seek(at, 3)  # SEEK_DATA
            except OSError:
                return digest.hexdigest()
            end = stream.seek(at, 4)  # SEEK_HOLE
            stream.seek(at)
            content = stream.read(end - at)
            if content.strip(b"\0"):
                digest.update(at.to_bytes(8, "big") + content)
            at = end
