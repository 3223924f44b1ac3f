"""Points in groups: each in one, of the tile and pixel that the grid gives its place."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.grid.cells import PIXEL, cells_of
from pipeline.grid.mgrs import tile_at, to_lonlat, to_utm
from pipeline.grid.region import read_region
from pipeline.point_series.point_groups import CELL_SIZE, PointGroup, group_by_season, group_points
from pipeline.point_series.points import Points

degrees = st.tuples(st.floats(-180, 180), st.floats(-80, 84))
# Where Norway's and Svalbard's zones, the equator and tiles' corners make it hard.
odd = st.tuples(st.floats(-1, 45), st.sampled_from([0.0, -1e-9, 55.9999, 56.0, 64.0, 72.0, 80.0]))


def made(places: list[tuple[float, float]], years: list[int] | None = None) -> Points:
    lon, lat = np.array(places, np.float64).reshape(-1, 2).T
    n = len(places)
    year = np.array(years or [2018] * n, np.int32)
    return Points(tuple(f"p{i}" for i in range(n)), lon, lat, year, {}, (None,) * n)


@given(st.lists(degrees | odd, min_size=1, max_size=12))
def test_a_point_lies_in_its_tiles_pixel_and_in_one_group(
    places: list[tuple[float, float]],
) -> None:
    points = made(places)
    groups = group_points(points)
    members = np.concatenate([group.members for group in groups])
    assert sorted(members.tolist()) == list(range(len(places)))
    for group in groups:
        for i, row, column in zip(group.members, group.rows, group.columns, strict=True):
            assert group.tile == tile_at(*places[i])
            assert (row // CELL_SIZE, column // CELL_SIZE) == (group.row, group.column)
            easting, northing = to_utm(group.tile.epsg).transform(*places[i])
            left, top = group.tile.grid_origin
            assert 0 <= easting - (left + PIXEL * column) <= PIXEL + 1e-6
            assert -1e-6 <= (top - PIXEL * row) - northing <= PIXEL + 1e-6


def test_cells_are_those_of_a_map_of_the_tile() -> None:
    cells = {cell.id: cell for cell in cells_of(tile_at(5.9, 50.0), read_region("31UGR"))}
    # The tile lies at a zone's border, which cuts its cells.
    assert any(cell.width < 2000 for cell in cells.values())
    corners = [cell.lonlat_bounds for cell in cells.values()]
    places = [((west + east) / 2, (south + north) / 2) for west, south, east, north in corners]
    groups = group_points(made(places))
    assert len(groups) == len(places) == len(cells)
    for group in groups:
        cell = group.cell()
        assert cell == cells[cell.id]
        rows, columns = group.within(cell)
        x = cell.bounds[0] + PIXEL * (columns + 0.5)
        y = cell.bounds[3] - PIXEL * (rows + 0.5)
        lon, lat = to_lonlat(cell.epsg).transform(x, y)
        for i, found in zip(group.members, zip(lon, lat, strict=True), strict=True):
            np.testing.assert_allclose(found, places[i], atol=1.5e-4)


def test_points_within_metres_of_a_zones_border_have_a_pixel() -> None:
    latitudes = np.linspace(49.0, 51.0, 400).tolist()
    places = [(6.0 + east, lat) for lat in latitudes for east in (-8e-5, -1e-9, 0.0, 8e-5)]
    groups = group_points(made(places))
    assert {group.tile.zone for group in groups} == {31, 32}
    for group in groups:
        cell = group.cell()
        rows, columns = group.within(cell)
        assert np.abs(rows - (group.rows - cell.row_offset)).max() <= 1
        assert np.abs(columns - (group.columns - cell.column_offset)).max() <= 1


def test_groups_are_apart_by_year_and_in_order() -> None:
    places = [(5.0, 50.0), (5.0001, 50.0), (5.0, 50.0), (-3.0, 40.0)]
    groups = group_points(made(places, [2018, 2018, 2019, 2018]))
    assert [len(group) for group in groups] == [1, 2, 1]
    assert [group.members.tolist() for group in groups] == [[3], [0, 1], [2]]
    seasons = group_by_season(groups)
    assert list(seasons) == [group.season for group in groups]
    one: PointGroup = groups[1]
    assert one.name == f"{one.tile.name}-2018-{one.row:02d}-{one.column:02d}"
