"""The accuracy of training by the recipe of the checkpoint `real-land` on unseen land.

`python -m tests.benchmarks.bench_real_land --work FOLDER`. Writes
tests/benchmarks/results/real-land.md. Every encoder is trained anew, by
`pipeline/real_land/recipe.toml`, without the points that it is judged by; the forest beside it on
the same points. Classes are found by words that no training sees. What a trial found is kept in
FOLDER, so that the same command goes on where it stopped.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import safetensors.numpy

from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import BANDS
from models.towers.text_embeddings import embed_words
from pipeline.real_land.tables import LabelledPoints, read_labelled_points
from pipeline.real_land.wordings import group
from tests.benchmarks.land_tasks import (
    Task,
    accuracy_and_f1,
    class_scores,
    load_rivals,
    load_tasks,
)
from tests.benchmarks.land_trials import (
    FOLDS,
    LEFT_OUT,
    REPEATS,
    SHARED,
    TREES,
    Trial,
    degraded_series,
    forest,
    judge,
    trials,
)

RESULT = Path(__file__).parent / "results" / "real-land.md"
COMMAND = "python -m tests.benchmarks.bench_real_land"


def scores_of(embeddings: np.ndarray, task: Task) -> np.ndarray:
    """Cosines to the held-out words of a task's classes: float32 (n, class)."""
    words = [one.held_out_members for one in task.classes]
    return class_scores(embeddings, words, load_checkpoint("sample").card)


@dataclass(frozen=True, eq=False)
class Found:
    """What was found for the points of a task in some trials.

    Attributes:
        y: The right classes, int64 (n,).
        forest: Those of the forest.
        words: Those by held-out words; `plain` by plain words.
        scores: Cosines to the held-out words, float32 (n, class).
    """

    y: np.ndarray
    forest: np.ndarray
    words: np.ndarray
    plain: np.ndarray
    scores: np.ndarray


