"""Pooling of a point's ground views into one embedding: by mean, by attention, or one of them."""

import torch
from torch import nn


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
