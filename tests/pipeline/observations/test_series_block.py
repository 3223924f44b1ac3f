"""Series in fewer steps than months."""

import numpy as np
import pytest

from pipeline.observations.series_block import in_steps


@pytest.mark.parametrize("steps", [12, 4, 1])
def test_steps_are_medians_of_their_months(steps: int) -> None:
    rng = np.random.default_rng(steps)
    series = rng.integers(0, 65536, (50, 12, 3)).astype(np.uint16)
    found = in_steps(series, steps)
    assert found.shape == (50, steps, 3)
    assert found.dtype == np.uint16
    for step in range(steps):
        months = series[:, step * 12 // steps : (step + 1) * 12 // steps].astype(float)
        np.testing.assert_array_equal(found[:, step], np.floor(np.median(months, axis=1) + 0.5))


def test_no_pixels_stay_none() -> None:
    assert in_steps(np.empty((0, 12, 3), np.uint16), 4).shape == (0, 4, 3)
