"""Geometric medians against a slow, plain reference, and what counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.observations.geometric_median import geometric_median, with_gaps_filled


def plain(points: np.ndarray) -> np.ndarray:
    """The point of the least sum of distances to (n, band): Vardi and Zhang's iteration, long."""
    points = points.astype(float)
    guess = points.mean(axis=0)
    for _ in range(5000):
        apart = np.linalg.norm(points - guess, axis=1)
        away = apart > 1e-9
        if not away.any():
            return guess
        weights = 1 / apart[away]
        mean = (weights[:, None] * points[away]).sum(0) / weights.sum()
        here = (~away).sum()
        pull = np.linalg.norm((weights[:, None] * (points[away] - guess)).sum(0))
        share = min(1.0, here / pull) if here else 0.0
        step = (1 - share) * (mean - guess)
        guess = guess + step
        if np.linalg.norm(step) < 1e-7:
            return guess
    return guess


def cost(points: np.ndarray, where: np.ndarray) -> float:
    return float(np.linalg.norm(points.astype(float) - where, axis=1).sum())


def of_pixels(points: np.ndarray) -> np.ndarray:
    """Geometric medians of (pixel, t, band), all clear: (pixel, band)."""
    bands = [np.ascontiguousarray(points[:, :, b].T[:, None]) for b in range(points.shape[2])]
    clear = np.ones((points.shape[1], 1, points.shape[0]), bool)
    found = geometric_median(bands, clear, np.arange(points.shape[1]))
    return found[:, 0].T


@pytest.mark.parametrize("times", [3, 5, 6, 11])
@pytest.mark.parametrize("kind", ["noise", "cloud", "line", "anything"])
def test_agrees_with_the_plain_way(times: int, kind: str) -> None:
    rng = np.random.default_rng(times)
    points = rng.uniform(300, 4000, (12, 1, 10)) * rng.normal(1, 0.08, (12, times, 10))
    if kind == "cloud":
        points[:, 0] += rng.uniform(2000, 9000, (12, 1))
    elif kind == "line":
        points = 6000 + rng.normal(size=(12, 1, 10)) * rng.uniform(-800, 800, (12, times, 1))
    elif kind == "anything":
        points = rng.uniform(1, 65535, (12, times, 10))
    stored = points.clip(1, 65535).round().astype(np.uint16)
    for found, observed in zip(of_pixels(stored), stored, strict=True):
        # Where the sum of distances is flat, as along a line, more than one point is as good.
        best = cost(observed, plain(observed))
        assert cost(observed, found) <= best * 1.0005 + 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
