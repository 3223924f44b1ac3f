"""A perceptron over a pixel's whole year: far fewer operations than a transformer's.

Where the year is always that of a map, January to December, each month has inputs of its own, and
no attention is needed to find it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.series_encoder import Architecture, SeriesEncoder, seasons_and_year

STEADY = 0.02
"""Keeps the normalised difference of two dark bands from being mere noise."""


@dataclass(frozen=True)
class PerceptronArchitecture(Architecture):
    """The sizes of a perceptron.

    Attributes:
        pairs: Pairs of bands, by their places, whose normalised differences are inputs as well,
            such as that of the vegetation index NDVI.
        dim: Width of a layer.
        depth: Number of layers before the last, which is linear.
        dropout: Share of values that training drops, 0 or more and below 1.

    Raises:
        CheckpointError: No encoder of these sizes can be built.
    """

    kind: Literal["perceptron"] = "perceptron"
    pairs: tuple[tuple[int, int], ...] = ()
    dim: int = 512
    depth: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            self._refuse(f"dropout is {self.dropout}, and must be 0 or more and below 1")
        super().__post_init__()
        if any(not 0 <= band < self.bands for pair in self.pairs for band in pair):
            self._refuse(f"pairs name bands 0 to {self.bands - 1} by their places: {self.pairs}")

    @property
    def inputs(self) -> int:
        """Inputs of a step: its bands and their normalised differences."""
        return self.bands + len(self.pairs)

    @property
    def series_lengths(self) -> tuple[int, ...]:
        """12 months, 4 seasons or 1 year; another number of months, or 1."""
        return seasons_and_year(self.months)

    @property
    def weight_count(self) -> int:
        """The number of weights of such an encoder, computed without building it."""
        first = (self.months * self.inputs + 1) * self.dim
        others = (self.depth - 1) * (self.dim + 1) * self.dim
        return first + others + 2 * self.dim + (self.dim + 1) * self.embedding_dim

    @property
    def tensor_count(self) -> int:
        """The number of tensors of its state dict."""
        return 2 * self.depth + 4

    @property
    def activation_bytes(self) -> int:
        """Bytes that encoding one pixel takes at its peak in float32."""
        return 4 * (2 * self.months * self.inputs + 2 * self.dim + self.embedding_dim)


class PerceptronEncoder(SeriesEncoder):
    """Linear layers with GELU over all months and bands together, then a normalised linear one."""

    architecture: PerceptronArchitecture

    def __init__(self, architecture: PerceptronArchitecture) -> None:
        super().__init__()
        self.architecture = sizes = architecture
        widths = [sizes.months * sizes.inputs, *[sizes.dim] * sizes.depth]
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
        self.dropout = nn.Dropout(sizes.dropout)
        self.norm = nn.LayerNorm(sizes.dim)
        self.head = nn.Linear(sizes.dim, sizes.embedding_dim)

    def forward(self, series: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Embed normalised series, as `SeriesEncoder.forward` says.

        Seasons, or the year, stand for each of their months. With `kept`, a step that takes no part
        is replaced by the mean of those that do.
        """
        self.architecture.require_shape(series)
        values = series.flatten(2)
        if kept is not None:
            weight = kept.to(values).unsqueeze(2)
            mean = (values * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
            values = torch.where(kept.unsqueeze(2), values, mean)
        values = values.repeat_interleave(self.architecture.months // series.shape[1], dim=1)
        hidden = perceptron_inputs(values, self.architecture.pairs).flatten(1)
        for layer in self.layers:
            hidden = self.dropout(F.gelu(layer(hidden)))
        return F.normalize(self.head(self.norm(hidden)).float(), dim=-1)


def perceptron_inputs(values: torch.Tensor, pairs: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Inputs around 0 of normalised series (n, T, band): float (n, T, band + pair).

    A pair's is 2 (a - b) / (a + b + 0.02), and 0 where one of them is 0, which is an absent band.
    """
    scaled = 4 * values - 1
    if not pairs:
        return scaled
    first, second = (values[..., list(places)] for places in zip(*pairs, strict=True))
    difference = 2 * (first - second) / (first + second + STEADY)
    seen = (first > 0) & (second > 0)
    return torch.cat((scaled, torch.where(seen, difference, 0.0)), dim=-1)
