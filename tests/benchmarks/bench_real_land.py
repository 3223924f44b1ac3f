"""The accuracy of training by the recipe of the checkpoint `real-land` on unseen land.

`python -m tests.benchmarks.bench_real_land --work FOLDER`. Writes
tests/benchmarks/results/real-land.md. Every encoder is trained anew, by
`pipeline/real_land/recipe.toml`, without the points that it is judged by; the forest beside it on
the same points. Classes are found by words that no training sees. What a trial found is kept in
FOLDER, so that the same command goes on where it stopped.
"""

import argparse
import os
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from sklearn.ensemble import RandomForestClassifier

import pipeline.real_land
from flows.settings.pretrain import EncoderSizes
from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import AUTHORS, BANDS
from models.encoder.registry import make_architecture
from models.encoder.series_months import fill_gaps
from models.pretraining.recipe import Recipe
from pipeline.real_land.calendars import last_years
from pipeline.real_land.made_series import MADE_PER_CLASS, made_points
from pipeline.real_land.rows import drawn_rows
from pipeline.real_land.tables import LabelledPoints, joined_points, read_labelled_points
from tests.benchmarks.land_tasks import Task, class_scores
from tests.benchmarks.real_land import draw_probability, embedded, trained

RESULT = Path(__file__).parent / "results" / "real-land.md"
COMMAND = "python -m tests.benchmarks.bench_real_land"
_SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
_RECIPE = Path(pipeline.real_land.__path__[0]) / "recipe.toml"
_FOLDS, _REPEATS, _TREES = 5, 3, 500
_LEFT_OUT = {
    "rice": ("rice",),
    "vineyard": ("vineyard",),
    "wetland": ("herbaceous_wetland", "woody_wetland", "bog"),
    "forest": ("forest_tropical",),
}
_RED_EDGE = [BANDS.index(band) for band in ("B05", "B06", "B07", "B8A")]


@dataclass(frozen=True, eq=False)
class Trial:
    """A training, by the numbers of its points, and the points that it is judged by."""

    name: str
    train: np.ndarray
    judged: np.ndarray
    seed: int


@cache
def recipe_file() -> Mapping[str, Any]:
    """The shipped checkpoint's settings."""
    return tomllib.loads(_RECIPE.read_text(encoding="utf-8"))


def folds_of(points: LabelledPoints, seed: int) -> np.ndarray:
    """The fold of each point: blocks are dealt out within each place, the largest share first."""
    fold = np.zeros(len(points), np.int64)
    for number, place in enumerate(np.unique(points.places)):
        rows = np.flatnonzero(points.places == place)
        _, block, counts = np.unique(points.blocks[rows], return_inverse=True, return_counts=True)
        taken, of_block = np.zeros(_FOLDS), np.zeros(len(counts), np.int64)
        for one in np.random.default_rng([seed, number]).permutation(len(counts)):
            of_block[one] = taken.argmin()
            taken[of_block[one]] += counts[one]
        fold[rows] = of_block[block]
    return fold


def trials(points: LabelledPoints) -> Iterator[Trial]:
    """The folds; the trainings without one place; the training without some classes."""
    number = np.arange(len(points))
    for seed in range(_REPEATS):
        fold = folds_of(points, seed)
        for k in range(_FOLDS):
            yield Trial(f"fold-{seed}-{k}", number[fold != k], number[fold == k], 10 * seed + k)
    for place in dict.fromkeys(points.places):
        out = points.places == place
        yield Trial(f"without-{place}", number[~out], number[out], 100)
    gone = {name for names in _LEFT_OUT.values() for name in names}
    out = np.array([bool(classes & gone) and len(classes) < 4 for classes in points.classes])
    yield Trial("without-classes", number[~out], number[out], 101)


