"""Monthly series made ready for the encoder: gaps filled, and reduced to seasons or to the year."""

import torch


def gaps_filled(series: torch.Tensor) -> torch.Tensor:
    """Series in which a value without clear observation takes the median of the other months'.

    `series` is (n, month, band) of any dtype, 0 = no clear observation; the result float32. A band
    without any observation stays 0. Mapping fills with the median over the year's observations,
    which a monthly series no longer holds: this is as near as it comes.
    """
    values = series.to(torch.float32)
    return filled(values, values == 0)


def filled(values: torch.Tensor, lost: torch.Tensor) -> torch.Tensor:
    """Values float32 (n, month, band) with those `lost` (bool, the same) replaced by the median.

    The median is over the months that are left, of each band; 0 where none is.
    """
    return torch.where(lost, _median_of_left(values, lost), values)


def reduced(series: torch.Tensor, steps: int) -> torch.Tensor:
    """Series (n, 12, band) without gaps as `steps` = 12 months, 4 seasons or 1 year.

    A season is the median of three months, from the series' first on; the year is that of all.
    float32 (n, steps, band).
    """
    values = series.to(torch.float32)
    n, months, bands = values.shape
    if steps == months:
        return values
    return median(values.reshape(n * steps, months // steps, bands)).reshape(n, steps, bands)


def median(series: torch.Tensor) -> torch.Tensor:
    """The median over months, (n, 1, band), of an even number the mean of the middle two."""
    ordered = series.sort(dim=1).values
    months = series.shape[1]
    low, high = ordered[:, (months - 1) // 2], ordered[:, months // 2]
    return ((low + high) / 2)[:, None]


def _median_of_left(values: torch.Tensor, lost: torch.Tensor) -> torch.Tensor:
    ordered = values.masked_fill(lost, torch.inf).sort(dim=1).values
    left = (~lost).sum(dim=1, keepdim=True)
    low = ordered.gather(1, ((left - 1) // 2).clamp(min=0))
    high = ordered.gather(1, (left // 2).clamp(max=values.shape[1] - 1))
    return torch.where(left > 0, (low + high) / 2, 0.0)
