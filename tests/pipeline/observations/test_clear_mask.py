"""The bits of a clear mask against masks of a byte a pixel, and dilation pixel against pixel."""

import math

import numpy as np
import pytest

from pipeline.grid.cell_blocks import Block
from pipeline.observations.clear_mask import (
    ClearMask,
    MaskBuilder,
    Masking,
    any_clear,
    far_from_cloud,
    strict_keep,
)
from tests.pipeline.observations.test_clearest import plain_choice

KEEP = (2, 4, 5, 6, 7, 11)


def masked(
    classes: np.ndarray,
    masking: Masking,
    month: np.ndarray,
    acquisition: np.ndarray,
    resolution: int = 20,
) -> ClearMask:
    """The mask of scene classes (item, y, x), which reach beyond the cell by `margin_of`."""
    margin = margin_of(masking.dilate, resolution)
    shape = (classes.shape[1] - 2 * margin, classes.shape[2] - 2 * margin)
    scenes = MaskBuilder(len(classes), shape, margin, resolution, masking)
    for n, values in enumerate(classes):
        scenes.add(n, values)
    scenes.choose(month, acquisition)
    return ClearMask(
        bits=scenes.bits,
        resolution=resolution,
        month=month,
        acquisition=acquisition,
        acquisitions=len(np.unique(acquisition[scenes.seen > 0])),
    )


def margin_of(dilate: float, resolution: int) -> int:
    """Pixels that are read beyond the cell: its metres are whole pixels of 10 and 20."""
    return math.ceil(dilate / 20) * 20 // resolution


