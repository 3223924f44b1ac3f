"""Monthly series: gaps filled by medians, and months reduced to seasons or to the year."""

import torch


def fill_gaps(series: torch.Tensor) -> torch.Tensor:
    """Replace values without a clear observation by the median of the other months'.

    Mapping fills gaps with the median over the year's observations, which a monthly series no
    longer holds.

    Args:
        series: (n, month, band) of any dtype; 0 = no clear observation.

    Returns:
        float32 of the same shape. A band without any observation stays 0.
    """
    values = series.to(torch.float32)
    return replace_by_median(values, values == 0)


def replace_by_median(values: torch.Tensor, lost: torch.Tensor) -> torch.Tensor:
    """Replace the lost values of each band by the median of its other months; 0 where none is.

    `values` is float32 (n, month, band), `lost` bool of the same shape.
    """
    ordered = values.masked_fill(lost, torch.inf).sort(dim=1).values
    others = (~lost).sum(dim=1, keepdim=True)
    low = ordered.gather(1, ((others - 1) // 2).clamp(min=0))
    high = ordered.gather(1, (others // 2).clamp(max=values.shape[1] - 1))
    return torch.where(lost, torch.where(others > 0, (low + high) / 2, 0.0), values)


def reduce_months(series: torch.Tensor, steps: int) -> torch.Tensor:
    """The medians of consecutive months: fewer steps, as the encoder's positions are reduced.

    Args:
        series: (n, month, band) of any dtype, without gaps.
        steps: As many steps as there are months, 4 seasons (from the first month on), or 1 year.

    Returns:
        float32 (n, steps, band).
    """
    values = series.to(torch.float32)
    n, months, bands = values.shape
    if steps == months:
        return values
    seasons = values.reshape(n * steps, months // steps, bands)
    return median_of_months(seasons).reshape(n, steps, bands)


def median_of_months(series: torch.Tensor) -> torch.Tensor:
    """The median over months, (n, 1, band); of an even number, the mean of the middle two."""
    ordered = series.sort(dim=1).values
    months = series.shape[1]
    low, high = ordered[:, (months - 1) // 2], ordered[:, months // 2]
    return ((low + high) / 2)[:, None]
