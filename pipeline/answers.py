"""What the pixels of a run are compared with, and what the map then shows of them."""

from dataclasses import dataclass

import numpy as np
import torch

from models.text_embeddings import TextEmbeddings
from models.vocabulary import Vocabulary
from pipeline.classify import classify, percent


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
