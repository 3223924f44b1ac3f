"""The accuracy of training by the recipe of the checkpoint `real-land` on unseen land.

`python -m tests.benchmarks.bench_real_land`; some 25 minutes of one core. Writes
tests/benchmarks/results/real-land.md. Every encoder is trained anew, by
`pipeline/real_land/recipe.toml`, without the points that it is judged by; the forest beside it on
the same points. Classes are found by words that no training sees.
"""

import argparse
import os
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import confusion_matrix, f1_score

import pipeline.real_land
from models.encoder.checkpoint import load_checkpoint
from models.encoder.series_months import fill_gaps, reduce_months
from models.pretraining.recipe import Recipe
from models.towers.text_embeddings import embed_words
from pipeline.real_land.calendars import last_years
from pipeline.real_land.descriptions import groups, held_out
from pipeline.real_land.tables import LabelledPoints, read_labelled_points
from pipeline.training_set.spatial_split import folds
from tests.benchmarks.real_land import embedded, trained

RESULT = Path(__file__).parent / "results" / "real-land.md"
COMMAND = "python -m tests.benchmarks.bench_real_land"
_SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
_RECIPE = Path(pipeline.real_land.__path__[0]) / "recipe.toml"
_FOLDS, _REPEATS, _BLOCK_KM, _TREES = 5, 2, 50.0, 500
_STEPS = (12, 4, 1)
_HEADER = "| forest: accuracy | by words | forest: macro-F1 | by words |"
_CEREALS = ("wheat", "barley", "oats", "rye", "triticale")
_CROPS = next(group.of for group in groups() if "temporary_crops" in group.of)
_LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "six mixed classes": {
        "grassland": ("grasslands",),
        "permanent crops": ("permanent_crops",),
        "maize": ("maize",),
        "cereals": _CEREALS,
        "temporary grass": ("temporary_grasses",),
        "trees": ("trees",),
    },
    "five land covers": {
        "grassland": ("grasslands",),
        "permanent crops": ("permanent_crops",),
        "temporary crops": _CROPS,
        "temporary grass": ("temporary_grasses",),
        "trees": ("trees",),
    },
    "eight classes": {
        "grassland": ("grasslands",),
        "permanent crops": ("permanent_crops",),
        "maize": ("maize",),
        "wheat": ("wheat",),
        "temporary grass": ("temporary_grasses",),
        "barley": ("barley",),
        "sunflower": ("sunflower",),
        "trees": ("trees",),
    },
}
_LEFT_OUT = ("sunflower", "rapeseed_rape", "permanent_crops")
_ASKED_OF_LEFT_OUT = {
    **_LISTS["eight classes"],
    "rapeseed": ("rapeseed_rape",),
}


@dataclass(frozen=True, eq=False)
class Trial:
    """A training, by the numbers of its points, and the points that it is judged by."""

    name: str
    train: np.ndarray
    judged: np.ndarray
    seed: int


def trials(points: LabelledPoints) -> Iterator[Trial]:
    """The folds; the transfers from one table to others; the training without some classes."""
    number = np.arange(len(points))
    for seed in range(_REPEATS):
        fold = folds(points.lon, points.lat, _FOLDS, _BLOCK_KM, seed)
        for k in range(_FOLDS):
            yield Trial(f"fold {seed}", number[fold != k], number[fold == k], 10 * seed + k)
    of_2022 = points.tables == "france_2022_monthly"
    yield Trial("transfer", number[of_2022], number[~of_2022], 100)
    without = np.isin(points.classes, _LEFT_OUT)
    yield Trial("left out", number[~without], number[without], 101)


def judge(trial: Trial) -> dict[int, np.ndarray]:
    """Embeddings of a trial's points, float32 (n, dim), in each number of steps T."""
    torch.set_num_threads(1)
    points, start = read_labelled_points(_SHARED / "real"), load_checkpoint("sample")
    recipe = the_recipe().model_copy(update={"seed": trial.seed})
    encoder = trained(points.take(trial.train), recipe, start)
    series = last_years(points.take(trial.judged))
    return {t: embedded(encoder, start.card.preprocessing, series, t) for t in _STEPS}


def the_recipe() -> Recipe:
    """The shipped checkpoint's."""
    return Recipe.model_validate(tomllib.loads(_RECIPE.read_text(encoding="utf-8"))["recipe"])


def targets(points: LabelledPoints, classes: dict[str, tuple[str, ...]]) -> np.ndarray:
    """The place of each point's class in a list, -1 where it is in none: int64 (n,)."""
    place = np.full(len(points), -1)
    for number, members in enumerate(classes.values()):
        place[np.isin(points.classes, members)] = number
    return place


def by_words(embeddings: np.ndarray, classes: dict[str, tuple[str, ...]]) -> np.ndarray:
    """The class of each embedding whose held-out wordings are nearest: int64 (n,)."""
    card = load_checkpoint("sample").card
    texts = np.stack([embed_words(said, card) for said in held_out(list(classes.values()))])
    return (embeddings @ texts.T).argmax(axis=1)


def by_forest(points: LabelledPoints, trial: Trial, y: np.ndarray, steps: int) -> np.ndarray:
    """A random forest's classes of a trial's points, trained on its others: int64 (n,)."""
    years = fill_gaps(torch.from_numpy(last_years(points).astype(np.float32)))
    x = reduce_months(years, steps).numpy().reshape(len(points), -1)
    known = trial.train[y[trial.train] >= 0]
    forest = RandomForestClassifier(_TREES, random_state=trial.seed).fit(x[known], y[known])
    found: np.ndarray = forest.predict(x[trial.judged])
    return found


