"""Text embeddings of what is said of the sample's classes."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from models.vocabulary.prompts import TEMPLATES, with_article
from pipeline.sample.classes import CLASS_COUNT
from pipeline.sample.descriptions import ABSENT, Description

_SPECIFIC = 0.6  # how often a pixel's description is one of its class alone


class Texts:
    """The text embeddings of descriptions, in all their templates.

    `embeddings` float32 (description, wording, dim); `is_true` bool (class, description): a
    description that is true of a pixel is no negative of it.
    """

    def __init__(
        self, seen: list[Description], embed: Callable[[Sequence[str]], np.ndarray]
    ) -> None:
        sentences = [_sentences(entry.wording) for entry in seen]
        self.wordings = len(sentences[0])
        flat = embed([sentence for group in sentences for sentence in group])
        self.embeddings = torch.from_numpy(flat).unflatten(0, (len(seen), self.wordings))
        self.absent = torch.from_numpy(embed([s for w in ABSENT for s in _sentences(w)]))
        self.is_true = np.zeros((CLASS_COUNT, len(seen)), bool)
        for index, entry in enumerate(seen):
            self.is_true[list(entry.classes), index] = True
        is_general = np.array([entry.is_general for entry in seen])
        self._of_class = [
            (np.flatnonzero(row & ~is_general), np.flatnonzero(row & is_general))
            for row in self.is_true
        ]

    def choose(self, land: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A description of each class in `land`: int (n,)."""
        picked = np.empty(len(land), np.int64)
        for k, (specific, general) in enumerate(self._of_class):
            rows = np.flatnonzero(land == k)
            own = rng.choice(specific, len(rows))
            wide = rng.choice(general, len(rows)) if len(general) else own
            picked[rows] = np.where(rng.uniform(size=len(rows)) < _SPECIFIC, own, wide)
        return picked


def _sentences(wording: str) -> list[str]:
    """The wording as it is and in the paper's templates."""
    article = with_article(wording)
    return [wording, *(t.replace("{}", wording).replace("{a}", article) for t in TEMPLATES)]
