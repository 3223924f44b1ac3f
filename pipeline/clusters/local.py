"""The cluster of kind "local": worker processes of this machine."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from models.files.process_mark import mark_semaphores
from pipeline.clusters.groups import GroupFields
from pipeline.clusters.kind import Workers, local_cluster
from pipeline.clusters.own_card import cards_at_hand, preload
from pipeline.clusters.tls import security_of

if TYPE_CHECKING:
    from distributed import Client

_MOST_THREADS = 4  # of a worker: more share one encoder, one interpreter and one memory


class ProcessesCluster:
    """Processes of this machine, each with a limit of memory.

    By default a worker has up to 4 threads, and there are as many workers as the cores and the
    memory allow. With GPUs, the first workers encode, each on its own.
    """

    remote = False

    def workers(self, settings: GroupFields, cores: int, memory: int) -> Workers:
        """As the settings say, else as many as cores and memory allow."""
        from dask.utils import parse_bytes

        limit = parse_bytes(settings.memory_limit)
        if settings.workers:
            count, threads = settings.workers, max(1, cores // settings.workers)
            return Workers(count, settings.threads or threads, limit, "memory_limit")
        threads = settings.threads or min(cores, _MOST_THREADS)
        count = max(1, min(cores // threads, int(memory // limit)))
        return Workers(count, threads, limit, "memory_limit")

    def require(self) -> None:
        """Nothing that timesen has not."""

    @contextlib.contextmanager
    def open(self, settings: GroupFields) -> "Iterator[Client]":
        """Start the processes; they end with the block."""
        from dask.system import CPU_COUNT
        from distributed.system import MEMORY_LIMIT

        from pipeline.clusters.nanny import PatientNanny, preloads

        workers, cards = self.workers(settings, CPU_COUNT, MEMORY_LIMIT), cards_at_hand()
        mark_semaphores()
        with local_cluster(
            dashboard=settings.dashboard,
            n_workers=workers.count,
            threads_per_worker=workers.threads,
            processes=True,
            worker_class=PatientNanny,
            host="127.0.0.1",
            memory_limit=workers.memory,
            security=security_of(settings),
            preload=preloads(*([preload(cards)] if cards else [])),
        ) as (_, client):
            yield client
