"""Areas that threads ask at once."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import shapely

from pipeline.catalog.search import _is_near
from pipeline.grid.cells import cells_of, owned_pixels, tiles_of
from pipeline.grid.indexed_area import IndexedArea
from pipeline.grid.region import Region, outline


def ragged(vertices: int = 3000) -> shapely.Polygon:
    """A star-shaped area with a ragged edge, about as large as a UTM zone's width."""
    rng = np.random.default_rng(4)
    angle = np.sort(rng.uniform(0, 2 * np.pi, vertices))
    radius = 1 + 0.3 * rng.random(vertices)
    around = np.column_stack([3.0 + radius * np.cos(angle), 50.0 + radius * np.sin(angle)])
    return shapely.Polygon(around).buffer(0)


def boxes(count: int) -> np.ndarray:
    x, y = np.random.default_rng(5).uniform(-1.3, 1.3, (2, count))
    return shapely.box(3.0 + x, 50.0 + y, 3.05 + x, 50.05 + y)


@pytest.mark.parametrize("question", ["covers", "intersects", "contains_properly"])
def test_answers_are_those_of_the_area(question: str) -> None:
    area, others = ragged(), boxes(500)
    plain = getattr(shapely, question)(area, others)
    asked = IndexedArea(area).ask(getattr(shapely, question), others)
    assert 10 < plain.sum() < 490
    assert asked.tolist() == plain.tolist()


def test_threads_may_ask_at_once() -> None:
    """In a process of its own: a prepared geometry that threads share would end it."""
    program = """
from concurrent.futures import ThreadPoolExecutor
import shapely
from tests.pipeline.grid.test_indexed_area import IndexedArea, boxes, ragged

others = boxes(100)
plain = shapely.covers(ragged(), others).tolist()
with ThreadPoolExecutor(4) as threads:
    for _ in range(100):
        area = IndexedArea(ragged())
        ask = lambda other: bool(area.ask(shapely.covers, other))
        assert list(threads.map(ask, others)) == plain
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_region_that_was_asked_is_not_itself_prepared() -> None:
    """So whoever asks its geometry in a thread asks no index that others use."""
    region = Region(shapely.Point(3.6, 50.9).buffer(0.02), "a circle")
    tile, *_ = tiles_of(region)
    cell, *_ = cells_of(tile, region, 1024)
    owned_pixels(cell, region)
    outline(region.geometry, 10)
    ground = shapely.geometry.mapping(shapely.box(3.6, 50.9, 3.7, 51.0))
    assert _is_near({"id": "a", "geometry": ground}, region)
    assert not shapely.is_prepared(region.geometry)


def test_a_region_is_pickled_without_its_index() -> None:
    region = Region(ragged(), "ragged")
    before = len(pickle.dumps(region))
    others = boxes(100)
    plain = region.indexed.ask(shapely.covers, others).tolist()
    content = pickle.dumps(region)
    assert len(content) < before + 200
    again = pickle.loads(content)
    assert again == region
    assert again.indexed.ask(shapely.covers, others).tolist() == plain
