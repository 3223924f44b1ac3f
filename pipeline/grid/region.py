"""The region of a run, one valid (multi)polygon in EPSG:4326, and its outline of few vertices."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from pipeline.errors import RegionError
from pipeline.grid.footprint import joint_bbox
from pipeline.grid.indexed_area import IndexedArea
from pipeline.grid.mgrs import NORTH, SOUTH, parse_tile, polygons_of, wrapped
from pipeline.io.store import public_url
from pipeline.io.user_paths import existing_file, foreign_address, names_tiles

_FORMS = "Give west,south,east,north in degrees, a vector file, or MGRS tile names"
_EDGES = 2000  # boxes on the region's border that are tested in one step
_SHOWN = 80  # characters of a wrong region that an error shows


@dataclass(frozen=True)
class Region:
    """An area: a valid (Multi)Polygon in EPSG:4326 within ±180°, and the text that it is from.

    A region that crosses the antimeridian is cut there.
    """

    geometry: BaseGeometry
    source: str

    @property
    def bbox(self) -> list[float]:
        """Its bbox in degrees; west > east where it crosses the antimeridian (RFC 7946)."""
        return joint_bbox([part.bounds for part in shapely.get_parts(self.geometry)])

    @cached_property
    def indexed(self) -> IndexedArea:
        """The area, for many questions."""
        return IndexedArea(self.geometry)

    def within(self, west: float, south: float, east: float, north: float) -> "Region":
        """The part in a box of degrees, perhaps empty. Box and part may pass ±180°."""
        parts = [
            translate(
                shapely.intersection(
                    self.geometry, shapely.box(west - shift, south, east - shift, north)
                ),
                shift,
            )
            for shift in (-360.0, 0.0, 360.0)
            if west - shift < 180.0 and east - shift > -180.0
        ]
        return Region(polygons_of(shapely.union_all(parts)), self.source)


def read_region(spec: str) -> Region:
    """The region of a bbox, a vector file or MGRS tile names.

    Args:
        spec: "west,south,east,north" (degrees; west > east crosses the antimeridian), the path of
            a GeoJSON, GeoPackage or GeoParquet file (its polygons are united and reprojected; one
            of several layers is written file.gpkg#layer), or tile names such as "31UFS,31UGS"
            (the areas that these tiles own).

    Raises:
        RegionError: It is none of these, or has no area between 80° S and 84° N.
    """
    spec = spec.strip()
    if not spec:
        raise RegionError("region", "nothing is given", _FORMS)
    if names_tiles(spec):
        tiles = [parse_tile(name) for name in spec.split(",")]
        geometry = shapely.union_all([tile.owned for tile in tiles])
    elif (path := existing_file(spec)) is not None:
        # Imported here: geopandas takes a third of a second, and other forms do without.
        from pipeline.grid.region_file import read_polygons

        geometry = read_polygons(path)
    elif _begins_with_a_number(spec):
        geometry = _bbox(spec)
    elif spec.startswith("{"):
        raise RegionError(
            _shortened(spec), "this is GeoJSON itself", "Save it as a .geojson file, and give that"
        )
    elif problem := foreign_address(spec):
        raise RegionError(_shortened(public_url(spec)), problem, f"Copy it here. {_FORMS}")
    else:
        raise RegionError(
            _shortened(spec), "no such file, and neither a bbox nor tile names", _FORMS
        )
    return Region(_checked(geometry, spec), spec)


def _shortened(spec: str) -> str:
    line = " ".join(spec.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _begins_with_a_number(spec: str) -> bool:
    try:
        float(spec.partition(",")[0])
    except ValueError:
        return False
    return True


def _bbox(spec: str) -> BaseGeometry:
    try:
        west, south, east, north = (float(part) for part in spec.split(","))
    except ValueError:
        raise RegionError(
            spec, "a bbox is four numbers", "Write west,south,east,north in degrees"
        ) from None
    if not all(map(math.isfinite, (west, south, east, north))):
        raise RegionError(spec, "its coordinates are not finite numbers", "Correct them")
    _require_degrees((min(west, east), min(south, north), max(west, east), max(south, north)), spec)
    if south == north or west == east:
        raise RegionError(spec, "the bbox is empty: it has no width or no height", "Widen it")
    if south > north:
        raise RegionError(
            spec,
            f"south ({south:g}) is above north ({north:g})",
            "Write west,south,east,north; perhaps "
            f"{min(west, east):g},{north:g},{max(west, east):g},{south:g}",
        )
    if 0 < west - east < 180:
        raise RegionError(
            spec,
            f"west ({west:g}) is east of east ({east:g}), which goes the long way round the globe",
            f"Write west,south,east,north; perhaps {east:g},{south:g},{west:g},{north:g}",
        )
    return wrapped(shapely.box(west, south, east + 360.0 if west > east else east, north))


def _checked(geometry: BaseGeometry, source: str) -> BaseGeometry:
    """The geometry, if it is usable; else raises RegionError."""
    if geometry.is_empty or geometry.area == 0:
        raise RegionError(source, "the region is empty: it covers no area", "Give a polygon")
    bounds = geometry.bounds
    _require_degrees(bounds, source)
    if bounds[1] < SOUTH or bounds[3] > NORTH:
        raise RegionError(
            source,
            f"it reaches from {bounds[1]:g}° to {bounds[3]:g}° of latitude, and Sentinel-2's tiles "
            f"end at {SOUTH:g}° and {NORTH:g}°",
            "Clip it to these latitudes",
        )
    return geometry


def _require_degrees(bounds: tuple[float, float, float, float], source: str) -> None:
    west, south, east, north = bounds
    if max(abs(west), abs(east)) <= 180 and max(abs(south), abs(north)) <= 90:
        return
    outside = (
        f"its coordinates ({west:g} to {east:g}, {south:g} to {north:g}) are outside ±180, ±90"
    )
    if max(abs(west), abs(east)) <= 90 and max(abs(south), abs(north)) <= 180:
        raise RegionError(
            source,
            f"{outside}; latitude and longitude seem to be swapped",
            f"Give longitude first: {south:g},{west:g},{north:g},{east:g}",
        )
    if max(map(abs, bounds)) > 360:
        raise RegionError(
            source,
            f"{outside}; they seem to be metres",
            "Give degrees of WGS 84, or a file that states its CRS",
        )
    raise RegionError(
        source,
        outside,
        "Give degrees; cut a region at the antimeridian, or give a bbox with west > east",
    )


def outline(geometry: BaseGeometry, most: int) -> BaseGeometry:
    """The polygons themselves, or a union of boxes around them with at most `most` vertices.

    The box around all is halved again and again, without the halves that do not touch the
    polygons, as long as the boxes' union has no more than `most` vertices. Unlike a simplified
    buffer, this takes well under a second for a coast of a million vertices, and covers all of it.
    """
    if shapely.get_num_coordinates(geometry) <= most:
        return geometry
    indexed = IndexedArea(geometry)
    boxes = np.array([geometry.bounds])
    inside: list[BaseGeometry] = []
    union: BaseGeometry = shapely.box(*geometry.bounds)
    while 0 < len(boxes) <= _EDGES:
        boxes = _halved(boxes)
        polygons = shapely.box(*boxes.T)
        touched = indexed.ask(shapely.intersects, polygons)
        boxes, polygons = boxes[touched], polygons[touched]
        full = indexed.ask(shapely.covers, polygons)
        inside += list(polygons[full])
        finer = shapely.union_all([*inside, *polygons[~full]]).simplify(0)
        if shapely.get_num_coordinates(finer) > most:
            break
        union, boxes = finer, boxes[~full]
    return union


def _halved(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4: west, south, east, north) cut across their longer side: (2n, 4)."""
    first, second = boxes.copy(), boxes.copy()
    wide = boxes[:, 2] - boxes[:, 0] > boxes[:, 3] - boxes[:, 1]
    for low, high, cut in ((0, 2, wide), (1, 3, ~wide)):
        middle = (boxes[cut, low] + boxes[cut, high]) / 2
        first[cut, high] = second[cut, low] = middle
    return np.concatenate([first, second])