def scores(y: np.ndarray, found: np.ndarray, classes: int) -> tuple[float, float]:
    """Accuracy, and F1 averaged over all classes of the list that occur."""
    present = [k for k in range(classes) if (y == k).any()]
    f1 = f1_score(y, found, labels=present, average="macro", zero_division=0)
    return float((y == found).mean()), float(f1)


def cross_validated(
    points: LabelledPoints, done: Sequence[tuple[Trial, dict[int, np.ndarray]]]
) -> Iterator[str]:
    """The table of the folds, both ways on the same points, and the confusions at T = 12."""
    yield f"| classes | T | points {_HEADER}"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    confused: list[str] = []
    for title, classes in _LISTS.items():
        y = targets(points, classes)
        for steps in _STEPS:
            found = []
            for repeat in range(_REPEATS):
                ours, forest = np.full(len(y), -1), np.full(len(y), -1)
                for trial, embeddings in done:
                    if trial.name != f"fold {repeat}":
                        continue
                    ours[trial.judged] = by_words(embeddings[steps], classes)
                    forest[trial.judged] = by_forest(points, trial, y, steps)
                some = y >= 0
                found.append(
                    (
                        scores(y[some], forest[some], len(classes)),
                        scores(y[some], ours[some], len(classes)),
                    )
                )
                if not confused:
                    confused = list(confusions(y[some], ours[some], list(classes)))
            yield f"| {title} | {steps} | {int((y >= 0).sum())} {_beside(*np.mean(found, axis=0))}"
    yield ""
    yield "What was taken for what, T = 12, six mixed classes (rows: what is there):"
    yield ""
    yield from confused


def _beside(forest: Sequence[float], ours: Sequence[float]) -> str:
    """Accuracy and F1 of both ways, and their difference."""
    pairs = zip(forest, ours, strict=True)
    return (
        "".join(f"| {one:.3f} | **{other:.3f}** ({other - one:+.3f}) " for one, other in pairs)
        + "|"
    )


def confusions(y: np.ndarray, found: np.ndarray, names: list[str]) -> Iterator[str]:
    """A confusion matrix as a table."""
    yield "| | " + " | ".join(names) + " | found |"
    yield "|---|" + "---:|" * (len(names) + 1)
    for name, row in zip(names, confusion_matrix(y, found, labels=range(len(names))), strict=True):
        yield (
            f"| {name} | "
            + " | ".join(map(str, row))
            + f" | {row[names.index(name)] / row.sum():.0%} |"
        )


def transferred(points: LabelledPoints, trial: Trial, embeddings: np.ndarray) -> Iterator[str]:
    """The table of training on France 2022 and testing elsewhere."""
    yield f"| judged by | classes | points {_HEADER}"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for table, place in (
        ("france_2023_dekadal", "France 2023"),
        ("flanders_2021_monthly", "Flanders 2021"),
    ):
        for title, classes in _LISTS.items():
            y = targets(points, classes)[trial.judged]
            some = (y >= 0) & (points.tables[trial.judged] == table)
            ours = by_words(embeddings, classes)
            forest = by_forest(points, trial, targets(points, classes), _STEPS[0])
            both = (scores(y[some], way[some], len(classes)) for way in (forest, ours))
            yield f"| {place} | {title} | {int(some.sum())} {_beside(*both)}"


def never_named(points: LabelledPoints, trial: Trial, embeddings: np.ndarray) -> Iterator[str]:
    """The table of classes whose points and names training left out."""
    classes = _ASKED_OF_LEFT_OUT
    names = list(classes)
    found = by_words(embeddings, classes)
    y = targets(points, classes)[trial.judged]
    yield f"| left out | points | found by its words, among {len(names)} | most often taken for |"
    yield "|---|---:|---:|---|"
    for key in _LEFT_OUT:
        place = next(k for k, members in enumerate(classes.values()) if members == (key,))
        of = found[y == place]
        counts = np.bincount(of, minlength=len(names))
        often = ", ".join(
            f"{names[k]} {counts[k] / len(of):.0%}" for k in counts.argsort()[::-1][:2]
        )
        yield f"| {names[place]} | {len(of)} | {(of == place).mean():.0%} | {often} |"


def document(points: LabelledPoints, done: Sequence[tuple[Trial, dict[int, np.ndarray]]]) -> str:
    """All tables."""
    last = {trial.name: (trial, embeddings[_STEPS[0]]) for trial, embeddings in done}
    lines = [
        "# Real land by words, beside a random forest",
        "",
        f"Made by `{COMMAND}`: {len(points)} labelled points",
        f"of WorldCereal's test resources, {_FOLDS} folds of blocks of {_BLOCK_KM:g} km,",
        f"cross-validated {_REPEATS} times with other folds. The forest has {_TREES} trees,",
        "and the same points' last twelve months. By words: the class whose held-out wordings,",
        "which no training saw, are nearest. Means of the repetitions.",
        "",
        *cross_validated(points, done),
        "",
        "## Another year, another land",
        "",
        "Trained on France 2022 alone, T = 12. F1 is of the classes that occur there. That table",
        "holds grassland and permanent crops for the most part, hardly any field: what a forest",
        "was not shown it cannot find; words it can be asked for.",
        "",
        *transferred(points, *last["transfer"]),
        "",
        "## Words that it was never trained on",
        "",
        "Trained without the points of these classes and without their names; T = 12.",
        "",
        *never_named(points, *last["left out"]),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Train, judge, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    points = read_labelled_points(_SHARED / "real")
    todo = list(trials(points))
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        done = list(zip(todo, pool.map(judge, todo), strict=True))
    text = document(points, done)
    given.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
