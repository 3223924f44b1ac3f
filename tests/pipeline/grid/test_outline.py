import math

import numpy as np
import pytest
import shapely

from pipeline.grid.region import outline

MOST = 500


def _islands(count: int) -> shapely.Geometry:
    places = np.random.default_rng(0).uniform(-60, 60, (count, 2))
    return shapely.union_all(shapely.box(*(places - 0.02).T, *(places + 0.02).T))


def _coast(vertices: int) -> shapely.Geometry:
    """A land of 20 degrees with fjords at every scale."""
    count = vertices // 4
    waves = np.zeros(vertices // 2 + 1, complex)
    turns = np.random.default_rng(1).uniform(0, 2 * math.pi, count)
    waves[1 : count + 1] = vertices * np.arange(1, count + 1) ** -1.3 * np.exp(1j * turns)
    radius = np.maximum(20 + np.fft.irfft(waves, vertices), 2)
    angle = np.linspace(0, 2 * math.pi, vertices, endpoint=False)
    ring = np.column_stack([10 + radius * np.cos(angle), 30 + radius * np.sin(angle)])
    return shapely.Polygon(ring)


def _comb(teeth: int) -> shapely.Geometry:
    """A star of thin spikes: a buffer of it takes minutes."""
    angle = np.linspace(0, 2 * math.pi, teeth, endpoint=False)
    radius = 0.05 + 0.01 * (np.arange(teeth) % 2)
    return shapely.Polygon(np.column_stack([5 + radius * np.cos(angle), radius * np.sin(angle)]))


@pytest.mark.parametrize(
    "geometry",
    [
        shapely.Point(5, 51).buffer(3, quad_segs=5000),
        shapely.Point(5, 51).buffer(3).difference(shapely.Point(5, 51).buffer(2.9, 3000)),
        shapely.union(
            shapely.Point(179, 0).buffer(1, quad_segs=500),
            shapely.Point(-179, 0).buffer(1, quad_segs=500),
        ),
        shapely.LineString(np.random.default_rng(1).uniform(0, 3, (300, 2))).buffer(0.001),
        _islands(150),
        _islands(5000),
        _coast(100_000),
        _comb(5000),
    ],
)
def test_it_holds_the_whole_region(geometry: shapely.Geometry) -> None:
    found = outline(geometry, MOST)
    assert shapely.get_num_coordinates(geometry) > MOST >= shapely.get_num_coordinates(found)
    assert found.is_valid
    assert found.covers(geometry)
    assert shapely.box(*geometry.bounds).covers(found)  # so it stays within the world


def test_it_is_little_more_than_the_region() -> None:
    land = _coast(100_000)
    assert outline(land, MOST).area < 1.2 * land.area
    # Two places at the two ends of the world do not become a band around it.
    ends = [shapely.Point(x, 0).buffer(1, quad_segs=500) for x in (-179, 179)]
    assert outline(shapely.union_all(ends), MOST).area < 1.2 * 2 * math.pi


def test_few_vertices_are_kept_as_they_are() -> None:
    square = shapely.box(4, 50, 5, 51)
    assert outline(square, MOST) is square
