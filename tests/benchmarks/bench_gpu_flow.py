"""Four cells of 2048² mapped with one GPU worker and 15 reading cores: how busy the card is.

`python -m tests.benchmarks.bench_gpu_flow [--workers 16]`, on a machine with CUDA and the whole
project. The encoder has the paper's size and random weights, the archive is that of `bench_cell`,
on this machine's disk. Prints the seconds of all workers by stage, and which stage holds it up.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from flows.execution.dask_cluster import open_cluster
from pipeline.clusters.settings import ClusterSettings
from pipeline.mapping.cell_graph import cell_graph
from pipeline.raster.read_stats import total_stats
from tests.benchmarks import archive
from tests.benchmarks.cells import prepare, write_paper_checkpoint

CELLS, SIZE = 4, 2048


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=16, help="processes: one encodes, all read")
    workers = parser.parse_args().workers
    if not torch.cuda.is_available():
        raise SystemExit("this machine has no CUDA GPU that PyTorch can use")
    cluster = ClusterSettings(kind="local", workers=workers, threads=1, memory_limit="8GB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_paper_checkpoint(folder / "checkpoint")
        made = archive.write_archive(folder / "archive")
        # A run each, since Dask would compute equal cells of one run once.
        first, *jobs = (
            prepare(made, folder / f"run-{number}", str(folder / "checkpoint"), SIZE)
            for number in range(CELLS + 1)
        )
        with open_cluster(cluster) as client:
            client.compute(cell_graph(first.cell, first.items, first.run, gpu=True)).result()
            began = time.perf_counter()
            graphs = [cell_graph(job.cell, job.items, job.run, gpu=True) for job in jobs]
            reports = client.gather(client.compute(graphs))
            passed = time.perf_counter() - began
    spent = total_stats(report.stats for report in reports).seconds
    pixels = CELLS * SIZE**2
    busy = spent["encode"] + spent["classify"]
    print(f"{torch.cuda.get_device_name()}, {workers} processes of one thread")
    print(f"{CELLS} cells of {SIZE}², {passed:.1f} s: {pixels / passed / 1e6:.2f} Mpx/s")
    print(f"the card is busy {busy / passed:.0%} of the time")
    for stage, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        shared = 1 if stage in ("prepare", "encode", "classify") else workers
        print(
            f"{stage:10s} {seconds:8.1f} s, {seconds / shared / passed:4.0%} of its workers' time"
        )


if __name__ == "__main__":
    main()
