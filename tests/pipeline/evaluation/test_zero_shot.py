"""What is evaluated is what a map would show."""

import numpy as np
import pytest
import torch

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from pipeline.classification.classify import answers_of
from pipeline.evaluation.zero_shot import Words


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
def test_as_a_map_shows_it(kind: str) -> None:
    rng = np.random.default_rng(8)
    vocabulary = of_kind(kind)
    text = TextEmbeddings(unit(rng, len(vocabulary.classes)), unit(rng, len(vocabulary.background)))
    embeddings = unit(rng, 500)
    words = Words.of(vocabulary, text)
    found = words.ask(embeddings, 18.0)
    answers = answers_of(vocabulary, text, 18.0, torch.device("cpu"))
    place, percent = answers.of(torch.from_numpy(embeddings), 5)
    np.testing.assert_array_equal(found.ranked[:, 0], place[:, 0].numpy())
    np.testing.assert_allclose(100 * found.confidence, percent[:, 0].numpy(), atol=0.51)
    certain = found.ranked[:, 0] < len(words.names) - 1 if kind == "none" else np.ones(500, bool)
    np.testing.assert_array_equal(found.ranked[certain], place[certain].numpy())
    assert words.names == tuple(entry.name for entry in vocabulary.legend)
    if kind == "none":
        assert (~certain).any()
