"""Labelled examples beside the words: a training-free cache, weighted by leaving blocks out.

The logits of the words are z. As in Tip-Adapter (Zhang et al. 2021, arXiv 2111.02930), an example i
of embedding f_i counts for a pixel of embedding f by the kernel k = exp(-β (1 - f·f_i)), and what
the examples say is added to the words' logits with the weight α. Tip-Adapter sums the labels of the
examples. Here a kernel ridge regression finds what the words get wrong of them, Y - softmax(z):

    logits = z + α k(f, F) (k(F, F) + λ W)⁻¹ (Y - softmax(z))

So examples that repeat one another, or that words find already, add little. W is diagonal, n_c /
mean(n) of the example's class, so that a class of many examples does not outweigh the others.
Columns of Y and terms of the softmax are the classes that have examples: the logits of the other
classes stay those of their words.

α and β are chosen by leaving out the blocks of land one by one (`fit_examples`).
"""

from dataclasses import dataclass, replace

import torch
from scipy.special import stdtrit

RIDGE = 0.1
"""λ, relative to the kernel's 1 on the diagonal."""
SHARPNESSES = (3.0, 10.0, 30.0)
"""β, times the mean distance 1 - cosine of examples of different classes."""
EXAMPLE_WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""α, in logits."""
MOST_EXAMPLES = 4000
"""More take too long to solve."""
_CERTAINTY = 0.95  # of a gain, before examples are used
_AT_ONCE = 1024  # examples compared at once, so that memory does not grow with them


@dataclass(frozen=True, eq=False)
class ExampleCache:
    """What examples add to the logits of pixels, on a device.

    Attributes:
        embeddings: float32 (example, dim), unit length.
        values: float32 (example, class), α included; a class without examples has 0.
        sharpness: β.
    """

    embeddings: torch.Tensor
    values: torch.Tensor
    sharpness: float

    def to(self, device: torch.device) -> "ExampleCache":
        """The same on a device."""
        return ExampleCache(self.embeddings.to(device), self.values.to(device), self.sharpness)

    def logits(self, embeddings: torch.Tensor, first: int, end: int) -> torch.Tensor:
        """What is added to the logits of the classes `first` … `end` − 1: float (pixel, class).

        Classes beyond those of `values`, such as background prompts, get 0.

        Args:
            embeddings: float (pixel, dim), unit length.
            first: The first class.
            end: The class after the last.
        """
        added = embeddings.new_zeros(len(embeddings), end - first)
        known = max(0, min(end, self.values.shape[1]) - first)
        for start in range(0, len(self.values) if known else 0, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            near = kernel(embeddings, self.embeddings[some], self.sharpness)
            added[:, :known] += near @ self.values[some, first : first + known]
        return added

    def logits_of(self, embeddings: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """What is added to the logits of some classes of each pixel: float (pixel, k).

        `embeddings` are float (pixel, dim), unit length, and `classes` int64 (pixel, k).
        """
        every = self.logits(embeddings, 0, max(self.values.shape[1], int(classes.max()) + 1))
        return every.gather(1, classes)


@dataclass(frozen=True, eq=False)
class ExampleFit:
    """The chosen weight of examples, and how well words and examples found left-out ones.

    Attributes:
        cache: What is added to the words' logits; None where words alone are used.
        weight: α, 0 for words alone.
        sharpness: β.
        judged: How many examples were judged while their block was left out.
        words_accuracy: The mean over classes of the share of judged examples that words alone find,
            0 … 1.
        accuracy: The same of words and examples together.
    """

    cache: ExampleCache | None
    weight: float
    sharpness: float
    judged: int
    words_accuracy: float
    accuracy: float


def kernel(some: torch.Tensor, others: torch.Tensor, sharpness: float) -> torch.Tensor:
    """exp(-β (1 - cosine)) of unit vectors: (n, m) of (n, dim) and (m, dim)."""
    return torch.exp(sharpness * (some @ others.T - 1))


def fit_examples(
    embeddings: torch.Tensor, classes: torch.Tensor, blocks: torch.Tensor, words: torch.Tensor
) -> ExampleFit:
    """Choose the weight and the sharpness of examples, and solve for what they add.

    For each β and α of `SHARPNESSES` and `EXAMPLE_WEIGHTS`, each block of land is left out in turn,
    and its examples are judged by the others: near examples are copies of one another, so they are
    left out together. The gain is the mean over classes of how much the log-likelihood of the true
    class grows over that of words alone. The choice is that of the highest lower bound of the gain
    (95 %, Student's t), among those whose accuracy has a lower bound above that of words
    alone. If there is none above 0, α is 0: words alone are used. (The likelihood also gains where
    words that are too sure of themselves are only contradicted; the accuracy does not.)

    Args:
        embeddings: float (example, dim), unit length.
        classes: int64 (example,).
        blocks: int64 (example,), equal where examples lie in one block.
        words: float (example, class), the logits of the words.
    """
    vectors, words = embeddings.double().cpu(), words.double().cpu()
    classes, blocks = classes.cpu(), blocks.cpu()
    by_words = _judge(words, classes)
    accuracy = _mean_over_classes(by_words.right, classes)
    alone = ExampleFit(None, 0.0, 0.0, 0, accuracy, accuracy)
    if len(classes.unique()) < 2 or len(blocks.unique()) < 2:
        return alone
    wrong, spread = _wrong(words, classes), _spread(vectors, classes)
    errors = float(stdtrit(len(classes) - 1, _CERTAINTY))
    best, chosen = 0.0, replace(alone, judged=len(classes))
    for scaled in SHARPNESSES:
        sharpness = scaled / spread
        inverse = torch.linalg.inv(_ridge(vectors, classes, sharpness))
        left_out = _left_out(inverse, wrong, blocks)
        for weight in EXAMPLE_WEIGHTS:
            judged = _judge(words + weight * left_out, classes)
            bound = _lower_bound(judged.likelihood - by_words.likelihood, classes, errors)
            if bound > best and _lower_bound(judged.right - by_words.right, classes, errors) > 0:
                best = bound
                gained = _mean_over_classes(judged.right, classes)
                values = weight * (inverse @ wrong)
                cache = ExampleCache(vectors.float(), values.float(), sharpness)
                chosen = ExampleFit(cache, weight, sharpness, len(classes), accuracy, gained)
    return chosen


@dataclass(frozen=True, eq=False)
class _Judged:
    """Whether examples are found, and the log-likelihood of their class: float64 (example,)."""

    right: torch.Tensor
    likelihood: torch.Tensor


def _judge(logits: torch.Tensor, classes: torch.Tensor) -> _Judged:
    likelihood = logits.log_softmax(dim=1).gather(1, classes[:, None])[:, 0]
    return _Judged((logits.argmax(dim=1) == classes).double(), likelihood)


def _wrong(words: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Y - softmax(z) over the classes that have examples; 0 for others: (example, class)."""
    present = classes.unique()
    wrong = torch.zeros_like(words)
    wrong[:, present] = -words[:, present].softmax(dim=1)
    wrong[torch.arange(len(classes)), classes] += 1
    return wrong


def _spread(vectors: torch.Tensor, classes: torch.Tensor) -> float:
    """The mean distance 1 - cosine of two examples of different classes."""
    differ = classes[:, None] != classes
    return max(float((1 - vectors @ vectors.T)[differ].mean()), 1e-6)


def _ridge(vectors: torch.Tensor, classes: torch.Tensor, sharpness: float) -> torch.Tensor:
    """k(F, F) + λ W."""
    counts = classes.bincount().double()
    relative = counts[classes] / counts[counts > 0].mean()
    return kernel(vectors, vectors, sharpness) + RIDGE * torch.diag(relative)


def _left_out(inverse: torch.Tensor, wrong: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    """What the examples of all other blocks say of each example: (example, class).

    With G = (k(F, F) + λ W)⁻¹ and R = Y - softmax(z), it is R_b - (G_bb)⁻¹ (G R)_b for the examples
    b of a block (Rasmussen and Williams 2006, eq. 5.12, for blocks).
    """
    solved = inverse @ wrong
    said = torch.empty_like(wrong)
    for block in blocks.unique():
        b = torch.nonzero(blocks == block)[:, 0]
        said[b] = wrong[b] - torch.linalg.solve(inverse[b][:, b], solved[b])
    return said


def _class_weights(classes: torch.Tensor) -> torch.Tensor:
    """Weights of the examples, whose sum is 1, and equal for each class that has examples."""
    weights = 1 / classes.bincount().double()[classes]
    return weights / weights.sum()


def _mean_over_classes(values: torch.Tensor, classes: torch.Tensor) -> float:
    return float((_class_weights(classes) * values).sum())


def _lower_bound(gains: torch.Tensor, classes: torch.Tensor, errors: float) -> float:
    """The mean over classes of gains (example,), less so many of its standard errors."""
    weights = _class_weights(classes)
    mean = (weights * gains).sum()
    error = (weights.square() * (gains - mean).square()).sum().sqrt()
    return float(mean - errors * error)
