"""Zero-shot classification: embeddings × text embeddings → classes and their confidence."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
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
    """A vocabulary on a device: its text embeddings, and the value of each on the map.

    Attributes:
        text: float32 (n, dim), the classes' text embeddings, then the background prompts'.
        bias: float32 (n,), added to their logits.
        groups: int64 (n,), places in `values`: of the class, of its parent, or of "none of these".
        values: uint8 or uint16 (shown + 2,), the map's values; the last but one is that of "none
            of these", the last is nodata.
        logit_scale: The factor of the cosine.
        threshold: A pixel less similar than this to its nearest text is none of these.
    """

    text: torch.Tensor
    bias: torch.Tensor
    groups: torch.Tensor
    values: np.ndarray
    logit_scale: float
    threshold: float | None

    def classify(self, embeddings: torch.Tensor, top_k: int = 1) -> PixelClasses:
        """Find the classes of each pixel that the map shows.

        The first is the class of the highest logit (logit_scale × cosine + bias); its percentage
        is the share of all its texts in the softmax. The others follow by their percentages. A
        pixel below the threshold is "none of these" with 0 %, then its nearest classes. No class
        occurs twice. A pixel whose embedding is not a number is nodata.

        Args:
            embeddings: float (pixel, dim), unit length.
            top_k: How many classes; at most as many as there are.
        """
        place, shares = self.shares(embeddings, top_k)
        return PixelClasses(place, as_percent(shares))

    def shares(self, embeddings: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The places and unrounded shares: int64 and float32 (pixel, k), 0 … 1, NaN for nodata."""
        one_text_each = len(self.groups) < len(self.values) - 1
        groups = None if one_text_each else self.groups
        valid = is_valid(embeddings)
        embeddings = torch.where(valid[:, None], embeddings, 0)
        scores = nearest_classes(embeddings, self.text, self.logit_scale, self.bias, top_k, groups)
        if scores.of_groups is None:
            place, shares = self.groups[scores.index], scores.confidence
        else:
            first = self.groups[scores.index[:, :1]]
            order = scores.of_groups.scatter(1, first, 2.0)  # above every share
            place = order.topk(min(top_k, order.shape[1]), dim=1).indices
            shares = scores.of_groups.gather(1, place)
        if self.threshold is not None:
            below = scores.cosine[:, :1] < self.threshold
            place, shares = self._none_first(place, shares, below)
        return (
            torch.where(valid[:, None], place, len(self.values) - 1),
            torch.where(valid[:, None], shares, torch.nan),
        )

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


def is_valid(embeddings: torch.Tensor) -> torch.Tensor:
    """Which embeddings (pixel, dim) are finite and have a direction: bool (pixel,).

    On a GPU the encoder's products are of float16, which overflow for extreme input: then an
    embedding is not a number.
    """
    length = embeddings.norm(dim=1)
    return length.isfinite() & (length > 0)


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
        text=torch.from_numpy(np.concatenate((text.classes, text.background))).to(device),
        bias=torch.tensor(bias, dtype=torch.float32, device=device),
        groups=torch.from_numpy(groups).to(device),
        values=np.array(values, vocabulary.dtype),
        logit_scale=logit_scale,
        threshold=vocabulary.threshold,
    )


_CLASSES = 128  # classes compared at once, so that memory does not grow with the vocabulary


@dataclass(frozen=True)
class ClassScores:
    """The best classes of some pixels, tensors on the embeddings' device.

    Attributes:
        index: int64 (pixel, k), 0-based classes, best first.
        cosine: float32 (pixel, k).
        confidence: float32 (pixel, k), 0 … 1, the softmax over all classes of
            logit_scale × cosine + bias, as CLIP's (Radford et al. 2021).
        of_groups: float32 (pixel, group), the confidences summed over groups, if there are any.
    """

    index: torch.Tensor
    cosine: torch.Tensor
    confidence: torch.Tensor
    of_groups: torch.Tensor | None = None


@torch.inference_mode()
def nearest_classes(
    embeddings: torch.Tensor,
    text: torch.Tensor,
    logit_scale: float,
    bias: torch.Tensor | None = None,
    most: int = 1,
    groups: torch.Tensor | None = None,
) -> ClassScores:
    """Find the nearest classes of each embedding, with their confidence.

    The classes are compared in batches, with a running maximum and running sums.

    Args:
        embeddings: float (pixel, dim), unit length.
        text: float (class, dim), unit length.
        logit_scale: The factor of the cosine.
        bias: float (class,), added to the logits.
        most: The number of classes to find.
        groups: int64 (class,), the group of each class; confidences are summed over groups.
    """
    pixels, k = len(embeddings), min(most, len(text))
    shown = len(text) if groups is None else int(groups.max()) + 1
    logits = embeddings.new_empty(pixels, 0)
    index = torch.empty(pixels, 0, dtype=torch.int64, device=embeddings.device)
    highest = embeddings.new_full((pixels, 1), -torch.inf)  # so far; the sums are relative to it
    total, summed = embeddings.new_zeros(pixels, 1), embeddings.new_zeros(pixels, 1)
    for start in range(0, len(text), _CLASSES):
        part = logit_scale * (embeddings @ text[start : start + _CLASSES].T)
        if bias is not None:
            part += bias[start : start + _CLASSES]
        best, place = part.topk(min(k, part.shape[1]), dim=1)
        logits = torch.cat((logits, best), dim=1)
        index = torch.cat((index, place + start), dim=1)
        if logits.shape[1] > k:
            logits, place = logits.topk(k, dim=1)
            index = index.gather(1, place)
        higher = torch.maximum(highest, best[:, :1])
        scale, shares = torch.exp(highest - higher), torch.exp(part - higher)
        total = total * scale + shares.sum(dim=1, keepdim=True)
        if groups is not None:
            member = F.one_hot(groups[start : start + _CLASSES], shown).to(shares)
            summed = summed * scale + shares @ member
        highest = higher
    unbiased = logits if bias is None else logits - bias[index]
    of_groups = None if groups is None else summed / total
    return ClassScores(
        index, unbiased / logit_scale, torch.exp(logits - highest) / total, of_groups
    )


def as_percent(share: torch.Tensor) -> torch.Tensor:
    """A share, 0 … 1, as uint8 percent; NaN becomes nodata, 255."""
    percent = (share * 100).round().clamp(0, 100)
    return percent.nan_to_num(NODATA_CONFIDENCE).to(torch.uint8)
