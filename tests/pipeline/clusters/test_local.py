"""Worker processes of this machine, started and ended for real."""

import asyncio
import multiprocessing
import time

import psutil
import pytest
from distributed import LocalCluster

from pipeline.clusters import kind
from pipeline.clusters.kind import local_cluster
from pipeline.clusters.local import ProcessesCluster
from pipeline.clusters.settings import ClusterSettings


def test_a_worker_that_ends_too_late_ends_no_run() -> None:
    settings = ClusterSettings(kind="local", workers=1, threads=1)
    with ProcessesCluster().open(settings) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        (nanny,) = client.cluster.workers.values()
        client.cluster.sync(nanny.kill, timeout=0)  # as if the machine took all the time


def test_a_cluster_that_comes_to_no_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(LocalCluster):
        endless = True

        async def _close(self) -> None:
            if self.endless:
                await asyncio.Event().wait()
            await super()._close()

    monkeypatch.setattr(kind, "_CLOSING_SECONDS", 1.0)
    options = {"n_workers": 1, "threads_per_worker": 1, "host": "127.0.0.1"}
    with local_cluster(Endless, **options) as (cluster, client):
        (worker,) = client.run(lambda: multiprocessing.current_process().pid).values()
    # Asked of the system: Dask's thread waits for the process too, and of two that wait at once
    # multiprocessing tells one that the process is still alive.
    deadline = time.monotonic() + 60
    while psutil.pid_exists(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker)
    cluster.endless = False  # else Dask tries again for ten seconds when Python ends
    cluster.close()
