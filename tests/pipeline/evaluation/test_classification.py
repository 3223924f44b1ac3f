"""Classification metrics against scikit-learn's and by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score, top_k_accuracy_score

from pipeline.evaluation.classification import by_region, classification


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(300, 8))
    reference = rng.integers(0, 7, 300)  # class 7 never occurs, and is given
    ranked = np.argsort(-scores, axis=1)[:, :5]
    found = classification(reference, ranked, tuple("abcdefgh"))
    first = ranked[:, 0]
    assert found.accuracy == pytest.approx((first == reference).mean())
    assert found.top5 == pytest.approx(
        top_k_accuracy_score(reference, scores, k=5, labels=range(8))
    )
    recalls = recall_score(reference, first, labels=range(7), average=None)
    assert found.mean_class_accuracy == pytest.approx(recalls.mean())
    assert found.f1_macro == pytest.approx(f1_score(reference, first, average="macro"))
    assert found.f1_weighted == pytest.approx(f1_score(reference, first, average="weighted"))
    assert found.confusion.sum() == 300
    assert found.by_class[7].recall is None
    assert found.by_class[7].f1 == 0
    assert found.majority == pytest.approx(np.bincount(reference).max() / 300)


def test_by_hand() -> None:
    found = classification(
        np.array([0, 0, 0, 1, 1]), np.array([[0], [0], [1], [1], [1]]), ("water", "land", "ice")
    )
    water, land, ice = found.by_class
    assert (water.support, water.predicted, water.recall, water.precision) == (3, 2, 2 / 3, 1)
    assert (land.recall, land.precision, land.f1) == (1, 2 / 3, 0.8)
    assert (ice.recall, ice.precision, ice.f1) == (None, None, None)
    assert found.mean_class_accuracy == pytest.approx(5 / 6)
    assert found.top5 is None  # of three classes, five are all
    assert found.confusion.tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]


def test_regions_the_largest_first() -> None:
    reference, ranked = np.array([0, 1, 1, 0]), np.array([[0], [1], [0], [0]])
    found = by_region(reference, ranked, ("a", "b"), ["FR", "BE", "FR", None])
    assert list(found) == ["FR", "BE"]
    assert (found["FR"].rows, found["FR"].accuracy) == (2, 0.5)
    assert (found["BE"].rows, found["BE"].accuracy) == (1, 1)


def test_no_rows() -> None:
    with pytest.raises(ValueError, match="no rows"):
        classification(np.empty(0, int), np.empty((0, 1), int), ("a", "b"))
