"""Which pixels of a block are encoded, and their series."""

import numpy as np

from pipeline.observations.series_block import SeriesBlock, batches_of


def test_a_pixel_may_lack_an_optional_band() -> None:
    fine = np.full((12, 4, 4), 500, np.uint16)
    coarse = np.full((12, 2, 2), 900, np.uint16)
    fine[:, 0, 0] = 0
    coarse[:, 1, 1] = 0
    expected = np.ones((4, 4), bool)
    expected[0, 0] = False
    block = SeriesBlock((fine, coarse), (4, 4), frozenset({1}))
    assert np.array_equal(block.valid, expected)
    ((rows, columns, series),) = batches_of(block, np.ones((4, 4), bool), 100)
    lacking = (rows >= 2) & (columns >= 2)
    assert lacking.sum() == 4
    assert (series[lacking, :, 1] == 0).all()
    assert (series[~lacking, :, 1] == 900).all()
    assert (series[:, :, 0] == 500).all()
    expected[2:, 2:] = False
    assert np.array_equal(SeriesBlock((fine, coarse), (4, 4)).valid, expected)
