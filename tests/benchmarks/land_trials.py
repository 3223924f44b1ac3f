"""Trainings by the recipe of `real-land` without some points, which then judge it.

What a trial found is kept in a folder, so that a benchmark goes on where it stopped.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from sklearn.ensemble import RandomForestClassifier

from models.encoder.preprocessing import AUTHORS, BANDS
from models.encoder.series_months import fill_gaps
from pipeline.real_land.calendars import last_years
from pipeline.real_land.made_series import MADE_PER_CLASS, made_points
from pipeline.real_land.tables import LabelledPoints, joined_points, read_labelled_points
from tests.benchmarks.land_tasks import Task
from tests.benchmarks.real_land import embedded, trained_on

SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
FOLDS, REPEATS, TREES = 5, 3, 500
LEFT_OUT = {
    "rice": ("rice",),
    "vineyard": ("vineyard",),
    "wetland": ("herbaceous_wetland", "woody_wetland", "bog"),
    "forest": ("forest_tropical",),
}
"""Classes that a trial leaves out, and the classes of `wordings.toml` that they are."""

_RED_EDGE = [BANDS.index(band) for band in ("B05", "B06", "B07", "B8A")]


@dataclass(frozen=True, eq=False)
class Trial:
    """A training, by the numbers of its points, and the points that it is judged by."""

    name: str
    train: np.ndarray
    judged: np.ndarray
    seed: int


def folds_of(points: LabelledPoints, seed: int) -> np.ndarray:
    """The fold of each point: within each place, a block goes to the fold with fewest points."""
    fold = np.zeros(len(points), np.int64)
    for number, place in enumerate(np.unique(points.places)):
        rows = np.flatnonzero(points.places == place)
        _, block, counts = np.unique(points.blocks[rows], return_inverse=True, return_counts=True)
        taken, of_block = np.zeros(FOLDS), np.zeros(len(counts), np.int64)
        for one in np.random.default_rng([seed, number]).permutation(len(counts)):
            of_block[one] = taken.argmin()
            taken[of_block[one]] += counts[one]
        fold[rows] = of_block[block]
    return fold


def trials(points: LabelledPoints) -> Iterator[Trial]:
    """The folds; the trainings without one place; the training without some classes."""
    number = np.arange(len(points))
    for seed in range(REPEATS):
        fold = folds_of(points, seed)
        for k in range(FOLDS):
            yield Trial(f"fold-{seed}-{k}", number[fold != k], number[fold == k], 10 * seed + k)
    for place in dict.fromkeys(points.places):
        out = points.places == place
        yield Trial(f"without-{place}", number[~out], number[out], 100)
    gone = {name for names in LEFT_OUT.values() for name in names}
    out = np.array([bool(classes & gone) and len(classes) < 4 for classes in points.classes])
    yield Trial("without-classes", number[~out], number[out], 101)


def judge(trial: Trial, work: Path) -> None:
    """Train without a trial's points, and keep the embeddings of these, degraded in many ways."""
    path = work / f"{trial.name}.safetensors"
    if path.exists():
        return
    torch.set_num_threads(1)
    points, rng = read_labelled_points(SHARED / "real"), np.random.default_rng(trial.seed)
    train = joined_points([points.take(trial.train), made_points(MADE_PER_CLASS, rng)])
    if trial.name == "without-classes":
        gone = {name for names in LEFT_OUT.values() for name in names}
        train = train.take(np.array([not classes & gone for classes in train.classes]))
    encoder = trained_on(train, trial.seed)
    series = last_years(points.take(trial.judged))
    found = {
        name: embedded(encoder, AUTHORS, changed, steps).astype(np.float16)
        for name, (changed, steps) in degraded_series(series, trial.seed).items()
    }
    part = path.with_suffix(".part")
    part.write_bytes(safetensors.numpy.save(found))
    part.rename(path)


def degraded_series(series: np.ndarray, seed: int) -> dict[str, tuple[np.ndarray, int]]:
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


def forest(
    points: LabelledPoints, trial: Trial, task: Task, work: Path, *, elsewhere: bool = False
) -> np.ndarray:
    """A random forest's classes of a trial's points, trained on its others: int64 (n,).

    With `elsewhere` it is trained on other places, whose labels are others; a class that none of
    them has is never found.
    """
    path = work / f"{trial.name}-{task.tables[0]}.npy"
    if not path.exists():
        whole = fill_gaps(torch.from_numpy(last_years(points).astype(np.float32))).numpy()
        x, y = whole.reshape(len(points), -1), task.targets(points)
        classes = task.targets_elsewhere(points) if elsewhere else y
        known = trial.train[classes[trial.train] >= 0]
        model = RandomForestClassifier(TREES, random_state=trial.seed).fit(x[known], classes[known])
        asked = trial.judged[y[trial.judged] >= 0]
        np.save(path, model.predict(x[asked]))
    return np.asarray(np.load(path))
