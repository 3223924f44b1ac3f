"""Text embeddings of a vocabulary's classes."""

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
    """Embeddings of unit length, in the vocabulary's order.

    Attributes:
        classes: float32 (class, dim).
        background: float32 (n, dim), of the background prompts, of which there may be none.
    """

    classes: np.ndarray
    background: np.ndarray


def embed_vocabulary(vocabulary: Vocabulary, tower: TextTower) -> TextEmbeddings:
    """The text embedding of each class and of each background prompt.

    As in the paper, each sentence (a prompt in a template) is embedded and normalised, and the mean
    of a class's sentences is normalised again. The same holds for each background prompt.
    """
    return _embed(vocabulary, tower.embed)


def embed_for_checkpoint(vocabulary: Vocabulary, card: Card) -> TextEmbeddings:
    """Embed a vocabulary by the text tower that a checkpoint's card names.

    Words that were embedded before come from a cache (`models.towers.text_cache`).

    Raises:
        CheckpointError: The tower has another dimension than the checkpoint, or as
            `load_text_tower` raises.
    """
    return _embed(vocabulary, lambda texts: _embed_by_card(texts, card))


def embed_words(prompts: Sequence[str], card: Card) -> np.ndarray:
    """The text embedding of some phrases together: float32 (dim,), unit length.

    It is that of a class with these prompts, in the default templates. Raises as
    `embed_for_checkpoint`.
    """
    groups = [sentences(prompts, TEMPLATES)]
    return _embed_groups(groups, lambda texts: _embed_by_card(texts, card))[0]


def _embed_by_card(texts: Sequence[str], card: Card) -> np.ndarray:
    embeddings = embed_texts(card.text_tower, card.text_tower_revision, texts)
    wanted, dim = card.architecture.embedding_dim, embeddings.shape[1]
    if dim != wanted:
        raise CheckpointError(
            f"checkpoint {card.name}",
            f"it embeds into {wanted} dimensions, and its text tower {card.text_tower} into {dim}",
            "Name on the card the text tower that it was trained with",
        )
    return embeddings


def _embed(vocabulary: Vocabulary, embed: Callable[[Sequence[str]], np.ndarray]) -> TextEmbeddings:
    prompts = [entry.prompts for entry in vocabulary.classes]
    prompts += [(prompt,) for prompt in vocabulary.background]
    means = _embed_groups([sentences(one, vocabulary.templates) for one in prompts], embed)
    count = len(vocabulary.classes)
    return TextEmbeddings(means[:count], means[count:])


def _embed_groups(
    groups: Sequence[Sequence[str]], embed: Callable[[Sequence[str]], np.ndarray]
) -> np.ndarray:
    """The normalised mean of each group's normalised embeddings: float32 (group, dim)."""
    embeddings = embed([text for group in groups for text in group]).astype(np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    starts = np.cumsum([0, *map(len, groups[:-1])])
    sums = np.add.reduceat(embeddings, starts, axis=0)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
