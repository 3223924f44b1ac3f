from collections import Counter

import numpy as np
import pytest

from pipeline.product.class_counts import ClassCounts, runners_up, tally


@pytest.mark.parametrize(("dtype", "classes"), [(np.uint8, 12), (np.uint16, 400)])
def test_every_pixel_is_counted_once(dtype: type, classes: int) -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, classes, (300, 320)).astype(dtype)  # more than are counted at once
    values[0] = np.iinfo(dtype).max  # "none of these"
    confidence = np.where(values > 0, rng.integers(0, 101, values.shape), 255).astype(np.uint8)
    counts = tally(values, confidence, 0, 255)
    assert sum(counts.pixels.values()) + counts.nodata == values.size
    assert counts.mean_confidence == round(float(confidence[values > 0].mean()), 2)
    assert counts.pixels.keys() == counts.confidence.keys()
    for value, pixels in counts.pixels.items():
        own = confidence[values == value]
        assert pixels == own.size
        assert counts.confidence[value].mean == round(float(own.mean()), 2)
        assert counts.confidence[value].little == (own < 50).sum()


def test_a_cell_without_a_class_has_no_confidence() -> None:
    empty, blank = np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    assert tally(empty, blank, 0, 255) == ClassCounts({}, 16, None, {})
    assert runners_up(empty, empty, 0) == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_three_most_frequent_runners_up_are_counted(dtype: type) -> None:
    rng = np.random.default_rng(6)
    first = rng.integers(0, 4, (300, 320)).astype(dtype)
    second = rng.choice(np.array([0, 5, 6, 7, 8, np.iinfo(dtype).max]), first.shape).astype(dtype)
    second[first == 0] = 0
    found = runners_up(first, second, 0)
    assert found.keys() == {1, 2, 3}
    for value, counts in found.items():
        plain = Counter(second[(first == value) & (second > 0)].tolist())
        assert sorted(counts.values()) == sorted(plain.values())[-3:]
        assert all(plain[other] == count for other, count in counts.items())
