"""What the pixels of a run are compared with, and what the map then shows of them.

Embeddings × text embeddings → class and confidence.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary


@dataclass(frozen=True)
class Answers:
    """A vocabulary on a device: its text embeddings and what each of them stands for.

    `text` float32 (n, dim): the classes', then the background prompts'; `bias` float32 (n,) is
    added to their logits; `groups` int64 (n,) is the place in `values` of what they stand for on
    the map, a class, a class's parent, or none of these; `values` is uint8 or uint16 (shown,), of
    which the last is that of none of these.
    """

    text: torch.Tensor
    bias: torch.Tensor
    groups: torch.Tensor
    values: np.ndarray
    logit_scale: float
    threshold: float | None

    def of(self, embeddings: torch.Tensor, most: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """What each pixel is, best first: places in `values` and percent, both (pixel, most).

        The places are int64, the percentages uint8. First comes what the text embedding of the
        highest logit stands for (logit_scale × cosine + bias); the percentage is the share of all
        that stand for the same in the softmax, and the others follow by it. A pixel less similar
        to the first than the threshold is none of these, with 0 %. At most as many are given as
        there are.
        """
        place, shares = self.ranked(embeddings, most)
        return place, percent(shares)

    def ranked(self, embeddings: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The same with the shares as they are, float32 (pixel, most), 0 … 1."""
        alone = len(self.groups) < len(self.values)  # every text stands for something of its own
        groups = None if alone else self.groups
        scores = classify(embeddings, self.text, self.logit_scale, self.bias, most, groups)
        if scores.of_groups is None:
            place, shares = self.groups[scores.index], scores.confidence
        else:
            first = self.groups[scores.index[:, :1]]
            order = scores.of_groups.scatter(1, first, 2.0)  # above every share
            place = order.topk(min(most, order.shape[1]), dim=1).indices
            shares = scores.of_groups.gather(1, place)
        if self.threshold is not None:
            beneath = scores.cosine[:, 0] < self.threshold
            place[beneath, 0] = len(self.values) - 1
            shares = shares.clone()  # what inference made is not changed in place
            shares[beneath, 0] = 0
        return place, shares


def answers_of(
    vocabulary: Vocabulary, text: TextEmbeddings, logit_scale: float, device: torch.device
) -> Answers:
    """The answers of a vocabulary, at the level that it says, on a device."""
    classes, background = len(vocabulary.classes), len(text.background)
    shown = vocabulary.parents if vocabulary.level == "parent" else vocabulary.classes
    own = vocabulary.parent_index if vocabulary.level == "parent" else np.arange(classes)
    values = [*(entry.value for entry in shown), vocabulary.none_value]
    bias = [*(entry.bias for entry in vocabulary.classes), *[0.0] * background]
    return Answers(
        text=torch.from_numpy(np.concatenate((text.classes, text.background))).to(device),
        bias=torch.tensor(bias, dtype=torch.float32, device=device),
        groups=torch.from_numpy(np.append(own, [len(shown)] * background).astype(np.int64)).to(
            device
        ),
        values=np.array(values, vocabulary.dtype),
        logit_scale=logit_scale,
        threshold=vocabulary.threshold,
    )


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
