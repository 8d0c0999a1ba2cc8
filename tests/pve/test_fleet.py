"""Many hosts in one call: what is asked at a time, and what one host does to the others."""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from builder.errors import ExitCode
from builder.install.fleet import HostResult, Interrupted, gravest, run_fleet, stoppable
from builder.install.journal import Outcome
from builder.install.poll import AGENT_LIMIT, MAX_AGE
from builder.install.run import CREATES, UPLOADS
from builder.proxmox.connection import Clock
from tests.command import ROOT, authority, clean_environment
from tests.pve.crowd import BREAKS, DIES, NODES

HOSTS, WORKERS = 200, 24


@pytest.fixture(scope="module")
def crowd(discs, tmp_path_factory):
    paths = (discs["windows-2022-volume"], discs["virtio"])
    memory = Path("/dev/shm")  # journals are synced at each write
    folder = tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path_factory.getbasetemp())
    asked = [*map(str, paths), authority().fingerprint, str(folder), str(HOSTS), str(WORKERS)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pve.crowd", *asked],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    *summary, counted = done.stdout.splitlines()
    return summary, json.loads(counted), done.stderr


def test_200_hosts_take_little_memory(crowd):
    _, counted, _ = crowd
    assert counted["mib"] < 200, "winseed and the whole fake cluster together"


def test_one_failing_host_stops_no_other(crowd):
    summary, counted, told = crowd
    rows = {line.split()[0]: line for line in summary if line.startswith("app")}
    assert len(rows) == HOSTS
    settled = {name for name, line in rows.items() if line.split()[-1] == "settled"}
    settled |= {name for name, line in rows.items() if " settled " in line}
    assert set(rows) - settled == {DIES, BREAKS}
    assert "failed" in rows[DIES]
    assert "failed, kept" in rows[BREAKS]
    assert counted["code"] == ExitCode.UNSETTLED
    assert "Traceback" not in told
    assert not counted["twice"]
    assert not counted["isos"], "no answer ISO is left, not even of the two that failed"


def test_no_more_at_a_time_than_the_cluster_takes(crowd):
    _, counted, _ = crowd
    assert max(counted["upload"].values()) <= UPLOADS
    assert counted["create"] <= CREATES
    assert max(counted["agent"].values()) <= AGENT_LIMIT
    # it was near these limits, or they would mean nothing
    assert counted["create"] == CREATES
    assert max(counted["upload"].values()) == UPLOADS
    assert sorted(counted["running"]) == sorted(NODES)


def test_the_agent_is_not_asked_too_early(crowd):
    _, counted, _ = crowd
    assert not counted["early"]


def test_one_poll_tells_the_state_of_all(crowd):
    _, counted, _ = crowd
    assert counted["polls"] <= counted["virtual"] / MAX_AGE + HOSTS / 10


def result(name, **more):
    return HostResult(host=name, node="pve1", vmid=1, outcome=Outcome.OPEN, seconds=1, **more)


def test_a_stop_ends_every_run_at_its_next_pause():
    stop, running = threading.Event(), threading.Event()
    clock = stoppable(Clock(now=time.monotonic, pause=time.sleep, jitter=lambda: 0.5), stop)

    def job(name):
        running.set()
        try:
            while True:
                clock.pause(0.01)
        except Interrupted:
            return result(name, interrupted=True)

    threading.Thread(target=lambda: (running.wait(), stop.set())).start()
    jobs = [lambda name=name: job(name) for name in ("a", "b")]
    done = list(run_fleet(jobs, workers=2, stop=stop))
    assert {one.code for one in done} == {ExitCode.INTERRUPTED}
    assert gravest(done) is ExitCode.INTERRUPTED
