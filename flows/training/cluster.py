"""The Dask workers of a training: one for each process, with a GPU each where there are any."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from distributed import Client

from flows.execution.dask_cluster import open_cluster, show_dashboard
from flows.settings.pretrain import PretrainSettings
from models.errors import UserError
from pipeline.clusters.kind import ClusterUnavailable, local_cluster
from pipeline.clusters.settings import ClusterSettings
from pipeline.clusters.tls import security_of


def training_cluster(settings: PretrainSettings) -> AbstractContextManager[Client]:
    """A Dask client for the length of a `with` block, with at least as many workers as processes.

    The workers are those of the cluster that the settings name, or start on this machine: by
    dask-cuda where several processes are to have a GPU each.

    Raises:
        UserError: There are fewer GPUs than processes, or as `open_cluster` raises.
    """
    cluster, count = settings.cluster, settings.processes
    if cluster.kind == "address":
        return open_cluster(cluster)
    if cluster.remote:
        return _asked_workers(count, cluster)
    if count == 1:
        return open_cluster(ClusterSettings(threads=1))
    if settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available()):
        return _gpu_workers(count, cluster)
    # The processes are beside the workers, whose memory is then small.
    workers = cluster.workers or count
    own = cluster.model_copy(update={"kind": "local", "workers": workers, "threads": 1})
    return open_cluster(own)


@contextmanager
def _asked_workers(count: int, settings: ClusterSettings) -> Iterator[Client]:
    """As many workers as processes, with a GPU if the settings ask for encoders; they stay."""
    encoders = max(count, settings.encoders) if settings.encoders else 0
    workers = 1 if encoders else max(count, settings.workers or 1)
    fixed = {"most_workers": None, "most_encoders": None}
    sizes = {"workers": workers, "encoders": encoders, **fixed}
    with open_cluster(settings.model_copy(update=sizes)) as client:
        try:
            client.wait_for_workers(workers + encoders, timeout=60 * settings.wait_minutes)
        except TimeoutError:
            raise ClusterUnavailable(
                f"{count} processes need as many workers, and they did not come in "
                f"{settings.wait_minutes:g} minutes (wait_minutes). Look at the queue."
            ) from None
        yield client


@contextmanager
def _gpu_workers(count: int, settings: ClusterSettings) -> Iterator[Client]:
    gpus = torch.cuda.device_count()
    if gpus < count:
        raise UserError(
            f"{count} processes on GPUs",
            f"this machine has {gpus}" if gpus else "this machine has none that torch can use",
            "Ask for as many processes as there are GPUs, give a cluster's address, or say "
            "--device cpu",
        )
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        raise UserError(
            f"{count} processes on GPUs",
            "dask-cuda, which gives each worker its own, is not installed",
            "pip install 'timesen[gpu]'",
        ) from None
    with local_cluster(
        LocalCUDACluster,
        dashboard=settings.dashboard,
        n_workers=count,
        threads_per_worker=1,
        host="127.0.0.1",
        security=security_of(settings),
    ) as (_, client):
        if settings.dashboard:
            show_dashboard(client)
        yield client
