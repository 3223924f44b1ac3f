"""Embeddings × text embeddings → class and confidence."""

from dataclasses import dataclass

import torch

_CLASSES = 128  # compared at once, so that memory does not grow with the vocabulary


@dataclass(frozen=True)
class Scores:
    """The best classes of some pixels, tensors on the embeddings' device.

    `index` int64 (pixel, k): 0-based classes, best first; `cosine` float32 (pixel, k);
    `confidence` float32 (pixel, k), 0 … 1: the softmax over all classes of
    logit_scale × cosine + bias, as CLIP's (Radford et al. 2021).
    """

    index: torch.Tensor
    cosine: torch.Tensor
    confidence: torch.Tensor


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
    With `groups`, int64 (class,), a class's confidence is the sum of its group's. Classes are gone
    through some at a time, with a running maximum and running sums.
    """
    pixels, k = len(embeddings), min(most, len(text))
    logits = embeddings.new_empty(pixels, 0)
    index = torch.empty(pixels, 0, dtype=torch.int64, device=embeddings.device)
    total = embeddings.new_full((pixels,), -torch.inf)
    summed = total[:, None].repeat(1, 0 if groups is None else int(groups.max()) + 1)
    for start in range(0, len(text), _CLASSES):
        part = logit_scale * (embeddings @ text[start : start + _CLASSES].T)
        if bias is not None:
            part += bias[start : start + _CLASSES]
        total = torch.logaddexp(total, part.logsumexp(dim=1))
        if groups is not None:
            of_part = groups[start : start + _CLASSES]
            for group in of_part.unique().tolist():
                share = part[:, of_part == group].logsumexp(dim=1)
                summed[:, group] = torch.logaddexp(summed[:, group], share)
        best, place = part.topk(min(k, part.shape[1]), dim=1)
        logits = torch.cat((logits, best), dim=1)
        index = torch.cat((index, place + start), dim=1)
        if logits.shape[1] > k:
            logits, place = logits.topk(k, dim=1)
            index = index.gather(1, place)
    unbiased = logits if bias is None else logits - bias[index]
    shares = logits if groups is None else summed.gather(1, groups[index])
    return Scores(index, unbiased / logit_scale, torch.exp(shares - total[:, None]))


def percent(confidence: torch.Tensor) -> torch.Tensor:
    """A share, 0 … 1, as uint8 percent."""
    return (confidence * 100).round().clamp(0, 100).to(torch.uint8)
