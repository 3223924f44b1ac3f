"""The scores of pixels for classes: cosines to the classes' texts, softmax, the best classes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

AT_ONCE = 128
"""Classes compared at once, so that memory does not grow with the vocabulary; texts likewise."""


@dataclass(frozen=True)
class ClassTexts:
    """The text embeddings of classes, on a device.

    A class has one text, or one for each of its members.

    Attributes:
        embeddings: float32 (text, dim), unit length, in the order of the classes.
        class_index: int64 (text,), the class of each text, ascending from 0.
        starts: The place of each class's first text, and the number of texts: (class + 1) numbers,
            known without asking the device.
    """

    embeddings: torch.Tensor
    class_index: torch.Tensor
    starts: tuple[int, ...]

    @classmethod
    def on_device(
        cls, embeddings: np.ndarray, class_index: np.ndarray, device: torch.device
    ) -> "ClassTexts":
        """The texts float32 (text, dim) of classes int64 (text,), ascending from 0."""
        starts = np.searchsorted(class_index, np.arange(class_index[-1] + 2))
        return cls(
            torch.from_numpy(embeddings).to(device),
            torch.from_numpy(class_index).to(device),
            tuple(starts.tolist()),
        )

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.starts) - 1

    def cosines(self, embeddings: torch.Tensor, first: int, end: int) -> torch.Tensor:
        """The cosine to the nearest text of each of the classes `first` … `end` − 1.

        Args:
            embeddings: float (pixel, dim), unit length.
            first: The first class.
            end: The class after the last.

        Returns:
            float (pixel, class).
        """
        start, stop = self.starts[first], self.starts[end]
        if stop - start == end - first:
            return embeddings @ self.embeddings[start:stop].T
        nearest = embeddings.new_full((len(embeddings), end - first), -torch.inf)
        for begin in range(start, stop, AT_ONCE):
            texts = slice(begin, min(begin + AT_ONCE, stop))
            cosines = embeddings @ self.embeddings[texts].T
            places = (self.class_index[texts] - first).expand_as(cosines)
            nearest.scatter_reduce_(1, places, cosines, "amax")
        return nearest


@dataclass(frozen=True)
class ClassScores:
    """The best classes of some pixels, tensors on the embeddings' device.

    Attributes:
        index: int64 (pixel, k), 0-based classes, best first.
        logit: float32 (pixel, k).
        confidence: float32 (pixel, k), 0 … 1, the softmax of the logits over all classes, as CLIP's
            (Radford et al. 2021).
        of_groups: float32 (pixel, group), the confidences summed over groups, if there are any.
    """

    index: torch.Tensor
    logit: torch.Tensor
    confidence: torch.Tensor
    of_groups: torch.Tensor | None = None


@torch.inference_mode()
def nearest_classes(
    embeddings: torch.Tensor,
    logits: Callable[[torch.Tensor, int, int], torch.Tensor],
    classes: int,
    most: int = 1,
    groups: torch.Tensor | None = None,
    group_count: int = 0,
) -> ClassScores:
    """Find the classes of the highest logits of each embedding, with their confidence.

    The classes are compared in parts, with a running maximum and running sums.

    Args:
        embeddings: float (pixel, dim), unit length.
        logits: Gives the logits of the classes from a first to one before an end, float
            (pixel, class), of embeddings and these two numbers.
        classes: The number of classes.
        most: The number of classes to find.
        groups: int64 (class,), the group of each class; confidences are summed over groups.
        group_count: The number of groups, known without asking the device.
    """
    pixels, k = len(embeddings), min(most, classes)
    highest_logits = embeddings.new_empty(pixels, 0)
    index = torch.empty(pixels, 0, dtype=torch.int64, device=embeddings.device)
    highest = embeddings.new_full((pixels, 1), -torch.inf)  # so far; the sums are relative to it
    total, summed = embeddings.new_zeros(pixels, 1), embeddings.new_zeros(pixels, 1)
    for start in range(0, classes, AT_ONCE):
        part = logits(embeddings, start, min(start + AT_ONCE, classes))
        best, place = part.topk(min(k, part.shape[1]), dim=1)
        highest_logits = torch.cat((highest_logits, best), dim=1)
        index = torch.cat((index, place + start), dim=1)
        if highest_logits.shape[1] > k:
            highest_logits, place = highest_logits.topk(k, dim=1)
            index = index.gather(1, place)
        higher = torch.maximum(highest, best[:, :1])
        scale, shares = torch.exp(highest - higher), torch.exp(part - higher)
        total = total * scale + shares.sum(dim=1, keepdim=True)
        if groups is not None:
            in_group = F.one_hot(groups[start : start + AT_ONCE], group_count).to(shares)
            summed = summed * scale + shares @ in_group
        highest = higher
    confidence = torch.exp(highest_logits - highest) / total
    of_groups = None if groups is None else summed / total
    return ClassScores(index, highest_logits, confidence, of_groups)
