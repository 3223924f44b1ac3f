"""Which pixels of a block are encoded, and their series."""

import numpy as np
import torch

from pipeline.observations.series_block import SeriesBlock, batches_of, batches_on_device


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


def test_batches_that_a_device_picks_are_those_that_the_host_picks() -> None:
    rng = np.random.default_rng(0)
    # Values that int16 does not hold, nodata, and a block whose last strip is lower.
    fine = rng.integers(0, 65536, (12, 10, 6)).astype(np.uint16) * rng.integers(0, 2, (10, 6))
    coarse = rng.integers(1, 65536, (12, 5, 3)).astype(np.uint16)
    coarse[:, 4, 2] = 0
    block = SeriesBlock((fine.astype(np.uint16), coarse), (10, 6))
    wanted = rng.random((10, 6)) < 0.8
    wanted[4:6] = False  # a strip without pixels, where strips have two rows
    for batch_size in (1, 12, 30, 1000):
        found = list(batches_on_device(block, wanted, batch_size, torch.device("cpu")))
        ((rows, columns, series),) = batches_of(block, wanted, 1000)
        assert np.array_equal(np.concatenate([batch[0] for batch in found]), rows)
        assert np.array_equal(np.concatenate([batch[1] for batch in found]), columns)
        picked = torch.cat([batch[2] for batch in found])
        assert picked.is_contiguous()
        assert np.array_equal(picked.numpy().view(np.uint16), series)
