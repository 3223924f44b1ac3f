"""Embeddings × text embeddings → class and confidence."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

_CLASSES = 128  # compared at once, so that memory does not grow with the vocabulary


@dataclass(frozen=True)
class Scores:
    """The best classes of some pixels, tensors on the embeddings' device.

    `index` int64 (pixel, k): 0-based classes, best first; `cosine` float32 (pixel, k);
    `confidence` float32 (pixel, k), 0 … 1: the softmax over all classes of
    logit_scale × cosine + bias, as CLIP's (Radford et al. 2021); `of_groups` float32 (pixel,
    group): the sums of it over groups of classes, if there are any.
    """

    index: torch.Tensor
    cosine: torch.Tensor
    confidence: torch.Tensor
    of_groups: torch.Tensor | None = None


@torch.inference_mode()
def classify(
    embeddings: torch.Tensor,
    text: torch.Tensor,
    logit_scale: float,
    bias: torch.Tensor | None = None,
    most: int = 1,
    groups: torch.Tensor | None = None,
) -> Scores:
    """The nearest classes of each embedding and how sure they are.

    `embeddings` float (pixel, dim) and `text` float (class, dim), both of unit length; `bias`
    float (class,) is added to the logits; `most` is how many classes are given (at most all).
    `groups`, int64 (class,), are what their confidences are summed over. Classes are gone through
    some at a time, with a running maximum and running sums.
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
    return Scores(index, unbiased / logit_scale, torch.exp(logits - highest) / total, of_groups)


def percent(confidence: torch.Tensor) -> torch.Tensor:
    """A share, 0 … 1, as uint8 percent."""
    return (confidence * 100).round().clamp(0, 100).to(torch.uint8)
