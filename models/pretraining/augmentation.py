"""The paper's augmentations (arXiv 2508.11919): months, or bands, that the encoder does not see.

Each month that is left keeps its own position.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from models.encoder.series_months import median_of_months
from models.pretraining.row_random import RowDraws

Augmentation = Literal["none", "TSMixAug", "RandomTS", "TSMS"]
"""`none`, or one of the paper's three, each done to a series with the recipe's probability:

- `TSMixAug`: half the time the median over months, as a single token at the first position, where
  a series of T = 1 has it; else three consecutive months are dropped (December and January are
  not neighbours).
- `RandomTS`: a random subset of months is kept; each size of 1 … 12 is as likely.
- `TSMS`: the same, and a random subset of bands is dropped, of any size alike; the visible three
  are always kept. A dropped band is 0, so that it adds nothing to a token.
"""

_QUARTER = 3
VISIBLE_BANDS = ("B02", "B03", "B04")


@dataclass(frozen=True, eq=False)
class AugmentedSeries:
    """Normalised series, float (n, T, band), and the steps that the encoder sees, bool (n, T)."""

    series: torch.Tensor
    kept: torch.Tensor


def augment(
    series: torch.Tensor,
    augmentation: Augmentation,
    probability: float,
    bands: tuple[str, ...],
    draws: RowDraws,
) -> AugmentedSeries:
    """Hide months or bands from the encoder, of each series with this probability.

    `series` is float (n, T, band), normalised, and `bands` names its bands in order.
    """
    whole = AugmentedSeries(
        series, torch.ones(series.shape[:2], dtype=torch.bool, device=series.device)
    )
    if augmentation == "none":
        return whole
    chosen = draws.chance(probability)
    if augmentation == "TSMixAug":
        return _merged(chosen, _year_or_without_quarter(whole, draws), whole)
    seen = _some_months(whole, draws)
    if augmentation == "TSMS":
        seen = replace(seen, series=seen.series * _some_bands(bands, draws)[:, None])
    return _merged(chosen, seen, whole)


def _year_or_without_quarter(whole: AugmentedSeries, draws: RowDraws) -> AugmentedSeries:
    n, months, _ = whole.series.shape
    first = (draws.uniform() * (months - _QUARTER + 1)).long()
    month = torch.arange(months, device=whole.series.device).expand(n, months)
    in_quarter = (month >= first[:, None]) & (month < first[:, None] + _QUARTER)
    year = AugmentedSeries(median_of_months(whole.series).expand_as(whole.series), month == 0)
    return _merged(draws.chance(0.5), year, replace(whole, kept=~in_quarter))


def _some_months(whole: AugmentedSeries, draws: RowDraws) -> AugmentedSeries:
    months = whole.series.shape[1]
    left = 1 + (draws.uniform() * months).long()
    return replace(whole, kept=_subset(left, draws.uniform(months)))


def _some_bands(bands: tuple[str, ...], draws: RowDraws) -> torch.Tensor:
    """Which bands are kept: bool (n, band)."""
    order = draws.uniform(len(bands))
    visible = torch.tensor([band in VISIBLE_BANDS for band in bands], device=order.device)
    others = int((~visible).sum())
    left = (draws.uniform() * (others + 1)).long()
    return _subset(left + visible.sum(), torch.where(visible, -1.0, order))


def _subset(count: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The `count` (n,) least of each row of `order` (n, m): bool (n, m)."""
    return order.argsort(dim=1).argsort(dim=1) < count[:, None]


def _merged(chosen: torch.Tensor, one: AugmentedSeries, other: AugmentedSeries) -> AugmentedSeries:
    """The rows of `one` where chosen, else those of `other`."""
    return AugmentedSeries(
        torch.where(chosen[:, None, None], one.series, other.series),
        torch.where(chosen[:, None], one.kept, other.kept),
    )
