"""The contract of an encoder architecture: its sizes, its module for training, its fast form.

A new architecture is three classes that derive from these, in a file for the first two and a file
for the fast form, and one line in `models.encoder.registry`. Nothing else names an architecture.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from models.errors import CheckpointError

if TYPE_CHECKING:
    import openvino as ov


SEASONS = 4
"""Steps T of a year of seasons."""


@dataclass(frozen=True)
class Architecture(ABC):
    """The sizes of an encoder, as a checkpoint's card states them.

    Every whole number is 1 or more; CheckpointError is raised otherwise. A card can come from
    anybody, so building one of these must cost nothing, whatever the sizes are.

    Attributes:
        kind: The architecture's name in the registry.
        bands: Bands of a step of the series.
        months: Steps of a whole series, 12.
        embedding_dim: Length of an embedding.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    kind: str = ""
    bands: int = 10
    months: int = 12
    embedding_dim: int = 512

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and value < 1:
                self._refuse(f"{field.name} is {value}, and must be 1 or more")

    @property
    @abstractmethod
    def weight_count(self) -> int:
        """The number of weights of such an encoder, computed without building it."""

    @property
    @abstractmethod
    def tensor_count(self) -> int:
        """The number of tensors of its state dict, computed likewise."""

    @property
    @abstractmethod
    def activation_bytes(self) -> int:
        """Bytes of float32 that encoding one pixel takes at its peak."""

    @property
    def series_lengths(self) -> tuple[int, ...]:
        """The numbers of steps T that such an encoder takes, longest first."""
        return (self.months,)

    def require_shape(self, series: torch.Tensor) -> None:
        """Raise CheckpointError for a series that such an encoder does not take."""
        fits = (
            (series.ndim == 3 or (series.ndim == 5 and series.shape[3:] == (1, 1)))
            and series.shape[1] in self.series_lengths
            and series.shape[2] == self.bands
        )
        if not fits:
            steps = " or ".join(map(str, self.series_lengths))
            raise CheckpointError(
                f"a series of shape {tuple(series.shape)}",
                f"the encoder takes (pixels, {steps}, {self.bands})",
                "Give steps and bands as the checkpoint's card states them",
            )

    def _refuse(self, problem: str) -> None:
        raise CheckpointError("architecture", problem, "Correct the checkpoint's card")


def seasons_and_year(months: int) -> tuple[int, ...]:
    """12 months, 4 seasons or 1 year; another number of months, or 1: longest first."""
    seasons = (SEASONS,) if months == 12 else ()
    return tuple(dict.fromkeys((months, *seasons, 1)))


class SeriesEncoder(nn.Module):
    """An encoder of pixels' series, to be trained and saved; built from its `architecture`."""

    architecture: Architecture

    @abstractmethod
    def forward(self, series: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
        """Embed normalised series.

        Args:
            series: float (B, T, S) or (B, T, S, 1, 1), T one of the architecture's lengths.
            kept: bool (B, T); the other steps take no part, as if they were not there.

        Returns:
            float (B, embedding_dim) of unit length.

        Raises:
            CheckpointError: The series has another shape.
        """


class FastEncoder(nn.Module):
    """The same function as a `SeriesEncoder` in eval mode, computed faster; not for training.

    It is built from the encoder and holds copies of its weights.
    """

    architecture: Architecture

    @abstractmethod
    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Embed normalised series, as `SeriesEncoder.forward` does."""

    has_openvino_model: ClassVar[bool] = False
    """Whether `openvino_model` gives a graph; without one, torch computes the form on CPUs, too."""

    def gpu_form(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same function on this module's GPU, with products of float16."""

        def embed(series: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cuda", torch.float16):
                embeddings: torch.Tensor = self(series)
            return embeddings

        return embed

    def openvino_model(self, steps: int, batch_size: int) -> "ov.Model":
        """The OpenVINO graph of the same function.

        Args:
            steps: Steps T of the series.
            batch_size: Pixels that the graph takes: float32 (batch_size, steps, bands).
        """
        raise NotImplementedError


def folded_linear(matrix: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Linear:
    """Make the layer that computes x @ matrix + bias, for a fast form."""
    with torch.device("meta"):
        linear = nn.Linear(matrix.shape[0], matrix.shape[1], bias=bias is not None)
    linear.weight = nn.Parameter(matrix.T.clone(memory_format=torch.contiguous_format))
    if bias is not None:
        linear.bias = nn.Parameter(bias.clone())
    return linear
