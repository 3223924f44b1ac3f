"""The cluster of kind "threads": one worker in this process."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.clusters.kind import ClusterFields, Workers, local_cluster

if TYPE_CHECKING:
    from distributed import Client


class ThreadsCluster:
    """Threads of this process: as many as the settings say, or as there are cores."""

    remote = False

    def workers(self, settings: ClusterFields, cores: int, memory: int) -> Workers:
        """One worker: this process."""
        return Workers(1, settings.threads or cores, memory)

    def require(self) -> None:
        """Nothing that timesen has not."""

    @contextlib.contextmanager
    def open(self, settings: ClusterFields) -> "Iterator[Client]":
        """Start the worker in this process; where the block fails, its threads are left behind."""
        from dask.system import CPU_COUNT

        threads = settings.threads or CPU_COUNT
        with local_cluster(
            n_workers=1,
            threads_per_worker=threads,
            processes=False,
            memory_limit=None,
            dashboard=settings.dashboard,
        ) as (cluster, client):
            try:
                yield client
            except BaseException:  # a thread cannot be stopped: leave it behind, do not wait
                for worker in cluster.workers.values():
                    cluster.sync(worker.close, executor_wait=False)
                raise
