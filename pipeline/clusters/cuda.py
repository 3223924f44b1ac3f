"""The cluster of kind "cuda": dask-cuda's workers with a GPU each, beside processes that read."""

import contextlib
import ctypes
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.files.process_mark import mark_semaphores
from pipeline.clusters.groups import GroupFields, WorkerGroup, groups_of, require_package
from pipeline.clusters.kind import ClusterError, Workers, local_cluster
from pipeline.clusters.own_card import cards_at_hand, visible_cards
from pipeline.clusters.tls import security_of

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

_DRIVER = "libnvidia-ml.so.1"
_MOST_THREADS = 4  # of a reader: more share one interpreter and one memory
_GIVEN = "a cluster of kind cuda"
_REMEDY = 'Install NVIDIA\'s driver, or take kind = "local", which encodes on CPUs, too'


class CudaCluster:
    """Processes of this machine: one for each GPU, and readers on the cores that are left."""

    remote = False

    def workers(self, settings: GroupFields, cores: int, memory: int) -> Workers:
        """As the settings say, else a GPU each, and readers as cores and memory allow."""
        readers, *encoders = cuda_groups(settings, cards_at_hand(), cores, memory)
        number = sum(group.most for group in encoders)
        return Workers(readers.most, readers.threads, readers.memory, "memory_limit", number)

    def require(self) -> None:
        """Raise ClusterError without dask-cuda, or without a driver of NVIDIA's."""
        try:
            ctypes.CDLL(_DRIVER)
        except OSError:
            raise ClusterError(
                _GIVEN, f"this machine has no driver of NVIDIA's ({_DRIVER})", _REMEDY
            ) from None
        require_package("cuda", "dask_cuda", "gpu")

    @contextlib.contextmanager
    def open(self, settings: GroupFields) -> "Iterator[Client]":
        """Start the processes; they end with the block."""
        self.require()
        from dask.system import CPU_COUNT
        from distributed.system import MEMORY_LIMIT

        cards = cards_at_hand()
        readers, *encoders = cuda_groups(settings, cards, CPU_COUNT, MEMORY_LIMIT)
        if not encoders or encoders[0].most > cards:
            wanted = encoders[0].most if encoders else "no"
            raise ClusterError(
                f"{wanted} encoders",
                f"PyTorch finds {cards or 'no'} GPU here",
                _REMEDY if not cards else f"Give encoders = {cards} or fewer, and 1 at least",
            )
        from dask_cuda import LocalCUDACluster
        from pynvml import NVMLError

        mark_semaphores()
        kind, options = cuda_specification(settings, readers, encoders[0], LocalCUDACluster)
        options["CUDA_VISIBLE_DEVICES"] = visible_cards(cards)[: encoders[0].most]
        options["device_memory_limit"] = None  # nothing that Dask keeps is on a GPU
        try:
            with local_cluster(kind, dashboard=settings.dashboard, **options) as (_, client):
                yield client
        except NVMLError as error:
            raise ClusterError(_GIVEN, f"NVIDIA's driver says: {error}", _REMEDY) from None


def cuda_groups(
    settings: GroupFields, cards: int, cores: int, memory: int
) -> tuple[WorkerGroup, ...]:
    """The readers and the encoders, on a machine of so many GPUs, cores and bytes of memory."""
    readers, *encoders = groups_of(settings, cards)
    number = sum(group.most for group in encoders)
    threads = settings.threads or min(cores, _MOST_THREADS)
    left = memory - sum(group.memory * group.most for group in encoders)
    count = settings.workers or max(1, min((cores - number) // threads, left // readers.memory))
    offered = dict.fromkeys(readers.resources, threads)
    sized = replace(readers, least=count, most=count, threads=threads, resources=offered)
    return (sized, *encoders)


def cuda_specification(
    settings: GroupFields, readers: WorkerGroup, encoders: WorkerGroup, kind: "type[LocalCluster]"
) -> "tuple[type[LocalCluster], dict[str, Any]]":
    """A kind of cluster that has the readers beside `kind`'s own workers, and its options.

    `kind` gives each of its own workers a GPU: dask-cuda's `LocalCUDACluster`.
    """
    from pipeline.clusters.nanny import PatientNanny, preloads, with_readers

    security = security_of(settings)
    both = {"host": "127.0.0.1", "preload": preloads()}
    secret = {} if security is None else {"protocol": "tls://", "security": security}
    beside = {
        "nthreads": readers.threads,
        "memory_limit": readers.memory,
        "resources": readers.resources,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": 40,
    }
    own = {
        "n_workers": encoders.most,
        "threads_per_worker": encoders.threads,
        "memory_limit": encoders.memory,
        "resources": encoders.resources,
        "worker_class": PatientNanny,
    }
    return with_readers(kind, readers.most, beside | both | secret), own | both | secret
