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

    `recall` is the share of its rows that were predicted as it (producer's accuracy), `precision`
    the share of rows predicted as it that are of it (user's accuracy), `f1` their harmonic mean.
    None for a share of no rows.
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

    Attributes:
        accuracy: Share of rows whose first class is right.
        top5: Share of rows whose right class is among the first five; None if there are no more
            than five classes.
        mean_class_accuracy: Mean recall of the classes that occur among the references.
        f1_macro: Mean F1 of the classes that occur among references or predictions.
        f1_weighted: Mean F1 weighted by support.
        majority: The share of the most frequent class: the accuracy of predicting it always.
        confusion: int64 (class, class): rows are the reference, columns the prediction.
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
    reference: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> Classification:
    """Compare predicted classes with references.

    Args:
        reference: int64 (n,), places in `names`.
        predicted: int64 (n, k), likewise, best first.
        names: The classes.

    Raises:
        ValueError: There are no rows.
    """
    if not len(reference):
        raise ValueError("no rows to compare")
    first = predicted[:, 0]
    hits = predicted == reference[:, None]
    classes = np.arange(len(names))
    matrix = confusion_matrix(reference, first, labels=classes)
    precision, recall, f1, support = precision_recall_fscore_support(
        reference, first, labels=classes, zero_division=0
    )
    counts = matrix.sum(axis=0)
    occurs, shown = support > 0, (support > 0) | (counts > 0)
    has_top5 = len(names) > 5 and predicted.shape[1] >= 5
    return Classification(
        rows=len(reference),
        accuracy=float(hits[:, 0].mean()),
        top5=float(hits[:, :5].any(axis=1).mean()) if has_top5 else None,
        mean_class_accuracy=float(recall[occurs].mean()),
        f1_macro=float(f1[shown].mean()),
        f1_weighted=float(np.average(f1, weights=support)),
        majority=float(support.max() / len(reference)),
        by_class=tuple(
            ClassScore(
                name=name,
                support=int(support[k]),
                predicted=int(counts[k]),
                recall=float(recall[k]) if occurs[k] else None,
                precision=float(precision[k]) if counts[k] else None,
                f1=float(f1[k]) if shown[k] else None,
            )
            for k, name in enumerate(names)
        ),
        confusion=matrix,
    )


def by_region(
    reference: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str],
    regions: Sequence[str | None],
) -> dict[str, Classification]:
    """The same for each region, the largest first; rows without a region are left out."""
    region_of_row = np.array([region or "" for region in regions])
    values, counts = np.unique(region_of_row[region_of_row != ""], return_counts=True)
    return {
        str(values[k]): classification(
            reference[region_of_row == values[k]], predicted[region_of_row == values[k]], names
        )
        for k in np.lexsort((values, -counts))
    }