def judge(trial: Trial, work: Path) -> None:
    """Train without a trial's points, and keep the embeddings of these, degraded in many ways."""
    path = work / f"{trial.name}.safetensors"
    if path.exists():
        return
    torch.set_num_threads(1)
    settings = recipe_file()
    recipe = Recipe.model_validate(settings["recipe"]).model_copy(update={"seed": trial.seed})
    points, rng = read_labelled_points(_SHARED / "real"), np.random.default_rng(trial.seed)
    train = joined_points([points.take(trial.train), made_points(MADE_PER_CLASS, rng)])
    if trial.name == "without-classes":
        gone = {name for names in _LEFT_OUT.values() for name in names}
        train = train.take(np.array([not classes & gone for classes in train.classes]))
    rows = drawn_rows(train, rng)
    probability = draw_probability(
        rows.points.places, rows.points.labels, float(settings["balance_exponent"])
    )
    card = load_checkpoint("sample").card
    sizes = EncoderSizes.model_validate(settings["encoder"]).model_dump(exclude_unset=True)
    architecture = make_architecture({**sizes, "bands": len(BANDS), "embedding_dim": 384})
    encoder = trained(rows, probability, recipe, AUTHORS, architecture, card)
    series = last_years(points.take(trial.judged))
    found = {
        name: embedded(encoder, AUTHORS, changed, steps).astype(np.float16)
        for name, (changed, steps) in _degraded(series, trial.seed).items()
    }
    part = path.with_suffix(".part")
    part.write_bytes(safetensors.numpy.save(found))
    part.rename(path)


def _degraded(series: np.ndarray, seed: int) -> dict[str, tuple[np.ndarray, int]]:
    """Series, and the number of steps T, by the name of what is done to them."""
    rng = np.random.default_rng(seed)
    order = rng.uniform(size=series.shape[:2]).argsort(axis=1).argsort(axis=1)
    fewer = series.copy()
    fewer[..., _RED_EDGE] = 0
    return {
        "T = 12": (series, 12),
        "T = 4": (series, 4),
        "T = 1": (series, 1),
        "3 months missing": (np.where((order < 3)[..., None], 0, series).astype(np.uint16), 12),
        "6 months missing": (np.where((order < 6)[..., None], 0, series).astype(np.uint16), 12),
        "no B8A, no red edge": (fewer, 12),
    }


def forest(points: LabelledPoints, trial: Trial, task: Task, work: Path) -> np.ndarray:
    """A random forest's classes of a trial's points, trained on its others: int64 (n,)."""
    path = work / f"{trial.name}-{task.tables[0]}.npy"
    if not path.exists():
        whole = fill_gaps(torch.from_numpy(last_years(points).astype(np.float32))).numpy()
        x, y = whole.reshape(len(points), -1), task.targets(points)
        known = trial.train[y[trial.train] >= 0]
        model = RandomForestClassifier(_TREES, random_state=trial.seed).fit(x[known], y[known])
        asked = trial.judged[y[trial.judged] >= 0]
        np.save(path, model.predict(x[asked]))
    return np.asarray(np.load(path))


def found_by_words(
    points: LabelledPoints, trial: Trial, task: Task, work: Path, way: str = "T = 12"
) -> np.ndarray:
    """The classes by held-out words of a trial's points of a task: int64 (n,)."""
    asked = task.targets(points)[trial.judged] >= 0
    embeddings = safetensors.numpy.load_file(work / f"{trial.name}.safetensors")[way][asked]
    return scores_of(embeddings, task).argmax(axis=1)


def scores_of(embeddings: np.ndarray, task: Task) -> np.ndarray:
    """Cosines to the held-out words of a task's classes: float32 (n, class)."""
    words = [one.held_out_members for one in task.classes]
    return class_scores(embeddings, words, load_checkpoint("sample").card)


def main() -> None:
    """Train, judge, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--work", type=Path, required=True, help="where trials are kept")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="trials whose names start so; no tables")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    points = read_labelled_points(_SHARED / "real")
    todo = [trial for trial in trials(points) if trial.name.startswith(given.only)]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for done in [pool.submit(judge, trial, given.work) for trial in todo]:
            done.result()


if __name__ == "__main__":
    main()
