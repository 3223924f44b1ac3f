"""Sentinel-2's tiles: MGRS 100 km squares, the strips of UTM zones, and the owner of a place.

It is written by hand because libraries for MGRS (such as `mgrs`, which the tests compare it with)
name squares, but know neither the grid of a tile's granules nor which of two overlapping tiles
owns a place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import shapely
from pyproj import Transformer
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from pipeline.errors import RegionError

SQUARE = 100_000  # metres, side of an MGRS square
SOUTH, NORTH = -80.0, 84.0  # degrees of latitude between which UTM and the tiles are defined
_GRID = 60  # metres; a tile's origin is a multiple of it, so that 10, 20 and 60 m pixels align
_FALSE_NORTHING = 10_000_000  # metres, UTM south of the equator
_ROW_CYCLE = 2_000_000  # metres after which the row letters begin again

_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")  # by (zone − 1) % 3; the first is 100 km east
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_REACH = 0.75  # degrees, more than half a square: one across a band limit may have both letters
_CODE = re.compile(r"T?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z])([A-HJ-NP-V])")

# West and east limits (degrees) of the zones that are not six degrees wide; NGA.STND.0037 (UTM).
_NORWAY = {31: (0.0, 3.0), 32: (3.0, 12.0)}  # 56° to 64° north
_SVALBARD = {31: (0.0, 9.0), 33: (9.0, 21.0), 35: (21.0, 33.0), 37: (33.0, 42.0)}  # from 72°
_NO_SVALBARD = (32, 34, 36)


@dataclass(frozen=True)
class Strip:
    """A part of a UTM zone: degrees, west ≤ longitude < east, south ≤ latitude < north."""

    west: float
    south: float
    east: float
    north: float


@lru_cache
def strips_of(zone: int) -> tuple[Strip, ...]:
    """The parts of a UTM zone, from south to north, with the exceptions of Norway and Svalbard.

    Over all zones they cover every place between 80° S and 84° N exactly once.
    """
    west, east = 6.0 * zone - 186, 6.0 * zone - 180
    if zone not in range(31, 38):
        return (Strip(west, SOUTH, east, NORTH),)
    cuts = [(SOUTH, 56.0, (west, east)), (56.0, 64.0, _NORWAY.get(zone, (west, east)))]
    cuts.append((64.0, 72.0, (west, east)))
    if zone not in _NO_SVALBARD:
        cuts.append((72.0, NORTH, _SVALBARD[zone]))
    return tuple(Strip(w, south, e, north) for south, north, (w, e) in cuts)


@dataclass(frozen=True, order=True)
class Tile:
    """A Sentinel-2 tile: an MGRS square of 100 km, and the pixel grid of its granules.

    Attributes:
        name: Such as "31UFS", with the latitude band of the square's centre. Sources differ at
            band limits, so names are compared only after `parse_tile`.
        epsg: Its UTM zone, 326zz north and 327zz south of the equator.
        easting: West edge of the square, metres.
        northing: South edge of the square, metres.
    """

    name: str
    epsg: int
    easting: int
    northing: int

    @property
    def zone(self) -> int:
        """The UTM zone, 1 to 60."""
        return self.epsg % 100

    @property
    def grid_origin(self) -> tuple[int, int]:
        """Upper left corner (easting, northing) of the tile's pixel grid, metres.

        The granule of 109.8 km begins at the multiple of 60 m next to the square, counted from
        the equator: 31TCJ 300000/4900020, 35MNM 499980/9200020 (taken from published items).
        """
        false_northing = _FALSE_NORTHING if self.epsg >= 32700 else 0
        top = self.northing + SQUARE - false_northing
        return self.easting // _GRID * _GRID, -(-top // _GRID) * _GRID + false_northing

    @property
    def owned(self) -> BaseGeometry:
        """The area that the tile owns: its square within its zone's strips; EPSG:4326."""
        return _owned(self)


@cache
def to_utm(epsg: int) -> Transformer:
    """Longitude, latitude (WGS 84, degrees) → easting, northing (metres) of a UTM zone."""
    return Transformer.from_crs(4326, epsg, always_xy=True)


@cache
def to_lonlat(epsg: int) -> Transformer:
    """Easting, northing (metres) of a UTM zone → longitude, latitude (WGS 84, degrees)."""
    return Transformer.from_crs(epsg, 4326, always_xy=True)


def unwrapped(longitude: np.ndarray, zone: int) -> np.ndarray:
    """Longitudes within 180° of the zone's central meridian: they may pass ±180."""
    central = 6.0 * zone - 183
    return (longitude - central + 180.0) % 360.0 - 180.0 + central


def polygons_of(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons among a geometry's parts; an intersection may leave lines and points, too."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    return shapely.union_all(
        [part for part in shapely.get_parts(geometry) if part.geom_type.endswith("Polygon")]
    )


