"""The TimeSenCLIP encoder: one pixel's year of reflectance → a unit vector in the text space."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from models.errors import CheckpointError

_SEASONS = 4


@dataclass(frozen=True)
class EncoderConfig:
    """The encoder's sizes; the defaults are the paper's (arXiv 2508.11919).

    Raises CheckpointError where no encoder of these sizes can be built.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    bands: int = 10
    months: int = 12
    dim: int = 512
    depth: int = 6
    heads: int = 8
    feedforward: int = 256
    embedding_dim: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        problem = None
        for field in fields(self):
            if field.name != "dropout" and getattr(self, field.name) < 1:
                problem = f"{field.name} is {getattr(self, field.name)}, and must be 1 or more"
        if problem is None and self.dim % self.heads:
            problem = f"dim {self.dim} cannot be shared by {self.heads} heads"
        if problem is None and not 0 <= self.dropout < 1:
            problem = f"dropout is {self.dropout}, and must be 0 or more and below 1"
        if problem:
            raise CheckpointError("architecture", problem, "Correct the checkpoint's card")

    @property
    def series_lengths(self) -> tuple[int, ...]:
        """The numbers of steps T that an encoder of these sizes takes, longest first."""
        seasons = (_SEASONS,) if self.months == 12 else ()
        return tuple(dict.fromkeys((self.months, *seasons, 1)))

    def require_shape(self, series: torch.Tensor) -> None:
        """Raise CheckpointError for a series that an encoder of these sizes does not take."""
        steps = " or ".join(map(str, self.series_lengths))
        fits = (
            (series.ndim == 3 or (series.ndim == 5 and series.shape[3:] == (1, 1)))
            and series.shape[1] in self.series_lengths
            and series.shape[2] == self.bands
        )
        if not fits:
            raise CheckpointError(
                f"a series of shape {tuple(series.shape)}",
                f"the encoder takes (pixels, {steps}, {self.bands})",
                "Give steps and bands as the checkpoint's card states them",
            )


class Encoder(nn.Module):
    """Transformer over the months of one pixel (post-norm, ReLU), after arXiv 2508.11919.

    The names in its state dict are those of the authors' code.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        # Index 0 drops the 1 × 1 pixel axes; the authors' rearrange stands there.
        self.spectral_embedding = nn.Sequential(nn.Flatten(2), nn.Linear(config.bands, config.dim))
        self.time_pos_encoding = nn.Parameter(torch.zeros(1, config.months, config.dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        layer = nn.TransformerEncoderLayer(
            config.dim, config.heads, config.feedforward, config.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, config.depth, enable_nested_tensor=False)
        self.mlp_head = nn.Sequential(
            nn.LayerNorm(config.dim), nn.Linear(config.dim, config.embedding_dim)
        )

    def forward(self, series: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Embed normalised series: (B, T, S) or (B, T, S, 1, 1) → float (B, embedding_dim).

        T is `config.months` (12), or 4 seasons or 1 (the year) with positions reduced;
        embeddings have unit length. `kept` bool (B, T): the other steps' tokens take no part, as
        if they were not there, and those that are kept have their own positions. Raises
        CheckpointError for any other shape.
        """
        self.config.require_shape(series)
        tokens = self.spectral_embedding(series) + self.positions(series.shape[1])
        tokens = torch.cat((self.class_token.expand(len(tokens), -1, -1), tokens), dim=1)
        dropped = None if kept is None else F.pad(~kept, (1, 0))  # never the class token
        class_token = self.transformer(tokens, src_key_padding_mask=dropped)[:, 0]
        return F.normalize(self.mlp_head(class_token).float(), dim=-1)

    def positions(self, steps: int) -> torch.Tensor:
        """The positions of a series of T steps, (1, T, dim), reduced as the authors do.

        T = 4: the median of each three months; T = 1: nearest interpolation to one, which is
        the first month's.
        """
        months = self.time_pos_encoding
        if steps == self.config.months:
            return months
        if steps == _SEASONS:
            return months.unflatten(1, (_SEASONS, -1)).median(dim=2).values
        return F.interpolate(months.transpose(1, 2), size=1, mode="nearest").transpose(1, 2)
