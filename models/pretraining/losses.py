"""The losses of contrastive pretraining.

InfoNCE against a memory bank (arXiv 2508.11919), and within the batch in both directions (CLIP:
Radford et al. 2021).
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from models.pretraining.collectives import Processes
from models.pretraining.memory_bank import depict_the_same

_MAX_LOG_SCALE = 4.6052  # ln 100: CLIP's limit (Radford et al. 2021), and the authors'


class _Scaled(nn.Module):
    """A loss of cosines times a scale, 1 / temperature.

    The temperature is fixed. With `learned`, the scale's logarithm is learned: it starts from the
    temperature and stays within 0 … 4.6052, as CLIP's.
    """

    log_scale: torch.Tensor

    def __init__(self, temperature: float = 0.07, learned: bool = False) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(1.0 / temperature))
        if learned:
            self.log_scale = nn.Parameter(log_scale.clamp(0.0, _MAX_LOG_SCALE))
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def logit_scale(self) -> float:
        """The multiplier of the cosine, 1 / temperature, as a checkpoint's card states it."""
        return float(self.log_scale.detach().exp())

    def limited_scale(self) -> torch.Tensor:
        """The multiplier, with its gradient; a learned one is first brought within its limits."""
        if isinstance(self.log_scale, nn.Parameter):
            # The value itself is clamped, not its use: a clamp in the graph would end its gradient.
            self.log_scale.data.clamp_(0.0, _MAX_LOG_SCALE)
        return self.log_scale.exp()


class InfoNCE(_Scaled):
    """Cross-entropy of each pixel's own text or photo against a queue of negatives."""

    def forward(
        self,
        pixels: torch.Tensor,
        positives: torch.Tensor,
        negatives: torch.Tensor,
        same: torch.Tensor | None = None,
        counts: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The mean loss of a batch, a scalar; rows are normalised here.

        Args:
            pixels: float (batch, dim).
            positives: float (batch, dim), row by row the pixels' own.
            negatives: float (queue, dim); without any the loss is 0.
            same: bool (batch, queue), negatives that depict the same as the row. They are left out
                of that row.
            counts: (queue,), how many negatives depict the same as each. With it these weigh as
                one together.
        """
        scale = self.limited_scale()
        pixels, positives, negatives = map(_unit, (pixels, positives, negatives))
        own = (pixels * positives).sum(dim=-1, keepdim=True) * scale
        # Scaled first: infinity times a learned scale would give that no gradient but NaN.
        others = pixels @ negatives.T * scale
        if counts is not None:
            others = others - counts.log()
        if same is not None:
            others = others.masked_fill(same, -math.inf)
        target = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
        return F.cross_entropy(torch.cat((own, others), dim=1), target)


class SymmetricInfoNCE(_Scaled):
    """Cross-entropy within the batch of all processes, each row against all others.

    It is the mean of both directions, pixel → ground and ground → pixel.
    """

    def forward(
        self,
        pixels: torch.Tensor,
        positives: torch.Tensor,
        keys: torch.Tensor,
        subjects: torch.Tensor,
        processes: Processes,
    ) -> torch.Tensor:
        """The mean loss of this process's rows, a scalar; its mean over processes is the batch's.

        A positive that carries a key of a pixel is no negative of it, nor the pixel of the
        positive. Rows are normalised here. Gradients reach the other processes' rows.

        Args:
            pixels: float (n, dim).
            positives: float (n, dim), row by row the pixels' own.
            keys: int64 (n,), those of the positives; NO_KEY equals no key.
            subjects: int64 (n, k), all keys of the pixels; k is the same on all processes.
            processes: Those of the training.
        """
        scale = self.limited_scale()
        pixels, positives = _unit(pixels), _unit(positives)
        n = len(pixels)
        row = torch.arange(n, device=pixels.device)
        own = processes.rank * n + row
        losses = []
        for side, other, same in (
            (pixels, positives, depict_the_same(subjects, processes.gathered(keys))),
            (positives, pixels, depict_the_same(processes.gathered(subjects), keys).T),
        ):
            same[row, own] = False
            logits = side @ processes.gathered_with_gradient(other).T * scale
            losses.append(F.cross_entropy(logits.masked_fill(same, -math.inf), own))
        return torch.stack(losses).mean()


def _unit(side: torch.Tensor) -> torch.Tensor:
    return F.normalize(side.float(), dim=-1)
