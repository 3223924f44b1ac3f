"""The cluster of kind "local": worker processes of this machine."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from models.files.process_mark import mark_semaphores
from models.option import Option
from pipeline.clusters.kind import Workers, local_cluster
from pipeline.clusters.own_card import cards_at_hand, preload
from pipeline.clusters.tls import TlsFields, security_of

if TYPE_CHECKING:
    from distributed import Client

_LEAST_MEMORY = 2**28  # bytes; a worker that has only imported what it needs takes more
_MOST_THREADS = 4  # of a worker: more share one encoder, one interpreter and one memory
# Ctrl-C reaches all processes of a terminal; only the run's own process may answer it.
_LEAVE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


class LocalFields(TlsFields):
    """The settings that only local workers have."""

    memory_limit: Annotated[str, Option(metavar="BYTES")] = Field(
        "3GB", description="memory of a worker process (local)"
    )

    @field_validator("memory_limit")
    @classmethod
    def _enough_memory(cls, value: str) -> str:
        from dask.utils import parse_bytes  # takes longer than all else of this file

        try:
            enough = parse_bytes(value) >= _LEAST_MEMORY
        except ValueError:
            enough = False
        if not enough:
            raise ValueError(f"no worker could run in {value!r}; write an amount as 3GB")
        return value


class ProcessesCluster:
    """Processes of this machine, each with a limit of memory.

    By default a worker has up to 4 threads, and there are as many workers as the cores and the
    memory allow. With GPUs, the first workers encode, each on its own.
    """

    remote = False

    def workers(self, settings: LocalFields, cores: int, memory: int) -> Workers:
        """As the settings say, else as many as cores and memory allow."""
        from dask.utils import parse_bytes

        limit = parse_bytes(settings.memory_limit)
        if settings.workers:
            count, threads = settings.workers, max(1, cores // settings.workers)
            return Workers(count, settings.threads or threads, limit, "memory_limit")
        threads = settings.threads or min(cores, _MOST_THREADS)
        count = max(1, min(cores // threads, int(memory // limit)))
        return Workers(count, threads, limit, "memory_limit")

    @contextlib.contextmanager
    def open(self, settings: LocalFields) -> "Iterator[Client]":
        """Start the processes; they end with the block."""
        import dask
        from dask.system import CPU_COUNT
        from distributed import Nanny
        from distributed.system import MEMORY_LIMIT

        class PatientNanny(Nanny):  # here, since Dask takes long to import
            async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
                # The process is killed by then; on a busy machine it is gone only later.
                with contextlib.suppress(TimeoutError):
                    await super().kill(timeout=timeout, reason=reason)

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
            preload=[
                *dask.config.get("distributed.worker.preload"),
                _LEAVE_INTERRUPTS,
                *([preload(cards)] if cards else []),
            ],
        ) as (_, client):
            yield client
