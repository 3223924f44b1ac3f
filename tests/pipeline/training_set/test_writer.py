"""The statistics of a training set's bands."""

import numpy as np
import pytest

from pipeline.errors import DatasetError
from pipeline.training_set.writer import BandStatistics


def test_statistics_of_a_band_are_of_the_rows_that_have_it() -> None:
    rng = np.random.default_rng(0)
    series = rng.integers(1, 3000, (40, 12, 3), dtype=np.uint16)
    series[:10, :, 1] = 0
    series[:, :, 2] = 0
    series[20, 3] = 0  # a month without a clear observation
    statistics = BandStatistics(3)
    for part in (series[:7], series[7:]):
        statistics.add(part)
    found = statistics.result()
    assert found.absent == (0.0, 0.25, 1.0)
    seen = series[10:, :, 1][series[10:, :, 1] > 0]
    assert found.mean[1] == pytest.approx(seen.mean())
    assert found.std[1] == pytest.approx(seen.std())
    assert found.quantiles["50"][1] == np.quantile(seen, 0.5, method="inverted_cdf")
    assert found.missing == pytest.approx(2 / (40 * 12 + 30 * 12))
    assert (found.mean[2], found.std[2], found.quantiles["99"][2]) == (0, 0, 0)


def test_series_of_nothing_have_no_statistics() -> None:
    statistics = BandStatistics(2)
    statistics.add(np.zeros((3, 12, 2), np.uint16))
    with pytest.raises(DatasetError, match="no band has a clear observation"):
        statistics.result()
