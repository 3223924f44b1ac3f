"""A checkpoint's preprocessing: band order, gap filling, mask, normalisation, optional bands."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from models.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np
    import torch

BANDS: tuple[str, ...] = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""The ten bands of 10 and 20 m that the encoder can take, in Sentinel-2's order."""

_SCENE_CLASSES = range(1, 12)  # SCL; 0 is nodata and can never be kept
MONTHS = 12
"""Months of a series, January first."""


@dataclass(frozen=True)
class Preprocessing:
    """How observations become the encoder's input, as the checkpoint was trained.

    A run may reduce the months to 4 seasons or 1 year, by the medians of consecutive months
    (`models.encoder.series_months`), before `normalise`. Whether the encoder was trained on these,
    the card's `trained_steps` says.

    Attributes:
        bands: The order in which a series has its bands.
        low: One value per band, reflectance × 10000, as `normalise` uses it.
        high: One value per band, above 0, as `normalise` uses it.
        add: Added to every value, as `normalise` uses it.
        gap_fill: A month without any clear observation takes the median over all the year's clear
            observations of that band and pixel.
        scl_keep: The Sentinel-2 scene classes that count as clear.
        months: Months of a series, always 12.
        optional_bands: Those of `bands` that a series may lack altogether: it is 0 in all months,
            and so is the encoder's input. A band that is observed is at least 1.

    Raises:
        CheckpointError: These values contradict each other.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    bands: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    add: float
    gap_fill: Literal["annual-median"]
    scl_keep: tuple[int, ...]
    months: int = MONTHS
    optional_bands: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if problem := self._contradiction():
            raise CheckpointError("preprocessing", problem, "Correct the checkpoint's card")

    def _contradiction(self) -> str | None:
        unknown = [band for band in self.bands if band not in BANDS]
        if unknown:
            return f"unknown band {', '.join(unknown)}; bands are {', '.join(BANDS)}"
        if not self.bands or len(set(self.bands)) < len(self.bands):
            return "bands must be one or more, each once"
        for name, values in (("low", self.low), ("high", self.high)):
            if len(values) != len(self.bands):
                return f"{name} holds {len(values)} values for {len(self.bands)} bands"
        if not all(map(math.isfinite, (*self.low, *self.high, self.add))):
            return "low, high and add must be finite numbers"
        if min(self.high) <= 0:
            return "high must be above 0"
        if self.gap_fill != "annual-median":
            return f'gap_fill is {self.gap_fill!r}; only "annual-median" is known'
        if not self.scl_keep or any(scene not in _SCENE_CLASSES for scene in self.scl_keep):
            return "scl_keep must name scene classes of 1 to 11"
        if self.months != MONTHS:
            return f"months is {self.months}; series are made of {MONTHS} months"
        optional = self.optional_bands
        if len(set(optional)) < len(optional) or not set(optional) <= set(self.bands):
            return f"optional_bands is {list(optional)}, and must name bands of it, each once"
        if len(optional) == len(self.bands):
            return "optional_bands names all bands; a series must have one or more"
        return None

    def normalise(self, series: "np.ndarray | torch.Tensor") -> "torch.Tensor":
        """Reflectance to the encoder's input: (x + add − low) / high, clipped to [0, 1].

        A 0 of an optional band stays 0.

        Source: the TimeSenCLIP authors' code (arXiv 2508.11919).

        Args:
            series: (…, step, band) of any dtype, reflectance × 10000 without offset, bands in the
                order of `bands`.

        Returns:
            float32 of the same shape, on the device of `series`.

        Raises:
            CheckpointError: The series has another number of bands.
        """
        import torch  # here, so that reading a run's settings does not take torch's import time

        if series.shape[-1] != len(self.bands):
            raise CheckpointError(
                f"a series of {series.shape[-1]} bands",
                f"the checkpoint takes {len(self.bands)}: {', '.join(self.bands)}",
                "Deliver exactly these bands, in this order",
            )
        if isinstance(series, torch.Tensor):
            values = series.to(torch.float32, copy=True)
        else:  # astype copies, so read-only and reversed arrays are as good as any
            values = torch.from_numpy(series.astype("float32", order="C"))
        shift = _on_device(tuple(self.add - low for low in self.low), values.device)
        high = _on_device(self.high, values.device)
        lifted = [  # the optional bands of which 0 is not clipped to 0 anyway
            place
            for place, (band, low) in enumerate(zip(self.bands, self.low, strict=True))
            if band in self.optional_bands and self.add > low
        ]
        absent = [(place, values[..., place] == 0) for place in lifted]
        values.add_(shift).div_(high).clamp_(0.0, 1.0)
        for place, zeros in absent:
            values[..., place].masked_fill_(zeros, 0.0)
        return values


@lru_cache(maxsize=16)
def _on_device(numbers: tuple[float, ...], device: "torch.device") -> "torch.Tensor":
    """Numbers on a device. They are copied once: copying them waits for all that a GPU does."""
    import torch

    with torch.inference_mode(False):
        return torch.tensor(numbers, device=device)


AUTHORS = Preprocessing(
    bands=BANDS,
    low=(67.0, 122.0, 93.27, 158.5, 160.77, 174.27, 162.27, 149.0, 84.5, 66.27),
    high=(
        *(2089.0, 2598.45, 3214.5, 3620.45, 4033.61),
        *(4613.0, 4825.45, 4945.72, 5140.84, 4414.45),
    ),
    add=1.0,
    gap_fill="annual-median",
    scl_keep=tuple(range(1, 9)),
)
"""The TimeSenCLIP authors' preprocessing (arXiv 2508.11919 and their public code)."""
