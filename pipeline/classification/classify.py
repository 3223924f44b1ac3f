"""Zero-shot classification: embeddings × text embeddings → classes and their confidence."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from models.encoder.quantised_embeddings import is_valid
from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.class_scores import ClassTexts, nearest_classes
from pipeline.classification.examples import ExampleCache
from pipeline.product.layers import (
    CLASS,
    CONFIDENCE,
    NODATA_CLASS,
    NODATA_CONFIDENCE,
    TOP_CLASSES,
    TOP_CONFIDENCES,
)


@dataclass(frozen=True)
class PixelClasses:
    """The nearest classes of some pixels, best first, tensors on the embeddings' device.

    Attributes:
        place: int64 (pixel, k), places in `Classifier.values`.
        percent: uint8 (pixel, k), 255 where there is no class.
    """

    place: torch.Tensor
    percent: torch.Tensor


@dataclass(frozen=True)
class Classifier:
    """A vocabulary on a device: its text embeddings, and the value of each class on the map.

    Each background prompt counts as a class, after those of the vocabulary.

    Attributes:
        text: The text embeddings of the classes and of the background prompts.
        bias: float32 (class,), added to their logits.
        groups: int64 (class,), places in `values`: of the class, of its parent, or of "none of
            these".
        values: uint8 or uint16 (shown + 2,), the map's values; the last but one is that of "none
            of these", the last is nodata.
        logit_scale: The factor of the cosine.
        threshold: A pixel whose nearest member of its class is less similar than this is none of
            these.
        examples: What labelled examples add to the classes' logits.
    """

    text: ClassTexts
    bias: torch.Tensor
    groups: torch.Tensor
    values: np.ndarray
    logit_scale: float
    threshold: float | None
    examples: ExampleCache | None = None

    def classify(self, embeddings: torch.Tensor, top_k: int = 1) -> PixelClasses:
        """Find the classes of each pixel that the map shows.

        The first is the class of the highest logit; its percentage is its share in the softmax over
        the logits of all classes (of a parent, the sum over its classes). The others follow by
        their percentages. A pixel below the threshold is "none of these" with 0 %, then its nearest
        classes. No class occurs twice. A pixel whose embedding is not a number is nodata.

        Args:
            embeddings: float (pixel, dim), unit length.
            top_k: How many classes; at most as many as there are.
        """
        place, shares = self.shares(embeddings, top_k)
        return PixelClasses(place, as_percent(shares))

    def logits(self, embeddings: torch.Tensor, first: int, end: int) -> torch.Tensor:
        """The logits of the classes `first` … `end` − 1: float (pixel, class).

        A class's logit is logit_scale × the cosine to the nearest of its members + its bias, so
        that a class of many members is not preferred; and what examples add, if there are any.

        Args:
            embeddings: float (pixel, dim), unit length.
            first: The first class.
            end: The class after the last.
        """
        logits = self.logit_scale * self.text.cosines(embeddings, first, end)
        logits += self.bias[first:end]
        if self.examples is not None:
            logits += self.examples.logits(embeddings, first, end)
        return logits

    def shares(self, embeddings: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The places and unrounded shares: int64 and float32 (pixel, k), 0 … 1, NaN for nodata."""
        one_text_each = len(self.groups) < len(self.values) - 1
        groups = None if one_text_each else self.groups
        valid = is_valid(embeddings)
        embeddings = torch.where(valid[:, None], embeddings, 0)
        count = 0 if groups is None else self._group_count
        scores = nearest_classes(embeddings, self.logits, len(self.text), top_k, groups, count)
        if scores.of_groups is None:
            place, shares = self.groups[scores.index], scores.confidence
        else:
            first = self.groups[scores.index[:, :1]]
            order = scores.of_groups.scatter(1, first, 2.0)  # above every share
            place = order.topk(min(top_k, order.shape[1]), dim=1).indices
            shares = scores.of_groups.gather(1, place)
        if self.threshold is not None:
            nearest = scores.logit[:, :1] - self.bias[scores.index[:, :1]]
            if self.examples is not None:
                nearest -= self.examples.logits_of(embeddings, scores.index[:, :1])
            below = nearest / self.logit_scale < self.threshold
            place, shares = self._none_first(place, shares, below)
        return (
            torch.where(valid[:, None], place, len(self.values) - 1),
            torch.where(valid[:, None], shares, torch.nan),
        )

    @cached_property
    def _group_count(self) -> int:
        return int(self.groups.max()) + 1  # asked once: the device finishes its work first

    def _none_first(
        self, place: torch.Tensor, shares: torch.Tensor, below: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put "none of these" before the classes of the pixels (pixel, 1) below the threshold."""
        none = len(self.values) - 2
        k = place.shape[1]
        longer = torch.cat((torch.full_like(place[:, :1], none), place), dim=1)
        repeated = longer == none
        repeated[:, 0] = False
        order = repeated.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        longer_shares = torch.cat((torch.zeros_like(shares[:, :1]), shares), dim=1)
        return (
            torch.where(below, longer.gather(1, order), place),
            torch.where(below, longer_shares.gather(1, order), shares),
        )

    def rasters(self, nearest: PixelClasses, top_k: int) -> dict[str, np.ndarray]:
        """The values of the product's rasters at some pixels.

        Args:
            nearest: The result of `classify` with the same `top_k`.
            top_k: The number of classes that the run writes.

        Returns:
            (band, pixel) by the name of the layer (`pipeline.product.layers`).
        """
        place, percent = nearest.place.cpu().numpy().T, nearest.percent.cpu().numpy().T
        classes = np.full((top_k, place.shape[1]), NODATA_CLASS, self.values.dtype)
        confidence = np.full(classes.shape, NODATA_CONFIDENCE, np.uint8)
        classes[: len(place)], confidence[: len(place)] = self.values[place], percent
        rasters = {CLASS.name: classes[:1], CONFIDENCE.name: confidence[:1]}
        if top_k > 1:
            rasters[TOP_CLASSES.name] = classes
            rasters[TOP_CONFIDENCES.name] = np.concatenate((confidence, _margin(confidence)))
        return rasters


def _margin(confidence: np.ndarray) -> np.ndarray:
    """How far the first is ahead of the second: uint8 (1, pixel) of (k, pixel), in percent."""
    first, second = confidence[:1], confidence[1:2]
    second = np.where(second == NODATA_CONFIDENCE, 0, second)
    # The first may have the smaller share, since it is chosen by its highest logit.
    ahead = np.maximum(first.astype(np.int16) - second, 0)
    return np.where(first == NODATA_CONFIDENCE, first, ahead).astype(np.uint8)


def make_classifier(
    vocabulary: Vocabulary, text: TextEmbeddings, logit_scale: float, device: torch.device
) -> Classifier:
    """Put a vocabulary on a device, at the level that the vocabulary states."""
    classes, background = len(vocabulary.classes), len(text.background)
    shown = vocabulary.parents if vocabulary.level == "parent" else vocabulary.classes
    own = vocabulary.parent_index if vocabulary.level == "parent" else np.arange(classes)
    values = [*(entry.value for entry in shown), vocabulary.none_value, NODATA_CLASS]
    bias = [*(entry.bias for entry in vocabulary.classes), *[0.0] * background]
    groups = np.append(own, [len(shown)] * background).astype(np.int64)
    return Classifier(
        text=ClassTexts.on_device(*text.with_background(), device),
        bias=torch.tensor(bias, dtype=torch.float32, device=device),
        groups=torch.from_numpy(groups).to(device),
        values=np.array(values, vocabulary.dtype),
        logit_scale=logit_scale,
        threshold=vocabulary.threshold,
    )


def as_percent(share: torch.Tensor) -> torch.Tensor:
    """A share, 0 … 1, as uint8 percent; NaN becomes nodata, 255."""
    percent = (share * 100).round().clamp(0, 100)
    return percent.nan_to_num(NODATA_CONFIDENCE).to(torch.uint8)