def planes_of(clear: ClearMask) -> np.ndarray:
    """Where each item is clear: bool (item, y, x), by what is said of the bits."""
    items = range(len(clear.month))
    return np.array([clear.bits[n // 8] // 2 ** (n % 8) % 2 == 1 for n in items])


def plain_counts(planes: np.ndarray, month: np.ndarray, acquisition: np.ndarray) -> np.ndarray:
    counts = np.zeros((12, *planes.shape[1:]), int)
    for y, x in np.ndindex(*planes.shape[1:]):
        of_it = planes[:, y, x]
        for number, _ in set(zip(month[of_it], acquisition[of_it], strict=True)):
            counts[number, y, x] += 1
    return counts


def drawn(rng: np.random.Generator, items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes in squares of 4 × 4 pixels, month and acquisition: some items are of one overpass,
    some show nothing, some are cloudy all over, some overpasses show half of the cell.
    """
    acquisition = rng.integers(0, max(items * 3 // 4, 1), items).astype(np.int32)
    month = rng.integers(0, 3, items)[acquisition].astype(np.int8) * 5
    classes = np.empty((items, 24, 16), np.uint8)
    for values in classes:
        likely = rng.dirichlet(np.full(11, 0.3))
        small = rng.choice(11, (6, 4), p=likely).astype(np.uint8) + np.uint8(1)
        values[:] = np.kron(small, np.ones((4, 4), np.uint8))
    classes[rng.random(items) < 0.1] = 9
    classes[acquisition % 3 == 1, :, 8:] = 0
    classes[rng.random(items) < 0.1] = 0
    return classes, month, acquisition


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("items", [1, 7, 8, 9, 16, 27])
def test_a_bit_is_a_pixel_of_an_item(items: int, dtype: type[np.unsignedinteger]) -> None:
    rng = np.random.default_rng(items)
    classes = rng.integers(0, 12, (items, 10, 14)).astype(dtype)
    month, acquisition = np.zeros(items, np.int8), np.arange(items, dtype=np.int32)
    clear = masked(classes, Masking(KEEP), month, acquisition)
    assert clear.bits.dtype == np.uint8
    assert clear.bits.shape == ((items + 7) // 8, 10, 14)
    expected = np.isin(classes, KEEP)
    np.testing.assert_array_equal(planes_of(clear), expected)
    unused = 8 * len(clear.bits) - items
    assert int(clear.bits[-1].max()) < 2 ** (8 - unused)
    found, planes = clear.within(Block(0, 0, 20, 28))
    assert found.tolist() == list(range(items))
    assert planes.dtype == bool
    np.testing.assert_array_equal(planes, expected)


def test_items_come_in_any_order() -> None:
    rng = np.random.default_rng(5)
    classes = rng.integers(0, 12, (19, 6, 6)).astype(np.uint8)
    scenes = MaskBuilder(19, (6, 6), 0, 20, Masking(KEEP))
    for n in rng.permutation(19).tolist():
        scenes.add(n, classes[n])
    in_order = masked(classes, Masking(KEEP), np.zeros(19, np.int8), np.arange(19))
    np.testing.assert_array_equal(scenes.bits, in_order.bits)
    assert scenes.seen.tolist() == [np.count_nonzero(values) for values in classes]


@pytest.mark.parametrize(
    ("most", "least"), [(None, 0.0), (1, 0.0), (2, 0.0), (2, 0.25), (None, 0.5), (30, 0.25)]
)
@pytest.mark.parametrize("items", [5, 16, 29, 67])
def test_only_chosen_items_keep_their_bits(items: int, most: int | None, least: float) -> None:
    classes, month, acquisition = drawn(np.random.default_rng(items), items)
    clear = masked(classes, Masking(KEEP, most=most, least=least), month, acquisition)
    planes = np.isin(classes, KEEP)
    chosen = plain_choice(
        list(planes),
        [int(np.count_nonzero(values)) for values in classes],
        month.tolist(),
        acquisition.tolist(),
        most,
        least,
    )
    expected = planes & np.array(chosen)[:, None, None]
    np.testing.assert_array_equal(planes_of(clear), expected)
    found, within = clear.within(Block(0, 0, 48, 32))
    assert found.tolist() == np.flatnonzero(expected.any(axis=(1, 2))).tolist()
    np.testing.assert_array_equal(within, expected[found])
    counts = clear.monthly_counts
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts, plain_counts(expected, month, acquisition))
    assert clear.clear_acquisitions == len(set(acquisition[found].tolist()))
    assert counts.max() <= (items if most is None else most)


def test_acquisitions_that_are_left_out_are_counted() -> None:
    classes = np.full((10, 4, 4), 4, np.uint8)
    classes[3] = 0
    clear = masked(classes, Masking(KEEP, most=2), np.zeros(10, np.int8), np.arange(10))
    assert clear.acquisitions == 9
    assert clear.clear_acquisitions == 2


@pytest.mark.parametrize("resolution", [10, 20])
def test_a_block_of_the_mask_is_a_slice_of_it(resolution: int) -> None:
    rng = np.random.default_rng(resolution)
    height, width = 480 // resolution, 320 // resolution
    classes = rng.integers(0, 12, (21, height, width)).astype(np.uint8)
    classes[rng.random(21) < 0.5, : height // 2] = 9  # not clear in the upper half
    classes[4] = 9
    clear = masked(classes, Masking(KEEP), np.zeros(21, np.int8), np.arange(21), resolution)
    planes = np.isin(classes, KEEP)
    ratio = resolution // 10
    left_out = []
    for block in (Block(0, 0, 24, 32), Block(24, 0, 24, 10), Block(6, 10, 12, 22)):
        rows = slice(block.row // ratio, (block.row + block.height) // ratio)
        columns = slice(block.column // ratio, (block.column + block.width) // ratio)
        part = planes[:, rows, columns]
        items, found = clear.within(block)
        assert items.tolist() == np.flatnonzero(part.any(axis=(1, 2))).tolist()
        np.testing.assert_array_equal(found, part[items])
        left_out.append(21 - len(items))
    assert left_out[0] > left_out[1] == 1


def test_an_overpass_of_two_granules_counts_once() -> None:
    classes = np.full((11, 4, 6), 9, np.uint8)
    classes[0, :3], classes[9, 2:] = 4, 5  # two granules, in two bytes, that share a row
    classes[4, :, :3] = 4  # another overpass of the month
    classes[10, 0] = 4  # and one of another month
    month = np.array([2] * 10 + [11], np.int8)
    acquisition = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 9], np.int32)
    counts = masked(classes, Masking(KEEP), month, acquisition).monthly_counts
    assert counts.shape == (12, 4, 6)
    assert counts[2].tolist() == [[2, 2, 2, 1, 1, 1]] * 4
    assert counts[11].tolist() == [[1] * 6, [0] * 6, [0] * 6, [0] * 6]
    assert not counts[[0, 1, 3, 4, 5, 6, 7, 8, 9, 10]].any()


def plainly_beyond(classes: np.ndarray, dilate: float, resolution: int) -> np.ndarray:
    """Where no cloud or shadow is within `dilate` metres, by the distance of every two pixels."""
    rows, columns = np.indices(classes.shape) * resolution
    free = np.ones(classes.shape, bool)
    for y, x in np.ndindex(*classes.shape):
        if classes[y, x] in (3, 8, 9, 10):
            free &= (rows - y * resolution) ** 2 + (columns - x * resolution) ** 2 > dilate**2
    return free


# 28 and 29 are either side of a pixel's diagonal; 50 and 100 are diagonals of 3 by 4.
@pytest.mark.parametrize("dilate", [0.0, 5.0, 10.0, 20.0, 28.0, 29.0, 50.0, 100.0, 130.0])
@pytest.mark.parametrize("resolution", [10, 20])
def test_nothing_is_clear_near_cloud_and_shadow(resolution: int, dilate: float) -> None:
    margin = margin_of(dilate, resolution)
    rng = np.random.default_rng(round(dilate))
    classes = rng.choice(KEEP, (11, 30 + 2 * margin, 26 + 2 * margin)).astype(np.uint8)
    strewn = rng.random(classes.shape) < rng.choice([0.0, 0.001, 0.01], (11, 1, 1))
    classes[strewn] = rng.integers(0, 12, int(strewn.sum()))
    classes[0, :3], classes[1] = 0, 9
    numbers = np.arange(11)
    clear = masked(classes, Masking(KEEP, dilate), np.zeros(11, np.int8), numbers, resolution)
    cell = (slice(margin, margin + 30), slice(margin, margin + 26))
    expected = [
        (np.isin(values, KEEP) & (plainly_beyond(values, dilate, resolution) | (dilate == 0)))[cell]
        for values in classes
    ]
    np.testing.assert_array_equal(planes_of(clear), expected)
    assert 0 < np.mean(expected) < 1


@pytest.mark.parametrize("scene", range(12))
def test_only_cloud_and_shadow_are_dilated(scene: int) -> None:
    classes = np.full((7, 9), 4, np.uint8)
    classes[3, 4] = scene
    free = far_from_cloud(classes, 2)
    np.testing.assert_array_equal(free, plainly_beyond(classes, 20, 10))
    assert free.all() == (scene not in (3, 8, 9, 10))


def test_a_cloud_beyond_the_cell_reaches_into_it() -> None:
    classes = np.full((9, 16, 16), 4, np.uint8)
    classes[8, 2, 8] = 9  # of a margin of 3 pixels: 20 m from the cell's first row
    clear = masked(classes, Masking(KEEP, 60.0), np.zeros(9, np.int8), np.arange(9))
    planes = planes_of(clear)
    assert planes.shape == (9, 10, 10)
    assert planes[:8].all()
    assert planes[8].sum() == 100 - (5 + 5 + 1)  # two off and √8 off, three off
    assert not planes[8, :2, 3:8].any()
    assert not planes[8, 2, 5]


def test_pixels_beyond_the_cell_are_not_seen() -> None:
    classes = np.zeros((16, 16), np.uint8)
    classes[:3], classes[5, 5:9] = 4, 9
    scenes = MaskBuilder(2, (10, 10), 3, 20, Masking(KEEP, 60.0))
    scenes.add(1, classes)
    assert scenes.seen.tolist() == [0, 4]  # clouds are seen, too
    assert not scenes.bits.any()


@pytest.mark.parametrize("dilate", [0.0, 20.0])
def test_a_kept_cloud_is_clear_only_without_dilation(dilate: float) -> None:
    margin = margin_of(dilate, 20)
    classes = np.full((1, 4 + 2 * margin, 4 + 2 * margin), 8, np.uint8)
    clear = masked(classes, Masking((4, 8), dilate), np.zeros(1, np.int8), np.zeros(1, np.int32))
    assert planes_of(clear).all() == (dilate == 0)
    assert planes_of(clear).any() == (dilate == 0)


@pytest.mark.parametrize("items", [1, 8, 13, 24])
def test_any_clear_finds_a_single_pixel(items: int) -> None:
    for item in range(items):
        bits = np.zeros((-(-items // 8), 5, 3), np.uint8)
        bits[item // 8, item % 5, item % 3] = 1 << item % 8
        assert np.flatnonzero(any_clear(bits, items)).tolist() == [item]
        assert any_clear(bits, items).shape == (items,)
    assert not any_clear(np.zeros((-(-items // 8), 5, 3), np.uint8), items).any()


def test_strict_keep_leaves_out_defects_cloud_and_shadow() -> None:
    assert strict_keep(range(12)) == (0, 2, 4, 5, 6, 7, 11)
    assert strict_keep((8, 11, 4, 1, 7, 3)) == (11, 4, 7)  # in the card's order
    assert strict_keep((3, 9)) == strict_keep(()) == ()
