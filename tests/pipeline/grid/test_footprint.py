import numpy as np
import pytest
from hypothesis import example, given
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
        ([[170, 0, 180, 1]], [170, 0, 180, 1]),
        ([[-180, 0, -170, 1]], [-180, 0, -170, 1]),
        ([[170, 0, 180, 1], [-180, 0, -170, 1]], [170, 0, -170, 1]),
        ([], [-180, -90, 180, 90]),
        ([[lon, 0, lon + 100, 1] for lon in (-180, -80, 20, 90)], [-180, 0, 180, 1]),
    ],
)
def test_joint_bbox(boxes: list[list[float]], joint: list[float]) -> None:
    assert joint_bbox(boxes) == pytest.approx(joint)


GRID = 10**7  # bboxes have seven decimals of a degree: counted in these, arithmetic is exact
ROUND = 360 * GRID


@given(
    st.lists(
        st.tuples(st.integers(-180 * GRID, 180 * GRID - 1), st.integers(1, ROUND)),
        min_size=1,
        max_size=6,
    )
)
@example([(141 * GRID, 40 * GRID), (0, 1)])
@example([(-1799000000, 1200000001), (-598999999, 1200000000), (601000001, 1199999999)])
def test_joint_bbox_is_the_smallest_that_covers_each(spans: list[tuple[int, int]]) -> None:
    def degrees(steps: int) -> float:
        return ((steps + ROUND // 2) % ROUND - ROUND // 2) / GRID

    boxes = [
        [degrees(west), 0.0, degrees(west + width), 1.0]
        if width < ROUND
        else [-180.0, 0.0, 180.0, 1.0]
        for west, width in spans
    ]
    joint_west, _, joint_east, _ = joint_bbox(boxes)
    west, east = round(joint_west * GRID), round(joint_east * GRID)
    assert -180 * GRID <= west <= 180 * GRID
    assert -180 * GRID <= east <= 180 * GRID
    # What of the globe no box covers, the long way plain: gaps after each box's end.
    ends = {west + width for west, width in spans}
    gaps = [min((start - end) % ROUND for start, _ in spans) for end in ends]
    free = max(
        (
            gap
            for end, gap in zip(ends, gaps, strict=True)
            if not any((end - start) % ROUND < width for start, width in spans)
        ),
        default=0,
    )
    if free == 0:
        assert (west, east) == (-180 * GRID, 180 * GRID)
        return
    reach = (east - west) % ROUND
    assert reach == ROUND - free
    assert all((start - west) % ROUND + width <= reach for start, width in spans)
