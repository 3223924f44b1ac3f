"""Probes on embeddings whose classes can be learned, or cannot; none is tuned on its judges."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.evaluation.checkpoint_evaluation import read_probe_rows
from pipeline.evaluation.probes import (
    STRENGTHS,
    LabelledEmbeddings,
    _fitted,
    _folds,
    few_shot,
    knn,
    linear_probe,
    measure_probes,
)
from pipeline.evaluation.samples import Samples


def made(n: int, spread: float, seed: int) -> LabelledEmbeddings:
    """Four classes around four directions of 32 dimensions."""
    rng = np.random.default_rng(seed)
    centres = np.eye(4, 32)
    classes = rng.integers(0, 4, n)
    values = centres[classes] + spread * rng.normal(size=(n, 32)) / np.sqrt(32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return LabelledEmbeddings((values / length).astype(np.float32), classes, np.arange(n) % 5)


TRAIN, VALIDATION, TEST = made(400, 1.5, 0), made(200, 1.5, 1), made(300, 1.5, 2)


def test_knn_is_that_of_the_cosine() -> None:
    found = knn(TRAIN, TEST, 9)
    by_cosine = KNeighborsClassifier(9, metric="cosine").fit(TRAIN.embeddings, TRAIN.classes)
    wanted = (by_cosine.predict(TEST.embeddings) == TEST.classes).mean()
    assert found.accuracy == pytest.approx(wanted, abs=0.02)  # weights by distance differ a little
    assert (found.learned, found.tested) == (400, 300)
    few = TRAIN.take(np.arange(3))
    assert knn(few, TEST).setting == "3 neighbours"


@pytest.mark.filterwarnings("error")
def test_predicted_classes_without_rows_count_as_errors_only() -> None:
    some = TEST.classes < 2
    test = TEST.take(some)
    found = knn(made(400, 3.0, 0), test)
    assert found.accuracy < 1
    model = KNeighborsClassifier(20, weights="distance")
    train = made(400, 3.0, 0)
    given = model.fit(train.embeddings, train.classes).predict(test.embeddings)
    assert (given > 1).any()
    recalls = [(given[test.classes == k] == k).mean() for k in (0, 1)]
    assert found.mean_class_accuracy == pytest.approx(np.mean(recalls))


def test_a_linear_probe_learns_what_is_linear_and_nothing_else() -> None:
    assert linear_probe(TRAIN, VALIDATION, TEST).accuracy > 0.85
    shuffled = LabelledEmbeddings(
        TRAIN.embeddings, np.random.default_rng(3).permutation(TRAIN.classes), TRAIN.blocks
    )
    assert linear_probe(shuffled, VALIDATION, TEST).accuracy < 0.4


def test_more_shots_are_better_and_draws_repeat() -> None:
    curve = [few_shot(TRAIN, TEST, shots, 8, 0) for shots in (1, 5, 50)]
    accuracy = [point.accuracy for point in curve]
    assert accuracy == sorted(accuracy)
    assert accuracy[0] > 0.3
    assert curve[0].accuracy_sd > curve[2].accuracy_sd > 0
    assert few_shot(TRAIN, TEST, 5, 8, 0) == curve[1]
    assert few_shot(TRAIN, TEST, 5, 8, 1) != curve[1]
    assert few_shot(TRAIN, TEST, 200, 1, 0).short == 4


def test_only_what_there_are_rows_for() -> None:
    few, nothing = TRAIN.take(np.arange(30)), TRAIN.take(np.arange(0))
    found = measure_probes(few, nothing, TEST, 3, 0)
    assert [point.shots for point in found.few_shot] == [1, 5]
    with pytest.raises(ValueError, match="0 classes to learn from"):
        measure_probes(nothing, nothing, TEST, 3, 0)


class _Splits:
    """Rows whose 12 × 10 numbers are their features; their classes are "a" and "b"."""

    about: Mapping[str, Any] = {}
    labels = ("class",)
    has_ground, default_split = False, "test"

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._series = {
            split: rng.integers(1, 10_000, (count, 12, 10)).astype(np.uint16)
            for split, count in (("train", 150), ("validation", 90), ("test", 90))
        }
        signal = features(self._series["train"])[:, 0]
        noisy = signal + 2 * rng.normal(size=len(signal)) > 0
        self._right = {"train": noisy, "test": rng.uniform(size=90) < 0.5}
        # Labels of the judged rows, such that they would choose the least regularised probe.
        train = LabelledEmbeddings(
            features(self._series["train"]), noisy.astype(int), np.arange(150)
        )
        judged = features(self._series["validation"])
        loose = _fitted(max(STRENGTHS), train).predict(judged)
        self._right["validation"] = loose == 1

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        series = self._series[part]
        labels = {"class": np.where(self._right[part], "b", "a").astype(object)}
        return Samples(series, labels, np.arange(len(series)) % 10, None, None, 0)


def features(series: np.ndarray) -> np.ndarray:
    values = series.reshape(len(series), -1).astype(np.float32) / 5000 - 1
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_no_probe_is_tuned_on_the_rows_that_judge_it(part: str) -> None:
    rows = read_probe_rows(_Splits(), part, "class", vocabulary_from_words("a, b"), "class", 0)
    train, test = rows.train.embedded(features), rows.test.embedded(features)
    tuning = None if rows.tuning is None else rows.tuning.embedded(features)
    judged = linear_probe(train, tuning, test)
    assert judged.tested == 90
    if part == "validation":
        assert judged.setting.endswith("chosen in 3 folds of train")
        assert f"C = {max(STRENGTHS):g}," not in judged.setting  # the judged rows' own choice
        assert linear_probe(train, test, test).setting.startswith(f"C = {max(STRENGTHS):g},")
    else:
        assert tuning is not None
        assert len(tuning) == 90
        assert judged.setting == f"C = {max(STRENGTHS):g}, chosen on other rows"


def test_folds_are_whole_blocks_of_land() -> None:
    alone = LabelledEmbeddings(TRAIN.embeddings, TRAIN.classes, np.zeros(len(TRAIN), int))
    assert linear_probe(alone, None, TEST).setting == f"C = {STRENGTHS[0]:g}, not chosen"
    folds = list(_folds(TRAIN))
    assert len(folds) == 3
    for learned, held_out in folds:
        assert not set(learned.blocks) & set(held_out.blocks)
        assert len(learned) + len(held_out) == len(TRAIN)
