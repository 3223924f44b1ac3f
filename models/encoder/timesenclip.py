"""The TimeSenCLIP encoder: one pixel's year of reflectance → a unit vector in the text space."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models.encoder.series_encoder import (
    SEASONS,
    Architecture,
    SeriesEncoder,
    seasons_and_year,
)

_LIVE = 5  # arrays of the tokens' width in memory at once in a layer, beside its projections


@dataclass(frozen=True)
class TimeSenClipArchitecture(Architecture):
    """The sizes of a TimeSenCLIP encoder; the defaults are the paper's (arXiv 2508.11919).

    Attributes:
        dim: Width of a token; a multiple of `heads`.
        depth: Number of transformer layers.
        heads: Attention heads of a layer.
        feedforward: Width of a layer's hidden layer.
        dropout: Share of values that training drops, 0 or more and below 1.

    Raises:
        CheckpointError: No encoder of these sizes can be built.
    """

    kind: Literal["timesenclip"] = "timesenclip"
    dim: int = 512
    depth: int = 6
    heads: int = 8
    feedforward: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            self._refuse(f"dropout is {self.dropout}, and must be 0 or more and below 1")
        super().__post_init__()
        if self.dim % self.heads:
            self._refuse(f"dim {self.dim} cannot be shared by {self.heads} heads")

    @property
    def series_lengths(self) -> tuple[int, ...]:
        """12 months, 4 seasons or 1 year; another number of months, or 1."""
        return seasons_and_year(self.months)

    @property
    def weight_count(self) -> int:
        """The number of weights of such an encoder, computed without building it."""
        dim, wide = self.dim, self.feedforward
        layer = 4 * dim * dim + 2 * dim * wide + 9 * dim + wide
        ends = self.bands * dim + (self.months + 4) * dim + (dim + 1) * self.embedding_dim
        return self.depth * layer + ends

    @property
    def tensor_count(self) -> int:
        """The number of tensors of its state dict."""
        return 12 * self.depth + 8

    @property
    def activation_bytes(self) -> int:
        """Bytes that encoding one pixel takes at its peak in float32; on a GPU it is less."""
        return 4 * (self.months + 1) * ((_LIVE + 3) * self.dim + self.feedforward)


class TimeSenClipEncoder(SeriesEncoder):
    """Transformer over the months of one pixel (post-norm, ReLU), after arXiv 2508.11919.

    The names in its state dict are those of the authors' code.
    """

    architecture: TimeSenClipArchitecture

    def __init__(self, architecture: TimeSenClipArchitecture) -> None:
        super().__init__()
        self.architecture = sizes = architecture
        # Index 0 drops the 1 × 1 pixel axes; the authors' rearrange stands there.
        self.spectral_embedding = nn.Sequential(nn.Flatten(2), nn.Linear(sizes.bands, sizes.dim))
        self.time_pos_encoding = nn.Parameter(torch.zeros(1, sizes.months, sizes.dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, sizes.dim))
        layer = nn.TransformerEncoderLayer(
            sizes.dim, sizes.heads, sizes.feedforward, sizes.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, sizes.depth, enable_nested_tensor=False)
        self.mlp_head = nn.Sequential(
            nn.LayerNorm(sizes.dim), nn.Linear(sizes.dim, sizes.embedding_dim)
        )

    def forward(self, series: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Embed normalised series, as `SeriesEncoder.forward` says.

        For a T of 4 (seasons) or 1 (the year) the months' positions are reduced. With `kept`, the
        steps that are left keep their own positions.
        """
        self.architecture.require_shape(series)
        tokens = self.spectral_embedding(series) + self.positions(series.shape[1])
        tokens = torch.cat((self.class_token.expand(len(tokens), -1, -1), tokens), dim=1)
        dropped = None if kept is None else F.pad(~kept, (1, 0))  # never the class token
        class_token = self.transformer(tokens, src_key_padding_mask=dropped)[:, 0]
        return F.normalize(self.mlp_head(class_token).float(), dim=-1)

    def positions(self, steps: int) -> torch.Tensor:
        """The positions of a series of T steps, (1, T, dim), reduced as the authors do.

        T = 4: the median of each three months; T = 1: nearest interpolation to one step, which is
        the first month's position.
        """
        months = self.time_pos_encoding
        if steps == self.architecture.months:
            return months
        if steps == SEASONS:
            return months.unflatten(1, (SEASONS, -1)).median(dim=2).values
        return F.interpolate(months.transpose(1, 2), size=1, mode="nearest").transpose(1, 2)
