"""Variations of monthly series, before they are normalised: other years that could have been.

Each `vary` takes and returns reflectance × 10000, float32 (n, 12, band), without gaps; each row is
changed with the variation's probability. A recipe lists variations, which are applied in its order.
Distillation makes its bank of series with them as well.

A band that a row lacks is 0 in all its months, and stays so through all variations. Other values
are 1 or more.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from models.encoder.preprocessing import BANDS
from models.encoder.series_months import median_of_months, replace_by_median
from models.pretraining.memory_bank import depict_the_same
from models.pretraining.row_random import RowDraws, drawn_place

_REFLECTANCE = 10_000.0
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0, lt=10)]
Gather = Callable[[torch.Tensor], torch.Tensor]

BAND_GROUPS = {"red-edge": ("B05", "B06", "B07"), "swir": ("B11", "B12")}
"""Names that stand for several bands in a variation's settings."""

_PERIODS = (2, 3, 6)  # months that a coarser composite covers
_LOWEST = 1.0  # of an observed band; 0 is an absent one


def _read_groups(value: Any) -> Any:
    """Read "B8A+red-edge/B11", or a list of lists or of such texts, as a list of lists of bands."""
    if isinstance(value, str):
        value = value.split("/")
    if not isinstance(value, list | tuple):
        return value
    return [_bands_of(group.split("+") if isinstance(group, str) else group) for group in value]


def _bands_of(group: Any) -> Any:
    if not isinstance(group, list | tuple):
        return group
    bands: list[Any] = []
    for name in group:
        bands += BAND_GROUPS.get(name.strip(), (name.strip(),)) if isinstance(name, str) else [name]
    return bands


class Others:
    """The whole batch, over all processes: the other rows that a row can be mixed with.

    Args:
        keys: int64 (n,), those of this process's rows.
        first: The place of this process's first row in the whole batch.
        gather: Returns all processes' rows of a tensor, by rank.
        bands: The bands of all rows, in order.
    """

    def __init__(
        self, keys: torch.Tensor, first: int, gather: Gather, bands: Sequence[str] = BANDS
    ) -> None:
        self.keys, self.first, self.gather, self.bands = keys, first, gather, tuple(bands)


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
        return (series * factor + added * _REFLECTANCE).clamp(min=_LOWEST)


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


class OtherHemisphere(_Variation):
    """The same land half the Earth away: months are moved by half a year."""

    name: Literal["other-hemisphere"] = "other-hemisphere"
    probability: Share = 0.2

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        return series.roll(series.shape[1] // 2, dims=1)


class CoarserCalendar(_Variation):
    """A source with fewer composites: the medians of 2, 3 or 6 months, from January on.

    A median stands in each of its months, or with the probability `sparse` in the first alone, the
    others then being filled as months without an observation are.
    """

    name: Literal["coarser-calendar"] = "coarser-calendar"
    probability: Share = 0.2
    sparse: Share = 0.4

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        _, months, bands = series.shape
        which = (draws.uniform() * len(_PERIODS)).long()
        sparse = draws.chance(self.sparse)
        varied = torch.empty_like(series)
        for number, period in enumerate(_PERIODS):
            rows = which == number
            parts = series[rows].reshape(-1, period, bands)
            medians = median_of_months(parts).reshape(-1, months // period, bands)
            whole = medians.repeat_interleave(period, dim=1)
            first = torch.arange(months, device=series.device) % period == 0
            lost = (~first)[None, :, None].expand_as(whole)
            filled = replace_by_median(whole, lost)
            varied[rows] = torch.where(sparse[rows][:, None, None], filled, whole)
        return varied


class AnotherYear(_Variation):
    """A series between two that depict the same: up to `share` of another row of the batch.

    The other is drawn from the rows of the whole batch that carry the row's key. A row whose key
    no other carries stays as it is. The share is drawn evenly from 0 … `share`. A band that one of
    the two lacks is absent.
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
        mixed = alike.any(dim=1)
        share = self.share * draws.uniform() * mixed
        lost = absent_bands(other) & mixed[:, None]
        return torch.lerp(series, other, share[:, None, None]).masked_fill(lost[:, None], 0.0)


class LostBands(_Variation):
    """A sensor or a catalogue without some bands: one or more of `groups` become absent.

    How many groups is drawn evenly, then which. A row keeps the bands that it would lose if it had
    no others.
    """

    name: Literal["lost-bands"] = "lost-bands"
    probability: Share = 0.5
    groups: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_read_groups)] = Field(
        (("B8A",), BAND_GROUPS["red-edge"]), min_length=1
    )

    @field_validator("groups")
    @classmethod
    def _known_bands(cls, groups: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        if strange := [name for group in groups for name in group if name not in BANDS]:
            raise ValueError(
                f"{', '.join(map(repr, strange))} is no band; bands are {', '.join(BANDS)}, and "
                f"{' and '.join(BAND_GROUPS)} stand for several"
            )
        if not all(groups):
            raise ValueError("a group is empty; write groups as B8A/B05+B06+B07")
        return groups

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that can be lost, in Sentinel-2's order."""
        named = {band for group in self.groups for band in group}
        return tuple(band for band in BANDS if band in named)

    def vary(self, series: torch.Tensor, draws: RowDraws, others: Others) -> torch.Tensor:
        """Vary the series, float32 (n, 12, band)."""
        groups = len(self.groups)
        members = torch.tensor([[band in group for band in others.bands] for group in self.groups])
        number = 1 + (draws.uniform() * groups).long()
        chosen = draws.uniform(groups).argsort(dim=1).argsort(dim=1) < number[:, None]
        lost = (chosen[:, :, None] & members.to(series.device)).any(dim=1)
        lost &= ~(lost | absent_bands(series)).all(dim=1, keepdim=True)
        return series.masked_fill(lost[:, None], 0.0)


Variation = Annotated[
    Reflectance
    | LostMonths
    | LostBands
    | ShiftedCalendar
    | OtherHemisphere
    | CoarserCalendar
    | AnotherYear,
    Field(discriminator="name"),
]


def absent_bands(series: torch.Tensor) -> torch.Tensor:
    """The bands that are 0 in all months of each series, (n, 12, band): bool (n, band)."""
    return (series == 0).all(dim=1)


def vary_series(
    series: torch.Tensor, variations: Sequence[Variation], draws: RowDraws, others: Others
) -> torch.Tensor:
    """Apply variations to series, float32 (n, 12, band), each to the rows that chance chooses.

    A band that a row lacks stays 0.
    """
    for variation in variations:
        chosen = draws.chance(variation.probability)[:, None, None]
        varied = variation.vary(series, draws, others)
        varied = varied.masked_fill(absent_bands(series)[:, None], 0.0)
        series = torch.where(chosen, varied, series)
    return series
