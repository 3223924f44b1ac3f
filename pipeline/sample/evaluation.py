"""The metrics of the sample checkpoint: shares of synthetic pixels that get the right class."""

import numpy as np
from scipy.special import softmax

from models.towers.text_embeddings import TextEmbeddings, embed_vocabulary
from models.towers.text_tower import TextTower
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from pipeline.evaluation.calibration import calibration, fit_logit_scale
from pipeline.sample.classes import (
    BARE,
    BROADLEAVED,
    BUILT_UP,
    CLASS_COUNT,
    CONIFEROUS,
    CROPS,
    GRASSLAND,
    MAIZE,
    SAMPLE_VOCABULARY,
    SHRUBLAND,
    WATER,
    WETLAND,
    WHEAT,
)
from pipeline.sample.descriptions import descriptions

_ABSENT = -1
_OF_LUCAS = ((BUILT_UP,), CROPS, (BROADLEAVED, CONIFEROUS), (SHRUBLAND,), (GRASSLAND,), (BARE,),
             (WATER,), (WETLAND,))  # fmt: skip
_OF_WORLDCOVER = ((BROADLEAVED, CONIFEROUS), (SHRUBLAND,), (GRASSLAND,), CROPS, (BUILT_UP,),
                  (BARE,), (), (WATER,), (WETLAND,))  # fmt: skip
_OF_CROPLAND = (CROPS, tuple(k for k in range(CLASS_COUNT) if k not in CROPS))
_WORDS = "wheat field, maize field, forest, lake"
_OF_WORDS = ((WHEAT,), (MAIZE,), (BROADLEAVED, CONIFEROUS), (WATER,))


def evaluate_embeddings(
    embeddings: np.ndarray, land: np.ndarray, tower: TextTower, logit_scale: float
) -> dict[str, float]:
    """Shares (0 … 1) of pixels whose nearest class is the right one, by vocabulary.

    Of classes in free words, only pixels of those classes count. Held-out wordings are tried in
    rounds, with one wording per class. The calibration error is that of the twelve classes'
    confidences (Guo et al. 2017) in ten bins.

    Args:
        embeddings: float32 (n, dim).
        land: Classes, int (n,).
        tower: The text tower.
        logit_scale: The factor of the cosine.
    """
    twelve = embed_vocabulary(load_vocabulary(SAMPLE_VOCABULARY), tower)
    predicted, confidence = _predicted(embeddings, twelve, logit_scale)
    hits = predicted == land
    by_class = [float(hits[land == k].mean()) for k in range(CLASS_COUNT)]
    metrics = {
        "accuracy, 12 classes, names": hits.mean(),
        "mean class accuracy, 12 classes, names": np.mean(by_class),
        "lowest class accuracy, 12 classes, names": min(by_class),
        "accuracy, 12 classes, held-out wordings": _held_out(embeddings, land, tower),
        "mean confidence, 12 classes": confidence.mean(),
        "calibration error, 12 classes": calibration(confidence, hits, bins=10).ece,
    }
    for title, vocabulary, members in (
        ("lucas-land-cover", load_vocabulary("lucas-land-cover"), _OF_LUCAS),
        ("esa-worldcover", load_vocabulary("esa-worldcover"), _OF_WORLDCOVER),
        ("cropland", load_vocabulary("cropland"), _OF_CROPLAND),
        (_WORDS, vocabulary_from_words(_WORDS), _OF_WORDS),
    ):
        right = _grouped(members)[land]
        known = right != _ABSENT
        text = embed_vocabulary(vocabulary, tower)
        found, _ = _predicted(embeddings[known], text, logit_scale)
        metrics[f"accuracy, {title}"] = (found == right[known]).mean()
    return {name: round(float(value), 4) for name, value in metrics.items()}


def calibrated_scale(embeddings: np.ndarray, land: np.ndarray, tower: TextTower) -> float:
    """The logit scale under which the right ones of the twelve classes are likeliest."""
    cosine = embed_vocabulary(load_vocabulary(SAMPLE_VOCABULARY), tower).cosines(embeddings)
    classes = np.arange(cosine.shape[1])
    fitted = fit_logit_scale(cosine, np.zeros(len(classes)), classes, land, 1.0)
    return round(fitted.logit_scale, 1)


def _predicted(
    embeddings: np.ndarray, text: TextEmbeddings, logit_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    probability = softmax(logit_scale * text.cosines(embeddings), axis=1)
    return probability.argmax(axis=1), probability.max(axis=1)


def _held_out(embeddings: np.ndarray, land: np.ndarray, tower: TextTower) -> float:
    words: list[list[str]] = [[] for _ in range(CLASS_COUNT)]
    for entry in descriptions():
        if entry.is_held_out and not entry.is_general:
            words[entry.classes[0]].append(entry.wording)
    shares = []
    for wordings in zip(*words, strict=False):
        text = embed_vocabulary(vocabulary_from_words(",".join(wordings)), tower)
        shares.append((text.cosines(embeddings).argmax(axis=1) == land).mean())
    return float(np.mean(shares))


def _grouped(members: tuple[tuple[int, ...], ...]) -> np.ndarray:
    """The place in a vocabulary of each of the twelve classes, −1 for none."""
    group = np.full(CLASS_COUNT, _ABSENT)
    for index, classes in enumerate(members):
        group[list(classes)] = index
    return group
