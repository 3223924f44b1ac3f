"""The compiled composite against one written the slow, plain way."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.observations.monthly_median import clear_pixels, monthly_medians


def plain_pixel(
    values: list[int], clear: list[bool], month: list[int], acquisition: list[int]
) -> list[int]:
    """One pixel's series, by the rules as they are written."""
    by_month: dict[int, list[int]] = {m: [] for m in range(12)}
    seen = set()
    for value, is_clear, m, overpass in zip(values, clear, month, acquisition, strict=True):
        if is_clear and value != 0 and overpass not in seen:
            seen.add(overpass)
            by_month[m].append(value)
    year = [value for month_values in by_month.values() for value in month_values]
    if not year:
        return [0] * 12
    annual = int(np.rint(np.median(year)))
    return [int(np.rint(np.median(v))) if v else annual for v in by_month.values()]


def plain_medians(
    observations: np.ndarray, clear: np.ndarray, month: np.ndarray, acquisition: np.ndarray
) -> np.ndarray:
    """`monthly_medians`, pixel by pixel, with the mask repeated to the observations' pixels."""
    _, height, width = observations.shape
    ratio = height // clear.shape[1]
    series = np.zeros((12, height, width), np.uint16)
    for y in range(height):
        for x in range(width):
            series[:, y, x] = plain_pixel(
                observations[:, y, x].tolist(),
                clear[:, y // ratio, x // ratio].tolist(),
                month.tolist(),
                acquisition.tolist(),
            )
    return series


# Few different values make ties, halves and duplicates likely; the others are the ends.
VALUES = st.sampled_from([0, 0, 1, 2, 3, 4, 7, 1000, 1001, 32767, 32768, 65534, 65535])


@st.composite
def stacks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    times = draw(st.integers(0, 14))
    ratio = draw(st.sampled_from([1, 1, 2, 2, 3]))
    rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    values = np.array(draw(st.lists(VALUES, min_size=1, max_size=6)), np.uint16)
    observations = rng.choice(values, (times, rows * ratio, columns * ratio))
    clear = rng.random((times, rows, columns)) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    months = draw(st.lists(st.integers(0, 11), min_size=times, max_size=times))
    acquisitions = draw(st.lists(st.integers(0, 8), min_size=times, max_size=times))
    if draw(st.booleans()):
        acquisitions = list(range(times))
    return observations, clear, np.array(months, np.int8), np.array(acquisitions, np.int32)


@settings(max_examples=4 * settings.default.max_examples)
@given(stacks())
def test_agrees_with_the_plain_reference(
    stack: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    series = monthly_medians(*stack)
    assert series.dtype == np.uint16
    np.testing.assert_array_equal(series, plain_medians(*stack))


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("times", [1, 60, 300])
def test_agrees_over_strips_and_many_observations(ratio: int, times: int) -> None:
    rng = np.random.default_rng(times + ratio)
    height, width = 1 * ratio, 348 * ratio  # wider than one strip, and none of its multiples
    observations = rng.integers(0, 12000, (times, height, width)).astype(np.uint16)
    clear = rng.random((times, height // ratio, width // ratio)) < 0.6
    month = rng.integers(0, 12, times)
    acquisition = rng.integers(0, times, times)
    series = monthly_medians(observations, clear, month, acquisition)
    np.testing.assert_array_equal(series, plain_medians(observations, clear, month, acquisition))


def one_pixel(values: list[int], month: list[int], acquisition: list[int] | None = None) -> list:
    observations = np.array(values, np.uint16).reshape(-1, 1, 1)
    overpass = np.array(range(len(values)) if acquisition is None else acquisition)
    clear = np.ones(observations.shape, bool)
    return monthly_medians(observations, clear, np.array(month), overpass)[:, 0, 0].tolist()


def test_means_of_two_are_rounded_half_to_even() -> None:
    assert one_pixel([1, 2, 2, 3, 5, 8], [0, 0, 1, 1, 2, 2])[:3] == [2, 2, 6]
    assert one_pixel([65534, 65535], [0, 0])[0] == 65534
    assert one_pixel([65535, 65535], [0, 0])[0] == 65535


def test_a_gap_takes_the_median_of_the_year_not_of_the_months() -> None:
    assert one_pixel([1, 1, 1, 9], [3, 3, 3, 7])[0] == 1
    assert one_pixel([1, 1, 1, 9], [3, 3, 3, 7])[7] == 9


def test_a_pixel_never_seen_stays_nodata() -> None:
    assert one_pixel([0, 0], [0, 1]) == [0] * 12
    assert one_pixel([], []) == [0] * 12


def test_an_acquisition_gives_the_first_value_that_counts() -> None:
    assert one_pixel([0, 5, 7], [4, 4, 4], [1, 1, 1])[4] == 5
    assert one_pixel([9, 5, 3], [4, 4, 4], [1, 2, 1])[4] == 7
    over_midnight = one_pixel([6, 8, 2], [0, 1, 1], [1, 1, 2])
    assert over_midnight[:2] == [6, 2]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_clear_pixels_keeps_the_classes_and_never_nodata(dtype: type) -> None:
    scl = np.arange(12, dtype=dtype).reshape(1, 3, 4)
    clear = clear_pixels(scl, (0, 4, 5, 8))
    assert np.flatnonzero(clear).tolist() == [4, 5, 8]
    assert clear.shape == scl.shape


def test_the_kernel_does_not_depend_on_memory_layout_or_threads() -> None:
    rng = np.random.default_rng(5)
    whole = rng.integers(0, 9, (20, 40, 80)).astype(np.uint16)
    mask = rng.random((20, 20, 40)) < 0.7
    month, acquisition = np.arange(20) % 12, np.arange(20)
    part, part_mask = whole[:, 4:20, 10:70], mask[:, 2:10, 5:35]
    expected = plain_medians(part, part_mask, month, acquisition)
    found: dict[int, np.ndarray] = {}

    def compute(number: int) -> None:
        found[number] = monthly_medians(part, part_mask, month, acquisition)

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for series in found.values():
        np.testing.assert_array_equal(series, expected)


def test_shapes_and_months_that_do_not_fit_are_refused() -> None:
    observations, clear = np.ones((2, 4, 4), np.uint16), np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="do not fit"):
        monthly_medians(observations, np.ones((2, 3, 3), bool), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="do not fit"):
        monthly_medians(observations, clear, np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="months are 0 to 11"):
        monthly_medians(observations, clear, np.array([1, 12]), np.zeros(2))
