"""What is asked of a run's kept embeddings, and the answers that tiles are made of.

One word, or a pixel, gives a heat map: the cosine to it. Several words give a map of their classes.
Clicked pixels adjust both: a kernel ridge regression (`pipeline.classification.examples`) learns
what the answer gets wrong of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.classify import Classifier
from pipeline.classification.examples import RIDGE, SHARPNESSES, ExampleCache, kernel

_MOST_WORDS = 1000  # characters
_MOST_CLICKS = 500
_LEAST_WEIGHT = 4.0  # of clicked pixels, in logits
_PAST = 2.0  # times the logits by which the right class of a clicked pixel falls behind
_SHARPNESS = SHARPNESSES[1]


class ClickedPixel(BaseModel):
    """A pixel that the user clicked as an example.

    Attributes:
        lon: Degrees; `lat` likewise.
        name: The class of several words that it is an example of; None for a single question.
        right: Whether it is one, or is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lon: float = Field(ge=-180, le=180, allow_inf_nan=False)
    lat: float = Field(ge=-90, le=90, allow_inf_nan=False)
    name: str | None = Field(None, max_length=_MOST_WORDS)
    right: bool = True


class Question(BaseModel):
    """What is asked: words, or the land at a place, or else the run's own classes, with examples.

    Attributes:
        words: "vineyard" for a heat map; several with commas for a map of classes.
        like: Longitude and latitude of a pixel.
        clicked: Examples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: str = Field("", max_length=_MOST_WORDS)
    like: tuple[float, float] | None = None
    clicked: tuple[ClickedPixel, ...] = Field((), max_length=_MOST_CLICKS)


@dataclass(frozen=True, eq=False)
class HeatAnswer:
    """A heat map of the cosine to something.

    Attributes:
        target: float32 (dim,), unit length.
        low: The number of the darkest colour, `high` of the lightest.
        clicked: What clicked pixels add to the cosine, (example, 1), if there are any.
    """

    target: torch.Tensor
    low: float
    high: float
    clicked: ExampleCache | None = None

    def values(self, embeddings: torch.Tensor) -> np.ndarray:
        """The number of each pixel, float32 (n,), of embeddings (n, dim)."""
        found = embeddings @ self.target
        if self.clicked is not None:
            found += self.clicked.logits(embeddings, 0, 1)[:, 0]
        values: np.ndarray = found.numpy()
        return values


@dataclass(frozen=True, eq=False)
class ClassAnswer:
    """A map of classes: the vocabulary, and what finds its classes."""

    vocabulary: Vocabulary
    classifier: Classifier

    def values(self, embeddings: torch.Tensor) -> np.ndarray:
        """The class values, uint16 (n,), of embeddings (n, dim)."""
        place = self.classifier.classify(embeddings).place[:, 0].numpy()
        values: np.ndarray = self.classifier.values[place].astype(np.uint16)
        return values


Answer = HeatAnswer | ClassAnswer


def heat_answer(
    target: np.ndarray, sample: torch.Tensor, clicked: torch.Tensor, right: Sequence[bool]
) -> HeatAnswer:
    """The answer to a word, or to a pixel.

    Args:
        target: float32 (dim,), unit length.
        sample: Embeddings of the run, (n, dim): 2 and 98 % of them lie below the ramp's ends.
        clicked: Embeddings of clicked pixels, (example, dim).
        right: Whether each of these should be light or dark.
    """
    wanted = torch.from_numpy(target)
    low, high = np.percentile((sample @ wanted).numpy(), [2, 98]).tolist()
    if not len(clicked):
        return HeatAnswer(wanted, low, max(high, low + 1e-3))
    goal = torch.tensor([high if each else low for each in right])
    wrong = (goal - clicked @ wanted)[:, None]
    sharpness = _SHARPNESS / _spread(sample)
    return HeatAnswer(
        wanted, low, max(high, low + 1e-3), _learned(clicked, wrong, sharpness, weight=1.0)
    )


def with_clicks(
    classifier: Classifier,
    sample: torch.Tensor,
    clicked: torch.Tensor,
    classes: Sequence[int],
    right: Sequence[bool],
) -> Classifier:
    """A classifier that finds clicked pixels as the user says.

    Where a pixel is none of a class, the logits' softmax over all others is what it should be. The
    weight is such that the class of a clicked pixel passes the one that was found before.

    Args:
        classifier: The classifier by words.
        sample: Embeddings of the run, (n, dim).
        clicked: Embeddings of clicked pixels, (example, dim).
        classes: The place of each one's class.
        right: Whether it is of this class, or of any other.
    """
    words = classifier.logits(clicked, 0, len(classifier.text))
    index, yes = torch.tensor(classes), torch.tensor(right)
    others = words.scatter(1, index[:, None], -torch.inf)
    own = torch.nn.functional.one_hot(index, words.shape[1]).float()
    goal = torch.where(yes[:, None], own, others.softmax(dim=1))
    of_class = words.gather(1, index[:, None])[:, 0]
    behind = torch.where(yes, 1, -1) * (others.amax(dim=1) - of_class)
    weight = max(_LEAST_WEIGHT, _PAST * float(behind.max()))
    cache = _learned(clicked, goal - words.softmax(dim=1), _SHARPNESS / _spread(sample), weight)
    return Classifier(**{**vars(classifier), "examples": cache})


def _learned(
    clicked: torch.Tensor, wrong: torch.Tensor, sharpness: float, weight: float
) -> ExampleCache:
    """α (K + λ I)⁻¹ R of clicked pixels and what is wrong of them, R (example, column)."""
    ridge = kernel(clicked, clicked, sharpness) + RIDGE * torch.eye(len(clicked))
    return ExampleCache(clicked, weight * torch.linalg.solve(ridge, wrong), sharpness)


def _spread(sample: torch.Tensor) -> float:
    """The mean distance 1 - cosine of two pixels of a sample."""
    some = sample[:: max(1, len(sample) // 500)]
    return max(float((1 - some @ some.T).mean()), 1e-6)
