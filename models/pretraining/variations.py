"""Variations of monthly series, before they are normalised: other years that could have been.

Each `vary` takes and returns reflectance × 10000, float32 (n, 12, band), without gaps; each row is
changed with the variation's probability. A recipe lists variations, which are applied in its order.
Distillation makes its bank of series with them as well.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from models.encoder.series_months import replace_by_median
from models.pretraining.memory_bank import depict_the_same
from models.pretraining.row_random import RowDraws, drawn_place

_REFLECTANCE = 10_000.0
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0, lt=10)]
Gather = Callable[[torch.Tensor], torch.Tensor]


class Others:
    """The whole batch, over all processes: the other rows that a row can be mixed with.

    Args:
        keys: int64 (n,), those of this process's rows.
        first: The place of this process's first row in the whole batch.
        gather: Returns all processes' rows of a tensor, by rank.
    """

    def __init__(self, keys: torch.Tensor, first: int, gather: Gather) -> None:
        self.keys, self.first, self.gather = keys, first, gather


class _Variation(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: Share = 1.0


class Reflectance(_Variation):
    """Another calibration and atmosphere: value × (1 + gain) + shift + noise.

    Standard deviations: `gain` of a factor for all values of a series, `band_gain` for a band,
    `month_gain` for a month; `shift` of a band and `noise` of every value, in reflectance (0 … 1).
    """

    name: Literal["reflectance"] = "reflectance"
    gain: Spread = 0.05
    band_gain: Spread = 0.02
    month_gain: Spread = 0.0
    shift: Spread = 0.002
    noise: Spread = 0.0012

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        _, months, bands = series.shape
        factor = 1 + self.gain * draws.normal(1, 1)
        factor = factor + self.band_gain * draws.normal(1, bands)
        factor = factor + self.month_gain * draws.normal(months, 1)
        added = self.shift * draws.normal(1, bands) + self.noise * draws.normal(months, bands)
        return (series * factor + added * _REFLECTANCE).clamp(min=0)


class LostMonths(_Variation):
    """Months without a clear observation: up to `share` of them take the median of those left.

    The share is drawn evenly from 0 … `share` for each series. One month always stays.
    """

    name: Literal["lost-months"] = "lost-months"
    probability: Share = 0.5
    share: Share = 0.6

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        number = draws.uniform(series.shape[1])
        lost = number < self.share * draws.uniform(1)
        lost &= number < number.max(dim=1, keepdim=True).values
        return replace_by_median(series, lost[:, :, None].expand_as(series))


class ShiftedCalendar(_Variation):
    """An earlier or later year: months are moved by up to `months`, a part of a month included.

    Between two months values are interpolated; December goes over into January.
    """

    name: Literal["shifted-calendar"] = "shifted-calendar"
    probability: Share = 0.5
    months: float = Field(default=1.0, ge=0, le=6)

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        n, months, _ = series.shape
        moved = self.months * (2 * draws.uniform(1) - 1)
        whole = moved.floor()
        month = torch.arange(months, device=series.device) + whole.long()
        earlier, later = (
            series[torch.arange(n, device=series.device)[:, None], (month + one) % months]
            for one in (0, 1)
        )
        return torch.lerp(earlier, later, (moved - whole)[:, :, None])


class AnotherYear(_Variation):
    """A series between two that depict the same: up to `share` of another row of the batch.

    The other is drawn from the rows of the whole batch that carry the row's key. A row whose key
    no other carries stays as it is. The share is drawn evenly from 0 … `share`.
    """

    name: Literal["another-year"] = "another-year"
    probability: Share = 0.5
    share: Share = 0.5

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        rows = torch.arange(len(series), device=series.device)
        alike = depict_the_same(others.keys, others.gather(others.keys))
        alike[rows, others.first + rows] = False
        other = others.gather(series)[drawn_place(alike, draws.uniform())]
        share = self.share * draws.uniform() * alike.any(dim=1)
        return torch.lerp(series, other, share[:, None, None])


Variation = Annotated[
    Reflectance | LostMonths | ShiftedCalendar | AnotherYear, Field(discriminator="name")
]


def vary_series(
    series: torch.Tensor, variations: Sequence[Variation], draws: RowDraws, others: Others
) -> torch.Tensor:
    """Apply variations to series, float32 (n, 12, band), each to the rows that chance chooses."""
    for variation in variations:
        chosen = draws.chance(variation.probability)[:, None, None]
        series = torch.where(chosen, variation.vary(series, draws, others), series)
    return series
