"""Probes on embeddings whose classes are known to be told, or not to be."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from pipeline.evaluation.measured import measure_probes
from pipeline.evaluation.probes import LabelledEmbeddings, few_shot, knn, linear_probe


def made(n: int, spread: float, seed: int) -> LabelledEmbeddings:
    """Four classes around four directions of 32 dimensions."""
    rng = np.random.default_rng(seed)
    centres = np.eye(4, 32)
    classes = rng.integers(0, 4, n)
    values = centres[classes] + spread * rng.normal(size=(n, 32)) / np.sqrt(32)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return LabelledEmbeddings((values / length).astype(np.float32), classes)


TRAIN, VALIDATION, TEST = made(400, 1.5, 0), made(200, 1.5, 1), made(300, 1.5, 2)


def test_knn_is_that_of_the_cosine() -> None:
    found = knn(TRAIN, TEST, 9)
    by_cosine = KNeighborsClassifier(9, metric="cosine").fit(TRAIN.embeddings, TRAIN.classes)
    wanted = (by_cosine.predict(TEST.embeddings) == TEST.classes).mean()
    assert found.accuracy == pytest.approx(wanted, abs=0.02)  # weights by distance differ a little
    assert (found.learned, found.tested) == (400, 300)
    few = LabelledEmbeddings(TRAIN.embeddings[:3], TRAIN.classes[:3])
    assert knn(few, TEST).setting == "3 neighbours"


@pytest.mark.filterwarnings("error")
def test_classes_that_are_found_but_do_not_occur_are_errors_and_no_class() -> None:
    some = TEST.classes < 2
    test = LabelledEmbeddings(TEST.embeddings[some], TEST.classes[some])
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
        TRAIN.embeddings, np.random.default_rng(3).permutation(TRAIN.classes)
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
    few = LabelledEmbeddings(TRAIN.embeddings[:30], TRAIN.classes[:30])
    nothing = LabelledEmbeddings(TRAIN.embeddings[:0], TRAIN.classes[:0])
    found = measure_probes(few, nothing, TEST, 3, 0)
    assert [point.shots for point in found.few_shot] == [1, 5]
    with pytest.raises(ValueError, match="0 classes to learn from"):
        measure_probes(nothing, nothing, TEST, 3, 0)
