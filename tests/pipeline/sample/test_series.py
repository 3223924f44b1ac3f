"""Series for training are drawn as the archive's are made, and repeat by seed."""

import numpy as np

from pipeline.observations.monthly_median import clear_pixels
from pipeline.sample.classes import CLASS_COUNT, MAIZE, WHEAT
from pipeline.sample.series import sample_series
from pipeline.sample.train import PREPROCESSING

B04, B08 = 2, 6


def test_shapes_and_repetition() -> None:
    land, series = sample_series(1, 1500)
    again_land, again = sample_series(1, 1500)
    assert series.shape == (1500, 12, 10)
    assert series.dtype == np.uint16
    assert np.array_equal(land, again_land)
    assert np.array_equal(series, again)
    other_land, other = sample_series(2, 1500)
    assert not np.array_equal(series, other)
    assert set(land) == set(other_land) == set(range(CLASS_COUNT))
    assert len(sample_series(1, 0 + 1)[0]) == 1


def test_no_month_is_left_without_a_value() -> None:
    _land, series = sample_series(3, 3000)
    assert series.min() > 0
    assert series.max() < 16_001


def test_classes_can_be_chosen() -> None:
    land, series = sample_series(4, 900, land=[WHEAT, MAIZE])
    assert set(land) == {WHEAT, MAIZE}
    ndvi = (series[..., B08].astype(float) - series[..., B04]) / (
        series[..., B08].astype(float) + series[..., B04]
    )
    may, august = 4, 7
    assert np.median(ndvi[land == WHEAT, may]) > np.median(ndvi[land == WHEAT, august]) + 0.25
    assert np.median(ndvi[land == MAIZE, august]) > np.median(ndvi[land == MAIZE, may]) + 0.25


def test_gaps_are_filled_by_the_year_s_median() -> None:
    _land, series = sample_series(5, 1200)
    distinct = np.array([len(np.unique(pixel, axis=0)) for pixel in series])
    assert (distinct < 11).mean() > 0.1  # months that equal one another in all bands were filled
    assert (distinct == 12).mean() > 0.1


def test_clouds_and_snow_are_not_kept() -> None:
    kept = clear_pixels(np.arange(12, dtype=np.uint8), PREPROCESSING.scl_keep)
    assert not kept[[0, 1, 3, 8, 9, 10, 11]].any()
