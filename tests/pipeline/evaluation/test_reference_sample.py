"""Points drawn from a real run's folder: how many of each class, where, and in which order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import OutputError, SettingsError
from pipeline.evaluation.map_points import classes_at, is_mapped
from pipeline.evaluation.reference_sample import ReferenceSample, allocate_points, draw_sample
from pipeline.grid.places import Places
from pipeline.product.cell_report import CellReport, class_hectares
from tests.pipeline.made_run import VOCABULARY, MadeRun


def drawn(made: MadeRun, points: int, minimum: int | None = None, seed: int = 0) -> ReferenceSample:
    return draw_sample(made.store, made.items, VOCABULARY, points, minimum, seed)


def test_each_class_gets_its_points_in_random_order(made: MadeRun) -> None:
    sample = drawn(made, 1000, minimum=100)
    values, counts = np.unique(sample.value, return_counts=True)
    assert values.tolist() == [1, 2, 3, 4, 5]
    assert [stratum.points for stratum in sample.strata] == counts.tolist()
    assert counts.min() >= 100
    pixels = [CellReport.from_item(item).pixels for item in made.items]
    for stratum in sample.strata:
        assert stratum.pixels == sum(cell.get(stratum.value, 0) for cell in pixels)
        assert stratum.hectares == pytest.approx(class_hectares(made.items)[stratum.value])
    changes = np.count_nonzero(np.diff(sample.value))
    assert changes > 700  # of 999; some 800 where the order is random, 4 where it is by class


def test_points_are_the_centres_of_different_pixels_of_their_class(made: MadeRun) -> None:
    sample = drawn(made, 1000)
    np.testing.assert_array_equal(
        classes_at(made.store, made.items, sample.lon, sample.lat), sample.value
    )
    places, pixels, centres = Places(sample.lon, sample.lat), set(), 0
    for cell in made.cells:
        points, row, column = places.in_grid(cell.epsg, cell.transform, (cell.height, cell.width))
        values = classes_at(made.store, made.items, sample.lon[points], sample.lat[points])
        assert is_mapped(values).all()
        x, y = cell.transform @ (column + 0.5, row + 0.5)
        exact_x, exact_y = Places(sample.lon[points], sample.lat[points])._projected(cell.epsg)
        near = np.hypot(exact_x - x, exact_y - y) < 0.01
        centres += int(near.sum())  # where zones overlap, a point is in the grid of both
        pixels |= {(cell.id, r, c) for r, c in zip(row[near], column[near], strict=True)}
    assert centres == len(pixels) == 1000


def test_every_pixel_of_a_class_is_as_likely(made: MadeRun) -> None:
    """By cells: their shares of a class's points are those of its pixels, within five sigma."""
    sample = drawn(made, 3000, seed=3)
    for value in (1, 4):
        of_class = sample.value == value
        own = Places(sample.lon[of_class], sample.lat[of_class])
        counts = [CellReport.from_item(item).pixels.get(value, 0) for item in made.items]
        most = int(np.argmax(counts))
        cell = made.cells[[c.id for c in made.cells].index(str(made.items[most]["id"]))]
        inside = len(own.in_grid(cell.epsg, cell.transform, (cell.height, cell.width))[0])
        share, n = counts[most] / sum(counts), int(of_class.sum())
        assert abs(inside - n * share) < 5 * np.sqrt(n * share * (1 - share)) + 3


def test_the_seed_alone_decides(made: MadeRun) -> None:
    first, same, other = (drawn(made, 50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.lon, same.lon)
    np.testing.assert_array_equal(first.value, same.value)
    assert not np.array_equal(first.lon, other.lon)


def test_what_cannot_be_drawn(made: MadeRun) -> None:
    with pytest.raises(SettingsError, match="the map has 5 classes, and each needs 30"):
        drawn(made, 100, minimum=30)
    with pytest.raises(SettingsError, match="Draw 10 points or more"):
        drawn(made, 4)
    with pytest.raises(SettingsError, match="the map has 256,"):
        drawn(made, 10**6)
    with pytest.raises(OutputError, match="no cell of this run is finished"):
        draw_sample(made.store, [], VOCABULARY, 10)
    items = made.items
    wrong = items[0]["properties"]
    wrong["timesen:pixels"] = {"1": 10**9}
    with pytest.raises(OutputError, match="its STAC item counts more"):
        draw_sample(made.store, items, VOCABULARY, 100)


@given(
    pixels=st.lists(st.integers(1, 10**9), min_size=1, max_size=12),
    points=st.integers(1, 2000),
    minimum=st.none() | st.integers(2, 60),
)
def test_points_are_shared_out(pixels: list[int], points: int, minimum: int | None) -> None:
    counts = np.array(pixels)
    try:
        found = allocate_points(points, counts, counts / 100, minimum)
    except SettingsError:
        assert points < len(pixels) * (minimum or 2) or points > sum(pixels)
        return
    assert found.sum() == points
    assert (found <= counts).all()
    assert (found >= np.minimum(minimum or 2, counts)).all()


def test_what_is_above_the_minimum_goes_by_area() -> None:
    pixels = np.array([700_000, 200_000, 99_990, 10])
    assert allocate_points(300, pixels, pixels / 100, 50).tolist() == [50 + 98, 78, 64, 10]
    assert allocate_points(80, pixels, pixels / 100).tolist() == [10 + 28, 18, 14, 10]