class Trials:
    """The trials that are done, of which tables are made."""

    def __init__(self, points: LabelledPoints, work: Path) -> None:
        self.points, self.work = points, work
        self.done = [
            trial for trial in trials(points) if (work / f"{trial.name}.safetensors").exists()
        ]

    def of(self, start: str) -> list[Trial]:
        """Those whose names start so."""
        return [trial for trial in self.done if trial.name.startswith(start)]

    def embeddings(self, trial: Trial, way: str = "T = 12") -> np.ndarray:
        """A trial's embeddings of its judged points, by a way of degrading them."""
        kept = safetensors.numpy.load_file(self.work / f"{trial.name}.safetensors")
        return np.asarray(kept[way], np.float32)

    def found(self, some: Sequence[Trial], task: Task, *, elsewhere: bool = False) -> Found:
        """What was found for a task's points, over several trials together."""
        plain = [one.members for one in task.classes]
        parts = []
        for trial in some:
            y = task.targets(self.points)[trial.judged]
            if not (y >= 0).any():
                continue
            embeddings = self.embeddings(trial)[y >= 0]
            scores, card = scores_of(embeddings, task), load_checkpoint("sample").card
            by_forest = forest(self.points, trial, task, self.work, elsewhere=elsewhere)
            by_plain = class_scores(embeddings, plain, card).argmax(axis=1)
            parts.append((y[y >= 0], by_forest, scores.argmax(axis=1), by_plain, scores))
        return Found(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def within_sources(done: Trials) -> Iterator[str]:
    """The table of the folds: both ways on the same points, means and ranges of the seeds."""
    ways_named = "forest | held-out words | plain words"
    yield f"| points | | accuracy: {ways_named} | macro-F1: {ways_named} |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for task in load_tasks():
        rows, count = [], 0
        for seed in range(REPEATS):
            some = done.of(f"fold-{seed}-")
            if len(some) < FOLDS:
                continue
            one = done.found(some, task)
            count = len(one.y)
            ways = (one.forest, one.words, one.plain)
            rows.append([accuracy_and_f1(one.y, way) for way in ways])
        mean = np.mean(rows, axis=0)
        cells = [f"{mean[way, measure]:.3f}" for measure in (0, 1) for way in range(3)]
        yield f"| {task.name} | {count:,} | {' | '.join(cells)} |"


def by_class(done: Trials) -> Iterator[str]:
    """The share of each class that is found by held-out words, and by the forest."""
    yield "| points | class | | found by words | by the forest |"
    yield "|---|---|---:|---:|---:|"
    for task in load_tasks():
        one = done.found(done.of("fold-0-"), task)
        for place, of_class in enumerate(task.classes):
            own = one.y == place
            words, trees = ((way[own] == place).mean() for way in (one.words, one.forest))
            yield f"| {task.name} | {of_class.name} | {own.sum():,} | {words:.0%} | {trees:.0%} |"


def degraded(done: Trials) -> Iterator[str]:
    """Accuracy by held-out words of series that are degraded."""
    ways = list(degraded_series(np.zeros((1, 12, len(BANDS)), np.uint16), 0))
    yield f"| points | {' | '.join(ways)} |"
    yield "|---|" + "---:|" * len(ways)
    for task in load_tasks():
        cells = []
        for way in ways:
            hits = [
                scores_of(done.embeddings(trial, way)[y >= 0], task).argmax(axis=1) == y[y >= 0]
                for trial in done.of("fold-0-")
                for y in [task.targets(done.points)[trial.judged]]
                if (y >= 0).any()
            ]
            cells.append(f"{np.concatenate(hits).mean():.3f}")
        yield f"| {task.name} | {' | '.join(cells)} |"


def transferred(done: Trials) -> Iterator[str]:
    """The table of trainings without a place, judged by its points."""
    ways_named = "forest of the others | held-out words | plain words"
    yield f"| judged by | | accuracy: {ways_named} | commonest class | macro-F1: {ways_named} |"
    yield "|---|" + "---:|" * 8
    for task in load_tasks():
        places = np.unique(done.points.places[task.targets(done.points) >= 0])
        some = done.of(f"without-{places[0]}")
        if not some:
            continue
        one = done.found(some, task, elsewhere=True)
        pairs = [accuracy_and_f1(one.y, way) for way in (one.forest, one.words, one.plain)]
        accuracy, f1 = (" | ".join(f"{pair[k]:.3f}" for pair in pairs) for k in (0, 1))
        commonest = np.bincount(one.y).max() / len(one.y)
        yield f"| {task.name} | {len(one.y):,} | {accuracy} | {commonest:.3f} | {f1} |"


def single_words(done: Trials, draws: int = 1000) -> Iterator[str]:
    """Accuracies with one held-out wording of each class, drawn at random."""
    task = load_tasks()[0]
    card, rng = load_checkpoint("sample").card, np.random.default_rng(0)
    wordings = [[w for ws in one.held_out_members for w in ws] for one in task.classes]
    texts = [np.stack([embed_words([w], card) for w in words]) for words in wordings]
    scores, targets = [], []
    for trial in done.of("fold-0-"):
        y = task.targets(done.points)[trial.judged]
        embeddings = done.embeddings(trial)[y >= 0]
        scores.append([embeddings @ one.T for one in texts])
        targets.append(y[y >= 0])
    of_class = [np.concatenate([part[k] for part in scores]) for k in range(len(texts))]
    y, found = np.concatenate(targets), []
    for _ in range(draws):
        drawn = np.stack([one[:, rng.integers(one.shape[1])] for one in of_class], axis=1)
        found.append((drawn.argmax(axis=1) == y).mean())
    low, middle = np.quantile(found, (0.05, 0.5))
    yield (
        f"{task.name}, one held-out wording of each class, drawn {draws:,} times: median accuracy "
        f"**{middle:.3f}**, 5 % quantile **{low:.3f}**."
    )


def never_seen(done: Trials) -> Iterator[str]:
    """The table of classes whose points and words training left out."""
    (trial,) = done.of("without-classes")
    yield "| left out | points | found by its words | by chance | most often taken for |"
    yield "|---|---:|---:|---:|---|"
    card, embeddings = load_checkpoint("sample").card, done.embeddings(trial)
    for name, classes in LEFT_OUT.items():
        own = np.array([one <= set(classes) for one in done.points.classes[trial.judged]])
        names = load_rivals()[name]
        words = [[group(key).held_out] for key in names.values()]
        found = class_scores(embeddings[own], words, card).argmax(axis=1)
        counts = np.bincount(found, minlength=len(names))
        often = ", ".join(
            f"{list(names)[k]} {counts[k] / len(found):.0%}" for k in counts.argsort()[::-1][:2]
        )
        hit, chance = counts[0] / len(found), 1 / len(names)
        yield f"| {name} | {own.sum():,} | {hit:.0%} | {chance:.0%} | {often} |"


def document(done: Trials) -> str:
    """All tables."""
    seeds = sum(len(done.of(f"fold-{seed}-")) == FOLDS for seed in range(REPEATS))
    lines = [
        "# Real land by words, beside a random forest",
        "",
        f"Made by `{COMMAND} --work FOLDER`: {len(done.points):,} labelled points of six sources,",
        f"{FOLDS} folds of blocks of 50 km (of regions in Africa), {seeds} of {REPEATS} seeds.",
        f"The forest has {TREES} trees, and the same points' last twelve months. By words: the",
        "class whose words are nearest. Held-out words were in no training; most plain words were.",
        "",
        "## Within the sources",
        "",
        *within_sources(done),
        "",
        *single_words(done),
        "",
        *by_class(done),
        "",
        "## Fewer steps, months or bands",
        "",
        "Accuracy by held-out words.",
        "",
        *degraded(done),
    ]
    if done.of("without-"):
        lines += ["", "## Without any point of that place", "", *transferred(done)]
    if done.of("without-classes"):
        lines += ["", "## Classes that it was never trained on", "", *never_seen(done)]
    return "\n".join([*lines, ""])


def main() -> None:
    """Train, judge, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--work", type=Path, required=True, help="where trials are kept")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="train for the trials whose names start so")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    points = read_labelled_points(SHARED / "real")
    todo = [trial for trial in trials(points) if trial.name.startswith(given.only)]
    with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
        for done in [pool.submit(judge, trial, given.work) for trial in todo]:
            done.result()
    text = document(Trials(points, given.work))
    given.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
