"""Probes: what can be learned from embeddings with few parameters or none (scikit-learn's).

Trained on one part of a set and tested on another that lies in other blocks of land.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, recall_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

NEIGHBOURS = 20
STRENGTHS = (0.01, 0.001, 0.1, 0.0001, 1.0)
"""Inverse regularisations (scikit-learn's C) that the linear probe chooses from; of equals, the
first."""
_FEW_SHOT_STRENGTH = 0.1
_MOST_STEPS = 300
_TOLERANCE = 1e-3
_LARGE = 10_000  # rows from which products are worth several cores


@dataclass(frozen=True, eq=False)
class LabelledEmbeddings:
    """`embeddings` float32 (n, dim) of unit length, and `classes` int64 (n,) of them."""

    embeddings: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Probe:
    """A probe's `accuracy`, `f1_macro` and `mean_class_accuracy` on `tested` rows, 0 … 1.

    `learned` rows taught it; `setting` says what was chosen.
    """

    learned: int
    tested: int
    accuracy: float
    f1_macro: float
    mean_class_accuracy: float
    setting: str


@dataclass(frozen=True)
class FewShot:
    """A linear probe of `shots` rows a class, over `draws` drawn at random.

    `accuracy` and `f1_macro` are means, `accuracy_sd` and `f1_sd` standard deviations over draws
    (n − 1). `short` counts classes that have fewer rows, all of which are taken.
    """

    shots: int
    draws: int
    accuracy: float
    accuracy_sd: float
    f1_macro: float
    f1_sd: float
    short: int


def knn(train: LabelledEmbeddings, test: LabelledEmbeddings, neighbours: int = NEIGHBOURS) -> Probe:
    """The classes of the nearest by cosine, weighted by nearness; at most as many as there are."""
    k = min(neighbours, len(train))
    # Of unit vectors, the Euclidean order is the cosine's.
    model = KNeighborsClassifier(k, weights="distance").fit(train.embeddings, train.classes)
    return _tested(model.predict(test.embeddings), train, test, f"{k} neighbours")


def linear_probe(
    train: LabelledEmbeddings, validation: LabelledEmbeddings, test: LabelledEmbeddings
) -> Probe:
    """Logistic regression on standardised embeddings, its regularisation chosen on `validation`.

    Without rows in `validation` it is the first of `STRENGTHS`.
    """
    best, highest = STRENGTHS[0], -1.0
    if len(validation):
        for strength in STRENGTHS:
            model = _fitted(strength, train.embeddings, train.classes)
            share = float((model.predict(validation.embeddings) == validation.classes).mean())
            if share > highest:
                best, highest = strength, share
    model = _fitted(best, train.embeddings, train.classes)
    return _tested(model.predict(test.embeddings), train, test, f"C = {best:g}")


def few_shot(
    train: LabelledEmbeddings, test: LabelledEmbeddings, shots: int, draws: int, seed: int
) -> FewShot:
    """A linear probe of few rows a class, repeated; the same draws for the same seed."""
    counts = np.bincount(train.classes)
    found = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, shots, draw])
        chosen = np.concatenate(
            [
                rng.permutation(np.flatnonzero(train.classes == k))[:shots]
                for k in np.flatnonzero(counts)
            ]
        )
        model = _fitted(_FEW_SHOT_STRENGTH, train.embeddings[chosen], train.classes[chosen])
        predicted = model.predict(test.embeddings)
        macro = f1_score(test.classes, predicted, average="macro", zero_division=0)
        found.append((float((predicted == test.classes).mean()), float(macro)))
    accuracy, macro = np.array(found).T
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


def _fitted(strength: float, embeddings: np.ndarray, classes: np.ndarray) -> Pipeline:
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, max_iter=_MOST_STEPS, tol=_TOLERANCE)
    )
    # Where products are small, cores wait for each other far longer than they compute.
    with threadpool_limits(1 if len(classes) < _LARGE else None):
        return model.fit(embeddings, classes)


def _tested(
    predicted: np.ndarray, train: LabelledEmbeddings, test: LabelledEmbeddings, setting: str
) -> Probe:
    # Over the classes that occur: balanced_accuracy_score does that too, but warns of the others.
    recall = recall_score(
        test.classes, predicted, labels=np.unique(test.classes), average="macro", zero_division=0
    )
    return Probe(
        learned=len(train),
        tested=len(test),
        accuracy=float((predicted == test.classes).mean()),
        f1_macro=float(f1_score(test.classes, predicted, average="macro", zero_division=0)),
        mean_class_accuracy=float(recall),
        setting=setting,
    )
