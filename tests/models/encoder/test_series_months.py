"""Gaps take the median, seasons and year are medians: beside numpy's."""

import numpy as np
import torch

from models.encoder.series_months import fill_gaps, reduce_months, replace_by_median


def with_gaps(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    series = rng.integers(1, 5000, (40, 12, 10)).astype(np.uint16)
    series[rng.random((40, 12)) < 0.4] = 0
    series[0, :11] = 0
    series[1, :, 3] = 0  # a band that has nothing
    series[2, 4, 5] = 0
    return series


def test_gaps_take_the_median_of_the_other_months() -> None:
    series = with_gaps()
    wanted = series.astype(np.float64)
    for pixel in wanted:
        for band in range(10):
            there = pixel[:, band] > 0
            if there.any():
                pixel[~there, band] = np.median(pixel[there, band])
    found = fill_gaps(torch.from_numpy(series.astype(np.int32)))
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), wanted)


def test_seasons_and_the_year_are_medians() -> None:
    series = torch.from_numpy(with_gaps().astype(np.float32))
    plain = series.numpy()
    seasons = np.stack([np.median(plain[:, m : m + 3], axis=1) for m in (0, 3, 6, 9)], axis=1)
    assert np.array_equal(reduce_months(series, 4).numpy(), seasons)
    assert np.array_equal(reduce_months(series, 1).numpy(), np.median(plain, axis=1, keepdims=True))
    assert torch.equal(reduce_months(series, 12), series)


def test_the_years_median_is_the_same_with_gaps_filled() -> None:
    series = with_gaps(1)[3:]
    there = np.where(series == 0, np.nan, series.astype(np.float64))
    found = reduce_months(fill_gaps(torch.from_numpy(series.astype(np.int32))), 1)
    assert np.allclose(found.numpy()[:, 0], np.nanmedian(there, axis=1))


def test_what_is_lost_takes_the_median_of_what_is_left() -> None:
    values = torch.tensor([[[1.0], [2.0], [9.0], [100.0]], [[1.0], [2.0], [3.0], [4.0]]])
    lost = torch.tensor([[[False], [False], [False], [True]], [[True]] * 4])
    assert replace_by_median(values, lost).squeeze(2).tolist() == [[1, 2, 9, 2], [0, 0, 0, 0]]
