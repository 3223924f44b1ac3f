"""The Dask workers of a training: one for each process, with a GPU each where there are any."""

import contextlib
from collections.abc import Iterator

import torch
from distributed import Client

from flows.execution.dask_cluster import open_cluster
from flows.settings.pretrain import PretrainSettings
from models.errors import UserError
from pipeline.clusters.settings import ClusterSettings


@contextlib.contextmanager
def training_cluster(settings: PretrainSettings) -> Iterator[Client]:
    """A Dask client for the length of the block, with at least as many workers as processes.

    The workers are those of the cluster that the settings name, or start on this machine: by
    dask-cuda where several processes are to have a GPU each.

    Raises:
        UserError: There are fewer GPUs than processes, or as `open_cluster` raises.
    """
    cluster, count = settings.cluster, settings.processes
    if not cluster.remote:
        if count == 1:
            cluster = ClusterSettings(threads=1)
        elif settings.device != "cpu" and (settings.device == "cuda" or torch.cuda.is_available()):
            with _gpu_workers(count) as client:
                yield client
            return
        else:
            # The processes are beside the workers, whose memory is then small.
            cluster = ClusterSettings(kind="local", workers=cluster.workers or count, threads=1)
    with open_cluster(cluster) as client:
        yield client


@contextlib.contextmanager
def _gpu_workers(count: int) -> Iterator[Client]:
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
    with LocalCUDACluster(n_workers=count, threads_per_worker=1) as cluster, Client(cluster) as c:
        yield c
