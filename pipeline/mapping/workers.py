"""The workers of a run, known before they run: how many, their threads, memory and cells."""

from dataclasses import dataclass

from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed.system import MEMORY_LIMIT

from pipeline.settings.sections import ClusterSettings

_MOST_THREADS = 4  # of a worker process: more share one encoder, one interpreter and one memory


@dataclass(frozen=True)
class Workers:
    """`count` workers of `threads` threads each.

    `memory` is what one may take, in bytes: None on machines that this one cannot see. `shared`
    says whether all of them share this machine's cores.
    """

    count: int
    threads: int
    memory: int | None
    shared: bool = True


def workers_of(
    settings: ClusterSettings, cores: int = CPU_COUNT, memory: int = MEMORY_LIMIT
) -> Workers:
    """The workers that the settings lead to on a machine of so many cores and bytes of memory.

    - `threads`: this process, with the threads asked for, or as many as there are cores.
    - `local`: the processes and threads asked for; by default up to 4 threads a worker, and as
      many workers as the cores and the memory allow.
    - `address`: what runs there is not known here: workers like this machine, of the number and
      the threads that the settings say, else one with this machine's cores.
    """
    if settings.kind == "threads":
        return Workers(1, settings.threads or cores, memory)
    if settings.kind == "address":
        return Workers(settings.workers or 1, settings.threads or cores, None, shared=False)
    limit = parse_bytes(settings.memory_limit)
    if settings.workers:
        threads = settings.threads or max(1, cores // settings.workers)
        return Workers(settings.workers, threads, limit)
    threads = settings.threads or min(cores, _MOST_THREADS)
    fitting = int(memory // limit)
    return Workers(max(1, min(cores // threads, fitting)), threads, limit)


def cells_in_flight(settings: ClusterSettings, workers: int) -> int:
    """How many cells to keep submitted: the user's number, else 2 and one more a worker."""
    return settings.cells_in_flight or 2 + workers
