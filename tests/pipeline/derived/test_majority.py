"""The majority and the minimum mapping unit, held to plain loops."""

from collections import Counter, deque

import numpy as np
import pytest
from scipy.ndimage import generic_filter

from pipeline.derived.majority import majority_of, unit_halo, unit_reach, without_small_patches


def land(shape: tuple[int, int], seed: int, classes: int = 4) -> np.ndarray:
    """Patches with noise, and pixels without a class."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    patches = (rows // 9 + 2 * (columns // 11)) % classes + 1
    noise = rng.uniform(size=shape)
    values = np.where(noise < 0.2, rng.integers(1, classes + 1, shape), patches)
    return np.where(noise > 0.95, 0, values).astype(np.uint8)


def plain_majority(around: np.ndarray) -> int:
    own = int(around[len(around) // 2])
    counts = Counter(int(value) for value in around if value > 0)
    if not own:
        return 0
    most = max(counts.values())
    best = sorted(value for value, count in counts.items() if count == most)
    return own if own in best else best[0]


@pytest.mark.parametrize("window", [3, 5, 9])
def test_the_majority_is_scipys(window: int) -> None:
    classes, halo = land((40, 47), window), window // 2
    plain = generic_filter(classes, plain_majority, size=window, mode="constant", cval=0)
    found = majority_of(classes, window)
    np.testing.assert_array_equal(found, plain[halo:-halo, halo:-halo])
    assert found.dtype == np.uint8
    assert (found != classes[halo:-halo, halo:-halo]).mean() > 0.05


def patch_of(classes: np.ndarray, row: int, column: int) -> set[tuple[int, int]]:
    found, left = {(row, column)}, deque([(row, column)])
    while left:
        y, x = left.popleft()
        for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= place[0] < classes.shape[0] and 0 <= place[1] < classes.shape[1]
            if inside and place not in found and classes[place] == classes[row, column]:
                found.add(place)
                left.append(place)
    return found


@pytest.mark.parametrize("pixels", [2, 6, 15])
def test_small_patches_take_the_nearest_large_one(pixels: int) -> None:
    classes, halo = land((30, 34), pixels), unit_halo(pixels)
    sizes = np.zeros(classes.shape, int)
    for row, column in zip(*np.nonzero(classes), strict=True):
        if not sizes[row, column]:
            patch = patch_of(classes, row, column)
            sizes[tuple(np.array(sorted(patch)).T)] = len(patch)
    large = np.argwhere(sizes >= pixels)
    found = without_small_patches(np.pad(classes, halo), pixels, halo)
    assert found.shape == classes.shape
    for row, column in np.ndindex(classes.shape):
        if classes[row, column] == 0 or sizes[row, column] >= pixels:
            assert found[row, column] == classes[row, column]
            continue
        distances = np.hypot(*(large - (row, column)).T)
        if distances.min() > unit_reach(pixels):
            assert found[row, column] == classes[row, column]
            continue
        nearest = large[distances <= distances.min() + 1e-9]
        assert found[row, column] in {int(classes[y, x]) for y, x in nearest}
    assert (found != classes).any()


def test_without_any_large_patch_nothing_changes() -> None:
    classes = (np.indices((40, 40)).sum(axis=0) % 2 + 1).astype(np.uint8)
    halo = unit_halo(4)
    np.testing.assert_array_equal(without_small_patches(np.pad(classes, halo), 4, halo), classes)
