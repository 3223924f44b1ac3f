"""Which acquisitions are read, against the rule written out plainly."""

import math

import numpy as np
import pytest

from pipeline.observations.clear_mask import chosen_acquisitions

SIDE = 4  # what is drawn has squares of 4 × 4 pixels, so that any sample of them sees it all
WHOLE = math.lcm(*range(1, 13))  # its twelfths, elevenths … are whole: nothing is rounded

# Others draw acquisitions that add the same, but as different thirds or fifths: there the rounding
# of float32 sums, not which is the earlier, may decide.
SEEDS = (0, 1, 2, 5, 7, 10, 12, 13)


def plain_choice(
    planes: list[np.ndarray],
    seen: list[int],
    month: list[int],
    acquisition: list[int],
    most: int | None,
    least: float,
) -> list[bool]:
    """`chosen_acquisitions` by its docstring, at every pixel, in whole numbers."""
    taken = set()
    shown = [n for n, pixels in enumerate(seen) if pixels > 0]
    for number in range(12):
        clear: dict[int, np.ndarray] = {}
        for overpass in sorted({acquisition[n] for n in shown if month[n] == number}):
            of_it = [n for n in shown if acquisition[n] == overpass]
            plane = np.any([planes[n] for n in of_it], axis=0)
            enough = np.count_nonzero(plane) >= least * max(seen[n] for n in of_it)
            if enough and plane.any():
                clear[overpass] = plane
        count = np.zeros(planes[0].shape, np.int64)
        for _ in range(len(clear) if most is None else min(most, len(clear))):
            adds = {overpass: (WHOLE // (count + 1))[clear[overpass]].sum() for overpass in clear}
            best = min(adds, key=lambda overpass: (-adds[overpass], overpass))
            count += clear.pop(best)
            taken.add(best)
    return [n in shown and acquisition[n] in taken for n in range(len(planes))]


def squares(drawn: np.ndarray) -> np.ndarray:
    return np.kron(drawn, np.ones((SIDE, SIDE), bool)).astype(bool)


def choice(
    planes: list[np.ndarray],
    *,
    seen: list[int] | None = None,
    month: list[int] | None = None,
    acquisition: list[int] | None = None,
    most: int | None = None,
    least: float = 0.0,
) -> list[int]:
    """The items chosen; they show the whole cell, in one month, each an acquisition, unless said
    otherwise.
    """
    pixels = np.array([plane.size for plane in planes] if seen is None else seen, np.int64)
    overpass = np.array(range(len(planes)) if acquisition is None else acquisition, np.int32)
    months = np.array([0] * len(planes) if month is None else month, np.int8)
    found: list[int] = []
    for number in np.unique(months):
        items = np.flatnonzero(months == number)
        chosen = chosen_acquisitions(
            [planes[item] for item in items.tolist()], pixels[items], overpass[items], most, least
        )
        assert chosen.dtype == bool
        assert chosen.shape == items.shape
        found += items[chosen].tolist()
    return sorted(found)


def drawn_year(
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], list[int], list[int], list[int]]:
    """Planes, seen, month and acquisition of items in no order: swaths of three orbits, cloudy to
    clear, of which some are split in two granules, and some show nothing.
    """
    swaths = np.ones((3, 6, 6), bool)
    swaths[1, :, 4:] = swaths[2, :, :3] = False
    items = []
    for overpass in range(40):
        number = int(rng.integers(4)) * 3
        swath = swaths[rng.integers(3)]
        share = rng.choice([0.0, 0.1, 0.5, 0.8, 1.0])
        for _ in range(int(rng.choice([1, 1, 2]))):
            plane = squares(swath & (rng.random((6, 6)) < share))
            pixels = int(swath.sum()) * SIDE**2
            if rng.random() < 0.1:
                plane, pixels = np.zeros_like(plane), 0
            items.append((plane, pixels, number, overpass))
    shuffled = [items[n] for n in rng.permutation(len(items)).tolist()]
    planes, seen, month, acquisition = (list(part) for part in zip(*shuffled, strict=True))
    return planes, seen, month, acquisition


@pytest.mark.parametrize("least", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 11, 40, None])
@pytest.mark.parametrize("seed", SEEDS)
def test_agrees_with_the_plain_rule(seed: int, most: int | None, least: float) -> None:
    planes, seen, month, acquisition = drawn_year(np.random.default_rng(seed))
    found = choice(planes, seen=seen, month=month, acquisition=acquisition, most=most, least=least)
    expected = plain_choice(planes, seen, month, acquisition, most, least)
    assert found == np.flatnonzero(expected).tolist()
    assert 0 < len(found) < len(planes)


def test_a_part_that_only_another_orbit_sees_has_observations() -> None:
    west, east = np.zeros((2, 40, 40), bool)
    west[:, :24] = True
    east[:, 20:] = True  # less clear than each of the western ones
    planes = [west, west, west, east, west]
    assert choice(planes, most=1) == [0]
    assert choice(planes, most=2) == [0, 3]
    assert choice(planes, most=3) == [0, 1, 3]


