"""Embeddings × words → the classes that a map would show, in order, with unrounded confidence."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.classify import Answers, answers_of
from pipeline.evaluation.calibration import FittedScale, fit_logit_scale

_KEPT = 5


@dataclass(frozen=True, eq=False)
class ZeroShot:
    """What pixels are by a vocabulary.

    `ranked` int64 (n, k): places in the vocabulary's legend, best first, k at most 5; `confidence`
    float32 (n,), 0 … 1, of the first.
    """

    ranked: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True, eq=False)
class Words:
    """What pixels are compared with, as on a map, and the `names` of the vocabulary's legend."""

    answers: Answers
    names: tuple[str, ...]

    @classmethod
    def of(cls, vocabulary: Vocabulary, text: TextEmbeddings) -> "Words":
        """Those of a vocabulary, at the level that it says."""
        answers = answers_of(vocabulary, text, 1.0, torch.device("cpu"))
        return cls(answers, tuple(entry.name for entry in vocabulary.legend))

    def fit_scale(
        self, embeddings: np.ndarray, reference: np.ndarray, logit_scale: float
    ) -> FittedScale:
        """The logit scale that suits references int64 (n,), places in `names`, best."""
        text, bias, groups = (
            tensor.numpy() for tensor in (self.answers.text, self.answers.bias, self.answers.groups)
        )
        return fit_logit_scale(embeddings @ text.T, bias, groups, reference, logit_scale)

    def ask(self, embeddings: np.ndarray, logit_scale: float) -> ZeroShot:
        """The classes of embeddings float32 (n, dim), in a map's order."""
        answers = replace(self.answers, logit_scale=logit_scale)
        place, shares = answers.ranked(torch.from_numpy(embeddings), _KEPT)
        return ZeroShot(place.numpy(), shares[:, 0].numpy())
