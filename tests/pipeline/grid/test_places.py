"""Places in the pixels of a grid, and the ways between places."""

import numpy as np
from affine import Affine
from pyproj import Geod, Transformer

from pipeline.grid.blocks import nearest_km, on_sphere
from pipeline.grid.places import Places

GRID = Affine(10, 0, 700_000, 0, -10, 5_500_000)


def degrees(x: list[float], y: list[float]) -> Places:
    to_degrees = Transformer.from_crs(32631, 4326, always_xy=True)
    lon, lat = to_degrees.transform(np.array(x), np.array(y))
    return Places(lon, lat)


def test_the_pixel_of_each_place_in_a_grid() -> None:
    places = degrees(
        [700_001, 700_199, 699_999, 700_201, 700_095, 700_095],
        [5_499_999, 5_499_901, 5_499_950, 5_499_950, 5_500_001, 5_499_899],
    )
    found, rows, columns = places.in_grid(32631, GRID, (10, 20))
    assert found.tolist() == [0, 1]
    assert rows.tolist() == [0, 9]
    assert columns.tolist() == [0, 19]


def test_no_place_lies_nowhere_and_far_places_lie_in_no_zone() -> None:
    places = Places(np.array([np.nan, -177.0, 5.8]), np.array([50.0, 49.6, 49.6]))
    found, _, _ = places.in_grid(32631, Affine(1e6, 0, 0, 0, -1e6, 1e7), (10, 10))
    assert found.tolist() == [2]


def test_the_way_to_the_nearest_place() -> None:
    here = on_sphere(np.array([5.0, 179.9]), np.array([50.0, -20.0]))
    there = on_sphere(np.array([5.1, 5.3, -179.9]), np.array([50.0, 50.0, -20.0]))
    expected = [
        Geod(ellps="WGS84").inv(5.0, 50.0, 5.1, 50.0)[2] / 1000,
        Geod(ellps="WGS84").inv(179.9, -20.0, -179.9, -20.0)[2] / 1000,
    ]
    np.testing.assert_allclose(nearest_km(here, there), expected, rtol=5e-3)
