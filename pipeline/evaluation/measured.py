"""Everything that is measured of a checkpoint, of embeddings of one number of steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.pretraining.batch import NO_KEY
from pipeline.evaluation.calibration import Calibration, FittedScale, calibration
from pipeline.evaluation.classification import Classification, by_region, classification
from pipeline.evaluation.probes import (
    FewShot,
    LabelledEmbeddings,
    Probe,
    few_shot,
    knn,
    linear_probe,
)
from pipeline.evaluation.regression import Correlation, correlation, prompt_score
from pipeline.evaluation.retrieval import Retrieval, retrieval
from pipeline.evaluation.zero_shot import Words

SHOTS = (1, 5, 10, 50)
MOST_RETRIEVED = 20_000
"""Rows of a gallery at most: its comparison grows with the square."""


@dataclass(frozen=True, eq=False)
class ZeroShotMeasured:
    """Zero-shot classes against labels, in all and by region, and their confidences.

    `fitted` is the logit scale that suits the rows it was fitted on best, `calibrated` the
    calibration with it; None where there were no rows to fit on.
    """

    names: tuple[str, ...]
    classes: Classification
    regions: Mapping[str, Classification]
    calibration: Calibration
    fitted: FittedScale | None
    calibrated: Calibration | None


@dataclass(frozen=True, eq=False)
class ProbesMeasured:
    """What can be learned from the embeddings; the classes of test rows that were not taught count.

    `few_shot` in the order of `SHOTS`, without those that no two classes have rows for.
    """

    knn: Probe
    linear: Probe
    few_shot: tuple[FewShot, ...]


@dataclass(frozen=True, eq=False)
class Measured:
    """The metrics of series in `steps` steps; None of what could not be asked.

    `retrieval` counts a row's own partner, and what depicts the same; `retrieval_by_label` all of
    the same class.
    """

    steps: int
    zero_shot: ZeroShotMeasured | None = None
    retrieval: Retrieval | None = None
    retrieval_by_label: Retrieval | None = None
    regression: Correlation | None = None
    probes: ProbesMeasured | None = None
    notes: tuple[str, ...] = field(default=())


def measure_zero_shot(
    words: Words,
    evaluated: LabelledEmbeddings,
    fitted_on: LabelledEmbeddings | None,
    regions: Sequence[str | None] | None,
    logit_scale: float,
) -> ZeroShotMeasured:
    """Ask embeddings for the words' classes; `classes` are places in `words.names`."""
    found = words.ask(evaluated.embeddings, logit_scale)
    hits = found.ranked[:, 0] == evaluated.classes
    fitted = calibrated = None
    if fitted_on is not None and len(fitted_on):
        fitted = words.fit_scale(fitted_on.embeddings, fitted_on.classes, logit_scale)
        again = words.ask(evaluated.embeddings, fitted.logit_scale)
        calibrated = calibration(again.confidence, again.ranked[:, 0] == evaluated.classes)
    return ZeroShotMeasured(
        names=words.names,
        classes=classification(evaluated.classes, found.ranked, words.names),
        regions={}
        if regions is None
        else by_region(evaluated.classes, found.ranked, words.names, regions),
        calibration=calibration(found.confidence, hits),
        fitted=fitted,
        calibrated=calibrated,
    )


def measure_retrieval(
    embeddings: np.ndarray, ground: np.ndarray, keys: np.ndarray, seed: int
) -> Retrieval:
    """Retrieval among at most `MOST_RETRIEVED` pairs, drawn at random."""
    rows = np.arange(len(embeddings))
    if len(rows) > MOST_RETRIEVED:
        rows = np.random.default_rng([seed, 6]).choice(rows, MOST_RETRIEVED, replace=False)
    return retrieval(embeddings[rows], ground[rows], keys[rows])


def keys_of_classes(classes: np.ndarray) -> np.ndarray:
    """Classes int64 (n,), negative for none, as keys (n, 1): rows of a class depict the same."""
    return np.where(classes < 0, NO_KEY, classes)[:, None]


def measure_regression(
    embeddings: np.ndarray,
    numbers: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    logit_scale: float,
) -> Correlation:
    """How the share of the positive prompt goes with numbers float64 (n,); NaN are left out."""
    known = np.isfinite(numbers)
    score = prompt_score(embeddings[known], positive, negative, logit_scale)
    return correlation(score, numbers[known])


def measure_probes(
    train: LabelledEmbeddings,
    validation: LabelledEmbeddings,
    test: LabelledEmbeddings,
    draws: int,
    seed: int,
) -> ProbesMeasured:
    """All probes. Raises ValueError where train has fewer than two classes or test no row."""
    counts = np.bincount(train.classes) if len(train) else np.zeros(1, int)
    if (counts > 0).sum() < 2 or not len(test):
        raise ValueError(
            f"{int((counts > 0).sum())} classes to learn from and {len(test)} rows to test on"
        )
    return ProbesMeasured(
        knn=knn(train, test),
        linear=linear_probe(train, validation, test),
        few_shot=tuple(
            few_shot(train, test, shots, draws, seed)
            for shots in SHOTS
            if (counts >= shots).sum() >= 2
        ),
    )
