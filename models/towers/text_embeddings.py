"""Text embeddings of a vocabulary's classes and their members."""

from collections.abc import Callable, Mapping, Sequence
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
        members: float32 (text, dim), one text for each member of each class; a class without
            members has one text.
        class_index: int64 (text,), the class of each text, ascending from 0.
        background: float32 (n, dim), of the background prompts, of which there may be none.
    """

    members: np.ndarray
    class_index: np.ndarray
    background: np.ndarray

    @classmethod
    def of_classes(cls, classes: np.ndarray, background: np.ndarray) -> "TextEmbeddings":
        """Those of classes with one text each: float32 (class, dim) and (n, dim)."""
        return cls(classes, np.arange(len(classes)), background)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray]) -> "TextEmbeddings":
        """Those that `tensors` gave; also those of older runs, whose classes had one text each."""
        classes = tensors["classes"]
        index = tensors.get("class_index", np.arange(len(classes)))
        return cls(classes, index, tensors["background"])

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors of a file: `classes` (the members), `class_index` and `background`."""
        return {
            "classes": self.members,
            "class_index": self.class_index,
            "background": self.background,
        }

    @property
    def starts(self) -> np.ndarray:
        """The place in `members` of each class's first: int64 (class,)."""
        return np.flatnonzero(np.diff(self.class_index, prepend=-1))

    def with_background(self) -> tuple[np.ndarray, np.ndarray]:
        """All texts, float32 (n, dim), and the class of each, int64 (n,).

        The background prompts come last; each counts as a class of its own.
        """
        background = len(self.starts) + np.arange(len(self.background))
        return (
            np.concatenate((self.members, self.background)),
            np.append(self.class_index, background),
        )

    def cosines(self, embeddings: np.ndarray) -> np.ndarray:
        """The cosine of each embedding and the nearest member of each class: float (n, class).

        `embeddings` float (n, dim) are of unit length.
        """
        cosines: np.ndarray = np.maximum.reduceat(embeddings @ self.members.T, self.starts, axis=1)
        return cosines


def embed_vocabulary(vocabulary: Vocabulary, tower: TextTower) -> TextEmbeddings:
    """The text embedding of each member of each class, and of each background prompt.

    As in the paper, each sentence (a prompt in a template) is embedded and normalised, and the mean
    of a member's sentences is normalised again. The same holds for each background prompt.
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
    members = [entry.synonyms for entry in vocabulary.classes]
    prompts = [one for of_class in members for one in of_class]
    prompts += [(prompt,) for prompt in vocabulary.background]
    means = _embed_groups([sentences(one, vocabulary.templates) for one in prompts], embed)
    class_index = np.repeat(np.arange(len(members)), [len(of_class) for of_class in members])
    count = len(class_index)
    return TextEmbeddings(means[:count], class_index, means[count:])


def _embed_groups(
    groups: Sequence[Sequence[str]], embed: Callable[[Sequence[str]], np.ndarray]
) -> np.ndarray:
    """The normalised mean of each group's normalised embeddings: float32 (group, dim)."""
    embeddings = embed([text for group in groups for text in group]).astype(np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    starts = np.cumsum([0, *map(len, groups[:-1])])
    sums = np.add.reduceat(embeddings, starts, axis=0)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