def test_a_strip_waits_until_others_add_less() -> None:
    west, strip = np.zeros((2, 40, 40), bool)
    west[:, :32] = True
    strip[:, 32:] = True  # adds 8 columns, the nth of the others 32 / n
    planes = [strip, *[west] * 8]
    assert choice(planes, most=3) == [1, 2, 3]
    assert choice(planes, most=4) == [0, 1, 2, 3]  # the fourth adds as much, and is later
    assert choice([*planes[1:], strip], most=4) == [0, 1, 2, 3]
    assert choice([*planes[1:], strip], most=5) == [0, 1, 2, 3, 8]


def test_a_later_acquisition_fills_gaps_rather_than_clear_parts() -> None:
    upper, lower, most_of_it = np.zeros((3, 40, 40), bool)
    upper[:24], most_of_it[:20], lower[24:] = True, True, True
    assert choice([most_of_it, upper, lower], most=2) == [1, 2]


def test_each_month_has_its_own() -> None:
    clear = np.ones((8, 8), bool)
    month = [0, 11, 0, 11, 5, 0]
    assert choice([clear] * 6, month=month, most=1) == [0, 1, 4]
    assert choice([clear] * 6, month=month, most=2) == [0, 1, 2, 3, 4]


def test_least_is_a_share_of_the_shown_pixels() -> None:
    corner, part = np.zeros((2, 40, 40), bool)
    corner[:4] = True  # 160 pixels
    part[:20, ::2] = True  # 400 pixels
    assert choice([corner, part], seen=[160, 1600], least=0.5) == [0]
    assert choice([corner, part], seen=[160, 1600], least=0.25) == [0, 1]  # as much is enough
    assert choice([corner, part], seen=[320, 1600], least=0.5) == [0]
    assert choice([corner, part], seen=[321, 800], least=0.5) == [1]
    assert choice([corner, part], seen=[161, 401], least=1.0) == []


@pytest.mark.parametrize("most", [1, None])
def test_least_comes_before_most(most: int | None) -> None:
    """What is left out for too few clear pixels takes no other's place."""
    broad, narrow = np.zeros((2, 40, 40), bool)
    broad[:, :16] = True
    narrow[:, 36:] = True
    assert choice([broad, narrow], seen=[1600, 160], least=0.5, most=most) == [1]


@pytest.mark.parametrize("most", [None, 3, 4, 1000])
def test_all_are_read_where_there_are_no_more(most: int | None) -> None:
    one_pixel = np.zeros((8, 8), bool)
    one_pixel[5, 6] = True  # not of the sample
    clear = np.ones((8, 8), bool)
    assert choice([clear, one_pixel, clear], most=most) == [0, 1, 2]


def test_granules_of_an_overpass_are_one() -> None:
    upper, lower, three_quarters = np.zeros((3, 40, 40), bool)
    upper[:20], lower[20:], three_quarters[:30] = True, True, True
    planes = [upper, three_quarters, lower, three_quarters]
    split = [0, 1, 0, 2]
    assert choice(planes, acquisition=split, most=1) == [0, 2]
    assert choice(planes, acquisition=split, most=2) == [0, 1, 2]
    assert choice(planes, acquisition=[0, 1, 3, 2], most=1) == [1]
    # Clear by half together, a quarter each.
    quarters = [upper & (np.arange(40) < 20), lower & (np.arange(40) < 20)]
    assert choice(quarters, acquisition=[7, 7], least=0.5) == [0, 1]
    assert choice(quarters, acquisition=[7, 8], least=0.5) == []


def test_a_pixel_in_two_granules_counts_once() -> None:
    twice, once = np.zeros((2, 40, 40), bool)
    twice[:24], once[:28] = True, True
    assert choice([twice, twice, once], acquisition=[0, 0, 1], most=1) == [2]
    assert choice([twice, twice], acquisition=[0, 0], least=0.75) == []


def test_the_earlier_of_two_that_add_the_same() -> None:
    clear = np.ones((8, 8), bool)
    assert choice([clear] * 4, most=1) == [0]
    assert choice([clear] * 4, most=3) == [0, 1, 2]
    assert choice([clear] * 4, acquisition=[3, 0, 2, 1], most=2) == [1, 3]
    left, right = np.zeros((2, 8, 8), bool)
    left[:, :4], right[:, 4:] = True, True
    assert choice([right, left, left, right], most=2) == [0, 1]


@pytest.mark.parametrize("most", [None, 1, 5])
def test_items_that_show_nothing_are_not_read(most: int | None) -> None:
    clear, none = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    assert choice([none, clear, none], seen=[0, 64, 0], most=most) == [1]
    both = choice([none, clear], seen=[0, 64], acquisition=[4, 4], most=most)
    assert both == [1]
    assert choice([none, none], seen=[0, 0], most=most) == []


@pytest.mark.parametrize("most", [None, 1, 5])
def test_nothing_clear_is_nothing_to_read(most: int | None) -> None:
    cloudy = np.zeros((8, 8), bool)
    assert choice([cloudy] * 3, most=most) == []
    assert choice([], most=most) == []