def zone_at(longitude: float, latitude: float) -> int:
    """The UTM zone of a place (degrees); raises RegionError outside 80° S to 84° N."""
    if not SOUTH <= latitude <= NORTH:
        raise RegionError(
            f"latitude {latitude}", "Sentinel-2's tiles end at 80° S and 84° N", "Stay within"
        )
    longitude = (longitude + 180.0) % 360.0 - 180.0
    if 56.0 <= latitude < 64.0 and 3.0 <= longitude < 6.0:
        return 32
    if latitude >= 72.0 and 6.0 <= longitude < 36.0:
        return next(z for z, (west, east) in _SVALBARD.items() if west <= longitude < east)
    return int((longitude + 180.0) // 6.0) + 1


def tile_at(longitude: float, latitude: float) -> Tile:
    """The tile that owns a place (degrees, WGS 84); raises RegionError outside 80° S to 84° N."""
    epsg = (32600 if latitude >= 0 else 32700) + zone_at(longitude, latitude)
    easting, northing = to_utm(epsg).transform(longitude, latitude)
    # Rounding must not move a place across the equator, where the EPSG code is another.
    if epsg >= 32700:
        northing = min(northing, _FALSE_NORTHING - 1e-6)
    square = (int(easting // SQUARE) * SQUARE, int(max(northing, 0.0) // SQUARE) * SQUARE)
    return square_tile(epsg, *square)


@lru_cache(maxsize=4096)
def square_tile(epsg: int, easting: int, northing: int) -> Tile:
    """The tile of the square with this south-west corner (metres), with its MGRS name."""
    zone = epsg % 100
    half = SQUARE / 2
    _, latitude = to_lonlat(epsg).transform(easting + half, northing + half)
    band = _BANDS[min(max(int((latitude - SOUTH) // 8), 0), len(_BANDS) - 1)]
    column = _COLUMNS[(zone - 1) % 3][easting // SQUARE - 1]
    row = _ROWS[(northing // SQUARE + _first_row(zone)) % len(_ROWS)]
    return Tile(f"{zone:02d}{band}{column}{row}", epsg, easting, northing)


@lru_cache(maxsize=4096)
def parse_tile(code: str) -> Tile:
    """The tile of an MGRS code such as "31UFS", "T31UFS" or "6VVN"; raises RegionError.

    Band limits cross squares, so the letter of the neighbouring band gives the same tile.
    """
    found = _CODE.fullmatch(code.strip().upper())
    tile = found and _located(int(found[1]), found[2], found[3], found[4])
    if not tile:
        raise RegionError(
            repr(code), "there is no such Sentinel-2 tile", 'Write MGRS names such as "31UFS"'
        )
    return tile


def _first_row(zone: int) -> int:
    return 5 if zone % 2 == 0 else 0  # even zones begin their rows at F


def _located(zone: int, band: str, column: str, row: str) -> Tile | None:
    columns = _COLUMNS[(zone - 1) % 3]
    if not 1 <= zone <= 60 or column not in columns:
        return None
    easting = (columns.index(column) + 1) * SQUARE
    southern = band < "N"
    epsg = (32700 if southern else 32600) + zone
    middle = SOUTH + 8.0 * _BANDS.index(band) + (6.0 if band == "X" else 4.0)
    _, expected = to_utm(epsg).transform(6.0 * zone - 183, middle)
    phase = (_ROWS.index(row) - _first_row(zone)) % len(_ROWS) * SQUARE
    cycle = round((expected - SQUARE / 2 - phase) / _ROW_CYCLE)
    northing = phase + cycle * _ROW_CYCLE
    if (southern and northing >= _FALSE_NORTHING) or northing < 0:
        return None
    tile = square_tile(epsg, easting, northing)
    _, centre = to_lonlat(epsg).transform(easting + SQUARE / 2, northing + SQUARE / 2)
    half_band = 6.0 if band == "X" else 4.0
    crosses_band = abs(centre - middle) < half_band + _REACH
    return tile if crosses_band and not tile.owned.is_empty else None


@lru_cache(maxsize=4096)
def _owned(tile: Tile) -> BaseGeometry:
    corner = (tile.easting + SQUARE, tile.northing + SQUARE)
    square = shapely.segmentize(shapely.box(tile.easting, tile.northing, *corner), 1000.0)

    def to_degrees(xy: np.ndarray) -> np.ndarray:
        longitude, latitude = to_lonlat(tile.epsg).transform(xy[:, 0], xy[:, 1])
        return np.column_stack([unwrapped(longitude, tile.zone), latitude])

    outline = shapely.transform(square, to_degrees)
    strips = [shapely.box(s.west, s.south, s.east, s.north) for s in strips_of(tile.zone)]
    return polygons_of(shapely.union_all(shapely.intersection(outline, strips)))


def squares_in(bounds: tuple[float, float, float, float]) -> Iterator[tuple[int, int]]:
    """South-west corners (metres) of the squares that reach into bounds of a UTM zone."""
    left, bottom, right, top = bounds
    for easting in range(max(int(left // SQUARE), 1), min(int(right // SQUARE), 8) + 1):
        for northing in range(max(int(bottom // SQUARE), 0), int(top // SQUARE) + 1):
            yield easting * SQUARE, northing * SQUARE


def wrapped(geometry: BaseGeometry) -> BaseGeometry:
    """A geometry that may pass ±180° of longitude, cut there and brought back within."""
    world = shapely.box(-180.0, -90.0, 180.0, 90.0)
    parts = [shapely.intersection(translate(geometry, shift), world) for shift in (-360, 0, 360)]
    return polygons_of(shapely.union_all(parts))
