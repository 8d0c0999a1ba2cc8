"""Many hosts in one call: one process a core, media inspected before they start."""

import dataclasses
import gc
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from builder.build import Delivered, deliver_host
from builder.errors import WinseedError
from builder.plan.model import Plan
from builder.rehearsal.facts import DiscFacts
from builder.rehearsal.plan import rehearse_plan

ORPHAN_CHECK = 0.5  # seconds


class Job(NamedTuple):
    """One ISO to write."""

    plan: Plan
    target: Path
    windows: DiscFacts | None = None  # the Windows disc, for the rehearsal


def deliver_fleet(
    jobs: Sequence[Job], *, epoch: int, workers: int
) -> Iterator[Delivered | WinseedError]:
    """Write the ISO of every job, in order; a job that fails yields its error, the rest go on."""
    if workers < 2 or len(jobs) < 2:
        for job in jobs:
            yield _deliver(job, epoch)
        return
    import concurrent.futures  # noqa: PLC0415 - 20 ms that one host does not need
    import multiprocessing  # noqa: PLC0415

    gc.freeze()  # or the first collection of each worker would copy all that is handed over
    # fork hands the imported modules and compiled templates to the workers
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(
        max_workers=min(workers, len(jobs)),
        mp_context=context,
        initializer=_follow_parent,
        initargs=(os.getpid(),),
    ) as pool:
        try:
            yield from pool.map(_deliver, jobs, [epoch] * len(jobs), chunksize=4)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def usable_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def _deliver(job: Job, epoch: int) -> Delivered | WinseedError:
    try:
        delivered = deliver_host(job.plan, job.target, epoch=epoch)
        rehearsal = rehearse_plan(job.plan, job.target, windows=job.windows)
    except WinseedError as error:
        return error
    return dataclasses.replace(delivered, rehearsal=rehearsal)


def _follow_parent(parent: int) -> None:
    """Ctrl-C belongs to the parent: a worker finishes the disc it is writing, and ends with it.

    Without the parent it would wait for work for ever: its siblings hold the queue open.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    never = threading.Event()
    while os.getppid() == parent:
        never.wait(ORPHAN_CHECK)
    os._exit(1)  # a draft on disk has no name yet
