"""Zero-shot metrics: of classes by their words, and of numbers by prompts. Nothing is learned.

Classes are those that a map would show, with unrounded confidence. Numbers are compared as the
paper does with scenicness (arXiv 2508.11919), after contrastive prompting (Levering et al. 2024,
doi 10.1371/journal.pone.0307083): the score is the softmax share of a positive prompt against a
negative one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import expit
from scipy.stats import pearsonr, spearmanr

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.classify import Classifier, make_classifier
from pipeline.evaluation.calibration import Calibration, FittedScale, calibration, fit_logit_scale
from pipeline.evaluation.classification import Classification, by_region, classification
from pipeline.evaluation.probes import LabelledEmbeddings

_KEPT = 5


@dataclass(frozen=True, eq=False)
class ZeroShotClasses:
    """A vocabulary to classify embeddings with, as a map does; `names` are those of its legend."""

    classifier: Classifier
    names: tuple[str, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary, text: TextEmbeddings) -> "ZeroShotClasses":
        """The classes of a vocabulary, at its level."""
        classifier = make_classifier(vocabulary, text, 1.0, torch.device("cpu"))
        return cls(classifier, tuple(entry.name for entry in vocabulary.legend))

    def fit_scale(
        self, embeddings: np.ndarray, reference: np.ndarray, logit_scale: float
    ) -> FittedScale:
        """Fit the logit scale to references int64 (n,), places in `names`."""
        text = self.classifier.text
        cosine = text.cosines(torch.from_numpy(embeddings), 0, len(text)).numpy()
        bias, groups = self.classifier.bias.numpy(), self.classifier.groups.numpy()
        return fit_logit_scale(cosine, bias, groups, reference, logit_scale)

    def predict(self, embeddings: np.ndarray, logit_scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Predict the classes of embeddings float32 (n, dim).

        Returns:
            Places in the legend, int64 (n, k), best first, k at most 5; and the confidence of the
            first, float32 (n,), 0 … 1.
        """
        classifier = replace(self.classifier, logit_scale=logit_scale)
        place, shares = classifier.shares(torch.from_numpy(embeddings), _KEPT)
        return place.numpy(), shares[:, 0].numpy()


@dataclass(frozen=True, eq=False)
class ZeroShotMetrics:
    """The metrics of predicted classes, of all rows and by region, and of their confidence.

    `logit_scale` is the card's for these classes. `fitted` is the one that suits other rows best,
    `calibrated` the calibration with it; both are None without rows to fit on.
    """

    names: tuple[str, ...]
    classes: Classification
    regions: Mapping[str, Classification]
    calibration: Calibration
    logit_scale: float
    fitted: FittedScale | None
    calibrated: Calibration | None


def measure_zero_shot(
    words: ZeroShotClasses,
    evaluated: LabelledEmbeddings,
    tuning: LabelledEmbeddings | None,
    regions: Sequence[str | None] | None,
    logit_scale: float,
) -> ZeroShotMetrics:
    """Compare the classes that words give to embeddings with their labels.

    Args:
        words: The classes; those of `evaluated` and `tuning` are places in `words.names`.
        evaluated: The rows to compare.
        tuning: Other rows, to fit the logit scale to.
        regions: The region of each evaluated row, None for no metrics by region.
        logit_scale: That of the checkpoint for these classes.
    """
    embeddings, reference = evaluated.embeddings, evaluated.classes
    fitted = calibrated = None
    if tuning is not None and len(tuning):
        fitted = words.fit_scale(tuning.embeddings, tuning.classes, logit_scale)
        again, confidence = words.predict(embeddings, fitted.logit_scale)
        calibrated = calibration(confidence, again[:, 0] == reference)
    predicted, confidence = words.predict(embeddings, logit_scale)
    compared = reference, predicted, words.names
    return ZeroShotMetrics(
        names=words.names,
        classes=classification(*compared),
        regions={} if regions is None else by_region(*compared, regions),
        calibration=calibration(confidence, predicted[:, 0] == reference),
        logit_scale=logit_scale,
        fitted=fitted,
        calibrated=calibrated,
    )


@dataclass(frozen=True)
class Correlation:
    """The correlation of a score and a number, over `rows` rows.

    `pearson` is Pearson's r, `low` and `high` its 95 % interval (Fisher's transformation),
    `spearman` the correlation of ranks. NaN where score or number does not vary.
    """

    rows: int
    pearson: float
    low: float
    high: float
    spearman: float


def prompt_score(
    embeddings: np.ndarray, positive: np.ndarray, negative: np.ndarray, logit_scale: float
) -> np.ndarray:
    """The softmax share of the positive prompt, float64 (n,), 0 … 1.

    `embeddings` float32 (n, dim) and the text embeddings `positive` and `negative`, float32 (dim,),
    are of unit length.
    """
    apart = embeddings.astype(np.float64) @ (positive.astype(np.float64) - negative)
    return np.asarray(expit(logit_scale * apart))


def correlation(score: np.ndarray, number: np.ndarray) -> Correlation:
    """Correlate scores float (n,) and numbers float (n,); rows without a finite number don't count.

    Raises:
        ValueError: Fewer than 4 rows are left.
    """
    known = np.isfinite(number)
    score, number = score[known], number[known]
    if len(score) < 4:
        raise ValueError(f"{len(score)} rows, and a correlation's interval takes 4")
    if np.ptp(score) == 0 or np.ptp(number) == 0:
        return Correlation(len(score), np.nan, np.nan, np.nan, np.nan)
    pearson = pearsonr(score, number)
    interval = pearson.confidence_interval(0.95)
    return Correlation(
        rows=len(score),
        pearson=float(pearson.statistic),
        low=float(interval.low),
        high=float(interval.high),
        spearman=float(spearmanr(score, number).statistic),
    )
