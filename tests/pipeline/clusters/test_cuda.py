"""The kind "cuda" on a machine without a GPU: its sizes, its processes, and what it says."""

import os

import pytest
import torch
from distributed import LocalCluster

from pipeline.clusters.cuda import CudaCluster, cuda_groups, cuda_specification
from pipeline.clusters.kind import ClusterError, local_cluster
from pipeline.clusters.settings import ClusterSettings

GB = 10**9


def _visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(
    ("settings", "readers", "encoders"),
    [
        ({}, (7, 4), 2),
        ({"workers": 5, "threads": 1}, (5, 1), 2),
        ({"encoders": 1, "encoder_memory": "110GB"}, (6, 4), 1),
        ({"threads": 2}, (15, 2), 2),
    ],
)
def test_readers_and_encoders_are_sized_apart(
    settings: dict[str, object], readers: tuple[int, int], encoders: int
) -> None:
    asked = ClusterSettings(kind="cuda", **settings)
    first, second = cuda_groups(asked, cards=2, cores=32, memory=128 * GB)
    assert (first.most, first.threads) == readers
    assert first.resources == {"CPU": first.threads}
    assert (second.most, second.threads, second.resources) == (encoders, 4, {"GPU": 1})


def test_readers_beside_encoders_that_alone_encode() -> None:
    """dask-cuda's cluster is one of Dask's own with a GPU for each worker: here, without."""
    settings = ClusterSettings(
        kind="cuda", workers=2, threads=1, memory_limit="1GB", encoder_memory="2GB"
    )
    readers, encoders = cuda_groups(settings, cards=1, cores=4, memory=8 * GB)
    kind, options = cuda_specification(settings, readers, encoders, LocalCluster)
    with local_cluster(kind, **options) as (_, client):
        workers = client.scheduler_info(n_workers=-1)["workers"]
        sizes = {
            str(worker["id"]): (worker["nthreads"], worker["memory_limit"], worker["resources"])
            for worker in workers.values()
        }
        visible = client.run(_visible)
    assert sizes == {
        "0": (4, 2 * GB, {"GPU": 1}),
        "reader-0": (1, GB, {"CPU": 1}),
        "reader-1": (1, GB, {"CPU": 1}),
    }
    hidden = {str(workers[place]["id"]): cards for place, cards in visible.items()}
    assert hidden["reader-0"] == hidden["reader-1"] == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu() -> None:
    with (
        pytest.raises(ClusterError, match=r"no driver of NVIDIA's|PyTorch finds no GPU here"),
        CudaCluster().open(ClusterSettings(kind="cuda")),
    ):
        raise AssertionError


def test_what_nvidias_library_says_becomes_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose driver is there and answers nothing."""
    pytest.importorskip("dask_cuda", reason="dask-cuda, the extra gpu, is not installed")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(CudaCluster, "require", lambda self: None)
    monkeypatch.setattr("pipeline.clusters.cuda.cards_at_hand", lambda: 1)
    with (
        pytest.raises(ClusterError, match="NVIDIA's driver says: NVML Shared Library Not Found"),
        CudaCluster().open(ClusterSettings(kind="cuda")),
    ):
        raise AssertionError