def test_the_order_does_not_matter_and_no_observation_is_better(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    stored = rng.integers(1, 9000, (1, times, 4)).astype(np.uint16)
    (found,) = of_pixels(stored)
    (shuffled,) = of_pixels(stored[:, rng.permutation(times)])
    assert np.abs(found.astype(int) - shuffled).max() <= 2 or cost(stored[0], found) <= (
        cost(stored[0], shuffled) * 1.0005
    )
    assert all(cost(stored[0], found) <= cost(stored[0], point) + 4 for point in stored[0])


def test_of_one_it_is_itself_and_of_two_their_midpoint() -> None:
    one = np.array([[[500, 700, 65534]]], np.uint16)
    assert of_pixels(one).tolist() == [[500, 700, 65534]]
    two = np.array([[[500, 700], [600, 900]]], np.uint16)
    assert of_pixels(two).tolist() == [[550, 800]]


def test_most_of_them_decide() -> None:
    points = np.array([[[500, 700]] * 4 + [[9000, 9000]] * 3], np.uint16)
    assert np.abs(of_pixels(points)[0].astype(int) - [500, 700]).max() <= 1


def test_observations_that_are_not_clear_or_lack_a_band_do_not_count() -> None:
    ten = np.array([500, 9000, 600, 700], np.uint16).reshape(4, 1, 1).repeat(2, 1).repeat(2, 2)
    twenty = np.array([50, 60, 0, 80], np.uint16).reshape(4, 1, 1)
    clear = np.array([True, False, True, True]).reshape(4, 1, 1)
    found = geometric_median([ten, twenty], clear, np.arange(4))
    assert found.shape == (2, 2, 2)
    assert found.reshape(2, -1).T.tolist() == [[600, 65]] * 4  # of the first and the last
    none = geometric_median([ten, twenty], np.zeros((4, 1, 1), bool), np.arange(4))
    assert not none.any()
    assert geometric_median([ten[:0], twenty[:0]], clear[:0], np.arange(0)).shape == (2, 2, 2)


def test_of_an_acquisition_the_first_that_counts() -> None:
    bands = [np.array([0, 400, 800], np.uint16).reshape(3, 1, 1)] * 2
    clear = np.ones((3, 1, 1), bool)
    assert geometric_median(bands, clear, np.array([7, 7, 7])).ravel().tolist() == [400, 400]
    assert geometric_median(bands, clear, np.array([7, 8, 7])).ravel().tolist() == [600, 600]


def test_gaps_take_the_median_of_the_other_months() -> None:
    months = np.zeros((12, 2, 1, 3), np.uint16)
    months[2, :, 0, 0] = (300, 500)
    months[[1, 5, 6], 0, 0, 1] = (100, 200, 9000)
    months[[1, 5, 6], 1, 0, 1] = (10, 20, 9000)
    filled = with_gaps_filled(months)
    assert filled[:, :, 0, 0].tolist() == [[300, 500]] * 12
    assert filled[6, :, 0, 1].tolist() == [9000, 9000]
    gap = filled[0, :, 0, 1]
    best = plain(months[[1, 5, 6], :, 0, 1])
    assert np.abs(gap - best).max() <= 2
    assert not filled[..., 2].any()


def test_shapes_that_do_not_fit() -> None:
    band = np.ones((3, 4, 4), np.uint16)
    with pytest.raises(ValueError, match="do not fit"):
        geometric_median([band, band[:2]], np.ones((3, 4, 4), bool), np.arange(3))
    with pytest.raises(ValueError, match="do not fit"):
        geometric_median([band], np.ones((3, 3, 4), bool), np.arange(3))
    with pytest.raises(ValueError, match="2 acquisitions"):
        geometric_median([band], np.ones((3, 4, 4), bool), np.arange(2))


def series_with(points: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The bands of (pixel, t, band), each (t, 1, pixel), and a mask that is clear everywhere."""
    bands = [np.ascontiguousarray(points[:, :, b].T[:, None]) for b in range(points.shape[2])]
    return bands, np.ones((points.shape[1], 1, points.shape[0]), bool)


def test_a_pixel_without_an_optional_band_has_the_median_of_the_others() -> None:
    rng = np.random.default_rng(4)
    points = rng.integers(300, 4000, (6, 7, 4)).astype(np.uint16)
    points[1, :, 2] = 0  # in no observation
    points[2, :4, 2] = 0  # in some
    points[3, ::2, 2] = points[3, 1::2, 3] = 0  # of two, one in each
    points[4, :, 2:] = 0
    points[5, :, 0] = 0  # a band that is not optional
    bands, clear = series_with(points)
    found = geometric_median(bands, clear, np.arange(7), {2, 3})[:, 0].T

    def whole(pixel: int, times: slice, chosen: list[int]) -> np.ndarray:
        part, mask = series_with(points[pixel : pixel + 1, times][:, :, chosen])
        result: np.ndarray = geometric_median(part, mask, np.arange(len(mask)))[:, 0, 0]
        return result

    assert found[0].tolist() == whole(0, slice(None), [0, 1, 2, 3]).tolist()
    assert found[1, [0, 1, 3]].tolist() == whole(1, slice(None), [0, 1, 3]).tolist()
    assert found[1, 2] == 0
    assert found[2].tolist() == whole(2, slice(4, None), [0, 1, 2, 3]).tolist()
    assert found[3].tolist() == [*whole(3, slice(None), [0, 1]).tolist(), 0, 0]
    assert found[4].tolist() == [*whole(4, slice(None), [0, 1]).tolist(), 0, 0]
    assert not found[5].any()
    strict = geometric_median(bands, clear, np.arange(7))[:, 0].T
    assert strict[0].tolist() == found[0].tolist()
    assert not strict[[1, 3, 4, 5]].any()


def test_months_without_an_optional_band_take_its_own_median() -> None:
    months = np.zeros((12, 3, 1, 2), np.uint16)
    months[[1, 5, 6], :2] = 400
    months[[1, 5, 6], 2, 0, 0] = (100, 0, 200)  # the third pixel's optional band lacks May
    filled = with_gaps_filled(months, [2])
    assert (filled[:, :2] == 400).all()
    assert filled[:, 2, 0, 0].tolist() == [150, 100, 150, 150, 150, 150, 200] + [150] * 5
    assert not filled[:, 2, 0, 1].any()
    assert not months[0].any()
