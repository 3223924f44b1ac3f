"""The zones of a vector file: polygons with a name, of which areas are wanted."""

from dataclasses import dataclass, field
from pathlib import Path

import geopandas
import numpy as np
import shapely
from pyproj import CRS, Geod
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from pipeline.errors import RegionError
from pipeline.grid.cells import CHORD, lonlat_bounds_of, projected_to_utm
from pipeline.grid.indexed_area import IndexedArea
from pipeline.grid.region import Region
from pipeline.grid.region_file import in_degrees, read_polygon_features
from pipeline.io.tables import cell_text

_CHORD_METRES = 500.0  # of an edge that is reprojected; its middle stays within a few millimetres
_MARGIN = 0.001  # degrees around a rectangle of pixels, beyond what its bent edges need
_USUAL = "name"
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True, eq=False)
class Zones:
    """Zones with different names, which may overlap.

    Attributes:
        names: In the file's order.
        geometries: Valid (Multi)Polygons in EPSG:4326 within ±180°.
    """

    names: tuple[str, ...]
    geometries: tuple[BaseGeometry, ...]
    _tree: shapely.STRtree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tree", shapely.STRtree(self.geometries))

    def __len__(self) -> int:
        return len(self.names)

    def hectares(self) -> np.ndarray:
        """The areas of the zones on the ellipsoid, float64 (zone,).

        Edges, straight in degrees, are cut into chords, which as geodesics bend by millimetres.
        """
        return (
            np.array(
                [
                    # Holes count against their shell only where they run the other way round.
                    sum(
                        _GEOD.geometry_area_perimeter(orient(part))[0]
                        for part in shapely.get_parts(one)
                    )
                    for one in shapely.segmentize(np.array(self.geometries, object), CHORD * 5)
                ]
            )
            / 10_000
        )

    def in_utm(
        self, epsg: int, bounds: tuple[float, float, float, float]
    ) -> list[tuple[int, BaseGeometry]]:
        """The zones that reach into a rectangle of UTM (min x, min y, max x, max y).

        Returns:
            The place of each zone, and the part of it near the rectangle in metres of EPSG:`epsg`.
        """
        west, south, east, north = lonlat_bounds_of(bounds, epsg)
        around = (west - _MARGIN, south - _MARGIN, east + _MARGIN, north + _MARGIN)
        rectangle, found = shapely.box(*bounds), []
        for number in self._near(around):
            near = Region(self.geometries[number], self.names[number]).within(*around)
            area = projected_to_utm(near.geometry, epsg, CHORD)
            if area.intersects(rectangle):
                found.append((number, area))
        return found

    def _near(self, around: tuple[float, float, float, float]) -> list[int]:
        west, south, east, north = around
        boxes = [shapely.box(west - shift, south, east - shift, north) for shift in (-360, 0, 360)]
        return sorted({int(place) for box in boxes for place in self._tree.query(box)})

    def holding(self, zone: int, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        """Whether a zone holds places, float64 (n,) degrees, NaN for no place: bool (n,)."""
        area = IndexedArea(self.geometries[zone])  # this question would prepare the zone itself
        inside: np.ndarray = area.ask(shapely.contains_xy, lon, lat)
        return inside


def read_zones(path: Path, name_field: str | None = None) -> Zones:
    """Read the zones of a GeoJSON, GeoPackage, GeoParquet or other vector file of any CRS.

    Polygons of one name are one zone. Edges that are straight in the file's CRS stay so.

    Args:
        path: The file, or file#layer.
        name_field: The field of the names; by default `name`, or the only field.

    Raises:
        RegionError: The file is unreadable or without CRS, a geometry is no valid polygon, the
            field is not there or not known, or a zone has no name.
    """
    frame = read_polygon_features(path)
    column = _column(frame, path, name_field)
    texts = [cell_text(value) for value in frame[column]]
    if None in texts:
        raise RegionError(
            str(path),
            f"feature {texts.index(None) + 1} has nothing in the field {column!r}",
            "Give each zone a name, or another field by --name",
        )
    chord = _chord(frame.crs)
    by_name: dict[str, list[BaseGeometry]] = {}
    for text, geometry in zip(texts, frame.geometry, strict=True):
        degrees = in_degrees(geometry, frame.crs, path, chord)
        by_name.setdefault(str(text), []).append(degrees)
    united = (p[0] if len(p) == 1 else shapely.union_all(p) for p in by_name.values())
    zones = Zones(tuple(by_name), tuple(united))
    _require_on_earth(zones, path)
    return zones


def _column(frame: geopandas.GeoDataFrame, path: Path, name_field: str | None) -> str:
    columns = [str(name) for name in frame.columns if name != frame.geometry.name]
    if name_field is not None:
        if name_field in columns:
            return name_field
        problem = f"it has no field {name_field!r}"
    elif usual := [name for name in columns if name.casefold() == _USUAL]:
        return usual[0]
    elif len(columns) == 1:
        return columns[0]
    else:
        problem = "it does not say which field names the zones"
    listed = ", ".join(columns) or "none"
    raise RegionError(str(path), f"{problem}; its fields are {listed}", "Name one by --name")


def _chord(crs: CRS) -> float:
    """`_CHORD_METRES`, or so, in the unit of a CRS."""
    unit = float(crs.axis_info[0].unit_conversion_factor) if crs.axis_info else 1.0
    return _CHORD_METRES / 111_000 if crs.is_geographic else _CHORD_METRES / unit


def _require_on_earth(zones: Zones, path: Path) -> None:
    bounds = shapely.bounds(np.array(zones.geometries, object))
    wrong = np.flatnonzero(
        (np.abs(bounds[:, ::2]) > 180).any(1) | (np.abs(bounds[:, 1::2]) > 90).any(1)
    )
    if len(wrong):
        raise RegionError(
            str(path),
            f"the coordinates of zone {zones.names[wrong[0]]!r} are outside ±180, ±90",
            "State the file's CRS, or cut zones at the antimeridian",
        )
