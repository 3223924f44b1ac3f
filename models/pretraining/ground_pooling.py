"""One embedding of a point's ground views: pooled, or one of them, which may be given noise."""

import torch
from torch import nn

from models.pretraining.batch import NO_KEY
from models.pretraining.row_random import RowDraws, drawn_place


class MeanPooling(nn.Module):
    """The mean of the views that a point has."""

    def forward(self, ground: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Pool views float (n, k, dim), those of `present` bool (n, k): float (n, dim)."""
        mask = present[:, :, None]
        return ground.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)


class AttentionPooling(nn.Module):
    """The views of a point weighted by the softmax of a linear function of each.

    Each view has one weight, or with `per_dimension` one for each dimension (arXiv 2508.11919).
    """

    def __init__(self, dim: int, per_dimension: bool) -> None:
        super().__init__()
        self.score = nn.Linear(dim, dim if per_dimension else 1)

    def forward(self, ground: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Pool views float (n, k, dim), those of `present` bool (n, k): float (n, dim)."""
        absent = ~present[:, :, None]
        ground = ground.masked_fill(absent, 0)
        scores: torch.Tensor = self.score(ground).masked_fill(absent, -torch.inf)
        return (ground * scores.softmax(dim=1)).sum(dim=1)


def of_view(views: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The view at each row's place: (n, k, …) → (n, …)."""
    return views[torch.arange(len(views), device=views.device), place]


def wording_noise(
    ground: torch.Tensor,
    keys: torch.Tensor,
    present: torch.Tensor,
    most: float,
    draws: RowDraws,
) -> torch.Tensor:
    """A random part of the difference of two of a point's views of equal keys: float (n, dim).

    So an encoder learns which directions of the text space only tell one wording of a class from
    another. The part is drawn between `-most` and `most`; where no two views have equal keys, the
    noise is 0. `ground` is float (n, k, dim), `keys` int64 (n, k or more), `present` bool (n, k).
    """
    k = ground.shape[1]
    own = torch.where(present, keys[:, :k], NO_KEY)
    pairs = ((own[:, :, None] == own[:, None]) & (own != NO_KEY)[:, None]).triu(1).flatten(1)
    pair = drawn_place(pairs, draws.uniform())
    part = most * (2 * draws.uniform() - 1)
    noise = part[:, None] * (of_view(ground, pair // k) - of_view(ground, pair % k))
    return noise.masked_fill(~pairs.any(dim=1, keepdim=True), 0)
