"""Metrics of predicted classes: accuracy, top k, F1, confusion, by class and by region.

Formulas are scikit-learn's (`sklearn.metrics`); shares are 0 … 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


@dataclass(frozen=True)
class ClassScore:
    """A class: `support` rows are of it, `predicted` rows were predicted as it.

    `recall` is the share of its rows that were predicted as it (the class's accuracy, a map's
    producer's accuracy), `precision` the share of rows predicted as it that are of it (user's
    accuracy), `f1` their harmonic mean. None where there is nothing to take a share of.
    """

    name: str
    support: int
    predicted: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, eq=False)
class Classification:
    """The metrics of `rows` rows.

    `accuracy`: share whose first class is right; `top5`: whose right class is among the first five
    (None where there are no more than five classes); `mean_class_accuracy`: mean recall of the
    classes that occur among the references; `f1_macro`: mean F1 of the classes that occur among
    references or predictions, as scikit-learn's default; `f1_weighted`: mean F1 weighted by
    support; `majority`: the share of the most frequent class, which one gets for nothing.
    `confusion` int64 (class, class): rows are the reference, columns the prediction.
    """

    rows: int
    accuracy: float
    top5: float | None
    mean_class_accuracy: float
    f1_macro: float
    f1_weighted: float
    majority: float
    by_class: tuple[ClassScore, ...]
    confusion: np.ndarray


def classification(
    reference: np.ndarray, ranked: np.ndarray, names: Sequence[str]
) -> Classification:
    """Compare predicted classes with references.

    `reference` int64 (n,), places in `names`; `ranked` int64 (n, k), the classes given, best first.
    Raises ValueError without rows.
    """
    if not len(reference):
        raise ValueError("no rows to compare")
    first = ranked[:, 0]
    classes = np.arange(len(names))
    matrix = confusion_matrix(reference, first, labels=classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        reference, first, labels=classes, zero_division=0
    )
    predicted = matrix.sum(axis=0)
    occurs, shown = support > 0, (support > 0) | (predicted > 0)
    return Classification(
        rows=len(reference),
        accuracy=float((first == reference).mean()),
        top5=_among(reference, ranked, 5) if len(names) > 5 and ranked.shape[1] >= 5 else None,
        mean_class_accuracy=float(recall[occurs].mean()),
        f1_macro=float(f1[shown].mean()),
        f1_weighted=float(np.average(f1, weights=support)),
        majority=float(support.max() / len(reference)),
        by_class=tuple(
            ClassScore(
                name=name,
                support=int(support[k]),
                predicted=int(predicted[k]),
                recall=float(recall[k]) if occurs[k] else None,
                precision=float(precision[k]) if predicted[k] else None,
                f1=float(f1[k]) if shown[k] else None,
            )
            for k, name in enumerate(names)
        ),
        confusion=matrix,
    )


def by_region(
    reference: np.ndarray, ranked: np.ndarray, names: Sequence[str], regions: Sequence[str | None]
) -> dict[str, Classification]:
    """The same a region, the largest first; `regions` (n,), rows without one are left out."""
    found = np.array([region or "" for region in regions])
    values, counts = np.unique(found[found != ""], return_counts=True)
    return {
        str(values[k]): classification(
            reference[found == values[k]], ranked[found == values[k]], names
        )
        for k in np.lexsort((values, -counts))
    }


def _among(reference: np.ndarray, ranked: np.ndarray, k: int) -> float:
    return float((ranked[:, :k] == reference[:, None]).any(axis=1).mean())
