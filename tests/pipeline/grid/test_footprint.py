import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from shapely.geometry import shape

from pipeline.grid.cells import cells_of, tiles_of
from pipeline.grid.footprint import footprint, joint_bbox
from pipeline.grid.region import read_region


def test_footprint_covers_the_cells_pixels() -> None:
    bounds = (600000.0, 5500000.0, 620480.0, 5520480.0)
    geometry, bbox = footprint(bounds, 32631)
    polygon = shape(geometry)
    assert polygon.is_valid
    assert polygon.exterior.is_ccw
    assert list(polygon.bounds) == bbox
    to_degrees = Transformer.from_crs(32631, 4326, always_xy=True)
    x, y = np.meshgrid(np.linspace(600010, 620470, 9), np.linspace(5500010, 5520470, 9))
    lon, lat = to_degrees.transform(x.ravel(), y.ravel())
    assert all(
        polygon.covers(shape({"type": "Point", "coordinates": p}))
        for p in zip(lon, lat, strict=True)
    )


def test_footprint_is_cut_at_the_antimeridian() -> None:
    # 2 km to either side of 180° at 17° S, as zone 60 sees it.
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(180.0, -17.0)
    geometry, bbox = footprint((x - 2000, y - 2000, x + 2000, y + 2000), 32760)
    assert geometry["type"] == "MultiPolygon"
    assert shape(geometry).is_valid
    west, south, east, north = bbox
    assert 179.97 < west < 180
    assert -180 < east < -179.97
    assert south < -17 < north
    for part in shape(geometry).geoms:
        assert part.exterior.is_ccw
        assert part.bounds[2] - part.bounds[0] < 0.03


def test_cells_on_both_sides_of_the_antimeridian_have_a_narrow_joint_bbox() -> None:
    region = read_region("179.97,-17.02,-179.97,-16.99")
    cells = [cell for tile in tiles_of(region) for cell in cells_of(tile, region)]
    assert {cell.epsg for cell in cells} == {32760, 32701}
    west, _, east, _ = joint_bbox([footprint(cell.bounds, cell.epsg)[1] for cell in cells])
    assert 179.9 < west < 180
    assert -180 < east < -179.9


@pytest.mark.parametrize(
    ("boxes", "joint"),
    [
        ([[1, 2, 3, 4]], [1, 2, 3, 4]),
        ([[1, 2, 3, 4], [10, -5, 12, 3]], [1, -5, 12, 4]),
        ([[-170, 0, -160, 1], [160, 0, 170, 1]], [160, 0, -160, 1]),
        ([[179, 0, -179, 1], [-178, 0, -177, 1]], [179, 0, -177, 1]),
        ([[-20, 0, 30, 1], [-1, 0, 1, 1]], [-20, 0, 30, 1]),
        ([], [-180, -90, 180, 90]),
        ([[lon, 0, lon + 100, 1] for lon in (-180, -80, 20, 90)], [-180, 0, 180, 1]),
    ],
)
def test_joint_bbox(boxes: list[list[float]], joint: list[float]) -> None:
    assert joint_bbox(boxes) == pytest.approx(joint)


@given(st.lists(st.tuples(st.floats(-180, 179), st.floats(0, 40)), min_size=1, max_size=6))
def test_joint_bbox_covers_each(spans: list[tuple[float, float]]) -> None:
    def wrapped(lon: float) -> float:
        return (lon + 180) % 360 - 180

    boxes = [[west, 0.0, wrapped(west + width), 1.0] for west, width in spans]
    west, _, east, _ = joint_bbox(boxes)
    reach = (east - west) % 360 or 360
    for start, width in spans:
        offset = (start - west + 1e-6) % 360 - 1e-6
        assert offset + width <= reach + 1e-5
