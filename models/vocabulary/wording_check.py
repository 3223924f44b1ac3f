"""Whether a vocabulary's words suit a text tower: classes too near, phrases too far apart."""

from dataclasses import dataclass

import numpy as np

from models.vocabulary.vocabulary import Vocabulary

CLOSE = 0.85
"""Cosine of two classes' texts above which a map hardly tells them apart."""
APART = 0.4
"""Cosine of two phrases of one member below which their mean is near to neither."""


@dataclass(frozen=True)
class ComparedWords:
    """Two texts of a vocabulary, as they are called, and the cosine of their embeddings."""

    first: str
    second: str
    cosine: float


def single_wordings(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The names of the classes that one phrase alone describes."""
    return tuple(entry.name for entry in vocabulary.classes if len(entry.phrases) == 1)


def close_classes(
    vocabulary: Vocabulary, members: np.ndarray, close: float = CLOSE
) -> list[ComparedWords]:
    """The pairs of classes of which a member of one is nearer than `close` to one of the other.

    Of each pair of classes, the nearest members count. The nearest pair is the first.

    Args:
        vocabulary: The classes.
        members: The text embedding of each member of each class, float32 (text, dim), unit length.
        close: A cosine.
    """
    owners = np.repeat(
        np.arange(len(vocabulary.classes)), [len(entry.synonyms) for entry in vocabulary.classes]
    )
    names = [
        entry.name if len(entry.synonyms) == 1 else f"{entry.name} ({synonyms[0]})"
        for entry in vocabulary.classes
        for synonyms in entry.synonyms
    ]
    cosines = members @ members.T
    nearest: dict[tuple[int, int], tuple[float, int, int]] = {}
    for a, b in zip(*np.nonzero(np.triu(cosines > close, k=1)), strict=True):
        pair = int(owners[a]), int(owners[b])
        if pair[0] != pair[1]:
            found = float(cosines[a, b]), int(a), int(b)
            nearest[pair] = max(nearest.get(pair, found), found)
    ordered = sorted(nearest.values(), reverse=True)
    return [ComparedWords(names[a], names[b], cosine) for cosine, a, b in ordered]


def phrases_apart(
    vocabulary: Vocabulary, phrases: np.ndarray, apart: float = APART
) -> list[tuple[str, ComparedWords]]:
    """The members of which two phrases are farther apart than a cosine of `apart`.

    Args:
        vocabulary: The classes.
        phrases: The text embedding of each member of `with_phrases(vocabulary)`, float32
            (phrase, dim), unit length.
        apart: A cosine.

    Returns:
        The names of the members' classes, and the two phrases that lie farthest apart; the
        farthest first.
    """
    found, start = [], 0
    for entry in vocabulary.classes:
        for synonyms in entry.synonyms:
            embeddings = phrases[start : start + len(synonyms)]
            start += len(synonyms)
            cosines = embeddings @ embeddings.T
            a, b = np.unravel_index(cosines.argmin(), cosines.shape)
            if cosines[a, b] < apart:
                words = ComparedWords(synonyms[a], synonyms[b], float(cosines[a, b]))
                found.append((entry.name, words))
    return sorted(found, key=lambda one: one[1].cosine)


def with_phrases(vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with each phrase as a member of its class."""
    classes = tuple(
        entry.model_copy(update={"prompts": (), "members": tuple((p,) for p in entry.phrases)})
        for entry in vocabulary.classes
    )
    return vocabulary.model_copy(update={"classes": classes})
