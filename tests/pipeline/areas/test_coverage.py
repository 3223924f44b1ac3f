"""Exact shares of pixels, held to shapely's overlay of each pixel."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from pipeline.areas.coverage import covered_share

GRID = Affine(10, 0, 500_000, 0, -10, 5_000_000)
SHAPE = (23, 31)


def plainly(area: BaseGeometry) -> np.ndarray:
    rows, columns = np.indices(SHAPE)
    left, top = 500_000 + 10 * columns, 5_000_000 - 10 * rows
    return (
        shapely.area(shapely.intersection(shapely.box(left, top - 10, left + 10, top), area)) / 100
    )


def in_metres(corners: object) -> np.ndarray:
    return np.array(corners, float) * (10, -10) + (500_000, 5_000_000)


@pytest.mark.parametrize(
    "area",
    [
        shapely.Polygon(in_metres([(3, 2), (20, 4.5), (17, 19), (3, 12)])),
        shapely.Point(500_150, 4_999_890).buffer(83),
        shapely.Polygon(  # with holes, one of which is a single point of a pixel wide
            in_metres([(1, 1), (29.5, 1), (29.5, 21.2), (1, 21.2)]),
            [
                in_metres([(5, 5), (9, 5), (9, 9), (5, 9)]),
                in_metres([(12.1, 12.2), (12.4, 12.2), (12.2, 12.6)]),
            ],
        ),
        shapely.box(500_020, 4_999_900, 500_060, 4_999_980),  # along lines between pixels
        shapely.box(400_000, 4_000_000, 600_000, 6_000_000),  # around the grid
        shapely.box(499_000, 4_999_877, 501_000, 4_999_933),  # beyond two sides
        shapely.box(0, 0, 10, 10),  # elsewhere
        shapely.MultiPolygon(
            [
                shapely.box(500_003, 4_999_990, 500_008, 4_999_997),
                shapely.box(500_100, 4_999_800, 500_333, 5_000_100),
            ]
        ),
        shapely.box(500_310, 4_999_000, 500_400, 5_001_000),  # touches the right side
    ],
)
def test_shares_are_those_of_an_overlay(area: BaseGeometry) -> None:
    found = covered_share(area, GRID, SHAPE)
    np.testing.assert_allclose(found, plainly(area), atol=1e-9)
    assert found.min() >= 0
    assert found.max() <= 1


@given(st.lists(st.tuples(st.integers(-200, 500), st.integers(-100, 400)), min_size=3, max_size=12))
def test_any_polygon(corners: list[tuple[int, int]]) -> None:
    """Corners on a grid of a tenth of a pixel: many lie on lines and corners of pixels."""
    area = shapely.make_valid(shapely.Polygon(in_metres(np.array(corners) / 10)))
    area = shapely.union_all([p for p in shapely.get_parts(area) if p.geom_type == "Polygon"])
    np.testing.assert_allclose(covered_share(area, GRID, SHAPE), plainly(area), atol=1e-8)
