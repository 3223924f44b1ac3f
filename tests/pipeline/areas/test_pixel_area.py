"""Areas of pixels, held to geodesic polygons."""

import numpy as np
import pytest
from affine import Affine
from pyproj import Geod, Transformer

from pipeline.areas.pixel_area import PixelAreas

GEOD = Geod(ellps="WGS84")


@pytest.mark.parametrize(
    ("epsg", "left", "top"),
    [
        (32631, 499_980, 5_500_020),  # the middle of a zone
        (32631, 199_980, 5_500_020),  # its edge
        (32631, 760_000, 20_480),  # near the equator, in the overlap
        (32633, 300_000, 7_900_020),  # 71° N
        (32760, 820_000, 8_200_000),  # beyond 180°
    ],
)
def test_areas_are_those_of_geodesic_polygons(epsg: int, left: float, top: float) -> None:
    shape = (130, 2048)
    areas = PixelAreas.of_grid(epsg, Affine(10, 0, left, 0, -10, top), shape)
    found = areas.hectares(slice(0, 130), slice(0, 2048))
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    for row, column in ((0, 0), (31, 33), (64, 1023), (129, 2047)):
        x, y = (
            left + 10 * np.array([column, column, column + 1, column + 1]),
            top - 10 * np.array([row, row + 1, row + 1, row]),
        )
        true = abs(GEOD.polygon_area_perimeter(*to_degrees.transform(x, y))[0]) / 10_000
        assert found[row, column] == pytest.approx(true, rel=2e-6)  # the polygon's own rounding
    # The rounding of so small a polygon does not matter for the whole.
    x, y = left + np.array([0, 0, 20_480, 20_480.0]), top - np.array([0, 1_300, 1_300, 0.0])
    outline = [
        np.concatenate(
            [np.linspace(a, b, 400, endpoint=False) for a, b in zip(v, np.roll(v, -1), strict=True)]
        )
        for v in (x, y)
    ]
    whole = abs(GEOD.polygon_area_perimeter(*to_degrees.transform(*outline))[0]) / 10_000
    assert found.sum() == pytest.approx(whole, rel=2e-9)
    part = areas.hectares(slice(60, 70), slice(100, 101))
    np.testing.assert_allclose(part, found[60:70, 100:101], rtol=1e-14)
