"""Probes: simple classifiers (scikit-learn) that learn from embeddings of one split.

They are tested on another split, which lies in other blocks of land.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.evaluation.classification import Classification, classification

NEIGHBOURS = 20
STRENGTHS = (0.01, 0.001, 0.1, 0.0001, 1.0)
"""Inverse regularisations (scikit-learn's C) to choose from; of equally good ones, the first."""
SHOTS = (1, 5, 10, 50)
"""Rows per class that few-shot probes learn from."""
_FOLDS = 3
_FEW_SHOT_STRENGTH = 0.1
_MOST_STEPS = 300
_TOLERANCE = 1e-3
_LARGE = 10_000  # rows; training on fewer is faster on one core


@dataclass(frozen=True, eq=False)
class LabelledEmbeddings:
    """`embeddings` float32 (n, dim) of unit length, their `classes` int64 (n,), and `blocks` (n,).

    Rows with equal `blocks` lie in the same block of land.
    """

    embeddings: np.ndarray
    classes: np.ndarray
    blocks: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def take(self, rows: np.ndarray) -> "LabelledEmbeddings":
        """Some of the rows, by a mask or by their numbers."""
        return LabelledEmbeddings(self.embeddings[rows], self.classes[rows], self.blocks[rows])


@dataclass(frozen=True)
class Probe:
    """A probe's metrics, 0 … 1, on `tested` rows, after it learned from `learned` rows.

    `setting` says in words which parameter was chosen, and how.
    """

    learned: int
    tested: int
    accuracy: float
    f1_macro: float
    mean_class_accuracy: float
    setting: str


@dataclass(frozen=True)
class FewShot:
    """Linear probes that learned from `shots` rows per class, drawn at random `draws` times.

    `accuracy` and `f1_macro` are means over the draws, `accuracy_sd` and `f1_sd` standard
    deviations (n − 1). `short` counts classes with fewer rows: all their rows are taken.
    """

    shots: int
    draws: int
    accuracy: float
    accuracy_sd: float
    f1_macro: float
    f1_sd: float
    short: int


@dataclass(frozen=True, eq=False)
class ProbeMetrics:
    """The metrics of all probes; test rows of classes that were not learned count as wrong.

    `few_shot` is in the order of `SHOTS`, without those for which fewer than two classes have rows.
    """

    knn: Probe
    linear: Probe
    few_shot: tuple[FewShot, ...]


def measure_probes(
    train: LabelledEmbeddings,
    tuning: LabelledEmbeddings | None,
    test: LabelledEmbeddings,
    draws: int,
    seed: int,
) -> ProbeMetrics:
    """Measure all probes.

    Args:
        train: The rows to learn from.
        tuning: The rows to choose the regularisation on, see `linear_probe`.
        test: The rows to test on.
        draws: The number of few-shot probes for each number of shots.
        seed: The seed of the random draws.

    Raises:
        ValueError: `train` has fewer than two classes, or `test` has no row.
    """
    counts = np.bincount(train.classes) if len(train) else np.zeros(1, int)
    if (counts > 0).sum() < 2 or not len(test):
        raise ValueError(
            f"{int((counts > 0).sum())} classes to learn from and {len(test)} rows to test on"
        )
    return ProbeMetrics(
        knn=knn(train, test),
        linear=linear_probe(train, tuning, test),
        few_shot=tuple(
            few_shot(train, test, shots, draws, seed)
            for shots in SHOTS
            if (counts >= shots).sum() >= 2
        ),
    )


def knn(train: LabelledEmbeddings, test: LabelledEmbeddings, neighbours: int = NEIGHBOURS) -> Probe:
    """Classify by the nearest rows by cosine (at most all), weighted by 1 / distance."""
    k = min(neighbours, len(train))
    # Of unit vectors, the Euclidean order is the cosine's.
    model = KNeighborsClassifier(k, weights="distance").fit(train.embeddings, train.classes)
    return _tested(model.predict(test.embeddings), train, test, f"{k} neighbours")


def linear_probe(
    train: LabelledEmbeddings, tuning: LabelledEmbeddings | None, test: LabelledEmbeddings
) -> Probe:
    """Classify by logistic regression on standardised embeddings.

    Args:
        train: The rows to learn from.
        tuning: The rows to choose the regularisation on; never those of `test`. None, or no
            rows: it is chosen by cross-validation within `train`, whose folds are whole blocks of
            land, or is the first of `STRENGTHS` where all rows lie in one block.
        test: The rows to test on.
    """
    if tuning is not None and len(tuning):
        pairs, how = [(train, tuning)], "chosen on other rows"
    else:
        pairs = list(_folds(train))
        how = f"chosen in {len(pairs)} folds of train" if pairs else "not chosen"
    shares = [sum(_share_right(strength, *pair) for pair in pairs) for strength in STRENGTHS]
    best = STRENGTHS[int(np.argmax(shares))]
    predicted = _fitted(best, train).predict(test.embeddings)
    return _tested(predicted, train, test, f"C = {best:g}, {how}")


def few_shot(
    train: LabelledEmbeddings, test: LabelledEmbeddings, shots: int, draws: int, seed: int
) -> FewShot:
    """Classify by linear probes of few rows per class; the same seed gives the same draws."""
    counts = np.bincount(train.classes)
    scores = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, shots, draw])
        chosen = np.concatenate(
            [
                rng.permutation(np.flatnonzero(train.classes == k))[:shots]
                for k in np.flatnonzero(counts)
            ]
        )
        predicted = _fitted(_FEW_SHOT_STRENGTH, train.take(chosen)).predict(test.embeddings)
        compared = _compared(predicted, test)
        scores.append((compared.accuracy, compared.f1_macro))
    accuracy, macro = np.array(scores).T
    spread = 1 if draws > 1 else 0
    return FewShot(
        shots=shots,
        draws=draws,
        accuracy=float(accuracy.mean()),
        accuracy_sd=float(accuracy.std(ddof=spread)),
        f1_macro=float(macro.mean()),
        f1_sd=float(macro.std(ddof=spread)),
        short=int(((counts > 0) & (counts < shots)).sum()),
    )


