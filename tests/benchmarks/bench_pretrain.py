"""Pretraining: whether reading ever limits it, and what a second process gives.

`python -m tests.benchmarks.bench_pretrain`; about three minutes on two cores. Writes
tests/benchmarks/results/pretrain.md.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from statistics import median

import torch

from flows.execution.dask_cluster import open_cluster
from flows.settings.pretrain import PretrainSettings
from flows.training.batches import training_batches
from flows.training.process_group_launcher import run_job
from flows.training.process_group_worker_task import Job
from flows.training.training_plan import work_of
from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.pretraining.batch import Batch
from models.pretraining.recipe import Recipe
from models.pretraining.trainer import Pretraining
from pipeline.clusters.settings import ClusterSettings
from pipeline.training_set.mixture import SetMixture
from tests.training_sets import made_set

RESULT = Path(__file__).parent / "results" / "pretrain.md"
COMMAND = "python -m tests.benchmarks.bench_pretrain"
_POINTS, _VIEWS, _DIM, _SHARD = 12_000, 4, 512, 1_000
_TURNS, _SECONDS = 5, 2.5  # that each way is measured in, and that a turn takes at least
_SCALING_STEPS, _SCALING_BATCH, _SCALING_TURNS = 20, 64, 2


@dataclass(frozen=True)
class Sizes:
    """An encoder and a batch that are trained with."""

    name: str
    encoder: TimeSenClipArchitecture
    batch: int


SIZES = (
    Sizes("the paper's", TimeSenClipArchitecture(embedding_dim=_DIM), 64),
    Sizes(
        "two layers of 64, which waits for input sooner",
        TimeSenClipArchitecture(dim=64, depth=2, heads=4, feedforward=64, embedding_dim=_DIM),
        512,
    ),
)


def beside_fixed(data: SetMixture, sizes: Sizes) -> tuple[list[float], list[float]]:
    """Points per second, turn by turn: fed with one fixed batch, and with the training set's."""
    recipe = Recipe(batch=sizes.batch, steps=100_000)
    training = Pretraining(recipe, AUTHORS, sizes.encoder, torch.device("cpu"))
    fixed, read = [], []
    with closing(training_batches(data, recipe, 0)) as batches:
        given = next(batches)
        steps = _steps(training, repeat(given))
        for turn in range(_TURNS + 1):
            one, other = (
                _rate(training, source, steps, sizes.batch) for source in (repeat(given), batches)
            )
            if turn:  # the first is slow
                fixed.append(one)
                read.append(other)
    return fixed, read


def _steps(training: Pretraining, batches: Iterator[Batch]) -> int:
    """The number of steps that take about as long as a turn."""
    training.step(next(batches))
    began = time.perf_counter()
    training.step(next(batches))
    return max(3, round(_SECONDS / (time.perf_counter() - began)))


def _rate(training: Pretraining, batches: Iterator[Batch], steps: int, batch: int) -> float:
    began = time.perf_counter()
    for _ in range(steps):
        training.step(next(batches))
    return steps * batch / (time.perf_counter() - began)


def on_processes(count: int, dataset: Path, folder: Path) -> float:
    """Points per second of a pretraining on Dask's workers of one thread, without their start."""
    settings = PretrainSettings.model_validate(
        {
            "dataset": str(dataset),
            "out": str(folder / "made"),
            "recipe": {"steps": _SCALING_STEPS, "batch": _SCALING_BATCH},
            "processes": count,
            "device": "cpu",
        },
    )
    work = work_of(settings)
    work.run.open(work.facts)
    job = Job("flows.cli.pretrain_worker", settings.model_dump_json(), count, threads=1)
    with open_cluster(ClusterSettings(kind="local", workers=count, threads=1)) as client:
        run_job(client, job, lambda message: None)
    lines = map(json.loads, work.run.store.read("metrics.jsonl").splitlines())
    return median([line["points_per_second"] for line in lines if "loss" in line][1:])


def document(
    fed: dict[str, tuple[list[float], list[float]]], scaling: dict[int, list[float]]
) -> str:
    """The results as Markdown."""
    lines = [
        "# Pretraining",
        "",
        f"Written by `{COMMAND}` on {platform.machine()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, without a GPU. {_POINTS:,} points of {_VIEWS} ground views of "
        f"{_DIM} numbers, in {_POINTS // _SHARD} shards on a disk; the recipe's defaults (memory "
        "bank of 2048, TSMixAug).",
        "",
        "## Reading beside training",
        "",
        "The same step, fed with one fixed batch and with the training set's batches, in turns; "
        "ratios are of the two in a turn. All cores train, and reading takes its time from them.",
        "",
        "| encoder | batch | fixed batch, points/s | training set, points/s | ratio (lowest) |",
        "|---|---:|---:|---:|---:|",
    ]
    for sizes in SIZES:
        fixed, read = fed[sizes.name]
        ratios = [other / one for one, other in zip(fixed, read, strict=True)]
        lines.append(
            f"| {sizes.name} | {sizes.batch} | {median(fixed):,.0f} | {median(read):,.0f} | "
            f"{median(ratios):.2f} ({min(ratios):.2f}) |"
        )
    first = scaling[1]
    lines += [
        "",
        "## From one process to two",
        "",
        f"Whole pretrainings of the paper's encoder on Dask's workers, batch {_SCALING_BATCH} over "
        "all processes, a thread each, gloo between them; in turns.",
        "",
        "| processes | points/s (median) | ratio to one |",
        "|---:|---:|---:|",
    ]
    for count, rates in scaling.items():
        ratio = median(own / one for own, one in zip(rates, first, strict=True))
        lines.append(f"| {count} | {median(rates):,.1f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _say("The training set …")
        dataset = folder / "set"
        made_set(str(dataset), train=_POINTS, held_out=0, views=_VIEWS, dim=_DIM, shard_rows=_SHARD)
        data = SetMixture.open([str(dataset)])
        fed = {}
        for sizes in SIZES:
            _say(f"Training {sizes.name} …")
            fed[sizes.name] = beside_fixed(data, sizes)
        scaling: dict[int, list[float]] = {1: [], 2: []}
        for turn in range(_SCALING_TURNS):
            for count, rates in scaling.items():
                _say(f"Processes: {count} …")
                rates.append(on_processes(count, dataset, folder / f"{turn}-{count}"))
    result = document(fed, scaling)
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(result)
    print(result)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
