"""Predicted classes are those that a map would show; prompts go with numbers by correlation."""

import numpy as np
import pytest
import torch

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from pipeline.classification.classify import make_classifier
from pipeline.evaluation.calibration import fit_logit_scale
from pipeline.evaluation.zero_shot import ZeroShotClasses, correlation, prompt_score


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    values = rng.normal(size=(n, 24))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def of_kind(kind: str) -> Vocabulary:
    vocabulary = load_vocabulary("eunis-habitats")
    if kind == "biased":
        classes = [c.model_copy(update={"bias": 0.3 * (k % 3)}) for k, c in
                   enumerate(vocabulary.classes)]  # fmt: skip
        return vocabulary.model_copy(update={"classes": tuple(classes)})
    if kind == "parents":
        return vocabulary.model_copy(update={"level": "parent"})
    if kind == "none":
        return vocabulary.model_copy(update={"background": ("sky", "fog"), "threshold": 0.35})
    return vocabulary


@pytest.mark.parametrize("kind", ["plain", "biased", "parents", "none"])
@pytest.mark.parametrize("most_members", [1, 4])
def test_as_a_map_shows_it(kind: str, most_members: int) -> None:
    rng = np.random.default_rng(8)
    vocabulary = of_kind(kind)
    classes, background = len(vocabulary.classes), len(vocabulary.background)
    index = np.repeat(np.arange(classes), rng.integers(1, most_members, classes, endpoint=True))
    text = TextEmbeddings(unit(rng, len(index)), index, unit(rng, background))
    embeddings = unit(rng, 500)
    words = ZeroShotClasses.of(vocabulary, text)
    ranking, confidence = words.predict(embeddings, 18.0)
    classifier = make_classifier(vocabulary, text, 18.0, torch.device("cpu"))
    shown = classifier.classify(torch.from_numpy(embeddings), 5)
    place, percent = shown.place, shown.percent
    np.testing.assert_array_equal(ranking[:, 0], place[:, 0].numpy())
    np.testing.assert_allclose(100 * confidence, percent[:, 0].numpy(), atol=0.51)
    certain = ranking[:, 0] < len(words.names) - 1 if kind == "none" else np.ones(500, bool)
    np.testing.assert_array_equal(ranking[certain], place[certain].numpy())
    assert words.names == tuple(entry.name for entry in vocabulary.legend)
    if kind == "none":
        assert (~certain).any()


def test_the_scale_is_fitted_to_the_nearest_members() -> None:
    rng = np.random.default_rng(3)
    vocabulary = of_kind("biased")
    index = np.repeat(np.arange(len(vocabulary.classes)), 3)
    text = TextEmbeddings(unit(rng, len(index)), index, unit(rng, 0))
    embeddings, reference = unit(rng, 300), rng.integers(0, len(vocabulary.classes), 300)
    found = ZeroShotClasses.of(vocabulary, text).fit_scale(embeddings, reference, 18.0)
    bias = np.array([entry.bias for entry in vocabulary.classes])
    groups = np.arange(len(bias))
    wanted = fit_logit_scale(text.cosines(embeddings), bias, groups, reference, 18.0)
    assert found.logit_scale == pytest.approx(wanted.logit_scale, rel=1e-3)
    assert found.loss_before == pytest.approx(wanted.loss_before, rel=1e-5)


def test_the_score_is_the_softmax_of_two() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(40, 16)).astype(np.float32)
    positive, negative = rng.normal(size=(2, 16)).astype(np.float32)
    logits = 14 * embeddings @ np.stack((positive, negative)).T
    wanted = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    np.testing.assert_allclose(
        prompt_score(embeddings, positive, negative, 14), wanted, rtol=1e-4, atol=1e-12
    )


def test_correlation() -> None:
    rng = np.random.default_rng(1)
    number = rng.normal(size=400)
    score = 0.6 * number + 0.8 * rng.normal(size=400)
    found = correlation(score, number)
    assert found.pearson == pytest.approx(np.corrcoef(score, number)[0, 1])
    z, half = np.arctanh(found.pearson), 1.959964 / np.sqrt(397)  # Fisher's
    assert found.low == pytest.approx(np.tanh(z - half), abs=1e-5)
    assert found.high == pytest.approx(np.tanh(z + half), abs=1e-5)
    assert correlation(np.exp(number), number).spearman == pytest.approx(1)


def test_without_variation_or_rows() -> None:
    assert np.isnan(correlation(np.ones(9), np.arange(9.0)).pearson)
    with pytest.raises(ValueError, match="3 rows"):
        correlation(np.arange(3.0), np.arange(3.0))
