"""The calibration of a vocabulary's confidence: a logit scale fitted to held-out points.

Temperature scaling (Guo et al. 2017, arXiv 1706.04599, section 4.2): one number, which changes
confidences but no class (unless classes have biases), so that a map stays as it is.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold

from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import embed_all
from models.encoder.vocabulary_calibration import ReliabilityBin, VocabularyCalibration
from models.errors import UserError
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.vocabulary.labels import UNMATCHED, Level, match_labels
from models.vocabulary.vocabulary import Vocabulary
from pipeline.evaluation.calibration import calibration
from pipeline.evaluation.checkpoint_evaluation import embed_finite
from pipeline.evaluation.samples import SampleSource
from pipeline.evaluation.zero_shot import ZeroShotClasses

LEAST_POINTS = 50
"""Points below which no calibration is fitted: their error says nothing of a map's."""
_FOLDS = 5
_BINS = 10  # of the curve that the card keeps


def calibrate_vocabulary(
    embeddings: np.ndarray,
    references: np.ndarray,
    vocabulary: Vocabulary,
    text: TextEmbeddings,
    logit_scale: float,
    *,
    blocks: np.ndarray | None = None,
    steps: int = 12,
    data: str = "held-out points",
) -> VocabularyCalibration:
    """Fit the logit scale of a vocabulary to points that the checkpoint was not trained on.

    The error that the calibration states is measured on points that had no part in the fit: for
    each of five folds of whole blocks of land, the scale is fitted to the others. The scale that
    the calibration states is fitted to all points.

    Args:
        embeddings: float32 (n, dim), unit length.
        references: int64 (n,), the right places in the vocabulary's classes, or in its parents
            where `vocabulary.level` is "parent"; rows with `UNMATCHED` are left out.
        vocabulary: The classes.
        text: Their text embeddings.
        logit_scale: The checkpoint's own, for the error before.
        blocks: The block of land of each point (n,); None if all lie far apart.
        steps: The number of steps of the series that were embedded.
        data: The points, in words, for people.

    Raises:
        UserError: There are fewer than `LEAST_POINTS` points, or their likelihood has no maximum,
            since all are right or none is.
    """
    known = references != UNMATCHED
    embeddings, references = embeddings[known], references[known]
    count = len(references)
    given = f"{count} points for {vocabulary.name}"
    if count < LEAST_POINTS:
        raise UserError(
            given,
            f"a calibration takes {LEAST_POINTS}, in classes of this vocabulary",
            "Give more points, or another part of them",
        )
    words = ZeroShotClasses.of(vocabulary, text)
    fitted = words.fit_scale(embeddings, references, logit_scale)
    if fitted.at_bound:
        raise UserError(
            given,
            "no logit scale suits them best: nearly all are right, or their confidence says "
            "nothing of being right",
            "Give points that are harder, or keep the checkpoint's logit scale",
        )
    before, right = _confidence(words, embeddings, references, logit_scale)
    places = np.arange(count) if blocks is None else blocks[known]
    after = np.empty(count)
    for train, test in _folds(places):
        scale = words.fit_scale(embeddings[train], references[train], logit_scale).logit_scale
        after[test], _ = _confidence(words, embeddings[test], references[test], scale)
    return VocabularyCalibration(
        vocabulary=vocabulary.identity,
        steps=steps,
        logit_scale=round(fitted.logit_scale, 3),
        points=count,
        data=data,
        ece_before=round(calibration(before, right).ece, 4),
        ece_after=round(calibration(after, right).ece, 4),
        reliability=_reliability(after, right),
    )


@dataclass(frozen=True)
class CalibrationPoints:
    """Where the points of a calibration come from: rows of the split `part`, by their `label`."""

    source: SampleSource
    part: str
    label: str
    level: Level | None = None


def calibrate_checkpoint(
    checkpoint: Checkpoint, vocabulary: Vocabulary, points: CalibrationPoints, steps: int = 12
) -> VocabularyCalibration:
    """Fit the calibration of a checkpoint for a vocabulary to labelled series.

    The calibration is of the vocabulary at the level of the labels, or at `points.level`.

    Raises:
        UserError: As `calibrate_vocabulary` does, or the source has no such rows or label.
    """
    if points.label not in (held := points.source.labels):
        raise UserError(
            f"label {points.label!r}",
            f"{points.source.about['address']} has no such label",
            f"It has {', '.join(held) or 'none'}",
        )
    samples, card = points.source.read(points.part), checkpoint.card
    matched = match_labels(samples.labels[points.label], vocabulary, points.level)
    at_level = vocabulary.model_copy(update={"level": matched.level})
    samples, references = samples.take(matched.known), matched.index[matched.known]
    embeddings, finite = embed_finite(
        lambda series: embed_all(checkpoint, series, steps=steps).numpy(), samples.series
    )
    about = points.source.about
    return calibrate_vocabulary(
        embeddings,
        references[finite],
        at_level,
        embed_for_checkpoint(at_level, card),
        card.logit_scale,
        blocks=samples.blocks[finite],
        steps=steps,
        data=f"{about['kind']} {str(about['fingerprint'])[:12]}, part {points.part}",
    )


def _folds(blocks: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit to and rows to judge, by folds of whole blocks; of one block, by single rows."""
    groups = blocks if len(np.unique(blocks)) > 1 else np.arange(len(blocks))
    folds = GroupKFold(min(_FOLDS, len(np.unique(groups))))
    return list(folds.split(groups[:, None], groups=groups))


def _confidence(
    words: ZeroShotClasses, embeddings: np.ndarray, references: np.ndarray, logit_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    place, confidence = words.predict(embeddings, logit_scale)
    return confidence, place[:, 0] == references


def _reliability(confidence: np.ndarray, right: np.ndarray) -> tuple[ReliabilityBin, ...]:
    curve = calibration(confidence, right, _BINS)
    return tuple(
        ReliabilityBin(
            confidence=round(float(curve.confidence[k]), 4),
            accuracy=round(float(curve.accuracy[k]), 4),
            points=int(curve.counts[k]),
        )
        for k in np.flatnonzero(curve.counts)
    )
