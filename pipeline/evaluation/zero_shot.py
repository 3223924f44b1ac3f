"""Embeddings × words → the classes that a map would show, in order, with unrounded confidence."""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from models.text_embeddings import TextEmbeddings
from models.vocabulary import Vocabulary
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
    """A vocabulary as texts: what a pixel is compared with, and what each of them stands for.

    `text` float32 (text, dim) are the classes', then the background's; `bias` float32 (text,);
    `groups` int64 (text,) the place in `names`: a class, its parent, or none of these.
    `threshold` is the cosine below which a pixel is none of these.
    """

    text: np.ndarray
    bias: np.ndarray
    groups: np.ndarray
    names: tuple[str, ...]
    threshold: float | None

    @classmethod
    def of(cls, vocabulary: Vocabulary, text: TextEmbeddings) -> "Words":
        """Those of a vocabulary, at the level that it says (`pipeline.answers`, on a map)."""
        background = len(text.background)
        at_parents = vocabulary.level == "parent"
        own = vocabulary.parent_index if at_parents else np.arange(len(vocabulary.classes))
        shown = len(vocabulary.parents if at_parents else vocabulary.classes)
        return cls(
            text=np.concatenate((text.classes, text.background)),
            bias=np.array(
                [*(entry.bias for entry in vocabulary.classes), *[0.0] * background], np.float32
            ),
            groups=np.append(own, [shown] * background).astype(np.int64),
            names=tuple(entry.name for entry in vocabulary.legend),
            threshold=vocabulary.threshold,
        )

    def fit_scale(
        self, embeddings: np.ndarray, reference: np.ndarray, logit_scale: float
    ) -> FittedScale:
        """The logit scale that suits references int64 (n,), places in `names`, best."""
        cosine = embeddings @ self.text.T
        return fit_logit_scale(cosine, self.bias, self.groups, reference, logit_scale)

    def ask(self, embeddings: np.ndarray, logit_scale: float) -> ZeroShot:
        """The classes of embeddings float32 (n, dim), as a map shows them.

        First comes what the text of the highest logit (scale × cosine + bias) stands for, the
        others follow by their share in the softmax; the first's share is its confidence.
        """
        cosine = embeddings @ self.text.T
        logits = logit_scale * cosine + self.bias
        best = logits.argmax(axis=1)
        shares = softmax(logits, axis=1) @ np.eye(len(self.names), dtype=np.float32)[self.groups]
        rows = np.arange(len(embeddings))
        first = self.groups[best]
        confidence = shares[rows, first].copy()
        if self.threshold is not None:
            beneath = cosine[rows, best] < self.threshold
            first = np.where(beneath, len(self.names) - 1, first)
            confidence[beneath] = 0
        shares[rows, first] = 2  # above every share
        kept = min(_KEPT, len(self.names))
        ranked = np.argsort(-shares, axis=1, kind="stable")[:, :kept]
        return ZeroShot(ranked, confidence)
