"""Part F: a two-month median mosaic over many granules in a worker with a memory limit.

`python -m tests.benchmarks.reading_mosaic WAY JOB OUT` makes one (`mosaic_ways`), the mosaic in
OUT (npy), and prints what it took as JSON.
"""

import json
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import Client, KilledWorker, LocalCluster
from distributed.core import Status

from tests.benchmarks.mosaic_ways import MOSAIC_WAYS, MosaicFile
from tests.benchmarks.reading_archive import BAND_ASSETS, SIDE, Archives, cell_of
from tests.benchmarks.reading_job import (
    THREADS,
    in_own_process,
    make_job,
    read_job,
    say,
    write_json,
)
from tests.nginx import Nginx

LIMIT = "3GB"
CAP = 200.0  # seconds
_EVERY = 0.1  # seconds between looks at the worker


@dataclass
class Watched:
    """A worker's use: bytes of memory and on disk at most, seconds paused.

    Its processes are those that were started for it, one after the other; the first is no death.
    """

    peak: int = 0
    spilled: int = 0
    paused: float = 0.0
    processes: set[int] = field(default_factory=set)

    def look(self, cluster: LocalCluster) -> None:
        for nanny in cluster.workers.values():
            if nanny.pid is None:
                continue
            self.processes.add(nanny.pid)
            try:
                self.peak = max(self.peak, psutil.Process(nanny.pid).memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        assert cluster.scheduler is not None
        for worker in list(cluster.scheduler.workers.values()):
            on_disk = worker.metrics.get("spilled_bytes", {}).get("disk", 0)
            self.spilled = max(self.spilled, on_disk)
            self.paused += _EVERY * (worker.status == Status.paused)


def mosaic_section(archives: Archives, server: Nginx, _repeats: int) -> str:
    """Part F."""
    rows, results = [], {}
    for side in (1, SIDE):
        for way in MOSAIC_WAYS:
            done = _mosaic(archives, server.address, side, way)
            results[side, way] = done
            rows.append(
                f"| {side * 2048}² | {way} | {done['state']} | {done['seconds']:.0f} "
                f"| {done['peak'] / 1e9:.2f} GB | {done['spilled'] / 1e9:.2f} GB "
                f"| {done['paused']:.0f} | {done['deaths']} |"
            )
        if results[side, "timesen"]["state"] == results[side, "stackstac"]["state"] == "done":
            _require_equal(archives, side)
    lines = "\n".join(rows)
    granules = results[SIDE, "timesen"]["items"]
    return f"""## F. A two-month median mosaic in a worker of {LIMIT}

Ten bands at 10 m, masked by the scene classification, median of ten dates; {SIDE**2} granules side
by side at {SIDE * 2048}² ({granules} items). One Dask worker process, {THREADS} threads, a memory
limit of {LIMIT} (Dask's own thresholds: it spills from 60 %, pauses at 80 %, is killed at 95 %),
{CAP:.0f} s at most. stackstac as notebooks use it: `stack` of all items, `where`, `median("time")`,
stored chunk by chunk. Ours: the pipeline's tasks, cell by cell, two cells at once. Where both come
to an end the mosaics agree. "Spilled" is the most that was on disk at once.

| area | way | | seconds | peak memory | spilled | paused, s | deaths |
|---|---|---|---:|---:|---:|---:|---:|
{lines}
"""


def _mosaic(archives: Archives, address: str, side: int, way: str) -> dict[str, Any]:
    size = side * 2048
    area = cell_of(2048)
    area = type(area)(area.tile, 0, 0, area.row_offset, area.column_offset, size, size)
    everything = archives.items(archives.wide, address)
    items = [item for item in everything if side > 1 or "/wide/0/" in str(item["assets"])]
    with tempfile.TemporaryDirectory() as name:
        out = _file(archives, side, way)
        job = make_job(items, archives.items(archives.copies, address)[:2], area)
        file = write_json(Path(name) / "job.json", job)
        done = in_own_process("reading_mosaic", way, file, out)
    say(f"  {size}² by {way}: {done['state']}, {done['seconds']:.1f} s")
    return done | {"items": len(items)}


def _file(archives: Archives, side: int, way: str) -> Path:
    return archives.root / f"mosaic-{side}-{way}.npy"


def _require_equal(archives: Archives, side: int) -> None:
    """Raise RuntimeError where the two mosaics differ by more than a rounding."""
    ours, theirs = (np.load(_file(archives, side, way), mmap_mode="r") for way in MOSAIC_WAYS)
    for band, a, b in zip(BAND_ASSETS, ours, theirs, strict=True):
        apart = int(np.abs(a.astype(np.int32) - b).max())
        if apart > 1:
            raise RuntimeError(f"{band} of the two mosaics is up to {apart} DN apart")


def main(way: str, path: Path, out: Path) -> None:
    """Make a mosaic and print its cost."""
    job, file = read_job(path), MosaicFile(out)
    watched = Watched()
    # A worker that is out of memory may not end when it is told to; it ends with this process.
    with suppress(TimeoutError), _cluster() as (cluster, client):
        for made in (job.warming, job):
            file.create(made.cell)
            began = time.perf_counter()
            with _watching(watched if made is job else Watched(), cluster):
                state = _state(MOSAIC_WAYS[way](made, client, file))
            seconds = time.perf_counter() - began
    outcome = vars(watched) | {"deaths": len(watched.processes) - 1, "processes": None}
    print(json.dumps(outcome | {"state": state, "seconds": seconds}))


def _state(run: Any) -> str:
    try:
        run(CAP)
    except TimeoutError:
        return f"not finished in {CAP:.0f} s"
    except KilledWorker:
        return "given up: its worker was killed again and again"
    return "done"


@contextmanager
def _cluster() -> Iterator[tuple[LocalCluster, Client]]:
    with (
        tempfile.TemporaryDirectory(prefix="mosaic-", ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=1, threads_per_worker=THREADS, memory_limit=LIMIT, dashboard_address=None,
            local_directory=folder, silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield cluster, client


@contextmanager
def _watching(watched: Watched, cluster: LocalCluster) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            watched.look(cluster)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
