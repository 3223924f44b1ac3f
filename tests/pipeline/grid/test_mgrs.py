import random

import mgrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RegionError
from pipeline.grid.mgrs import (
    SQUARE,
    parse_tile,
    square_tile,
    strips_of,
    tile_at,
    to_utm,
    zone_at,
)

LONGITUDE = st.floats(-180, 180).map(lambda degrees: round(degrees, 9))
LATITUDE = st.floats(-80, 84).map(lambda degrees: round(degrees, 9))


def _without_band(name: str) -> str:
    name = name.zfill(5)
    return name[:2] + name[3:]


@pytest.mark.parametrize(
    ("code", "origin"),
    [
        ("31TCJ", (300000, 4900020)),
        ("35MNM", (499980, 9200020)),
        ("06VVN", (399960, 6800040)),
    ],
)
def test_grid_origin_is_that_of_published_items(code: str, origin: tuple[int, int]) -> None:
    assert parse_tile(code).grid_origin == origin


@pytest.mark.parametrize("west_east_south_north", [(-180, 180, -80, 84), (-1, 44, 55, 84)])
def test_names_are_those_of_the_mgrs_package(
    west_east_south_north: tuple[float, float, float, float],
) -> None:
    west, east, south, north = west_east_south_north
    rng, converter = random.Random(7), mgrs.MGRS()
    for _ in range(1500):
        longitude, latitude = rng.uniform(west, east), rng.uniform(south, north)
        name = converter.toMGRS(latitude, longitude, MGRSPrecision=0)
        tile = tile_at(longitude, latitude)
        assert _without_band(tile.name) == _without_band(name), (longitude, latitude)
        assert parse_tile(name) == tile  # whichever of two bands the place's name has
        assert parse_tile(f"T{tile.name}") == tile


@given(LONGITUDE, LATITUDE)
def test_a_place_lies_in_one_strip_and_in_its_tiles_square(
    longitude: float, latitude: float
) -> None:
    tile = tile_at(longitude, latitude)
    easting, northing = to_utm(tile.epsg).transform(longitude, latitude)
    assert -1e-6 <= easting - tile.easting < SQUARE
    assert -1e-6 <= northing - tile.northing <= SQUARE
    wrapped = -180.0 if longitude == 180 else longitude
    zones = [
        zone
        for zone in range(1, 61)
        for strip in strips_of(zone)
        if strip.west <= wrapped < strip.east
        and strip.south <= latitude
        and (latitude < strip.north or latitude == strip.north == 84)
    ]
    assert zones == [zone_at(longitude, latitude)] == [tile.zone]


def test_norway_and_svalbard() -> None:
    assert zone_at(4.0, 60.0) == 32
    assert zone_at(2.9, 60.0) == 31
    assert zone_at(4.0, 64.0) == 31
    assert [zone_at(lon, 78.0) for lon in (8.9, 9.0, 20.9, 21.0, 32.9, 33.0, 41.9, 42.0)] == [
        *(31, 33, 33, 35, 35, 37, 37, 38)
    ]


def test_antimeridian_and_equator() -> None:
    assert tile_at(180.0, 10.0) == tile_at(-180.0, 10.0)
    assert tile_at(179.999, 10.0).zone == 60
    assert tile_at(20.0, 0.0).epsg == 32634
    south = tile_at(20.0, -1e-12)
    assert (south.epsg, south.northing) == (32734, 9_900_000)


def test_owned_areas_of_neighbours_meet_at_the_zone_border() -> None:
    west, east = tile_at(5.99, 50.5), tile_at(6.01, 50.5)
    assert (west.zone, east.zone) == (31, 32)
    assert west.owned.bounds[2] == 6.0 == east.owned.bounds[0]
    assert west.owned.intersection(east.owned).area == 0


@pytest.mark.parametrize("code", ["31UZZ", "31UA", "99UFS", "31IAA", "32XMN", "31UAS", "31VFS", ""])
def test_codes_that_are_no_tile(code: str) -> None:
    with pytest.raises(RegionError, match="no such Sentinel-2 tile"):
        parse_tile(code)


def test_outside_utm() -> None:
    with pytest.raises(RegionError, match="80° S and 84° N"):
        tile_at(0.0, 85.0)


def test_a_tile_has_one_name_whatever_the_band_letter() -> None:
    # 48° N, the limit of bands T and U, crosses the squares of row U in zone 32.
    assert parse_tile("32TLU") == parse_tile("32ULU") == square_tile(32632, 300000, 5300000)
