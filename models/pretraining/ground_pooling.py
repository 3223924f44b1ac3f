"""The ground views of a point → one embedding: pooled by mean or attention, or one drawn."""

import torch
from torch import nn


class MeanPooling(nn.Module):
    """The mean of the views that a point has."""

    def forward(self, ground: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Views float (n, k, dim), of which `present` bool (n, k) are there: float (n, dim)."""
        there = present[:, :, None]
        return ground.masked_fill(~there, 0).sum(dim=1) / there.sum(dim=1)


class AttentionPooling(nn.Module):
    """The views of a point weighted by a softmax over them, of a linear function of each.

    One weight a view, or with `per_dimension` one for each of its dimensions
    (arXiv 2508.11919).
    """

    def __init__(self, dim: int, per_dimension: bool) -> None:
        super().__init__()
        self.score = nn.Linear(dim, dim if per_dimension else 1)

    def forward(self, ground: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Views float (n, k, dim), of which `present` bool (n, k) are there: float (n, dim)."""
        absent = ~present[:, :, None]
        ground = ground.masked_fill(absent, 0)
        scores: torch.Tensor = self.score(ground).masked_fill(absent, -torch.inf)
        return (ground * scores.softmax(dim=1)).sum(dim=1)


def drawn_view(present: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """One of the views that each point has, all alike probable: its place, int64 (n,).

    `present` bool (n, k), one or more a row; `number` float (n,) of [0, 1).
    """
    count = present.sum(dim=1)
    nth = (number * count).long().clamp(max=count - 1)
    return (present.cumsum(dim=1) == nth[:, None] + 1).int().argmax(dim=1)


def of_view(views: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Of views (n, k, …) the one at each row's place: (n, …)."""
    return views[torch.arange(len(views), device=views.device), place]