def _folds(train: LabelledEmbeddings) -> Iterator[tuple[LabelledEmbeddings, LabelledEmbeddings]]:
    """Rows to learn from and rows to choose on, whole blocks of land held out in turn."""
    count = min(_FOLDS, len(np.unique(train.blocks)))
    if count < 2:
        return
    for learned, held_out in GroupKFold(count).split(train.embeddings, groups=train.blocks):
        if len(np.unique(train.classes[learned])) > 1:
            yield train.take(learned), train.take(held_out)


def _share_right(strength: float, train: LabelledEmbeddings, test: LabelledEmbeddings) -> float:
    return float((_fitted(strength, train).predict(test.embeddings) == test.classes).mean())


def _fitted(strength: float, train: LabelledEmbeddings) -> Pipeline:
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_STEPS, tol=_TOLERANCE)
    )
    # On small tables, cores wait for each other far longer than they compute.
    with threadpool_limits(1 if len(train) < _LARGE else None):
        return model.fit(train.embeddings, train.classes)


def _tested(
    predicted: np.ndarray, train: LabelledEmbeddings, test: LabelledEmbeddings, setting: str
) -> Probe:
    compared = _compared(predicted, test)
    return Probe(
        learned=len(train),
        tested=len(test),
        accuracy=compared.accuracy,
        f1_macro=compared.f1_macro,
        mean_class_accuracy=compared.mean_class_accuracy,
        setting=setting,
    )


def _compared(predicted: np.ndarray, test: LabelledEmbeddings) -> Classification:
    count = int(max(predicted.max(), test.classes.max())) + 1
    return classification(test.classes, predicted[:, None], [str(k) for k in range(count)])
