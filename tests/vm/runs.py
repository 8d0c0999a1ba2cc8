"""Permutations, two at a time: an emulated VM keeps one core busy."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable

from tests.vm.cases import Case, make_disk
from tests.vm.command_line import drives_of, parts_of
from tests.vm.lab import Lab, Prediction, Result, fingerprint, partition_sizes

SECONDS = 300
NOT_DIRECT = ("bios", "efidisk0", "tpmstate0")  # a kernel that QEMU loads needs no firmware


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Both walks of Setup, and what the disks are like afterwards."""

    case: Case
    prediction: Prediction
    result: Result
    sizes: list[int]
    untouched: dict[str, bool]
    second: Result | None = None


def run_case(lab: Lab, case: Case, *, name: str = "", tell: dict[str, str] | None = None,
             second: bool = False) -> Outcome:  # fmt: skip
    """Predict, then boot the stand-in directly; `second`: start the installed system as well."""
    config = case.machine(lab)
    used = "empty" if case.disk == "empty" else "used"
    prediction = lab.predict(case.answer(lab), config, case.discs(lab), used)
    direct = {key: value for key, value in config.items() if key not in NOT_DIRECT}
    direct["memory"] = "1024"
    ata = [slot for slot in drives_of(direct) if slot.startswith(("ide", "sata"))]
    told = {"firmware": "uefi", "drives": str(len(ata)), "letters": case.letters}
    vm = lab.vm(
        name or case.id,
        direct,
        direct=lab.kernel,
        tell=told | dict(case.tell) | (tell or {}),
        restarts=False,
    )
    try:
        disks = _prepare(lab, case, vm)
        before = {slot: fingerprint(path) for slot, path in disks.items()}
        vm.start()
        result = vm.result(seconds=SECONDS)
        if result.word in {"installed", "powered-off"}:
            vm.wait_until_off(seconds=20)
        vm.stop()
        after = {slot: fingerprint(path) for slot, path in disks.items()}
        sizes = partition_sizes(next(iter(disks.values()))) if result.installed else []
        later = _second(vm) if second and result.installed else None
    finally:
        vm.close()
    return Outcome(
        case=case,
        prediction=prediction,
        result=result,
        sizes=sizes,
        untouched={slot: before[slot] == after[slot] for slot in disks},
        second=later,
    )


def _second(vm) -> Result:
    """The installed system, started directly as well."""
    arguments = vm.direct.arguments + " standin=system"
    vm.direct = dataclasses.replace(vm.direct, arguments=arguments)
    after = len(vm.log())
    vm.start()
    return vm.result(seconds=SECONDS, after=after)


def _prepare(lab: Lab, case: Case, vm) -> dict:
    """The disks of the VM by slot; a second one always holds data."""
    disks = {}
    for slot, parts in drives_of(vm.config).items():
        if parts_of(vm.config[slot]).get("media") == "cdrom":
            continue
        path = vm.volume(parts[""])
        kind = case.disk if not disks else "data"
        if kind != "empty":
            make_disk(path, kind, vm.folder)
        disks[slot] = path
    vm._make_volumes()
    return disks


class Runs:
    """Outcomes by the id of their case, started in the background in the order of the tests."""

    def __init__(self, lab: Lab, cases: Iterable[Case]) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)
        assert lab.kernel
        self._futures = {case.id: self._pool.submit(run_case, lab, case) for case in cases}

    def __getitem__(self, name: str) -> Outcome:
        return self._futures[name].result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
