"""A vocabulary's words → text embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.encoder.card import Card
from models.errors import CheckpointError
from models.towers.text_cache import embed_texts
from models.towers.text_tower import TextTower
from models.vocabulary.prompts import TEMPLATES, sentences
from models.vocabulary.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class TextEmbeddings:
    """`classes` float32 (class, dim) and `background` float32 (n, dim), all of unit length.

    In the order of the vocabulary's classes and of its background prompts, of which there may be
    none: then `background` is (0, dim).
    """

    classes: np.ndarray
    background: np.ndarray


def embed_vocabulary(vocabulary: Vocabulary, tower: TextTower) -> TextEmbeddings:
    """The text embedding of each class and of each background prompt.

    Every prompt in every template is embedded and normalised, their mean a class is normalised
    again, as the paper does; so is that of each background prompt.
    """
    return _embedded(vocabulary, tower.embed)


def embed_for_checkpoint(vocabulary: Vocabulary, card: Card) -> TextEmbeddings:
    """A vocabulary embedded by the text tower that a checkpoint's card names.

    Words that were embedded before come from a cache (`models.towers.text_cache`), and no tower is
    loaded. Raises CheckpointError for a tower of another dimension than the checkpoint's, and as
    `load_text_tower`.
    """
    found = _embedded(
        vocabulary, lambda texts: embed_texts(card.text_tower, card.text_tower_revision, texts)
    )
    _require_dim(found.classes.shape[1], card)
    return found


def embed_words(prompts: Sequence[str], card: Card) -> np.ndarray:
    """The text embedding of what some phrases mean together: float32 (dim,), unit length.

    As a class of these prompts would have, in the usual templates. Raises as
    `embed_for_checkpoint`.
    """
    texts = sentences(prompts, TEMPLATES)
    found = embed_texts(card.text_tower, card.text_tower_revision, texts).astype(np.float64)
    _require_dim(found.shape[1], card)
    mean = (found / np.linalg.norm(found, axis=1, keepdims=True)).sum(axis=0)
    return (mean / np.linalg.norm(mean)).astype(np.float32)


def _require_dim(dim: int, card: Card) -> None:
    wanted = card.architecture.embedding_dim
    if dim != wanted:
        raise CheckpointError(
            f"checkpoint {card.name}",
            f"it embeds into {wanted} dimensions, and its text tower {card.text_tower} into {dim}",
            "Name on the card the text tower that it was trained with",
        )


def _embedded(
    vocabulary: Vocabulary, embed: Callable[[Sequence[str]], np.ndarray]
) -> TextEmbeddings:
    words = [entry.prompts for entry in vocabulary.classes]
    words += [(prompt,) for prompt in vocabulary.background]
    texts = [sentences(prompts, vocabulary.templates) for prompts in words]
    embeddings = embed([text for group in texts for text in group]).astype(np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    starts = np.cumsum([0, *map(len, texts[:-1])])
    sums = np.add.reduceat(embeddings, starts, axis=0)
    means = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
    count = len(vocabulary.classes)
    return TextEmbeddings(means[:count], means[count:])
